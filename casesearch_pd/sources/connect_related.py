"""What there is around a Connect case: its history and related items, answers in, pages out.

Shapes follow botocore's service model ``connectcases/2022-10-03``: GetCaseAuditEvents and
SearchRelatedItems answer for one case, 25 entries a request. The answers are read as plain
JSON, value by value: botocore's parser would lose a whole page to one null in a union.
"""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from casesearch_pd import errors
from casesearch_pd.sources.connect_entries import (
    EVENT_COLUMNS,
    FILTERS,
    ITEM_COLUMNS,
    KINDS,
    ODD,
    changes,
    item,
    known,
)
from casesearch_pd.sources.contract import Page, PerCase
from casesearch_pd.sources.moments import served_at
from casesearch_pd.sources.patience import patiently

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from casesearch_pd.query.schema import Field
    from casesearch_pd.sources.connect_entries import Row
    from casesearch_pd.sources.pace import Budget
    from casesearch_pd.sources.run import Run

__all__ = ["EMPTY", "KINDS", "Ask", "Desk", "events", "related"]

_Told = TypeVar("_Told")
_ENTRIES = 25  # in one request (service model)

EMPTY = {
    "GetCaseAuditEvents": b'{"auditEvents":[]}',
    "SearchRelatedItems": b'{"relatedItems":[]}',
}
"""What to leave to botocore's parser in the place of an answer that is read here."""


class Ask(Protocol):
    """Sends one request, and reads its answer with `read`, which says ValueError to a bad one."""

    def __call__(
        self, operation: str, asked: dict[str, Any], read: Callable[[Any], _Told]
    ) -> tuple[_Told, Mapping[str, str]]:
        """Return what was read, and the headers."""
        ...


@dataclass(frozen=True)
class Desk:
    """How one domain is asked.

    Parameters
    ----------
    ask
        Sends one request; its answer is the body, or what botocore made of it where the body
        was not to be had.
    budget
        Finds the request budget of an operation.
    column
        Tells the column of a field's id.
    """

    ask: Ask
    budget: Callable[[str], Budget]
    column: Callable[[str], str]


@dataclass(frozen=True)
class _Listing:
    """One operation that lists: its member, the columns, and what an entry has for them."""

    operation: str
    member: str
    fields: tuple[Field, ...]
    rows: Callable[[Row, Callable[[str], str]], Iterator[Row]]
    key: tuple[str, ...]
    hidden: tuple[str, ...] = ()


_EVENTS = _Listing(
    "GetCaseAuditEvents",
    "auditEvents",
    EVENT_COLUMNS,
    changes,
    key=("case_id", "event_id", "field"),
    hidden=("event_id",),
)
_ITEMS = _Listing(
    "SearchRelatedItems", "relatedItems", ITEM_COLUMNS, item, key=("case_id", "related_id")
)


# --- asking -----------------------------------------------------------------------------------


def events(desk: Desk) -> PerCase:
    """List the changes of a case: one row a changed field, and one of an event without any."""
    return _per_case(desk, _EVENTS, "audit history")


def related(desk: Desk, kinds: Sequence[str]) -> PerCase:
    """List the related items of a case, of some kinds."""
    # Without a filter there may also be kinds that are newer than this list.
    wanted: list[dict[str, Any]] = [{FILTERS.get(kind, kind): {}} for kind in kinds]
    more: dict[str, Any] = {} if set(kinds) == set(KINDS) else {"filters": wanted}
    return _per_case(desk, _ITEMS, "related items", **more)


def _per_case(desk: Desk, listing: _Listing, name: str, **more: object) -> PerCase:
    budget = desk.budget(listing.operation)

    def page(case_id: str, cursor: str | None, run: Run) -> Page | None:
        asked = {"caseId": case_id, "maxResults": _ENTRIES, **more}
        asked |= {} if cursor is None else {"nextToken": cursor}
        try:
            return patiently(lambda: _page(desk, listing, asked), budget, run)
        except errors.NotFoundError as error:
            if _is_of_case(error, case_id):
                return None
            raise

    return PerCase(name, listing.fields, listing.key, budget.rate, page, listing.hidden)


def _is_of_case(error: errors.NotFoundError, case_id: str) -> bool:
    """Tell a case that is gone from a domain that is none: the service names the resource."""
    told = getattr(error.__cause__, "response", {})
    kind, named = str(told.get("resourceType")), str(told.get("resourceId"))
    return kind.casefold() == "case" or named.rpartition("/")[2] == case_id


def _page(desk: Desk, listing: _Listing, asked: dict[str, Any]) -> Page:
    def read(answer: Any) -> tuple[list[Row], str | None]:
        entries, cursor = _listed(answer, listing.member)
        rows = [row for entry in entries for row in listing.rows(entry, desk.column)]
        return [{**row, "case_id": asked["caseId"]} for row in rows], cursor

    (rows, cursor), headers = desk.ask(listing.operation, asked, read)
    odd = Counter(name for row in rows for name, held in row.items() if held is ODD)
    columns = {one.column: [known(row.get(one.column)) for row in rows] for one in listing.fields}
    return Page(len(rows), columns, cursor, None, served_at(headers), odd=dict(odd))


def _listed(answer: Any, member: str) -> tuple[list[Row], str | None]:
    """Take the entries and the token out of an answer.

    Raises
    ------
    ValueError
        If it is none.
    """
    told = json.loads(answer.decode()) if isinstance(answer, bytes) else answer
    entries = told.get(member) if isinstance(told, dict) else None
    if not isinstance(entries, list):
        raise ValueError(f"the answer has no list {member}")  # noqa: TRY004 - wire, not a type
    entries = [entry for entry in entries if entry is not None]
    if not all(isinstance(entry, dict) for entry in entries):
        raise ValueError(f"an entry of {member} is no object")
    cursor = told.get("nextToken") or None
    if cursor is not None and not isinstance(cursor, str):
        raise ValueError("the answer's nextToken is not text")
    return entries, cursor
