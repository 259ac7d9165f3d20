"""Text that people read in place of ids and numbers: labels of values, short ids, counts."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping
from itertools import zip_longest
from typing import TYPE_CHECKING, Any, cast

import pandas as pd

from casesearch_pd.errors import FilterError
from casesearch_pd.reading.frames.frame import require_distinct_columns
from casesearch_pd.reading.provenance import Provenance

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

__all__ = [
    "DisplayNames",
    "distinct_labels",
    "drawable_text",
    "label_cells",
    "labels",
    "option_labels",
    "plural",
    "shorten_id",
    "shorten_middle",
]

DisplayNames = Mapping[Any, str] | pd.Series | Callable[[Any], str | None] | None

_UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.IGNORECASE)
_UUID_HEAD = 8  # characters kept of a UUID
_LABEL_LENGTH = 28  # characters


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


def option_labels(cases: pd.DataFrame) -> dict[str, dict[str, str]]:
    """Return the label of each option, by column and value, as they were when the frame was read.

    Raise FilterError if the frame has no provenance, which contains them.
    """
    provenance = Provenance.of(cases)
    if not provenance.exists:
        raise FilterError(
            "labels=True needs the labels of the read, and this DataFrame has no provenance; "
            "pandas drops attrs in merge and concat; keep them: new.attrs.update(df.attrs)"
        )
    columns = {name: pairs for name, pairs in provenance.options.items() if name in cases.columns}
    require_distinct_columns(cases, set(columns))
    return {name: _distinct_options(pairs) for name, pairs in columns.items()}


def _distinct_options(pairs: Iterable[Sequence[str]]) -> dict[str, str]:
    names = {value: label for value, label in pairs if label.strip()}
    return dict(zip(names, labels(names, names), strict=True))


def label_cells(cases: pd.DataFrame, columns: Mapping[str, Mapping[str, str]]) -> pd.DataFrame:
    """Return a frame with labels in place of values; a value without a label stays."""
    texts = {name: _label_column(cases[name], names) for name, names in columns.items()}
    return cases.assign(**texts)


def _label_column(column: pd.Series[Any], names: Mapping[str, str]) -> pd.Series[Any]:
    def label(cell: Any) -> Any:
        if isinstance(cell, (list, tuple)):
            return [names.get(item, item) for item in cell]
        return names.get(cell, cell)

    return column.astype(object).map(label, na_action="ignore")


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


def distinct_labels(values: Iterable[Any], length: int = _LABEL_LENGTH) -> list[str]:
    """Return a short text for each value, all of them different, on one line.

    Long texts lose their middle. Where that would make two of them equal, the part in which they
    differ stays; texts without a visible difference are numbered.

    >>> distinct_labels(["billing", 2.0, None, "(missing)"])
    ['billing', '2', '(missing)', '(missing) (2)']
    >>> names = [f"customer care, region {region}, second level" for region in ("n", "s")]
    >>> distinct_labels(names)
    ['custo…egion n, second level', 'custo…egion s, second level']
    """
    texts = [_value_text(value) for value in values]
    shortened = [shorten_middle(text, length) for text in texts]
    same = defaultdict(set)
    for text, label in zip(texts, shortened, strict=True):
        same[label].add(text)
    for at, text in enumerate(texts):
        others = same[shortened[at]]
        if len(others) > 1:
            shortened[at] = _shorten_around(text, _first_difference(others), length)
    return _numbered(shortened)


def _value_text(value: Any) -> str:
    if _is_missing(value):
        return "(missing)"
    # All digits, because 1234567.1 and 1234567.2 are two groups.
    text = str(value).removesuffix(".0") if isinstance(value, float) else str(value)
    return drawable_text(text)


def _first_difference(texts: Iterable[str]) -> int:
    """Return the position of the first character in which some of the texts differ."""
    columns = enumerate(zip_longest(*texts))
    return next((at for at, characters in columns if len(set(characters)) > 1), 0)


def _shorten_around(text: str, difference: int, length: int) -> str:
    """Return a text without what is before and after the position of a difference."""
    head, part, tail = length // 5, length // 3, length - length // 5 - length // 3 - 2
    start = max(difference - part * 2 // 3, head)
    middle = text[start : start + part]
    rest = text[start + part :]
    before = text[:start] if start <= head + 1 else f"{text[:head]}…"
    return f"{before}{middle}{rest if len(rest) <= tail + 1 else f'…{rest[-tail:]}'}"


def _numbered(texts: list[str]) -> list[str]:
    """Return the texts, repetitions with a number that makes them equal to no other text."""
    result: list[str] = []
    names = set(texts)
    first: set[str] = set()
    for text in texts:
        label, number = text, 1
        while label in first or (number > 1 and label in names):
            number += 1
            label = f"{text} ({number})"
        first.add(label)
        result.append(label)
    return result


def shorten_middle(value: object, length: int = _LABEL_LENGTH) -> str:
    """Return a label without its middle if it is long: similar names differ at their ends.

    >>> shorten_middle("billing"), shorten_middle("a very long name of a queue, region north")
    ('billing', 'a very long name o…ion north')
    """
    text = drawable_text(value)
    if len(text) <= length:
        return text or "(empty)"
    return f"{text[: length * 2 // 3]}…{text[-(length // 3) :]}"


def drawable_text(value: object) -> str:
    """Return the text of a value in one line, without invisible characters."""
    return " ".join("".join(char if char.isprintable() else " " for char in str(value)).split())


def plural(number: int, noun: str) -> str:
    """Return a count with its noun.

    >>> plural(1, "page"), plural(2_000, "open case")
    ('1 page', '2,000 open cases')
    """
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"
