"""Read a plan in batches of complete rows, in order and in bounded memory.

The pages of all parts of the filter are merged into one order. With several passes, the other
passes of a batch are read over the batch's own window of ``created_at``, so that no pass has to
be held as a whole. Rows of one creation time are in one batch: the batches are in order if each
of them is, and two windows never share a time.
"""

from __future__ import annotations

from collections import Counter
from contextlib import closing
from dataclasses import dataclass, field, replace
from itertools import chain
from typing import TYPE_CHECKING

import pandas as pd

from casesearch_pd.errors import FilterError, warn
from casesearch_pd.query.expressions import TRUE, Compare, all_of
from casesearch_pd.reading.fetch.checkpoint import (
    Checkpoint,
    SavedWindow,
    WindowFiles,
    query_fingerprint,
)
from casesearch_pd.reading.fetch.merge import hold_back_ties, merge_ordered, sort_pages
from casesearch_pd.reading.fetch.pagination import ScanState, iter_pages
from casesearch_pd.reading.fetch.passes import pass_fields
from casesearch_pd.reading.fetch.pipeline import count_in_process, iter_in_process
from casesearch_pd.reading.fetch.windows import (
    TimeWindow,
    may_match_undated,
    missing_windows,
    restrict_scan,
    restrict_to_window,
    undated_scan,
)
from casesearch_pd.reading.frames.columns import Columns
from casesearch_pd.reading.frames.frame import (
    build_frame,
    filter_rows,
    join_passes_on_id,
    keep_newest,
    sort_rows,
)
from casesearch_pd.sources.base import InProcessSource, Sort
from casesearch_pd.sources.transport.timestamps import EPOCH, MIN_TIME

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator

    from casesearch_pd.query.schema import Field
    from casesearch_pd.reading.options import ReadOptions
    from casesearch_pd.reading.plan import ReadPlan
    from casesearch_pd.reading.progress import Bar
    from casesearch_pd.reading.provenance import ReadMetadata
    from casesearch_pd.sources.base import Page, Scan
    from casesearch_pd.sources.transport.context import ReadContext

__all__ = ["BatchReader", "StreamCheckpoint", "with_fixed_type"]


