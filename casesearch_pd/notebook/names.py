"""Words for ids: what a mapping says comes in, labels that people can read go out."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import pandas as pd

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["Names", "labels", "shortened"]

Names = Mapping[Any, str] | pd.Series | Callable[[Any], str | None] | None

_LONGEST = 24
_HEAD = 8
_UUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}", re.IGNORECASE)


def labels(values: Iterable[Any], names: Names = None) -> list[Any]:
    """Put a word in place of each id.

    Parameters
    ----------
    values
        The distinct values of a column; missing ones stay as they are.
    names
        A mapping or Series from id to word, or a function that answers a word or None.
        Without it ids stay as they are.

    Returns
    -------
    list
        One label a value, all different: where two ids have one word, the id is added.
    """
    held = list(values)
    if names is None:
        return held
    words = [value if _missing(value) else _word(value, names) for value in held]
    twice = {word for word, count in Counter(map(str, words)).items() if count > 1}
    return [
        word if _missing(word) or str(word) not in twice else f"{word} ({value})"
        for word, value in zip(words, held, strict=True)
    ]


def _word(value: Any, names: Mapping[Any, str] | pd.Series[Any] | Callable[[Any], Any]) -> str:
    found = names(value) if callable(names) else names.get(value)
    return shortened(str(value)) if _missing(found) or not str(found).strip() else str(found)


def _missing(value: Any) -> bool:
    return bool(pd.api.types.is_scalar(value) and pd.isna(value))


def shortened(text: str) -> str:
    """Keep of an ARN or UUID what tells it from others; leave other text as it is.

    >>> shortened("arn:aws:connect:us-east-1:1:instance/8a1f/agent/0f14d0ab-9605-4a62-a9e4-5ed26688389b")
    'agent 0f14d0ab…'
    >>> shortened("0f14d0ab-9605-4a62-a9e4-5ed26688389b"), shortened("billing")
    ('0f14d0ab…', 'billing')
    """
    if text.startswith("arn:"):
        *_, kind, last = ["", *re.split(r"[:/]", text.rstrip(":/"))]
        return f"{kind} {_cut(last)}".strip()
    return _cut(text)


def _cut(text: str) -> str:
    return f"{text[:_HEAD]}…" if _UUID.fullmatch(text) else text
