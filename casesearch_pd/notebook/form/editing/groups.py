"""A group of the form: how its rows and groups are joined, and buttons to add more.

Classes of its controls: ``cs-group``, ``cs-not``, ``cs-combinator``, ``cs-add-row``,
``cs-add-group``, and of a group within another ``cs-up``, ``cs-down``, ``cs-duplicate``,
``cs-remove``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import ipywidgets as widgets

from casesearch_pd.notebook.form.editing.kit import close
from casesearch_pd.notebook.form.editing.rows import RuleEditor, usable
from casesearch_pd.notebook.form.model.tree import Combinator, Group, Rule

if TYPE_CHECKING:
    from collections.abc import Callable

    from casesearch_pd.notebook.form.editing.desk import Desk

__all__ = ["GroupEditor"]

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
