"""The editors of a filter: `FilterEditor` for a tree, `GroupEditor` for each of its groups."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Any

import ipywidgets as widgets

from casesearch_pd.errors import FilterError
from casesearch_pd.form.editor import EditorContext, close_widget, set_message
from casesearch_pd.form.model.checks import combination_error
from casesearch_pd.form.model.tree import EMPTY_TREE, Combinator, Group, Rule
from casesearch_pd.form.rows import RuleEditor, focusable_button
from casesearch_pd.render.html import element

if TYPE_CHECKING:
    from collections.abc import Callable

    from casesearch_pd.sources.base import Source

__all__ = ["FilterEditor", "GroupEditor"]

_COMBINATORS: tuple[Combinator, ...] = ("and", "or")
_COMBINATOR_LABELS = ("all of", "any of")
_BUTTONS = {
    "up": "Move this group up",
    "down": "Move this group down",
    "duplicate": "Duplicate this group",
    "remove": "Remove this group",
}


class GroupEditor:
    """The controls for a group, with the editors of its members."""

    def __init__(
        self,
        group: Group,
        context: EditorContext,
        on_restructure: Callable[[], None],  # members were added, removed or moved
        # Called with "up", "down", "duplicate" or "remove"; None for the outermost group.
        on_button: Callable[[str, GroupEditor], None] | None = None,
    ) -> None:
        self._context = context
        self._on_restructure = on_restructure
        self._members: list[RuleEditor | GroupEditor] = [self._editor(m) for m in group.members]
        make = context.controls.make
        self._not = make(
            widgets.Checkbox, "cs-not", value=group.negated, description="not", indent=False
        )
        self._combinator = make(
            widgets.Dropdown,
            "cs-combinator",
            options=_COMBINATOR_LABELS,
            index=_COMBINATORS.index(group.combinator),
            description="How these are combined",
        )
        self._buttons = _buttons(context, is_inner=on_button is not None)
        head = context.controls.row(
            "cs-group-head", self._not, self._combinator, *self._button_boxes()
        )
        self._body = context.controls.column("cs-members")
        self.widget = context.controls.column("cs-group", head, self._body)
        self._observe(on_button)
        self._arrange()

    def _button_boxes(self) -> tuple[Any, ...]:
        add_buttons = [self._buttons["row"], self._buttons["group"]]
        move_buttons = [self._buttons[key] for key in _BUTTONS if key in self._buttons]
        make_row = self._context.controls.row
        boxes = (make_row("cs-adding", *add_buttons),)
        return (*boxes, make_row("cs-buttons", *move_buttons)) if move_buttons else boxes

    def _observe(self, on_button: Callable[[str, GroupEditor], None] | None) -> None:
        events = self._context.events
        # Both controls are read when the tree is asked for; here only the change is reported.
        events.on(self._not, "value", self._on_restructure)
        events.on(self._combinator, "index", self._on_restructure)
        events.on_click(self._buttons["row"], lambda: self._add(Rule()))
        events.on_click(self._buttons["group"], lambda: self._add(self._opposite_group()))
        for key in self._buttons.keys() & _BUTTONS.keys():
            events.on_click(self._buttons[key], _bind_button(on_button, key, self))

    @property
    def member(self) -> Group:
        """The group as it is on the screen."""
        combinator = _COMBINATORS[self._combinator.index]
        return Group(combinator, self._not.value, tuple(item.member for item in self._members))

    def rows(self) -> tuple[RuleEditor, ...]:
        """Return the rows, from top to bottom."""
        return tuple(row for item in self._members for row in item.rows())

    def number(self, row: int) -> int:
        """Assign numbers to the rows, beginning with `row`, and return the next number."""
        for item in self._members:
            row = item.number(row)
        return row

    def set_position(self, *, is_first: bool, is_last: bool) -> None:
        """Enable the buttons that can move the group."""
        self._buttons["up"].disabled = is_first
        self._buttons["down"].disabled = is_last

    def focus(self, key: str) -> None:
        """Put the focus on a button, or with ``"field"`` on the first field of the group."""
        if key == "field" and self._members:
            self._members[0].focus(key)
        else:
            focusable_button(self._buttons, key if key in self._buttons else "row").focus()

    def close(self) -> None:
        """Remove the group."""
        for item in self._members:
            item.close()
        close_widget(self.widget)

    def _opposite_group(self) -> Group:
        """Return a group of the other kind; one of the same kind would change nothing."""
        combinator = _COMBINATORS[1 - self._combinator.index]
        return Group(combinator, members=(Rule(),))

    def _editor(self, member: Rule | Group) -> RuleEditor | GroupEditor:
        if isinstance(member, Rule):
            return RuleEditor(member, self._context, self._handle_button)
        return GroupEditor(member, self._context, self._on_restructure, self._handle_button)

    def _add(self, member: Rule | Group) -> None:
        self._members.append(self._editor(member))
        self._arrange()
        self._on_restructure()
        self._members[-1].focus("field")

    def _handle_button(self, key: str, item: RuleEditor | GroupEditor) -> None:
        index = self._members.index(item)
        match key:
            case "remove":
                del self._members[index]
            case "duplicate":
                self._members.insert(index + 1, self._editor(item.member))
            case _:
                target = max(0, index - 1) if key == "up" else index + 1
                self._members.insert(target, self._members.pop(index))
        self._arrange()
        self._on_restructure()
        # A removed button would leave the keyboard focus at the top of the page.
        if key == "remove":
            item.close()
            self._focus_near(index - 1)
        else:
            item.focus(key)

    def _focus_near(self, index: int) -> None:
        """Put the focus on the row before a removed one, for users of the keyboard."""
        if index < 0:
            self._buttons["row"].focus()
        else:
            self._members[index].focus("remove")

    def _arrange(self) -> None:
        last = len(self._members) - 1
        for index, item in enumerate(self._members):
            item.set_position(is_first=index == 0, is_last=index == last)
        self._body.children = tuple(item.widget for item in self._members)


def _buttons(context: EditorContext, *, is_inner: bool) -> dict[str, Any]:
    make_button = context.controls.button
    buttons = {
        "row": make_button("cs-add-row", "Add condition", has_text=True),
        "group": make_button("cs-add-group", "Add group", has_text=True),
    }
    if is_inner:
        buttons |= {key: make_button(f"cs-{key}", text) for key, text in _BUTTONS.items()}
    return buttons


def _bind_button(on_button: Any, key: str, group: GroupEditor) -> Any:
    return lambda: on_button(key, group)


class FilterEditor:
    """The controls for a tree of rules.

    Raise FilterError if the time zone is unknown.

    >>> import casesearch_pd as cs
    >>> from casesearch_pd.form.model.tree import Group, Rule
    >>> with cs.LocalCases(cases=1) as local:
    ...     editor = FilterEditor(local.connect_cases(), tree=Group(members=(Rule("title", "eq"),)))
    >>> editor.problems
    ('Row 1: enter a value',)
    """

    def __init__(
        self,
        source: Source,
        *,
        tz: str = "UTC",
        tree: Group = EMPTY_TREE,
        on_change: Callable[[], None] | None = None,
    ) -> None:
        self._context = EditorContext(source, tz, on_change)
        controls = self._context.controls
        self._message = controls.message()
        with self._context.events.paused():
            self._root = self._root_editor(tree)
            self.widget = controls.column("cs-filter", self._root.widget, self._message)
            self._number_rows()

    @property
    def tree(self) -> Group:
        """The tree that is on the screen."""
        with self._context.events.lock:
            return self._root.member

    @property
    def problems(self) -> tuple[str, ...]:
        """Why the filter cannot be searched for, in sentences; empty if it can.

        A filter without rows matches every case. An incomplete row is a problem, because a search
        without it would find other cases than the form shows.
        """
        with self._context.events.lock:
            problems = [row.check_result.problem for row in self._root.rows()]
            numbered = tuple(f"Row {at}: {text}" for at, text in enumerate(problems, 1) if text)
            return numbered or self._problems_of_all()

    @property
    def rows(self) -> tuple[RuleEditor, ...]:
        """The rows, from top to bottom."""
        with self._context.events.lock:
            return self._root.rows()

    @property
    def tz(self) -> str:
        """The time zone of times without one; setting another one checks every row again.

        An unknown name changes nothing: it may be half typed, and the option shows the error.
        """
        return self._context.tz

    @tz.setter
    def tz(self, tz: str) -> None:
        with self._context.events.paused():
            previous = self._context.tz
            with suppress(FilterError):
                self._context.tz = tz
            if self._context.tz == previous:
                return
            for row in self._root.rows():
                row.check()

    def show(self, tree: Group) -> None:
        """Put another tree on the screen, without reporting an edit."""
        with self._context.events.paused():
            # By repr, because Rule("a", "eq", 1) equals Rule("a", "eq", True).
            if repr(tree) == repr(self.tree):
                return
            previous = self._root
            self._root = self._root_editor(tree)
            self._number_rows()
            self.widget.children = (self._root.widget, self._message)
            previous.close()

    def _root_editor(self, tree: Group) -> GroupEditor:
        return GroupEditor(tree, self._context, self._number_rows)

    def _number_rows(self) -> None:
        self._root.number(1)
        hint = "" if self._root.rows() else "All cases match. Add a condition to narrow the search."
        set_message(self._message, *([element("span", hint, class_="cs-quiet")] if hint else []))

    def _problems_of_all(self) -> tuple[str, ...]:
        context = self._context
        error = combination_error(self._root.member, context.source, context.binding())
        return (error,) if error else ()
