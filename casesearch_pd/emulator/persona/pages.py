"""A Persona environment as its operations see it: stores, key, rate limit, choices."""

import re
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from itertools import count
from typing import Any, Generic, TypeVar
from urllib.parse import urlencode

from casesearch_pd.emulator.data.store import Key, Row, Store, Where
from casesearch_pd.emulator.limits import Window
from casesearch_pd.emulator.options import EmulatorOptions
from casesearch_pd.emulator.persona.query import bad_request
from casesearch_pd.emulator.persona.render import INFLECTIONS, Inflect, Plan, case_object
from casesearch_pd.emulator.server import Reply, Request, parse_json

PREFIX = "/api/v1"
_KEPT = 1000

_Key = TypeVar("_Key")
_Value = TypeVar("_Value")


class Memory(Generic[_Key, _Value]):
    """The last thousand things remembered, the oldest forgotten first."""

    def __init__(self) -> None:
        self._kept: OrderedDict[_Key, _Value] = OrderedDict()
        self._lock = threading.RLock()

    def recall(self, key: _Key) -> _Value | None:
        """Return what is remembered, or None."""
        with self._lock:
            return self._kept.get(key)

    def remember(self, key: _Key, value: _Value) -> None:
        """Keep a value, forgetting the oldest."""
        with self._lock:
            self._kept[key] = value
            if len(self._kept) > _KEPT:
                self._kept.popitem(last=False)

    def once(self, key: _Key, make: Callable[[], _Value]) -> _Value:
        """Return what is remembered, or make and remember it; one thread at a time."""
        with self._lock:
            if key not in self._kept:
                self.remember(key, make())
            return self._kept[key]


@dataclass(frozen=True)
class Environment:
    """A Persona environment: its cases and how it answers.

    Parameters
    ----------
    store
        The cases that search sees.
    live
        The cases that List and retrieve see.
    token
        The API key that is let in.
    window
        The rate limit of the environment.
    created
        When its templates were made.
    choices
        How it answers where no document says it.
    replays
        Replies by Idempotency-Key, with what they were replies to.
    offsets
        How many rows came before a cursor when it was handed out, for cursors that are offsets.
    plans
        What to show of a case, by inflection and sparse fieldset.
    numbers
        Counts requests.
    """

    store: Store
    live: Store
    token: str = field(repr=False)
    window: Window
    created: datetime
    choices: EmulatorOptions
    replays: Memory[str, tuple[bytes, Reply]] = field(default_factory=Memory)
    offsets: Memory[object, int] = field(default_factory=Memory)
    plans: Memory[object, Plan] = field(default_factory=Memory)
    numbers: Iterator[int] = field(default_factory=count)


VERSIONS = frozenset({
    "2026-09-29", "2025-12-08", "2025-10-27", "2023-01-05", "2022-09-01",
    "2021-08-18", "2021-07-05", "2021-02-21", "2020-05-18",
})  # fmt: skip
"""Those of the OpenAPI description, and the one that the documentation of autumn 2026 adds."""

_MOST, _USUAL = 100, 10
_PLAIN = "include"

Query = dict[str, dict[str, str]]


@dataclass(frozen=True)
class Page:
    """The page asked for: its size and the case that it starts after or ends before."""

    size: int
    after: str | None = None
    before: str | None = None


def inflection(request: Request) -> Inflect:
    """Return the inflection asked for, once the version is one that there is."""
    version = request.headers.get("persona-version")
    if version is not None and version not in VERSIONS:
        raise bad_request(f"Persona-Version {version!r} is not a known version")
    name = request.headers.get("key-inflection", "kebab")
    if name not in INFLECTIONS:
        raise bad_request(f"Key-Inflection must be one of: {', '.join(INFLECTIONS)}")
    return INFLECTIONS[name]


def query_of(request: Request, known: set[str]) -> Query:
    """Return the query string as ``{"page": {"size": "10"}}``; a plain name has the key ""."""
    found: Query = {}
    for name, value in request.query:
        match = re.fullmatch(r"([^\[\]]+)(?:\[([^\[\]]+)\])?", name)
        if match is None or match[1] not in known or (match[2] is None) != (match[1] == _PLAIN):
            raise bad_request(f"{name} is not allowed in the query string")
        inner = found.setdefault(match[1], {})
        if inner.setdefault(match[2] or "", value) != value:
            raise bad_request(f"{name} is given twice in the query string")
    return found


