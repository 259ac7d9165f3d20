"""Conditions on cases: SQL text and its values, combined by and, or, not.

A comparison with a missing value is NULL in SQL, which WHERE takes for false; only under ``not``
does the difference show, so that is where it is made two-valued.
"""

import sqlite3
import threading
from collections import OrderedDict, deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import count

import msgspec

from casesearch_pd.emulator.data.schema import JSON_KINDS, TEXT_KINDS, Schema, made_user_id

SqlValue = str | int | float | None


@dataclass(frozen=True, slots=True)
class Where:
    """A condition in SQL and the values of its placeholders."""

    sql: str
    values: tuple[SqlValue, ...] = ()


EVERYTHING = Where("1")
NOTHING = Where("0")


def all_of(parts: Sequence[Where]) -> Where:
    """Return the condition that holds where every part does; no parts hold everywhere."""
    return _joined(parts, " AND ") if parts else EVERYTHING


def any_of(parts: Sequence[Where]) -> Where:
    """Return the condition that holds where some part does; no parts hold nowhere."""
    return _joined(parts, " OR ") if parts else NOTHING


def negated(part: Where) -> Where:
    """Return the condition that holds exactly where the part does not."""
    return Where(f"({part.sql}) IS NOT TRUE", part.values)


def _joined(parts: Sequence[Where], word: str) -> Where:
    if len(parts) == 1:
        return parts[0]
    sql = word.join(f"({part.sql})" for part in parts)
    return Where(sql, tuple(value for part in parts for value in part.values))


Row = tuple[SqlValue, ...]

_PAST_ALL = "x''"  # SQLite sorts NULL < numbers < text < blobs
_BEFORE_ALL = "-9e999"
_COUNTS_KEPT = 512
_ORDERS_KEPT = 64
SORTED_CHARACTERS = 512  # a text's key: a cursor must fit the 9,000 characters of a token
_LONG_KINDS = TEXT_KINDS | JSON_KINDS
ALWAYS_SET = frozenset({"created_at", "updated_at"})
ROWID = ""
"""Stands for SQLite's own row number where columns are named."""


@dataclass(frozen=True, slots=True)
class Key:
    """One sort key: an SQL expression, its direction, and where its missing values go."""

    sql: str
    descending: bool = False
    nulls_last: bool = True
    nullable: bool = True

    @property
    def total(self) -> str:
        """The expression with its missing values replaced by a sentinel."""
        return self.filled(self.sql)

    def filled(self, sql: str) -> str:
        """Return any expression with its missing values treated as this key's are."""
        if not self.nullable:
            return sql
        high = self.descending != self.nulls_last
        return f"COALESCE({sql}, {_PAST_ALL if high else _BEFORE_ALL})"

    def reversed(self) -> "Key":
        """Return the same key walked backwards."""
        return Key(self.sql, not self.descending, not self.nulls_last, self.nullable)


