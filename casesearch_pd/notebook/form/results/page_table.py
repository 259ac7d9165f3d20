"""Some rows of a frame in, an HTML table out, in which no text of a case is markup."""

from __future__ import annotations

from typing import TYPE_CHECKING

from casesearch_pd.notebook.lines import heading, lines, look, shortened
from casesearch_pd.notebook.markup import element, fragment, table

if TYPE_CHECKING:
    import pandas as pd

    from casesearch_pd.notebook.markup import Inside

__all__ = ["page_table"]

_LONGEST = 120  # characters of a cell
_WIDE = 32  # characters of a cell that the column may have no room for


def page_table(rows: pd.DataFrame, caption: str) -> str:
    """Write the rows of a page.

    Parameters
    ----------
    rows
        As many as are to be seen.
    caption
        Which they are.
    """
    columns = [rows.iloc[:, at] for at in range(rows.shape[1])]
    texts = [lines(column) for column in columns]
    made = table(
        caption,
        [shortened(heading(column), _LONGEST) for column in columns],
        zip(*(map(_cell, column) for column in texts), strict=True),
        looks={at: look(columns[at], texts[at], _WIDE) for at in range(len(columns))},
    )
    return fragment(made)


def _cell(text: str) -> Inside:
    """Cut what is long; the whole of it is seen where the mouse rests."""
    if len(text) <= _WIDE and "\n" not in text:
        return text
    return element("span", shortened(text, _LONGEST), title=text)
