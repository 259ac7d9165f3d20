"""The store of cases: an SQLite table with exact counts, total orders and pages after a row."""

import sqlite3
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import count

import msgspec

from casesearch_pd.emulator.data.schema import (
    JSON_KINDS,
    PERSONA_STATUS,
    TEXT_KINDS,
    Schema,
    make_user_id,
)

SqlValue = str | int | float | None
Row = tuple[SqlValue, ...]

ALWAYS_SET = frozenset({"created_at", "updated_at"})
# The name of SQLite's own row number among names of columns.
ROWID = ""
# The sort value of a text is its beginning: a page token with it must fit 9,000 characters.
SORT_LENGTH = 512
_LONG_KINDS = TEXT_KINDS | JSON_KINDS
# SQLite sorts NULL < numbers < text < blobs, so these come after and before every value.
_AFTER_ALL = "x''"
_BEFORE_ALL = "-9e999"
# Persona has no status "closed": what ends a case is a status of its template, such as these. Were
# there one, a client that takes that word for the end would be right by chance.
_PERSONA_STATUS_SQL = (
    "CASE {status} WHEN 'in_progress' THEN 'Ready for Review' WHEN 'closed' THEN CASE WHEN "
    "{resolution} IN ('Declined', 'Withdrawn') THEN 'Declined' ELSE 'Approved' END "
    "ELSE {status} END"
)
_MAX_COUNTS = 512
_MAX_ORDERS = 64


@dataclass(frozen=True, slots=True)
class Where:
    """A condition on cases: its SQL and the values of the placeholders."""

    sql: str
    values: tuple[SqlValue, ...] = ()


EVERYTHING = Where("1")
NOTHING = Where("0")


def all_of(parts: Sequence[Where]) -> Where:
    """Return the conjunction of the parts; without parts it is true."""
    return _combine(parts, " AND ") if parts else EVERYTHING


def any_of(parts: Sequence[Where]) -> Where:
    """Return the disjunction of the parts; without parts it is false."""
    return _combine(parts, " OR ") if parts else NOTHING


def negate(part: Where) -> Where:
    """Return the condition that is true exactly where the part is not."""
    # A comparison with a missing value is NULL in SQL. WHERE treats it as false, but NOT keeps it
    # NULL, so a negation must be two-valued.
    return Where(f"({part.sql}) IS NOT TRUE", part.values)


def _combine(parts: Sequence[Where], word: str) -> Where:
    if len(parts) == 1:
        return parts[0]
    sql = word.join(f"({part.sql})" for part in parts)
    return Where(sql, tuple(value for part in parts for value in part.values))


@dataclass(frozen=True, slots=True)
class SortKey:
    """One sort key: an SQL expression, its direction, and the place of its missing values."""

    sql: str
    descending: bool = False
    nulls_last: bool = True
    nullable: bool = True

    @property
    def total_sql(self) -> str:
        """The expression with its missing values replaced by a sentinel."""
        return self.with_sentinel(self.sql)

    def with_sentinel(self, sql: str) -> str:
        """Return an expression with its missing values replaced by this key's sentinel."""
        if not self.nullable:
            return sql
        is_high = self.descending != self.nulls_last
        # With a value instead of NULL, the order is total and a comparison continues a page.
        return f"COALESCE({sql}, {_AFTER_ALL if is_high else _BEFORE_ALL})"

    def reverse(self) -> "SortKey":
        """Return the key of the opposite order."""
        return SortKey(self.sql, not self.descending, not self.nulls_last, self.nullable)


