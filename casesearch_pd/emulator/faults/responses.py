"""Faults of responses, refusals and delivery: each returns the reply that is sent instead."""

import gzip
import random
import re
from collections.abc import Mapping
from dataclasses import replace
from datetime import timedelta
from email.utils import format_datetime
from typing import Any

from casesearch_pd.emulator.faults.fault import Effect, Exchange
from casesearch_pd.emulator.faults.pages import page_effect
from casesearch_pd.emulator.faults.wire import dump_json
from casesearch_pd.emulator.persona.responses import INFLECTIONS, Inflect
from casesearch_pd.emulator.server import Delivery, DripPart, Reply, SentPart

_PAGE = b"<!DOCTYPE html><html><head><title>Sign in</title></head><body>Sign in</body></html>"


def _html(exchange: Exchange) -> Reply:
    return Reply(exchange.fault.status or 200, _PAGE, {"Content-Type": "text/html; charset=utf-8"})


def _empty(exchange: Exchange) -> Reply:
    return replace(exchange.reply, status=200, content=b"")


def _truncated(exchange: Exchange) -> Reply:
    content = exchange.reply.content
    return replace(exchange.reply, content=content[: len(content) // 2])


def _body(exchange: Exchange) -> Reply:
    value = exchange.fault.value
    content = value if isinstance(value, bytes) else dump_json(value)
    return replace(exchange.reply, status=200, content=content)


def _gzip(exchange: Exchange) -> Reply:
    headers = {**exchange.reply.headers, "Content-Encoding": "gzip"}
    # Without a time stamp the same reply has the same bytes.
    content = gzip.compress(exchange.reply.content, mtime=0)
    return replace(exchange.reply, content=content, headers=headers)


def _not_utf8(exchange: Exchange) -> Reply:
    # 0xFF occurs nowhere in UTF-8; at the beginning of a text it leaves the JSON well-formed.
    return replace(exchange.reply, content=exchange.reply.content.replace(b'":"', b'":"\xff'))


def _value(exchange: Exchange, page: dict[str, Any]) -> bool:
    fault, set_value = exchange.fault, exchange.wire.set_value
    return any(set_value(case, fault.field, fault.value) for case in exchange.cases(page))


def _without(exchange: Exchange, page: dict[str, Any]) -> bool:
    cases = [case for case in exchange.cases(page) if exchange.fault.value in case]
    for case in cases:
        del case[exchange.fault.value]
    return bool(cases)


def _keys(exchange: Exchange, page: dict[str, Any]) -> bool:
    inflect = INFLECTIONS[exchange.fault.value]
    for case in exchange.cases(page):
        case["attributes"] = _rename_members(case["attributes"], inflect)
        if "relationships" in case:
            case["relationships"] = _rename_members(case["relationships"], inflect)
    return True


def _rename_members(value: Any, inflect: Inflect) -> Any:
    """Return an object with renamed members, also of objects in lists, but not custom fields."""
    if isinstance(value, list):
        return [_rename_members(item, inflect) for item in value]
    if not isinstance(value, dict):
        return value
    return {
        # Only lists are entered: the object "fields" has keys that the user chose.
        inflect(_to_snake_case(name)): (
            _rename_members(member, inflect) if isinstance(member, list) else member
        )
        for name, member in value.items()
    }


def _to_snake_case(name: str) -> str:
    return re.sub(r"[A-Z]", lambda match: "_" + match[0].lower(), name).replace("-", "_")


def _bare_fields(exchange: Exchange, page: dict[str, Any]) -> bool:
    attributes = [case["attributes"] for case in exchange.cases(page)]
    with_fields = [members for members in attributes if "fields" in members]
    for members in with_fields:
        members["fields"] = {name: _unwrap(value) for name, value in members["fields"].items()}
    return bool(with_fields)


def _unwrap(field: Any) -> Any:
    match field:
        case {"type": "hash", "value": dict() as members}:
            return {name: _unwrap(member) for name, member in members.items()}
        case {"type": "array", "value": list() as members}:
            return [_unwrap(member) for member in members]
        case {"type": _, "value": value}:
            return value
        case _:
            return field


def _headers(exchange: Exchange) -> Reply:
    changes = exchange.fault.value
    names = {name.lower() for name in changes}
    old = {name: one for name, one in exchange.reply.headers.items() if name.lower() not in names}
    new = {name: one for name, one in changes.items() if one is not None}
    return replace(exchange.reply, headers={**old, **new})


def _throttle(exchange: Exchange) -> Reply:
    reply = exchange.wire.error(429, "Rate exceeded")
    delay = _retry_after(exchange)
    if delay is None:
        return reply
    return replace(reply, headers={**reply.headers, "Retry-After": delay})


def _retry_after(exchange: Exchange) -> str | None:
    match exchange.fault.value:
        case None:
            return None
        case timedelta() as delay:
            return format_datetime(exchange.clock() + delay, usegmt=True)
        case value:
            return str(value)


def _error(exchange: Exchange) -> Reply:
    return exchange.wire.error(exchange.fault.status or 500, "")


def _redirect(exchange: Exchange) -> Reply:
    return Reply(exchange.fault.status or 302, b"", {"Location": exchange.fault.value})


def _latency(exchange: Exchange) -> Reply:
    match exchange.fault.value:
        case (minimum, maximum):
            # A generator per request: the delay does not depend on other threads.
            rng = random.Random(f"{exchange.fault.seed} {exchange.number}")  # noqa: S311 - no secret
            return _with_delivery(exchange, rng.uniform(minimum, maximum))
        case seconds:
            return _with_delivery(exchange, seconds)


def _silence(exchange: Exchange) -> Reply:
    return _with_delivery(exchange, exchange.fault.value, part="nothing")


def _drip(exchange: Exchange) -> Reply:
    value = exchange.fault.value
    return _with_delivery(exchange, drip=value if isinstance(value, tuple) else ("body", value))


def _reset(exchange: Exchange) -> Reply:
    parts: dict[str, SentPart] = {"before": "nothing", "in": "half a head", "after": "half a body"}
    return _with_delivery(exchange, part=parts[exchange.fault.value], reset=True)


def _short_body(exchange: Exchange) -> Reply:
    return _with_delivery(exchange, part="half a body")


def _with_delivery(
    exchange: Exchange,
    delay: float = 0.0,
    *,
    part: SentPart | None = None,
    reset: bool = False,
    drip: tuple[DripPart, float] | None = None,
) -> Reply:
    """Return the reply with a delivery, combined with that of an earlier fault."""
    earlier = exchange.reply.delivery or Delivery()
    delivery = Delivery(
        max(earlier.delay, delay),
        part or earlier.part,
        reset or earlier.reset,
        drip or earlier.drip,
    )
    return replace(exchange.reply, delivery=delivery)


RESPONSE_EFFECTS: Mapping[str, Effect] = {
    "html": _html,
    "empty": _empty,
    "truncated": _truncated,
    "body": _body,
    "gzip": _gzip,
    "not_utf8": _not_utf8,
    "value": page_effect(_value),
    "without": page_effect(_without),
    "keys": page_effect(_keys),
    "bare_fields": page_effect(_bare_fields),
    "headers": _headers,
    "throttle": _throttle,
    "error": _error,
    "redirect": _redirect,
}
DELIVERY_EFFECTS: Mapping[str, Effect] = {
    "latency": _latency,
    "silence": _silence,
    "drip": _drip,
    "reset": _reset,
    "short_body": _short_body,
}
