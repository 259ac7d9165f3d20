"""Persona answers as plain JSON, value by value: for what does not fit the typed structs.

Another key inflection, an attribute added since or a bare hash in ``fields`` costs time, but
no cell.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import msgspec

from casesearch_pd.query.schema import Field
from casesearch_pd.sources.persona_columns import (
    Answer,
    Known,
    Link,
    Relationships,
    Wrapped,
    attachments,
    relate,
    spread,
)
from casesearch_pd.sources.persona_names import ATTRIBUTES, RELATIONSHIPS, kebab, snake

if TYPE_CHECKING:
    from collections.abc import Container, Mapping, Sequence

__all__ = ["object_of", "read_plain", "shown"]


def read_plain(answer: Any, known: Known, wanted: Sequence[Field]) -> Answer:
    """Read a search or List answer.

    Parameters
    ----------
    answer
        The JSON of a 200.
    known
        The custom fields and templates that were discovered.
    wanted
        The fields that were asked for; empty for all.

    Raises
    ------
    ValueError
        If it is no list of cases.
    """
    cases = _cases(answer)
    asked = {item.id for item in wanted}
    attributes = [kebab(case.get("attributes")) for case in cases]
    out = Answer(len(cases), {"case_id": [case["id"] for case in cases]}, *_next(answer))
    for name, (column, _) in ATTRIBUTES.items():
        if not asked or name in asked:
            out.columns[column] = [held.get(name) for held in attributes]
    for column, render in (("tags", _listed), ("attachments", attachments)):
        if column in out.columns:
            out.columns[column] = [render(value) for value in out.columns[column]]
    relate(out, [_related(case.get("relationships")) for case in cases], known, asked)
    spread(out, [_typed(held.get("fields")) for held in attributes], known, asked)
    _new_attributes(out, attributes, known, asked)
    return out


def _cases(answer: Any) -> list[dict[str, Any]]:
    if not isinstance(answer, dict) or not isinstance(answer.get("data"), list):
        raise ValueError("the answer has no list of cases")  # noqa: TRY004 - wire, not a type
    cases: list[dict[str, Any]] = answer["data"]
    if not all(isinstance(case, dict) and isinstance(case.get("id"), str) for case in cases):
        raise ValueError("the answer has a case without an id")
    return cases


def _next(answer: Mapping[str, Any]) -> tuple[str | None, bool]:
    links = answer.get("links")
    if not isinstance(links, dict) or "next" not in links:
        return None, False
    following = links["next"]
    if following is not None and not isinstance(following, str):
        raise ValueError("links.next is not text")
    return following, True


def _listed(value: Any) -> Any:
    return value if value is None or isinstance(value, (list, tuple)) else (value,)


def _related(held: Any) -> Relationships:  # type: ignore[valid-type]
    told = kebab(held)
    return Relationships(
        **{snake(name): _link(told[name]) for name in RELATIONSHIPS if name in told}
    )


def _link(value: Any) -> Link:
    try:
        return msgspec.convert(value, Link)
    except msgspec.ValidationError:
        return Link()


def _typed(held: Any) -> dict[str, Any]:
    """Give wrapped values the form that the typed decoder gives them."""
    if not isinstance(held, dict):
        return {}
    return {key: _wrapper(value) for key, value in held.items()}


def _wrapper(value: Any) -> Any:
    if (
        isinstance(value, dict)
        and isinstance(value.get("type"), str)
        and not value.keys() - {"type", "value"}
    ):
        return Wrapped(value["type"], value.get("value"))
    return value


def _new_attributes(
    out: Answer, attributes: Sequence[Mapping[str, Any]], known: Known, asked: set[str]
) -> None:
    names = dict.fromkeys(name for held in attributes for name in held)
    for name in names:
        if name in ATTRIBUTES or name == "fields" or (asked and name not in asked):
            continue
        column = known.attributes.get(name) or _column(snake(name), known.columns, out.columns)
        out.columns[column] = [held.get(name) for held in attributes]
        if name not in known.attributes:
            out.found[column] = Field(column, name, name, "any")


def _column(name: str, *used: Container[str]) -> str:
    return f"attribute_{name}" if any(name in held for held in used) else name


def shown(body: bytes) -> frozenset[str]:
    """List the attributes and relationships that the cases of an answer have, in kebab case."""
    cases = json.loads(body)["data"]
    held = [kebab(case.get(part)) for case in cases for part in ("attributes", "relationships")]
    return frozenset(name for names in held for name in names)


def object_of(body: bytes) -> dict[str, Any]:
    """Read the bytes of an answer that holds one thing.

    Raises
    ------
    ValueError
        If it holds none.
    """
    # Not json.loads(body): that would guess the encoding, and JSON is UTF-8.
    answer = json.loads(body.decode())
    if not isinstance(answer, dict) or not isinstance(answer.get("data"), dict):
        raise ValueError("the answer has no data")  # noqa: TRY004 - wire, not a type
    return dict(answer["data"])
