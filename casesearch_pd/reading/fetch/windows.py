"""Windows of creation time, and the scans that read them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from casesearch_pd.query.expressions import Compare, Expression, all_of, conjuncts, negate

if TYPE_CHECKING:
    from collections.abc import Iterable

    import pandas as pd

    from casesearch_pd.query.schema import Field
    from casesearch_pd.sources.base import Scan, Source

__all__ = [
    "TimeWindow",
    "may_match_undated",
    "missing_windows",
    "restrict_scan",
    "restrict_to_window",
    "undated_scan",
]


@dataclass(frozen=True, slots=True)
class TimeWindow:
    """A half-open range of creation times; no update moves a case from one into another.

    Parameters
    ----------
    start
        The first time of the window; None for the first window, which also has the cases
        without a creation time.
    end
        The first time after the window; None for the last window.

    Examples
    --------
    >>> import pandas as pd
    >>> before, since = TimeWindow().split(pd.Timestamp("2026-03-01", tz="UTC"))
    >>> before.where("created_at")
    ~(field('created_at') >= '2026-03-01T00:00:00+00:00')
    >>> since.where("created_at")
    field('created_at') >= '2026-03-01T00:00:00+00:00'
    >>> str(since)
    'created_at from 2026-03-01T00:00:00+00:00 to the end'
    """

    start: pd.Timestamp | None = None
    end: pd.Timestamp | None = None

    def where(self, field: Field | str) -> Expression:
        """Return the condition that a case is in the window."""
        bounds: list[Expression] = []
        if self.start is not None:
            bounds.append(Compare(field, "gte", self.start))
        if self.end is not None:
            # A comparison with a missing time is false. "Not at or after the end" therefore
            # keeps the cases without a time in the first window, and no other window has them.
            after = Compare(field, "gte", self.end)
            bounds.append(negate(after) if self.start is None else Compare(field, "lt", self.end))
        return all_of(bounds)

    def contains(self, timestamp: pd.Timestamp | None) -> bool:
        """Return whether a case of this creation time is in the window."""
        if timestamp is None:
            return self.start is None
        after_start = self.start is None or timestamp >= self.start
        return after_start and (self.end is None or timestamp < self.end)

    def split(self, at: pd.Timestamp) -> tuple[TimeWindow, TimeWindow]:
        """Return the windows before a time, and from it on."""
        return TimeWindow(self.start, at), TimeWindow(at, self.end)

    def __str__(self) -> str:
        start = "the beginning" if self.start is None else self.start.isoformat()
        end = "the end" if self.end is None else self.end.isoformat()
        return f"created_at from {start} to {end}"


def missing_windows(windows: Iterable[TimeWindow]) -> list[TimeWindow]:
    """Return the windows that are missing between the given ones, which are in order."""
    missing: list[TimeWindow] = []
    edge: pd.Timestamp | None = None
    for window in windows:
        if window.start is not None and (edge is None or window.start > edge):
            missing.append(TimeWindow(edge, window.start))
        if window.end is None:
            return missing
        edge = window.end
    return [*missing, TimeWindow(edge)]


def restrict_scan(source: Source, scan: Scan, bound: Expression) -> Scan | None:
    """Return a scan with one more condition; None if one request cannot contain both."""
    where = source.with_bound(scan.where, bound)
    return None if where is None else replace(scan, where=where)


def restrict_to_window(source: Source, scan: Scan, window: TimeWindow) -> Scan | None:
    """Return a scan of one window only; None if one request cannot contain its bounds."""
    return restrict_scan(source, scan, window.where(scan.sort[0].field))


def may_match_undated(scan: Scan) -> bool:
    """Return whether cases without a creation time can match the filter of a scan."""
    terms = conjuncts(scan.where)
    # A comparison with a missing time is false, so that one of them excludes these cases.
    return not any(
        isinstance(term, Compare) and term.target.column == "created_at" and term.op != "isna"
        for term in terms
    )


# Where a service sorts missing values is not documented, and last is likely. A first window that
# is read in ascending order and ends before the scan does then never comes to its cases without a
# time, and they need a request of their own. Not every service can be asked for missing values,
# but "neither before nor at or after a time" means the same.
def undated_scan(source: Source, scan: Scan, at: pd.Timestamp) -> Scan | None:
    """Return the scan of the cases without a creation time; None if it cannot be requested."""
    created = scan.sort[0].field
    bounds = (Compare(created, "lt", at), Compare(created, "gte", at))
    return restrict_scan(source, scan, all_of(map(negate, bounds)))
