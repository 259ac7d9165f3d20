"""What provenance tells of a source in, that source anew out; and whether two are the same.

A frame may come from a file that somebody else wrote. So credentials, which come from the
environment, go to the services' own addresses and to this machine, never to another place that
a file names: for that the user gives the source. A source of this session that is still there
is taken before any is made: it has the credentials that the frame was read with.
"""

from __future__ import annotations

from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit
from weakref import WeakSet

from casesearch_pd.errors import FilterError
from casesearch_pd.sources.transport.urls import is_loopback

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from casesearch_pd.query.schema import Schema
    from casesearch_pd.sources.base import Source

__all__ = [
    "first_difference",
    "register_opener",
    "remember_source",
    "require_recreatable",
    "require_same_source",
    "require_source",
    "resolve_source",
]

# Where AWS serves its endpoints ("AWS service endpoints", AWS general reference), and Persona
# its API (the servers of its OpenAPI description).
_AWS = (".amazonaws.com", ".amazonaws.com.cn", ".api.aws")
_PERSONA = (".withpersona.com",)
_BURST = 10  # of SearchCases ("Amazon Connect service quotas", administrator guide)
# How a source is reached and read, not which one it is.
_WAYS = {"endpoint_url", "version", "fresh"}


_ALIVE: WeakSet[Any] = WeakSet()  # sources that were read in this session


def remember_source(source: Source) -> None:
    """Remember a source that was read, for as long as somebody has it."""
    with suppress(TypeError):  # a source of a user's own need not be hashable
        _ALIVE.add(source)


def require_source(source: object) -> None:
    """Refuse the text that names a source in the place of the source.

    Raises
    ------
    FilterError
        If it is text.
    """
    if isinstance(source, str):
        raise FilterError(f"{source!r} is text, not a source; open it: open_source({source!r})")


def resolve_source(
    told: Mapping[str, Any], *, schema: Schema | None = None, rate: float | None = None
) -> Source:
    """Find the source that a description tells of, or make it with the environment's credentials.

    Parameters
    ----------
    told
        What `Source.describe` said.
    schema, rate
        What a source that has to be made is made with besides. A rate that is named has no burst:
        others may have spent it.

    Raises
    ------
    FilterError
        If it is no service of this package, or at an address of somebody's own, or if several
        sources of this session with credentials of their own fit.
    AccessDeniedError
        If the environment has no credentials for it.
    """
    alive = [source for source in list(_ALIVE) if source.describe() == dict(told)]
    if len({id(getattr(source, "budget", source)) for source in alive}) > 1:
        raise FilterError(
            "several sources of this session read there, each with credentials or a rate of its "
            "own; say which one is meant: source=…"
        )
    return alive[0] if alive else _maker(told)(schema=schema, rate=rate)


def require_recreatable(told: Mapping[str, Any]) -> None:
    """Refuse what no other process could make anew; nothing is made.

    Raises
    ------
    FilterError
        If it is no service of this package, or at an address of somebody's own.
    """
    _maker(told)


def _maker(told: Mapping[str, Any]) -> Callable[..., Source]:
    match told:
        case {
            "service": "connect",
            "domain_id": str(domain_id),
            "region": str(region),
            "endpoint_url": str(url),
        }:
            return _connect(domain_id, region, url)
        case {
            "service": "persona",
            "base_url": str(url),
            "version": str(version),
            "fresh": bool(fresh),
        }:
            return _persona(url, version, fresh=fresh)
        case {"service": str(service), "path": str()} if service in _OPENERS:
            opener = _OPENERS[service]
            return lambda **_: opener(told)  # it has a schema and no rate
        case _:
            raise FilterError(f"a source cannot be made anew from {told!r}; give it: source=…")


def register_opener(service: str, opener: Callable[[Mapping[str, Any]], Source]) -> None:
    """Say how a kind of source is made anew that is no service, and not known here.

    Parameters
    ----------
    service
        Its name in a description.
    opener
        What makes it of the description.
    """
    _OPENERS[service] = opener


_OPENERS: dict[str, Callable[[Mapping[str, Any]], Source]] = {}


def _connect(domain_id: str, region: str, url: str) -> Callable[..., Source]:
    from casesearch_pd.sources.amazon_connect.source import ConnectCases  # noqa: PLC0415 - boto3 is dear

    local = is_loopback(url)
    if not local:
        _check_home(url, _AWS)

    def made(*, schema: Schema | None, rate: float | None) -> Source:
        return ConnectCases(
            domain_id,
            region_name=region,
            endpoint_url=url if local else None,  # boto3 knows the others itself
            rate=rate,
            burst=_BURST if rate is None else 1,
            schema=schema,
        )

    return made


def _persona(url: str, version: str, *, fresh: bool) -> Callable[..., Source]:
    from casesearch_pd.sources.persona.source import PersonaCases  # noqa: PLC0415 - requests is dear

    if not is_loopback(url):
        _check_home(url, _PERSONA)
    return partial(PersonaCases, base_url=url, version=version, fresh=fresh)


def _check_home(url: str, homes: tuple[str, ...]) -> None:
    parts = urlsplit(url)
    if parts.scheme != "https" or not (parts.hostname or "").endswith(homes):
        raise FilterError(
            f"the frame was read at {parts.hostname!r}, which is not the service's own address; "
            "credentials only go there if you say so: source=…"
        )


def require_same_source(source: Source, told: Mapping[str, Any]) -> None:
    """Refuse a source that is not the one that a description tells of.

    Raises
    ------
    FilterError
        If it is another service, domain, region or address. Ports of this machine aside: a
        service of one's own gets another one each time it is started.
    """
    name = first_difference(source.describe(), told)
    if name is not None:
        one, other = _identity(source.describe()), _identity(told)
        raise FilterError(
            f"{source!r} is not where the frame was read: its {name} is {one.get(name)!r}, the "
            f"frame's {other.get(name)!r}; give the frame's own source, or read_cases anew"
        )


def first_difference(one: Mapping[str, Any], other: Mapping[str, Any]) -> str | None:
    """Name what tells two described sources apart; None if they are the same."""
    one, other = _identity(one), _identity(other)
    names = [name for name in {**one, **other} if one.get(name) != other.get(name)]
    return "service" if "service" in names else min(names, default=None)


def _identity(told: Mapping[str, Any]) -> dict[str, Any]:
    kept = {name: value for name, value in told.items() if name not in _WAYS}
    url = kept.get("base_url")
    if isinstance(url, str) and is_loopback(url):
        kept["base_url"] = "this machine"
    return kept
