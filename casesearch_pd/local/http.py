"""What passes between the server and the two wires: a request as received, an answer to send."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

import msgspec


@dataclass(frozen=True)
class Request:
    """One request: raw target, headers with lower-case names, raw body."""

    method: str
    target: str
    headers: Mapping[str, str]
    content: bytes = b""

    @property
    def path(self) -> str:
        """The path as sent, still percent-encoded."""
        return urlsplit(self.target).path

    @property
    def parts(self) -> list[str]:
        """The decoded segments of the path."""
        return [unquote(part) for part in self.path.strip("/").split("/")]

    @property
    def query(self) -> list[tuple[str, str]]:
        """The decoded pairs of the query string, in order, blank values kept."""
        return parse_qsl(urlsplit(self.target).query, keep_blank_values=True)


@dataclass(frozen=True)
class Reply:
    """One answer: status, JSON body, headers beyond the usual ones."""

    status: int
    content: bytes
    headers: Mapping[str, str] = field(default_factory=dict)


def parse_json(content: bytes) -> Any:
    """Return a JSON body, or raise ValueError in words that can be sent back.

    Raises
    ------
    ValueError
        No JSON, not UTF-8, a lone surrogate, or nested beyond any use.
    """
    try:
        return msgspec.json.decode(content)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"the body is not valid JSON: {error}") from error
    except RecursionError as error:
        raise ValueError("the body is nested too deeply") from error
