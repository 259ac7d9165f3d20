"""How many, how old, how long and how well: as figures, and in a table a column."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pandas as pd

from casesearch_pd.notebook import numbers
from casesearch_pd.notebook.cases import column_of, instants, micros
from casesearch_pd.notebook.markup import element, table
from casesearch_pd.notebook.report.about import About, Part, left_out, note, part, shortened_cell

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from xml.etree.ElementTree import Element

__all__ = ["figures", "groups"]

_BY = ("status", "queue", "assignee")
_GROUPS = 12  # of a column, at most
_WEEK = pd.Timedelta(days=7)
_NONE = "\u2013"


def figures(about: About) -> Iterator[Element]:
    """Make the figures that are seen first."""
    tiles: list[Element] = [_tile("cases", f"{len(about.cases):,}")]
    parts: dict[str, Part] = {}
    for what, tell in _TOLD.items():
        with part() as parts[what]:
            tiles += tell(about)
    yield element("dl", *tiles, class_="figures")
    yield from map(note, dict.fromkeys(said for made in parts.values() for said in made.notes))
    yield from left_out(parts)


def _tile(name: str, figure: str, small: str = "") -> Element:
    inside = [figure, element("small", small)] if small else [figure]
    return element("div", element("dt", name), element("dd", *inside))


def _overall(about: About) -> list[Element]:
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


def _lately(about: About) -> list[Element]:
    """Count what came and went in the last seven days."""
    since = about.now - _WEEK
    opened = (instants(column_of(about.cases, "created_at")) >= micros(since)).sum()
    closed = (instants(column_of(about.cases, "closed_at")) >= micros(since)).sum()
    return [
        _tile("opened in 7 days", f"{opened:,}", f"since {since:%d %b %H:%M}"),
        _tile("closed in 7 days", f"{closed:,}", f"since {since:%d %b %H:%M}"),
    ]


def _overdue(about: About) -> list[Element]:
    column_of(about.cases, "sla_at")
    left = numbers.durations(about.cases)["sla_days"]
    return [
        _tile("overdue", f"{(left < 0).sum():,}", f"of {left.notna().sum():,} open with an SLA")
    ]


_TOLD: dict[str, Callable[[About], list[Element]]] = {
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


def groups(about: About) -> Iterator[Element]:
    """Make a table for each column that tells who is at work on what."""
    tables: list[Element] = []
    parts: dict[str, Part] = {}
    for by in _BY:
        if by in about.cases and about.cases[by].notna().any():
            with part() as parts[f"by {by}"]:
                tables.append(_grouped(about, by))
    yield from tables
    yield from left_out(parts)
    if not parts:
        yield element("p", f"Nothing to group: no case has {', '.join(_BY)}.", class_="quiet")


def _grouped(about: About, by: str) -> Element:
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
    return "(missing)" if pd.isna(name) else shortened_cell(str(name))
