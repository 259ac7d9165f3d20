"""The case service: cases from a seed or a frame, one store, two wires, one port."""

import hashlib
import logging
import threading
import time
import weakref
from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from types import TracebackType
from typing import Any, Self

import pandas as pd

from casesearch_pd.emulator.amazon_connect import routes as connect
from casesearch_pd.emulator.amazon_connect.responses import ConnectError, Domain, error_reply
from casesearch_pd.emulator.data.frames import adopt, truth
from casesearch_pd.emulator.data.generate import generate
from casesearch_pd.emulator.data.related import RelatedItems
from casesearch_pd.emulator.data.schema import SCHEMA, Schema, made_id, made_user_id
from casesearch_pd.emulator.data.store import EVERYTHING, Lag, SqlValue, Store
from casesearch_pd.emulator.data.values import now_utc, stored_time, stored_value
from casesearch_pd.emulator.faults.fault import Fault
from casesearch_pd.emulator.faults.schedule import Faults
from casesearch_pd.emulator.limits import Buckets, Tokens, Window
from casesearch_pd.emulator.options import EmulatorOptions
from casesearch_pd.emulator.persona import routes as persona
from casesearch_pd.emulator.persona.pages import Environment
from casesearch_pd.emulator.persona.query import PersonaError
from casesearch_pd.emulator.server import ReceivedRequest, Reply, Request, Server

REGION = "us-east-1"
ACCOUNT = "111122223333"
DOMAIN_ID = "5f1c7b0e-8d2a-4c36-9b1f-0a4e6d7c8b90"
TOKEN = "persona_sandbox_7f3b2c1d-0000-4000-8000-5a6b7c8d9e0f"  # noqa: S105 - lets in here only
_UNLIMITED = 1_000_000
_YEAR = timedelta(days=365)


