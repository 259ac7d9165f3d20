"""What every part of a report is made of, and how a part tells what it lacks."""

from __future__ import annotations

import json
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pandas as pd

from casesearch_pd.analysis import metrics as numbers
from casesearch_pd.analysis.lifecycle import (
    as_of,
    column_of,
    timestamp_microseconds,
    to_microseconds,
    zone_of,
)
from casesearch_pd.errors import FilterError, capture_warnings
from casesearch_pd.query.expressions import TRUE
from casesearch_pd.query.serialization import filter_from_json
from casesearch_pd.reading.provenance import read_provenance
from casesearch_pd.render.cell_text import shorten
from casesearch_pd.render.html import element, table
from casesearch_pd.render.sentences import filter_conditions

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from xml.etree.ElementTree import Element

    from casesearch_pd.analysis.display_names import DisplayNames
    from casesearch_pd.query.expressions import Expression

__all__ = [
    "MissingColumnError",
    "ReportContext",
    "Section",
    "figures",
    "groups",
    "note",
    "omission_note",
    "provenance_section",
    "section",
    "shorten_cell",
]

_LONGEST = 160  # characters of a cell


@dataclass(frozen=True)
class ReportContext:
    """What every part of a report is made of.

    Parameters
    ----------
    cases
        The frame.
    names
        Words for ids.
    told
        The frame's provenance.
    now
        When it was read, on the clocks of the frame's zone.
    """

    cases: pd.DataFrame
    names: DisplayNames
    told: dict[str, Any]
    now: pd.Timestamp

    @classmethod
    def of(cls, cases: pd.DataFrame, names: DisplayNames) -> ReportContext:
        """Take the frame and what it tells of itself."""
        zoned = "created_at" in cases.columns
        zone = zone_of(column_of(cases, "created_at")) if zoned else "UTC"
        return cls(cases, names, read_provenance(cases), as_of(cases).tz_convert(zone))


def note(text: str) -> Element:
    """Make a sentence that stands out."""
    return element("p", text, class_="note")


def shorten_cell(text: str) -> str:
    """Cut text that would make a table unreadable."""
    return shorten(text, _LONGEST)


class MissingColumnError(Exception):
    """The cases do not hold what a part needs."""


@dataclass
class Section:
    """What a part of the report came to say besides itself.

    Parameters
    ----------
    notes
        What it warned of, each once.
    lacks
        Why it is not there; None if it is.
    """

    notes: tuple[str, ...] = ()
    lacks: str | None = None


@contextmanager
def section() -> Iterator[Section]:
    """Make a part: its warnings become notes of it, and a column that is missing its end."""
    made = Section()
    with capture_warnings() as said:
        try:
            yield made
        except (
            KeyError,
            MissingColumnError,
        ) as error:  # `column_of` says what is missing, and the way
            made.lacks = str(error.args[0])
            return
    made.notes = tuple(dict.fromkeys(said))


def omission_note(parts: Mapping[str, Section]) -> Iterator[Element]:
    """Say which parts are not there, those of one reason together."""
    for lacks in dict.fromkeys(made.lacks for made in parts.values() if made.lacks):
        whats = ", ".join(what for what, made in parts.items() if made.lacks == lacks)
        yield note(f"Left out ({whats}): {lacks}")


_BY = ("status", "queue", "assignee")
_GROUPS = 12  # of a column, at most
_WEEK = pd.Timedelta(days=7)
_NONE = "\u2013"


def figures(about: ReportContext) -> Iterator[Element]:
    """Make the figures that are seen first."""
    tiles: list[Element] = [_tile("cases", f"{len(about.cases):,}")]
    parts: dict[str, Section] = {}
    for what, tell in _TOLD.items():
        with section() as parts[what]:
            tiles += tell(about)
    yield element("dl", *tiles, class_="figures")
    yield from map(note, dict.fromkeys(said for made in parts.values() for said in made.notes))
    yield from omission_note(parts)


def _tile(name: str, figure: str, small: str = "") -> Element:
    inside = [figure, element("small", small)] if small else [figure]
    return element("div", element("dt", name), element("dd", *inside))


def _overall(about: ReportContext) -> list[Element]:
    whole = numbers.summary(about.cases.assign(**{_ALL: 0}), _ALL)
    if whole.empty:
        return [_tile("open", "0")]
    row: Any = next(whole.itertuples())
    told = [
        _tile("open", _counted(row.open), _older(row.median_age_days)),
        _tile("median time to close", _days(row.median_close_days), "open cases reckoned in"),
        _tile("90 % closed within", _days(row.p90_close_days), "open cases reckoned in"),
    ]
    if pd.notna(row.within_sla):
        told.append(_tile("within SLA", _share(row.within_sla), "of cases that kept or missed it"))
    return told


def _older(days: Any) -> str:
    return "" if pd.isna(days) else f"half of them older than {_days(days)}"


_ALL = "\x00all"  # no column is called so


def _lately(about: ReportContext) -> list[Element]:
    """Count what came and went in the last seven days."""
    since = about.now - _WEEK
    opened = (
        to_microseconds(column_of(about.cases, "created_at")) >= timestamp_microseconds(since)
    ).sum()
    closed = (
        to_microseconds(column_of(about.cases, "closed_at")) >= timestamp_microseconds(since)
    ).sum()
    return [
        _tile("opened in 7 days", f"{opened:,}", f"since {since:%d %b %H:%M}"),
        _tile("closed in 7 days", f"{closed:,}", f"since {since:%d %b %H:%M}"),
    ]


