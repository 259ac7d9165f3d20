"""The case service: generated cases or a DataFrame, served as two services on one port."""

import hashlib
import logging
import threading
import time
import weakref
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import UTC, datetime, timedelta, tzinfo
from typing import Any, Self

import pandas as pd

from casesearch_pd.emulator.amazon_connect.responses import (
    ConnectError,
    Domain,
    PageTokens,
    connect_error_reply,
)
from casesearch_pd.emulator.amazon_connect.routes import answer_connect
from casesearch_pd.emulator.data.frames import from_frame, lossy_tags, to_frame, warn
from casesearch_pd.emulator.data.generate import generate
from casesearch_pd.emulator.data.related import RelatedItems
from casesearch_pd.emulator.data.schema import SCHEMA, Schema, make_id, make_user_id
from casesearch_pd.emulator.data.store import EVERYTHING, Row, SqlValue, Store
from casesearch_pd.emulator.data.values import now_utc, stored_time, stored_value
from casesearch_pd.emulator.faults.fault import Fault
from casesearch_pd.emulator.faults.schedule import Faults
from casesearch_pd.emulator.limits import RateLimitWindow, TokenBuckets
from casesearch_pd.emulator.options import EmulatorOptions, check_option_names
from casesearch_pd.emulator.persona.filter import PersonaError
from casesearch_pd.emulator.persona.responses import Environment, persona_error_reply
from casesearch_pd.emulator.persona.routes import answer_persona, is_persona
from casesearch_pd.emulator.server import ReceivedRequest, Reply, Request, Server

REGION = "us-east-1"
ACCOUNT = "111122223333"
DOMAIN_ID = "5f1c7b0e-8d2a-4c36-9b1f-0a4e6d7c8b90"
TOKEN = "persona_sandbox_7f3b2c1d-0000-4000-8000-5a6b7c8d9e0f"  # noqa: S105 - valid here only
_UNLIMITED = 1_000_000
_YEAR = timedelta(days=365)
_LOG = logging.getLogger(__name__)


