"""A frame's own filter comes in; which cases it left out, so that numbers mislead, goes out."""

from __future__ import annotations

from typing import TYPE_CHECKING

from casesearch_pd.errors import warn
from casesearch_pd.query.expr import Compare, literals
from casesearch_pd.query.stored import from_json
from casesearch_pd.reading.provenance import read_back

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["survivors", "warn_of_survivors"]

# What a filter may bound without making the number wrong is not in the row: cases created in
# a span are a cohort that is followed from its first day, so its time to close is right.
_BOUNDED = {
    "flow": ("status", "state", "closed_at", "updated_at", "created_at"),
    "time to close": ("status", "state", "closed_at", "updated_at"),
}


def survivors(cases: pd.DataFrame, number: str) -> str | None:
    """Say why a number of this frame would see survivors only; None if it does not.

    Parameters
    ----------
    cases
        A frame with provenance, or without: then nothing is known.
    number
        ``"flow"`` (so too the backlog) or ``"time to close"``.
    """
    told = read_back(cases)
    bounds = [repr(term) for term in _bounds(told) if _column(told, term) in _BOUNDED[number]]
    if told.get("limit") is not None and told["rows"] == told["limit"] != told["total"]:
        bounds.append(f"limit={told['limit']}")
    if not bounds:
        return None
    return (
        f"{number} sees survivors only: the frame was read with {', '.join(bounds)}, so the other "
        "cases are missing from it; read without that, and cut the span you want out of the answer"
    )


def _bounds(told: dict[str, object]) -> tuple[Compare, ...]:
    stored = told.get("filter")
    return literals(from_json(stored)) if isinstance(stored, dict) else ()


def _column(told: dict[str, object], term: Compare) -> str:
    """Name the column of a condition, which may be written by the service's own id."""
    written = term.field if isinstance(term.field, str) else term.field.column
    columns = told.get("columns")
    ids = {id_: column for column, id_ in columns.items()} if isinstance(columns, dict) else {}
    return written if written in ids.values() else ids.get(written, written)


def warn_of_survivors(cases: pd.DataFrame, number: str) -> None:
    """Warn at the user's line where a number would see survivors only."""
    said = survivors(cases, number)
    if said is not None:
        warn(said)
