"""A fault: the requests that it applies to and its effect on them."""

from collections.abc import Callable, Mapping
from dataclasses import KW_ONLY, dataclass, field, fields, replace
from datetime import datetime
from difflib import get_close_matches
from functools import cached_property
from http import HTTPStatus
from typing import Any, Literal, get_args

from casesearch_pd.emulator.faults.amazon_connect import CONNECT
from casesearch_pd.emulator.faults.persona import PERSONA
from casesearch_pd.emulator.faults.wire import (
    VALUE_RULES,
    WireFormat,
    dump_json,
    is_count,
    is_none,
    is_time,
)
from casesearch_pd.emulator.server import Reply, Request, parse_json

Kind = Literal[
    "empty_page", "short_page", "long_page", "repeated_case", "same_token", "token_cycle",
    "no_token", "token", "expired_token", "absolute_link", "total", "moving_total",
    "html", "empty", "truncated", "body", "gzip", "not_utf8", "value", "without", "keys",
    "bare_fields", "headers",
    "throttle", "error", "redirect",
    "latency", "silence", "drip", "reset", "short_body",
]  # fmt: skip


@dataclass(frozen=True, repr=False)
class Fault:
    """A fault of the service: its kind, and the requests that it applies to.

    Without any number it applies to every request of its operation. Several faults of one request
    act in the order of their list, each on the result of the one before it; those of the delivery
    (``latency``, ``silence``, ``drip``, ``reset``, ``short_body``) come after all others. A fault
    that is not possible on a request (a token to repeat on the first page) does nothing.

    Parameters
    ----------
    kind
        The effect; see the notes.
    value
        Its value, for the kinds of which the notes describe one.
    wire
        ``connect`` or ``persona``, None for both.
    operation
        The operation by its name in snake case: ``search`` (the default), ``list_fields``,
        ``get_case``, … on Connect, ``search``, ``list_cases``, ``retrieve``, ``template``,
        ``rate_limits`` on Persona. None for every request.
    at
        Only the request of this number, from 1, among those of this wire and operation since the
        fault was set.
    after
        Number of requests before it begins; `first` and `every` count from there.
    first
        Number of requests that it applies to.
    every
        Only requests whose number is a multiple of it: 3 is every third one.
    seconds
        Duration in seconds of the service's time, from the first request that it could apply to.
    status
        The HTTP status of ``html`` (200), ``error`` (500) and ``redirect`` (302).
    field
        The field of ``value``: Connect's id or Persona's key; by default the last one of a case.
    seed
        Seed of the random times of ``latency``.

    Notes
    -----
    Pages. No row is lost: a client that follows the tokens to their end gets every case.

    - ``empty_page``: no case, and a token to the cases.
    - ``short_page``: at most `value` cases, and a token to the rest.
    - ``long_page``: `value` cases more than requested.
    - ``repeated_case``: the last case is repeated on the next page; with ``"older"`` it has an
      update time one minute earlier on this page, so that the later copy is newer.

    Tokens (on Persona the link to the next page).

    - ``same_token``: the token of the request.
    - ``token_cycle``: the token before the last one: A, B, A, B, … without end, where it applies
      to every request.
    - ``no_token``: no token, although there are more cases. (For a result window that ends without
      a token, use the option ``window``.)
    - ``token``: `value` in its place, such as ``""`` or None, which is null.
    - ``expired_token``: a request with a token is refused with status 400.
    - ``absolute_link``: Persona, an absolute address, of this service or of the origin `value`.
    - ``total``: Connect, `value` added to ``totalCount``: cases that no page contains.
    - ``moving_total``: Connect, `value` added for each request so far.

    Responses, with status 200 and all headers.

    - ``html``: an HTML page (any `status`).
    - ``empty``: no body. ``truncated``: the first half of the body.
    - ``body``: `value`, unchanged if bytes, else as JSON.
    - ``gzip``: compressed, whatever was accepted. ``not_utf8``: a byte 0xFF begins each text.
    - ``value``: `value` is the value of `field` in the first case that has it:
      ``{"booleanValue": None}``, ``{}``, two members, an unknown member, another type.
    - ``without``: no case has the member `value`, such as ``"relationships"``.
    - ``keys``: Persona, member names in ``"kebab"``, ``"snake"`` or ``"camel"``.
    - ``bare_fields``: Persona, custom values without their ``{"type", "value"}``.
    - ``headers``: those of the mapping `value` are set, or removed where None.

    Refusals, which the service itself does not see (so they have no ``RateLimit-*`` of Persona; a
    fault ``headers`` after them in the list adds any).

    - ``throttle``: 429 with `value` as ``Retry-After``: a number of seconds, a timedelta (sent as
      an HTTP date), any text, or None for no such header.
    - ``error``: `status` in the wire's documented shape.
    - ``redirect``: `status` and the address `value`.

    Delivery.

    - ``latency``: the reply is sent `value` seconds after the request's arrival; for a pair, a
      random time between the two.
    - ``silence``: no byte for `value` seconds, then the end of the connection.
    - ``drip``: the body comes one byte every `value` seconds; with ``("head", seconds)`` the head.
    - ``reset``: a TCP reset ``"before"`` the head, ``"in"`` it, or ``"after"`` it, in the body.
    - ``short_body``: half of the body that Content-Length announces, then an orderly end.

    Raises
    ------
    ValueError
        If the kind, wire or operation is unknown, the value does not fit the kind, or the numbers
        contradict each other.

    Examples
    --------
    >>> import requests
    >>> from casesearch_pd.emulator import CaseService, Fault
    >>> bad_day = [Fault("throttle", 2, wire="persona", first=1), Fault("html", at=3)]
    >>> with CaseService(5, faults=bad_day) as service:
    ...     for _ in range(3):
    ...         answer = requests.post(
    ...             f"{service.url}/api/v1/cases/search",
    ...             headers={"Authorization": f"Bearer {service.token}"},
    ...             timeout=20,
    ...         )
    ...         answer.status_code, answer.headers.get("Retry-After"), answer.text[:10]
    (429, '2', '{"errors":')
    (200, None, '{"data":[{')
    (200, None, '<!DOCTYPE ')
    """

    kind: Kind
    value: Any = None
    _: KW_ONLY
    wire: Literal["connect", "persona"] | None = None
    operation: str | None = "search"
    at: int | None = None
    after: int = 0
    first: int | None = None
    every: int | None = None
    seconds: float | None = None
    status: int | None = None
    field: str | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        _check_kind(self.kind)
        _check_scope(self)
        _check_numbers(self)
        _check_value(self)

    def __repr__(self) -> str:
        changed = [item for item in fields(self)[1:] if getattr(self, item.name) != item.default]
        arguments = [f"{item.name}={getattr(self, item.name)!r}" for item in changed]
        return f"{type(self).__name__}({', '.join([repr(self.kind), *arguments])})"

    def applies_to(self, wire: str, operation: str) -> bool:
        """Return whether it counts the requests of an operation."""
        own_wire = self.wire or _ONLY_WIRE.get(self.kind)
        return own_wire in (None, wire) and self.operation in (None, operation)

    def matches(self, number: int, elapsed: float) -> bool:
        """Return whether it affects a request, by its number and the seconds since its first."""
        if self.at is not None:
            return number == self.at
        count = number - self.after
        return (
            count >= 1
            and (self.first is None or count <= self.first)
            and (self.every is None or count % self.every == 0)
            and (self.seconds is None or elapsed < self.seconds)
        )


