"""A frame or ids in, the cases that are meant out; what cannot be meant is refused at once."""

from __future__ import annotations

import json
import threading
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass, field
from itertools import islice
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from casesearch_pd.errors import (
    AccessDeniedError,
    FilterError,
    IncompleteReadError,
    InvalidRequestError,
    InvalidResponseError,
    NotFoundError,
    ReadInterrupted,
    ServiceError,
    warn,
)
from casesearch_pd.reading.fetch.progress import progress_bar
from casesearch_pd.reading.fetch.workers import useful_workers
from casesearch_pd.reading.frames.columns import Columns, describe_invalid_values
from casesearch_pd.reading.frames.frame import build_frame, require_distinct_columns
from casesearch_pd.reading.provenance import KEY, read_provenance
from casesearch_pd.sources.registry import require_source
from casesearch_pd.sources.transport.context import Cancelled

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from casesearch_pd.reading.fetch.pipeline import OnError
    from casesearch_pd.reading.fetch.progress import Progress
    from casesearch_pd.sources.base import Page, PerCaseListing, Source
    from casesearch_pd.sources.transport.context import ReadContext

__all__ = [
    "CaseSelection",
    "PerCaseReader",
    "read_each",
    "select_cases",
    "warn_of_cost",
    "warn_of_missing_cases",
    "write_related_provenance",
]

# What may differ between two readings of the same cases: the way there, and how it is asked.
_NOT_WHERE = {"endpoint_url", "version", "fresh"}
_PERSONA = "case_"  # begins Persona's ids (Persona's OpenAPI description); Connect's are UUIDs
_LONGEST = 500  # characters of a case's id (botocore's service model)


@dataclass(frozen=True)
class CaseSelection:
    """The cases that are meant.

    Parameters
    ----------
    ids
        Their ids, each once, in the order given.
    tz
        The zone of the times in the answer.
    frame
        The frame that they came from, if it was one.
    """

    ids: tuple[str, ...]
    tz: str = "UTC"
    frame: pd.DataFrame | None = None


def select_cases(source: Source, cases: pd.DataFrame | Iterable[str] | str) -> CaseSelection:
    """Find out which cases are meant.

    Raises
    ------
    FilterError
        If the frame has no ``case_id`` or is of another source, or an id is no text.
    """
    require_source(source)
    if not isinstance(cases, pd.DataFrame):
        return CaseSelection(_ids([cases] if isinstance(cases, str) else cases))
    if "case_id" not in cases.columns:
        raise FilterError(
            "the frame has no column 'case_id'; read it too: columns=['case_id', …], or give ids"
        )
    require_distinct_columns(cases, {"case_id"})
    told = read_provenance(cases)
    _check_source(source, told.get("source", {}))
    return CaseSelection(_ids(cases["case_id"]), told.get("tz", "UTC"), cases)


def _check_source(source: Source, told: dict[str, Any]) -> None:
    ours = source.describe()
    differ = [key for key in told if key in ours and told[key] != ours[key]]
    where = next((key for key in differ if key not in _NOT_WHERE), None)
    if where is not None:
        raise FilterError(
            f"the frame was read from another source: its {where} is {told[where]!r}, this one's "
            f"{ours[where]!r}; give the source that it was read from"
        )


def _ids(given: Iterable[object]) -> tuple[str, ...]:
    if not pd.api.types.is_list_like(given) or isinstance(given, pd.DataFrame):
        raise FilterError(f"{given!r} names no cases; give a frame with 'case_id', or ids")
    ids = dict.fromkeys(_id(held) for held in given)
    persona = sum(item.startswith(_PERSONA) for item in ids)
    if 0 < persona < len(ids):
        raise FilterError(
            "these are cases of several services; ask each source for its own, and join the answers"
        )
    return tuple(ids)


def _id(held: object) -> str:
    # An address with "." or ".." for an id would be another one than a case's.
    if not isinstance(held, str) or not held.strip(".") or len(held) > _LONGEST:
        raise FilterError(f"case_id {held!r} is no id of a case, which is text; leave it out")
    return held


