"""Words for ids: what a mapping says comes in, labels that people can read go out."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, cast

import pandas as pd

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["DisplayNames", "labels", "shortened"]

DisplayNames = Mapping[Any, str] | pd.Series | Callable[[Any], str | None] | None

_HEAD = 8
_UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.IGNORECASE)


def labels(values: Iterable[Any], names: DisplayNames = None) -> list[Any]:
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
        One label a value, all different: where two ids have one word, the id is added. Of an
        id without a word, what is readable.

    Raises
    ------
    TypeError
        If `names` is something else.

    Examples
    --------
    >>> labels(["q1", "q2", "arn:aws:connect:us-east-1:1:instance/1/queue/vip"], {"q1": "Billing"})
    ['Billing', 'q2', 'queue vip']
    """
    held = list(values)
    if names is None:
        return held
    find = _finder(names)
    words = [value if _missing(value) else _word(value, find(value)) for value in held]
    twice = {word for word, count in Counter(map(str, words)).items() if count > 1}
    return [
        f"{word} ({value})" if str(word) in twice and not _missing(value) else word
        for word, value in zip(words, held, strict=True)
    ]


def _finder(names: Any) -> Callable[[Any], Any]:
    if isinstance(names, pd.Series):
        names = names.to_dict()
    if isinstance(names, Mapping):
        return names.get
    if callable(names):
        return cast("Callable[[Any], Any]", names)
    raise TypeError(f"names={names!r} has no words; give a mapping or Series of id to word")


def _word(value: Any, found: Any) -> str:
    word = "" if _missing(found) else str(found).strip()
    return word or shortened(str(value))


def _missing(value: Any) -> bool:
    return bool(pd.api.types.is_scalar(value) and pd.isna(value))


def shortened(text: str) -> str:
    """Keep of an ARN or UUID what tells it from others; leave other text as it is.

    >>> agent = "0f14d0ab-9605-4a62-a9e4-5ed26688389b"
    >>> shortened(f"arn:aws:connect:us-east-1:1:instance/8a1f/agent/{agent}")
    'agent 0f14d0ab…'
    >>> shortened(agent), shortened("billing")
    ('0f14d0ab…', 'billing')
    """
    if not text.startswith("arn:"):
        return _cut(text)
    parts = [part for part in re.split("[:/]", text) if part]
    return " ".join(map(_cut, parts[-2:])) if len(parts) > 1 else text


def _cut(text: str) -> str:
    return f"{text[:_HEAD]}…" if _UUID.fullmatch(text) else text
