"""``df.cases``: what a frame of cases is asked next; each method is one delegation."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pandas as pd

from casesearch_pd.notebook import numbers
from casesearch_pd.notebook.cases import column_of
from casesearch_pd.reading.provenance import read_back

if TYPE_CHECKING:
    from collections.abc import Sequence

    from matplotlib.axes import Axes

    from casesearch_pd.notebook.names import Names

__all__ = ["CasePlots", "CasesAccessor"]


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

    def summary(self, by: str | Sequence[str] = "status", names: Names = None) -> pd.DataFrame:
        """Count and time the cases of each group: `casesearch_pd.notebook.numbers.summary`."""
        return numbers.summary(self._frame, by, names)

    def flow(self, freq: str = "D") -> pd.DataFrame:
        """Count what came and went by period: `casesearch_pd.notebook.numbers.flow`."""
        return numbers.flow(self._frame, freq)

    def durations(self) -> pd.DataFrame:
        """Measure each case in days: `casesearch_pd.notebook.numbers.durations`."""
        return numbers.durations(self._frame)

    @property
    def plot(self) -> CasePlots:
        """Pictures of the cases."""
        return CasePlots(self)


class CasePlots:
    """Pictures of a frame of cases; each returns its `matplotlib` Axes.

    Parameters
    ----------
    cases
        The accessor of the frame.
    """

    def __init__(self, cases: CasesAccessor) -> None:
        self._cases = cases

    def ages(self, ax: Axes | None = None) -> Axes:
        """Draw how old the open cases were when the frame was read.

        Parameters
        ----------
        ax
            Where to draw; a new figure if None.
        """
        from casesearch_pd.notebook import plots  # noqa: PLC0415 - matplotlib waits for a picture

        return plots.ages(self._cases.open_since(), self._cases.read_at(), ax)
