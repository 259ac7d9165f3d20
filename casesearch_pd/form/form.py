"""`CaseForm`: a filter form, from the rows of the filter to the DataFrame that they read.

The form connects its parts: editors hold a `FormQuery`, a `CostEstimator` previews its cost, a
`SearchRunner` runs it, and `Results` shows the cases. Callbacks of widgets come from any thread,
several at a time, so one lock guards whatever they change.

Classes of its controls, for style sheets and tests: ``cs-form``, ``cs-more``, ``cs-sentence``,
and those that its parts document.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any, Self

import ipywidgets as widgets

from casesearch_pd.errors import CaseSearchError, FilterError
from casesearch_pd.form.groups import FilterEditor
from casesearch_pd.form.jobs import CostEstimator, CostPreview
from casesearch_pd.form.model.code import read_cases_code
from casesearch_pd.form.model.query import FormQuery, require_query
from casesearch_pd.form.model.saved_form import load_form, save_form
from casesearch_pd.form.model.sentence import preview_sentences
from casesearch_pd.form.options import OptionsEditor
from casesearch_pd.form.results.results import Results
from casesearch_pd.form.runner import RunBar, SearchRunner, SearchView
from casesearch_pd.form.widgets import Messages, error_text, style_sheet
from casesearch_pd.reading.incremental.refresh import source_of
from casesearch_pd.reading.options import Query
from casesearch_pd.reading.provenance import Provenance

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
    """An interactive filter form: rows of conditions, and the cases that match them.

    Parameters
    ----------
    source
        The source to search, such as `ConnectCases` or `PersonaCases`; its fields are discovered
        at once.
    where, search, tags, columns, sort, limit, tz, **filters
        What the form begins with, as in `read_cases`.

    Raises
    ------
    FilterError
        If the query does not fit the source, or the form has no rows for its filter, such as for
        an empty list.
    ServiceError
        If the service does not return its fields.

    Notes
    -----
    While the form is edited nothing is sent but one request that counts the cases, where the
    service can do that, 0.4 seconds after the last change. The search runs in a background
    thread: other cells can be run at the same time, and `wait` waits for it.

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

    # Of a form whose constructor failed, which `close` is called on nevertheless.
    _runner: SearchRunner | None = None
    _frame: pd.DataFrame | None

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
        query = FormQuery.from_query(
            source,
            Query(
                where=where,
                filters=filters,
                search=search,
                tags=tags,
                columns=columns,
                sort=sort,
                limit=limit,
                tz=tz,
            ),
        )
        self._source, self._frame, self._lock = source, None, threading.RLock()
        view = SearchView(
            start=self._show_start,
            progress=self._show_progress,
            end=self._show_outcome,
            error=self._show_error,
        )
        self._runner = SearchRunner(source, view, self._lock)
        self._estimator = CostEstimator(source, self._show_cost, self._lock)
        self._rows = FilterEditor(source, tz=query.tz, tree=query.tree, on_change=self._update)
        self._options = OptionsEditor(source, query, on_change=self._update)
        self._bar = RunBar(self._on_search, self.cancel)
        self._sentence = Messages("cs-sentence")
        self._results = Results()
        super().__init__(children=self._parts(), layout=widgets.Layout(width="100%"))
        self.add_class("cs-form")
        self._update()

    def _parts(self) -> list[widgets.Widget]:
        more = widgets.Accordion([self._options.widget], selected_index=None)
        more.set_title(0, "Search term, tags, columns, order, limit")
        more.add_class("cs-more")
        return [style_sheet(), self._rows.widget, more, self._sentence, self._bar, self._results]

    @property
    def filters(self) -> dict[str, Any]:
        """The keyword arguments of `read_cases`, or of another `CaseForm`, for the same query.

        Raises
        ------
        FilterError
            If a row is incomplete or wrong; the message names it.
        """
        return self._valid_query().to_arguments(self._source.schema)

    @property
    def code(self) -> str:
        """The call of `read_cases` for the same query.

        Raises
        ------
        FilterError
            If a row is incomplete or wrong; the message names it.
        """
        return read_cases_code(self.filters)

    def _valid_query(self) -> FormQuery:
        problems = self._problems()
        if problems:
            raise FilterError(" ".join(problems))
        return self._query()

    def _query(self) -> FormQuery:
        """Return the contents of the form, whether they are valid or not."""
        return self._options.query(self._rows.tree)

    def _problems(self) -> list[str]:
        return [*self._rows.problems, *self._options.problems]

    def __repr__(self) -> str:
        try:
            contents = self.code.removeprefix("df = ")
        except FilterError as error:
            contents = str(error)
        return f"CaseForm({self._source!r}: {contents})"

    @property
    def frame(self) -> pd.DataFrame | None:
        """The cases of the last search; partial results if it was cancelled or failed."""
        return self._frame

    def run(self) -> None:
        """Start a search in the background; a running search is cancelled and its cases dropped.

        Raises
        ------
        FilterError
            If a row is incomplete or wrong; nothing has been sent.
        """
        self._search_runner.start(self._valid_query())

    def cancel(self) -> None:
        """Cancel the running search after its current page, and show its partial results."""
        with self._lock:
            if self._search_runner.cancel():
                self._bar.show_cancelling()

    def wait(self, timeout: float | None = None) -> bool:
        """Wait until the search is done and its results are shown.

        Parameters
        ----------
        timeout
            Seconds; None waits without a limit.

        Returns
        -------
        bool
            Whether it is done.
        """
        return self._search_runner.wait(timeout)

    def close(self) -> None:
        """Remove the form from the screen, and cancel a running search."""
        if self._runner is not None:
            self._runner.close()
            self._estimator.cancel()
        super().close()

    @property
    def _search_runner(self) -> SearchRunner:
        assert self._runner is not None, "the constructor has finished"
        return self._runner

    def _on_search(self) -> None:
        try:
            self.run()
        except CaseSearchError as error:
            self._bar.show_error(str(error))

    def _show_start(self) -> None:
        self._bar.show_start()

    def _show_progress(self, snapshot: Snapshot) -> None:
        self._bar.show_progress(snapshot)

    def _show_outcome(self, read: BackgroundRead, query: FormQuery) -> None:
        status = "" if self._frame is None else "The results of the previous search are below."
        self._bar.show_outcome(read, status)
        if read.frame is not None:
            self._frame = read.frame
            notes = dict.fromkeys([*read.warnings, *Provenance.from_attrs(read.frame).notes])
            code = read_cases_code(query.to_arguments(self._source.schema))
            self._results.show(read.frame, code=code, plan=read.plan, notes=list(notes))

    def _show_error(self, error: Exception) -> None:
        self._bar.show_failure(error_text(error))

    def _update(self) -> None:
        """Show what the form searches for now, and estimate its cost."""
        with self._lock:
            query = self._query()
            # Rows are checked in the time zone of the options.
            self._rows.tz = query.tz
            problems = self._problems()
            if problems:
                self._estimator.cancel()
                self._sentence.show(problems, "error")
                return
            self._sentence.show(preview_sentences(CostPreview(query), self._source), "plain")
            self._estimator.submit(query)

    def _show_cost(self, preview: CostPreview) -> None:
        # The controls may have changed already, though their callback has not come yet.
        if not self._problems() and preview.query == self._query():
            sentences = preview_sentences(preview, self._source)
            self._sentence.show(sentences, "plain", notes=[*preview.warnings, preview.problem])

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Save the contents of the form as a JSON file, incomplete rows included.

        The file contains no secrets and no cases.

        Parameters
        ----------
        path
            The file, which is replaced once everything is written.

        Returns
        -------
        pathlib.Path
            The file.

        Raises
        ------
        FilterError
            If no file can be written there.
        """
        return save_form(path, self._query(), self._source)

    @classmethod
    def load(cls, path: str | os.PathLike[str], source: Source) -> Self:
        """Return the form of a file that `save` wrote.

        Parameters
        ----------
        path
            The file.
        source
            The source to search, which may differ from that of the saved form. Rows whose fields
            it does not have show an error.

        Returns
        -------
        CaseForm
            The form.

        Raises
        ------
        FilterError
            If the file is not a saved form.
        """
        # Shown after the form exists, so that rows which do not fit the source become errors in
        # the form instead of an exception.
        form = cls(source)
        form._show_query(load_form(path))
        return form

    @classmethod
    def from_frame(cls, frame: pd.DataFrame, source: Source | None = None) -> Self:
        """Return a form with the query that a DataFrame was read by, which shows its cases.

        Parameters
        ----------
        frame
            The result of `read_cases`.
        source
            The source that it was read from; by default it is recreated from the provenance, as in
            ``df.cases.refresh``.

        Returns
        -------
        CaseForm
            The form.

        Raises
        ------
        FilterError
            If the DataFrame has no provenance, or the form has no rows for its filter.
        """
        provenance = Provenance.from_attrs(frame)
        require_query(provenance)
        source = source_of(provenance, source)
        form = cls(source)
        form._show_query(FormQuery.from_provenance(provenance, source))
        form._show_frame(frame)
        return form

    def _show_query(self, query: FormQuery) -> None:
        with self._lock:
            self._options.show(query)
            self._rows.tz = query.tz
            self._rows.show(query.tree)
            self._update()

    def _show_frame(self, frame: pd.DataFrame) -> None:
        with self._lock:
            self._frame = frame
            notes = Provenance.from_attrs(frame).notes
            self._results.show(frame, code=self.code, plan=None, notes=notes)
