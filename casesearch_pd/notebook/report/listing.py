"""The cases of a report: as many as are read, under the columns that matter most."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pandas as pd

from casesearch_pd.notebook.cells import is_plain, joined
from casesearch_pd.notebook.markup import element, table
from casesearch_pd.notebook.names import labels
from casesearch_pd.notebook.report.about import About, shortened_cell

if TYPE_CHECKING:
    from collections.abc import Iterator
    from xml.etree.ElementTree import Element

    from casesearch_pd.notebook.names import Names

__all__ = ["listing"]

_ROWS = 200
_COLUMNS = 10
_WORDS = 24  # characters of a cell that would rather have a wide column
_FIRST = (
    "case_id", "reference", "title", "status", "priority", "queue", "assignee", "created_at",
    "closed_at", "sla_at",
)  # fmt: skip
_IDS = {"queue", "assignee", "template_id", "customer_id", "created_by"}  # `names` has words for


def listing(about: About) -> Iterator[Element]:
    """Make a table of the first cases, and say what is left out."""
    columns = _columns(about.cases)
    shown = about.cases.head(_ROWS)[columns]
    yield element("p", _left_out(about.cases, columns), class_="quiet")
    cells = [_cells(shown[column], about.names) for column in columns]
    yield table(
        f"{len(shown):,} cases",
        [_head(shown[column]) for column in columns],
        zip(*cells, strict=True),
        looks={at: _look(shown[column]) for at, column in enumerate(columns)},
    )


def _columns(cases: pd.DataFrame) -> list[Any]:
    """Choose columns that most want to see, then others; one name, one column."""
    once = cases.columns[~cases.columns.duplicated(keep=False)]
    filled = [name for name in once if name not in _FIRST and cases[name].notna().any()]
    return [*(name for name in _FIRST if name in once), *filled][:_COLUMNS]


def _left_out(cases: pd.DataFrame, columns: list[Any]) -> str:
    rows, others = len(cases) - _ROWS, cases.shape[1] - len(columns)
    said = [
        f"The first {_ROWS} cases in the order of the frame; {rows:,} more are left out."
        if rows > 0
        else "All cases, in the order of the frame.",
        f"{others} of {cases.shape[1]} columns are left out." if others else "",
    ]
    return " ".join(said).strip()


def _head(column: pd.Series[Any]) -> str:
    zone = getattr(column.dt, "tz", None) if _is_time(column) else None
    return shortened_cell(f"{column.name} ({zone})" if zone else str(column.name))


def _is_time(column: pd.Series[Any]) -> bool:
    return pd.api.types.is_datetime64_any_dtype(column.dtype)


def _look(column: pd.Series[Any]) -> str:
    if _is_time(column):
        return "time"
    number = is_plain(column) and pd.api.types.is_numeric_dtype(column.dtype)
    if number:
        return "number"
    return "long" if column.astype("str").str.len().max() > _WORDS else "text"


def _cells(column: pd.Series[Any], names: Names) -> list[str]:
    if _is_time(column):
        column = column.dt.strftime("%Y-%m-%d %H:%M")
    elif names is not None and column.name in _IDS:
        known = column.dropna().unique()
        column = column.map(dict(zip(known, labels(known, names), strict=True)))
    return [_text(cell) for cell in column.astype(object)]


def _text(cell: Any) -> str:
    """Write one cell; numbers as they are, nothing where there is nothing."""
    flat = joined(cell)
    if pd.api.types.is_scalar(flat) and pd.isna(flat):
        return ""
    return shortened_cell(str(flat))
