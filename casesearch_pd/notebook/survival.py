"""Time to close by Kaplan and Meier: days of closed and of open cases in, a curve out.

An open case is not left out, which would make a desk look quick while its hardest cases wait,
and not taken for closed now: it is *censored*, known to take longer than its age.
"""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    Days = NDArray[np.float64]

__all__ = ["curve", "quantiles"]

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


def curve(closed: Days, still_open: Days) -> pd.DataFrame:
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
