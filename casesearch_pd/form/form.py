"""`CaseForm`: filters without typing, from the rows of the filter to the frame that they read.

The form is a thin shell. What it asks is a `SyncQuery`, which its editors hold; what that costs
is told by a `CostEstimator`; `SearchRunner` run it, and `Results` shows what came. Callbacks of widgets come
on any thread, several at once even, so whatever they change is behind one lock.

Classes of its controls, for style sheets and tests: ``cs-form``, ``cs-more``, ``cs-sentence``,
and those that its parts name.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any, Self

import ipywidgets as widgets

from casesearch_pd.errors import CaseSearchError, FilterError
from casesearch_pd.form.groups import FilterEditor
from casesearch_pd.form.model import question as saved
from casesearch_pd.form.model.code import as_code
from casesearch_pd.form.model.question import FormQuery
from casesearch_pd.form.model.sentence import prefix_for
from casesearch_pd.form.options import OptionsEditor
from casesearch_pd.form.preview import CostEstimator, CostPreview
from casesearch_pd.form.results.results import Results
from casesearch_pd.form.runner import RunBar, SearchRunner, SearchView
from casesearch_pd.form.widgets import Messages, style
from casesearch_pd.reading.incremental.refresh import source_of
from casesearch_pd.reading.provenance import read_provenance

if TYPE_CHECKING:
    import os
    from collections.abc import Iterable, Mapping, Sequence
    from pathlib import Path

    import pandas as pd

    from casesearch_pd.query.expressions import Expression
    from casesearch_pd.reading.background import BackgroundRead, Snapshot
    from casesearch_pd.sources.base import Source

__all__ = ["CaseForm"]


class CaseForm(widgets.VBox):  # type: ignore[misc]  # ipywidgets has no types
    """A filter form that runs: rows of conditions in, a frame of cases and its code out.

    Parameters
    ----------
    source
        Where to search: `ConnectCases`, `PersonaCases`, …; its fields are discovered at once.
    where, search, tags, columns, sort, limit, tz, **filters
        What the form begins with, as in `read_cases`.

    Raises
    ------
    FilterError
        If the filter cannot be asked, or has no rows in a form, such as an empty list.
    ServiceError
        If the service does not tell its fields.

    Notes
    -----
    Nothing is sent while somebody types but, on Amazon Connect, one request that counts, 0.4
    seconds after the last change. The read itself runs in a thread of its own: cells can be run
    meanwhile, and `wait` waits for it.

    Examples
    --------
    >>> import casesearch_pd as cs
    >>> form = cs.CaseForm(cs.open_source("demo://connect"), status=["open", "pending"])
    >>> print(form.code)
    df = cs.read_cases(source, status=["open", "pending"])
    >>> form.run()
    >>> form.wait(timeout=30)
    True
    >>> sorted(form.frame["status"].unique())
    ['open', 'pending']
    """

    def __init__(
        self,
        source: Source,
        where: Expression | Mapping[str, object] | None = None,
        *,
        search: str | None = None,
        tags: Mapping[str, str] | Iterable[str] | str | None = None,
        columns: Sequence[str] | None = None,
        sort: str | Sequence[str] | None = None,
        limit: int | None = None,
        tz: str = "UTC",
        **filters: object,
    ) -> None:
        options = {"search": search, "limit": limit, "tz": tz}
        asked = FormQuery.of(
            source, where, filters, tags=tags, columns=columns, sort=sort, **options
        )
        self._source, self._frame, self._lock = source, None, threading.RLock()
        self._runs = SearchRunner(
            source,
            SearchView(begins=self._began, goes_on=self._goes_on, ends=self._ended),
            self._lock,
        )
        self._forecast = CostEstimator(source, self._foretold)
        self._rows = FilterEditor(source, tz=tz, tree=asked.tree, on_change=self._edited)
        self._options = OptionsEditor(source, asked, on_change=self._edited)
        self._make_controls()
        super().__init__(children=self._laid_out(), layout=widgets.Layout(width="100%"))
        self.add_class("cs-form")
        self._edited()

    # What a form that could not be made is closed with.
    _runs: SearchRunner | None = None
    _frame: pd.DataFrame | None

    # --- what it asks -------------------------------------------------------------------------

    @property
    def filters(self) -> dict[str, Any]:
        """What `read_cases` and `CaseForm` are given besides the source, to ask the same.

        Raises
        ------
        FilterError
            If a row is not finished or wrong; it says which.
        """
        return self._question().arguments(self._source.schema)

    @property
    def code(self) -> str:
        """The call of `read_cases` that asks the same.

        Raises
        ------
        FilterError
            If a row is not finished or wrong; it says which.
        """
        return as_code(self.filters)

    @property
    def _running(self) -> SearchRunner:
        assert self._runs is not None, "the form was made"
        return self._runs

    def _question(self) -> FormQuery:
        problems = self._problems()
        if problems:
            raise FilterError(" ".join(problems))
        return self._held()

    def _held(self) -> FormQuery:
        """Tell what the form holds, finished or not."""
        return self._options.question(self._rows.tree)

    def _problems(self) -> list[str]:
        return [*self._rows.problems, *self._options.problems]

    # --- the run ------------------------------------------------------------------------------

    @property
    def frame(self) -> pd.DataFrame | None:
        """What the last search brought; after a cancel or a break what there is of it."""
        return self._frame

    def run(self) -> None:
        """Search; a search under way is cancelled, and says nothing any more.

        Raises
        ------
        FilterError
            If a row is not finished or wrong; nothing has been sent.
        """
        self._running.start(self.filters)

    def cancel(self) -> None:
        """Stop the search under way; its page is finished, and what came is shown."""
        with self._lock:
            if self._running.cancel():
                self._bar.cancelling()

    def wait(self, timeout: float | None = None) -> bool:
        """Wait until the search is done and shown.

        Parameters
        ----------
        timeout
            Seconds; None waits as long as it takes.

        Returns
        -------
        bool
            Whether it is done.
        """
        return self._running.wait(timeout)

    def close(self) -> None:
        """Take the form off the screen; a search under way is cancelled."""
        if self._runs is not None:
            self._runs.forget()
            self._forecast.forget()
        super().close()

    def _began(self) -> None:
        self._bar.begin()

    def _goes_on(self, now: Snapshot) -> None:
        self._bar.go_on(now)

    def _ended(self, read: BackgroundRead, arguments: Mapping[str, Any]) -> None:
        before = "" if self._frame is None else "Below is still what the search before brought."
        self._bar.end(read, before)
        if read.frame is not None:
            self._frame = read.frame
            notes = dict.fromkeys([*read.said, *read_provenance(read.frame).get("notes", ())])
            self._results.show(
                read.frame, code=as_code(arguments), plan=read.plan, notes=list(notes)
            )

    # --- before the run -----------------------------------------------------------------------

    def _edited(self) -> None:
        """Say what the form asks now, and have it counted."""
        with self._lock:
            question = self._held()
            self._rows.tz = question.tz
            problems = self._problems()
            if problems:
                self._forecast.forget()
                self._sentence.tell(problems, "error")
                return
            self._sentence.tell(prefix_for(CostPreview(question), self._source), "plain")
            self._forecast.ask(question)

    def _foretold(self, outlook: CostPreview) -> None:
        with self._lock:
            if not self._problems() and outlook.question == self._held():
                self._sentence.tell(
                    prefix_for(outlook, self._source),
                    "plain",
                    notes=[*outlook.said, outlook.problem],
                )

    # --- keeping it ---------------------------------------------------------------------------

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Write what the form holds into a file of JSON, unfinished rows included.

        No secret is in it, and none of the cases.

        Parameters
        ----------
        path
            The file; it is replaced when all is written.

        Raises
        ------
        FilterError
            If no file can be written there.
        """
        return saved.save(path, self._held(), self._source)

    @classmethod
    def load(cls, path: str | os.PathLike[str], source: Source) -> Self:
        """Make a form of a file that `save` wrote.

        Parameters
        ----------
        path
            The file.
        source
            Where to search; it may be another one than that of the saved form. What it has no
            fields for is told beside the row.

        Raises
        ------
        FilterError
            If the file is none that `save` writes.
        """
        form = cls(source)
        form._take(saved.load(path))
        return form

    @classmethod
    def from_frame(cls, frame: pd.DataFrame, source: Source | None = None) -> Self:
        """Make a form that asks what a frame was read by, and shows the frame.

        Parameters
        ----------
        frame
            What `read_cases` read.
        source
            Where it was read; found again by its provenance if None, as in
            ``df.cases.refresh``.

        Raises
        ------
        FilterError
            If the frame does not tell how it was read, or the form has no rows for it.
        """
        told = read_provenance(frame)
        saved.require_source_match(told)
        source = source_of(told, source)
        form = cls(source)
        form._take(saved.form_query(told, source))
        form._take_frame(frame)
        return form

    def _take(self, question: FormQuery) -> None:
        with self._lock:
            self._options.show(question)
            self._rows.tz = question.tz
            self._rows.show(question.tree)
            self._edited()

    def _take_frame(self, frame: pd.DataFrame) -> None:
        with self._lock:
            self._frame = frame
            notes = read_provenance(frame).get("notes", ())
            self._results.show(frame, code=self.code, plan=None, notes=notes)

    # --- how it looks -------------------------------------------------------------------------

    def _make_controls(self) -> None:
        self._bar = RunBar(self._on_search, self.cancel)
        self._sentence = Messages("cs-sentence")
        self._results = Results()

    def _laid_out(self) -> list[widgets.Widget]:
        more = widgets.Accordion([self._options.widget], selected_index=None)
        more.set_title(0, "Search term, tags, columns, order, limit")
        more.add_class("cs-more")
        return [style(), self._rows.widget, more, self._sentence, self._bar, self._results]

    def _on_search(self) -> None:
        try:
            self.run()
        except CaseSearchError as error:
            self._bar.complain(str(error))

    def __repr__(self) -> str:
        try:
            asked = self.code.removeprefix("df = ")
        except FilterError as error:
            asked = str(error)
        return f"CaseForm({self._source!r}: {asked})"
