"""Random columns: a generator and shares in, lists of stored values out."""

from collections.abc import Sequence
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt

from casesearch_pd.local.schema import Option
from casesearch_pd.local.where import SqlValue

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]
Flags = npt.NDArray[np.bool_]

NEVER = np.iinfo(np.int64).max
"""A time that does not come."""


def chance(rng: np.random.Generator, size: int | tuple[int, int], share: float) -> Flags:
    """Return flags of which a share is true."""
    return rng.random(size) < share


def iso(times: Ints) -> list[SqlValue]:
    """Return times as stored, missing where they never come."""
    absent = times == NEVER
    text = np.datetime_as_string(np.where(absent, 0, times).astype("datetime64[ms]"))
    return masked(text.tolist(), ~absent)


def masked(values: Sequence[Any], shown: Flags) -> list[SqlValue]:
    """Return values, missing where they are not shown."""
    return [value if keep else None for value, keep in zip(values, shown.tolist(), strict=True)]


def picked(values: Sequence[str], index: Ints, shown: Flags) -> list[SqlValue]:
    """Return the value at each index, missing where it is not shown."""
    return [
        values[i] if keep else None for i, keep in zip(index.tolist(), shown.tolist(), strict=True)
    ]


def some_of(rng: np.random.Generator, values: Sequence[str], shown: Flags) -> list[SqlValue]:
    """Return a random value for each case, missing where it is not shown."""
    return picked(values, rng.choice(len(values), len(shown)), shown)


def option_of(
    rng: np.random.Generator, options: Sequence[Option], size: int, share: float
) -> list[SqlValue]:
    """Return a random option for a share of cases."""
    return some_of(rng, [option.value for option in options], chance(rng, size, share))


def lists_of(rng: np.random.Generator, values: Sequence[str], size: int) -> list[str]:
    """Return a random choice of several values for each case, as JSON."""
    chosen = chance(rng, (size, len(values)), 0.4)
    return [
        json_text([v for v, one in zip(values, row, strict=True) if one]) for row in chosen.tolist()
    ]


def json_text(value: Any) -> str:
    """Return a value as JSON text."""
    return msgspec.json.encode(value).decode()
