"""The faults of a service: those that a request meets have their way with its reply."""

import threading
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from typing import Any

from casesearch_pd.emulator.faults.amazon_connect import CONNECT
from casesearch_pd.emulator.faults.fault import Effect, Fault, Turn
from casesearch_pd.emulator.faults.pages import PAGES, resumed
from casesearch_pd.emulator.faults.persona import PERSONA
from casesearch_pd.emulator.faults.responses import ANSWERS, DELIVERY
from casesearch_pd.emulator.faults.wire import Wire
from casesearch_pd.emulator.persona.routes import is_persona
from casesearch_pd.emulator.server import Reply, Request

EFFECTS: dict[str, Effect] = {**PAGES, **ANSWERS, **DELIVERY}
_Ask = Callable[[Request], Reply]


@dataclass
class _Armed:
    """A fault with its counts: requests of its kind, times it happened, when it first could."""

    fault: Fault
    number: int = 0
    happened: int = 0
    begun: float | None = None
    memory: dict[str, Any] = field(default_factory=dict)


class Faults:
    """The faults of a running service, in their order; safe to change from any thread.

    Parameters
    ----------
    faults
        Those to begin with.
    clock
        The service's time.
    seconds
        Seconds of the same time, steadily rising.

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
        self._armed: list[_Armed] = []
        self._used = False
        for fault in faults:
            self.append(fault)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({list(self)})"

    def __len__(self) -> int:
        return len(self._armed)

    def __iter__(self) -> Iterator[Fault]:
        with self._lock:
            return iter([armed.fault for armed in self._armed])

    def append(self, fault: Fault) -> None:
        """Add a fault, which counts requests from now on."""
        if not isinstance(fault, Fault):
            raise TypeError(f"{fault!r} is not a Fault")
        with self._lock:
            self._used = True
            self._armed.append(_Armed(fault))

    def remove(self, fault: Fault) -> None:
        """Take a fault away, or raise ValueError."""
        with self._lock:
            found = [armed for armed in self._armed if armed.fault == fault]
            if not found:
                raise ValueError(f"{fault!r} is not among the faults")
            self._armed.remove(found[0])

    def clear(self) -> None:
        """Take all faults away; the service is well again."""
        with self._lock:
            self._armed.clear()

    def happened(self, fault: Fault | None = None) -> int:
        """Return how often a fault, or all of them together, changed what a request got."""
        with self._lock:
            return sum(one.happened for one in self._armed if fault in (None, one.fault))

    def answer(self, request: Request, service: _Ask) -> Reply:
        """Return the service's reply after the faults that the request meets."""
        if not self._used:
            return service(request)
        wire = PERSONA if is_persona(request) else CONNECT
        ask: _Ask = partial(resumed, service, wire)
        for armed, number in self._met(wire, wire.operation_of(request)):
            ask = partial(self._act, armed, number, wire, ask)
        return ask(request)

    def _met(self, wire: Wire, operation: str) -> list[tuple[_Armed, int]]:
        """Count a request and return the faults that it meets, those of the delivery last."""
        with self._lock:
            met = [
                (armed, armed.number)
                for armed in self._armed
                if armed.fault.concerns(wire.name, operation) and self._meets(armed)
            ]
        return sorted(met, key=lambda one: one[0].fault.kind in DELIVERY)

    def _meets(self, armed: _Armed) -> bool:
        armed.number += 1
        now = self._seconds()
        if armed.begun is None and armed.number > armed.fault.after:
            armed.begun = now
        return armed.fault.meets(armed.number, now - (now if armed.begun is None else armed.begun))

    def _act(self, armed: _Armed, number: int, wire: Wire, ask: _Ask, request: Request) -> Reply:
        turn = Turn(armed.fault, number, request, wire, ask, self._clock, armed.memory)
        reply = EFFECTS[armed.fault.kind](turn)
        if reply is None:
            return turn.reply
        with self._lock:
            armed.happened += 1
        return reply
