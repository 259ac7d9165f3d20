"""The sections of a report: figures, tables by group, the case table, and the provenance."""

from __future__ import annotations

import json
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pandas as pd

from casesearch_pd.analysis.display_names import distinct_labels, label_cells, labels, option_labels
from casesearch_pd.analysis.lifecycle import (
    Lifecycle,
    as_of,
    case_count,
    column_of,
    one_row_per_case,
    timestamp_microseconds,
    zone_of,
)
from casesearch_pd.analysis.metrics import durations, summary
from casesearch_pd.analysis.survival import grouping_bias, survivorship_reason
from casesearch_pd.errors import FilterError, capture_warnings
from casesearch_pd.query.expressions import TRUE
from casesearch_pd.query.serialization import filter_from_json
from casesearch_pd.reading.provenance import Provenance, read_provenance
from casesearch_pd.render.cell_text import cell_format, cell_texts, column_heading, shorten
from casesearch_pd.render.html import element, table
from casesearch_pd.render.sentences import describe_conditions

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from xml.etree.ElementTree import Element

    from casesearch_pd.analysis.display_names import DisplayNames
    from casesearch_pd.query.expressions import Expression

__all__ = [
    "MissingColumnError",
    "ReportContext",
    "Section",
    "case_table",
    "figures",
    "group_tables",
    "note",
    "omission_notes",
    "provenance_facts",
    "section",
]

_MAX_CELL = 160  # characters
_LONG_CELL = 24  # characters of a cell that need a wide column
_MAX_ROWS = 200
_MAX_COLUMNS = 10
_MAX_GROUPS = 12
_FIRST_COLUMNS = (
    "case_id", "reference", "title", "status", "priority", "queue", "assignee", "created_at",
    "closed_at", "sla_at",
)  # fmt: skip
_ID_COLUMNS = {"queue", "assignee", "template_id", "customer_id", "created_by"}
_GROUP_COLUMNS = ("status", "queue", "assignee")
_WEEK = pd.Timedelta(days=7)
_ALL = "\x00all"  # a name that no column has
_DASH = "\u2013"


@dataclass(frozen=True)
class ReportContext:
    """What every section of a report is made from."""

    cases: pd.DataFrame
    names: DisplayNames  # of the ids of queues, assignees and the like
    options: Mapping[str, Mapping[str, str]]  # labels by column and value; empty to show values
    provenance: Provenance
    now: pd.Timestamp  # when the cases were read, in their zone

    @classmethod
    def of(cls, cases: pd.DataFrame, names: DisplayNames, *, labels: bool) -> ReportContext:
        """Return the context of a frame."""
        now = as_of(cases).tz_convert(zone_of(cases))
        options = option_labels(cases) if labels else {}
        return cls(cases, names, options, Provenance.of(cases), now)

    def names_of(self, column: str) -> DisplayNames:
        """Return the names of the values of a column by which cases are grouped."""
        return self.options.get(column, self.names)


class MissingColumnError(Exception):
    """The cases do not have the values that a section needs."""


@dataclass
class Section:
    """What happened while a section was made."""

    warnings: tuple[str, ...] = ()  # each once
    omission: str | None = None  # why the section is not shown


@contextmanager
def section() -> Iterator[Section]:
    """Collect the warnings of a section, and end it where a column is missing."""
    current = Section()
    with capture_warnings() as messages:
        # `column_of` raises the KeyError; its message names the column and the remedy.
        try:
            yield current
        except (KeyError, MissingColumnError) as error:
            current.omission = str(error.args[0])
            return
    current.warnings = tuple(dict.fromkeys(messages))


def note(text: str) -> Element:
    """Return a highlighted paragraph."""
    return element("p", text, class_="note")


def omission_notes(sections: Mapping[str, Section]) -> Iterator[Element]:
    """Yield one note per reason for which sections are not shown."""
    for reason in dict.fromkeys(item.omission for item in sections.values() if item.omission):
        names = ", ".join(name for name, item in sections.items() if item.omission == reason)
        yield note(f"Not shown ({names}): {reason}")


def figures(context: ReportContext) -> Iterator[Element]:
    """Yield the key figures."""
    tiles: list[Element] = [_tile("cases", _count(case_count(context.cases)))]
    sections: dict[str, Section] = {}
    for name, make_tiles in _FIGURES.items():
        with section() as sections[name]:
            tiles += make_tiles(context)
    yield element("dl", *tiles, class_="figures")
    messages = (message for item in sections.values() for message in item.warnings)
    yield from map(note, dict.fromkeys(messages))
    yield from omission_notes(sections)


