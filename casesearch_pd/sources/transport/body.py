"""Response bodies: read no more than a limit, and parse JSON that is slightly damaged.

A few bytes of gzip can unpack to gigabytes, so a body is unpacked step by step and given up at
the limit, whatever the headers announce.
"""

from __future__ import annotations

import codecs
import json
import zlib
from typing import TYPE_CHECKING, Any

from casesearch_pd.errors import FilterError, InvalidResponseError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

__all__ = [
    "MAX_RESPONSE_BYTES",
    "count_replaced",
    "parse_json",
    "read_body",
    "require_size",
    "strip_bom",
]

# 100 cases with 25 fields of 4,100 characters, each written as \uXXXX, have 61 MB.
MAX_RESPONSE_BYTES = 64 << 20
_CHUNK_BYTES = 1 << 20
_ANY_HEADER = 47  # zlib: gzip or zlib format, whichever the data begin with
_NO_HEADER = -15
_HEADER_BYTES = 2
_CODINGS = ("gzip", "x-gzip", "deflate")
_REPLACEMENT = "\ufffd"


def require_size(value: int) -> int:
    """Return a valid limit of a response; raise FilterError for anything else."""
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise FilterError(
            f"max_response_bytes must be a positive whole number of bytes, got {value!r}"
        )
    return value


def read_body(raw: Any, headers: Mapping[str, str], limit: int) -> bytes:
    """Return the unpacked body of a response of urllib3.

    Raise InvalidResponseError if it has more than `limit` bytes, zlib.error if it cannot be
    unpacked. An unknown coding is left as it is: some proxies name one and do not use it.
    """
    length = headers.get("content-length") or ""
    if length.isascii() and length.isdigit() and float(length) > limit:
        raise _too_large(limit)
    compressed = (headers.get("content-encoding") or "").strip().lower() in _CODINGS
    unpacker = _Unpacker() if compressed else None
    body = bytearray()
    for chunk in raw.stream(_CHUNK_BYTES, decode_content=False):
        for part in (chunk,) if unpacker is None else unpacker.unpack(chunk):
            body += part
            if len(body) > limit:
                raise _too_large(limit)
    if unpacker is not None:
        unpacker.require_end()
    return bytes(body)


def _too_large(limit: int) -> InvalidResponseError:
    return InvalidResponseError(
        f"the response has more than {limit:,} bytes; if it is meant to be that large, create the "
        "source with a larger max_response_bytes="
    )


class _Unpacker:
    """Unpacks gzip or deflate, at most a megabyte at a time."""

    def __init__(self) -> None:
        self._inflate = zlib.decompressobj(_ANY_HEADER)
        self._started = False
        self._head = b""  # bytes too few to recognize the format

    def unpack(self, compressed: bytes) -> Iterator[bytes]:
        """Yield the unpacked parts of the next bytes."""
        compressed = self._head + compressed
        self._head = b""
        if not self._started and len(compressed) < _HEADER_BYTES:
            self._head = compressed
            return
        part = b""
        # The window of zlib may hold more than was asked for, without any input left.
        while compressed or len(part) == _CHUNK_BYTES:
            part = self._next_part(compressed)
            yield part
            compressed = self._inflate.unconsumed_tail
            if self._inflate.eof:
                compressed, part = self._inflate.unused_data.lstrip(b"\0"), b""
                if compressed:  # gzip may consist of several members
                    self._inflate = zlib.decompressobj(_ANY_HEADER)

    def _next_part(self, compressed: bytes) -> bytes:
        try:
            part = self._inflate.decompress(compressed, _CHUNK_BYTES)
        except zlib.error:
            if self._started:
                raise
            # Some servers send deflate without the header that the standard asks for.
            self._inflate = zlib.decompressobj(_NO_HEADER)
            part = self._inflate.decompress(compressed, _CHUNK_BYTES)
        self._started = True
        return part

    def require_end(self) -> None:
        """Raise zlib.error if the compressed data ended early."""
        if self._head or (self._started and not self._inflate.eof):
            raise zlib.error("the compressed body ends early")


def strip_bom(body: bytes) -> bytes:
    """Return a body without the byte order mark of UTF-8."""
    return body.removeprefix(codecs.BOM_UTF8)


def parse_json(body: bytes) -> tuple[Any, bool]:
    """Return the JSON value of a body in UTF-8, and whether invalid bytes were replaced.

    Raise ValueError if it is not JSON. A wrong byte in one text must not cost the other cells.
    """
    # Not json.loads(body): that would guess the encoding, and JSON is UTF-8.
    body = strip_bom(body)
    try:
        return json.loads(body.decode()), False
    except UnicodeDecodeError:
        return json.loads(body.decode(errors="replace")), True


def count_replaced(
    columns: Mapping[str, list[Any]], cursor: str | None, keys: Iterable[str] = ("case_id",)
) -> dict[str, int]:
    """Return how many cells of each column contain a replaced byte.

    Raise ValueError if the cursor or a cell of a key column does: the next page or the rows would
    be others.
    """
    ids = [cell for key in keys for cell in columns[key] if isinstance(cell, str)]
    if any(_REPLACEMENT in text for text in (*ids, cursor or "")):
        raise ValueError("an id or a cursor is not UTF-8")
    counts = {
        column: sum(
            _REPLACEMENT in cell if isinstance(cell, str) else _contains(cell) for cell in cells
        )
        for column, cells in columns.items()
    }
    return {column: count for column, count in counts.items() if count}


def _contains(cell: Any) -> bool:
    return isinstance(cell, (list, tuple, dict)) and _REPLACEMENT in str(cell)
