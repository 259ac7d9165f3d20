"""Read the passes of a plan, one after the other, and join them on ``case_id``.

A request holds a limited number of fields, so that a wide result is read in several passes. The
result may change between two passes, and between the parts of a split filter; `reread_changes`
makes one consistent state of it, so that every case occurs once, in its newest version.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import pandas as pd

from casesearch_pd.query.expressions import TRUE, Compare, all_of, fields_of
from casesearch_pd.query.pushdown import Pushdown
from casesearch_pd.reading.fetch.checkpoint import PassCheckpoint
from casesearch_pd.reading.fetch.workers import WindowedReader
from casesearch_pd.reading.frames.columns import Columns
from casesearch_pd.reading.frames.frame import (
    build_frame,
    filter_rows,
    join_passes_on_id,
    keep_newest,
)
from casesearch_pd.reading.plan import make_plan
from casesearch_pd.reading.progress import SilentBar

if TYPE_CHECKING:
    from collections.abc import Sequence

    from casesearch_pd.query.schema import Field
    from casesearch_pd.reading.fetch.checkpoint import Checkpoint, SavedWindow
    from casesearch_pd.reading.fetch.workers import Window
    from casesearch_pd.reading.options import ReadOptions
    from casesearch_pd.reading.plan import ReadPlan
    from casesearch_pd.reading.progress import Bar
    from casesearch_pd.reading.provenance import ReadMetadata
    from casesearch_pd.sources.base import Page, Scan
    from casesearch_pd.sources.transport.context import ReadContext

__all__ = ["PassReader", "pass_fields"]

_LATER_UPDATED_AT = "updated_at of a later pass"


@dataclass
class _Pass:
    """One pass: the fields it contributes, the windows it was read in, and the counts."""

    fields: list[Field]
    keeps_new_fields: bool
    windows: list[Window] = field(default_factory=list)
    part_totals: dict[int, int | None] = field(default_factory=dict)  # of each part that has begun
    is_at_limit: bool = False

    @property
    def rows(self) -> int:
        return sum(window.columns.rows for window in self.windows)

    @property
    def total(self) -> int | None:
        """The cases that the service counted as the pass began, over all parts of the filter."""
        totals = [window.state.total for window in self.windows if window.is_unrestricted]
        known = [total for total in totals if total is not None]
        return sum(known) if known and len(known) == len(totals) else None


class PassReader:
    """Read a plan pass by pass.

    `metadata` receives ``as_of`` and notes. After `read`, `new_fields` are the fields that are
    not in the schema, `invalid` the number of invalid values by column, and `inconsistent` the
    cases of which the passes have different versions. `latest` is the newest creation time, if a
    previous read has found it.
    """

    def __init__(
        self,
        plan: ReadPlan,
        context: ReadContext,
        options: ReadOptions,
        bar: Bar,
        metadata: ReadMetadata,
        *,
        checkpoint: Checkpoint | None = None,
        latest: pd.Timestamp | None = None,
    ) -> None:
        self.new_fields: dict[str, Field] = {}
        self.invalid: Counter[str] = Counter()
        self.inconsistent: set[str] = set()
        self._plan, self._context, self._options = plan, context, options
        self._bar, self._metadata, self._checkpoint = bar, metadata, checkpoint
        self._saved_windows: list[SavedWindow] = [] if checkpoint is None else checkpoint.load()
        self._passes: list[_Pass] = []
        self._latest = latest

    @property
    def is_resumed(self) -> bool:
        """Whether a part of the result comes from a checkpoint."""
        return bool(self._saved_windows)

    @property
    def total(self) -> int | None:
        """The cases that the service counted at the beginning."""
        return self._passes[0].total if self._passes else None

    @property
    def is_at_limit(self) -> bool:
        """Whether the scan was stopped at the limit."""
        return self._passes[0].is_at_limit

    def read(self, limit: int | None = None) -> pd.DataFrame:
        """Read all passes, and join them; stop at a limit, if the scans have the query's order."""
        plan = self._plan
        self._passes.clear()
        self._bar.total = None if limit is None else limit * len(plan.passes)
        for number, fields in enumerate(plan.passes, 1):
            self._bar.begin(number, len(plan.passes))
            self._passes.append(
                _Pass(pass_fields(plan, fields), plan.query.all_columns and not fields)
            )
            # A case that the first pass does not have is in no other pass either.
            is_empty = number > 1 and not self._passes[0].rows
            self._read_pass([] if is_empty else plan.pass_scans(fields), limit)
        return self._join()

    def _read_pass(self, scans: Sequence[Scan], limit: int | None) -> None:
        current = self._passes[-1]
        reader = WindowedReader(
            self._plan.source,
            self._context,
            bar=self._bar,
            max_workers=self._options.max_workers,
            new_columns=lambda: Columns(current.fields, open=current.keeps_new_fields),
            on_first_page=lambda window, page: self._on_first_page(window, page, limit),
            limit=limit,
            checkpoint=None if limit is not None else self._pass_checkpoint(),
            latest=self._latest,
        )
        try:
            reader.read(scans)
        finally:
            current.windows, self._latest = reader.windows, reader.latest
            current.is_at_limit = reader.is_at_limit

    def _pass_checkpoint(self) -> PassCheckpoint | None:
        if self._checkpoint is None:
            return None
        if self._saved_windows:  # the read began when the oldest of them did
            self._metadata.as_of = min(
                pd.Timestamp(window.started_at) for window in self._saved_windows
            )
        pages = self._context.tuning.pages_per_checkpoint_file
        number = len(self._passes) - 1
        return PassCheckpoint(
            self._checkpoint, self._saved_windows, number, self._started_at, pages
        )

    def _started_at(self) -> pd.Timestamp:
        """Return the service's clock when the read began."""
        assert self._metadata.as_of is not None, "a page came before its window was complete"
        return self._metadata.as_of

    def _on_first_page(self, window: Window, page: Page, limit: int | None) -> None:
        """Note when the read began and how many cases it counted."""
        if self._metadata.as_of is None:
            self._metadata.as_of = page.served_at
        if window.is_unrestricted:
            self._passes[-1].part_totals[window.part] = page.total
            self._update_bar_total(limit)

    def _update_bar_total(self, limit: int | None) -> None:
        """Set the total of the bar once all parts of the filter are counted."""
        totals = [total for total in self._passes[0].part_totals.values() if total is not None]
        if len(totals) == len(self._plan.pushdown.parts):
            rows = sum(totals) if limit is None else min(sum(totals), limit)
            self._bar.total = rows * len(self._plan.passes)

    def _join(self) -> pd.DataFrame:
        self.invalid.clear()  # a read that is repeated, or ends early, is joined again
        first, *later_frames = map(self._pass_frame, self._passes)
        for later in later_frames:
            first = self._join_pass(first, later)
        return first

    def _pass_frame(self, current: _Pass) -> pd.DataFrame:
        columns = Columns(current.fields, open=current.keeps_new_fields)
        for window in current.windows:
            columns.append(window.columns)
        arrays, fields = columns.finish()
        self.invalid.update(columns.invalid)
        expected = {item.column for item in current.fields}
        self.new_fields |= {name: item for name, item in fields.items() if name not in expected}
        frame_format = self._options.frame_format
        return keep_newest(
            build_frame(arrays, tz=frame_format.tz, backend=frame_format.dtype_backend)
        )

    def _join_pass(self, first: pd.DataFrame, later: pd.DataFrame) -> pd.DataFrame:
        """Join a pass, and note the cases of which it has another version than the first."""
        frame = join_passes_on_id(first, later.rename(columns={"updated_at": _LATER_UPDATED_AT}))
        if _LATER_UPDATED_AT not in frame:
            return frame
        differ = (
            frame["updated_at"].ne(frame[_LATER_UPDATED_AT]).to_numpy(dtype=bool, na_value=False)
        )
        self.inconsistent |= set(frame.loc[differ, "case_id"])
        return frame.drop(columns=_LATER_UPDATED_AT)

    # A case that moves from one part of a split filter to another matches all the time, and may
    # be in neither scan; two passes over one result may have two versions of a case. Whatever
    # happens to a case sets its time of update, so one more read of what was updated since the
    # beginning finds them all, and its rows replace the others. That read can be made inconsistent
    # by further changes in the same way, so it is repeated a few times; the updates get fewer,
    # because each round takes less time than the one before.
    def reread_changes(self, frame: pd.DataFrame) -> pd.DataFrame:
        """Replace the rows that changed during the read by a newer, consistent version."""
        plan, updated = self._plan, self._plan.source.schema.find("updated_at")
        is_one_scan = not plan.needs_reread and not self._saved_windows
        is_unaffected = frame.empty and len(plan.pushdown.parts) == 1 and not self.inconsistent
        if is_one_scan or is_unaffected or updated is None or self.is_at_limit:
            return frame
        since = Compare(
            updated, "gte", self._started_at() - self._options.lookback_for(plan.source)
        )
        for _ in range(self._context.tuning.max_rereads):
            inconsistent, self.inconsistent = self.inconsistent, set()
            changed = self._read_changed(since)
            # An inconsistent case that is not among the changed ones does not match any more.
            unchanged = frame[~frame["case_id"].isin(inconsistent.union(changed["case_id"]))]
            if len(unchanged) < len(frame) or len(changed):
                frame = pd.concat([unchanged, changed[frame.columns]], ignore_index=True)
            if not self.inconsistent:
                return frame
        self._metadata.notes.append(
            "some cases changed so often that their columns may be of two versions"
        )
        return frame

    def _read_changed(self, since: Compare) -> pd.DataFrame:
        plan, query = self._plan, self._plan.query
        narrow_query = replace(query, where=all_of([query.where, since]), limit=None)
        changes_plan = replace(
            make_plan(plan.source, narrow_query, quiet=True),
            required_fields=plan.required_fields,
            passes=plan.passes,
        )
        unsplit = _unsplit_plan(plan, since) if len(changes_plan.pushdown.parts) > 1 else None
        reader = PassReader(
            unsplit or changes_plan,
            self._context,
            self._options,
            SilentBar(self._bar),
            self._metadata,
            latest=self._latest,
        )
        try:
            frame = reader.read()
        finally:
            self.new_fields |= reader.new_fields
            self.invalid.update(reader.invalid)
        self.inconsistent = reader.inconsistent
        return frame if unsplit is None else filter_rows(frame, query.where)

    def missing(self) -> list[str]:
        """Return what was not read, in words."""
        current = f"pass {len(self._passes)} of {len(self._plan.passes)}"
        windows = [window for window in self._passes[-1].windows if not window.is_complete]
        return [f"{current}: {window.missing}" for window in windows] or [
            f"{current}: what changed during the read"
        ]

    def partial(self) -> pd.DataFrame:
        """Join the passes that have rows; the columns of the others are missing values."""
        plan, passes = self._plan, self._passes
        if not passes:
            passes.append(_Pass(pass_fields(plan, plan.passes[0]), keeps_new_fields=False))
        while len(passes) > 1 and not passes[-1].rows:
            passes.pop()
        frame = self._join()
        later = dict.fromkeys(item for fields in plan.passes[len(passes) :] for item in fields)
        unread = [item for item in later if item.column not in frame]
        if not unread:
            return frame
        names = ", ".join(item.column for item in unread)
        self._metadata.notes.append(f"columns that were not read: {names}")
        if not {*fields_of(plan.pushdown.residual)}.isdisjoint(unread):
            frame = frame.head(0)  # the filter needs these columns to decide about the rows
        arrays, _ = Columns(unread).finish()
        frame_format = self._options.frame_format
        blank = build_frame(arrays, tz=frame_format.tz, backend=frame_format.dtype_backend)
        return frame.join(blank.reindex(frame.index))


def pass_fields(plan: ReadPlan, fields: tuple[Field, ...]) -> list[Field]:
    """Return the fields that a pass contributes to the result: each field comes from one pass."""
    case_id, first = plan.source.schema.resolve("case_id"), plan.passes[0]
    if fields is not first:
        updated = [item for item in fields if item.column == "updated_at"]
        return [case_id, *updated, *(item for item in fields if item not in first)]
    later = {item for later_fields in plan.passes[1:] for item in later_fields} - set(fields)
    own = dict.fromkeys([case_id, *plan.required_fields, *fields])
    return [item for item in own if item not in later]


def _unsplit_plan(plan: ReadPlan, since: Compare) -> ReadPlan | None:
    """Plan a read of all changes in one scan, filtered locally; None if that is impossible."""
    if not plan.is_evaluable_locally:
        return None
    fields = tuple(dict.fromkeys([*plan.required_fields, *fields_of(plan.query.where)]))
    return replace(
        plan,
        pushdown=Pushdown((since,), TRUE),
        required_fields=fields,
        passes=tuple(plan.source.column_batches(fields)),
    )