class CaseService:
    """Both case services on loopback, for demos, notebooks and tests.

    Parameters
    ----------
    cases
        Number of cases to generate, or a DataFrame of cases to serve: columns named as in the
        shared vocabulary (``case_id title status created_at …``) become system fields, all others
        custom fields by dtype, named levels of the index included. Times are truncated to
        milliseconds; lists of text are one text, joined by ``", "``, on Connect. A case without an
        update time was updated when it was created, one without a template has "Cases".
    seed
        Seed of the generated cases.
    tz
        Time zone of the naive times of a DataFrame.
    now
        The service's time at its start; default is the machine's. Generated cases are before it
        (before the full hour, by default), and the ``Date`` header advances from it.
    domain_id, token
        Credentials of the clients: the Connect domain and the Persona API key.
    access_key
        The only AWS access key id to accept, or None for any.
    port
        The port on 127.0.0.1, or 0 for a free one.
    request_log_size
        Minimum number of latest requests in `requests`; 0 for none.
    faults
        Faults of the service, as `Fault` describes; change them later through ``service.faults``.
    latency
        Seconds from the arrival of a request until its reply is sent, or a pair of minimum and
        maximum; short for ``Fault("latency", latency, operation=None)``.
    **options
        Behavior that the documentation leaves open, by name: ``unset``, ``text_match``,
        ``window``, ``rate`` and the others of `EmulatorOptions`, which describes them.

    Raises
    ------
    ValueError
        If the DataFrame cannot be served, or an option or a fault is invalid.

    Examples
    --------
    >>> with CaseService(50, seed=1) as service:
    ...     len(service.frame())
    50
    """

    def __init__(
        self,
        cases: int | pd.DataFrame = 1000,
        *,
        seed: int = 0,
        tz: str | tzinfo = "UTC",
        now: datetime | None = None,
        domain_id: str = DOMAIN_ID,
        token: str = TOKEN,
        access_key: str | None = None,
        port: int = 0,
        request_log_size: int = 10_000,
        faults: Iterable[Fault] = (),
        latency: float | tuple[float, float] = 0.0,
        **options: Any,
    ) -> None:
        check_option_names(options)
        self._options = EmulatorOptions(**options)
        self._started = time.monotonic()
        self._advanced = 0.0
        # Generated cases are relative to the full hour: a restart within it has the same cases.
        self._base = _base_time(now)
        self._zero = now_utc() if now is None else self._base
        self._lock = threading.RLock()
        self._server: Server | None = None
        self._inserted = 0
        always = [Fault("latency", latency, operation=None)] if latency else []
        self.faults = Faults([*faults, *always], clock=self.clock, seconds=self._seconds)
        self.domain_id, self.token, self.region = domain_id, token, REGION
        self._port, self._request_log_size, self._seed = port, request_log_size, seed
        latest = self.clock() if isinstance(cases, pd.DataFrame) else self._base
        live = _load(cases, seed=seed, now=latest, tz=tz)
        self._lag = IndexLag(live, self._options.index_delay, self._seconds)
        self._domain = self._create_domain(access_key)
        self._environment = self._create_environment()
        # A finalizer closes the databases also where a service is never stopped.
        self._closing = weakref.finalize(self, _close, self._lag, self._domain.items)
        self._buckets = TokenBuckets(self._options.rate, self._options.burst, self._seconds)

    def __repr__(self) -> str:
        if not self._closing.alive:
            return f"{type(self).__name__}(stopped)"
        where = self.url if self._server else "not started"
        return f"{type(self).__name__}({self._lag.live.count(EVERYTHING)} cases, {where})"

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()

    def start(self) -> Self:
        """Start to answer requests and return the service itself.

        Raises
        ------
        RuntimeError
            If the service was stopped: its cases are deleted.
        """
        if not self._closing.alive:
            raise RuntimeError(
                "the service was stopped and its cases are deleted; create a new one"
            )
        if self._server is None:
            self._server = Server(
                self._answer, clock=self.clock, port=self._port, log_size=self._request_log_size
            )
            self._server.open()
        return self

    def stop(self) -> None:
        """Stop answering, end all connections and threads, delete the cases."""
        if self._server is not None and self._closing.alive:
            self._server.close()
        self._closing()

    @property
    def port(self) -> int:
        """The port that it listens on."""
        return self._running().server_port

    @property
    def url(self) -> str:
        """The base address: boto3's ``endpoint_url``; Persona's base is this and ``/api/v1``."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def now(self) -> datetime:
        """The time that generated cases are relative to, in UTC."""
        return self._base

    @property
    def requests(self) -> list[ReceivedRequest]:
        """The requests so far, oldest first; the list may be cleared."""
        return self._running().requests

    def clock(self) -> datetime:
        """Return the service's time, in UTC, which advances as real time does."""
        return self._zero + timedelta(seconds=self._seconds())

    def advance(self, seconds: float) -> None:
        """Advance the service's time: tokens expire, rate limits reset, search indexes catch up."""
        self._advanced += seconds

    def insert(self, case: Mapping[str, Any]) -> str:
        """Add a case, a mapping of column names to values, and return its id.

        Raises
        ------
        ValueError
            If a column is unknown, a value does not fit it, or the id exists.
        """
        # Two threads must not insert the same id.
        with self._lock:
            values = {name: one for name, one in self._encode(case).items() if one is not None}
            row = {**self._defaults(), **values}
            live = self._lag.live
            case_id = str(row["case_id"])
            if live.rows(["case_id"], live.is_case(case_id)):
                raise ValueError(f"case_id {case_id!r} exists already; use update() to change it")
            values_in_order = [row.get(column.name) for column in live.schema.columns]
            self._lag.apply(lambda store: store.add([values_in_order]))
            return case_id

    def update(self, case_id: str, **columns: Any) -> None:
        """Change columns of a case; ``updated_at`` becomes now unless it is among them.

        Raises
        ------
        KeyError
            If there is no such case.
        ValueError
            If a column is unknown, or a value does not fit it.
        """
        values = {"updated_at": stored_time(self.clock()), **self._encode(columns)}
        if not self._lag.apply(lambda store: store.change(case_id, values)):
            raise KeyError(case_id)

    def delete(self, case_id: str) -> None:
        """Delete a case; raise KeyError if there is no such case."""
        if not self._lag.apply(lambda store: store.remove(case_id)):
            raise KeyError(case_id)

    def frame(self, wire: str | None = None) -> pd.DataFrame:
        """Return all current cases, one row per case, in the order of their ids.

        Parameters
        ----------
        wire
            ``connect`` or ``persona`` for the columns that this service has, None for all. On
            Persona a reopened case has no ``closed_at``, on Connect it keeps its last one.

        Returns
        -------
        pandas.DataFrame
            One column for each column served: text as ``str``, numbers as ``Float64`` and
            ``Int64``, ``boolean``, ``datetime64[us, UTC]``, lists and maps as objects.
        """
        return to_frame(self._lag.live, wire)

    def user_id(self, address: str) -> str:
        """Return the hidden id by which Persona's search knows an assignee or resolver."""
        return make_user_id(address)

    def _defaults(self) -> dict[str, SqlValue]:
        self._inserted += 1
        now = stored_time(self.clock())
        return {
            "case_id": make_id("case", self._seed, "inserted", self._inserted),
            "created_at": now,
            "updated_at": now,
            "template_id": self._lag.live.schema.templates[0].id,
            "status": "open",
        }

    def _encode(self, case: Mapping[str, Any]) -> dict[str, SqlValue]:
        columns = self._lag.live.schema.by_name
        unknown = sorted(set(case) - set(columns))
        if unknown:
            raise ValueError(f"unknown column {unknown[0]!r}, not one of {sorted(columns)}")
        values = {name: stored_value(columns[name], value) for name, value in case.items()}
        if message := lossy_tags([values.get("tags")]):
            warn(message)
        return values

    def _running(self) -> Server:
        if self._server is None:
            raise RuntimeError(
                "the service is not started; use it in a with statement, or call start()"
            )
        return self._server

    def _create_domain(self, access_key: str | None) -> Domain:
        # Derived from the seed, so that page tokens are the same in every run.
        secret = hashlib.sha256(f"{self._seed} {self.domain_id}".encode()).digest()
        return Domain(
            store=self._lag.searched,
            domain_id=self.domain_id,
            region=REGION,
            account=ACCOUNT,
            created=self._base - _YEAR,
            tokens=PageTokens(secret, self._seconds, self._options.token_lifetime),
            access_key=access_key,
            options=self._options,
            live=self._lag.live,
            items=RelatedItems(self._lag.live),
            clock=self.clock,
        )

    def _create_environment(self) -> Environment:
        rate = self._options.rate
        limit = _UNLIMITED if rate is None else max(round(rate * 60), 1)
        return Environment(
            store=self._lag.searched,
            live=self._lag.live,
            token=self.token,
            window=RateLimitWindow(limit, self._seconds),
            created=self._base - _YEAR,
            options=self._options,
        )

    def _seconds(self) -> float:
        return time.monotonic() - self._started + self._advanced

    def _answer(self, request: Request) -> Reply:
        try:
            return self.faults.answer(request, self._answer_without_faults)
        except Exception:  # noqa: BLE001 - a client must get a reply, and the log the error
            _LOG.exception("%s %s failed", request.method, request.path)
            return _INTERNAL_ERRORS[is_persona(request)]

    def _answer_without_faults(self, request: Request) -> Reply:
        self._lag.catch_up()
        if is_persona(request):
            return answer_persona(self._environment, request)
        return answer_connect(self._domain, request, self._buckets.refuses)


