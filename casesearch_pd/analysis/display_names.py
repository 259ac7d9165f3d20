"""Text that people read in place of ids and numbers: labels of values, short ids, counts."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, cast

import pandas as pd

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["DisplayNames", "labels", "plural", "shorten_id"]

DisplayNames = Mapping[Any, str] | pd.Series | Callable[[Any], str | None] | None

_UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.IGNORECASE)
_UUID_HEAD = 8  # characters kept of a UUID


def labels(values: Iterable[Any], names: DisplayNames = None) -> list[Any]:
    """Return a label for each distinct value of a column, all of them different.

    An id without a name is shortened; without `names`, ids stay as they are, as missing values
    always do. Raise TypeError if `names` is no mapping, Series or function.

    >>> labels(["q1", "q2", "arn:aws:connect:us-east-1:1:instance/1/queue/vip"], {"q1": "Billing"})
    ['Billing', 'q2', 'queue vip']
    """
    ids = list(values)
    if names is None:
        return ids
    name_of = _lookup(names)
    texts = [value if _is_missing(value) else _label(value, name_of(value)) for value in ids]
    # Two ids of one name would look like one group, so both carry their id.
    repeated = {text for text, count in Counter(map(str, texts)).items() if count > 1}
    return [
        f"{text} ({value})" if str(text) in repeated and not _is_missing(value) else text
        for text, value in zip(texts, ids, strict=True)
    ]


def _lookup(names: Any) -> Callable[[Any], Any]:
    if isinstance(names, pd.Series):
        names = names.to_dict()
    if isinstance(names, Mapping):
        return names.get
    if callable(names):
        return cast("Callable[[Any], Any]", names)
    raise TypeError(f"names must be a mapping, a Series or a function of the id, got {names!r}")


def _label(value: Any, name: Any) -> str:
    text = "" if _is_missing(name) else str(name).strip()
    return text or shorten_id(str(value))


def _is_missing(value: Any) -> bool:
    return bool(pd.api.types.is_scalar(value) and pd.isna(value))


def shorten_id(text: str) -> str:
    """Return the distinctive part of an ARN or UUID, and any other text unchanged.

    >>> agent = "0f14d0ab-9605-4a62-a9e4-5ed26688389b"
    >>> shorten_id(f"arn:aws:connect:us-east-1:1:instance/8a1f/agent/{agent}")
    'agent 0f14d0ab…'
    >>> shorten_id(agent), shorten_id("billing")
    ('0f14d0ab…', 'billing')
    """
    if not text.startswith("arn:"):
        return _shorten_uuid(text)
    parts = [part for part in re.split("[:/]", text) if part]
    return " ".join(map(_shorten_uuid, parts[-2:])) if len(parts) > 1 else text


def _shorten_uuid(text: str) -> str:
    return f"{text[:_UUID_HEAD]}…" if _UUID.fullmatch(text) else text


def plural(number: int, noun: str) -> str:
    """Return a count with its noun.

    >>> plural(1, "page"), plural(2_000, "open case")
    ('1 page', '2,000 open cases')
    """
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"
