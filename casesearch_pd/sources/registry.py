"""Find the source that text or provenance describes, and check that an argument is a source.

A DataFrame or mirror may come from a file of another person. Credentials from the
environment are therefore sent to the services' own addresses only, and never to another one that
a file names, not even on this machine, where anybody may listen; there the user has to pass the
source. A source that is still in use in this session is preferred over a new one: it has the
credentials of the first read.
"""

from __future__ import annotations

import inspect
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit
from weakref import WeakSet

import pandas as pd

from casesearch_pd.errors import FilterError
from casesearch_pd.sources.transport.urls import is_loopback

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from casesearch_pd.query.schema import Schema
    from casesearch_pd.sources.base import Source

__all__ = [
    "differing_key",
    "open_registered",
    "register_file_source",
    "register_source",
    "remember_source",
    "require_recreatable",
    "require_same_source",
    "require_source",
    "resolve_source",
]

# Where AWS serves its endpoints ("AWS service endpoints", AWS general reference), and Persona
# its API (the servers of its OpenAPI description).
_AWS_HOSTS = (".amazonaws.com", ".amazonaws.com.cn", ".api.aws")
_PERSONA_HOSTS = (".withpersona.com",)
_SEARCH_BURST = 10  # of SearchCases ("Amazon Connect service quotas", administrator guide)
_BUILT_IN = ("connect", "persona", "demo", "mirror", "http", "https", "file")
# How a source is reached and read, not which one it is.
_TRANSPORT_KEYS = {"endpoint_url", "version", "fresh"}
_LOCAL = "this machine"


@dataclass(frozen=True, slots=True)
class _Registration:
    """How the sources of one scheme are made, and the hosts that a description may name."""

    factory: Callable[[str], Source]
    hosts: tuple[str, ...]


_registrations: dict[str, _Registration] = {}
_description_factories: dict[str, Callable[[Mapping[str, Any]], Source]] = {}
_live_sources: WeakSet[Any] = WeakSet()  # sources that were read in this session


def register_source(
    scheme: str, factory: Callable[[str], Source], *, hosts: Iterable[str] = ()
) -> None:
    """Let `open_source`, `refresh` and `Mirror.sync` create the sources of a service.

    Parameters
    ----------
    scheme
        The ``name`` of the service: it opens ``open_source("SCHEME://…")``.
    factory
        A `BaseSource` subclass, or a function: it is called with the whole address, such as
        ``"tickets://tickets.example.com/api"``, and returns a source.
    hosts
        Hosts to which credentials may be sent when a stored DataFrame or mirror names them: a
        whole host (``"tickets.example.com"``) or a domain (``".example.com"``). Other addresses
        are only used when the user opens or passes the source.

    Raises
    ------
    FilterError
        If the scheme is not a word in lower case, or belongs to this package.

    Examples
    --------
    >>> import casesearch_pd as cs
    >>> cs.register_source("tickets", lambda address: cs.open_source("demo://connect"))
    >>> cs.count_cases(cs.open_source("tickets://tickets.example.com"))
    1000
    """
    is_word = isinstance(scheme, str) and scheme.isidentifier() and scheme.islower()
    if not is_word or scheme in _BUILT_IN:
        raise FilterError(
            f"scheme must be a word in lower case other than {', '.join(_BUILT_IN)}, got {scheme!r}"
        )
    _registrations[scheme] = _Registration(factory, tuple(hosts))


def open_registered(text: str) -> Source | None:
    """Return the source of a registered scheme; None if the scheme is not registered."""
    registration = _registrations.get(text.partition("://")[0])
    if registration is None or "://" not in text:
        return None
    source = registration.factory(text)
    require_source(source)
    return source


def register_file_source(service: str, factory: Callable[[Mapping[str, Any]], Source]) -> None:
    """Register how to open a source that is a file, from its description."""
    _description_factories[service] = factory