_ALONE = 8  # cases that one reader asks for before others are asked to join
_EMPTY = 20  # empty pages of one case that are followed


@dataclass
class PerCaseReader:
    """The cases to ask for, and what has come.

    Parameters
    ----------
    listing
        Who is asked.
    ids
        The cases.
    run
        The read that this belongs to.
    bar
        Told of each case.
    workers
        Readers at most; None for as many as pay.
    told
        The pages of each case that was asked to its end.
    gone
        Cases that the service does not have.
    failure
        What ended it.
    """

    listing: PerCaseListing
    ids: tuple[str, ...]
    run: ReadContext
    bar: Any
    workers: int | None
    told: dict[str, list[Page]] = field(default_factory=dict)
    gone: set[str] = field(default_factory=set)
    failure: ServiceError | None = None
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def __post_init__(self) -> None:
        """Stand at the first case."""
        self._waiting = iter(self.ids)

    @property
    def missing(self) -> list[str]:
        """The cases that were not asked to their end."""
        return [one for one in self.ids if one not in self.told and one not in self.gone]

    def read(self) -> None:
        """Ask for all cases, or until the service fails.

        Raises
        ------
        Halted
            If the user stopped the read.
        """
        self._work(_ALONE)
        hands = useful_workers(self.run, self.listing.rate, self.workers)
        if hands == 1:
            self._work()
        elif self.missing:
            self._share(hands)
        self.run.raise_if_cancelled()

    def _share(self, hands: int) -> None:
        with ThreadPoolExecutor(hands, thread_name_prefix="cases") as pool:
            try:
                for done in as_completed([pool.submit(self._work) for _ in range(hands)]):
                    done.result()
            except BaseException:
                self.run.cancel_event.set()  # whoever waits for leave to send is woken
                raise

    def _work(self, most: int | None = None) -> None:
        for case_id in islice(self._taken(), most):
            try:
                pages = _walk(self.listing, case_id, self.run)
            except ServiceError as error:
                with self._lock:
                    self.failure = self.failure or error
                return
            self._note(case_id, pages)

    def _taken(self) -> Iterator[str]:
        while True:
            with self._lock:
                case_id = next(self._waiting, None)
            if case_id is None or self.failure is not None or self.run.cancel_event.is_set():
                return
            yield case_id

    def _note(self, case_id: str, pages: list[Page] | None) -> None:
        with self._lock:
            if pages is None:
                self.gone.add(case_id)
            else:
                self.told[case_id] = pages
            self.bar.update(1)


# --- one case ---------------------------------------------------------------------------------


def _walk(listing: PerCaseListing, case_id: str, run: ReadContext) -> list[Page] | None:
    """Ask for all that there is of one case; None if there is no such case.

    Raises
    ------
    ServiceError
        If the service does not answer, or its cursors lead nowhere twice.
    """
    try:
        return _follow(listing, case_id, run)
    except _Lost:
        pass  # a cursor may expire; a list of one case is soon read anew
    try:
        return _follow(listing, case_id, run)
    except _Lost as lost:
        raise lost.error from lost


class _Lost(Exception):  # noqa: N818 - begins a case anew, and reaches nobody
    """A cursor leads nowhere."""

    def __init__(self, error: ServiceError) -> None:
        super().__init__(str(error))
        self.error = error


def _follow(listing: PerCaseListing, case_id: str, run: ReadContext) -> list[Page] | None:
    pages: list[Page] = []
    seen: set[str | None] = set()
    cursor: str | None = None
    while cursor is not None or not pages:
        page = _page(listing, case_id, cursor, run)
        if page is None:  # also if it goes while it is read
            return None
        pages.append(page)
        cursor = page.cursor
        if cursor in seen or sum(not one.rows for one in pages) > _EMPTY:
            raise _Lost(
                InvalidResponseError(
                    f"the {listing.name} of case {case_id!r} comes with page cursors that lead "
                    "nowhere; report it to the service, and leave the case out meanwhile"
                )
            )
        seen.add(cursor)
        if run.cancel_event.is_set():
            raise Cancelled
    return pages


