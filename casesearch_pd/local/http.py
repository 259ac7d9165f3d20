"""What passes between the server and the two wires: a request as received, an answer to send."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal
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


Cut = Literal["nothing", "half a head", "half a body"]


@dataclass(frozen=True)
class Delivery:
    """How a reply leaves on a bad day.

    Parameters
    ----------
    delay
        Seconds from the arrival of the request until the reply leaves.
    cut
        How much of it leaves before the connection ends, or None for all of it.
    reset
        Whether the connection then ends by a TCP reset instead of in order.
    """

    delay: float = 0.0
    cut: Cut | None = None
    reset: bool = False


@dataclass(frozen=True)
class Reply:
    """One answer: status, JSON body, further headers, and how it leaves if not at once."""

    status: int
    content: bytes
    headers: Mapping[str, str] = field(default_factory=dict)
    delivery: Delivery | None = None


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
