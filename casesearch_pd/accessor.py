"""``df.cases``: metrics, filters, files, plots and the form of a DataFrame; only delegations."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pandas as pd

from casesearch_pd.analysis import flow, lifecycle, metrics, status_history, tags
from casesearch_pd.reading.incremental.refresh import refresh_frame
from casesearch_pd.reading.local_filter import filter_frame
from casesearch_pd.reading.provenance import read_provenance

if TYPE_CHECKING:
    import os
    from collections.abc import Iterable, Mapping, Sequence
    from datetime import timedelta
    from pathlib import Path

    from casesearch_pd.analysis.display_names import DisplayNames
    from casesearch_pd.form.form import CaseForm
    from casesearch_pd.plots.accessor import CasePlots
    from casesearch_pd.query.expressions import Expression
    from casesearch_pd.sources.base import Source

__all__ = ["CasesAccessor"]


@pd.api.extensions.register_dataframe_accessor("cases")
class CasesAccessor:
    """Methods for a DataFrame with a column ``case_id``, as `read_cases` returns it."""

    def __init__(self, frame: pd.DataFrame) -> None:
        if "case_id" not in frame.columns:
            raise AttributeError(
                "df.cases needs a DataFrame with a 'case_id' column, as read_cases returns it; "
                'a column of your own with the name "cases" is df["cases"]'
            )
        self._frame = frame

    @property
    def provenance(self) -> dict[str, Any]:
        """What was read, when, from where and how completely; empty if not known."""
        return read_provenance(self._frame)

    @property
    def is_open(self) -> pd.Series[bool]:
        """Whether each case is open.

        Amazon Connect: the status is not ``closed``, in any letter case. Persona: there is no
        ``closed_at``. Without provenance, which pandas drops in a merge, the columns show the
        service; in a DataFrame of your own the status decides. ValueError if that is not clear.
        """
        return lifecycle.is_open(self._frame)

    @property
    def as_of(self) -> pd.Timestamp:
        """When the cases were read, by the service's clock; the current time if not known."""
        return lifecycle.as_of(self._frame)

    def where(
        self,
        where: Expression | Mapping[str, object] | None = None,
        *,
        tags: Mapping[str, str] | Iterable[str] | str | None = None,
        tz: str | None = None,
        **filters: object,
    ) -> pd.DataFrame:
        """Return the rows that match a filter: those that the service would return for it.

        Parameters
        ----------
        where, tags, **filters
            As in `read_cases`. Relative times count from the time of the call.
        tz
            The zone of naive times in the filter. Naive times in the DataFrame are in the zone of
            the read; without provenance, in that of the first column of times with a zone; else
            in `tz`. If None, `tz` is that zone of the DataFrame, and UTC where it is unknown.
            The metrics take naive times for the same times.

        Returns
        -------
        pandas.DataFrame
            The matching rows, with their index and order; a new DataFrame, whose provenance is
            still that of the read.

        Raises
        ------
        FilterError
            If the DataFrame lacks a column that the filter names, or if only the service can
            evaluate the filter: ``search=``, fields that are never visible, ids of Persona's
            users.

        Notes
        -----
        Cells are compared by what they mean, whether they are objects, categories or of Arrow's
        types; text, as in a CSV file, as times where it is ISO 8601. A type that no filter
        compares, such as a clock time, is refused. Lists are lost in a CSV file.

        ``is_open=True`` are the cases that `is_open` says, unless a column has that name.

        Examples
        --------
        >>> import casesearch_pd as cs
        >>> with cs.LocalCases(cases=100) as local:
        ...     df = cs.read_cases(local.connect_cases())
        >>> high = df.cases.where(priority=["high", "urgent"], status__ne="closed")
        >>> set(high["priority"]) <= {"high", "urgent"}, 0 < len(high) < len(df)
        (True, True)
        """
        return filter_frame(
            self._frame, where, filters, tags=tags, tz=tz, is_open=lifecycle.is_open
        )

    def refresh(
        self,
        source: Source | None = None,
        lookback: timedelta | str | float | None = None,
    ) -> pd.DataFrame:
        """Return the DataFrame, updated with the changes since it was read.

        Changed cases are replaced, new matches added, and cases that no longer match dropped;
        relative times count from now. The number of requests is proportional to the change: one
        per hundred changed cases and pass, one more if there is a filter, and a few others.
        Order, columns, dtypes and time zone stay the same.

        Parameters
        ----------
        source
            Where the DataFrame was read; None recreates it with credentials from the environment.
        lookback
            By how much a search may lag behind writes, as in `read_cases`; by default 5 minutes
            on Amazon Connect and 2 on Persona.

        Returns
        -------
        pandas.DataFrame
            A new DataFrame with a default index, which can be refreshed again.

        Raises
        ------
        FilterError
            If the DataFrame is not the complete result of a read (refresh first, filter after);
            if it has columns of your own, or several of one name; if the source is not that of
            the read, or was at an address to which credentials are sent only on request.
        ServiceError, IncompleteReadError
            As in `read_cases`; ``.partial`` has the changes that were read.

        Notes
        -----
        **Deletions are not detected**: a deleted case is never among the changes. A read with
        ``limit=`` or ``search=``, and one of Persona's List endpoint (``fresh=True``), cannot be
        updated by its changes: it is read again, and the provenance says so. Without the columns
        of the sort order (``created_at``, unless ``sort=`` names others) new rows come last, and
        the provenance says that too.

        Examples
        --------
        >>> import casesearch_pd as cs
        >>> with cs.LocalCases(cases=500) as local:
        ...     source = local.connect_cases()
        ...     df = cs.read_cases(source, status="open")
        ...     local.update(df["case_id"][0], status="closed")
        ...     now = df.cases.refresh(source)
        >>> len(df) - len(now)
        1
        """
        return refresh_frame(self._frame, source, lookback)

    def summary(
        self, by: str | Sequence[str] = "status", names: DisplayNames = None
    ) -> pd.DataFrame:
        """Return the metrics of each group; see `analysis.metrics.summary`.

        Parameters
        ----------
        by
            The column or columns to group by; a missing value is a group of its own.
        names
            Names for the ids of groups: a mapping, a Series, or a function of the id.

        Examples
        --------
        >>> import casesearch_pd as cs
        >>> with cs.LocalCases(cases=100) as local:
        ...     df = cs.read_cases(local.connect_cases())
        >>> list(df.cases.summary("queue"))[:3]
        ['count', 'open', 'median_age_days']
        """
        return metrics.summary(self._frame, by, names)

    def flow(self, freq: str = "D") -> pd.DataFrame:
        """Return the cases opened, closed, reopened and open per period; see `analysis.flow`.

        A period is one of the calendar in the DataFrame's zone: ``"h"``, ``"D"``, ``"W"`` (from
        Monday), ``"MS"``, ``"QS"``, ``"YS"``.
        """
        return flow.flow(self._frame, freq)

    def durations(self) -> pd.DataFrame:
        """Return ages, times to close and SLA in days; see `analysis.metrics.durations`."""
        return metrics.durations(self._frame)

    def tags(self) -> pd.DataFrame:
        """Return the tags as columns, one per key or per tag; see `analysis.tags.tags`."""
        return tags.tags(self._frame)

    def time_in_status(self, events: pd.DataFrame) -> pd.DataFrame:
        """Return how many days each case was in each status, from `read_events`.

        See `analysis.status_history`.
        """
        return status_history.time_in_status(self._frame, events)

    def to_csv(self, path: str | os.PathLike[str], *, labels: bool = False, **options: Any) -> Path:
        r"""Write a CSV file in which no text is a formula for a spreadsheet.

        Text that begins with ``= + - @``, a tab or a line break (also full-width signs, also
        after spaces) gets an apostrophe before it, in cells, column names and the index;
        numbers such as -73.9 stay numbers. Lists are joined by ``", "``, mappings become JSON.

        Parameters
        ----------
        path
            The file; it is replaced when all is written. A suffix such as ``.gz`` compresses it.
        labels
            Whether to write the labels of options, as the service showed them when the cases
            were read, instead of their values.
        **options
            Those of `pandas.DataFrame.to_csv`. By default there is no index, and text is quoted,
            because a bare carriage return would begin a row. Excel needs
            ``encoding="utf-8-sig"`` and, where the comma is the decimal mark, ``sep=";"``.

        Returns
        -------
        pathlib.Path
            The file. `pandas.read_csv` with ``dtype=str`` for the columns of text returns the
            same cells, apart from the apostrophes.

        Raises
        ------
        FilterError
            If no file can be written there, an option makes it unsafe, or labels are not known.
        CaseSearchError
            If the disk fails or is full; the old file is intact.

        Examples
        --------
        >>> import tempfile, pandas as pd, casesearch_pd as cs
        >>> df = pd.DataFrame({"case_id": ["a"], "title": ["=1+1"], "amount": [-73.9]})
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     df.cases.to_csv(f"{folder}/cases.csv").read_text().splitlines()
        ['"case_id","title","amount"', '"a","\'=1+1",-73.9']
        """
        from casesearch_pd.export import files  # noqa: PLC0415 - needed only for files

        return files.to_csv(self._frame, path, labels=labels, **options)

    def to_excel(self, path: str | os.PathLike[str], *, labels: bool = False) -> Path:
        """Write an Excel workbook with one sheet, ready for sorting and filtering.

        Its first row stays visible and has filter buttons. Text is escaped as in `to_csv`. Times
        are local times, with their zone in the column's name; before March 1900, which Excel
        does not support, they are text, as are integers of more than 15 digits. Durations are
        numbers of days. The index is not written.

        Parameters
        ----------
        path
            The file; it is replaced when all is written.
        labels
            As in `to_csv`.

        Returns
        -------
        pathlib.Path
            The file.

        Raises
        ------
        ImportError
            If xlsxwriter is missing: ``pip install 'casesearch_pd[excel]'``.
        FilterError, CaseSearchError
            As in `to_csv`, and if there are more than 1,048,575 cases or 16,384 columns.

        Warns
        -----
        UserWarning
            If text of more than 32,767 characters was truncated, with counts.
        """
        from casesearch_pd.export import files  # noqa: PLC0415 - needed only for files

        return files.to_excel(self._frame, path, labels=labels)

    def to_parquet(self, path: str | os.PathLike[str], **options: Any) -> Path:
        """Write a Parquet file with the provenance in it.

        Parameters
        ----------
        path
            The file; it is replaced when all is written.
        **options
            Those of `pandas.DataFrame.to_parquet`, except for its engine.

        Returns
        -------
        pathlib.Path
            The file. `pandas.read_parquet` returns the same DataFrame, with its provenance,
            except that lists become arrays of text, and object columns of mappings or of several
            types become JSON text, because Parquet would give each mapping the keys of all
            others. ``attrs`` that are not JSON are dropped.

        Raises
        ------
        FilterError, CaseSearchError
            As in `to_csv`, and if several columns have one name.
        """
        from casesearch_pd.export import files  # noqa: PLC0415 - needed only for files

        return files.to_parquet(self._frame, path, **options)

    def report(
        self,
        path: str | os.PathLike[str],
        *,
        names: DisplayNames = None,
        title: str | None = None,
        labels: bool = False,
    ) -> Path:
        """Write a report: one HTML file that needs no network, no script and no other file.

        It contains the figures of `summary`, charts, a table of the first cases, the filter in
        words and as code, when and how completely the cases were read, and all warnings. A
        section whose columns are missing says so in its place. The report suits paper and dark
        screens, and no text of a case is interpreted as markup.

        Parameters
        ----------
        path
            The file; it is replaced when all is written.
        names
            Names for the ids of queues, assignees and the like, as in `summary`.
        title
            The title; the name of the service if None.
        labels
            Whether to show labels of options, as in `to_csv`.

        Returns
        -------
        pathlib.Path
            The file.

        Raises
        ------
        ValueError
            If the DataFrame has cases of several services.
        FilterError, CaseSearchError
            As in `to_csv`, and if several columns have one name.

        Examples
        --------
        >>> import tempfile, casesearch_pd as cs
        >>> df = cs.read_cases(cs.open_source("demo://connect"), status="open")
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     df.cases.report(f"{folder}/open.html").name
        'open.html'
        """
        from casesearch_pd.report.report import report  # noqa: PLC0415 - needed only for reports

        return report(self._frame, path, names=names, title=title, labels=labels)

    def form(self, source: Source | None = None) -> CaseForm:
        """Return a filter form with the query of the DataFrame, which shows the DataFrame.

        Parameters
        ----------
        source
            As in `refresh`.

        Returns
        -------
        CaseForm
            The form, which a notebook displays.

        Raises
        ------
        FilterError
            If the DataFrame has no provenance, or was read from another source; or if the form
            cannot represent its filter.

        Examples
        --------
        >>> import casesearch_pd as cs
        >>> source = cs.open_source("demo://connect")
        >>> df = cs.read_cases(source, status="open")
        >>> df.cases.form().filters
        {'status': 'open'}
        """
        from casesearch_pd.form.form import CaseForm  # noqa: PLC0415 - imports ipywidgets

        return CaseForm.from_frame(self._frame, source)

    @property
    def plot(self) -> CasePlots:
        """Plots of the cases; see `CasePlots`."""
        from casesearch_pd.plots.accessor import CasePlots  # noqa: PLC0415 - imports matplotlib

        return CasePlots(self._frame)
