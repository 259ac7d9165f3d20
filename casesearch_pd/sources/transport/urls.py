"""URLs that a token may be sent to.

An origin is scheme, host and port. A token belongs to one origin, whatever a service returns as
the link to the next page.
"""

from __future__ import annotations

from ipaddress import ip_address
from urllib.parse import SplitResult, urljoin, urlsplit

from casesearch_pd.errors import AccessDeniedError, InvalidResponseError, NotFoundError

__all__ = ["is_loopback", "require_same_origin", "validate_base_url"]

_PORTS = {"http": 80, "https": 443}


def validate_base_url(base_url: str, example: str) -> str:
    """Return the base URL of an API, if a token may be sent there.

    Raises
    ------
    NotFoundError
        If it is not a URL; `example` shows one.
    AccessDeniedError
        If the token would be sent in clear text.
    """
    parts = _split(base_url)
    if parts is None or _origin(parts) is None or parts.query or parts.fragment:
        # The text is not shown: it may contain a password.
        raise NotFoundError(f"base_url must be the URL of an API, such as {example!r}")
    if parts.scheme == "http" and not is_loopback(base_url):
        raise AccessDeniedError(
            f"the token would be sent to {parts.hostname} in clear text; use https://"
        )
    return base_url.rstrip("/")


def is_loopback(url: str) -> bool:
    """Return whether a URL is one of this machine, without a name server."""
    parts = _split(url)
    host = (parts.hostname if parts is not None else None) or ""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def require_same_origin(link: str, *, base_url: str, path: str) -> str:
    """Return path and query of a link, relative or absolute, if it has the origin of the token.

    Raises InvalidResponseError if it leads to another origin or path.

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
            f"the link to the next page leads to host {host!r} instead of {base_url}; the "
            "token is not sent there; check base_url=, or report it to the service"
        )
    return f"{target.path}?{target.query}"


def _split(url: str, onto: str = "") -> SplitResult | None:
    try:
        return urlsplit(urljoin(onto, url))
    except ValueError:  # for example an unclosed bracket
        return None


def _origin(parts: SplitResult) -> tuple[str, str, int] | None:
    """Return scheme, host and port; None if one is missing or there is a user name."""
    try:
        port = parts.port or _PORTS[parts.scheme]
    except (ValueError, KeyError):
        return None
    return (
        (parts.scheme, parts.hostname, port) if parts.hostname and "@" not in parts.netloc else None
    )
