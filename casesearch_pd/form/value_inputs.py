"""Controls that share their looks: each has a stable CSS class and a label of its own.

A widget brings two models more, for its layout and its style; here all of one kind have the same,
which makes a form of many rows three times lighter.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from datetime import date
from typing import TYPE_CHECKING, Any

import ipywidgets as widgets
import pandas as pd

from casesearch_pd.errors import FilterError
from casesearch_pd.form.model.code import from_text, to_text
from casesearch_pd.form.model.tree import distinct_labels, single_line
from casesearch_pd.render.html import Fragment, element, fragment

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Sequence

    from casesearch_pd.form.groups import Desk
    from casesearch_pd.form.model.tree import Rule
    from casesearch_pd.query.schema import FieldType

__all__ = [
    "MANY",
    "PRESETS",
    "Kit",
    "ValueEditor",
    "choice_editor",
    "close",
    "in_a_box",
    "parsed",
    "preset_of",
    "presets",
    "say",
    "sendable",
    "time_editor",
]


class Kit:
    """Makes the controls of one editor."""

    def __init__(self) -> None:
        self._looks: dict[type, dict[str, Any]] = {}

    def make(self, kind: type, *classes: str, **traits: Any) -> Any:
        """Make a control of a kind of widget; its description is its label."""
        made = kind(**self._looks.get(kind, {}), **traits)
        shared = ("layout", "style") if made.has_trait("style") else ("layout",)
        self._looks.setdefault(kind, {name: getattr(made, name) for name in shared})
        made._dom_classes = classes  # noqa: SLF001 - what add_class sets, in one message
        return made

    def button(self, css: str, words: str, *, plain: bool = False) -> Any:
        """Make a button; a plain one shows words, the others a sign that the style sheet has."""
        classes = (css,) if plain else (css, "cs-sign")
        return self.make(widgets.Button, *classes, description=words, tooltip=words)

    def message(self) -> Any:
        """Make a place for words."""
        return self.make(widgets.HTML, "cs-message")

    def box(self, css: str, *children: Any) -> Any:
        """Make a row of controls, which breaks where there is little room."""
        return self.make(widgets.Box, css, children=children)

    def stack(self, css: str, *children: Any) -> Any:
        """Make a column of controls."""
        return self.make(widgets.VBox, css, children=children)


def say(message: widgets.HTML, *inside: Fragment) -> None:
    """Put words into a message, or take them away."""
    written = fragment(*inside) if inside else ""
    if message.value != written:
        message.value = written


def close(widget: widgets.Widget) -> None:
    """Take a widget and all within it off the screen and out of the kernel."""
    for child in getattr(widget, "children", ()):
        close(child)
    widget.close()


@dataclass(frozen=True)
class ValueEditor:
    """The controls for one value, or for the many of one row.

    Parameters
    ----------
    widget
        What is put on the screen.
    given
        The value that it began with.
    state
        Tells what the controls show; the same again is the given value again.
    read
        Tells what they mean.
    named
        The controls, each with the words that name it; the number of the row stands behind.
    """

    widget: widgets.Widget
    given: Any
    state: Callable[[], Hashable]
    read: Callable[[], Any]
    named: tuple[tuple[widgets.Widget, str], ...] = ()
    _began: list[Hashable] = field(default_factory=list)

    def __post_init__(self) -> None:
        """Remember what is shown before anybody edits."""
        self._began.append(self.state())

    @property
    def value(self) -> Any:
        """The value: the given one until it is edited."""
        return self.given if self.state() == self._began[0] else self.read()

    def close(self) -> None:
        """Take the controls away, those too that are hidden at the moment."""
        close(self.widget)
        for control, _ in self.named:
            control.close()

    def number(self, row: int) -> None:
        """Name the controls after their row."""
        for control, words in self.named:
            control.description = f"{words} of row {row}"


def parsed(kind: FieldType, text: str) -> Any:
    """Read what was typed; what is no value of this type stays text, which the check refuses.

    >>> parsed("number", "2.50"), parsed("number", "2.5.0"), parsed("text", "")
    (2.5, '2.5.0', None)
    """
    try:
        return from_text(kind, text)
    except FilterError:
        return text


def in_a_box(value: Any) -> str:
    """Write a value as `parsed` reads it."""
    return sendable(to_text(value))


def sendable(text: str) -> str:
    """Write a text as it can be sent to a browser: without halves of surrogate pairs."""
    return _HALVES.sub("\ufffd", text)


_HALVES = re.compile("[\ud800-\udfff]")

PRESETS = (
    "today", "yesterday", "last 24 hours", "last 7 days", "last 30 days", "this month",
    "last month", "this year",
)  # fmt: skip
"""What the presets are called."""


def presets(now: pd.Timestamp, tz: str) -> tuple[tuple[str, Any], ...]:
    """List the operator and the value of each preset.

    Parameters
    ----------
    now
        This moment; UTC.
    tz
        The zone whose calendar counts.

    Examples
    --------
    >>> now = pd.Timestamp("2026-03-01T00:30Z")
    >>> for preset in zip(PRESETS, presets(now, "Europe/Berlin")): print(*preset)
    today ('eq', '2026-03-01')
    yesterday ('eq', '2026-02-28')
    last 24 hours ('gte', Timedelta('-1 days +00:00:00'))
    last 7 days ('gte', Timedelta('-7 days +00:00:00'))
    last 30 days ('gte', Timedelta('-30 days +00:00:00'))
    this month ('eq', '2026-03')
    last month ('eq', '2026-02')
    this year ('eq', '2026')
    """
    day = pd.Period(now.tz_convert(tz).tz_localize(None), "D")
    month = day.asfreq("M")
    return (
        ("eq", str(day)),
        ("eq", str(day - 1)),
        ("gte", pd.Timedelta(days=-1)),
        ("gte", pd.Timedelta(days=-7)),
        ("gte", pd.Timedelta(days=-30)),
        ("eq", str(month)),
        ("eq", str(month - 1)),
        ("eq", str(day.year)),
    )


def preset_of(rule: Rule, now: pd.Timestamp, tz: str) -> int | None:
    """Find the preset that a rule is; None if it is none of them."""
    said = (rule.operator, rule.value)
    found = (at for at, preset in enumerate(presets(now, tz)) if preset == said)
    return next(found, None)


_ISO_DAY = re.compile(r"\s*(?P<day>\d{4}-\d{2}-\d{2})(?P<clock>[T ].*)?\s*", re.DOTALL)


def time_editor(given: Any, desk: Desk, css: str, words: str) -> ValueEditor:
    """Make a box for a time: in ISO 8601, or from now; the calendar beside it fills in a day."""
    text = in_a_box(given)
    box = desk.kit.make(
        widgets.Text, css, value=text, description=words, placeholder="2026-03-14 or 7 days ago"
    )
    day = desk.kit.make(widgets.DatePicker, "cs-day", description="Day", value=_day_in(text))
    desk.edits.on(day, "value", lambda: _fill(box, day.value))
    desk.edits.on(box, "value", lambda: day.set_trait("value", _day_in(box.value)))
    return ValueEditor(
        desk.kit.box("cs-time", box, day),
        given,
        state=lambda: box.value,
        read=lambda: parsed("datetime", box.value),
        named=((box, words), (day, f"Day for {words[0].lower()}{words[1:]}")),
    )


def _day_in(text: str) -> date | None:
    found = _ISO_DAY.fullmatch(text)
    try:
        return date.fromisoformat(found["day"]) if found else None
    except ValueError:  # not on the calendar
        return None


def _fill(box: widgets.Text, day: date | None) -> None:
    """Write the day that was picked; the time of day that stands there stays."""
    if day is not None:
        found = _ISO_DAY.fullmatch(box.value)
        box.value = day.isoformat() + ((found and found["clock"]) or "")


MANY = 12
"""More choices than this have a box to find some by."""

_ROWS = 6  # that are seen at once
_SAID = 4  # of the chosen ones by name


def choice_editor(
    given: Any,
    values: Sequence[str],
    texts: Sequence[str],
    desk: Desk,
    *,
    css: str = "cs-options",
    words: str = "Options",
    stranger: str = "no option",
    none: str = "none chosen",
) -> ValueEditor:
    """Make a list to choose any number from.

    Parameters
    ----------
    given
        What is chosen: a tuple of values, or None.
    values
        What is on offer.
    texts
        What it is called, in the same order; no two alike.
    desk
        What the editor shares.
    css
        The class of the list.
    words
        The label of the list.
    stranger
        What is said of a chosen value that is not on offer.
    none
        What is said while nothing is chosen.
    """
    chosen = _as_values(given)
    offered = set(values)
    strange = [item for item in chosen if item not in offered]
    every = [*values, *strange]
    shown = list(texts)
    if strange:
        called = [f"{in_a_box(item)} ({stranger})" for item in strange]
        shown = distinct_labels([*shown, *called], [*map(in_a_box, every)])
    places = {value: at for at, value in enumerate(every)}
    held = _Choices(shown, [places[item] for item in chosen], desk, (css, words, none))
    return ValueEditor(
        held.widget,
        given,
        state=lambda: tuple(held.chosen),
        read=lambda: tuple(every[at] for at in held.chosen) or None,
        named=held.named,
    )


def _as_values(given: Any) -> list[Any]:
    """List what is chosen, each once."""
    listed = given if isinstance(given, tuple) else () if given is None else (given,)
    return list(dict.fromkeys(listed))


class _Choices:
    """The list, the box to find by, and what is chosen, by place and in order."""

    def __init__(
        self, texts: list[str], chosen: list[int], desk: Desk, look: tuple[str, str, str]
    ) -> None:
        css, words, self._none = look
        self.chosen = chosen
        self._texts = texts
        self._folded = [text.casefold() for text in texts]
        self._seen = list(range(len(texts)))
        make = desk.kit.make
        self._list = make(
            widgets.SelectMultiple, css, options=texts, index=tuple(chosen), description=words,
            rows=max(2, min(_ROWS, len(texts))), tooltip="Ctrl or Shift chooses several",
        )  # fmt: skip
        self._find = make(
            widgets.Text, "cs-find", description=f"Find in {words.lower()}", placeholder="find …"
        )
        self._said = make(widgets.HTML, "cs-chosen")
        desk.edits.on(self._list, "index", self._choose)
        desk.edits.on(self._find, "value", self._search)
        self._say()
        crowded = len(texts) > MANY
        parts = (self._find, self._list, self._said) if crowded else (self._list, self._said)
        self.widget = desk.kit.stack("cs-choices", *parts)
        self.named = ((self._list, words), (self._find, f"Find in {words.lower()}"))

    def _choose(self) -> None:
        seen = set(self._seen)
        picked = [self._seen[at] for at in self._list.index]
        kept = [at for at in self.chosen if at not in seen or at in picked]
        self.chosen = [*kept, *(at for at in picked if at not in kept)]
        self._say()

    def _search(self) -> None:
        wanted = single_line(self._find.value).casefold()
        self._seen = [at for at, text in enumerate(self._folded) if wanted in text]
        chosen = set(self.chosen)
        with self._list.hold_sync():
            self._list.options = [self._texts[at] for at in self._seen]
            self._list.index = tuple(at for at, place in enumerate(self._seen) if place in chosen)

    def _say(self) -> None:
        named = [self._texts[at] for at in self.chosen[:_SAID]]
        more = len(self.chosen) - len(named)
        line = ", ".join([*named, f"{more} more"] if more > 0 else named)
        say(self._said, element("span", line or self._none, class_="cs-quiet"))
