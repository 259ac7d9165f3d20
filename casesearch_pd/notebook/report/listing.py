"""The cases of a report: as many as are read, under the columns that matter most."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from casesearch_pd.notebook.lines import heading, lines, look
from casesearch_pd.notebook.markup import element, table
from casesearch_pd.notebook.names import labels
from casesearch_pd.notebook.report.about import About, shortened_cell

if TYPE_CHECKING:
    from collections.abc import Iterator
    from xml.etree.ElementTree import Element

    import pandas as pd

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
    cells = {column: _cells(shown[column], about.names) for column in columns}
    looks = [look(shown[column], texts, _WORDS) for column, texts in cells.items()]
    yield table(
        f"{len(shown):,} cases",
        [shortened_cell(heading(shown[column])) for column in columns],
        zip(*cells.values(), strict=True),
        looks=dict(enumerate(looks)),
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


def _cells(column: pd.Series[Any], names: Names) -> list[str]:
    if names is not None and column.name in _IDS:
        known = column.dropna().unique()
        column = column.map(dict(zip(known, labels(known, names), strict=True)))
    return [shortened_cell(text) for text in lines(column)]
