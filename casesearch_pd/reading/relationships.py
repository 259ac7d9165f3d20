"""Cases whose own columns hold what they are related to in, one row of each relation out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pandas as pd

from casesearch_pd.errors import FilterError, IncompleteReadError, ReadInterrupted
from casesearch_pd.reading.per_case import inscribed, tell_cost, tell_gone
from casesearch_pd.reading.provenance import read_back
from casesearch_pd.reading.read import read_cases

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from casesearch_pd.reading.chosen import Chosen
    from casesearch_pd.reading.exhaust import OnError
    from casesearch_pd.reading.progress import Progress
    from casesearch_pd.sources.contract import Source

__all__ = ["How", "read_columns"]


@dataclass(frozen=True)
class How:
    """How to read."""

    progress: Progress
    workers: int | None
    on_error: OnError
    deadline: float | None


def read_columns(source: Source, chosen: Chosen, kinds: tuple[str, ...], how: How) -> pd.DataFrame:
    """Take what the frame has, and read what it lacks.

    Raises
    ------
    IncompleteReadError
        If not all cases could be read; ``.missing`` has the ids of the others.
    ReadInterrupted
        If the user stops it.
    """
    frame = chosen.frame if chosen.frame is not None else pd.DataFrame({"case_id": []})
    held = [kind for kind in kinds if kind in frame.columns]
    lacking = [kind for kind in kinds if kind not in held] if chosen.ids else []
    part, told = _exploded(frame, held), {"as_of": read_back(frame).get("as_of")}
    if not lacking:
        return _whole(source, [part], {**told, "requests": 0, "complete": True})
    try:
        cases = _read(source, chosen, lacking, how)
    except IncompleteReadError as broken:
        came = set() if broken.partial is None else {*broken.partial["case_id"]}
        broken.missing = tuple(one for one in chosen.ids if one not in came)
        broken.partial = _joined(source, part, broken.partial, lacking)
        raise
    except ReadInterrupted as stopped:
        stopped.partial = _joined(source, part, stopped.partial, lacking)
        raise
    return _joined(source, part, cases, lacking)


def _joined(
    source: Source, part: pd.DataFrame, cases: pd.DataFrame | None, kinds: Sequence[str]
) -> pd.DataFrame:
    if cases is None:
        return part
    return _whole(source, [part, _exploded(cases, kinds)], read_back(cases))


def _read(source: Source, chosen: Chosen, kinds: list[str], how: How) -> pd.DataFrame:
    tell_cost("relationships", len(chosen.ids), source.rate, source.burst)
    cases = read_cases(
        source,
        {"case_id": list(chosen.ids)},
        columns=["case_id", *kinds],
        progress=how.progress,
        max_workers=how.workers,
        on_error=how.on_error,
        deadline=how.deadline,
    )
    if read_back(cases).get("complete"):
        tell_gone(set(chosen.ids).difference(cases["case_id"]))
    return cases


def _whole(source: Source, parts: Sequence[pd.DataFrame], told: Mapping[str, Any]) -> pd.DataFrame:
    """Put the parts in order, and write down what was read."""
    whole = pd.concat([_NOTHING, *parts]).drop_duplicates()
    whole = whole.sort_values(["case_id", "kind", "related_id"], ignore_index=True)
    said = {name: told.get(name) for name in ("requests", "complete", "as_of")}
    return inscribed(whole, source, "relationships", **said)


def _exploded(cases: pd.DataFrame, kinds: Sequence[str]) -> pd.DataFrame:
    """Make one row of each member of the lists."""
    parts = [_related(cases, kind) for kind in kinds]
    return pd.concat([_NOTHING, *parts], ignore_index=True)


def _related(cases: pd.DataFrame, kind: str) -> pd.DataFrame:
    column = cases[kind]
    if pd.api.types.is_string_dtype(column) and column.notna().any():
        raise FilterError(
            f"column {kind!r} holds text where lists of ids belong; give the frame without it, "
            "or the ids of the cases, to have it read"
        )
    named = cases[["case_id"]].assign(kind=kind, related_id=column).explode("related_id")
    return named.dropna(subset="related_id").astype("str")


_NOTHING = pd.DataFrame({"case_id": [], "kind": [], "related_id": []}, dtype="str")
