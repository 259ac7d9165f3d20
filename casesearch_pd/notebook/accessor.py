"""``df.cases``: what a frame of cases is asked next; each method is one delegation."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pandas as pd

from casesearch_pd.notebook import numbers
from casesearch_pd.notebook.cases import column_of
from casesearch_pd.reading.provenance import read_back
from casesearch_pd.reading.where import filtered

if TYPE_CHECKING:
    import os
    from collections.abc import Iterable, Mapping, Sequence
    from pathlib import Path

    from casesearch_pd.notebook.names import Names
    from casesearch_pd.notebook.plots import CasePlots
    from casesearch_pd.query.expr import Expression

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
        return read_back(self._frame)

    @property
    def is_open(self) -> pd.Series[bool]:
        """Whether each case is open.

        Amazon Connect: the status is not ``closed``, letter case aside. Persona: there is no
        ``closed_at``. A frame of neither is judged by its status.
        """
        return numbers.is_open(self._frame)

    def open_since(self) -> pd.Series[Any]:
        """Tell when each open case was created."""
        return column_of(self._frame, "created_at")[self.is_open.to_numpy()]

    def read_at(self) -> pd.Timestamp:
        """Tell when the cases were as the frame shows them: the service's clock, else now."""
        return numbers.read_at(self._frame)

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
        ...     df = cs.read_cases(local.connect())
        >>> high = df.cases.where(priority=["high", "urgent"], status__ne="closed")
        >>> set(high["priority"]) <= {"high", "urgent"}, 0 < len(high) < len(df)
        (True, True)
        """
        return filtered(self._frame, where, filters, tags=tags, tz=tz)

    def summary(self, by: str | Sequence[str] = "status", names: Names = None) -> pd.DataFrame:
        """Count and time the cases of each group: `casesearch_pd.notebook.numbers.summary`."""
        return numbers.summary(self._frame, by, names)

    def flow(self, freq: str = "D") -> pd.DataFrame:
        """Count what came and went by period: `casesearch_pd.notebook.numbers.flow`."""
        return numbers.flow(self._frame, freq)

    def durations(self) -> pd.DataFrame:
        """Measure each case in days: `casesearch_pd.notebook.numbers.durations`."""
        return numbers.durations(self._frame)

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
        from casesearch_pd.notebook import export  # noqa: PLC0415 - waits for the first file

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
        from casesearch_pd.notebook import excel  # noqa: PLC0415 - waits for the first file

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
            If no file can be written there.
        CaseSearchError
            If the disk fails or fills; the old file is intact.
        """
        from casesearch_pd.notebook import export  # noqa: PLC0415 - waits for the first file

        return export.to_parquet(self._frame, path, **options)

    @property
    def plot(self) -> CasePlots:
        """Pictures of the cases."""
        from casesearch_pd.notebook.plots import CasePlots  # noqa: PLC0415 - matplotlib is dear

        return CasePlots(self._frame)
