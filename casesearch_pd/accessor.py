"""``df.cases``: what a frame of cases is asked next; each method is one delegation."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pandas as pd

from casesearch_pd.analysis import metrics as numbers
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
    from casesearch_pd.plots import CasePlots
    from casesearch_pd.query.expressions import Expression
    from casesearch_pd.sources.base import Source

__all__ = ["CasesAccessor"]


@pd.api.extensions.register_dataframe_accessor("cases")
class CasesAccessor:
    """Questions to a frame that `read_cases` made.

    Parameters
    ----------
    frame
        A frame with a column ``case_id``.
    """

    def __init__(self, frame: pd.DataFrame) -> None:
        if "case_id" not in frame.columns:
            raise AttributeError(
                "df.cases needs a frame with a 'case_id' column, as read_cases makes it; "
                'a column of your own that is named so is df["cases"]'
            )
        self._frame = frame

    @property
    def provenance(self) -> dict[str, Any]:
        """What was read: source, filter, columns, rows, requests, when, how completely."""
        return read_provenance(self._frame)

    @property
    def is_open(self) -> pd.Series[bool]:
        """Whether each case is open.

        Amazon Connect: the status is not ``closed``, letter case aside. Persona: there is no
        ``closed_at``. A frame of neither is judged by its status.
        """
        return numbers.is_open(self._frame)

    @property
    def as_of(self) -> pd.Timestamp:
        """Tell when the cases were as the frame shows them: the service's clock, else now."""
        return numbers.as_of(self._frame)

    def where(
        self,
        where: Expression | Mapping[str, object] | None = None,
        *,
        tags: Mapping[str, str] | Iterable[str] | str | None = None,
        tz: str | None = None,
        **filters: object,
    ) -> pd.DataFrame:
        """Filter the frame in the language that `read_cases` filters a service in.

        The rows are those that the service would answer with, as far as its cells show.

        Parameters
        ----------
        where, tags, **filters
            As in `read_cases`. Times relative to now count from this very moment.
        tz
            The zone of naive times in filters; that of the read if None, else UTC.

        Returns
        -------
        pandas.DataFrame
            The rows that match, with the index and the order that they had; a new frame, whose
            provenance still tells what was read.

        Raises
        ------
        FilterError
            If the frame lacks a column that the filter names, or if only the service can
            answer: ``search=``, fields that are never shown, ids of Persona's users.

        Notes
        -----
        A choice is named by its value, not by its label: a frame knows no labels. Text from a
        CSV file is read as times where it is that; lists do not come back from one.

        Examples
        --------
        >>> import casesearch_pd as cs
        >>> with cs.LocalCases(cases=100) as local:
        ...     df = cs.read_cases(local.connect_cases())
        >>> high = df.cases.where(priority=["high", "urgent"], status__ne="closed")
        >>> set(high["priority"]) <= {"high", "urgent"}, 0 < len(high) < len(df)
        (True, True)
        """
        return filter_frame(self._frame, where, filters, tags=tags, tz=tz)

    def refresh(
        self,
        source: Source | None = None,
        overlap: timedelta | str | float | None = None,
    ) -> pd.DataFrame:
        """Read what changed since the frame was read, and bring it up to date.

        Cases that changed are replaced, those that came to match are added, those that do not
        match any more are dropped; times relative to now count from now. The requests are in
        proportion to the change: one for a hundred changed cases and pass, one more where there
        is a filter, and a few besides. Order, columns, dtypes and zone stay as they are.

        Parameters
        ----------
        source
            Where the frame was read; None makes the source anew from the provenance, with
            credentials from the environment.
        overlap
            By how much the search may lag behind the writes, as in `read_cases`: 5 minutes on
            Amazon Connect and 2 on Persona.

        Returns
        -------
        pandas.DataFrame
            A new frame with a plain index, which can be refreshed in its turn.

        Raises
        ------
        FilterError
            If the frame is not what was read (refresh first, filter after), or not all of it;
            if it has columns of your own, or several of one name; if the source is not where it
            was read, or was at an address that credentials are not sent to unasked.
        ServiceError, IncompleteReadError
            As in `read_cases`; ``.partial`` has what was read of the change.

        Notes
        -----
        **Deletions are not seen**: a case that the service has no more is never among what
        changed. A read with ``limit=`` or ``search=``, and one of Persona's List endpoint
        (``fresh=True``), cannot be brought up to date by its changes: it is read anew, and the
        provenance says so. Without the columns that the order goes by (``created_at``, unless
        ``sort=`` said otherwise) new rows come last, and the provenance says that too.

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
        return refresh_frame(self._frame, source, overlap)

    def summary(
        self, by: str | Sequence[str] = "status", names: DisplayNames = None
    ) -> pd.DataFrame:
        """Count and time the cases of each group.

        As `casesearch_pd.analysis.metrics.summary`.

        Parameters
        ----------
        by
            The column or columns to group by; a missing value is a group of its own.
        names
            Words for the ids of groups: a mapping, a Series, or a function of the id.

        Examples
        --------
        >>> import casesearch_pd as cs
        >>> with cs.LocalCases(cases=100) as local:
        ...     df = cs.read_cases(local.connect_cases())
        >>> list(df.cases.summary("queue"))[:3]
        ['count', 'open', 'median_age_days']
        """
        return numbers.summary(self._frame, by, names)

    def flow(self, freq: str = "D") -> pd.DataFrame:
        """Count what came, was closed and was reopened in each period, and was open at its end.

        As `casesearch_pd.analysis.flow.flow`.

        Parameters
        ----------
        freq
            A calendar period of the frame's zone: ``"h"``, ``"D"``, ``"W"`` (from Monday),
            ``"MS"``, ``"QS"``, ``"YS"``.
        """
        return numbers.flow(self._frame, freq)

    def durations(self) -> pd.DataFrame:
        """Measure each case in days: ``age_days``, ``close_days``, ``sla_days``.

        As `casesearch_pd.analysis.metrics.durations`.
        """
        return numbers.durations(self._frame)

    def tags(self) -> pd.DataFrame:
        """Spread the tags over columns, one a key on Amazon Connect, one a tag on Persona.

        As `casesearch_pd.analysis.tags.tags`.
        """
        return numbers.tags(self._frame)

    def time_in_status(self, events: pd.DataFrame) -> pd.DataFrame:
        """Tell how many days each case was in each status.

        As `casesearch_pd.analysis.status_history.time_in_status`.

        Parameters
        ----------
        events
            The history of the cases, as `read_events` makes it.
        """
        return numbers.time_in_status(self._frame, events)

    def to_csv(self, path: str | os.PathLike[str], **options: Any) -> Path:
        r"""Write a CSV file whose text no spreadsheet takes for a formula.

        Text that begins with ``= + - @``, a tab or a line break (also full-width signs, also
        after spaces) gets an apostrophe before it, in cells, column names and the index;
        numbers such as -73.9 stay numbers. Lists are joined by ``", "``, mappings are JSON.

        Parameters
        ----------
        path
            The file; it is replaced when all is written. ``.gz`` and the like compress it.
        **options
            Those of `pandas.DataFrame.to_csv`. Without them there is no index, and text is in
            quotes, because a bare carriage return would begin a row. Excel wants
            ``encoding="utf-8-sig"`` and, where a comma is the decimal mark, ``sep=";"``.

        Returns
        -------
        pathlib.Path
            Where it is. `pandas.read_csv` gives the same cells back but for the apostrophes.

        Raises
        ------
        FilterError
            If no file can be written there, or an option would make it unsafe.
        CaseSearchError
            If the disk fails or fills; the old file is intact.

        Examples
        --------
        >>> import tempfile, pandas as pd, casesearch_pd as cs
        >>> df = pd.DataFrame({"case_id": ["a"], "title": ["=1+1"], "amount": [-73.9]})
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     df.cases.to_csv(f"{folder}/cases.csv").read_text().splitlines()
        ['"case_id","title","amount"', '"a","\'=1+1",-73.9']
        """
        from casesearch_pd.export import csv_excel as export  # noqa: PLC0415 - waits for the first file

        return export.to_csv(self._frame, path, **options)

    def to_excel(self, path: str | os.PathLike[str]) -> Path:
        """Write an Excel workbook of one sheet, ready to be sorted and filtered.

        Its first row stays in sight and filters. Text is made safe as in `to_csv`. Times stand
        as they are read off the wall in their zone, which the column's name tells; before March
        1900, which Excel does not know, they are text, as are whole numbers of more than 15
        digits. Spans of time are numbers of days. The index is left out.

        Parameters
        ----------
        path
            The file; it is replaced when all is written.

        Returns
        -------
        pathlib.Path
            Where it is.

        Raises
        ------
        ImportError
            If xlsxwriter is missing: ``pip install 'casesearch_pd[excel]'``.
        FilterError
            If no file can be written there, or if there are more than 1,048,575 cases or 16,384
            columns.
        CaseSearchError
            If the disk fails or fills; the old file is intact.

        Warns
        -----
        UserWarning
            If text of more than 32,767 characters was cut, with counts.
        """
        from casesearch_pd.export import csv_excel as excel  # noqa: PLC0415 - waits for the first file

        return excel.to_excel(self._frame, path)

    def to_parquet(self, path: str | os.PathLike[str], **options: Any) -> Path:
        """Write a Parquet file with the provenance in it.

        Parameters
        ----------
        path
            The file; it is replaced when all is written.
        **options
            Those of `pandas.DataFrame.to_parquet`, but for its engine.

        Returns
        -------
        pathlib.Path
            Where it is. `pandas.read_parquet` makes the same frame of it, with its provenance;
            but for lists, which it gives back as arrays of text, and for object columns of
            mappings or of several kinds of values, which are there as JSON text, because Parquet
            would give each mapping the keys of all others. Other ``attrs`` than JSON are left out.

        Raises
        ------
        FilterError
            If no file can be written there, or several columns have one name.
        CaseSearchError
            If the disk fails or fills; the old file is intact.
        """
        from casesearch_pd.export import csv_excel as export  # noqa: PLC0415 - waits for the first file

        return export.to_parquet(self._frame, path, **options)

    def report(
        self, path: str | os.PathLike[str], *, names: DisplayNames = None, title: str | None = None
    ) -> Path:
        """Write a report: one HTML file that needs no network, no script and no other file.

        It has the figures of `summary`, pictures, a table of the first cases, the filter in
        words and as code, when and how completely the cases were read, and what their numbers
        warn of. A part whose columns are missing says so in its place. It looks right on paper
        and on a dark screen, and takes no text of a case for markup.

        Parameters
        ----------
        path
            The file; it is replaced when all is written.
        names
            Words for the ids of queues, assignees and the like, as in `summary`.
        title
            What stands above; the name of the service if None.

        Returns
        -------
        pathlib.Path
            Where it is.

        Raises
        ------
        ValueError
            If there are cases of several services in the frame.
        FilterError
            If no file can be written there, or several columns have one name.
        CaseSearchError
            If the disk fails or fills; the old file is intact.

        Examples
        --------
        >>> import tempfile, casesearch_pd as cs
        >>> df = cs.read_cases(cs.open_source("demo://connect"), status="open")
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     df.cases.report(f"{folder}/open.html").name
        'open.html'
        """
        from casesearch_pd.report.report import report  # noqa: PLC0415 - waits for the first one

        return report(self._frame, path, names=names, title=title)

    def form(self, source: Source | None = None) -> CaseForm:
        """Make a filter form that asks what the frame was read by, and shows the frame.

        Parameters
        ----------
        source
            Where the frame was read, as in `refresh`.

        Returns
        -------
        CaseForm
            The form; the last line of a cell shows it.

        Raises
        ------
        FilterError
            If the frame does not tell how it was read, or was read somewhere else; or if the form
            has no rows for its filter.

        Examples
        --------
        >>> import casesearch_pd as cs
        >>> source = cs.open_source("demo://connect")
        >>> df = cs.read_cases(source, status="open")
        >>> df.cases.form().filters
        {'status': 'open'}
        """
        from casesearch_pd.form.form import CaseForm  # noqa: PLC0415 - widgets are dear

        return CaseForm.from_frame(self._frame, source)

    @property
    def plot(self) -> CasePlots:
        """Pictures of the cases."""
        from casesearch_pd.plots import CasePlots  # noqa: PLC0415 - matplotlib is dear

        return CasePlots(self._frame)
