"""One question a case in, all the answers in one frame out.

A frame that lacks cases leaves in one of three ways only: inside an `IncompleteReadError`,
inside a `ReadInterrupted`, or, asked for with ``on_error="partial"``, with a warning and a note
in its provenance.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from casesearch_pd.errors import (
    AccessDeniedError,
    IncompleteReadError,
    NotFoundError,
    ReadInterrupted,
    warn,
)
from casesearch_pd.reading.columns import Columns, misfits
from casesearch_pd.reading.frame import build
from casesearch_pd.reading.progress import progress_bar
from casesearch_pd.reading.provenance import KEY
from casesearch_pd.reading.rounds import Round
from casesearch_pd.sources.run import Halted

if TYPE_CHECKING:
    from collections.abc import Iterable

    from casesearch_pd.reading.chosen import Chosen
    from casesearch_pd.reading.exhaust import OnError
    from casesearch_pd.reading.progress import Progress
    from casesearch_pd.sources.contract import PerCase, Source
    from casesearch_pd.sources.run import Run

__all__ = ["inscribed", "read_each", "tell_cost", "tell_gone"]

_LONG = 60.0  # seconds that a read may take without a warning
_NAMED = 5  # cases that a message names


def read_each(
    source: Source,
    listing: PerCase,
    chosen: Chosen,
    run: Run,
    *,
    progress: Progress = "auto",
    on_error: OnError = "raise",
    workers: int | None = None,
) -> pd.DataFrame:
    """Ask for every case, and put the answers together, by case and time.

    Raises
    ------
    ServiceError
        Before the first answer, and always for what credentials or names cause.
    IncompleteReadError
        After it; ``.partial`` holds the rows of the cases that came, ``.missing`` the ids of
        the others.
    ReadInterrupted
        If the user stops it.
    """
    tell_cost(listing.name, len(chosen.ids), listing.rate, source.burst)
    with progress_bar(progress, source) as bar:
        bar.total = len(chosen.ids)
        asked = Round(listing, chosen.ids, run, bar, workers)
        try:
            asked.read()
        except (KeyboardInterrupt, Halted) as stop:
            partial = _frame(source, asked, chosen.tz)
            raise ReadInterrupted(
                f"stopped after {len(asked.told)} of {len(chosen.ids)} cases; they are in "
                "sys.last_value.partial",
                partial=partial,
            ) from stop
    if asked.failure is not None:
        return _broken(source, asked, chosen.tz, on_error)
    tell_gone(asked.gone)
    return _frame(source, asked, chosen.tz)


def _broken(source: Source, asked: Round, tz: str, on_error: OnError) -> pd.DataFrame:
    error = asked.failure
    assert error is not None, "only a failure breaks a read"
    if isinstance(error, (AccessDeniedError, NotFoundError)) or not (asked.told or asked.gone):
        raise error
    missing = asked.missing
    broken = IncompleteReadError(
        f"the read broke off: .partial has the {asked.listing.name} of {len(asked.told)} cases, "
        f"and {len(missing)} are not read ({_some(missing)}): {error}; ask for .missing later",
        partial=_frame(source, asked, tz),
        missing=missing,
    )
    if on_error == "raise":
        raise broken from error
    warn(f"this frame is not whole: {broken}")
    assert broken.partial is not None, "it was just given"
    return broken.partial


def tell_gone(ids: Iterable[str]) -> None:
    """Warn of cases that the service does not have."""
    gone = sorted(ids)
    if gone:
        warn(
            f"{len(gone)} cases are not there any more, and have no rows: {_some(gone)}; "
            "df.cases.refresh() does not see deletions, so drop them from the frame"
        )


def tell_cost(what: str, cases: int, rate: float, burst: float) -> None:
    """Warn, before a read of more than a minute, what it costs."""
    seconds = max(0.0, cases - burst) / rate
    if seconds > _LONG:
        warn(
            f"the {what} of {cases} cases takes at least as many requests, and so "
            f"{pd.Timedelta(round(seconds), 's')} at {rate:g} a second; give fewer cases, a "
            "deadline=, or the rate= of a raised quota to the source"
        )


def _some(ids: list[str]) -> str:
    more = ["…"] if len(ids) > _NAMED else []
    return ", ".join([*ids[:_NAMED], *more])


# --- the frame ----------------------------------------------------------------------------


def _frame(source: Source, asked: Round, tz: str) -> pd.DataFrame:
    columns = Columns(asked.listing.fields)
    for case_id in asked.ids:
        for page in asked.told.get(case_id, ()):
            columns.add(page)
    held, _ = columns.finish()
    frame = build(held, tz=tz, backend=None)
    frame = _sorted(frame.drop_duplicates([*asked.listing.key], keep="last"))
    frame = frame.drop(columns=[*asked.listing.hidden])
    notes = [misfits(columns.odd)] if columns.odd else []
    if notes:
        warn(notes[0])
    return inscribed(frame, source, asked.listing.name, tz=tz, **_said(asked, notes))


def _sorted(frame: pd.DataFrame) -> pd.DataFrame:
    """Sort by case and time; what happened at one time stays in the service's order.

    That is the order of time or against it, which no document tells.
    """
    times = frame["at"].groupby(frame["case_id"])
    falls = times.transform("first") > times.transform("last")
    place = pd.Series(np.arange(len(frame)), index=frame.index)
    keys = frame[["case_id", "at"]].assign(place=place.where(~falls, -place))
    return frame.loc[keys.sort_values(["case_id", "at", "place"]).index].reset_index(drop=True)


def _said(asked: Round, notes: list[str]) -> dict[str, Any]:
    pages = [page for case in asked.told.values() for page in case]
    as_of = min((page.served_at for page in pages), default=None)
    missing = asked.missing
    return {
        "cases": len(asked.told),
        "gone": sorted(asked.gone),
        "requests": asked.run.requests,
        "complete": not missing,
        "as_of": None if as_of is None else as_of.isoformat(),
        "notes": [*notes, *([f"{len(missing)} cases were not read"] if missing else [])],
    }


def inscribed(frame: pd.DataFrame, source: Source, name: str, **said: object) -> pd.DataFrame:
    """Write down what was read; without a filter, because the rows are no cases."""
    told = {"format": 1, "source": source.describe(), "around": name, "rows": len(frame), **said}
    frame.attrs[KEY] = json.dumps(told, ensure_ascii=False)
    return frame