class BatchReader:
    """Read a plan in batches.

    `metadata` receives ``as_of``, the total and notes. `total` is the number of rows of the result,
    if the service counts exactly these; `rows` the number of cases read so far, and `edge` their
    latest creation time. With `open_columns`, fields that are not in the schema are kept
    (`new_fields`) and the types that it does not know may differ from batch to batch.
    """

    def __init__(
        self,
        plan: ReadPlan,
        context: ReadContext,
        options: ReadOptions,
        metadata: ReadMetadata,
        *,
        open_columns: bool,
    ) -> None:
        self.total: int | None = None
        self.rows = 0
        self.edge: pd.Timestamp | None = None
        self.new_fields: dict[str, Field] = {}
        self.invalid: Counter[str] = Counter()
        self.checkpoint = StreamCheckpoint.open(plan, options)
        self._plan, self._context, self._options = plan, context, options
        self._metadata, self._open = metadata, open_columns
        self._columns: Columns | None = None  # rows that are in no batch yet
        self._ties: list[Page] = []  # rows of the last creation time, of which more may follow
        self._previous_ids: frozenset[str] = frozenset()  # the cases of the last batch

    def read(self, bar: Bar) -> Generator[pd.DataFrame]:
        """Yield the batches: complete rows, filtered and in order."""
        if isinstance(self._plan.source, InProcessSource):
            yield from self._read_in_process(bar)
            return
        chunksize, limit = self._options.chunksize, self._plan.query.limit
        max_rows = self._context.tuning.batch_rows
        size = min(chunksize, max_rows, limit or max_rows)
        with closing(self._pages(bar)) as pages:
            for pages_without_ties in hold_back_ties(pages, self._tie_columns(), self._ties):
                if self._collect(pages_without_ties) >= size:
                    yield self._take_batch()
            if self._columns is not None:
                yield self._take_batch()

    def _read_in_process(self, bar: Bar) -> Iterator[pd.DataFrame]:
        plan, metadata, options = self._plan, self._metadata, self._options
        assert isinstance(plan.source, InProcessSource), "the source is in this process"
        metadata.as_of = plan.source.as_of
        metadata.total = self.total = bar.total = count_in_process(plan, self._context)
        for frame in iter_in_process(plan, options.frame_format, options.chunksize):
            self.rows += len(frame)
            bar.update(len(frame))
            yield frame

    def empty_frame(self) -> pd.DataFrame:
        """Return a batch without rows: every column, of its type."""
        plan = self._plan
        fields = dict.fromkeys([plan.source.schema.resolve("case_id"), *plan.required_fields])
        return self._build(Columns([self._fix_type(item) for item in fields]))

    def pending_rows(self) -> pd.DataFrame:
        """Return the rows that are in no batch yet; with several passes, they lack columns."""
        self._collect(self._ties)
        return self.empty_frame() if len(self._plan.passes) > 1 else self._take_batch()

    def _pages(self, bar: Bar) -> Generator[Page]:
        """Yield the pages of all parts of the filter, merged into one order."""
        scans = self._plan.pass_scans(self._plan.passes[0])
        parts = [self._part_pages(part, scan, bar) for part, scan in enumerate(scans)]
        if not self._is_sorted_by_service():
            yield from sort_pages(chain.from_iterable(parts), self._context.tuning)
        else:
            yield from merge_ordered([*parts, *self.checkpoint.changes(self._context)])

    def _is_sorted_by_service(self) -> bool:
        plan = self._plan
        one_by_one = plan.pushdown.strategy == "one by one"
        return not one_by_one and plan.source.can_sort_by(plan.order[0].field)

    def _tie_columns(self) -> list[str]:
        """Return the columns whose ties must be in one batch; none if the service breaks ties."""
        plan = self._plan
        single = len(plan.pushdown.parts) == 1
        breaks_ties = plan.order[-1].field.column == "case_id" and self._is_sorted_by_service()
        return [] if single and breaks_ties else [item.field.column for item in plan.query.sort]

    def _part_pages(self, part: int, scan: Scan, bar: Bar) -> Iterator[Page]:
        metadata, checkpoint = self._metadata, self.checkpoint
        is_uncounted = not checkpoint.saved_windows(part)  # else an earlier read has counted it
        for page in checkpoint.pages(part, scan, self._context):
            if is_uncounted and page.total is not None:
                self._add_total(page.total)
            is_uncounted = False
            metadata.as_of = metadata.as_of or checkpoint.started_at or page.served_at
            self._note_new_fields(page)
            bar.total = self.total
            bar.update(page.rows)
            yield page

    def _add_total(self, total: int) -> None:
        """Add the count of one part of the filter."""
        self._metadata.total = total + (self._metadata.total or 0)
        limit = self._plan.query.limit
        if self._plan.pushdown.residual == TRUE:
            rows = self._metadata.total
            self.total = rows if limit is None else min(rows, limit)

    def _note_new_fields(self, page: Page) -> None:
        if not self._plan.query.all_columns:
            return
        new = {name: item for name, item in page.new_fields.items() if name not in self.new_fields}
        self.new_fields |= new
        if new and not self._open:
            warn(
                f"fields that are not in the schema are left out: {', '.join(sorted(new))}; name "
                "them in columns=, or use read_cases"
            )

    def _collect(self, pages: list[Page]) -> int:
        """Add pages to the next batch, and return its rows."""
        if self._columns is None:
            keeps_new_fields = self._open and self._plan.query.all_columns
            fields = pass_fields(self._plan, self._plan.passes[0])
            self._columns = Columns(
                [self._fix_type(item) for item in fields], open=keeps_new_fields
            )
        for page in pages:
            self._columns.add(page)
        return self._columns.rows

    def _fix_type(self, item: Field) -> Field:
        return item if self._open else with_fixed_type(item)

    def _take_batch(self) -> pd.DataFrame:
        assert self._columns is not None, "pages were collected"
        frame = self._complete(self._new_rows(self._columns))
        self._columns = None
        return self._filter_and_sort(frame)

    def _new_rows(self, columns: Columns) -> pd.DataFrame:
        """Build the rows of a batch, without the cases of the batch before."""
        frame = self._build(columns)
        # A case can move across a page border during the read, and so into the next batch.
        frame = frame[~frame["case_id"].isin(self._previous_ids)].reset_index(drop=True)
        self._previous_ids = frozenset(frame["case_id"])
        self.rows += len(frame)
        if "created_at" in frame and len(frame):
            last = frame["created_at"].max()
            self.edge = self.edge if pd.isna(last) else last
        return frame

    def _build(self, columns: Columns) -> pd.DataFrame:
        arrays, _ = columns.finish()
        self.invalid.update(columns.invalid)
        frame_format = self._options.frame_format
        return keep_newest(
            build_frame(arrays, tz=frame_format.tz, backend=frame_format.dtype_backend)
        )

    def _complete(self, frame: pd.DataFrame) -> pd.DataFrame:
        """Read the other passes over the window of these rows, and join them."""
        present = set(frame.columns)
        for fields in self._plan.passes[1:]:
            new = [self._fix_type(item) for item in fields if item.column not in present]
            columns = Columns([self._plan.source.schema.resolve("case_id"), *new])
            for scan in self._plan.pass_scans(fields) if len(frame) else ():
                for page in self._pages_within(scan, frame):
                    columns.add(page)
            frame = join_passes_on_id(frame, self._build(columns))
            present |= {item.column for item in new}
        return frame

    def _pages_within(self, scan: Scan, frame: pd.DataFrame) -> Iterator[Page]:
        """Yield what a scan has between the first and the last creation time of some rows."""
        source, created = self._plan.source, self._plan.source.schema.resolve("created_at")
        times = frame["created_at"].agg(["min", "max"])
        first, last = (timestamp.tz_convert("UTC") for timestamp in times)
        bound = all_of([Compare(created, "gte", first), Compare(created, "lte", last)])
        window_scan = restrict_scan(source, scan, bound)
        if window_scan is None:
            window_scan = replace(scan, where=all_of([scan.where, bound]))
        return iter_pages(source, ScanState(window_scan, can_rewind=False), self._context)

    def _filter_and_sort(self, frame: pd.DataFrame) -> pd.DataFrame:
        plan, query = self._plan, self._plan.query
        if plan.pushdown.residual != TRUE:
            frame = filter_rows(frame, plan.pushdown.residual)
        if plan.order[: len(query.sort)] != query.sort or len(query.sort) > 1:
            return frame
        return sort_rows(frame, (*query.sort, Sort(plan.source.schema.resolve("case_id"))))


