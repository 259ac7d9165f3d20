"""Both sides at once: the embedded case service, and the real clients bound to it.

`LocalCases` is a case service of your own on loopback; `open_source` turns one line of text
into a source; `show` is what ``python -m casesearch_pd`` prints.
"""

from __future__ import annotations

import json
import math
import sys
import threading
from datetime import timedelta
from functools import cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self, TextIO
from urllib.parse import parse_qsl, urlsplit
from weakref import WeakSet

from matplotlib.figure import Figure

from casesearch_pd.accessor import CasesAccessor
from casesearch_pd.emulator import CaseService, Fault
from casesearch_pd.errors import FilterError
from casesearch_pd.reading.api import count_cases, read_cases
from casesearch_pd.sources.registry import open_registered

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

    import pandas as pd

    from casesearch_pd.sources.amazon_connect.source import ConnectCases
    from casesearch_pd.sources.base import Source
    from casesearch_pd.sources.persona.source import PersonaCases

__all__ = ["Fault", "LocalCases", "open_source", "show"]


class LocalCases(CaseService):
    """An embedded case service, with sources bound to it.

    Parameters
    ----------
    cases
        How many cases to make up, or a DataFrame of your own. Columns named as in this
        package's vocabulary (``case_id``, ``status``, ``created_at``, …) become system
        fields, all others custom fields of a type that fits their dtype.
    seed
        The same seed makes the same cases.
    now
        The service's present; its own clock if None.
    rate
        Requests a second that the service lets pass; None for any number.
    **options
        What the documents leave open, ``faults=[Fault(...)]`` and ``latency=``: as in
        `casesearch_pd.emulator.CaseService`.

    Examples
    --------
    >>> import casesearch_pd as cs
    >>> with cs.LocalCases(cases=20, seed=1) as local:
    ...     len(cs.read_cases(local.connect_cases())), len(cs.read_cases(local.persona_cases()))
    (20, 20)
    """

    def __init__(
        self,
        cases: int | pd.DataFrame = 1000,
        seed: int = 0,
        *,
        now: datetime | None = None,
        rate: float | None = None,
        **options: Any,
    ) -> None:
        super().__init__(cases, seed=seed, now=now, rate=rate, **options)
        self._source_rate = math.inf if rate is None else rate
        # A frame read from `local.connect_cases()` finds its source again as long as the service runs.
        self._made: dict[str, Source] = {}

    def start(self) -> Self:
        """Begin to answer; return the service itself. It ends with the process at the latest."""
        _RUNNING.add(self)
        _watch_for_the_end()
        return super().start()

    def connect_cases(self, **options: Any) -> ConnectCases:
        """Make a `ConnectCases` bound to this service; `options` are its own."""
        import boto3  # noqa: PLC0415 - dear, and not needed by who serves Persona only

        from casesearch_pd.sources.amazon_connect.source import ConnectCases  # noqa: PLC0415

        session = boto3.Session(
            aws_access_key_id="LOCAL",
            aws_secret_access_key="local",  # noqa: S106 - opens nothing
            region_name=self.region,
        )
        bound: dict[str, Any] = {
            "boto3_session": session,
            "endpoint_url": self.url,
            "rate": self._source_rate,
        }
        source = ConnectCases(self.domain_id, **(bound | options))
        self._made[source.name] = source
        return source

    def persona_cases(self, **options: Any) -> PersonaCases:
        """Make a `PersonaCases` bound to this service; `options` are its own."""
        from casesearch_pd.sources.persona.source import PersonaCases  # noqa: PLC0415

        bound: dict[str, Any] = {
            "token": self.token,
            "base_url": f"{self.url}/api/v1",
            "rate": self._source_rate,
        }
        source = PersonaCases(**(bound | options))
        self._made[source.name] = source
        return source


_RUNNING: WeakSet[LocalCases] = WeakSet()


@cache
def _watch_for_the_end() -> None:
    """Stop what still runs when the main thread ends: Python waits for threads before `atexit`."""
    threading.Thread(target=_stop_at_the_end, name="cases-end", daemon=True).start()


def _stop_at_the_end() -> None:
    threading.main_thread().join()
    for local in list(_RUNNING):
        local.stop()


