"""Time to close by Kaplan and Meier: days of closed and of open cases in, a curve out.

An open case is not left out, which would make a desk look quick while its hardest cases wait,
and not taken for closed now: it is *censored*, known to take longer than its age.
"""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from casesearch_pd.errors import warn
from casesearch_pd.query.expressions import Compare, literals
from casesearch_pd.query.serialization import filter_from_json
from casesearch_pd.reading.provenance import read_provenance

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    Days = NDArray[np.float64]

__all__ = ["quantiles", "survival_curve", "survivorship_reason", "warn_of_survivorship_bias"]

_ROUNDING = 1e-9  # of a product of a million shares


def quantiles(closed: Days, still_open: Days, shares: Sequence[float]) -> list[float]:
    """Find in how many days each share of the cases is closed; NaN where the curve ends before.

    Parameters
    ----------
    closed
        Days that the closed cases took.
    still_open
        Ages of the open cases, in days.
    shares
        Shares of all cases, between 0 and 1.
    """
    if not len(closed):
        return [float("nan")] * len(shares)
    found = _ecdf(closed, still_open).cdf
    days = np.append(found.quantiles, np.nan)
    reached = np.searchsorted(found.probabilities, np.asarray(shares) - _ROUNDING)
    return [float(days[at]) for at in reached]


def survival_curve(closed: Days, still_open: Days) -> pd.DataFrame:
    """Tell which share of the cases is closed within so many days.

    Returns
    -------
    pandas.DataFrame
        Columns ``days``, ``closed`` (a share from 0 to 1) and its 95 % band ``low`` and
        ``high`` by the exponential Greenwood formula: a row for 0 days, one for each time
        that a case took, and one for the age up to which something is known. The band is NaN
        where the formula knows none.
    """
    if not len(closed) + len(still_open):
        return pd.DataFrame({name: pd.Series(dtype=float) for name in _COLUMNS})
    found = _ecdf(closed, still_open).cdf
    low, high = _band(found)
    points = np.column_stack([found.quantiles, found.probabilities, low, high])
    steps = np.diff(found.probabilities, prepend=0.0) > 0
    steps[-1] = True
    start = np.zeros((1, len(_COLUMNS)))
    return pd.DataFrame(np.vstack([start, points[steps]]), columns=list(_COLUMNS))


_COLUMNS = ("days", "closed", "low", "high")


def _ecdf(closed: Days, still_open: Days) -> Any:
    # Dear, and few ask for it; it has no stubs of its own.
    from scipy.stats import CensoredData, ecdf  # noqa: PLC0415

    return ecdf(CensoredData(uncensored=closed, right=still_open))


def _band(found: Any) -> tuple[Days, Days]:
    with warnings.catch_warnings():  # that it is undefined at 0 and at 1, which the NaN say
        warnings.simplefilter("ignore", RuntimeWarning)
        band = found.confidence_interval(0.95, method="log-log")
    return band.low.probabilities, band.high.probabilities


# What a filter may bound without making the number wrong is not in the row: cases created in
# a span are a cohort that is followed from its first day, so its time to close is right.
_BOUNDED = {
    "flow": ("status", "state", "closed_at", "updated_at", "created_at"),
    "time to close": ("status", "state", "closed_at", "updated_at"),
}


def survivorship_reason(cases: pd.DataFrame, number: str) -> str | None:
    """Say why a number of this frame would see survivors only; None if it does not.

    Parameters
    ----------
    cases
        A frame with provenance, or without: then nothing is known.
    number
        ``"flow"`` (so too the backlog) or ``"time to close"``.
    """
    told = read_provenance(cases)
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
    return literals(filter_from_json(stored)) if isinstance(stored, dict) else ()


def _column(told: dict[str, object], term: Compare) -> str:
    """Name the column of a condition, which may be written by the service's own id."""
    written = term.field if isinstance(term.field, str) else term.field.column
    columns = told.get("columns")
    ids = {id_: column for column, id_ in columns.items()} if isinstance(columns, dict) else {}
    return written if written in ids.values() else ids.get(written, written)


def warn_of_survivorship_bias(cases: pd.DataFrame, number: str) -> None:
    """Warn at the user's line where a number would see survivors only."""
    said = survivorship_reason(cases, number)
    if said is not None:
        warn(said)
