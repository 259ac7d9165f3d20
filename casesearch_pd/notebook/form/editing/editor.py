"""The editor of a filter: a tree in, controls out; and the tree that they show back.

The root has the class ``cs-filter``; `rows` and `groups` list the classes within. What is edited
is only ever read from the controls when somebody asks for `FilterEditor.tree`; nothing is sent.
"""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

from casesearch_pd.errors import FilterError
from casesearch_pd.notebook.form.editing.desk import Desk
from casesearch_pd.notebook.form.editing.groups import GroupEditor
from casesearch_pd.notebook.form.editing.kit import say
from casesearch_pd.notebook.form.model.checks import check_all
from casesearch_pd.notebook.form.model.question import EVERYTHING
from casesearch_pd.notebook.markup import element

if TYPE_CHECKING:
    from collections.abc import Callable

    from casesearch_pd.notebook.form.editing.rows import RuleEditor
    from casesearch_pd.notebook.form.model.tree import Group
    from casesearch_pd.sources.contract import Source

__all__ = ["FilterEditor"]


class FilterEditor:
    """The controls for a tree of rules.

    Parameters
    ----------
    source
        Whose fields are offered; if they are not discovered yet, they are here.
    tz
        The zone of naive times.
    tree
        What it begins with.
    on_change
        Called after each edit of somebody's, from whatever thread it comes in; what it raises
        is logged and goes no further.

    Raises
    ------
    FilterError
        If there is no such zone.

    Examples
    --------
    >>> import casesearch_pd as cs
    >>> from casesearch_pd.notebook.form.model.tree import Group, Rule
    >>> with cs.LocalCases(cases=1) as local:
    ...     editor = FilterEditor(local.connect(), tree=Group(members=(Rule("title", "eq"),)))
    >>> editor.problems
    ('Row 1: give a value',)
    """

    def __init__(
        self,
        source: Source,
        *,
        tz: str = "UTC",
        tree: Group = EVERYTHING,
        on_change: Callable[[], None] | None = None,
    ) -> None:
        self._desk = Desk(source, tz, on_change)
        self._message = self._desk.kit.message()
        with self._desk.edits.quietly():
            self._root = self._made(tree)
            self.widget = self._desk.kit.stack("cs-filter", self._root.widget, self._message)
            self._number()

    @property
    def tree(self) -> Group:
        """The tree that is on the screen."""
        with self._desk.edits.lock:
            return self._root.member

    @property
    def problems(self) -> tuple[str, ...]:
        """Why the filter cannot be asked, in sentences; empty if it can.

        A filter without rows asks for every case. A row that is not finished is a problem, since
        nobody could tell that it was left out.
        """
        with self._desk.edits.lock:
            rows = self._root.rows()
            said = [(at, row.finding.problem) for at, row in enumerate(rows, 1)]
            found = tuple(f"Row {at}: {problem}" for at, problem in said if problem)
            return found or self._together()

    @property
    def rows(self) -> tuple[RuleEditor, ...]:
        """The rows, from top to bottom."""
        with self._desk.edits.lock:
            return self._root.rows()

    @property
    def tz(self) -> str:
        """The zone of naive times; setting another one checks every row again.

        A name that is no zone changes nothing: it is half typed, and where it is typed it is said.
        """
        return self._desk.tz

    @tz.setter
    def tz(self, tz: str) -> None:
        with self._desk.edits.quietly():
            before = self._desk.tz
            with suppress(FilterError):
                self._desk.tz = tz
            if self._desk.tz == before:
                return
            for row in self._root.rows():
                row.check()

    def show(self, tree: Group) -> None:
        """Put another tree on the screen; this is no edit, so nobody is told."""
        with self._desk.edits.quietly():
            if repr(tree) == repr(self.tree):
                return
            before = self._root
            self._root = self._made(tree)
            self._number()
            self.widget.children = (self._root.widget, self._message)
            before.close()

    def _made(self, tree: Group) -> GroupEditor:
        return GroupEditor(tree, self._desk, self._number)

    def _number(self) -> None:
        self._root.number(1)
        hint = "" if self._root.rows() else "Every case matches. Add a condition to narrow that."
        say(self._message, *([element("span", hint, class_="cs-quiet")] if hint else []))

    def _together(self) -> tuple[str, ...]:
        desk = self._desk
        wrong = check_all(self._root.member, desk.source, desk.binding())
        return (wrong,) if wrong else ()
