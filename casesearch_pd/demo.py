"""The emulator together with the real clients: `LocalCases`, `open_source` and the demo.

`LocalCases` is an emulator of both services with sources bound to it, `open_source` opens a source
by its address, and `show` is the output of ``python -m casesearch_pd``.
"""

from __future__ import annotations

import json
import math
import os
import sys
import threading
from datetime import timedelta
from difflib import get_close_matches
from functools import cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self, TextIO
from urllib.parse import parse_qsl, urlsplit
from weakref import WeakSet

import pandas as pd
from matplotlib.figure import Figure

from casesearch_pd.accessor import CasesAccessor
from casesearch_pd.emulator import CaseService, Fault
from casesearch_pd.errors import FilterError
from casesearch_pd.reading.api import count_cases, read_cases
from casesearch_pd.reading.atomic import atomic_write, expand
from casesearch_pd.reading.provenance import zone_of_frame
from casesearch_pd.sources.registry import open_registered

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

    import boto3

    from casesearch_pd.sources.amazon_connect.source import ConnectCases
    from casesearch_pd.sources.base import Source
    from casesearch_pd.sources.persona.source import PersonaCases

__all__ = ["Fault", "LocalCases", "open_source", "show"]


class LocalCases(CaseService):
    """An emulator of both services on this machine, with sources bound to it.

    Parameters
    ----------
    cases
        Number of cases to generate, or a DataFrame of your own. Columns named as in this package's
        vocabulary (``case_id``, ``status``, ``created_at``, …) become system fields, all others
        custom fields of a type for their dtype; named levels of the index are columns. Naive times
        are in the time zone of the read that the DataFrame comes from, or of its other times.
    seed
        Seed of the generated cases: the same seed gives the same cases.
    now
        The service's time at its start; the machine's if None.
    rate
        Requests per second that the service accepts; None for no limit.
    **options
        Behavior that the services' documentation leaves open, ``faults=[Fault(...)]`` and
        ``latency=``: as in `casesearch_pd.emulator.CaseService`.

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
        if isinstance(cases, pd.DataFrame):
            options = {"tz": zone_of_frame(cases)} | options
        super().__init__(cases, seed=seed, now=now, rate=rate, **options)
        self._source_rate = math.inf if rate is None else rate
        # A reference keeps a source alive: `refresh` finds it again by the frame's provenance.
        self._sources: dict[str, Source] = {}

    def start(self) -> Self:
        """Start to answer requests and return the service itself; it ends with the process."""
        _RUNNING.add(self)
        _start_watcher()
        return super().start()

    def connect_cases(self, **options: Any) -> ConnectCases:
        """Return a `ConnectCases` bound to this service; `options` are those of the class."""
        from casesearch_pd.sources.amazon_connect.source import ConnectCases  # noqa: PLC0415

        defaults: dict[str, Any] = {
            "boto3_session": _isolated_session(self.region),
            "endpoint_url": self.url,
            "rate": self._source_rate,
        }
        source = ConnectCases(self.domain_id, **(defaults | options))
        self._sources[source.name] = source
        return source

    def persona_cases(self, **options: Any) -> PersonaCases:
        """Return a `PersonaCases` bound to this service; `options` are those of the class."""
        from casesearch_pd.sources.persona.source import PersonaCases  # noqa: PLC0415

        defaults: dict[str, Any] = {
            "token": self.token,
            "base_url": f"{self.url}/api/v1",
            "rate": self._source_rate,
        }
        source = PersonaCases(**(defaults | options))
        self._sources[source.name] = source
        return source


def _isolated_session(region: str) -> boto3.Session:
    """Return a session of boto3 that reads neither the environment nor the user's AWS files."""
    import boto3  # noqa: PLC0415 - slow to import, and not needed for Persona
    import botocore.session  # noqa: PLC0415

    # A profile that is gone, a broken file or an unknown mode would end each read, although the
    # emulator needs no account. Without its names a variable of botocore has its default only.
    variables = {
        name: (None, None, default, convert)
        for name, (_, _, default, convert) in botocore.session.Session.SESSION_VARIABLES.items()
    }
    for name in ("config_file", "credentials_file"):
        variables[name] = (None, None, os.devnull, None)
    return boto3.Session(
        aws_access_key_id="LOCAL",
        aws_secret_access_key="local",  # noqa: S106 - valid nowhere else
        region_name=region,
        botocore_session=botocore.session.Session(session_vars=variables),
    )


_RUNNING: WeakSet[LocalCases] = WeakSet()


@cache
def _start_watcher() -> None:
    # Python waits for threads before it calls `atexit` functions, so these would come too late: a
    # script that does not stop its service would never end.
    threading.Thread(target=_stop_with_main_thread, name="cases-end", daemon=True).start()


def _stop_with_main_thread() -> None:
    threading.main_thread().join()
    for local in list(_RUNNING):
        local.stop()


# Parameters after the question mark, by scheme.
_PARAMETERS = {"connect": ["region"], "persona": [], "demo": []}


