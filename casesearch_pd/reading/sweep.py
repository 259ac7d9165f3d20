"""What was updated while a read went on, where it may have slipped between two of its walks."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pandas as pd

from casesearch_pd.query.expr import TRUE, Compare, all_of, fields_of
from casesearch_pd.query.pushdown import Split
from casesearch_pd.reading.frame import keep
from casesearch_pd.reading.passes import Reading, began, walk_all
from casesearch_pd.reading.plan import plan
from casesearch_pd.reading.progress import Aside

if TYPE_CHECKING:
    from casesearch_pd.reading.plan import Route

__all__ = ["swept"]

_SWEEPS = 3  # rounds after what changed meanwhile


def swept(reading: Reading, frame: pd.DataFrame) -> pd.DataFrame:
    """Read once more what was updated meanwhile, where it may have slipped between two walks.

    A case that moves from one part of a split filter into another matches all the time and may
    be in neither walk; and passes over one result may hold two versions of one case.
    """
    route, updated = reading.route, reading.route.source.schema.find("updated_at")
    alone = not route.swept and not reading.saved
    nothing = frame.empty and len(route.split.parts) == 1 and not reading.torn
    if alone or nothing or updated is None or reading.passes[0].more:
        return frame
    for _ in range(_SWEEPS):
        torn, reading.torn = reading.torn, set()
        changed = _changed(reading, Compare(updated, "gte", began(reading) - reading.overlap))
        # Who was torn and is not among the changed does not match any more.
        old = frame[~frame["case_id"].isin(torn.union(changed["case_id"]))]
        if len(old) < len(frame) or len(changed):
            frame = pd.concat([old, changed[frame.columns]], ignore_index=True)
        if not reading.torn:
            return frame
    reading.told.notes.append(
        "some cases changed so often that their columns may be of two versions"
    )
    return frame


def _changed(reading: Reading, since: Compare) -> pd.DataFrame:
    """Read what was updated since a time: in one walk where that can be, so that none slips."""
    query, route = reading.route.query, reading.route
    asked = replace(query, where=all_of([query.where, since]), limit=None)
    again = plan(route.source, asked, quiet=True)
    again = replace(again, needed=route.needed, passes=route.passes)
    whole = _in_one_walk(route, since) if len(again.split.parts) > 1 else None
    apart = replace(reading, route=whole or again, passes=[], torn=set())
    apart = replace(apart, checkpoint=None, saved=[], bar=Aside(reading.bar))
    found = walk_all(apart, apart.route)
    reading.torn = apart.torn
    return found if whole is None else keep(found, query.where)


def _in_one_walk(route: Route, since: Compare) -> Route | None:
    """Ask for all that changed, and check the filter here; None if it cannot be checked here."""
    if not route.visible:
        return None
    needed = tuple(dict.fromkeys([*route.needed, *fields_of(route.query.where)]))
    split = Split((since,), TRUE)
    passes = tuple(route.source.passes(needed))
    return replace(route, split=split, needed=needed, passes=passes)