def require_source(source: object) -> None:
    """Raise FilterError, with the next step, if an argument is not a source."""
    if isinstance(source, str):
        # What follows the scheme may be a token in the wrong place.
        text = source if "://" not in source else f"{source.partition('://')[0]}://…"
        raise FilterError(f"{_ALLOWED}, got the text {text!r}; use open_source(text)")
    if isinstance(source, type):
        raise FilterError(
            f"{_ALLOWED}, got the class {source.__name__}; create one: {source.__name__}(…)"
        )
    if isinstance(source, (pd.DataFrame, pd.Series)):
        raise FilterError(
            f"{_ALLOWED}, got a {type(source).__name__}; pass the source of the cases first, or "
            "filter the DataFrame: df.cases.where(…)"
        )
    # The emulator is recognized by its methods: sources do not import it.
    if hasattr(type(source), "connect_cases") and hasattr(type(source), "persona_cases"):
        raise FilterError(
            f"{_ALLOWED}, got a {type(source).__name__}, which serves two; pass "
            "local.connect_cases() or local.persona_cases()"
        )
    missing = _missing_members(source)
    if missing:
        text = repr(source)
        raise FilterError(
            f"{_ALLOWED}, got {text if len(text) <= _MAX_REPR else type(source)}, which has no "
            f"{missing[0]!r}; create one with ConnectCases(domain_id), PersonaCases() or "
            "open_source(text), or derive a class from BaseSource"
        )


_ALLOWED = "source must be a ConnectCases, PersonaCases, Mirror or BaseSource"
_MAX_REPR = 80  # characters
# Members that nothing but a source has together. The whole protocol is not checked, because
# isinstance() evaluates properties, and `schema` would send requests.
_MEMBERS = ("schema", "push_down", "request", "read_page", "describe")


def _missing_members(source: object) -> list[str]:
    if hasattr(type(source), "__getattr__"):  # a wrapper may have any member
        return []
    absent = object()
    return [name for name in _MEMBERS if inspect.getattr_static(source, name, absent) is absent]


def remember_source(source: Source) -> None:
    """Remember a source that was read, as long as it is referenced elsewhere."""
    with suppress(TypeError):  # a custom source need not be hashable
        _live_sources.add(source)


def resolve_source(
    description: Mapping[str, Any],
    *,
    schema: Schema | None = None,
    rate: float | None = None,
    trusts_loopback: bool = False,
) -> Source:
    """Return the source of a description, created with the environment's credentials if need be.

    Parameters
    ----------
    description
        What `Source.describe` returned.
    schema, rate
        Passed to a source that has to be created. A given rate has no burst, because other
        processes may have used it.
    trusts_loopback
        Whether the description is the user's own, so that credentials may be sent to any port of
        this machine; a description from a file may name the port of anybody.

    Raises
    ------
    FilterError
        If the service is unknown, or its address is neither the service's own nor that of a source
        of this session, or if several sources of this session with different credentials match.
    AccessDeniedError
        If the environment has no credentials for it.
    """
    matches: list[Source] = [
        source for source in list(_live_sources) if source.describe() == dict(description)
    ]
    if len({id(getattr(source, "rate_limiter", source)) for source in matches}) > 1:
        raise FilterError(
            "several sources of this session match, with different credentials or rates; pass "
            "one of them: source=…"
        )
    if matches:
        return matches[0]
    return _factory(description, trusts_loopback=trusts_loopback)(schema, rate)


def require_recreatable(description: Mapping[str, Any]) -> None:
    """Raise FilterError if another process could not create this source; create nothing."""
    _factory(description, trusts_loopback=True)


