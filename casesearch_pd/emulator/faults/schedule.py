"""The faults of a running service, and which of them apply to a request."""

import threading
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from typing import Any

from casesearch_pd.emulator.faults.amazon_connect import CONNECT
from casesearch_pd.emulator.faults.fault import Effect, Exchange, Fault
from casesearch_pd.emulator.faults.pages import PAGE_EFFECTS, answer_bookmark
from casesearch_pd.emulator.faults.persona import PERSONA
from casesearch_pd.emulator.faults.responses import DELIVERY_EFFECTS, RESPONSE_EFFECTS
from casesearch_pd.emulator.faults.wire import WireFormat
from casesearch_pd.emulator.persona.routes import is_persona
from casesearch_pd.emulator.server import Reply, Request

EFFECTS: dict[str, Effect] = {**PAGE_EFFECTS, **RESPONSE_EFFECTS, **DELIVERY_EFFECTS}
_Answer = Callable[[Request], Reply]


@dataclass
class _FaultState:
    """A fault and its counts."""

    fault: Fault
    # Requests of its operation, and replies that it changed.
    number: int = 0
    effects: int = 0
    # The time of the first request that it could affect.
    started_at: float | None = None
    memory: dict[str, Any] = field(default_factory=dict)


class Faults:
    """The faults of a running service, in their order; safe to change from any thread.

    Parameters
    ----------
    faults
        The first faults.
    clock
        Returns the service's time.
    seconds
        Returns the same time as monotonic seconds.

    Examples
    --------
    >>> from casesearch_pd.emulator import CaseService, Fault
    >>> with CaseService(5) as service:
    ...     service.faults.append(Fault("error", status=503, every=3))
    ...     service.faults
    Faults([Fault('error', every=3, status=503)])
    """

    def __init__(
        self,
        faults: Iterable[Fault] = (),
        *,
        clock: Callable[[], datetime],
        seconds: Callable[[], float],
    ) -> None:
        self._clock, self._seconds = clock, seconds
        self._lock = threading.Lock()
        self._states: list[_FaultState] = []
        self._used = False
        for fault in faults:
            self.append(fault)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({list(self)})"

    def __len__(self) -> int:
        return len(self._states)

    def __iter__(self) -> Iterator[Fault]:
        with self._lock:
            return iter([state.fault for state in self._states])

    def append(self, fault: Fault) -> None:
        """Add a fault; it counts requests from now on."""
        if not isinstance(fault, Fault):
            raise TypeError(f"a Fault is required, got {fault!r}")
        with self._lock:
            self._used = True
            self._states.append(_FaultState(fault))

    def remove(self, fault: Fault) -> None:
        """Remove a fault; raise ValueError if it is not there."""
        with self._lock:
            state = next((state for state in self._states if state.fault == fault), None)
            if state is None:
                raise ValueError(
                    f"{fault!r} is not among the faults; list(service.faults) shows them"
                )
            self._states.remove(state)

    def clear(self) -> None:
        """Remove all faults."""
        with self._lock:
            self._states.clear()

    def happened(self, fault: Fault | None = None) -> int:
        """Return the number of replies that a fault, or all faults together, changed."""
        with self._lock:
            return sum(state.effects for state in self._states if fault in (None, state.fault))

    def answer(self, request: Request, service: _Answer) -> Reply:
        """Return the service's reply with the faults that apply to the request."""
        # A service without faults, as in benchmarks, does not even parse the request here.
        if not self._used:
            return service(request)
        wire = PERSONA if is_persona(request) else CONNECT
        # A bookmark may come after its fault was removed, so it is resolved without faults too.
        answer: _Answer = partial(answer_bookmark, service, wire)
        # Each fault wraps the answer function of those before it.
        for state, number in self._matching_faults(wire, wire.operation_of(request)):
            answer = partial(self._apply, state, number, wire, answer)
        return answer(request)

    def _matching_faults(self, wire: WireFormat, operation: str) -> list[tuple[_FaultState, int]]:
        """Count a request and return the faults that apply to it, those of the delivery last."""
        with self._lock:
            matching = [
                (state, state.number)
                for state in self._states
                if state.fault.applies_to(wire.name, operation) and self._count(state)
            ]
        # The sort is stable: apart from the delivery, faults keep the order of the list.
        return sorted(matching, key=lambda match: match[0].fault.kind in DELIVERY_EFFECTS)

    def _count(self, state: _FaultState) -> bool:
        """Count a request of a fault's operation and return whether the fault applies to it."""
        state.number += 1
        now = self._seconds()
        if state.started_at is None and state.number > state.fault.after:
            state.started_at = now
        elapsed = 0.0 if state.started_at is None else now - state.started_at
        return state.fault.matches(state.number, elapsed)

    def _apply(
        self, state: _FaultState, number: int, wire: WireFormat, answer: _Answer, request: Request
    ) -> Reply:
        exchange = Exchange(state.fault, number, request, wire, answer, self._clock, state.memory)
        reply = EFFECTS[state.fault.kind](exchange)
        if reply is None:
            return exchange.reply
        with self._lock:
            state.effects += 1
        return reply
