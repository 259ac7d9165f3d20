"""A route to a source that has its cases at hand in, the answer as frames out: no walk, no page.

Such a source filters, sorts and cuts exactly, so what is left to do is to give the answer its
look and to write down what was read.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from casesearch_pd.reading.frame import build
from casesearch_pd.reading.provenance import Told, digest, inscribe
from casesearch_pd.sources.contract import Direct, Scan, Sort

if TYPE_CHECKING:
    from collections.abc import Iterator

    import pandas as pd

    from casesearch_pd.reading.frame import Look
    from casesearch_pd.reading.plan import Route
    from casesearch_pd.sources.run import Run

__all__ = ["answered", "batches", "matching", "whole"]


def whole(route: Route) -> Scan:
    """Ask for all of a route at once: its rows in order, `case_id` with them, cut at the limit."""
    query, case_id = route.query, route.source.schema.resolve("case_id")
    fields = tuple(dict.fromkeys([*query.columns, case_id]))
    sort = query.sort
    if all(item.field != case_id for item in sort):
        sort = (*sort, Sort(case_id))
    return Scan(query.where, fields, sort, limit=query.limit)


def matching(route: Route, run: Run) -> int:
    """Count the rows that the answer will have."""
    found, limit = route.source.count(whole(route), run), route.query.limit
    return found if limit is None else min(found, limit)


def batches(route: Route, look: Look, size: int | None = None) -> Iterator[pd.DataFrame]:
    """Yield the answer as frames, with the column `case_id` whether it was asked for or not."""
    assert isinstance(route.source, Direct), "the source has its cases at hand"
    for columns in route.source.answer(whole(route), size):
        yield build(columns, tz=look.tz, backend=look.backend)


def answered(route: Route, run: Run, look: Look) -> pd.DataFrame:
    """Read the whole answer into one frame."""
    assert isinstance(route.source, Direct), "the source has its cases at hand"
    told = Told(as_of=route.source.as_of, passes=len(route.passes))
    (frame,) = batches(route, look)
    told.rows = told.total = len(frame)
    ids = digest(frame["case_id"])
    frame = frame[[item.column for item in route.query.columns]].copy(deep=False)
    return inscribe(frame, route.source, route.query, told, run, ids=ids, tz=look.tz)