def open_source(text: str | Path) -> Source:
    """Open a source by its address.

    Parameters
    ----------
    text
        ``connect://DOMAIN?region=eu-west-2``, ``persona://``, ``demo://connect``,
        ``demo://persona``, the path of a mirror's file, or the address of a service that was
        registered with `register_source`. Credentials come from the environment, never from the
        text.

    Returns
    -------
    Source
        A `ConnectCases`, `PersonaCases` or `Mirror`, or a source of the registered service.

    Raises
    ------
    FilterError
        If the text is not the address of a source.

    Examples
    --------
    >>> import casesearch_pd as cs
    >>> cs.count_cases(cs.open_source("demo://connect"))
    1000
    """
    if not isinstance(text, (str, Path)):
        raise FilterError(f"a source's address must be text, got {text!r}; {_ADDRESSES}")
    text = str(text)
    if text.endswith(".duckdb") or Path(expand(text)).is_file():
        from casesearch_pd.mirror.mirror import Mirror  # noqa: PLC0415 - DuckDB is slow to import

        return Mirror(text)
    if (registered := open_registered(text)) is not None:
        return registered
    address = urlsplit(text)
    parameters = dict(parse_qsl(address.query, keep_blank_values=True))
    _check_parameters(address.scheme, list(parameters))
    match address.scheme, address.netloc + address.path:
        case "demo", "connect":
            return _demo_cases().connect_cases()
        case "demo", "persona":
            return _demo_cases().persona_cases()
        case "connect", domain if domain and "/" not in domain:
            from casesearch_pd.sources.amazon_connect.source import ConnectCases  # noqa: PLC0415

            return ConnectCases(domain, region_name=parameters.get("region"))
        case "persona", "":
            from casesearch_pd.sources.persona.source import PersonaCases  # noqa: PLC0415

            return PersonaCases()
        case _:
            raise _unknown_address(text, address.scheme)


_ADDRESSES = (
    "use 'connect://DOMAIN?region=REGION', 'persona://', 'demo://connect', 'demo://persona', the "
    "path of a mirror, or the address of a service registered with register_source"
)


def _check_parameters(scheme: str, names: list[str]) -> None:
    for name in names:
        if scheme in _PARAMETERS and name not in _PARAMETERS[scheme]:
            allowed = "".join(f"{one}= only" for one in _PARAMETERS[scheme]) or "no parameters"
            raise FilterError(
                f"unknown parameter {name!r}; {scheme}:// accepts {allowed}, and credentials come "
                "from the environment"
            )


def _unknown_address(text: str, scheme: str) -> FilterError:
    # The text after the scheme may be a token in the wrong place, so it is not repeated.
    address = f"{scheme}://…" if scheme else text
    near = get_close_matches(scheme, _PARAMETERS, 1) if scheme not in _PARAMETERS else []
    hint = f"did you mean {near[0]}://? Otherwise " if near else ""
    return FilterError(f"{address!r} is not the address of a source; {hint}{_ADDRESSES}")


@cache
def _demo_cases() -> LocalCases:
    """Start one service for all demo sources of this process; it ends with the process."""
    return LocalCases().start()


def show(picture: Path = Path("casesearch-demo.png"), out: TextIO | None = None) -> None:
    """Read cases through both real clients; print the cases and the requests.

    Parameters
    ----------
    picture
        The file for a plot of open cases by age.
    out
        The stream for the text; standard output if None.
    """
    write = partial(print, file=out or sys.stdout)
    with LocalCases() as local:
        write(f"An emulator of both services runs at {local.url}; the clients are the real ones.")
        frame = _show_read(local, local.connect_cases(), "ConnectCases", _CONNECT_QUERY, write)
        _show_read(local, local.persona_cases(), "PersonaCases", _PERSONA_QUERY, write)
    figure = Figure(figsize=(8, 4.5), layout="constrained")
    CasesAccessor(frame).plot.ages(ax=figure.add_subplot())
    with atomic_write(picture) as (_, temporary):
        figure.savefig(temporary, dpi=120)
    write(f"\nPlot of the open cases by age: {picture.resolve()}")
    write(_NEXT_STEPS)


_LINE_LENGTH = 400  # characters of a printed request
_COLUMNS = ["case_id", "status", "created_at", "queue"]
_CONNECT_QUERY: dict[str, Any] = {"status": ["open", "pending"], "columns": _COLUMNS}
_PERSONA_QUERY: dict[str, Any] = {"created_at__gte": -timedelta(days=30), "columns": _COLUMNS}
_NEXT_STEPS = """
Try next, in Python or a notebook:

    import casesearch_pd as cs
    source = cs.open_source("demo://connect")      # or cs.ConnectCases("your-domain-id")
    cs.list_fields(source)                          # the fields that can be filtered
    df = cs.read_cases(source, status="open", sort="-created_at", limit=20)
    df.cases.plot.ages()
"""


def _show_read(
    local: LocalCases, source: Source, name: str, query: dict[str, Any], write: Callable[..., None]
) -> pd.DataFrame:
    previous = len(local.requests)
    frame = read_cases(source, **query)
    requests = local.requests[previous:]  # before the count sends its own
    arguments = ", ".join(f"{key}={value!r}" for key, value in query.items())
    write(f"\n--- {name}: read_cases(source, {arguments})")
    write(f"{len(frame):,} of {count_cases(source):,} cases; the first {len(frame.head(8))}:")
    write(frame.head(8).to_string(max_colwidth=36))
    write("requests sent:")
    for request in requests:
        parameters = "&".join(
            f"{key}={item}" for key, items in request.query.items() for item in items
        )
        body = "" if request.body is None else json.dumps(request.body)
        line = f"  {request.method} {request.path}{parameters and '?' + parameters} {body}".rstrip()
        write(line if len(line) <= _LINE_LENGTH else line[:_LINE_LENGTH] + " …")
    return frame
