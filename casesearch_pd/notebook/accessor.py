"""``df.cases``: what a frame of cases is asked next; each method is one delegation."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pandas as pd

from casesearch_pd.reading.provenance import read_back

if TYPE_CHECKING:
    from matplotlib.axes import Axes

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
        if self.provenance.get("source", {}).get("service") == "persona":
            return self._column("closed_at").isna().rename("is_open")
        closed = (
            self._column("status").str.lower().eq("closed").to_numpy(dtype=bool, na_value=False)
        )
        return pd.Series(~closed, index=self._frame.index, name="is_open")

    def _column(self, column: str) -> pd.Series[Any]:
        if column not in self._frame.columns:
            raise KeyError(
                f"this needs the column {column!r}; read it too: columns=[…, {column!r}]"
            )
        return self._frame[column]

    def open_since(self) -> pd.Series[Any]:
        """Tell when each open case was created."""
        return self._column("created_at")[self.is_open.to_numpy()]

    def read_at(self) -> pd.Timestamp:
        """Tell when the cases were as the frame shows them: the service's clock, else now."""
        as_of = self.provenance.get("as_of")
        return pd.Timestamp.now("UTC") if as_of is None else pd.Timestamp(as_of)

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