def open_source(text: str) -> Source:
    """Open a source that is named in one line.

    Parameters
    ----------
    text
        ``connect://DOMAIN?region=eu-west-2``, ``persona://``, ``demo://connect``,
        ``demo://persona``, the path of a mirror's file, or the address of a service that was
        registered with `register_source`. Credentials come from the environment,
        never from the text.

    Raises
    ------
    FilterError
        If the text names no source.

    Examples
    --------
    >>> import casesearch_pd as cs
    >>> cs.count_cases(cs.open_source("demo://connect"))
    1000
    """
    if text.endswith(".duckdb") or Path(text).is_file():
        from casesearch_pd.mirror.mirror import Mirror  # noqa: PLC0415 - DuckDB is dear

        return Mirror(text)
    if (registered := open_registered(text)) is not None:
        return registered
    parts = urlsplit(text)
    named = dict(parse_qsl(parts.query, keep_blank_values=True))
    strange = sorted(named.keys() - _SAYS.get(parts.scheme, set()))
    if strange:
        raise FilterError(
            f"{strange} says nothing about a source; region= of a connect:// domain is all that "
            "fits, and credentials come from the environment"
        )
    match parts.scheme, parts.netloc + parts.path:
        case "demo", "connect":
            return _demo_cases().connect_cases()
        case "demo", "persona":
            return _demo_cases().persona_cases()
        case "connect", domain if domain and "/" not in domain:
            from casesearch_pd.sources.amazon_connect.source import ConnectCases  # noqa: PLC0415

            return ConnectCases(domain, region_name=named.get("region"))
        case "persona", "":
            from casesearch_pd.sources.persona.source import PersonaCases  # noqa: PLC0415

            return PersonaCases()
        case _:
            # What stands behind the scheme may be a token that was put into the wrong place.
            shown = f"{parts.scheme}://…" if parts.scheme else text
            raise FilterError(
                f"{shown!r} names no source; write 'connect://DOMAIN?region=REGION', 'persona://', "
                "'demo://connect', 'demo://persona' or the path of a mirror"
            )


_SAYS = {"connect": {"region"}}  # what may stand behind the question mark


@cache
def _demo_cases() -> LocalCases:
    """Start one service for all demo sources of this process; it ends with the process."""
    return LocalCases().start()


# --- python -m casesearch_pd ------------------------------------------------------------


def show(picture: Path = Path("casesearch-demo.png"), out: TextIO | None = None) -> None:
    """Read cases through both real clients; show what came and what was sent.

    Parameters
    ----------
    picture
        Where the picture of open cases by age goes.
    out
        Where the text goes; standard output if None.
    """
    say = partial(print, file=out or sys.stdout)
    with LocalCases() as local:
        say(f"An embedded case service answers at {local.url}; both clients are the real ones.")
        frame = _show_read(local, local.connect_cases(), "ConnectCases", _CONNECT_ASKED, say)
        _show_read(local, local.persona_cases(), "PersonaCases", _PERSONA_ASKED, say)
    figure = Figure(figsize=(8, 4.5), layout="constrained")
    CasesAccessor(frame).plot.ages(ax=figure.add_subplot())
    figure.savefig(picture, dpi=120)
    say(f"\nOpen cases by age: {picture.resolve()}")
    say(_NEXT)


_COLUMNS = ["case_id", "status", "created_at", "queue"]
_CONNECT_ASKED: dict[str, Any] = {"status": ["open", "pending"], "columns": _COLUMNS}
_PERSONA_ASKED: dict[str, Any] = {"created_at__gte": -timedelta(days=30), "columns": _COLUMNS}
_NEXT = """
Try next, in Python or a notebook:

    import casesearch_pd as cs
    source = cs.open_source("demo://connect")      # or cs.ConnectCases("your-domain-id")
    cs.list_fields(source)                          # what can be asked
    df = cs.read_cases(source, status="open", sort="-created_at", limit=20)
    df.cases.plot.ages()
"""


def _show_read(
    local: LocalCases, source: Source, name: str, asked: dict[str, Any], say: Callable[..., None]
) -> pd.DataFrame:
    before = len(local.requests)
    frame = read_cases(source, **asked)
    said = ", ".join(f"{key}={value!r}" for key, value in asked.items())
    say(f"\n--- {name}: read_cases(source, {said})")
    say(f"{len(frame)} cases of {count_cases(source)}")
    say(frame.head(8).to_string(max_colwidth=36))
    say("requests sent:")
    for request in local.requests[before:]:
        body = "" if request.body is None else json.dumps(request.body)
        say(f"  {request.method} {request.path} {body}"[:400])
    return frame
