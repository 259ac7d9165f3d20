"""End a request under way when the time of its read is over, or when the read is cancelled.

The timeouts of HTTP clients count from one received byte to the next, so a service that sends a
byte now and then is never late. Here the thread that sends stays in its system call, and another
thread shuts its socket down. That ends silence, a slow head, a slow body and a TLS handshake
alike; only the lookup of a host name cannot be ended.
"""

from __future__ import annotations

import math
import os
import socket
import threading
from contextlib import contextmanager, suppress
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from casesearch_pd.sources.transport.context import monotonic_time

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from casesearch_pd.sources.transport.context import ReadContext

__all__ = ["Exchange", "exchange", "interruptible_pools"]

_MIN_SECONDS = 0.001  # for a connection; a socket takes 0 for "do not wait at all"
_IDLE_SECONDS = 1.0  # without a request, after which the watching thread ends


class Exchange:
    """One request under way and the response to it."""

    __slots__ = ("_lock", "_socket", "context", "over")

    def __init__(self, context: ReadContext) -> None:
        self.context = context
        self.over = False  # whether the exchange was ended from here
        self._socket: Any = None
        self._lock = threading.Lock()

    def attach(self, connected: Any) -> None:
        """Set the socket of the exchange; called in the thread that sends."""
        with self._lock:
            self._socket = connected
            if self.over:
                _shut_down(connected)

    def detach(self) -> None:
        """Forget the socket: another exchange uses it now."""
        with self._lock:
            self._socket = None

    def interrupt(self) -> None:
        """End the exchange at once; called in another thread."""
        with self._lock:
            self.over = True
            if self._socket is not None:
                _shut_down(self._socket)

    def raise_if_over(self, service: str) -> None:
        """Raise why the exchange was ended, if it was.

        To be called even if a response came: a body that was cut may be a shorter valid one.
        """
        if self.over:
            self.context.raise_if_cancelled()
            raise self.context.time_over(f"a response of {service}")


def _shut_down(connected: Any) -> None:
    # ssl.SSLSocket.shutdown would drop its cipher first, and the reading thread would then take
    # the encrypted bytes for the response; so the method of the plain socket is called.
    with suppress(OSError, AttributeError):
        if isinstance(connected, socket.socket):
            socket.socket.shutdown(connected, socket.SHUT_RDWR)
        else:
            connected.shutdown(socket.SHUT_RDWR)


_current = threading.local()


@contextmanager
def exchange(context: ReadContext) -> Iterator[Exchange]:
    """Send one request in this block; it ends with the time limit and the cancel of its read.

    What ends early raises an error of the HTTP client, or nothing; `Exchange.raise_if_over` says
    why.
    """
    started = Exchange(context)
    context.add_exchange(started)
    has_limit = context.deadline < math.inf
    if has_limit:
        _watcher.add(started)
    _current.exchange = started
    try:
        yield started
    finally:
        _current.exchange = None
        if has_limit:
            _watcher.discard(started)
        context.discard_exchange(started)


class _Watcher:
    """One thread for all reads, which interrupts what is late; it ends when nothing is sent."""

    def __init__(self) -> None:
        self._condition = threading.Condition()
        self._exchanges: set[Exchange] = set()
        self._thread: threading.Thread | None = None
        self._wakes_at = math.inf

    def add(self, started: Exchange) -> None:
        """Interrupt an exchange when its time is over."""
        with self._condition:
            self._exchanges.add(started)
            if self._thread is None:
                self._thread = threading.Thread(
                    target=self._run, name="casesearch-time-limits", daemon=True
                )
                self._thread.start()
            elif started.context.deadline < self._wakes_at:
                self._condition.notify()

    def discard(self, ended: Exchange) -> None:
        """Leave an exchange alone."""
        with self._condition:
            self._exchanges.discard(ended)

    def _run(self) -> None:
        with self._condition:
            while True:
                now = monotonic_time()
                late = [one for one in self._exchanges if one.context.deadline <= now]
                for one in late:
                    self._exchanges.discard(one)
                    one.interrupt()
                deadlines = [one.context.deadline for one in self._exchanges]
                # A time limit of an hour must not keep this thread for an hour.
                self._wakes_at = min([now + _IDLE_SECONDS, *deadlines])
                notified = self._condition.wait(max(0.0, self._wakes_at - now))
                if not (self._exchanges or deadlines or notified):
                    self._thread = None
                    return


_watcher = _Watcher()


def _replace_watcher() -> None:
    global _watcher  # noqa: PLW0603 - a forked process has neither the thread nor a free lock
    _watcher = _Watcher()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_replace_watcher)


def interruptible_pools(classes: Mapping[str, type]) -> dict[str, type]:
    """Return urllib3's classes of connection pools whose connections register their socket."""
    return {scheme: _interruptible_pool(pool) for scheme, pool in classes.items()}


@lru_cache(maxsize=16)
def _interruptible_pool(pool: Any) -> type:
    connection: Any = pool.ConnectionCls
    if issubclass(connection, _Interruptible):
        return pool  # type: ignore[no-any-return]
    connection = type(connection.__name__, (_Interruptible, connection), {})
    return type(pool.__name__, (pool,), {"ConnectionCls": connection})


class _Interruptible:
    """What a connection of urllib3 needs so that the exchange of its thread can be ended."""

    sock: Any
    timeout: Any
    _exchange: Exchange | None = None

    def _new_conn(self) -> Any:
        current: Exchange | None = getattr(_current, "exchange", None)
        if current is not None:
            # The socket is not known before the connection stands, so the time is limited here.
            seconds = max(current.context.remaining(), _MIN_SECONDS)
            if seconds < math.inf:
                limit = self.timeout
                self.timeout = min(limit, seconds) if isinstance(limit, (int, float)) else seconds
        connected = super()._new_conn()  # type: ignore[misc]
        self._attach(connected)
        return connected

    def request(self, *args: Any, **options: Any) -> Any:
        """Send a request; a connection that was kept has its socket already."""
        if self.sock is not None:
            self._attach(self.sock)
        return super().request(*args, **options)  # type: ignore[misc]

    def _attach(self, connected: Any) -> None:
        current: Exchange | None = getattr(_current, "exchange", None)
        # The connection is free for others before the exchange that used it has ended; a late
        # interrupt of that one must not hit this one.
        if self._exchange is not None and self._exchange is not current:
            self._exchange.detach()
        self._exchange = current
        if current is not None:
            current.attach(connected)
