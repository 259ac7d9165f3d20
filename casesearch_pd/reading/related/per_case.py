"""Read a listing that a service returns for one case at a time, such as its audit history."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass, field
from itertools import islice
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from casesearch_pd.errors import (
    FilterError,
    InvalidRequestError,
    InvalidResponseError,
    ServiceError,
    warn,
)
from casesearch_pd.reading.fetch.outcome import PartialResult, end_early
from casesearch_pd.reading.fetch.workers import useful_workers
from casesearch_pd.reading.frames.columns import Columns, describe_invalid_values
from casesearch_pd.reading.frames.frame import build_frame, require_distinct_columns
from casesearch_pd.reading.progress import progress_bar
from casesearch_pd.reading.provenance import Provenance
from casesearch_pd.sources.base import RelatedSource
from casesearch_pd.sources.registry import require_source
from casesearch_pd.sources.traits import mixes_services
from casesearch_pd.sources.transport.context import Cancelled

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from casesearch_pd.reading.options import ReadOptions
    from casesearch_pd.sources.base import Page, PerCaseListing, Source
    from casesearch_pd.sources.transport.context import ReadContext

__all__ = [
    "CaseSelection",
    "read_listing",
    "require_related_source",
    "select_cases",
    "warn_of_cost",
    "warn_of_missing_cases",
]

# What may differ between two sources of the same cases: how they are reached and read.
_WAYS = {"endpoint_url", "version", "fresh"}
_MAX_ID_LENGTH = 500  # characters of a case id (botocore's service model)
_MAX_SILENT_SECONDS = 60.0  # that a read may take without a warning
_MAX_NAMED = 5  # cases that a message names


@dataclass(frozen=True)
class CaseSelection:
    """The cases that a user passed."""

    ids: tuple[str, ...]  # each once, in the given order
    tz: str = "UTC"  # of the times in the result
    frame: pd.DataFrame | None = None  # with the cases, if a DataFrame was passed


def require_related_source(source: Source) -> RelatedSource:
    """Return the source if it also returns what belongs to its cases."""
    require_source(source)
    if not isinstance(source, RelatedSource):
        raise FilterError(f"{source!r} returns only cases; use the source of the service itself")
    return source


def select_cases(source: Source, cases: pd.DataFrame | Iterable[str] | str) -> CaseSelection:
    """Return the cases that a user passed, if they are cases of the source."""
    require_source(source)
    if not isinstance(cases, pd.DataFrame):
        return CaseSelection(_parse_ids(source, [cases] if isinstance(cases, str) else cases))
    if "case_id" not in cases.columns:
        raise FilterError(
            "the DataFrame has no column 'case_id'; read it too, columns=['case_id', …], or pass "
            "ids"
        )
    require_distinct_columns(cases, {"case_id"})
    provenance = Provenance.of(cases)
    _check_same_source(source, provenance)
    return CaseSelection(_parse_ids(source, cases["case_id"]), provenance.tz, cases)


def _check_same_source(source: Source, provenance: Provenance) -> None:
    expected, actual = provenance.source, source.describe()
    for key in expected.keys() & actual.keys() - _WAYS:
        if expected[key] != actual[key]:
            raise FilterError(
                f"the DataFrame was read from another source: its {key} is {expected[key]!r}, that "
                f"of the source {actual[key]!r}; pass the source that it was read from"
            )


def _parse_ids(source: Source, ids: Iterable[object]) -> tuple[str, ...]:
    if not pd.api.types.is_list_like(ids) or isinstance(ids, pd.DataFrame):
        raise FilterError(f"cases must be a DataFrame with 'case_id', or ids, got {ids!r}")
    distinct = tuple(dict.fromkeys(map(_parse_id, ids)))
    if mixes_services(distinct, known=[source.traits]):
        raise FilterError(
            "these are cases of several services; read the ones of each source separately, and "
            "concatenate the results"
        )
    return distinct


def _parse_id(value: object) -> str:
    # In an address, "." or ".." instead of an id would lead somewhere else.
    if not isinstance(value, str) or not value.strip(".") or len(value) > _MAX_ID_LENGTH:
        raise FilterError(f"case_id must be the text of an id, got {value!r}; leave it out")
    return value


def warn_of_missing_cases(ids: Iterable[str]) -> None:
    """Warn of cases that the service does not have."""
    missing = sorted(ids)
    if missing:
        warn(
            f"cases that no longer exist ({len(missing)}) have no rows: {_first_ids(missing)}; "
            "df.cases.refresh() does not detect deletions, so drop them from the DataFrame"
        )


def warn_of_cost(content: str, cases: int, rate: float, burst: float) -> None:
    """Warn before a read that takes more than a minute."""
    seconds = max(0.0, cases - burst) / rate
    if seconds > _MAX_SILENT_SECONDS:
        warn(
            f"reading the {content} of {cases} cases needs at least as many requests, and so "
            f"{pd.Timedelta(round(seconds), 's')} at {rate:g} per second; pass fewer cases, a "
            "timeout=, or the rate= of a raised quota to the source"
        )


def _first_ids(ids: list[str]) -> str:
    return ", ".join([*ids[:_MAX_NAMED], *(["…"] if len(ids) > _MAX_NAMED else [])])


def read_listing(
    source: Source,
    listing: PerCaseListing,
    selection: CaseSelection,
    options: ReadOptions,
    context: ReadContext,
) -> pd.DataFrame:
    """Read a listing of every case into one DataFrame, sorted by case and time.

    Raises
    ------
    ServiceError
        Before the first response, and always for what credentials or names cause.
    IncompleteReadError
        After it; ``.partial`` holds the rows of the cases that were read, ``.missing`` the ids of
        the others.
    ReadInterrupted
        If the user stops it.
    """
    warn_of_cost(listing.name, len(selection.ids), listing.rate, source.burst)
    with progress_bar(options.progress, source) as bar:
        bar.total = len(selection.ids)
        reader = _PerCaseReader(source, listing, selection, context, bar)
        try:
            reader.read(options.max_workers)
        except (KeyboardInterrupt, Cancelled, ServiceError) as error:
            return end_early(error, reader, options.on_error)
    warn_of_missing_cases(reader.not_found)
    return reader.frame()


@dataclass
class _PerCaseReader:
    """The cases to read, and what has been read."""

    source: Source
    listing: PerCaseListing
    selection: CaseSelection
    context: ReadContext
    bar: Any
    pages: dict[str, list[Page]] = field(default_factory=dict)  # of each case that is complete
    not_found: set[str] = field(default_factory=set)  # cases that the service does not have
    failure: ServiceError | None = None
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def __post_init__(self) -> None:
        """Start before the first case."""
        self._queue = iter(self.selection.ids)

    @property
    def started(self) -> bool:
        """Whether any case has been read."""
        return bool(self.pages or self.not_found)

    def missing(self) -> list[str]:
        """Return the cases that were not read."""
        return [
            case_id
            for case_id in self.selection.ids
            if case_id not in self.pages and case_id not in self.not_found
        ]

    def partial(self, note: str) -> PartialResult:
        """Return the rows that were read, marked as incomplete with a note."""
        amount = f"{len(self.pages)} of {len(self.selection.ids)} cases"
        return PartialResult(self.frame(note), amount)

    def read(self, max_workers: int | None) -> None:
        """Read all cases.

        Raises
        ------
        Cancelled
            If the user stopped the read.
        ServiceError
            If the service failed; the cases that other workers had begun are complete.
        """
        # The first cases show how long a response takes, and so how many workers are useful.
        self._work(self.context.tuning.cases_before_workers)
        workers = useful_workers(self.context, self.listing.rate, max_workers)
        if workers == 1:
            self._work()
        elif self.missing():
            self._work_together(workers)
        self.context.raise_if_cancelled()
        if self.failure is not None:
            raise self.failure

    def _work_together(self, workers: int) -> None:
        with ThreadPoolExecutor(workers, thread_name_prefix="cases") as pool:
            try:
                for worker in as_completed([pool.submit(self._work) for _ in range(workers)]):
                    worker.result()
            except BaseException:
                # Wakes the workers that wait for a permit, so that the pool can end.
                self.context.cancel_event.set()
                raise

    def _work(self, limit: int | None = None) -> None:
        for case_id in islice(self._next_cases(), limit):
            try:
                pages = _read_case(self.listing, case_id, self.context)
            except ServiceError as error:
                with self._lock:
                    self.failure = self.failure or error
                return
            with self._lock:
                if pages is None:
                    self.not_found.add(case_id)
                else:
                    self.pages[case_id] = pages
                self.bar.update(1)

    def _next_cases(self) -> Iterator[str]:
        while True:
            with self._lock:
                case_id = next(self._queue, None)
            stopped = self.failure is not None or self.context.cancel_event.is_set()
            if case_id is None or stopped:
                return
            yield case_id

    def frame(self, note: str | None = None) -> pd.DataFrame:
        """Return the rows that were read, with their provenance; a note if incomplete."""
        listing, selection = self.listing, self.selection
        columns = Columns(listing.fields)
        for case_id in selection.ids:
            for page in self.pages.get(case_id, ()):
                columns.add(page)
        arrays, _ = columns.finish()
        frame = build_frame(arrays, tz=selection.tz, backend=None)
        frame = _sort(frame.drop_duplicates([*listing.key], keep="last"))
        frame = frame.drop(columns=[*listing.key_only])
        notes = [] if note is None else [note]
        if columns.invalid:
            notes.append(describe_invalid_values(columns.invalid))
            warn(notes[-1])
        pages = [page for pages in self.pages.values() for page in pages]
        frame.attrs |= Provenance(
            source=self.source.describe(),
            traits=self.source.traits,
            listing=listing.name,
            tz=selection.tz,
            rows=len(frame),
            cases=len(self.pages),
            not_found=tuple(sorted(self.not_found)),
            requests=self.context.requests,
            complete=note is None,
            as_of=min((page.served_at for page in pages), default=None),
            notes=tuple(notes),
        ).to_attrs()
        return frame


def _sort(frame: pd.DataFrame) -> pd.DataFrame:
    """Sort by case and time, and keep the order of the service at equal times."""
    # No document says whether the service sorts by time or against it; its first and last row do.
    times = frame["at"].groupby(frame["case_id"])
    descending = times.transform("first") > times.transform("last")
    position = pd.Series(np.arange(len(frame)), index=frame.index)
    keys = frame[["case_id", "at"]].assign(position=position.where(~descending, -position))
    order = keys.sort_values(["case_id", "at", "position"]).index
    return frame.loc[order].reset_index(drop=True)


class _CursorError(Exception):
    """A cursor that does not advance or is rejected; the case is read again from its start."""

    def __init__(self, error: ServiceError) -> None:
        super().__init__(str(error))
        self.error = error


def _read_case(listing: PerCaseListing, case_id: str, context: ReadContext) -> list[Page] | None:
    """Read all pages of one case; None if there is no such case."""
    try:
        return _read_pages(listing, case_id, context)
    except _CursorError:
        pass  # a cursor may have expired; the listing of one case is soon read again
    try:
        return _read_pages(listing, case_id, context)
    except _CursorError as second:
        raise second.error from second


def _read_pages(listing: PerCaseListing, case_id: str, context: ReadContext) -> list[Page] | None:
    pages: list[Page] = []
    cursors: set[str | None] = set()
    cursor: str | None = None
    while cursor is not None or not pages:
        page = _read_page(listing, case_id, cursor, context)
        if page is None:  # also if the case is deleted during the read
            return None
        pages.append(page)
        cursor = page.cursor
        empty_pages = sum(not page.rows for page in pages)
        if cursor in cursors or empty_pages > context.tuning.max_empty_pages:
            raise _CursorError(
                InvalidResponseError(
                    f"the {listing.name} of case {case_id!r} returned a pagination cursor that "
                    "does not advance; report it to the service, and leave the case out for now"
                )
            )
        cursors.add(cursor)
        context.raise_if_cancelled()
    return pages


def _read_page(
    listing: PerCaseListing, case_id: str, cursor: str | None, context: ReadContext
) -> Page | None:
    try:
        return listing.read_page(case_id, cursor, context)
    except InvalidRequestError as error:
        if cursor is None:
            raise
        raise _CursorError(error) from error
