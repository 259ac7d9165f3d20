"""Times as both wires spell them: instants go out in milliseconds, the service's clock comes in."""

from __future__ import annotations

from email.utils import parsedate_to_datetime
from functools import lru_cache
from typing import TYPE_CHECKING

import pandas as pd

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["format_timestamp", "served_at"]


def format_timestamp(moment: pd.Timestamp, op: str) -> str:
    """Write an instant in the wires' milliseconds, rounded so that no case is lost.

    >>> moment = pd.Timestamp("2026-03-14T09:30:00.000500Z")
    >>> instant(moment, "gte"), instant(moment, "lt")
    ('2026-03-14T09:30:00.000Z', '2026-03-14T09:30:00.001Z')
    """
    coarse = moment.floor("ms") if op in {"gt", "gte"} else moment.ceil("ms")
    return coarse.strftime("%Y-%m-%dT%H:%M:%S.") + f"{coarse.microsecond // 1000:03d}Z"


def served_at(headers: Mapping[str, str]) -> pd.Timestamp:
    """Read the service's clock off an answer; ours where it does not tell."""
    try:
        return _clock(headers["date"])
    except (KeyError, ValueError, TypeError):
        return pd.Timestamp.now("UTC").floor("s")


@lru_cache(maxsize=4)  # many answers come within one second
def _clock(date: str) -> pd.Timestamp:
    return pd.Timestamp(parsedate_to_datetime(date)).tz_convert("UTC")
