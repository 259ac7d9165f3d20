"""``python -m casesearch_pd.emulator``: the emulator on a port, for clients in any language."""

import argparse
import contextlib
import json
import signal
import sys
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from casesearch_pd.emulator.options import check_option_names
from casesearch_pd.emulator.service import CaseService

_TEMPLATE = """\
{service}

boto3
  client = boto3.client("connectcases", region_name="{region}", endpoint_url="{url}",
                        aws_access_key_id="any", aws_secret_access_key="any")
  client.search_cases(domainId="{domain}")
aws CLI
  AWS_ACCESS_KEY_ID=any AWS_SECRET_ACCESS_KEY=any aws connectcases search-cases \\
    --domain-id {domain} --region {region} --endpoint-url {url}
curl
  curl -X POST {url}/api/v1/cases/search -H "Content-Type: application/json" \\
    -H "Authorization: Bearer {token}" -d '{{"page": {{"size": 1}}}}'

Stop with Ctrl-C.
"""


def main(arguments: Sequence[str] | None = None) -> None:
    """Serve until interrupted, or for a number of seconds."""
    parser = _parser()
    settings = parser.parse_args(arguments)
    try:
        cases = settings.cases if settings.data is None else _read_cases(settings.data)
        options = {"tz": settings.tz} | dict(settings.set)
        service = CaseService(cases, seed=settings.seed, port=settings.port, **options).start()
    except (ValueError, OSError) as error:
        parser.error(str(error))
    stop = threading.Event()
    with _stop_on_signals(stop), service:
        sys.stdout.write(_instructions(service))
        # A parent process may wait for the first line to learn the port.
        sys.stdout.flush()
        stop.wait(settings.seconds)


def _read_cases(path: Path) -> pd.DataFrame:
    try:
        return pd.read_parquet(path)
    except (ValueError, OSError) as error:
        raise ValueError(f"cannot read {str(path)!r} as Parquet: {error}") from error


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m casesearch_pd.emulator",
        description="Serve Amazon Connect Cases and Persona on 127.0.0.1 for clients of any kind.",
    )
    parser.add_argument("--cases", type=int, default=1000, help="number of cases to generate")
    parser.add_argument("--data", type=Path, help="Parquet file of cases to serve instead")
    parser.add_argument("--tz", default="UTC", help="time zone of the file's times without one")
    parser.add_argument("--seed", type=int, default=0, help="seed of the generated cases")
    parser.add_argument(
        "--port", type=int, default=8080, help="port on 127.0.0.1, 0 for a free one"
    )
    parser.add_argument("--seconds", type=float, help="stop after this number of seconds")
    parser.add_argument(
        "--set",
        type=_option,
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="an option of the emulator, such as unset=null or rate=2; may be repeated",
    )
    return parser


def _option(text: str) -> tuple[str, Any]:
    name, separator, value = text.partition("=")
    if not separator:
        raise argparse.ArgumentTypeError(f"expected NAME=VALUE, got {text!r}")
    try:
        check_option_names([name])
    except TypeError as error:
        raise argparse.ArgumentTypeError(str(error)) from error
    with contextlib.suppress(ValueError):
        parsed = json.loads(value)
        # "null" is a value of `unset`. An option is None by default, so it need not be set to None.
        return name, value if parsed is None else parsed
    return name, value


def _instructions(service: CaseService) -> str:
    return _TEMPLATE.format(
        service=service,
        url=service.url,
        region=service.region,
        domain=service.domain_id,
        token=service.token,
    )


@contextlib.contextmanager
def _stop_on_signals(stop: threading.Event) -> Any:
    """Let SIGINT (Ctrl-C) and SIGTERM set an event instead of raising KeyboardInterrupt."""
    handlers = {
        number: signal.signal(number, lambda *_: stop.set())
        for number in (signal.SIGINT, signal.SIGTERM)
    }
    try:
        yield
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)


if __name__ == "__main__":
    main()