class Store:
    """The cases of one service, shared by its threads.

    Parameters
    ----------
    schema
        The columns.
    identity
        The column that tells rows apart.
    """

    def __init__(self, schema: Schema, *, identity: str = "case_id") -> None:
        self.schema = schema
        self.identity = identity
        self.version = 0
        self._lock = threading.RLock()
        # An empty name is a private database that spills to a file of its own when it grows.
        self._db = sqlite3.connect("", check_same_thread=False, isolation_level=None)
        self._counts: OrderedDict[Where, int] = OrderedDict()
        self._orders: OrderedDict[tuple[Key, ...], str] = OrderedDict()
        self._numbers = count()
        self._words = False
        self._create()

    def close(self) -> None:
        """Close the database and remove its file."""
        with self._lock:
            self._db.close()

    def expression(self, name: str) -> str:
        """Return the SQL expression of a column: NULL where this store has no such column."""
        if name == ROWID:
            return "rowid"
        return self.schema.sql.get(name, "NULL")

    def key(
        self,
        name: str,
        *,
        expression: str | None = None,
        descending: bool = False,
        nulls_last: bool = True,
    ) -> Key:
        """Return the sort key of a column, or of what a wire shows of it."""
        sql = expression or self.expression(name)
        column = self.schema.by_name.get(name)
        if column is not None and column.kind in _LONG_KINDS and name != self.identity:
            sql = f"substr({sql}, 1, {SORTED_CHARACTERS})"
        return Key(sql, descending, nulls_last, nullable=name not in {self.identity, *ALWAYS_SET})

    def add(self, rows: Iterable[Sequence[SqlValue]]) -> bool:
        """Add rows of stored values in the order of the schema's columns; return True."""
        marks = ", ".join("?" * len(self.schema.columns))
        with self._lock:
            self._db.execute("BEGIN")
            self._db.executemany(f"INSERT INTO cases VALUES ({marks})", rows)  # noqa: S608 - marks
            self._db.execute("COMMIT")
            self._changed()
            return True

    def change(self, case_id: str, values: Mapping[str, SqlValue]) -> bool:
        """Set stored values of one case; return whether there is such a case."""
        names = ", ".join(f"{self.schema.sql[name]} = ?" for name in values)
        where = f"{self.schema.sql[self.identity]} = ?"
        with self._lock:
            done = self._db.execute(
                f"UPDATE cases SET {names} WHERE {where}",  # noqa: S608 - own names
                (*values.values(), case_id),
            )
            self._changed()
            return done.rowcount == 1

    def remove(self, case_id: str) -> bool:
        """Remove one case; return whether there was such a case."""
        where = f"{self.schema.sql[self.identity]} = ?"
        with self._lock:
            done = self._db.execute(f"DELETE FROM cases WHERE {where}", (case_id,))  # noqa: S608
            self._changed()
            return done.rowcount == 1

    def count(self, where: Where) -> int:
        """Return how many cases match, exactly."""
        with self._lock:
            if where not in self._counts:
                self._counts[where] = self._counted(where)
                if len(self._counts) > _COUNTS_KEPT:
                    self._counts.popitem(last=False)
            return self._counts[where]

    def rows(self, names: Sequence[str], where: Where = EVERYTHING) -> list[Row]:
        """Return the named columns of all matching cases, in the order of their ids."""
        chosen = ", ".join(self.expression(name) for name in names)
        ordered = f"ORDER BY {self.expression(self.identity)}"
        sql = f"SELECT {chosen} FROM cases WHERE {where.sql} {ordered}"  # noqa: S608 - own names
        with self._lock:
            return self._db.execute(sql, where.values).fetchall()

    def page(
        self,
        names: Sequence[str],
        where: Where,
        order: Sequence[Key],
        *,
        after: Sequence[SqlValue] | None,
        limit: int,
        offset: int = 0,
    ) -> list[Row]:
        """Return the next rows in a total order.

        Parameters
        ----------
        names
            The columns to return, after the sort keys.
        order
            The sort keys; the last one is unique.
        after
            The sort keys of the row before the page, or None for the first page.

        Returns
        -------
        list of tuple
            Each row is its sort keys, then the named columns.
        """
        keys = tuple(order)
        chosen = ", ".join([key.sql for key in keys] + [self.expression(name) for name in names])
        ordered = ", ".join(f"{key.total} {'DESC' if key.descending else 'ASC'}" for key in keys)
        found: list[Row] = []
        with self._lock:
            self._prepare(keys)
            for piece in _pieces(keys, after):
                sql = (
                    f"SELECT {chosen} FROM cases WHERE ({where.sql}) AND {piece.sql} "  # noqa: S608
                    f"ORDER BY {ordered} LIMIT ? OFFSET ?"
                )
                values = (*where.values, *piece.values, limit - len(found), offset)
                found += self._db.execute(sql, values).fetchall()
                if len(found) >= limit:
                    break
        return found

    def is_case(self, case_id: str) -> Where:
        """Return the condition that a row is the one of that id."""
        return Where(f"{self.expression(self.identity)} = ?", (case_id,))

    def copy(self) -> "Store":
        """Return another store with the same cases."""
        other = Store(self.schema, identity=self.identity)
        other.add(self.rows([column.name for column in self.schema.columns]))
        return other

    def rank(self, where: Where, order: Sequence[Key], place: Sequence[SqlValue]) -> int:
        """Return how many matching cases come before a place in an order, itself included."""
        backwards = [key.reversed() for key in order]
        return 1 + sum(
            self.count(all_of([where, piece])) for piece in _pieces(tuple(backwards), place)
        )

    def place_of(self, case_id: str, order: Sequence[Key]) -> Row | None:
        """Return the sort keys of one case, or None where there is no such case."""
        chosen = ", ".join(key.sql for key in order)
        sql = f"SELECT {chosen} FROM cases WHERE {self.expression(self.identity)} = ?"  # noqa: S608
        with self._lock:
            row: Row | None = self._db.execute(sql, (case_id,)).fetchone()
        return row

    def having_words(self, text: str) -> Where:
        """Return the condition that a case has every word of the text in some field."""
        with self._lock:
            self._index_words()
        words = [word.replace('"', "") for word in text.split() if any(c.isalnum() for c in word)]
        if not words:
            return NOTHING
        query = " ".join(f'"{word}"' for word in words)
        return Where("rowid IN (SELECT rowid FROM words WHERE words MATCH ?)", (query,))

    def _create(self) -> None:
        names = ", ".join(self.schema.sql.values())
        for name, function in _FUNCTIONS.items():
            arguments = function.__code__.co_argcount
            self._db.create_function(name, arguments, function, deterministic=True)
        self._db.execute("PRAGMA journal_mode = OFF")
        self._db.execute("PRAGMA cache_size = -400000")
        self._db.execute(f"CREATE TABLE cases ({names})")
        self._db.execute(f"CREATE UNIQUE INDEX by_id ON cases ({self.schema.sql[self.identity]})")

    def _counted(self, where: Where) -> int:
        sql = f"SELECT count(*) FROM cases WHERE {where.sql}"  # noqa: S608 - own names only
        return int(self._db.execute(sql, where.values).fetchone()[0])

    def _changed(self) -> None:
        self.version += 1
        self._counts.clear()

    def _prepare(self, keys: tuple[Key, ...]) -> None:
        """Make the index of an order, unless there is one; drop the one unused for longest."""
        backwards = tuple(key.reversed() for key in keys)
        if keys[0].sql == self.schema.sql[self.identity]:
            return
        for known in (keys, backwards):
            if known in self._orders:
                self._orders.move_to_end(known)
                return
        parts = ", ".join(f"{key.total} {'DESC' if key.descending else 'ASC'}" for key in keys)
        self._orders[keys] = f"order{next(self._numbers)}"
        self._db.execute(f"CREATE INDEX {self._orders[keys]} ON cases ({parts})")
        if len(self._orders) > _ORDERS_KEPT:
            self._db.execute(f"DROP INDEX {self._orders.popitem(last=False)[1]}")

    def _index_words(self) -> None:
        if self._words:
            return
        new, held = self._all_text("new"), self._all_text("cases")
        fill = f"INSERT INTO words(rowid, all_text) VALUES (new.rowid, {new})"  # noqa: S608 - own names
        drop = "DELETE FROM words WHERE rowid = old.rowid"
        tokens = "unicode61 remove_diacritics 0"
        self._db.execute(f"CREATE VIRTUAL TABLE words USING fts5(all_text, tokenize='{tokens}')")
        self._db.execute(
            f"INSERT INTO words(rowid, all_text) SELECT cases.rowid, {held} FROM cases"  # noqa: S608 - own names
        )
        for event, steps in {"INSERT": fill, "DELETE": drop, "UPDATE": f"{drop}; {fill}"}.items():
            name = f"words_{event}"
            self._db.execute(f"CREATE TRIGGER {name} AFTER {event} ON cases BEGIN {steps}; END")
        self._words = True

    def _all_text(self, row: str) -> str:
        names = [
            self.schema.sql[column.name]
            for column in self.schema.columns
            if column.connect and column.kind in TEXT_KINDS | {"list"}
        ]
        return " || ' ' || ".join(f"COALESCE({row}.{name}, '')" for name in names)


