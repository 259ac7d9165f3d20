"""Cells of custom fields: values without their wrappers, and without addresses that grant access.

Persona sends a file as an object with a signed URL, which opens the document for anyone who has it
("File fields", Persona's documentation). Only the name and the size of a file become a cell, at
any depth of arrays and hashes, so that no DataFrame, file or mirror contains such a URL.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import msgspec

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

__all__ = ["TypedValue", "attachment_names", "may_hold_urls", "plain_cells", "plain_value"]


class TypedValue(msgspec.Struct, gc=False, frozen=True, forbid_unknown_fields=True):
    """A custom value with its type."""

    type: str
    value: Any = None


_WRAPPER_SIZE = len(TypedValue.__struct_fields__)
_CONTAINERS = frozenset({list, dict, tuple})
_FILE_TYPES = {"file", "selfie", "government-id", "document", "attachment"}
_NAMES, _SIZES = ("filename",), ("bytesize",)
# Keys of addresses of a file or picture, without hyphens: "center-photo-url", "download_url".
_FILE_URL = re.compile(r".*(photo|file|image|video|document|download|signed)s?ur[il]")
_URL = re.compile(r"""(https?://[^\s?#"'<>]*)([?#][^\s"'<>]*)""", re.IGNORECASE)
_GRANTS_ACCESS = re.compile(
    r"[?&#;]([\w.-]*(token|signature|credential|secret|password|api[-_]?key|jwt)"
    r"|sig|auth|policy|key-pair-id)=",
    re.IGNORECASE,
)


def may_hold_urls(body: bytes) -> bool:
    """Return whether a response may contain a URL, also with escaped characters."""
    return b"://" in body or rb":\/" in body or rb"\u00" in body


def plain_cells(values: Sequence[Any], *, with_urls: bool = True) -> list[Any]:
    """Return the cells of custom values of one field, each a `TypedValue` or not.

    Without `with_urls`, texts are not searched for URLs; see `may_hold_urls`.
    """
    try:
        cells = [value.value for value in values]
    except AttributeError:  # some values have no wrapper
        cells = [value.value if type(value) is TypedValue else value for value in values]
    # Most columns have neither: a set of types is found faster than each cell is looked at.
    types = set(map(type, cells))
    if _CONTAINERS.isdisjoint(types) and not (with_urls and str in types and _any_url(cells)):
        return cells
    return [
        plain_value(cell, value.type if type(value) is TypedValue else "")
        if type(cell) in _CONTAINERS or (type(cell) is str and "://" in cell)
        else cell
        for cell, value in zip(cells, values, strict=True)
    ]


def plain_value(value: Any, value_type: str = "") -> Any:
    """Return a value without wrappers, files as text, and URLs without what grants access.

    >>> plain_value({"type": "file", "value": {"filename": "a.jpg", "byte_size": 9, "url": "…"}})
    'a.jpg (9 bytes)'
    """
    if isinstance(value, str):
        if "://" not in value:
            return value
        is_file = _kebab(value_type) in _FILE_TYPES
        return _without_access(_last_part(value) if is_file else value)
    if isinstance(value, (list, tuple)):
        return type(value)([plain_value(item, value_type) for item in value])
    if not isinstance(value, dict):
        return value
    inner_type = value.get("type")
    if (
        isinstance(inner_type, str)
        and "value" in value
        and (len(value) == _WRAPPER_SIZE or _kebab(inner_type) in _FILE_TYPES)
    ):
        return plain_value(value["value"], inner_type)
    keys = {_compact(key): item for key, item in value.items()}
    if _kebab(value_type) in _FILE_TYPES or _is_file(keys):
        return _file_text(keys)
    return {
        key: plain_value(item)
        for key, item in value.items()
        if not (isinstance(item, str) and _names_file_url(key))
    }


def attachment_names(value: Any) -> Any:
    """Return names and sizes only: the URL of an attachment contains an access token."""
    if not isinstance(value, (list, tuple)):
        return None
    files = [item for item in value if isinstance(item, dict)]
    return tuple(
        _file_text({_compact(key): cell for key, cell in item.items()}, "attachment")
        for item in files
    )


def _is_file(keys: Mapping[str, Any]) -> bool:
    has_url = any(key.endswith(("url", "uri")) for key in keys)
    return has_url and any(name in keys for name in (*_NAMES, *_SIZES))


def _file_text(keys: Mapping[str, Any], default: str = "file") -> str:
    """Return name and size of a file; of several, those of each; else its id."""
    name = _first(keys, _NAMES)
    if not isinstance(name, str) or not name:
        inner = [
            plain_value(item, "file") for item in keys.values() if isinstance(item, (dict, list))
        ]
        names = [item for part in inner for item in (part if isinstance(part, list) else [part])]
        name = ", ".join(item for item in names if isinstance(item, str)) or keys.get("id")
    name = _without_access(name) if isinstance(name, str) and name else default
    size = _first(keys, _SIZES)
    return f"{name} ({size} bytes)" if isinstance(size, (int, float, str)) else name


def _first(keys: Mapping[str, Any], names: Iterable[str]) -> Any:
    return next((keys[name] for name in names if name in keys), None)


def _last_part(text: str) -> str:
    """Return the last part of a URL's path; any other text as it is."""
    if "://" not in text:
        return text
    return re.split(r"[?#]", text)[0].rpartition("/")[2] or "file"


def _without_access(text: str) -> str:
    """Return a text whose URLs have no signature or token."""
    return _URL.sub(_strip_access, text) if "://" in text else text


def _strip_access(match: re.Match[str]) -> str:
    return match[1] if _GRANTS_ACCESS.search(match[2]) else match[0]


def _any_url(cells: Sequence[Any]) -> bool:
    """Return whether a text among the cells may contain a URL; one search for a usual column."""
    try:
        return "://" in "\n".join(filter(None, cells))
    except TypeError:  # texts and other values
        return True


# Types and keys are few and come with every case, so what follows from them is remembered.


@lru_cache(maxsize=4096)
def _names_file_url(key: str) -> bool:
    return _FILE_URL.fullmatch(_compact(key)) is not None


@lru_cache(maxsize=4096)
def _kebab(name: str) -> str:
    return re.sub(r"(?<=[a-z0-9])([A-Z])", r"-\1", name).replace("_", "-").lower()


@lru_cache(maxsize=4096)
def _compact(key: str) -> str:
    return key.replace("-", "").replace("_", "").lower()
