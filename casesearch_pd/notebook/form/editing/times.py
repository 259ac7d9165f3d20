"""The times that are asked for most, and a box for a time with a calendar beside it."""

from __future__ import annotations

import re
from datetime import date
from typing import TYPE_CHECKING, Any

import ipywidgets as widgets
import pandas as pd

from casesearch_pd.notebook.form.editing.entry import ValueEditor, in_a_box, parsed

if TYPE_CHECKING:
    from casesearch_pd.notebook.form.editing.desk import Desk
    from casesearch_pd.notebook.form.model.tree import Rule

__all__ = ["PRESETS", "preset_of", "presets", "time_editor"]

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
