"""A frame or ids in, the cases that are meant out; what cannot be meant is refused at once."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pandas as pd

from casesearch_pd.errors import FilterError
from casesearch_pd.reading.frame import check_distinct
from casesearch_pd.reading.provenance import read_back
from casesearch_pd.sources.again import check_opened

if TYPE_CHECKING:
    from collections.abc import Iterable

    from casesearch_pd.sources.contract import Source

__all__ = ["Chosen", "choose"]

# What may differ between two readings of the same cases: the way there, and how it is asked.
_NOT_WHERE = {"endpoint_url", "version", "fresh"}
_PERSONA = "case_"  # begins Persona's ids (Persona's OpenAPI description); Connect's are UUIDs
_LONGEST = 500  # characters of a case's id (botocore's service model)


@dataclass(frozen=True)
class Chosen:
    """The cases that are meant.

    Parameters
    ----------
    ids
        Their ids, each once, in the order given.
    tz
        The zone of the times in the answer.
    frame
        The frame that they came from, if it was one.
    """

    ids: tuple[str, ...]
    tz: str = "UTC"
    frame: pd.DataFrame | None = None


def choose(source: Source, cases: pd.DataFrame | Iterable[str] | str) -> Chosen:
    """Find out which cases are meant.

    Raises
    ------
    FilterError
        If the frame has no ``case_id`` or is of another source, or an id is no text.
    """
    check_opened(source)
    if not isinstance(cases, pd.DataFrame):
        return Chosen(_ids([cases] if isinstance(cases, str) else cases))
    if "case_id" not in cases.columns:
        raise FilterError(
            "the frame has no column 'case_id'; read it too: columns=['case_id', …], or give ids"
        )
    check_distinct(cases, {"case_id"})
    told = read_back(cases)
    _check_source(source, told.get("source", {}))
    return Chosen(_ids(cases["case_id"]), told.get("tz", "UTC"), cases)


def _check_source(source: Source, told: dict[str, Any]) -> None:
    ours = source.describe()
    differ = [key for key in told if key in ours and told[key] != ours[key]]
    where = next((key for key in differ if key not in _NOT_WHERE), None)
    if where is not None:
        raise FilterError(
            f"the frame was read from another source: its {where} is {told[where]!r}, this one's "
            f"{ours[where]!r}; give the source that it was read from"
        )


def _ids(given: Iterable[object]) -> tuple[str, ...]:
    if not pd.api.types.is_list_like(given) or isinstance(given, pd.DataFrame):
        raise FilterError(f"{given!r} names no cases; give a frame with 'case_id', or ids")
    ids = dict.fromkeys(_id(held) for held in given)
    persona = sum(item.startswith(_PERSONA) for item in ids)
    if 0 < persona < len(ids):
        raise FilterError(
            "these are cases of several services; ask each source for its own, and join the answers"
        )
    return tuple(ids)


def _id(held: object) -> str:
    # An address with "." or ".." for an id would be another one than a case's.
    if not isinstance(held, str) or not held.strip(".") or len(held) > _LONGEST:
        raise FilterError(f"case_id {held!r} is no id of a case, which is text; leave it out")
    return held