_INTERNAL_ERRORS = {
    True: persona_error_reply(PersonaError(500, "Internal server error")),
    False: connect_error_reply(ConnectError(500, "InternalServerException", "internal failure")),
}

Change = Callable[[Store], bool]


class IndexLag:
    """The live store, and the store that searches see: a copy that is `delay` seconds behind."""

    def __init__(self, live: Store, delay: float, clock: Callable[[], float]) -> None:
        self.live = live
        self.searched = live.copy() if delay else live
        self._delay, self._clock = delay, clock
        self._pending: deque[tuple[float, Change]] = deque()
        self._lock = threading.Lock()

    def close(self) -> None:
        """Close both stores."""
        self.live.close()
        self.searched.close()

    def apply(self, change: Change) -> bool:
        """Apply a change to the live store, and later to the searched one; return its result."""
        with self._lock:
            result = change(self.live)
            if self.searched is not self.live:
                self._pending.append((self._clock() + self._delay, change))
            return result

    def catch_up(self) -> None:
        """Apply the changes that are due to the searched store."""
        if not self._pending:
            return
        with self._lock:
            now = self._clock()
            while self._pending and self._pending[0][0] <= now:
                self._pending.popleft()[1](self.searched)


def _close(lag: IndexLag, items: RelatedItems) -> None:
    lag.close()
    items.close()


def _base_time(now: datetime | None) -> datetime:
    if now is None:
        return now_utc().replace(minute=0, second=0, microsecond=0)
    return now.replace(tzinfo=UTC) if now.tzinfo is None else now.astimezone(UTC)


def _load(cases: int | pd.DataFrame, *, seed: int, now: datetime, tz: str | tzinfo) -> Store:
    schema, chunks = _cases(cases, seed=seed, now=now, tz=tz)
    store = Store(schema)
    for rows in chunks:
        store.add(rows)
    return store


def _cases(
    cases: int | pd.DataFrame, *, seed: int, now: datetime, tz: str | tzinfo
) -> tuple[Schema, Iterator[Iterable[Row]]]:
    if isinstance(cases, pd.DataFrame):
        return from_frame(cases, now=now, tz=tz)
    if not isinstance(cases, int) or cases < 0:
        raise ValueError(f"cases must be a non-negative integer or a DataFrame, got {cases!r}")
    return SCHEMA, generate(cases, seed=seed, now=now)
