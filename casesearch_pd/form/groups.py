"""What all parts of one editor work with: the source, its labels, the zone, the lock, the looks."""

from __future__ import annotations

import logging
from contextlib import contextmanager, suppress
from threading import RLock
from typing import TYPE_CHECKING, Any

import ipywidgets as widgets

from casesearch_pd.errors import FilterError
from casesearch_pd.form.model.checks import Problem, check, check_all, offered_operators
from casesearch_pd.form.model.question import EVERYTHING
from casesearch_pd.form.model.tree import Combinator, FieldLabels, Group, Rule, distinct_labels
from casesearch_pd.form.rows import RuleEditor, usable
from casesearch_pd.form.value_inputs import Kit, close, say
from casesearch_pd.reading.plan import binding_context
from casesearch_pd.render.html import element

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from casesearch_pd.query.binding import BindingContext
    from casesearch_pd.query.schema import Field
    from casesearch_pd.sources.base import Source

__all__ = ["Desk", "Edits", "FilterEditor", "GroupEditor"]


class Desk:
    """What the parts of an editor share.

    Parameters
    ----------
    source
        Whose fields are offered; they are discovered by now or here, once.
    tz
        The zone of naive times.
    on_change
        Called after each edit.
    """

    def __init__(self, source: Source, tz: str, on_change: Callable[[], None] | None) -> None:
        self.source = source
        self.edits = Edits(on_change)
        self.kit = Kit()
        self.labels = FieldLabels(source.schema)
        self._tz = binding_context(source.schema, tz).tz
        self._offered: dict[str, dict[str, str]] = {}
        self._options: dict[str, tuple[str, ...]] = {}

    @property
    def tz(self) -> str:
        """The zone of naive times."""
        return self._tz

    @tz.setter
    def tz(self, tz: str) -> None:
        self._tz = binding_context(self.source.schema, tz).tz

    def binding(self) -> BindingContext:
        """Take the bearings: what names and times mean at this moment."""
        return binding_context(self.source.schema, self._tz)

    def check(self, rule: Rule) -> Problem:
        """Say what there is to say of a rule."""
        return check(rule, self.source, self.binding())

    def offered(self, name: str, field: Field) -> dict[str, str]:
        """List the operators for a field, with what they are called."""
        if name not in self._offered:
            self._offered[name] = offered_operators(name, field, self.source, self.binding())
        return self._offered[name]

    def options(self, field: Field) -> tuple[str, ...]:
        """Tell what the options of a select are called, in their order."""
        if field.column not in self._options:
            told = [item.label + ("" if item.active else _RETIRED) for item in field.options]
            values = [item.value for item in field.options]
            self._options[field.column] = tuple(distinct_labels(told, values))
        return self._options[field.column]

    def accepts(self, rule: Rule) -> bool:
        """Tell whether a rule can be asked, unfinished as it may be, and warns of nothing."""
        found = self.check(rule)
        return not found.wrong and not found.warned


_RETIRED = " (inactive)"

_JOINED: tuple[Combinator, ...] = ("and", "or")
_WORDS = ("all of", "any of")
_BUTTONS = {
    "up": "Move this group up",
    "down": "Move this group down",
    "duplicate": "Duplicate this group",
    "remove": "Remove this group",
}


