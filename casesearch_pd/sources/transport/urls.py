"""Where a token may go: an address in, the same address out if it is safe, or an error.

An origin is scheme, host and port. A token belongs to one origin; what a service says of the
next page does not widen that.
"""

from __future__ import annotations

from ipaddress import ip_address
from urllib.parse import SplitResult, urljoin, urlsplit

from casesearch_pd.errors import AccessDeniedError, InvalidResponseError, NotFoundError

__all__ = ["is_loopback", "require_same_origin", "validate_base_url"]

_PORTS = {"http": 80, "https": 443}


def validate_base_url(base_url: str, example: str) -> str:
    """Take the address of an API, if a token may travel there.

    Raises
    ------
    NotFoundError
        If it is no address; `example` shows one.
    AccessDeniedError
        If the token would travel in clear text.
    """
    parts = _split(base_url)
    if parts is None or _origin(parts) is None or parts.query or parts.fragment:
        # The text is not shown: a password may stand in it.
        raise NotFoundError(f"base_url= is no address of an API; write {example!r}")
    if parts.scheme == "http" and not is_loopback(base_url):
        raise AccessDeniedError(
            f"the token would travel to {parts.hostname} in clear text; use https://"
        )
    return base_url.rstrip("/")


def is_loopback(url: str) -> bool:
    """Tell whether an address leads to this very machine, without asking a name server."""
    parts = _split(url)
    host = (parts.hostname if parts is not None else None) or ""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def require_same_origin(link: str, *, base_url: str, path: str) -> str:
    """Take a link that a service gave, relative or whole, if it stays where the token belongs.

    Raises BadAnswerError if it leads to another origin or path.

    Returns
    -------
    str
        Its path and query.
    """
    target = _split(link, onto=f"{base_url}/")
    base = _split(base_url)
    if target is None or base is None or _origin(target) != _origin(base) or target.path != path:
        host = target.hostname if target is not None else None
        raise InvalidResponseError(
            f"the next page is said to be elsewhere (host {host!r}), not at {base_url}; the token "
            "is not sent there; check base_url=, or report it to the service"
        )
    return f"{target.path}?{target.query}"


def _split(url: str, onto: str = "") -> SplitResult | None:
    try:
        return urlsplit(urljoin(onto, url))
    except ValueError:  # such as a bracket that is not closed
        return None


def _origin(parts: SplitResult) -> tuple[str, str, int] | None:
    """Name scheme, host and port; None where one is missing or a user stands before the host."""
    try:
        port = parts.port or _PORTS[parts.scheme]
    except (ValueError, KeyError):
        return None
    return (
        (parts.scheme, parts.hostname, port) if parts.hostname and "@" not in parts.netloc else None
    )
