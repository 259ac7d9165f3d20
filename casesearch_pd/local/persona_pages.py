"""Pages of Persona: a walk through an order and a cursor in, cases and links out."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

from casesearch_pd.local.persona_environment import Environment
from casesearch_pd.local.persona_parameters import Page
from casesearch_pd.local.persona_query import bad_request
from casesearch_pd.local.persona_render import Plan, case_object
from casesearch_pd.local.store import Key, Row, Store
from casesearch_pd.local.where import Where


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