def _tile(name: str, figure: str, detail: str = "") -> Element:
    content = [figure, element("small", detail)] if detail else [figure]
    return element("div", element("dt", name), element("dd", *content))


def _overall_figures(context: ReportContext) -> list[Element]:
    # One group with all cases, so that the figures are those that users get from `summary`.
    overall = summary(context.cases.assign(**{_ALL: 0}), _ALL)
    if overall.empty:
        return [_tile("open", "0")]
    row: Any = next(overall.itertuples())
    median_age = "" if pd.isna(row.median_age_days) else f"median age {_days(row.median_age_days)}"
    tiles = [
        _tile("open", _count(row.open), median_age),
        _tile("median time to close", _days(row.median_close_days), "including open cases"),
        _tile("90 % closed within", _days(row.p90_close_days), "including open cases"),
    ]
    if pd.notna(row.within_sla):
        tiles.append(_tile("within SLA", _share(row.within_sla), "of cases that met or missed it"))
    return tiles


def _week_figures(context: ReportContext) -> list[Element]:
    """Return how many cases were opened and closed in the seven days before the read."""
    _require_last_week(context)
    start = context.now - _WEEK
    lifecycle = Lifecycle.of(one_row_per_case(context.cases))
    return [
        _tile(
            f"{verb} in 7 days",
            _count((times >= timestamp_microseconds(start)).sum()),
            f"since {start:%d %b %H:%M}",
        )
        for verb, times in (("opened", lifecycle.created), ("closed", lifecycle.last_closed))
    ]


def _require_last_week(context: ReportContext) -> None:
    """Raise MissingColumnError if cases of the seven days before the read may be missing."""
    provenance = context.provenance
    if provenance.as_of is None:
        raise MissingColumnError("it is not known when the cases were read")
    if provenance.rows not in {None, case_count(context.cases)}:
        raise MissingColumnError("the DataFrame was changed after the read")
    reason = survivorship_reason(context.cases, "flow")
    if reason is not None:
        raise MissingColumnError(reason)


def _overdue_figure(context: ReportContext) -> list[Element]:
    column_of(context.cases, "sla_at")
    days = durations(one_row_per_case(context.cases))["sla_days"]
    return [
        _tile("overdue", _count((days < 0).sum()), f"of {days.notna().sum():,} open with an SLA")
    ]


_FIGURES: dict[str, Callable[[ReportContext], list[Element]]] = {
    "open cases and times": _overall_figures,
    "the last seven days": _week_figures,
    "overdue cases": _overdue_figure,
}


def _count(count: Any) -> str:
    return f"{count:,}"


def _days(days: Any) -> str:
    return _DASH if pd.isna(days) else f"{days:,.1f} days"


def _share(share: Any) -> str:
    return _DASH if pd.isna(share) else f"{share:.0%}"


def group_tables(context: ReportContext) -> Iterator[Element]:
    """Yield a table for each column by which cases are commonly grouped."""
    tables: list[Element] = []
    sections: dict[str, Section] = {}
    for by in _GROUP_COLUMNS:
        if by in context.cases and context.cases[by].notna().any():
            with section() as sections[f"by {by}"]:
                tables.append(_group_table(context, by))
                if reason := grouping_bias(by):
                    tables.append(element("p", reason.capitalize(), class_="quiet"))
    yield from tables
    yield from omission_notes(sections)
    if not sections:
        yield element(
            "p", f"Nothing to group: no case has {', '.join(_GROUP_COLUMNS)}.", class_="quiet"
        )


def _group_table(context: ReportContext, by: str) -> Element:
    # Only the groups that are shown are measured: there may be one per customer.
    sizes = column_of(context.cases, by).value_counts(dropna=False)
    cases = context.cases
    if len(sizes) > _MAX_GROUPS:
        cases = cases[cases[by].isin(sizes.index[:_MAX_GROUPS])]
    groups = summary(cases, by, context.names_of(by)).sort_values("count", ascending=False)
    caption = f"By {by}"
    if len(groups) < len(sizes):
        caption += f", the {len(groups)} largest of {len(sizes):,} groups"
    columns = [name for name in _METRICS if groups[name].notna().any()]
    cells = [map(_METRICS[name][1], groups[name]) for name in columns]
    return table(
        caption,
        [by, *(_METRICS[name][0] for name in columns)],
        list(zip(distinct_labels(groups.index, _MAX_CELL), *cells, strict=True)),
        formats=dict.fromkeys(range(1, len(columns) + 1), "number"),
    )


