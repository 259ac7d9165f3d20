"""What SQL has no words for: letter case as Unicode folds it, and members of nested lists."""

from __future__ import annotations

import json
import re
from functools import cache

import pyarrow as pa

__all__ = ["casefolded", "has_member", "odd_letters"]

_PLANE = 0x10000  # beyond it no letter folds into ASCII


def casefolded(texts: pa.ChunkedArray) -> pa.Array:
    """Take letter case off, as the local mask does: lower() would leave ß and SS apart."""
    folded = [None if text is None else text.casefold() for text in texts.to_pylist()]
    return pa.array(folded, pa.large_string())


@cache
def odd_letters() -> str:
    """Write the pattern of the letters that are no ASCII and fold into some, such as ß and ﬁ."""
    letters = (chr(code) for code in range(0x80, _PLANE))
    odd = (one for one in letters if any(part.isascii() for part in one.casefold()))
    return f"[{re.escape(''.join(odd))}]"


def has_member(cells: pa.ChunkedArray, values: pa.ChunkedArray) -> pa.Array:
    """Tell of lists in JSON whether they have a text for a member."""
    pairs = zip(cells.to_pylist(), values.to_pylist(), strict=True)
    return pa.array([_has(cell, value) for cell, value in pairs], pa.bool_())


def _has(cell: str | None, value: str | None) -> bool:
    held = None if cell is None else json.loads(cell)
    return isinstance(held, list) and value in held
