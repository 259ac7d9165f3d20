"""A case service on paper: any number of cases, of which only counts and a page are ever made.

Cases come ever faster over five years, by day and hardly by night, less at weekends. How many were
created up to a time is a table of hours and what lies between; so a count is a subtraction, and
the page at any place a few lines of arithmetic, of a hundred million cases as of a hundred.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from casesearch_pd.query.expressions import And, Compare, Expression, Not, all_of
from casesearch_pd.query.pushdown import Pushdown, PushdownSupport, push_down
from casesearch_pd.query.schema import Field, Schema
from casesearch_pd.sources.base import Page, Request, Scan

if TYPE_CHECKING:
    from casesearch_pd.sources.transport.context import ReadContext

_START = pd.Timestamp("2021-11-01", tz="UTC")
_END = pd.Timestamp("2026-11-01", tz="UTC")
_NOW = pd.Timestamp("2026-11-01T00:10", tz="UTC")
_GROWTH = 4.0  # times as many cases a day at the end as at the beginning
_NIGHT, _WEEKEND = 0.1, 0.3  # of a working hour
_MORNING, _EVENING, _SATURDAY = 7, 19, 5
_SCHEMA = Schema(
    (
        Field("case_id", "case_id", "Case ID", "text"),
        Field("created_at", "created_datetime", "Created", "datetime"),
        Field("updated_at", "last_updated_datetime", "Updated", "datetime"),
    )
)


@dataclass(frozen=True)
class Simulated:
    """A source of so many cases.

    Parameters
    ----------
    cases
        How many.
    can_count
        Whether it tells how many match.
    rate
        Requests a second.
    page_size
        Cases a request.
    """

    cases: int
    can_count: bool = True
    rate: float = math.inf
    page_size: int = 100

    name = "simulated"
    can_search = False
    burst = 10.0
    lookback = 300.0
    max_sorts = 2
    schema = _SCHEMA

    # --- time and number ------------------------------------------------------------------

    @cached_property
    def _table(self) -> tuple[np.ndarray, np.ndarray]:
        """Tell for every hour, in seconds since the first, how many cases there were."""
        hours = pd.date_range(_START, _END, freq="h")
        at = hours[:-1]
        pace = np.where((at.hour >= _MORNING) & (at.hour < _EVENING), 1.0, _NIGHT)
        pace *= np.where(at.weekday < _SATURDAY, 1.0, _WEEKEND)
        pace *= np.linspace(1.0, _GROWTH, len(at))
        made = np.append(0.0, np.cumsum(pace))
        seconds = (hours - _START).total_seconds().to_numpy()
        return seconds, made * (self.cases / made[-1])

    def before(self, moment: pd.Timestamp) -> int:
        """Count the cases created before a time."""
        seconds, made = self._table
        return math.ceil(round(np.interp((moment - _START).total_seconds(), seconds, made), 6))

    def _times(self, rows: range) -> list[str]:
        seconds, made = self._table
        at = np.ceil(np.interp(np.asarray(rows, dtype=float), made, seconds) * 1000)
        moments = _START + pd.to_timedelta(at.astype("int64"), unit="ms")
        return [f"{text[:23]}Z" for text in moments.strftime("%Y-%m-%dT%H:%M:%S.%f")]

    def window(self, where: Expression) -> range:
        """Tell the rows of a window."""
        match where:
            case And(terms):
                windows = [self.window(term) for term in terms] or [range(self.cases)]
                start = max(one.start for one in windows)
                return range(start, max(start, min(one.stop for one in windows)))
            case Compare(Field("updated_at")):
                return range(0)  # these cases stand still
            case Compare(_, "gte", moment):
                return range(self.before(moment), self.cases)
            case Compare(_, "lt", moment):
                return range(self.before(moment))
            case Not(Compare(_, "gte", moment)):
                return range(self.before(moment))
            case Not(Compare(_, "lt", moment)):
                return range(self.before(moment), self.cases)
            case _:
                raise ValueError(f"{where!r} is no window of created_at")

    # --- what a source answers --------------------------------------------------------------

    def page(self, scan: Scan, cursor: str | None, run: ReadContext) -> Page:
        """Make one page."""
        run.count_request()
        rows = self.window(scan.where)
        total, begin = len(rows), int(cursor or 0)
        rows = rows[::-1] if scan.sort[0].descending else rows
        shown = rows[begin : begin + self.page_size]
        end = begin + len(shown)
        columns: dict[str, list[Any]] = {
            "case_id": [f"case-{row}" for row in shown],
            "created_at": self._times(shown),
        }
        following = str(end) if end < total else None
        return Page(len(shown), columns, following, total if self.can_count else None, _NOW)

    def count(self, scan: Scan, run: ReadContext) -> int:
        """Count a window."""
        run.count_request()
        return len(self.window(scan.where))

    def pushdown_support(self, literal: Compare) -> PushdownSupport:
        """Compare creation times, and nothing else."""
        return "exact" if literal.target.column == "created_at" else "unsupported"

    def push_down(self, where: Expression) -> Pushdown:
        """Push windows."""
        return push_down(where, self.pushdown_support)

    def with_bound(self, where: Expression, bound: Expression) -> Expression:
        """Add a bound."""
        return all_of([where, bound])

    def column_batches(self, fields: tuple[Field, ...]) -> list[tuple[Field, ...]]:
        """Ask once."""
        return [fields]

    def can_sort_by(self, field: Field) -> bool:
        """Sort by the creation time."""
        return field.column == "created_at"

    def request(self, scan: Scan, cursor: str | None = None) -> Request:
        """Write nothing: nobody is asked."""
        raise NotImplementedError

    def command(self, request: Request) -> str:
        """Write nothing: nobody is asked."""
        raise NotImplementedError

    def describe(self) -> dict[str, Any]:
        """Tell what it is."""
        return {"service": self.name, "cases": self.cases}