# The heading and the format of each column of `summary`.
_METRICS: dict[str, tuple[str, Callable[[Any], str]]] = {
    "count": ("cases", _count),
    "open": ("open", _count),
    "median_age_days": ("median age of open cases", _days),
    "median_close_days": ("median time to close", _days),
    "p90_close_days": ("90 % closed within", _days),
    "within_sla": ("within SLA", _share),
}


def case_table(context: ReportContext) -> Iterator[Element]:
    """Yield a table of the first cases, and a sentence on what it does not show."""
    columns = _table_columns(context.cases)
    rows = context.cases.head(_MAX_ROWS)[columns]
    options = {name: names for name, names in context.options.items() if name in columns}
    rows = label_cells(rows, options)
    yield element("p", _extent(context.cases, columns), class_="quiet")
    cells = {
        column: _cells(rows[column], None if column in options else context.names)
        for column in columns
    }
    formats = [cell_format(rows[column], texts, _LONG_CELL) for column, texts in cells.items()]
    yield table(
        f"{len(rows):,} cases",
        distinct_labels((column_heading(rows[column]) for column in columns), _MAX_CELL),
        zip(*cells.values(), strict=True),
        formats=dict(enumerate(formats)),
    )


def _table_columns(cases: pd.DataFrame) -> list[Any]:
    """Return the most useful columns first, then others that have values."""
    unique = cases.columns[~cases.columns.duplicated(keep=False)]
    first = [name for name in _FIRST_COLUMNS if name in unique]
    others = [name for name in unique if name not in _FIRST_COLUMNS and cases[name].notna().any()]
    return [*first, *others][:_MAX_COLUMNS]


def _extent(cases: pd.DataFrame, columns: list[Any]) -> str:
    rows, others = len(cases) - _MAX_ROWS, cases.shape[1] - len(columns)
    sentences = [
        f"The first {_MAX_ROWS} cases in the order of the DataFrame; {rows:,} more are not shown."
        if rows > 0
        else "All cases, in the order of the DataFrame.",
        f"{others} of {cases.shape[1]} columns are not shown." if others else "",
    ]
    return " ".join(sentences).strip()


def _cells(column: pd.Series[Any], names: DisplayNames) -> list[str]:
    if names is not None and column.name in _ID_COLUMNS:
        ids = column.dropna().unique()
        column = column.map(dict(zip(ids, labels(ids, names), strict=True)))
    return [shorten(text, _MAX_CELL) for text in cell_texts(column)]


def provenance_facts(context: ReportContext) -> Iterator[Element]:
    """Yield how the cases were read: the facts, the filter, and the whole provenance."""
    provenance = context.provenance
    if not provenance.exists:
        yield element("p", "This DataFrame has no casesearch provenance.")
        return
    yield element("dl", *_facts(provenance), class_="facts")
    yield element("h3", "Filter")
    yield from _filter(provenance)
    text = json.dumps(read_provenance(context.cases), indent=1, ensure_ascii=False)
    yield element(
        "details",
        element("summary", "The complete provenance, as JSON"),
        element("pre", element("code", text)),
    )


def _facts(provenance: Provenance) -> Iterator[Element]:
    source = provenance.source.items()
    facts = {
        "Source": ", ".join(f"{name} {value}" for name, value in source if value not in _EMPTY),
        "As of": None if provenance.as_of is None else provenance.as_of.isoformat(),
        "Complete": "yes" if provenance.complete else "no",
        "Cases": _row_counts(provenance),
        "Full-text search": provenance.search,
        "Order": ", ".join(map(str, provenance.sort)),
        "Limit": provenance.limit,
        "Requests": provenance.requests,
        "Time zone": provenance.tz,
    }
    for name, fact in facts.items():
        if fact not in _EMPTY:
            yield element("dt", name)
            yield element("dd", str(fact))


_EMPTY: tuple[Any, ...] = (None, "", [])


def _row_counts(provenance: Provenance) -> str:
    if provenance.rows is None:
        return ""
    total = "" if provenance.total is None else f", {provenance.total:,} matched"
    return f"{provenance.rows:,} read{total}"


def _filter(provenance: Provenance) -> Iterator[Element]:
    expression = _expression(provenance.filter)
    if expression is None:
        yield element("p", "The filter is not known.")
    elif expression == TRUE:
        yield element("p", "None: every case.")
    else:
        yield element("ul", *(element("li", text) for text in describe_conditions(expression)))
        yield element("pre", element("code", repr(expression)))
        text = json.dumps(provenance.filter, ensure_ascii=False)
        yield element("pre", element("code", text))


def _expression(filter_json: Any) -> Expression | None:
    # A later version of the package may have stored a filter that this one cannot read.
    try:
        return filter_from_json(filter_json)
    except FilterError:
        return None
