"""The Persona wire: answer bytes → columns.

Shapes follow Persona's OpenAPI description (version 2025-12-08). A page is decoded by msgspec
into typed structs; one that does not fit them is read once more as plain JSON, value by value.
Both ways give the same columns.
"""

from __future__ import annotations

import json
from functools import lru_cache
from operator import attrgetter
from typing import TYPE_CHECKING, Any

import msgspec

from casesearch_pd.sources.persona_columns import (
    NO_RELATIONSHIPS,
    Answer,
    Known,
    Relationships,
    Wrapped,
    attachments,
    relate,
    spread,
    unwrapped,
)
from casesearch_pd.sources.persona_names import ATTRIBUTES, LISTED, snake
from casesearch_pd.sources.persona_plain import object_of, read_plain

if TYPE_CHECKING:
    from collections.abc import Sequence

    from casesearch_pd.query.schema import Field

__all__ = ["decode", "decode_one"]

_Held = Wrapped | str | int | float | bool | list[Any] | None


class _Links(msgspec.Struct, gc=False):
    next: str | None


def _decoder(fields: Any) -> msgspec.json.Decoder[Any]:
    """Make a decoder of answers whose custom fields come as the given type."""
    attributes = msgspec.defstruct(
        "_Attributes",
        [(snake(name), Any, None) for name in ATTRIBUTES if name not in LISTED]
        # Tuples, because an empty one costs nothing, and the garbage collector lets them be.
        + [(snake(name), tuple[Any, ...] | None, None) for name in LISTED]
        + [("fields", fields, msgspec.field(default_factory=fields))],
        rename="kebab",
        forbid_unknown_fields=True,
        gc=False,
    )
    related = ("relationships", Relationships | None, None)
    case: Any = msgspec.defstruct(
        "_Case", [("id", str), ("attributes", attributes), related], gc=False
    )
    return msgspec.json.Decoder(
        msgspec.defstruct("_Answer", [("data", list[case]), ("links", _Links)], gc=False)
    )


@lru_cache(maxsize=16)
def _decoder_of(keys: tuple[str, ...]) -> msgspec.json.Decoder[Any]:
    """Make a decoder of answers that hold no custom fields but these."""
    absent = Wrapped("")  # it has a value as all others, so that all are read alike
    fields = msgspec.defstruct(
        "_Fields",
        [(_numbered(at), _Held, absent) for at in range(len(keys))],
        rename={_numbered(at): key for at, key in enumerate(keys)},
        forbid_unknown_fields=True,
        gc=False,
    )
    return _decoder(fields)


def _numbered(at: int) -> str:
    return f"field_{at}"  # a key need not be a name in Python


_OPEN_DECODER = _decoder(dict[str, _Held])
_GETTERS = {name: attrgetter(snake(name)) for name in ATTRIBUTES}


def decode(body: bytes, known: Known, wanted: Sequence[Field]) -> Answer:
    """Read the bytes of a search or List answer.

    Parameters
    ----------
    body
        The whole body of a 200.
    known
        The custom fields and templates that were discovered.
    wanted
        The fields that were asked for; empty for all.

    Raises
    ------
    ValueError
        If the body is no list of cases: not JSON, cut short, or without ``data``.
    """
    answer = _decoded(body, _decoder_of(tuple(known.custom))) or _decoded(body, _OPEN_DECODER)
    if answer is None:
        # Not json.loads(body): that would guess the encoding, and JSON is UTF-8.
        return read_plain(json.loads(body.decode()), known, wanted)
    cases = answer.data
    asked = {item.id for item in wanted}
    out = Answer(len(cases), {"case_id": [case.id for case in cases]}, answer.links.next, True)
    held = [case.attributes for case in cases]
    _attribute(out, held, asked)
    relate(out, [case.relationships or NO_RELATIONSHIPS for case in cases], known, asked)
    fields = [one.fields for one in held]
    if fields and isinstance(fields[0], dict):
        spread(out, fields, known, asked)
    else:
        _spread_known(out, fields, known, asked)
    return out


def _decoded(body: bytes, decoder: msgspec.json.Decoder[Any]) -> Any:
    try:
        return decoder.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None


def _attribute(out: Answer, held: Sequence[Any], asked: set[str]) -> None:
    for name, (column, _) in ATTRIBUTES.items():
        if not asked or name in asked:
            out.columns[column] = list(map(_GETTERS[name], held))
    if "attachments" in out.columns:
        files = out.columns["attachments"]
        out.columns["attachments"] = [attachments(some) if some else some for some in files]


def _spread_known(out: Answer, fields: Sequence[Any], known: Known, asked: set[str]) -> None:
    """Make columns of the custom fields, none of which is new."""
    for at, item in enumerate(known.custom.values()):
        if not asked or item.id in asked:
            out.columns[item.column] = unwrapped(_values(fields, at), item.type)


def _values(fields: Sequence[Any], at: int) -> list[Any]:
    get = attrgetter(_numbered(at))
    try:
        return [one.value for one in map(get, fields)]
    except AttributeError:  # some come bare
        return [one.value if type(one) is Wrapped else one for one in map(get, fields)]


def decode_one(body: bytes, known: Known, wanted: Sequence[Field]) -> Answer:
    """Read the bytes of a retrieval, which holds a case where search holds a list.

    Raises
    ------
    ValueError
        If the body holds no case.
    """
    return read_plain({"data": [object_of(body)], "links": {"next": None}}, known, wanted)