# Kinds that only one of the services has.
_ONLY_WIRE: Mapping[str, str] = {
    "absolute_link": "persona",
    "total": "connect",
    "moving_total": "connect",
    "keys": "persona",
    "bare_fields": "persona",
}
_STATUSES = {"html": range(200, 600), "error": range(400, 600), "redirect": range(300, 400)}


def _check_kind(kind: str) -> None:
    known = get_args(Kind)
    if kind not in known:
        near = get_close_matches(kind, known, 1)
        hint = f"; did you mean {near[0]!r}?" if near else f", not one of {sorted(known)}"
        raise ValueError(f"unknown fault {kind!r}{hint}")


def _check_scope(fault: Fault) -> None:
    only = _ONLY_WIRE.get(fault.kind)
    if fault.wire not in (None, "connect", "persona") or (only and fault.wire not in (None, only)):
        allowed = [only] if only else ["connect", "persona"]
        raise ValueError(f"wire of {fault.kind!r} must be one of {allowed}, got {fault.wire!r}")
    # The operation must exist in a service that the fault can apply to.
    wires = [wire for wire in (CONNECT, PERSONA) if (fault.wire or only or wire.name) == wire.name]
    operations = frozenset[str]().union(*(wire.operations for wire in wires))
    if fault.operation is not None and fault.operation not in operations:
        raise ValueError(f"operation must be one of {sorted(operations)}, got {fault.operation!r}")