class Store:
    """The rows of one service, shared by its threads; `identity` is the column of the unique id."""

    def __init__(self, schema: Schema, *, identity: str = "case_id") -> None:
        self.schema = schema
        self.identity = identity
        self.version = 0
        self._lock = threading.RLock()
        # An empty name is a private database that moves to a temporary file when it grows.
        self._db = sqlite3.connect("", check_same_thread=False, isolation_level=None)
        self._counts: OrderedDict[Where, int] = OrderedDict()
        self._orders: OrderedDict[tuple[SortKey, ...], str] = OrderedDict()
        self._numbers = count()
        self._has_word_index = False
        self._create()

    def close(self) -> None:
        """Close the database and remove its file."""
        with self._lock:
            self._db.close()

    def expression(self, name: str) -> str:
        """Return the SQL expression of a column: NULL where this store has no such column."""
        if name == ROWID:
            return "rowid"
        if name == PERSONA_STATUS:
            status = self.expression("status")
            if not self.schema.generated:
                return status
            return _PERSONA_STATUS_SQL.format(
                status=status, resolution=self.expression("resolution")
            )
        return self.schema.sql.get(name, "NULL")

    def key(
        self,
        name: str,
        *,
        expression: str | None = None,
        descending: bool = False,
        nulls_last: bool = True,
    ) -> SortKey:
        """Return the sort key of a column, or of an expression that a service shows for it."""
        sql = expression or self.expression(name)
        column = self.schema.by_name.get(name)
        if column is not None and column.kind in _LONG_KINDS and name != self.identity:
            sql = f"substr({sql}, 1, {SORT_LENGTH})"
        return SortKey(
            sql, descending, nulls_last, nullable=name not in {self.identity, *ALWAYS_SET}
        )

    def add(self, rows: Iterable[Sequence[SqlValue]]) -> bool:
        """Add rows of stored values in the order of the schema's columns; return True."""
        marks = ", ".join("?" * len(self.schema.columns))
        with self._lock:
            self._db.execute("BEGIN")
            self._db.executemany(f"INSERT INTO cases VALUES ({marks})", rows)  # noqa: S608 - marks
            self._db.execute("COMMIT")
            self._after_change()
            return True

    def change(self, case_id: str, values: Mapping[str, SqlValue]) -> bool:
        """Set stored values of one case; return whether there is such a case."""
        names = ", ".join(f"{self.schema.sql[name]} = ?" for name in values)
        where = f"{self.schema.sql[self.identity]} = ?"
        with self._lock:
            cursor = self._db.execute(
                f"UPDATE cases SET {names} WHERE {where}",  # noqa: S608 - own names
                (*values.values(), case_id),
            )
            self._after_change()
            return cursor.rowcount == 1

    def remove(self, case_id: str) -> bool:
        """Remove one case; return whether there was such a case."""
        where = f"{self.schema.sql[self.identity]} = ?"
        with self._lock:
            cursor = self._db.execute(f"DELETE FROM cases WHERE {where}", (case_id,))  # noqa: S608
            self._after_change()
            return cursor.rowcount == 1

    def count(self, where: Where) -> int:
        """Return the exact number of matching cases."""
        # Every page of a result has the count, so it is cached until a case changes.
        with self._lock:
            if where not in self._counts:
                self._counts[where] = self._count(where)
                if len(self._counts) > _MAX_COUNTS:
                    self._counts.popitem(last=False)
            return self._counts[where]

    def rows(self, names: Sequence[str], where: Where = EVERYTHING) -> list[Row]:
        """Return the named columns of all matching cases, in the order of their ids."""
        columns = ", ".join(self.expression(name) for name in names)
        order = f"ORDER BY {self.expression(self.identity)}"
        sql = f"SELECT {columns} FROM cases WHERE {where.sql} {order}"  # noqa: S608 - own names
        with self._lock:
            return self._db.execute(sql, where.values).fetchall()

    def page(
        self,
        names: Sequence[str],
        where: Where,
        order: Sequence[SortKey],
        *,
        after: Sequence[SqlValue] | None,
        limit: int,
        offset: int = 0,
    ) -> list[Row]:
        """Return the next rows in a total order: each is its sort values, then the named columns.

        The last sort key must be unique. `after` are the sort values of the row before the page,
        None for the first page.
        """
        keys = tuple(order)
        columns = ", ".join([key.sql for key in keys] + [self.expression(name) for name in names])
        rows: list[Row] = []
        with self._lock:
            self._create_index(keys)
            for after_range in _ranges_after(keys, after):
                sql = (
                    f"SELECT {columns} FROM cases "  # noqa: S608 - own names
                    f"WHERE ({where.sql}) AND {after_range.sql} "
                    f"ORDER BY {_order_sql(keys)} LIMIT ? OFFSET ?"
                )
                values = (*where.values, *after_range.values, limit - len(rows), offset)
                rows += self._db.execute(sql, values).fetchall()
                if len(rows) >= limit:
                    break
        return rows

    def is_case(self, case_id: str) -> Where:
        """Return the condition for the row with an id."""
        return Where(f"{self.expression(self.identity)} = ?", (case_id,))

    def copy(self) -> "Store":
        """Return another store with the same cases."""
        other = Store(self.schema, identity=self.identity)
        other.add(self.rows([column.name for column in self.schema.columns]))
        return other

    def rank(self, where: Where, order: Sequence[SortKey], values: Sequence[SqlValue]) -> int:
        """Return the rank, from 1, of the case with these sort values among the matching cases."""
        # The cases before these values are those after them in the opposite order.
        opposite = tuple(key.reverse() for key in order)
        ranges = _ranges_after(opposite, values)
        return 1 + sum(self.count(all_of([where, condition])) for condition in ranges)

    def sort_values_of(self, case_id: str, order: Sequence[SortKey]) -> Row | None:
        """Return the sort values of one case, or None where there is no such case."""
        columns = ", ".join(key.sql for key in order)
        sql = f"SELECT {columns} FROM cases WHERE {self.expression(self.identity)} = ?"  # noqa: S608
        with self._lock:
            row: Row | None = self._db.execute(sql, (case_id,)).fetchone()
        return row

    def having_words(self, text: str) -> Where:
        """Return the condition that a case has every word of the text in some field."""
        with self._lock:
            self._index_words()
        # Quotes make an FTS5 string of each word: no character of it is an operator.
        words = [word.replace('"', "") for word in text.split() if any(c.isalnum() for c in word)]
        if not words:
            return NOTHING
        query = " ".join(f'"{word}"' for word in words)
        return Where("rowid IN (SELECT rowid FROM words WHERE words MATCH ?)", (query,))

    def _create(self) -> None:
        names = ", ".join(self.schema.sql.values())
        for name, function in _FUNCTIONS.items():
            arguments = function.__code__.co_argcount
            # Only deterministic functions are allowed in an index.
            self._db.create_function(name, arguments, function, deterministic=True)
        # Nothing is ever rolled back or shared, so no journal; 400 MB of memory before a file.
        self._db.execute("PRAGMA journal_mode = OFF")
        self._db.execute("PRAGMA cache_size = -400000")
        self._db.execute(f"CREATE TABLE cases ({names})")
        self._db.execute(f"CREATE UNIQUE INDEX by_id ON cases ({self.schema.sql[self.identity]})")

    def _count(self, where: Where) -> int:
        sql = f"SELECT count(*) FROM cases WHERE {where.sql}"  # noqa: S608 - own names only
        return int(self._db.execute(sql, where.values).fetchone()[0])

    def _after_change(self) -> None:
        self.version += 1
        self._counts.clear()

    def _create_index(self, keys: tuple[SortKey, ...]) -> None:
        """Create the index of an order unless there is one; drop the least recently used one."""
        if keys[0].sql == self.schema.sql[self.identity]:
            return
        # SQLite reads an index in both directions.
        for order in (keys, tuple(key.reverse() for key in keys)):
            if order in self._orders:
                self._orders.move_to_end(order)
                return
        self._orders[keys] = f"order{next(self._numbers)}"
        self._db.execute(f"CREATE INDEX {self._orders[keys]} ON cases ({_order_sql(keys)})")
        if len(self._orders) > _MAX_ORDERS:
            self._db.execute(f"DROP INDEX {self._orders.popitem(last=False)[1]}")

    def _index_words(self) -> None:
        if self._has_word_index:
            return
        new, current = self._all_text("new"), self._all_text("cases")
        fill = f"INSERT INTO words(rowid, all_text) VALUES (new.rowid, {new})"  # noqa: S608 - own names
        drop = "DELETE FROM words WHERE rowid = old.rowid"
        tokens = "unicode61 remove_diacritics 0"
        self._db.execute(f"CREATE VIRTUAL TABLE words USING fts5(all_text, tokenize='{tokens}')")
        self._db.execute(
            f"INSERT INTO words(rowid, all_text) SELECT cases.rowid, {current} FROM cases"  # noqa: S608 - own names
        )
        # Triggers keep the index current when cases change later.
        for event, steps in {"INSERT": fill, "DELETE": drop, "UPDATE": f"{drop}; {fill}"}.items():
            name = f"words_{event}"
            self._db.execute(f"CREATE TRIGGER {name} AFTER {event} ON cases BEGIN {steps}; END")
        self._has_word_index = True

    def _all_text(self, row: str) -> str:
        names = [
            self.schema.sql[column.name]
            for column in self.schema.columns
            if column.connect and column.kind in TEXT_KINDS | {"list"}
        ]
        return " || ' ' || ".join(f"COALESCE({row}.{name}, '')" for name in names)


