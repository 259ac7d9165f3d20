"""Time to close by Kaplan and Meier, and the survivorship bias of filtered DataFrames.

An open case is not left out, which would make a team look fast while its hardest cases wait,
and not taken as closed now: it is *censored*, known to take longer than its age.
"""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from casesearch_pd.errors import warn
from casesearch_pd.query.expressions import comparisons
from casesearch_pd.query.serialization import filter_from_json
from casesearch_pd.reading.provenance import Provenance

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

    from casesearch_pd.query.expressions import Compare

    Days = NDArray[np.float64]

__all__ = [
    "grouping_bias",
    "quantiles",
    "survival_curve",
    "survivorship_reason",
    "warn_of_survivorship_bias",
]

_COLUMNS = ("days", "closed", "low", "high")
# A product of a million fractions may end just below the share that it reaches exactly.
_ROUNDING_ERROR = 1e-9


def quantiles(closed: Days, still_open: Days, shares: Sequence[float]) -> list[float]:
    """Return after how many days each share of the cases is closed; NaN if that is not reached.

    `closed` are days to close, `still_open` the ages of open cases in days.
    """
    if not len(closed):
        return [float("nan")] * len(shares)
    distribution = _ecdf(closed, still_open).cdf
    days = np.append(distribution.quantiles, np.nan)
    positions = np.searchsorted(distribution.probabilities, np.asarray(shares) - _ROUNDING_ERROR)
    return [float(days[at]) for at in positions]


def survival_curve(closed: Days, still_open: Days) -> pd.DataFrame:
    """Return the share of the cases closed after each number of days.

    The columns are ``days``, ``closed`` (a share from 0 to 1) and its 95 % band ``low`` and
    ``high`` by the exponential Greenwood formula (NaN where it is not defined). There is a row
    for 0 days, one for each duration of a closed case, and one for the longest duration or age.
    """
    if not len(closed) + len(still_open):
        return pd.DataFrame({name: pd.Series(dtype=float) for name in _COLUMNS})
    distribution = _ecdf(closed, still_open).cdf
    low, high = _confidence_band(distribution)
    points = np.column_stack([distribution.quantiles, distribution.probabilities, low, high])
    is_step = np.diff(distribution.probabilities, prepend=0.0) > 0
    is_step[-1] = True
    start = np.zeros((1, len(_COLUMNS)))
    return pd.DataFrame(np.vstack([start, points[is_step]]), columns=list(_COLUMNS))


def _ecdf(closed: Days, still_open: Days) -> Any:
    from scipy.stats import CensoredData, ecdf  # noqa: PLC0415 - slow to import, rarely needed

    return ecdf(CensoredData(uncensored=closed, right=still_open))


def _confidence_band(distribution: Any) -> tuple[Days, Days]:
    # SciPy warns that the band is undefined where the share is 0 or 1; it is NaN there.
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        band = distribution.confidence_interval(0.95, method="log-log")
    return band.low.probabilities, band.high.probabilities


# The columns that change when a case is closed: to select or group by them is to select by the
# outcome.
_OUTCOME_COLUMNS = frozenset(
    {
        "status", "state", "is_open", "closed_at", "updated_at", "redacted_at", "resolution",
        "resolver", "resolver_id", "resolver_type",
    }
)  # fmt: skip
# Cases created in a time span are a cohort that is followed from its first day, so a filter by
# created_at leaves the time to close right.
_BIASING_COLUMNS = {"flow": _OUTCOME_COLUMNS | {"created_at"}, "time to close": _OUTCOME_COLUMNS}


def grouping_bias(by: str) -> str | None:
    """Return why there is no time to close in groups by a column; None if there is.

    >>> grouping_bias("queue") is None
    True
    """
    if by not in _OUTCOME_COLUMNS:
        return None
    return (
        f"no time to close by {by!r}: it changes when a case is closed, so each group is selected "
        "by its outcome; group by a column that stays, such as 'queue'"
    )


def survivorship_reason(cases: pd.DataFrame, metric: str) -> str | None:
    """Return why a metric ("flow", "time to close") is biased by the frame's own filter.

    Return None if it is not, or if the frame has no provenance.
    """
    # Of a concat of several reads, some cases may be missing that each of them left out.
    reads = Provenance.of(cases).reads
    reasons = dict.fromkeys(reason for read in reads for reason in _reasons(read, metric))
    if not reasons:
        return None
    return (
        f"{metric} is subject to survivorship bias: the DataFrame was read with "
        f"{', '.join(reasons)}, so other cases are missing from it; read without that, and select "
        "the time span in the result"
    )


def _reasons(read: Provenance, metric: str) -> Iterator[str]:
    for term in _conditions(read):
        if _column(read, term) in _BIASING_COLUMNS[metric]:
            yield repr(term)
    if read.limit is not None and read.rows == read.limit != read.total:
        yield f"limit={read.limit}"
    if read.is_chunk:
        yield "iter_cases, of which it is one chunk"


def _conditions(provenance: Provenance) -> tuple[Compare, ...]:
    if not isinstance(provenance.filter, dict):  # none, or of a later version
        return ()
    return comparisons(filter_from_json(provenance.filter))


def _column(provenance: Provenance, term: Compare) -> str:
    """Return the column of a condition, which may name the field by the service's own id."""
    name = term.field if isinstance(term.field, str) else term.field.column
    if name in provenance.columns:
        return name
    return {id_: column for column, id_ in provenance.columns.items()}.get(name, name)


def warn_of_survivorship_bias(cases: pd.DataFrame, metric: str) -> None:
    """Warn, at the user's line, if a metric is subject to survivorship bias."""
    reason = survivorship_reason(cases, metric)
    if reason is not None:
        warn(reason)