def body_of(request: Request) -> dict[str, Any]:
    """Return the body of a search."""
    try:
        body = parse_json(request.content or b"{}")
    except ValueError as error:
        raise bad_request(str(error)) from error
    if not isinstance(body, dict):
        raise bad_request("the body must be an object")
    unknown = sorted(set(body) - {"query", "sort", "page"})
    if unknown:
        raise bad_request(f"{unknown[0]} is not allowed in the body")
    if body.get("sort", {}) is None:
        raise bad_request("sort must be an object of attribute and direction")
    if not isinstance(body.get("page", {}), dict):
        raise bad_request("page must be an object")
    return body


def page_of(sent: Mapping[str, Any]) -> Page:
    """Return the page that parameters ask for, from a body, a query string or both."""
    unknown = sorted(set(sent) - {"size", "after", "before"})
    if unknown:
        raise bad_request(f"page.{unknown[0]} is not allowed")
    cursors = {side: sent[side] for side in ("after", "before") if side in sent}
    if len(cursors) > 1:
        raise bad_request("page.after and page.before cannot be used together")
    if not all(isinstance(cursor, str) and cursor for cursor in cursors.values()):
        raise bad_request("page.after and page.before must be the id of a case")
    return Page(_size(sent.get("size", _USUAL)), **cursors)


def _size(sent: Any) -> int:
    size = int(sent) if isinstance(sent, str) and re.fullmatch("[0-9]{1,9}", sent) else sent
    if isinstance(size, bool) or not isinstance(size, int) or not 1 <= size <= _MOST:
        raise bad_request(f"page.size must be an integer from 1 to {_MOST}")
    return size


@dataclass(frozen=True)
class Walk:
    """The cases of a request in their order."""

    store: Store
    where: Where
    keys: tuple[Key, ...]

    def backwards(self) -> "Walk":
        """Return the same cases in the opposite order."""
        return Walk(self.store, self.where, tuple(key.reversed() for key in self.keys))


@dataclass(frozen=True)
class _Rows:
    """The rows of a page, and whether there are rows before and after it."""

    rows: Sequence[Row]
    earlier: bool
    later: bool


def page_answer(
    environment: Environment, walk: Walk, page: Page, shown: Plan, path: str
) -> dict[str, Any]:
    """Return one page of cases with the links to its neighbours, which begin with a path."""
    read = _backwards if page.before else _forwards
    found = read(environment, walk, page, shown.columns)
    start = len(walk.keys)
    ids = [row[start] for row in found.rows]
    return {
        "data": [case_object(shown, row[start:]) for row in found.rows],
        "links": {
            "prev": _link(path, "before", ids[0], page.size) if ids and found.earlier else None,
            "next": _link(path, "after", ids[-1], page.size) if ids and found.later else None,
        },
    }


def _forwards(environment: Environment, walk: Walk, page: Page, columns: Sequence[str]) -> _Rows:
    place = _place(walk, page.after)
    skipped = environment.offsets.recall((walk, page.after)) or 0
    rows = walk.store.page(
        columns,
        walk.where,
        walk.keys,
        after=None if skipped else place,
        limit=page.size + 1,
        offset=skipped,
    )
    shown = rows[: page.size]
    reached = bool(shown) and _ends_window(environment, walk, shown, skipped)
    return _Rows(shown, place is not None, len(rows) > page.size and not reached)


def _backwards(_: Environment, walk: Walk, page: Page, columns: Sequence[str]) -> _Rows:
    back = walk.backwards()
    after = _place(back, page.before)
    rows = walk.store.page(columns, back.where, back.keys, after=after, limit=page.size + 1)
    return _Rows(rows[: page.size][::-1], len(rows) > page.size, later=True)


def _place(walk: Walk, cursor: str | None) -> Row | None:
    """Return the sort keys of the cursor's case."""
    if cursor is None:
        return None
    place = walk.store.place_of(cursor, walk.keys)
    if place is None:
        raise bad_request(f"page cursor {cursor!r} is not a case")
    return place


def _ends_window(environment: Environment, walk: Walk, rows: Sequence[Row], skipped: int) -> bool:
    """Return whether the page ends the result window; note its end where cursors are offsets."""
    choices = environment.choices
    if choices.window is None and choices.cursor == "keyset":
        return False
    last = rows[-1][: len(walk.keys)]
    reach = skipped + len(rows) if skipped else walk.store.rank(walk.where, walk.keys, last)
    if choices.cursor == "offset":
        environment.offsets.remember((walk, last[-1]), reach)
    return choices.window is not None and reach >= choices.window


def _link(path: str, side: str, case_id: Any, size: int) -> str:
    joint = "&" if "?" in path else "?"
    return f"{path}{joint}{urlencode({f'page[{side}]': case_id, 'page[size]': size})}"