def _ranges_after(keys: tuple[SortKey, ...], after: Sequence[SqlValue] | None) -> list[Where]:
    """Return the rows after a row as consecutive ranges, in order.

    For keys (a, b) they are ``a = ? AND b > ?``, then ``a > ?``. SQLite answers each range from the
    index of the order; it does not for one condition with OR.
    """
    if after is None:
        return [EVERYTHING]
    return [_range_after(keys, after, depth) for depth in reversed(range(len(keys)))]


def _order_sql(keys: Sequence[SortKey]) -> str:
    return ", ".join(f"{key.total_sql} {'DESC' if key.descending else 'ASC'}" for key in keys)


def _range_after(keys: tuple[SortKey, ...], after: Sequence[SqlValue], depth: int) -> Where:
    tests = [f"{key.total_sql} = {key.with_sentinel('?')}" for key in keys[:depth]]
    last = keys[depth]
    tests.append(f"{last.total_sql} {'<' if last.descending else '>'} {last.with_sentinel('?')}")
    return Where(" AND ".join(tests), tuple(after[: depth + 1]))


def _has_text(text: str | None, folded: str) -> bool | None:
    return None if text is None else folded in text.casefold()


def _caseless_equal(text: str | None, folded: str) -> bool | None:
    return None if text is None else text.casefold() == folded


def _token_equal(text: str | None, folded: str) -> bool | None:
    return None if text is None else set(folded.split()) <= set(text.casefold().split())


def _join_list(items: str | None) -> str | None:
    return None if items is None else ", ".join(_decode_texts(items))


def _has_tag(tags: str | None, key: str, value: str) -> bool:
    pairs = () if tags is None else (tag.partition("=") for tag in _decode_texts(tags))
    return any((tag_key, tag_value) == (key, value) for tag_key, _, tag_value in pairs)


def _has_item(items: str | None, item: str) -> bool | None:
    return None if items is None else item in _decode_texts(items)


def _user_id(address: str | None) -> str | None:
    return None if address is None else make_user_id(address)


_decode_texts = msgspec.json.Decoder(list[str]).decode
# SQL functions of conditions. NULL stays NULL, but missing tags are no tags.
_FUNCTIONS: Mapping[str, Callable[..., SqlValue]] = {
    "has_text": _has_text,
    "caseless_equal": _caseless_equal,
    "token_equal": _token_equal,
    "joined_list": _join_list,
    "has_tag": _has_tag,
    "has_item": _has_item,
    "user_id": _user_id,
}