class GroupEditor:
    """The controls for a group, with the editors of its members.

    Parameters
    ----------
    group
        What it begins with.
    desk
        What the editor shares.
    restructured
        Called after members came, went or moved.
    press
        Called with ``"up"``, ``"down"``, ``"duplicate"`` or ``"remove"``, and this group; None
        for the outermost, which stays where it is.
    """

    def __init__(
        self,
        group: Group,
        desk: Desk,
        restructured: Callable[[], None],
        press: Callable[[str, GroupEditor], None] | None = None,
    ) -> None:
        self._desk = desk
        self._restructured = restructured
        self._members: list[RuleEditor | GroupEditor] = [self._made(m) for m in group.members]
        make = desk.kit.make
        self._not = make(
            widgets.Checkbox, "cs-not", value=group.negated, description="not", indent=False
        )
        at = _JOINED.index(group.combinator)
        self._combinator = make(
            widgets.Dropdown,
            "cs-combinator",
            options=_WORDS,
            index=at,
            description="How these are joined",
        )
        self._buttons = _buttons(desk, inner=press is not None)
        head = desk.kit.box("cs-group-head", self._not, self._combinator, *self._shown())
        self._body = desk.kit.stack("cs-members")
        self.widget = desk.kit.stack("cs-group", head, self._body)
        self._hear(press)
        self._place()

    def _shown(self) -> tuple[Any, ...]:
        adding = [self._buttons["row"], self._buttons["group"]]
        moving = [self._buttons[key] for key in _BUTTONS if key in self._buttons]
        boxes = [self._desk.kit.box("cs-adding", *adding)]
        return (*boxes, self._desk.kit.box("cs-buttons", *moving)) if moving else (*boxes,)

    def _hear(self, press: Callable[[str, GroupEditor], None] | None) -> None:
        edits = self._desk.edits
        # Both are read when somebody asks; that they changed is all there is to hear.
        edits.on(self._not, "value", self._restructured)
        edits.on(self._combinator, "index", self._restructured)
        edits.on_click(self._buttons["row"], lambda: self._add(Rule()))
        edits.on_click(self._buttons["group"], lambda: self._add(self._opposite()))
        for key in self._buttons.keys() & _BUTTONS.keys():
            edits.on_click(self._buttons[key], _bound(press, key, self))

    # --- what it holds ----------------------------------------------------------------------

    @property
    def member(self) -> Group:
        """The group, as it stands there."""
        combinator = _JOINED[self._combinator.index]
        return Group(combinator, self._not.value, tuple(item.member for item in self._members))

    def rows(self) -> tuple[RuleEditor, ...]:
        """List the rows, from top to bottom."""
        return tuple(row for item in self._members for row in item.rows())

    def number(self, row: int) -> int:
        """Give the rows their numbers, from `row` on; tell the next one."""
        for item in self._members:
            row = item.number(row)
        return row

    def stand(self, *, first: bool, last: bool) -> None:
        """Learn whether there is a place further up or down."""
        self._buttons["up"].disabled = first
        self._buttons["down"].disabled = last

    def focus(self, key: str) -> None:
        """Put the focus on a button, or with ``"field"`` on the first field within."""
        if key == "field" and self._members:
            self._members[0].focus(key)
        else:
            usable(self._buttons, key if key in self._buttons else "row").focus()

    def close(self) -> None:
        """Take the group away."""
        for item in self._members:
            item.close()
        close(self.widget)

    def _opposite(self) -> Group:
        """Make a group of the other kind; one of the same would say nothing new."""
        other = _JOINED[1 - self._combinator.index]
        return Group(other, members=(Rule(),))

    # --- edits ------------------------------------------------------------------------------

    def _made(self, member: Rule | Group) -> RuleEditor | GroupEditor:
        if isinstance(member, Rule):
            return RuleEditor(member, self._desk, self._pressed)
        return GroupEditor(member, self._desk, self._restructured, self._pressed)

    def _add(self, member: Rule | Group) -> None:
        self._members.append(self._made(member))
        self._place()
        self._restructured()
        self._members[-1].focus("field")

    def _pressed(self, key: str, item: RuleEditor | GroupEditor) -> None:
        at = self._members.index(item)
        match key:
            case "remove":
                del self._members[at]
            case "duplicate":
                self._members.insert(at + 1, self._made(item.member))
            case _:
                to = max(0, at - 1) if key == "up" else at + 1
                self._members.insert(to, self._members.pop(at))
        self._place()
        self._restructured()
        if key == "remove":
            item.close()
            self._focus(at - 1)
        else:
            item.focus(key)

    def _focus(self, at: int) -> None:
        """Keep who has no mouse nearby: at the row before, or at what adds one."""
        if at < 0:
            self._buttons["row"].focus()
        else:
            self._members[at].focus("remove")

    def _place(self) -> None:
        last = len(self._members) - 1
        for at, item in enumerate(self._members):
            item.stand(first=at == 0, last=at == last)
        self._body.children = tuple(item.widget for item in self._members)


def _buttons(desk: Desk, *, inner: bool) -> dict[str, Any]:
    made = {
        "row": desk.kit.button("cs-add-row", "Add condition", plain=True),
        "group": desk.kit.button("cs-add-group", "Add group", plain=True),
    }
    if inner:
        made |= {key: desk.kit.button(f"cs-{key}", text) for key, text in _BUTTONS.items()}
    return made


def _bound(press: Any, key: str, group: GroupEditor) -> Any:
    return lambda: press(key, group)


_log = logging.getLogger(__name__)


class Edits:
    """Hears what people do to the controls of one editor.

    Parameters
    ----------
    tell
        Called after each edit, outside the lock, from whatever thread the edit came.
    """

    def __init__(self, tell: Callable[[], None] | None = None) -> None:
        self.lock = RLock()
        self._tell = tell
        self._silent = 0

    def on(self, control: widgets.Widget, trait: str, act: Callable[[], None]) -> None:
        """Do something whenever somebody changes a trait of a control."""
        control.observe(lambda _: self._do(act), trait)

    def on_click(self, button: widgets.Button, act: Callable[[], None]) -> None:
        """Do something whenever somebody presses a button."""
        button.on_click(lambda _: self._do(act))

    @contextmanager
    def quietly(self) -> Iterator[None]:
        """Change controls without that being heard as edits."""
        with self.lock:
            self._silent += 1
            try:
                yield
            finally:
                self._silent -= 1

    def _do(self, act: Callable[[], None]) -> None:
        with self.lock:
            if self._silent:
                return
            with self.quietly():
                _safely(act)
        if self._tell is not None:
            _safely(self._tell)


def _safely(act: Callable[[], None]) -> None:
    """Let nothing out into the loop that hands out events; it would end in no place."""
    try:
        act()
    except Exception:  # noqa: BLE001 - whoever called has nobody to hand it to
        _log.exception("an edit of the form went wrong")


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
    >>> from casesearch_pd.form.model.tree import Group, Rule
    >>> with cs.LocalCases(cases=1) as local:
    ...     editor = FilterEditor(local.connect_cases(), tree=Group(members=(Rule("title", "eq"),)))
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