def _factory(
    description: Mapping[str, Any], *, trusts_loopback: bool
) -> Callable[[Schema | None, float | None], Source]:
    match description:
        case {
            "service": "connect",
            "domain_id": str(domain_id),
            "region": str(region),
            "endpoint_url": str(url),
        }:
            _require_trusted(url, _AWS_HOSTS, trusts_loopback=trusts_loopback)
            return partial(_create_connect, domain_id, region, url)
        case {
            "service": "persona",
            "base_url": str(url),
            "version": str(version),
            "fresh": bool(fresh),
        }:
            _require_trusted(url, _PERSONA_HOSTS, trusts_loopback=trusts_loopback)
            return partial(_create_persona, url, version, fresh)
        case {"service": str(service), "path": str()} if service in _description_factories:
            create = _description_factories[service]
            return lambda *_: create(description)  # a file has its schema, and no rate
        case {"service": str(service), "address": str(address)} if service in _registrations:
            registration = _registrations[service]
            _require_trusted(
                address, registration.hosts, scheme=service, trusts_loopback=trusts_loopback
            )
            return partial(_create_registered, registration, address)
        case _:
            raise FilterError(
                f"cannot recreate a source from {dict(description)!r}; pass it: source=…"
            )


def _create_connect(
    domain_id: str, region: str, url: str, schema: Schema | None, rate: float | None
) -> Source:
    from casesearch_pd.sources.amazon_connect.source import ConnectCases  # noqa: PLC0415 - boto3 is expensive

    return ConnectCases(
        domain_id,
        region_name=region,
        endpoint_url=url if is_loopback(url) else None,  # boto3 knows the endpoints of AWS
        rate=rate,
        burst=_SEARCH_BURST if rate is None else 1,
        schema=schema,
    )


def _create_persona(
    url: str, version: str, fresh: bool, schema: Schema | None, rate: float | None
) -> Source:
    from casesearch_pd.sources.persona.source import PersonaCases  # noqa: PLC0415 - requests is expensive

    return PersonaCases(base_url=url, version=version, fresh=fresh, schema=schema, rate=rate)


def _create_registered(
    registration: _Registration, address: str, schema: Schema | None, rate: float | None
) -> Source:
    source = registration.factory(address)
    require_source(source)
    configure = getattr(source, "configure", None)  # a `BaseSource` has it
    if configure is not None:
        configure(schema=schema, rate=rate)
    return source


def _require_trusted(
    url: str, hosts: tuple[str, ...], *, scheme: str = "https", trusts_loopback: bool
) -> None:
    if is_loopback(url) and trusts_loopback:
        return
    parts = urlsplit(url)
    host = parts.hostname or ""
    is_trusted = any(
        host.endswith(allowed) if allowed.startswith(".") else host == allowed for allowed in hosts
    )
    if parts.scheme == scheme and "@" not in parts.netloc and is_trusted:
        return
    if is_loopback(url):
        raise FilterError(
            f"the stored source is on this machine, at {url!r}, where no source of this session "
            "is; credentials are only sent there if you pass the source: source=…"
        )
    raise FilterError(
        f"the stored source is at {host!r}, which is not a known address of the service; "
        "credentials are only sent there if you pass the source: source=…"
    )


def require_same_source(source: Source, description: Mapping[str, Any]) -> None:
    """Raise FilterError if a source is not the described one.

    Ports of this machine are ignored, because a local service gets another one at each start.
    """
    name = differing_key(source.describe(), description)
    if name is not None:
        actual, expected = _identity(source.describe()), _identity(description)
        raise FilterError(
            f"{source!r} is not the source of this DataFrame: its {name} is {actual.get(name)!r}, "
            f"the DataFrame's is {expected.get(name)!r}; pass the DataFrame's own source, or read "
            "the cases again with read_cases"
        )


def differing_key(description: Mapping[str, Any], expected: Mapping[str, Any]) -> str | None:
    """Return the name of a key in which two descriptions differ; None if they are the same."""
    actual, expected = _identity(description), _identity(expected)
    names = [name for name in {**actual, **expected} if actual.get(name) != expected.get(name)]
    return "service" if "service" in names else min(names, default=None)


def _identity(description: Mapping[str, Any]) -> dict[str, Any]:
    identity = {name: value for name, value in description.items() if name not in _TRANSPORT_KEYS}
    for name in ("base_url", "address"):
        if isinstance(url := identity.get(name), str) and is_loopback(url):
            identity[name] = _LOCAL
    return identity