class CaseService:
    """Both case services on loopback, for demos, notebooks and tests.

    Parameters
    ----------
    cases
        How many cases to generate, or a frame of cases to serve: columns named as in the shared
        vocabulary (``case_id title status created_at …``) become system fields, the others custom
        fields by dtype. Naive times are UTC; times are cut to milliseconds; lists of text are one
        text, joined by ``", "``, on Connect.
    seed
        Seed of the generated cases.
    now
        The service's time at its start; default is the machine's. Generated cases lie before it
        (before the full hour, by default), and the ``Date`` header advances from it.
    domain_id, token
        What clients must know: the Connect domain and the Persona API key.
    access_key
        The one AWS access key id to let in, or None for any.
    port
        The port on 127.0.0.1, or 0 for a free one.
    kept_requests
        How many of the last requests `requests` holds at least; 0 for none.
    faults
        What goes wrong and when, as `Fault` describes; change it later through ``service.faults``.
    latency
        Seconds from the arrival of a request until its reply leaves, or the least and the most of
        them; short for ``Fault("latency", latency, operation=None)``.
    **choices
        What the documents leave open, by name: ``unset``, ``text_match``, ``window``, ``rate`` and
        the others of `EmulatorOptions`, which describes them.

    Raises
    ------
    ValueError
        A frame that cannot be served, a choice or a fault that there is not.

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
        now: datetime | None = None,
        domain_id: str = DOMAIN_ID,
        token: str = TOKEN,
        access_key: str | None = None,
        port: int = 0,
        kept_requests: int = 10_000,
        faults: Iterable[Fault] = (),
        latency: float | tuple[float, float] = 0.0,
        **choices: Any,
    ) -> None:
        self._choices = EmulatorOptions(**choices)
        self._started = time.monotonic()
        self._advanced = 0.0
        self._base = _base_time(now)
        self._zero = now_utc() if now is None else self._base
        self._lock = threading.RLock()
        self._server: Server | None = None
        self._inserted = 0
        always = [Fault("latency", latency, operation=None)] if latency else []
        self.faults = Faults([*faults, *always], clock=self.clock, seconds=self._seconds)
        self.domain_id, self.token, self.region = domain_id, token, REGION
        self._port, self._kept, self._seed = port, kept_requests, seed
        live = _load(
            cases, seed=seed, now=self.clock() if isinstance(cases, pd.DataFrame) else self._base
        )
        self._lag = Lag(live, self._choices.index_delay, self._seconds)
        self._domain = self._make_domain(access_key)
        self._environment = self._make_environment()
        self._closing = weakref.finalize(self, _close, self._lag, self._domain.items)
        self._buckets = Buckets(self._choices.rate, self._choices.burst, self._seconds)

    def __repr__(self) -> str:
        if not self._closing.alive:
            return f"{type(self).__name__}(stopped)"
        where = self.url if self._server else "not started"
        return f"{type(self).__name__}({self._lag.live.count(EVERYTHING)} cases, {where})"

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    def start(self) -> Self:
        """Begin to answer; return the service itself.

        Raises
        ------
        RuntimeError
            It was stopped: its cases are gone, so make a new one.
        """
        if not self._closing.alive:
            raise RuntimeError("this service was stopped and its cases are gone; make a new one")
        if self._server is None:
            self._server = Server(self._answer, clock=self.clock, port=self._port, kept=self._kept)
            self._server.open()
        return self

    def stop(self) -> None:
        """Stop answering, end all connections and threads, drop the cases."""
        if self._server is not None and self._closing.alive:
            self._server.close()
        self._closing()

    @property
    def port(self) -> int:
        """The port that it listens on."""
        return self._running().server_port

    @property
    def url(self) -> str:
        """Where it listens: boto3's ``endpoint_url``; Persona's base is this and ``/api/v1``."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def now(self) -> datetime:
        """The time that generated cases are relative to, in UTC."""
        return self._base

    @property
    def requests(self) -> list[ReceivedRequest]:
        """What was asked so far, oldest first; clear it as you like."""
        return self._running().received

    def clock(self) -> datetime:
        """Return the service's time, in UTC, which advances as real time does."""
        return self._zero + timedelta(seconds=self._seconds())

    def advance(self, seconds: float) -> None:
        """Move the service's time ahead: tokens expire, budgets refill, searches catch up."""
        self._advanced += seconds

    def insert(self, case: Mapping[str, Any]) -> str:
        """Add a case given by column names and return its id.

        Raises
        ------
        ValueError
            An unknown column, a value that does not fit, an id that is taken.
        """
        with self._lock:
            row = {**self._defaults(), **_held(self._stored(case))}
            live = self._lag.live
            case_id = str(row["case_id"])
            if live.rows(["case_id"], live.is_case(case_id)):
                raise ValueError(f"case_id {case_id!r} is taken")
            stored = [row.get(column.name) for column in live.schema.columns]
            self._lag.apply(lambda store: store.add([stored]))
            return case_id

    def update(self, case_id: str, **columns: Any) -> None:
        """Change columns of a case; ``updated_at`` becomes now unless it is given.

        Raises
        ------
        KeyError
            No such case.
        ValueError
            An unknown column, or a value that does not fit.
        """
        values = {"updated_at": stored_time(self.clock()), **self._stored(columns)}
        if not self._lag.apply(lambda store: store.change(case_id, values)):
            raise KeyError(case_id)

    def delete(self, case_id: str) -> None:
        """Remove a case, or raise KeyError."""
        if not self._lag.apply(lambda store: store.remove(case_id)):
            raise KeyError(case_id)

    def frame(self, wire: str | None = None) -> pd.DataFrame:
        """Return all cases as they stand, one row a case, in the order of their ids.

        Parameters
        ----------
        wire
            ``connect`` or ``persona`` for the columns which that wire shows, None for all. On
            Persona a reopened case has no ``closed_at``, on Connect it keeps its last one.

        Returns
        -------
        pandas.DataFrame
            One column for each column served: text as ``str``, numbers as ``Float64`` and
            ``Int64``, ``boolean``, ``datetime64[us, UTC]``, lists and maps as objects.
        """
        return truth(self._lag.live, wire)

    def user_id(self, shown: str) -> str:
        """Return the hidden id by which Persona's search knows an assignee or resolver."""
        return made_user_id(shown)

    def _defaults(self) -> dict[str, SqlValue]:
        self._inserted += 1
        now = stored_time(self.clock())
        return {
            "case_id": made_id("case", self._seed, "inserted", self._inserted),
            "created_at": now,
            "updated_at": now,
            "template_id": self._lag.live.schema.templates[0].id,
            "status": "open",
        }

    def _stored(self, case: Mapping[str, Any]) -> dict[str, SqlValue]:
        known = self._lag.live.schema.by_name
        unknown = sorted(set(case) - set(known))
        if unknown:
            raise ValueError(f"unknown column {unknown[0]!r}, not one of {sorted(known)}")
        return {name: stored_value(known[name], value) for name, value in case.items()}

    def _running(self) -> Server:
        if self._server is None:
            raise RuntimeError("the service is not started: use it in a with statement, or start()")
        return self._server

    def _make_domain(self, access_key: str | None) -> Domain:
        secret = hashlib.sha256(f"{self._seed} {self.domain_id}".encode()).digest()
        return Domain(
            store=self._lag.searched,
            domain_id=self.domain_id,
            region=REGION,
            account=ACCOUNT,
            created=self._base - _YEAR,
            tokens=Tokens(secret, self._seconds, self._choices.token_lifetime),
            access_key=access_key,
            choices=self._choices,
            live=self._lag.live,
            items=RelatedItems(self._lag.live),
            clock=self.clock,
        )

    def _make_environment(self) -> Environment:
        rate = self._choices.rate
        limit = _UNLIMITED if rate is None else max(round(rate * 60), 1)
        return Environment(
            store=self._lag.searched,
            live=self._lag.live,
            token=self.token,
            window=Window(limit, self._seconds),
            created=self._base - _YEAR,
            choices=self._choices,
        )

    def _seconds(self) -> float:
        return time.monotonic() - self._started + self._advanced

    def _answer(self, request: Request) -> Reply:
        try:
            return self.faults.answer(request, self._routed)
        except Exception:  # noqa: BLE001 - a service that has failed still answers, and logs why
            _LOG.exception("%s %s failed", request.method, request.path)
            return _FAILED[persona.is_persona(request)]

    def _routed(self, request: Request) -> Reply:
        self._lag.catch_up()
        if persona.is_persona(request):
            return persona.answer(self._environment, request)
        return connect.answer(self._domain, request, self._buckets.refuses)


