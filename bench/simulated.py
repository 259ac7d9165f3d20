"""A simulated source of any number of cases, which computes counts and pages without storing cases.

Cases are created at a rate that grows over five years, mostly by day, and less at weekends. The
number of cases created before a time is interpolated from a table of hours. So a count is a
subtraction and a page some arithmetic, for a hundred million cases as for a hundred.
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
from casesearch_pd.sources.traits import ServiceTraits

if TYPE_CHECKING:
    from casesearch_pd.sources.transport.context import ReadContext

_START = pd.Timestamp("2021-11-01", tz="UTC")
_END = pd.Timestamp("2026-11-01", tz="UTC")
_NOW = pd.Timestamp("2026-11-01T00:10", tz="UTC")
_GROWTH = 4.0  # cases per day at the end, as a multiple of those at the beginning
_NIGHT, _WEEKEND = 0.1, 0.3  # cases per hour, as a share of those of a working hour
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
    """A source with a given number of cases.

    Parameters
    ----------
    cases
        The number of cases.
    can_count
        Whether it returns the number of matching cases.
    rate
        Requests per second.
    page_size
        Cases per request.
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
    traits = ServiceTraits()

    # --- times and row numbers -------------------------------------------------------------

    @cached_property
    def _table(self) -> tuple[np.ndarray, np.ndarray]:
        """Return the hours, in seconds since the first, and the number of cases before each."""
        hours = pd.date_range(_START, _END, freq="h")
        at = hours[:-1]
        density = np.where((at.hour >= _MORNING) & (at.hour < _EVENING), 1.0, _NIGHT)
        density *= np.where(at.weekday < _SATURDAY, 1.0, _WEEKEND)
        density *= np.linspace(1.0, _GROWTH, len(at))
        counts = np.append(0.0, np.cumsum(density))
        seconds = (hours - _START).total_seconds().to_numpy()
        return seconds, counts * (self.cases / counts[-1])

    def before(self, moment: pd.Timestamp) -> int:
        """Return the number of cases created before a time."""
        seconds, counts = self._table
        return math.ceil(round(np.interp((moment - _START).total_seconds(), seconds, counts), 6))

    def _times(self, rows: range) -> list[str]:
        seconds, counts = self._table
        at = np.ceil(np.interp(np.asarray(rows, dtype=float), counts, seconds) * 1000)
        moments = _START + pd.to_timedelta(at.astype("int64"), unit="ms")
        return [f"{text[:23]}Z" for text in moments.strftime("%Y-%m-%dT%H:%M:%S.%f")]

    def window(self, where: Expression) -> range:
        """Return the rows of a window of ``created_at``."""
        match where:
            case And(terms):
                windows = [self.window(term) for term in terms] or [range(self.cases)]
                start = max(window.start for window in windows)
                return range(start, max(start, min(window.stop for window in windows)))
            case Compare(Field("updated_at")):
                return range(0)  # these cases never change
            case Compare(_, "gte", moment):
                return range(self.before(moment), self.cases)
            case Compare(_, "lt", moment):
                return range(self.before(moment))
            case Not(Compare(_, "gte", moment)):
                return range(self.before(moment))
            case Not(Compare(_, "lt", moment)):
                return range(self.before(moment), self.cases)
            case _:
                raise ValueError(f"{where!r} is not a window of created_at")

    # --- the source -------------------------------------------------------------------------

    def read_page(self, scan: Scan, cursor: str | None, context: ReadContext) -> Page:
        """Return one page."""
        context.count_request()
        rows = self.window(scan.where)
        total, begin = len(rows), int(cursor or 0)
        rows = rows[::-1] if scan.sort[0].descending else rows
        page_rows = rows[begin : begin + self.page_size]
        end = begin + len(page_rows)
        columns: dict[str, list[Any]] = {
            "case_id": [f"case-{row}" for row in page_rows],
            "created_at": self._times(page_rows),
        }
        next_cursor = str(end) if end < total else None
        return Page(len(page_rows), columns, next_cursor, total if self.can_count else None, _NOW)

    def count(self, scan: Scan, context: ReadContext) -> int:
        """Return the number of cases of a window."""
        context.count_request()
        return len(self.window(scan.where))

    def pushdown_support(self, comparison: Compare) -> PushdownSupport:
        """Return ``"exact"`` for comparisons of the creation time."""
        return "exact" if comparison.target.column == "created_at" else "unsupported"

    def push_down(self, where: Expression) -> Pushdown:
        """Split a filter; only windows are pushed."""
        return push_down(where, self.pushdown_support)

    def with_bound(self, where: Expression, bound: Expression) -> Expression:
        """Return a filter combined with a bound."""
        return all_of([where, bound])

    def column_batches(self, fields: tuple[Field, ...]) -> list[tuple[Field, ...]]:
        """Return all fields as one batch."""
        return [fields]

    def can_sort_by(self, field: Field) -> bool:
        """Return whether the field is the creation time."""
        return field.column == "created_at"

    def request(self, scan: Scan, cursor: str | None = None) -> Request:
        """Raise: no request is sent."""
        raise NotImplementedError

    def command(self, request: Request) -> str:
        """Raise: no request is sent."""
        raise NotImplementedError

    def describe(self) -> dict[str, Any]:
        """Return name and number of cases."""
        return {"service": self.name, "cases": self.cases}
