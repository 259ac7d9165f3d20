"""``python -m casesearch_pd.emulator``: the case service on a port, for clients in any language."""

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
    given = _parser().parse_args(arguments)
    cases = given.cases if given.data is None else pd.read_parquet(given.data)
    stop = threading.Event()
    with (
        _interrupts(stop),
        CaseService(cases, seed=given.seed, port=given.port, **dict(given.set)) as service,
    ):
        sys.stdout.write(_instructions(service))
        sys.stdout.flush()
        stop.wait(given.seconds)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m casesearch_pd.emulator", description=__doc__)
    parser.add_argument("--cases", type=int, default=1000, help="how many cases to generate")
    parser.add_argument("--data", type=Path, help="a Parquet file of cases to serve instead")
    parser.add_argument("--seed", type=int, default=0, help="seed of the generated cases")
    parser.add_argument(
        "--port", type=int, default=8080, help="port on 127.0.0.1, 0 for a free one"
    )
    parser.add_argument("--seconds", type=float, help="stop by itself after so long")
    parser.add_argument(
        "--set",
        type=_choice,
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="a choice where the documents leave it open, such as unset=null or rate=2",
    )
    return parser


def _choice(text: str) -> tuple[str, Any]:
    name, _, value = text.partition("=")
    with contextlib.suppress(ValueError):
        parsed = json.loads(value)
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
def _interrupts(stop: threading.Event) -> Any:
    """Let Ctrl-C and a polite kill end the service instead of a traceback."""
    kept = {
        one: signal.signal(one, lambda *_: stop.set()) for one in (signal.SIGINT, signal.SIGTERM)
    }
    try:
        yield
    finally:
        for one, handler in kept.items():
            signal.signal(one, handler)


if __name__ == "__main__":
    main()