def with_fixed_type(item: Field) -> Field:
    """Return a field whose type is the same in every batch: an unknown type becomes text."""
    return replace(item, type="text") if item.type == "any" else item


@dataclass
class StreamCheckpoint:
    """The checkpoint of a read that delivers rows in order; without a folder it saves nothing."""

    plan: ReadPlan
    lookback: pd.Timedelta
    checkpoint: Checkpoint | None = None
    windows: list[SavedWindow] = field(default_factory=list)  # saved ones, without their rows

    @classmethod
    def open(cls, plan: ReadPlan, options: ReadOptions) -> StreamCheckpoint:
        """Open the folder, if there is one and the order of the plan can be resumed."""
        lookback = options.lookback_for(plan.source)
        if options.checkpoint is None:
            return cls(plan, lookback)
        _require_resumable_order(plan)
        checkpoint = Checkpoint.open(options.checkpoint, query_fingerprint(plan, streamed=True))
        return cls(plan, lookback, checkpoint, checkpoint.load(with_rows=False))

    @property
    def started_at(self) -> pd.Timestamp | None:
        """The service's clock when the read that is resumed began."""
        return min((pd.Timestamp(window.started_at) for window in self.windows), default=None)

    def saved_windows(self, part: int) -> list[SavedWindow]:
        """Return the saved windows of one part of the filter."""
        return [window for window in self.windows if window.scan == (0, part)]

    def pages(self, part: int, scan: Scan, context: ReadContext) -> Iterator[Page]:
        """Yield one part of the filter in order: the pages of the files, and those between."""
        if self.checkpoint is None:
            yield from self._iter_pages_once(scan, context)
            return
        files = {window.span: window for window in self.saved_windows(part)}
        spans = [*files, *missing_windows(files)] if files else [TimeWindow()]
        has_undated = False
        for span in sorted(spans, key=lambda span: span.start or MIN_TIME):
            if span in files:
                pages = iter([self.checkpoint.load_rows(files[span]).page()])
            else:
                pages = self._read_and_save(self.checkpoint, part, scan, span, context)
            for page in pages:
                has_undated = has_undated or None in page.columns.get("created_at", ())
                yield page
        # A file of the first window ends before its cases without a time, which come last.
        first_end = next(iter(files)).end if files else None
        undated = undated_scan(self.plan.source, scan, first_end) if first_end is not None else None
        if undated is not None and may_match_undated(scan) and not has_undated:
            yield from self._iter_pages_once(undated, context)

    def _iter_pages_once(self, scan: Scan, context: ReadContext) -> Iterator[Page]:
        # Rows that were delivered cannot be taken back, so the scan must not start over.
        return iter_pages(self.plan.source, ScanState(scan, can_rewind=False), context)

    def _read_and_save(
        self, checkpoint: Checkpoint, part: int, scan: Scan, span: TimeWindow, context: ReadContext
    ) -> Iterator[Page]:
        window_scan = restrict_to_window(self.plan.source, scan, span)
        assert window_scan is not None, "`_require_resumable_order` has tried it"
        state = ScanState(window_scan, can_rewind=False)

        def started_at() -> pd.Timestamp:
            return self.started_at or _first_page_time(state)

        pages_per_file = context.tuning.pages_per_checkpoint_file
        files = WindowFiles(checkpoint, (0, part), span.start, started_at, pages_per_file)
        for page in iter_pages(self.plan.source, state, context):
            files.add(page, state.position or span.start)
            yield page
        files.finish(span.end)

    def changes(self, context: ReadContext) -> list[Iterator[Page]]:
        """Read what was updated among the saved rows since they were saved."""
        source = self.plan.source
        updated = source.schema.find("updated_at")
        if self.started_at is None or updated is None:
            return []
        since = Compare(updated, "gte", self.started_at - self.lookback)
        changes = []
        for part, scan in enumerate(self.plan.pass_scans(self.plan.passes[0])):
            if windows := self.saved_windows(part):
                saved_span = TimeWindow(None, windows[-1].span.end).where(scan.sort[0].field)
                changes_scan = restrict_scan(source, scan, all_of([since, saved_span]))
                # If the filter takes no window, all changes are read; a batch drops repeated rows.
                changes_scan = changes_scan or restrict_scan(source, scan, since)
                if changes_scan is not None:
                    changes.append(self._iter_pages_once(changes_scan, context))
        return changes

    def clear(self) -> None:
        """Remove the files, because the read is complete."""
        if self.checkpoint is not None:
            self.checkpoint.clear()


def _first_page_time(state: ScanState) -> pd.Timestamp:
    assert state.as_of is not None, "a page came before it is saved"
    return state.as_of


def _require_resumable_order(plan: ReadPlan) -> None:
    first = plan.order[0]
    if first.field.column != "created_at" or first.descending:
        raise FilterError(
            "checkpoint= needs the order of created_at; leave out sort= or checkpoint="
        )
    source, probe = plan.source, TimeWindow(EPOCH, EPOCH).where(first.field)
    if any(source.with_bound(part, probe) is None for part in plan.pushdown.parts):
        raise FilterError(
            f"checkpoint= needs requests for windows of created_at, which {source.name} does not "
            "take together with this filter; leave out checkpoint=, or use read_cases"
        )
