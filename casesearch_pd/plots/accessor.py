"""``df.cases.plot``: one method for each plot."""

from __future__ import annotations

from typing import TYPE_CHECKING

from casesearch_pd.plots import breakdown, durations, time_series

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes

    from casesearch_pd.analysis.display_names import DisplayNames

__all__ = ["CasePlots"]


class CasePlots:
    """Plots of a DataFrame of cases; each method returns its matplotlib Axes and shows nothing.

    Parameters
    ----------
    cases
        The DataFrame.

    Notes
    -----
    Each method takes ``ax``, the Axes to draw on; without it there is a new figure. In a figure
    without a layout engine the Axes are moved until all text is within the figure. The title
    names what is shown, of how many cases, and when they were read. A KeyError names a column
    that a plot needs and that was not read.

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
            The length of a period: ``"h"``, ``"D"``, ``"W"``, ``"MS"``, …, as in
            `CasesAccessor.flow`; if None, one that suits the time span of the cases.
        ax
            The Axes to draw on; a new figure if None.

        Returns
        -------
        matplotlib.axes.Axes
            The Axes with the plot.
        """
        return time_series.backlog(self._cases, freq, ax=ax)

    def flow(self, freq: str | None = None, *, ax: Axes | None = None) -> Axes:
        """Draw how many cases were opened, closed and reopened in each period.

        Parameters
        ----------
        freq
            As in `backlog`. The last period ends with the read, so it is narrower.
        ax
            The Axes to draw on; a new figure if None.

        Returns
        -------
        matplotlib.axes.Axes
            The Axes with the plot.
        """
        return time_series.flow(self._cases, freq, ax=ax)

    def ages(self, ax: Axes | None = None) -> Axes:
        """Draw how old the open cases were when they were read.

        Parameters
        ----------
        ax
            The Axes to draw on; a new figure if None.

        Returns
        -------
        matplotlib.axes.Axes
            The Axes with the plot.
        """
        return durations.ages(self._cases, ax=ax)

    def time_to_close(
        self, by: str | None = None, *, names: DisplayNames = None, ax: Axes | None = None
    ) -> Axes:
        """Draw the share of cases closed after each number of days, with its 95 % band.

        Open cases are censored: they are known to take longer than their age (Kaplan-Meier).

        Parameters
        ----------
        by
            A column; each of its six largest groups gets a curve, the others share one. With
            more than four curves the bands are left out, because they would hide each other.
            Nothing is drawn for ``status`` and other columns that change when a case is closed.
        names
            Names for the ids in the column: a mapping, a Series, or a function of the id.
        ax
            The Axes to draw on; a new figure if None.

        Returns
        -------
        matplotlib.axes.Axes
            The Axes with the plot.
        """
        return durations.time_to_close(self._cases, by, names=names, ax=ax)

    def heatmap(self, *, ax: Axes | None = None) -> Axes:
        """Draw how many cases were created in each hour of the week, in the DataFrame's zone.

        Parameters
        ----------
        ax
            The Axes to draw on; a new figure if None.

        Returns
        -------
        matplotlib.axes.Axes
            The Axes with the plot.
        """
        return time_series.heatmap(self._cases, ax=ax)

    def breakdown(self, by: str, *, names: DisplayNames = None, ax: Axes | None = None) -> Axes:
        """Draw how many cases of each group are open and closed.

        Parameters
        ----------
        by
            A column; each of its eleven largest groups gets a bar, the others share one. A case
            with several tags is in the bar of each.
        names
            Names for the ids in the column: a mapping, a Series, or a function of the id.
        ax
            The Axes to draw on; a new figure if None.

        Returns
        -------
        matplotlib.axes.Axes
            The Axes with the plot.
        """
        return breakdown.breakdown(self._cases, by, names=names, ax=ax)

    def sla(
        self,
        by: str | None = None,
        *,
        freq: str | None = None,
        names: DisplayNames = None,
        ax: Axes | None = None,
    ) -> Axes:
        """Draw the share of cases closed within their SLA.

        A case counts once it is closed or its SLA has expired. Over time, it counts in the
        period in which its SLA expired: the outcome of all these cases is known. Amazon Connect
        states only the next breach of a case, so its closed cases have no outcome here; its SLA
        items have it: ``read_related(source, df, kinds="sla")``.

        Parameters
        ----------
        by
            A column, as in `breakdown`; if None, the share is drawn over time.
        freq
            The length of a period, as in `backlog`.
        names
            Names for the ids in the column: a mapping, a Series, or a function of the id.
        ax
            The Axes to draw on; a new figure if None.

        Returns
        -------
        matplotlib.axes.Axes
            The Axes with the plot.

        Raises
        ------
        ValueError
            If both `by` and `freq` are given.
        """
        return breakdown.sla(self._cases, by, freq=freq, names=names, ax=ax)