def _page(
    listing: PerCaseListing, case_id: str, cursor: str | None, run: ReadContext
) -> Page | None:
    try:
        return listing.page(case_id, cursor, run)
    except InvalidRequestError as error:
        if cursor is None:
            raise
        raise _Lost(error) from error


_LONG = 60.0  # seconds that a read may take without a warning
_NAMED = 5  # cases that a message names


def read_each(
    source: Source,
    listing: PerCaseListing,
    chosen: CaseSelection,
    run: ReadContext,
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
    warn_of_cost(listing.name, len(chosen.ids), listing.rate, source.burst)
    with progress_bar(progress, source) as bar:
        bar.total = len(chosen.ids)
        asked = PerCaseReader(listing, chosen.ids, run, bar, workers)
        try:
            asked.read()
        except (KeyboardInterrupt, Cancelled) as stop:
            partial = _frame(source, asked, chosen.tz)
            raise ReadInterrupted(
                f"stopped after {len(asked.told)} of {len(chosen.ids)} cases; they are in "
                "sys.last_value.partial",
                partial=partial,
            ) from stop
    if asked.failure is not None:
        return _broken(source, asked, chosen.tz, on_error)
    warn_of_missing_cases(asked.gone)
    return _frame(source, asked, chosen.tz)


def _broken(source: Source, asked: PerCaseReader, tz: str, on_error: OnError) -> pd.DataFrame:
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


def warn_of_missing_cases(ids: Iterable[str]) -> None:
    """Warn of cases that the service does not have."""
    gone = sorted(ids)
    if gone:
        warn(
            f"{len(gone)} cases are not there any more, and have no rows: {_some(gone)}; "
            "df.cases.refresh() does not see deletions, so drop them from the frame"
        )


def warn_of_cost(what: str, cases: int, rate: float, burst: float) -> None:
    """Warn, before a read of more than a minute, what it costs."""
    seconds = max(0.0, cases - burst) / rate
    if seconds > _LONG:
        warn(
            f"the {what} of {cases} cases takes at least as many requests, and so "
            f"{pd.Timedelta(round(seconds), 's')} at {rate:g} a second; give fewer cases, a "
            "timeout=, or the rate= of a raised quota to the source"
        )


def _some(ids: list[str]) -> str:
    more = ["…"] if len(ids) > _NAMED else []
    return ", ".join([*ids[:_NAMED], *more])


# --- the frame ----------------------------------------------------------------------------


def _frame(source: Source, asked: PerCaseReader, tz: str) -> pd.DataFrame:
    columns = Columns(asked.listing.fields)
    for case_id in asked.ids:
        for page in asked.told.get(case_id, ()):
            columns.add(page)
    held, _ = columns.finish()
    frame = build_frame(held, tz=tz, backend=None)
    frame = _sorted(frame.drop_duplicates([*asked.listing.key], keep="last"))
    frame = frame.drop(columns=[*asked.listing.hidden])
    notes = [describe_invalid_values(columns.invalid)] if columns.invalid else []
    if notes:
        warn(notes[0])
    return write_related_provenance(frame, source, asked.listing.name, tz=tz, **_said(asked, notes))


def _sorted(frame: pd.DataFrame) -> pd.DataFrame:
    """Sort by case and time; what happened at one time stays in the service's order.

    That is the order of time or against it, which no document tells.
    """
    times = frame["at"].groupby(frame["case_id"])
    falls = times.transform("first") > times.transform("last")
    place = pd.Series(np.arange(len(frame)), index=frame.index)
    keys = frame[["case_id", "at"]].assign(place=place.where(~falls, -place))
    return frame.loc[keys.sort_values(["case_id", "at", "place"]).index].reset_index(drop=True)


def _said(asked: PerCaseReader, notes: list[str]) -> dict[str, Any]:
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


def write_related_provenance(
    frame: pd.DataFrame, source: Source, name: str, **said: object
) -> pd.DataFrame:
    """Write down what was read; without a filter, because the rows are no cases."""
    told = {"format": 1, "source": source.describe(), "around": name, "rows": len(frame), **said}
    frame.attrs[KEY] = json.dumps(told, ensure_ascii=False)
    return frame