def _check_numbers(fault: Fault) -> None:
    for name in ("at", "first", "every"):
        number = getattr(fault, name)
        if number is not None and not is_count(number):
            raise ValueError(f"{name} must be a positive number of requests, got {number!r}")
    if not (is_count(fault.after) or fault.after == 0):
        raise ValueError(f"after must be a non-negative number of requests, got {fault.after!r}")
    if fault.seconds is not None and not (is_time(fault.seconds) and fault.seconds > 0):
        raise ValueError(f"seconds must be a positive number of seconds, got {fault.seconds!r}")
    others = (fault.first, fault.every, fault.seconds, fault.after or None)
    if fault.at is not None and any(other is not None for other in others):
        raise ValueError("at cannot be combined with first, every, after or seconds")


def _check_value(fault: Fault) -> None:
    fits, description = VALUE_RULES.get(fault.kind, (is_none, "omitted"))
    if not fits(fault.value):
        raise ValueError(f"value of {fault.kind!r} must be {description}, got {fault.value!r}")
    statuses = _STATUSES.get(fault.kind, range(0))
    if fault.status is not None and fault.status not in statuses:
        allowed = f"{statuses[0]} to {statuses[-1]}" if statuses else "omitted"
        raise ValueError(f"status of {fault.kind!r} must be {allowed}, got {fault.status!r}")
    if fault.field is not None and fault.kind != "value":
        raise ValueError(f"field applies to the fault 'value' only; omit it for {fault.kind!r}")


@dataclass(frozen=True)
class Exchange:
    """One request that a fault affects, and its reply."""

    fault: Fault
    # The number of the request among those that the fault counts.
    number: int
    request: Request
    wire: WireFormat
    # Returns the reply to a request without the fault.
    answer: Callable[[Request], Reply]
    clock: Callable[[], datetime]
    # State of the fault that lasts from one exchange to the next.
    memory: dict[str, Any] = field(default_factory=dict)

    @cached_property
    def reply(self) -> Reply:
        """The reply without the fault; the service gets the request once."""
        return self.answer(self.request)

    @cached_property
    def cursor(self) -> str | None:
        """The cursor of the request."""
        return self.wire.request_cursor(self.request)

    def page(self) -> dict[str, Any] | None:
        """Return the parsed page of the reply, or None where it is not a page of a list."""
        return self.page_of(self.reply)

    def page_of(self, reply: Reply) -> dict[str, Any] | None:
        """Return the parsed page of a reply to this operation, or None where it is not a page."""
        operation = self.wire.operation_of(self.request)
        is_paged = operation.startswith(("search", "list")) or operation == "get_case_audit_events"
        if reply.status != HTTPStatus.OK or not is_paged:
            return None
        try:
            body = parse_json(reply.content)
        except ValueError:
            # An earlier fault of the list damaged the body.
            return None
        is_page = isinstance(body, dict) and isinstance(self.wire.cases(body), list)
        return body if is_page else None

    def cases(self, page: Mapping[str, Any]) -> list[Any]:
        """Return the list of cases of a page, which may be changed in place."""
        return self.wire.cases(page) or []

    def with_page(self, page: Mapping[str, Any]) -> Reply:
        """Return the reply with another page."""
        return replace(self.reply, content=dump_json(page))


# Returns the reply of an exchange with the fault, or None where the fault is not possible.
Effect = Callable[[Exchange], Reply | None]
