"""A fault: which requests it meets and what happens to them."""

from collections.abc import Callable, Mapping
from dataclasses import KW_ONLY, dataclass, field, fields, replace
from datetime import datetime
from difflib import get_close_matches
from functools import cached_property
from typing import Any, Literal, get_args

from casesearch_pd.emulator.faults.amazon_connect import CONNECT
from casesearch_pd.emulator.faults.persona import PERSONA
from casesearch_pd.emulator.faults.wire import VALUES, Wire, dumped, is_count, is_none, is_time
from casesearch_pd.emulator.server import Reply, Request, parse_json

Kind = Literal[
    "empty_page", "short_page", "long_page", "repeated_case", "same_token", "token_cycle",
    "no_token", "token", "expired_token", "absolute_link", "total", "moving_total",
    "html", "empty", "truncated", "body", "gzip", "not_utf8", "value", "without", "keys",
    "bare_fields", "headers",
    "throttle", "error", "redirect",
    "latency", "silence", "reset", "short_body",
]  # fmt: skip


@dataclass(frozen=True, repr=False)
class Fault:
    """Something that goes wrong: what, and on which requests.

    Without any number it happens to every request of its operation. Several faults on one request
    act in the order of their list, each on what the one before it left; those of the delivery
    (``latency``, ``silence``, ``reset``, ``short_body``) come after all others. A fault that a
    request gives no occasion for (a token to repeat on the first page) leaves it as it is.

    Parameters
    ----------
    kind
        What happens; see the notes.
    value
        More about it, where the notes say so.
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
        Not before so many requests have passed; what follows counts from there.
    first
        Only so many requests.
    every
        Each request whose number is a multiple of it: 3 is every third one.
    seconds
        Only so many seconds of the service's time, from the first request that it could meet.
    status
        The HTTP status of ``html`` (200), ``error`` (500) and ``redirect`` (302).
    field
        The field of ``value``: Connect's id or Persona's key; by default the last one shown.
    seed
        Of the times that ``latency`` draws.

    Notes
    -----
    Pages. No row is lost: whoever follows the tokens to their end sees every case.

    - ``empty_page``: no case, and a token that leads to the cases.
    - ``short_page``: no more than `value` cases; the token leads to the rest.
    - ``long_page``: `value` cases more than asked for.
    - ``repeated_case``: the last case comes again on the next page; with ``"older"`` it is shown
      here as updated a minute before, so that the one to come is newer.

    Tokens (on Persona the link to the next page).

    - ``same_token``: the token that was sent with the request.
    - ``token_cycle``: the token handed out before the last one: A, B, A, B, … for ever, where
      it meets every request.
    - ``no_token``: none, though there are more cases. (A result window that ends without a token
      is the choice ``window``.)
    - ``token``: `value` in its place, such as ``""`` or None, which is null.
    - ``expired_token``: a request with a token is refused with status 400.
    - ``absolute_link``: Persona, the whole address, at this service or at the origin `value`.
    - ``total``: Connect, `value` added to ``totalCount``: cases that no page shows.
    - ``moving_total``: Connect, `value` added for each request until then.

    Answers, with status 200 and all headers.

    - ``html``: a page of HTML (any `status`).
    - ``empty``: no body. ``truncated``: the first half of it.
    - ``body``: `value`, as it is if bytes, else as JSON.
    - ``gzip``: compressed, whatever was accepted. ``not_utf8``: a byte 0xFF begins each text.
    - ``value``: `value` is the value of `field` in the first case that shows it:
      ``{"booleanValue": None}``, ``{}``, two members, a member that there is not, another type.
    - ``without``: no case has the member `value`, such as ``"relationships"``.
    - ``keys``: Persona, member names in ``"kebab"``, ``"snake"`` or ``"camel"``.
    - ``bare_fields``: Persona, custom values without their ``{"type", "value"}``.
    - ``headers``: those of the mapping `value` are set, or left out where None.

    Refusals, without asking the service (so without Persona's ``RateLimit-*``; ``headers`` after
    them in the list adds any).

    - ``throttle``: 429 with `value` as ``Retry-After``: a number of seconds, a timedelta (told as
      an HTTP date), any text, or None for no such header.
    - ``error``: `status` in the wire's documented shape.
    - ``redirect``: `status` and the address `value`.

    Delivery.

    - ``latency``: the reply leaves `value` seconds after the request's arrival; of a pair, a time
      between the two.
    - ``silence``: no byte for `value` seconds, then the end of the connection.
    - ``reset``: a TCP reset ``"before"`` the head, ``"in"`` it, or ``"after"`` it, in the body.
    - ``short_body``: half of the body that Content-Length announces, then an orderly end.

    Raises
    ------
    ValueError
        No such kind, wire or operation, a value that does not fit, numbers that cannot be.

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
        _check_more(self)

    def __repr__(self) -> str:
        given = [one for one in fields(self)[1:] if getattr(self, one.name) != one.default]
        told = [f"{one.name}={getattr(self, one.name)!r}" for one in given]
        return f"{type(self).__name__}({', '.join([repr(self.kind), *told])})"

    def concerns(self, wire: str, operation: str) -> bool:
        """Return whether it counts the requests of an operation."""
        own = self.wire or _ONLY.get(self.kind)
        return own in (None, wire) and self.operation in (None, operation)

    def meets(self, number: int, elapsed: float) -> bool:
        """Return whether it happens to a request, by its number and the seconds since its first."""
        if self.at is not None:
            return number == self.at
        past = number - self.after
        return (
            past >= 1
            and (self.first is None or past <= self.first)
            and (self.every is None or past % self.every == 0)
            and (self.seconds is None or elapsed < self.seconds)
        )


_ONLY: Mapping[str, str] = {
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
        raise ValueError(f"there is no fault {kind!r}{hint}")


def _check_scope(fault: Fault) -> None:
    only = _ONLY.get(fault.kind)
    if fault.wire not in (None, "connect", "persona") or (only and fault.wire not in (None, only)):
        allowed = [only] if only else ["connect", "persona"]
        raise ValueError(f"wire={fault.wire!r} is not one of {allowed} for {fault.kind!r}")
    wires = [one for one in (CONNECT, PERSONA) if (fault.wire or only or one.name) == one.name]
    operations = frozenset[str]().union(*(one.operations for one in wires))
    if fault.operation is not None and fault.operation not in operations:
        raise ValueError(f"operation={fault.operation!r} is not one of {sorted(operations)}")


def _check_numbers(fault: Fault) -> None:
    for name in ("at", "first", "every"):
        number = getattr(fault, name)
        if number is not None and not is_count(number):
            raise ValueError(f"{name}={number!r} is not a number of requests, from 1")
    if not (is_count(fault.after) or fault.after == 0):
        raise ValueError(f"after={fault.after!r} is not a number of requests, from 0")
    if fault.seconds is not None and not (is_time(fault.seconds) and fault.seconds > 0):
        raise ValueError(f"seconds={fault.seconds!r} is not a number of seconds above 0")
    others = (fault.first, fault.every, fault.seconds, fault.after or None)
    if fault.at is not None and any(one is not None for one in others):
        raise ValueError("at= is one request; it goes with none of first, every, after, seconds")


def _check_more(fault: Fault) -> None:
    fits, wanted = VALUES.get(fault.kind, (is_none, "nothing: leave it out"))
    if not fits(fault.value):
        raise ValueError(f"value={fault.value!r} of {fault.kind!r} must be {wanted}")
    statuses = _STATUSES.get(fault.kind, range(0))
    if fault.status is not None and fault.status not in statuses:
        allowed = f"{statuses[0]} to {statuses[-1]}" if statuses else "left out"
        raise ValueError(f"status={fault.status!r} of {fault.kind!r} must be {allowed}")
    if fault.field is not None and fault.kind != "value":
        raise ValueError(f"field={fault.field!r} says nothing to {fault.kind!r}: leave it out")


_OK = 200


@dataclass(frozen=True)
class Turn:
    """One request that a fault meets.

    Parameters
    ----------
    fault, number
        The fault, and the number of the request among those it counts.
    request, wire
        The request and the wire that it came by.
    ask
        Answers a request as if there were no such fault.
    clock
        The service's time.
    memory
        What the fault remembers from one turn to the next.
    """

    fault: Fault
    number: int
    request: Request
    wire: Wire
    ask: Callable[[Request], Reply]
    clock: Callable[[], datetime]
    memory: dict[str, Any] = field(default_factory=dict)

    @cached_property
    def reply(self) -> Reply:
        """The reply without the fault; the service is asked once."""
        return self.ask(self.request)

    @cached_property
    def cursor(self) -> str | None:
        """The cursor that the request came with."""
        return self.wire.sent_cursor(self.request)

    def page(self) -> dict[str, Any] | None:
        """Return the parsed page of the reply, or None where it is no page of cases."""
        return self.page_of(self.reply)

    def page_of(self, reply: Reply) -> dict[str, Any] | None:
        """Return the parsed page of any reply to this operation, or None where it is none."""
        operation = self.wire.operation_of(self.request)
        paged = operation.startswith(("search", "list")) or operation == "get_case_audit_events"
        if reply.status != _OK or not paged:
            return None
        try:
            body = parse_json(reply.content)
        except ValueError:  # a fault before this one has been at it
            return None
        whole = isinstance(body, dict) and isinstance(self.wire.cases(body), list)
        return body if whole else None

    def cases(self, page: Mapping[str, Any]) -> list[Any]:
        """Return the cases of a page, to be read or changed in place."""
        return self.wire.cases(page) or []

    def changed(self, page: Mapping[str, Any]) -> Reply:
        """Return the reply with another page."""
        return replace(self.reply, content=dumped(page))


Effect = Callable[[Turn], Reply | None]
"""What a fault does: the reply of a turn, or None where the request gives no occasion."""