_LOG = logging.getLogger(__name__)
_FAILED = {
    True: persona.error_reply(PersonaError(500, "Internal server error")),
    False: error_reply(ConnectError(500, "InternalServerException", "internal failure")),
}


def _held(values: Mapping[str, SqlValue]) -> dict[str, SqlValue]:
    return {name: value for name, value in values.items() if value is not None}


def _close(lag: Lag, items: RelatedItems) -> None:
    lag.close()
    items.close()


def _base_time(now: datetime | None) -> datetime:
    if now is None:
        return now_utc().replace(minute=0, second=0, microsecond=0)
    return now.replace(tzinfo=UTC) if now.tzinfo is None else now.astimezone(UTC)


def _load(cases: int | pd.DataFrame, *, seed: int, now: datetime) -> Store:
    schema, chunks = _cases(cases, seed=seed, now=now)
    store = Store(schema)
    for rows in chunks:
        store.add(rows)
    return store


def _cases(
    cases: int | pd.DataFrame, *, seed: int, now: datetime
) -> tuple[Schema, Iterator[Iterable[tuple[SqlValue, ...]]]]:
    if isinstance(cases, pd.DataFrame):
        return adopt(cases, now=now)
    if not isinstance(cases, int) or cases < 0:
        raise ValueError(f"cases={cases!r} is neither a number of cases nor a DataFrame")
    return SCHEMA, generate(cases, seed=seed, now=now)