def _overdue(about: ReportContext) -> list[Element]:
    column_of(about.cases, "sla_at")
    left = numbers.durations(about.cases)["sla_days"]
    return [
        _tile("overdue", f"{(left < 0).sum():,}", f"of {left.notna().sum():,} open with an SLA")
    ]


_TOLD: dict[str, Callable[[ReportContext], list[Element]]] = {
    "open cases and times": _overall,
    "the last seven days": _lately,
    "overdue cases": _overdue,
}


def _counted(count: Any) -> str:
    return f"{count:,}"


def _days(days: Any) -> str:
    return _NONE if pd.isna(days) else f"{days:,.1f} days"


def _share(share: Any) -> str:
    return _NONE if pd.isna(share) else f"{share:.0%}"


# --- groups -------------------------------------------------------------------------------


def groups(about: ReportContext) -> Iterator[Element]:
    """Make a table for each column that tells who is at work on what."""
    tables: list[Element] = []
    parts: dict[str, Section] = {}
    for by in _BY:
        if by in about.cases and about.cases[by].notna().any():
            with section() as parts[f"by {by}"]:
                tables.append(_grouped(about, by))
    yield from tables
    yield from omission_note(parts)
    if not parts:
        yield element("p", f"Nothing to group: no case has {', '.join(_BY)}.", class_="quiet")


def _grouped(about: ReportContext, by: str) -> Element:
    sizes = column_of(about.cases, by).value_counts(dropna=False)
    chosen = about.cases
    if len(sizes) > _GROUPS:
        chosen = chosen[chosen[by].isin(sizes.index[:_GROUPS])]
    found = numbers.summary(chosen, by, about.names).sort_values("count", ascending=False)
    few = len(found) < len(sizes)
    caption = f"By {by}" + (f", the {len(found)} largest of {len(sizes):,} groups" if few else "")
    shown = [(name, show) for name, show in _SHOWN.items() if found[name].notna().any()]
    cells = [map(show, found[name]) for name, show in shown]
    rows = list(zip(map(_group, found.index), *cells, strict=True))
    looks = dict.fromkeys(range(1, len(shown) + 1), "number")
    return table(caption, [by, *(_HEAD[name] for name, _ in shown)], rows, looks)


_HEAD = {
    "count": "cases",
    "open": "open",
    "median_age_days": "median age of open cases",
    "median_close_days": "median time to close",
    "p90_close_days": "90 % closed within",
    "within_sla": "within SLA",
}
_SHOWN: dict[str, Callable[[Any], str]] = {
    "count": _counted,
    "open": _counted,
    "median_age_days": _days,
    "median_close_days": _days,
    "p90_close_days": _days,
    "within_sla": _share,
}


def _group(name: Any) -> str:
    return "(missing)" if pd.isna(name) else shorten_cell(str(name))


def provenance_section(about: ReportContext) -> Iterator[Element]:
    """Tell from the provenance what was asked and what came."""
    if not about.told:
        yield element("p", "The frame does not tell how it was read.")
        return
    told = about.told
    yield element("dl", *_facts(told), class_="facts")
    yield element("h3", "Filter")
    yield from _filter(told)
    whole = element("pre", element("code", json.dumps(told, indent=1, ensure_ascii=False)))
    summary = element("summary", "Everything that the frame tells of its reading, as JSON")
    yield element("details", summary, whole)


def _facts(told: dict[str, Any]) -> Iterator[Element]:
    facts = {
        "Source": _source(told.get("source")),
        "As of": told.get("as_of"),
        "Complete": "yes" if told.get("complete") else "no",
        "Cases": _counted_reading(told),
        "Full-text search": told.get("search"),
        "Order": ", ".join(map(str, told.get("sort") or ())),
        "Limit": told.get("limit"),
        "Requests": told.get("requests"),
        "Zone": told.get("tz"),
    }
    for name, fact in facts.items():
        if fact not in (None, ""):
            yield element("dt", name)
            yield element("dd", str(fact))


def _source(told: Any) -> str:
    if not isinstance(told, dict):
        return ""
    return ", ".join(
        f"{name} {value}" for name, value in told.items() if value not in (None, "", [])
    )


def _counted_reading(told: dict[str, Any]) -> str:
    rows, total = told.get("rows"), told.get("total")
    if rows is None:
        return ""
    return f"{rows:,} read" + ("" if total is None else f", {total:,} matched")


def _filter(told: dict[str, Any]) -> Iterator[Element]:
    asked = _expression(told.get("filter"))
    if asked is None:
        yield element("p", "The frame does not tell its filter.")
    elif asked == TRUE:
        yield element("p", "None: every case.")
    else:
        yield element("ul", *(element("li", said) for said in filter_conditions(asked)))
        yield element("pre", element("code", repr(asked)))
        yield element("pre", element("code", json.dumps(told["filter"], ensure_ascii=False)))


def _expression(stored: Any) -> Expression | None:
    try:
        return filter_from_json(stored)
    except FilterError:
        return None
