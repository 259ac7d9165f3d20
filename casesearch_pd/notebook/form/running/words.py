"""A read under way in, one line of words and the place of its bar out."""

from __future__ import annotations

import math
from traceback import format_exception_only
from typing import TYPE_CHECKING

from casesearch_pd.errors import CaseSearchError, IncompleteReadError, ReadInterrupted
from casesearch_pd.notebook.words import many

if TYPE_CHECKING:
    import pandas as pd

    from casesearch_pd.reading.background import BackgroundRead, Snapshot

__all__ = ["ended", "share", "under_way"]

_WORTH_TELLING = 0.5  # seconds of waiting


def share(now: Snapshot) -> float | None:
    """Tell how much of a read is done, from 0 to 1; None where nobody knows.

    >>> from casesearch_pd.reading.background import Snapshot
    >>> share(Snapshot(rows=50, total=100, this_pass=2, passes=2))
    0.75
    """
    if not now.total or not now.passes:
        return None
    before = max(0, now.this_pass - 1) * now.total
    return min(1.0, (before + now.rows) / (now.total * now.passes))


def under_way(now: Snapshot) -> str:
    """Say how far a read is.

    >>> from casesearch_pd.reading.background import Snapshot
    >>> under_way(Snapshot(rows=50, total=1234, pages=1, passes=1, requests=1, waiting=2.4))
    '50 of 1,234 rows · 1 page · 1 request · 0 s · waiting 3 s for the rate limit'
    """
    whole = "" if now.total is None else f" of {now.total:,}"
    parts = [
        f"{now.rows:,}{whole} rows",
        f"pass {now.this_pass} of {now.passes}" if now.passes > 1 else "",
        many(now.pages, "page"),
        many(now.requests, "request"),
        f"{now.seconds:.0f} s",
    ]
    if now.waiting > _WORTH_TELLING:
        parts.append(f"waiting {math.ceil(now.waiting)} s for the rate limit")
    return " · ".join(part for part in parts if part)


def ended(read: BackgroundRead) -> str:
    """Say how a read ended, in a sentence or two."""
    now, frame, error = read.progress, read.frame, read.error
    took = f"{many(now.requests, 'request')}, {now.seconds:.1f} s"
    match error:
        case None:
            return f"{_rows(frame)} read: {took}."
        case ReadInterrupted():
            return f"Cancelled after {_rows(frame)}: {took}. What came is below; it is not all."
        case IncompleteReadError():
            return f"{_sentence(str(error))} What came is below; it is not all."
        case CaseSearchError():
            return _sentence(str(error))
        case _:  # a mistake of this package, or of a source of a user's own
            said = "".join(format_exception_only(error)).strip()
            return f"The search broke off by a mistake in the program ({said}); please report it."


def _rows(frame: pd.DataFrame | None) -> str:
    return many(0 if frame is None else len(frame), "case")


def _sentence(text: str) -> str:
    begun = text[:1].upper() + text[1:]
    return begun if begun.endswith((".", "!", "?", "…")) else f"{begun}."