def _pieces(keys: tuple[Key, ...], after: Sequence[SqlValue] | None) -> list[Where]:
    """Return what lies after a row, as consecutive ranges that an index serves one by one."""
    if after is None:
        return [EVERYTHING]
    return [_piece(keys, after, depth) for depth in reversed(range(len(keys)))]


def _piece(keys: tuple[Key, ...], after: Sequence[SqlValue], depth: int) -> Where:
    tests = [f"{key.total} = {key.filled('?')}" for key in keys[:depth]]
    last = keys[depth]
    tests.append(f"{last.total} {'<' if last.descending else '>'} {last.filled('?')}")
    return Where(" AND ".join(tests), tuple(after[: depth + 1]))


def _has_text(text: str | None, folded: str) -> bool | None:
    return None if text is None else folded in text.casefold()


def _caseless_equal(text: str | None, folded: str) -> bool | None:
    return None if text is None else text.casefold() == folded


def _token_equal(text: str | None, folded: str) -> bool | None:
    return None if text is None else set(folded.split()) <= set(text.casefold().split())


def _joined_list(kept: str | None) -> str | None:
    return None if kept is None else ", ".join(_decode_texts(kept))


def _has_tag(kept: str | None, key: str, value: str) -> bool:
    tags = () if kept is None else (tag.partition("=") for tag in _decode_texts(kept))
    return any(found == key and held == value for found, _, held in tags)


def _has_item(kept: str | None, item: str) -> bool | None:
    return None if kept is None else item in _decode_texts(kept)


def _user_id(shown: str | None) -> str | None:
    return None if shown is None else made_user_id(shown)


_decode_texts = msgspec.json.Decoder(list[str]).decode
_FUNCTIONS: Mapping[str, Callable[..., SqlValue]] = {
    "has_text": _has_text,
    "caseless_equal": _caseless_equal,
    "token_equal": _token_equal,
    "joined_list": _joined_list,
    "has_tag": _has_tag,
    "has_item": _has_item,
    "user_id": _user_id,
}

Change = Callable[[Store], bool]


class Lag:
    """Two stores of the same cases, or one and the same where there is no delay.

    Parameters
    ----------
    live
        The store that sees every change at once.
    delay
        Seconds until the searched store sees a change.
    clock
        Seconds, steadily rising.
    """

    def __init__(self, live: Store, delay: float, clock: Callable[[], float]) -> None:
        self.live = live
        self.searched = live.copy() if delay else live
        self._delay, self._clock = delay, clock
        self._waiting: deque[tuple[float, Change]] = deque()
        self._lock = threading.Lock()

    def close(self) -> None:
        """Close both stores."""
        self.live.close()
        self.searched.close()

    def apply(self, change: Change) -> bool:
        """Make a change, now and for searches later; return what it says of the live store."""
        with self._lock:
            done = change(self.live)
            if self.searched is not self.live:
                self._waiting.append((self._clock() + self._delay, change))
            return done

    def catch_up(self) -> None:
        """Let searches see what has become due."""
        if not self._waiting:
            return
        with self._lock:
            now = self._clock()
            while self._waiting and self._waiting[0][0] <= now:
                self._waiting.popleft()[1](self.searched)
