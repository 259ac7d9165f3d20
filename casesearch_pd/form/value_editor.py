"""The editor of a rule's value, by what the operator takes and by the type of the field."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import ipywidgets as widgets

from casesearch_pd.form.model.code import to_text
from casesearch_pd.form.model.tree import OPERATORS
from casesearch_pd.form.value_inputs import (
    ValueEditor,
    choice_editor,
    in_a_box,
    parsed,
    sendable,
    time_editor,
)

if TYPE_CHECKING:
    from casesearch_pd.form.groups import Desk
    from casesearch_pd.form.model.tree import Takes
    from casesearch_pd.query.schema import Field, FieldType

__all__ = ["shaped", "takes_of", "value_editor"]


def takes_of(operator: str) -> Takes:
    """Tell what an operator takes; an unknown one takes one value."""
    return OPERATORS[operator].takes if operator in OPERATORS else "one"


def shaped(value: Any, takes: Takes) -> Any:
    """Carry a value over to an operator that takes another number of values.

    >>> shaped("open", "many"), shaped(("open", "closed"), "one"), shaped(3, "pair")
    (('open',), 'open', (3, None))
    """
    values = value if isinstance(value, tuple) else () if value is None else (value,)
    match takes:
        case "many":
            return tuple(item for item in values if item is not None) or None
        case "pair":
            return (*values, None, None)[:2] if values else None
        case "one":
            return next((item for item in values if item is not None), None)
        case "none":
            return None


def value_editor(operator: str, given: Any, field: Field | None, desk: Desk) -> ValueEditor:
    """Make the controls for a value.

    Parameters
    ----------
    operator
        What the value is for.
    given
        The value to begin with, which stays exactly this until somebody edits it.
    field
        The field; None while it is not known, and then there is nothing to fill in.
    desk
        What the editor shares.
    """
    if field is None and given is None:
        return _nothing(given, desk)
    match takes_of(operator):
        case "none":
            return _nothing(given, desk)
        case "many":
            return _many(given, field, desk)
        case "pair":
            return _pair(given, field, desk)
        case "one":
            return _one(given, field, desk)


def _nothing(given: Any, desk: Desk) -> ValueEditor:
    return ValueEditor(desk.kit.box("cs-no-value"), given, lambda: None, lambda: None)


def _one(
    given: Any, field: Field | None, desk: Desk, css: str = "cs-value", words: str = "Value"
) -> ValueEditor:
    match "any" if field is None else field.type:
        case "boolean":
            return _yes_or_no(given, desk, css, words)
        case "datetime":
            return time_editor(given, desk, css, words)
        case "any":
            return _of_any_kind(given, desk, css, words)
        case kind:
            box = _box(given, field, desk, css, words)
            read = _reader(kind, box)
            return ValueEditor(box, given, lambda: box.value, read, ((box, words),))


def _reader(kind: FieldType, box: widgets.Text) -> Any:
    return lambda: parsed(kind, box.value)


def _box(given: Any, field: Field | None, desk: Desk, css: str, words: str) -> widgets.Widget:
    """Make a box: for text of several lines a tall one, since the other has room for one only."""
    if isinstance(given, str) and "\n" in given and sendable(given) == given:
        tall = {"value": given, "description": words, "rows": 3}
        return desk.kit.make(widgets.Textarea, css, "cs-tall", **tall)
    looks = {"value": in_a_box(given), "description": words}
    if field is not None and field.options:
        known = tuple(sendable(item.value) for item in field.options)
        return desk.kit.make(widgets.Combobox, css, **looks, options=known)
    return desk.kit.make(widgets.Text, css, **looks)


def _yes_or_no(given: Any, desk: Desk, css: str, words: str) -> ValueEditor:
    values: list[Any] = [None, True, False]
    if not any(item is given for item in values):
        values.append(given)
    texts = ["choose …", "yes", "no", sendable(repr(given))][: len(values)]
    at = next(at for at, item in enumerate(values) if item is given)
    list_ = desk.kit.make(widgets.Dropdown, css, options=texts, index=at, description=words)
    return ValueEditor(
        list_, given, lambda: list_.index, lambda: values[list_.index], ((list_, words),)
    )


_KINDS: tuple[FieldType, ...] = ("text", "number", "boolean")
_KIND_WORDS = ("text", "number", "yes/no")


def _kind_of(value: Any) -> int:
    if isinstance(value, bool):
        return 2
    return 1 if isinstance(value, int | float) else 0


def _kinds(value: Any, desk: Desk) -> widgets.Dropdown:
    return desk.kit.make(
        widgets.Dropdown, "cs-kind", options=_KIND_WORDS, index=_kind_of(value), description="Kind"
    )


def _of_any_kind(given: Any, desk: Desk, css: str, words: str) -> ValueEditor:
    """Make a box for a field whose type nobody told, with the kind of the value before it."""
    kind = _kinds(given, desk)
    written = None if isinstance(given, bool) else given
    box = _box(written, None, desk, css, words)
    answer = _yes_or_no(given if isinstance(given, bool) else None, desk, css, words)
    whole = desk.kit.box("cs-any")

    def show() -> None:
        whole.children = (kind, answer.widget if kind.index == _YES_OR_NO else box)

    def read() -> Any:
        at = kind.index
        return answer.value if at == _YES_OR_NO else parsed(_KINDS[at], box.value)

    show()
    desk.edits.on(kind, "index", show)
    named = ((kind, f"Kind of {words[0].lower()}{words[1:]}"), (box, words), *answer.named)
    return ValueEditor(whole, given, lambda: (kind.index, box.value, answer.state()), read, named)


_YES_OR_NO = 2


def _pair(given: Any, field: Field | None, desk: Desk) -> ValueEditor:
    is_pair = isinstance(given, tuple) and len(given) == 2  # noqa: PLR2004 - a pair
    low, high = given if is_pair else (shaped(given, "one"), None)
    first = _one(low, field, desk, "cs-value", "Lowest value")
    last = _one(high, field, desk, "cs-value-2", "Highest value")

    def read() -> Any:
        ends = (first.value, last.value)
        return None if ends == (None, None) else ends

    and_ = desk.kit.make(widgets.HTML, "cs-and", value="<span>and</span>")
    return ValueEditor(
        desk.kit.box("cs-pair", first.widget, and_, last.widget),
        given,
        state=lambda: (first.state(), last.state()),
        read=read,
        named=(*first.named, *last.named),
    )


# --- many -------------------------------------------------------------------------------


def _many(given: Any, field: Field | None, desk: Desk) -> ValueEditor:
    if field is not None and field.type == "select" and field.options:
        values = [item.value for item in field.options]
        return choice_editor(given, values, desk.options(field), desk)
    if field is None or field.type == "any":
        return _lines_of_any_kind(given, desk)
    return _lines(given, field.type, desk)


def _lines(given: Any, kind: FieldType, desk: Desk) -> ValueEditor:
    box, apart = _tall(given, kind, desk)
    return ValueEditor(
        box.widget, given, box.state, lambda: _read_lines(kind, box.state(), apart), box.named
    )


def _lines_of_any_kind(given: Any, desk: Desk) -> ValueEditor:
    first = given[0] if isinstance(given, tuple) and given else given
    kind = _kinds(first, desk)
    box, apart = _tall(given, _KINDS[kind.index], desk)

    return ValueEditor(
        desk.kit.box("cs-any", kind, box.widget),
        given,
        state=lambda: (kind.index, box.state()),
        read=lambda: _read_lines(_KINDS[kind.index], box.state(), apart),
        named=((kind, "Kind of values"), *box.named),
    )


def _tall(given: Any, kind: FieldType, desk: Desk) -> tuple[ValueEditor, tuple[Any, ...]]:
    """Make a box with a value a line; values that no line says are kept apart, and said to be."""
    values = given if isinstance(given, tuple) else () if given is None else (given,)
    listed = [item for item in values if _fits_a_line(item, kind)]
    apart = tuple(item for item in values if not _fits_a_line(item, kind))
    box = desk.kit.make(
        widgets.Textarea, "cs-value", "cs-tall", description="Values", rows=3,
        value="\n".join(map(in_a_box, listed)), placeholder="one value a line",
    )  # fmt: skip
    parts = [box, *(_kept(item, desk) for item in apart)]
    whole = desk.kit.stack("cs-lines", *parts)
    return ValueEditor(whole, given, lambda: box.value, lambda: None, ((box, "Values"),)), apart


def _kept(value: Any, desk: Desk) -> widgets.Widget:
    return desk.kit.make(
        widgets.Textarea, "cs-kept", description="Kept value, which no line can say", rows=2,
        value=sendable(to_text(value)), disabled=True,
    )  # fmt: skip


def _fits_a_line(value: Any, kind: FieldType) -> bool:
    line = in_a_box(value)
    broken = "\n" in line or "\r" in line
    return bool(line) and not broken and repr(parsed(kind, line)) == repr(value)


def _read_lines(kind: FieldType, text: Any, apart: tuple[Any, ...]) -> tuple[Any, ...] | None:
    read = [parsed(kind, line) for line in str(text).split("\n")]
    return (*(item for item in read if item is not None), *apart) or None
