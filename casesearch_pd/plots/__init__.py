"""``df.cases.plot``: a frame of cases in, labelled Axes out; one room for each kind of axis."""

from __future__ import annotations

from typing import TYPE_CHECKING

from casesearch_pd.plots import breakdown as groups
from casesearch_pd.plots import breakdown as sla
from casesearch_pd.plots import durations as spans
from casesearch_pd.plots import time_series as calendar
from casesearch_pd.plots import time_series as week

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes

    from casesearch_pd.analysis.display_names import DisplayNames

__all__ = ["CasePlots"]


class CasePlots:
    """Pictures of a frame of cases; each returns its `matplotlib` Axes and shows nothing itself.

    Parameters
    ----------
    cases
        The frame.

    Notes
    -----
    Each method takes ``ax``, the Axes to draw on; without it there is a new figure. The title
    says what is shown, of how many cases, and when they were read.

    Examples
    --------
    >>> import casesearch_pd as cs
    >>> df = cs.read_cases(cs.open_source("demo://connect"), tz="Europe/Berlin")
    >>> ax = df.cases.plot.breakdown("queue")
    >>> ax.get_xlabel()
    'cases'
    """

    def __init__(self, cases: pd.DataFrame) -> None:
        self._cases = cases

    def backlog(self, freq: str | None = None, *, ax: Axes | None = None) -> Axes:
        """Draw how many cases were open at the end of each period.

        Parameters
        ----------
        freq
            The length of a period: ``"h"``, ``"D"``, ``"W"``, ``"MS"``, …, as
            `CasesAccessor.flow` takes it; if None, one that suits the span of the cases.
        ax
            Where to draw; a new figure if None.

        Raises
        ------
        KeyError
            If the frame lacks ``created_at``, ``closed_at`` or, but for Persona, ``status``.
        """
        return calendar.backlog(self._cases, freq, ax=ax)

    def flow(self, freq: str | None = None, *, ax: Axes | None = None) -> Axes:
        """Draw how many cases came, were closed and were reopened in each period.

        Parameters
        ----------
        freq
            As in `backlog`. The last period ends with the read, so it is drawn narrower.
        ax
            Where to draw; a new figure if None.

        Raises
        ------
        KeyError
            If the frame lacks ``created_at``, ``closed_at`` or, but for Persona, ``status``.
        """
        return calendar.flow(self._cases, freq, ax=ax)

    def ages(self, ax: Axes | None = None) -> Axes:
        """Draw how old the open cases were when the frame was read.

        Parameters
        ----------
        ax
            Where to draw; a new figure if None.

        Raises
        ------
        KeyError
            If the frame lacks ``created_at`` or what tells that a case is open.
        """
        return spans.ages(self._cases, ax=ax)

    def time_to_close(
        self, by: str | None = None, *, names: DisplayNames = None, ax: Axes | None = None
    ) -> Axes:
        """Draw the share of cases closed within so many days, with its 95 % band.

        Open cases count as known to take longer than their age (Kaplan and Meier).

        Parameters
        ----------
        by
            A column; each of its six largest groups gets a curve, the others one together. The
            bands of more than four curves would hide each other; they are left out.
        names
            Words for the ids in the column: a mapping, a Series, or a function of the id.
        ax
            Where to draw; a new figure if None.

        Raises
        ------
        KeyError
            If the frame lacks `by`, ``created_at``, ``closed_at`` or, but for Persona, ``status``.
        """
        return spans.time_to_close(self._cases, by, names=names, ax=ax)

    def heatmap(self, *, ax: Axes | None = None) -> Axes:
        """Draw how many cases came in each hour of the week, by the clocks of the frame's zone.

        Parameters
        ----------
        ax
            Where to draw; a new figure if None.

        Raises
        ------
        KeyError
            If the frame lacks ``created_at``.
        """
        return week.heatmap(self._cases, ax=ax)

    def breakdown(self, by: str, *, names: DisplayNames = None, ax: Axes | None = None) -> Axes:
        """Draw how many cases of each group are open and closed.

        Parameters
        ----------
        by
            A column; its eleven largest groups get a bar, the others one together. A case with
            several tags is in the bar of each.
        names
            Words for the ids in the column: a mapping, a Series, or a function of the id.
        ax
            Where to draw; a new figure if None.

        Raises
        ------
        KeyError
            If the frame lacks `by` or what tells that a case is open.
        """
        return groups.breakdown(self._cases, by, names=names, ax=ax)

    def sla(
        self,
        by: str | None = None,
        *,
        freq: str | None = None,
        names: DisplayNames = None,
        ax: Axes | None = None,
    ) -> Axes:
        """Draw the share of cases that were closed within their SLA.

        A case counts from when that is decided: it was closed, or its SLA ran out. By time it
        counts in the period in which its SLA ran out, because all of these are decided.

        Parameters
        ----------
        by
            A column, as in `breakdown`; if None, the share is drawn over time.
        freq
            The length of a period, as in `backlog`.
        names
            Words for the ids in the column: a mapping, a Series, or a function of the id.
        ax
            Where to draw; a new figure if None.

        Raises
        ------
        KeyError
            If the frame lacks `by`, ``sla_at``, ``closed_at`` or, but for Persona, ``status``.
        ValueError
            If both `by` and `freq` are given.
        """
        return sla.sla(self._cases, by, freq=freq, names=names, ax=ax)
