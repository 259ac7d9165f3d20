"""Faults of answers, refusals and delivery: each returns the reply that is sent instead."""

import gzip
import random
import re
from collections.abc import Mapping
from dataclasses import replace
from datetime import timedelta
from email.utils import format_datetime
from typing import Any

from casesearch_pd.emulator.faults.fault import Effect, Turn
from casesearch_pd.emulator.faults.pages import on_page
from casesearch_pd.emulator.faults.wire import dumped
from casesearch_pd.emulator.persona.render import INFLECTIONS, Inflect
from casesearch_pd.emulator.server import Cut, Delivery, Reply

_PAGE = b"<!DOCTYPE html><html><head><title>Sign in</title></head><body>Sign in</body></html>"


def _html(turn: Turn) -> Reply:
    return Reply(turn.fault.status or 200, _PAGE, {"Content-Type": "text/html; charset=utf-8"})


def _empty(turn: Turn) -> Reply:
    return replace(turn.reply, status=200, content=b"")


def _truncated(turn: Turn) -> Reply:
    return replace(turn.reply, content=turn.reply.content[: len(turn.reply.content) // 2])


def _body(turn: Turn) -> Reply:
    value = turn.fault.value
    return replace(
        turn.reply, status=200, content=value if isinstance(value, bytes) else dumped(value)
    )


def _gzip(turn: Turn) -> Reply:
    headers = {**turn.reply.headers, "Content-Encoding": "gzip"}
    return replace(turn.reply, content=gzip.compress(turn.reply.content, mtime=0), headers=headers)


def _not_utf8(turn: Turn) -> Reply:
    return replace(turn.reply, content=turn.reply.content.replace(b'":"', b'":"\xff'))


def _value(turn: Turn, page: dict[str, Any]) -> bool:
    fault = turn.fault
    return any(turn.wire.set_value(case, fault.field, fault.value) for case in turn.cases(page))


def _without(turn: Turn, page: dict[str, Any]) -> bool:
    held = [case for case in turn.cases(page) if turn.fault.value in case]
    for case in held:
        del case[turn.fault.value]
    return bool(held)


def _keys(turn: Turn, page: dict[str, Any]) -> bool:
    inflect = INFLECTIONS[turn.fault.value]
    for case in turn.cases(page):
        case["attributes"] = _renamed(case["attributes"], inflect)
        if "relationships" in case:
            case["relationships"] = _renamed(case["relationships"], inflect)
    return True


def _renamed(held: Any, inflect: Inflect) -> Any:
    """Rename members, and those of the objects in lists, but not the custom fields."""
    if isinstance(held, list):
        return [_renamed(one, inflect) for one in held]
    if not isinstance(held, dict):
        return held
    return {
        inflect(_snake(name)): _renamed(one, inflect) if isinstance(one, list) else one
        for name, one in held.items()
    }


def _snake(name: str) -> str:
    return re.sub(r"[A-Z]", lambda match: "_" + match[0].lower(), name).replace("-", "_")


def _bare_fields(turn: Turn, page: dict[str, Any]) -> bool:
    held = [case["attributes"] for case in turn.cases(page) if "fields" in case["attributes"]]
    for attributes in held:
        attributes["fields"] = {name: _bare(one) for name, one in attributes["fields"].items()}
    return bool(held)


def _bare(held: Any) -> Any:
    match held:
        case {"type": "hash", "value": dict() as members}:
            return {name: _bare(one) for name, one in members.items()}
        case {"type": "array", "value": list() as members}:
            return [_bare(one) for one in members]
        case {"type": _, "value": value}:
            return value
        case _:
            return held


def _headers(turn: Turn) -> Reply:
    changed = turn.fault.value
    named = {name.lower() for name in changed}
    kept = {name: held for name, held in turn.reply.headers.items() if name.lower() not in named}
    given = {name: held for name, held in changed.items() if held is not None}
    return replace(turn.reply, headers={**kept, **given})


def _throttle(turn: Turn) -> Reply:
    reply = turn.wire.error(429, "Rate exceeded")
    told = _retry_after(turn)
    return reply if told is None else replace(reply, headers={**reply.headers, "Retry-After": told})


def _retry_after(turn: Turn) -> str | None:
    match turn.fault.value:
        case None:
            return None
        case timedelta() as span:
            return format_datetime(turn.clock() + span, usegmt=True)
        case value:
            return str(value)


def _error(turn: Turn) -> Reply:
    return turn.wire.error(turn.fault.status or 500, "")


def _redirect(turn: Turn) -> Reply:
    return Reply(turn.fault.status or 302, b"", {"Location": turn.fault.value})


def _latency(turn: Turn) -> Reply:
    match turn.fault.value:
        case (least, most):
            drawn = random.Random(f"{turn.fault.seed} {turn.number}")  # noqa: S311 - no secret
            return _delivered(turn, drawn.uniform(least, most))
        case seconds:
            return _delivered(turn, seconds)


def _silence(turn: Turn) -> Reply:
    return _delivered(turn, turn.fault.value, cut="nothing")


def _reset(turn: Turn) -> Reply:
    cuts: dict[str, Cut] = {"before": "nothing", "in": "half a head", "after": "half a body"}
    return _delivered(turn, cut=cuts[turn.fault.value], reset=True)


def _short_body(turn: Turn) -> Reply:
    return _delivered(turn, cut="half a body")


def _delivered(
    turn: Turn, delay: float = 0.0, *, cut: Cut | None = None, reset: bool = False
) -> Reply:
    """Return the reply with its delivery; of two delays the longer one counts."""
    held = turn.reply.delivery or Delivery()
    delivery = Delivery(max(held.delay, delay), cut or held.cut, reset or held.reset)
    return replace(turn.reply, delivery=delivery)


ANSWERS: Mapping[str, Effect] = {
    "html": _html,
    "empty": _empty,
    "truncated": _truncated,
    "body": _body,
    "gzip": _gzip,
    "not_utf8": _not_utf8,
    "value": on_page(_value),
    "without": on_page(_without),
    "keys": on_page(_keys),
    "bare_fields": on_page(_bare_fields),
    "headers": _headers,
    "throttle": _throttle,
    "error": _error,
    "redirect": _redirect,
}
DELIVERY: Mapping[str, Effect] = {
    "latency": _latency,
    "silence": _silence,
    "reset": _reset,
    "short_body": _short_body,
}
