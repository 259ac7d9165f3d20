"""A small frame in, itables' widget out: search, sort and paging in the browser, offline.

It is given texts only, the same that the plain table shows, and escapes them itself; DataTables,
which is inside, finds numbers and times among texts by their looks and sorts them as such; what is
missing comes first.
"""

from __future__ import annotations

from importlib.util import find_spec
from typing import Any

import pandas as pd

from casesearch_pd.notebook.form.results.paging import SIZES
from casesearch_pd.notebook.lines import heading, lines, shortened
from casesearch_pd.notebook.markup import harmless

__all__ = ["MOST_ROWS", "fits", "grid", "is_installed"]

_LONGEST = 80  # characters of a cell
MOST_ROWS = 2_000  # all of them are sent to the browser at once


def is_installed() -> bool:
    """Tell whether itables is there, without importing it."""
    return find_spec("itables") is not None


def fits(frame: pd.DataFrame) -> bool:
    """Tell whether a frame is small enough, and its columns are told apart by their headings."""
    return 0 < len(frame) <= MOST_ROWS and frame.columns.is_unique


def grid(frame: pd.DataFrame) -> Any:
    """Make the widget.

    Parameters
    ----------
    frame
        The columns that are seen of the frame, at most `MOST_ROWS` rows.
    """
    from itables.widget import ITable  # noqa: PLC0415 - an extra

    return ITable(
        _as_texts(frame),
        allow_html=False,
        classes="display nowrap compact cs-grid",
        lengthMenu=list(SIZES),
        maxBytes=0,  # nothing is left out
        maxColumns=0,
        order=[],  # that of the frame
        pageLength=SIZES[0],
        showIndex=False,
        style="table-layout:auto;width:auto;margin:0",
        text_in_header_can_be_selected=False,  # else its small arrows alone would sort
        warn_on_unexpected_types=False,
    )


def _as_texts(frame: pd.DataFrame) -> pd.DataFrame:
    columns = [frame.iloc[:, at] for at in range(frame.shape[1])]
    texts = {harmless(heading(column)): _plain(lines(column)) for column in columns}
    return pd.DataFrame(texts, dtype=object)


def _plain(texts: list[str]) -> list[str]:
    return [harmless(shortened(" ".join(text.split()), _LONGEST)) for text in texts]
