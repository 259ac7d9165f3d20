"""Check addresses, so that a token is sent to its own origin only.

An origin is scheme, host and port. A token belongs to one origin, whatever link a response
contains.
"""

from __future__ import annotations

from ipaddress import ip_address
from urllib.parse import SplitResult, urljoin, urlsplit

from casesearch_pd.errors import AccessDeniedError, InvalidResponseError, NotFoundError

__all__ = ["is_loopback", "require_same_origin", "validate_base_url"]

_PORTS = {"http": 80, "https": 443}


def validate_base_url(base_url: str, example: str) -> str:
    """Return the base URL of an API without its trailing slash, if a token may be sent there.

    Raises
    ------
    NotFoundError
        If it is not a base URL; the message suggests `example`.
    AccessDeniedError
        If the token would be sent unencrypted.
    """
    parts = _parse_url(base_url)
    if parts is None or _origin(parts) is None or parts.query or parts.fragment:
        raise NotFoundError(
            "the address is not a valid base URL (it is not repeated here, because it may contain "
            f"a password); write {example!r}"
        )
    if parts.scheme == "http" and not is_loopback(base_url):
        raise AccessDeniedError(
            f"the token would be sent to {parts.hostname} unencrypted; use https://"
        )
    return base_url.rstrip("/")


def is_loopback(url: str) -> bool:
    """Return whether a URL is on this machine, without a DNS lookup."""
    parts = _parse_url(url)
    host = (parts.hostname if parts is not None else None) or ""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def require_same_origin(link: str, *, base_url: str, path: str) -> str:
    """Return path and query of a link in a response, if it has the origin of the token.

    Raise InvalidResponseError if it leads to another origin or path.
    """
    target = _parse_url(link, base=f"{base_url}/")
    base = _parse_url(base_url)
    if target is None or base is None or _origin(target) != _origin(base) or target.path != path:
        host = target.hostname if target is not None else None
        raise InvalidResponseError(
            f"the link to the next page leads to host {host!r} instead of {base_url}, and the "
            "token is not sent there; check the address, or report it to the service"
        )
    return f"{target.path}?{target.query}"


def _parse_url(url: str, base: str = "") -> SplitResult | None:
    try:
        return urlsplit(urljoin(base, url))
    except ValueError:  # for example an unclosed bracket
        return None


def _origin(parts: SplitResult) -> tuple[str, str, int] | None:
    """Return scheme, host and port; None if one is missing or the URL contains a user name."""
    try:
        port = parts.port or _PORTS[parts.scheme]
    except (ValueError, KeyError):
        return None
    return (
        (parts.scheme, parts.hostname, port) if parts.hostname and "@" not in parts.netloc else None
    )
