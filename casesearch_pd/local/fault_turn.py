"""One turn of a fault: the request that it meets, and the reply that there would be without it."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import cached_property
from typing import Any

from casesearch_pd.local.fault import Fault
from casesearch_pd.local.fault_wire import Wire, dumped
from casesearch_pd.local.http import Reply, Request, parse_json

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
