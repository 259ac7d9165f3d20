"""Times on the wire: format the bounds of filters, parse the cells and the clock of responses."""

from __future__ import annotations

from contextlib import suppress
from datetime import date, datetime
from email.utils import parsedate_to_datetime
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import pandas as pd

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = [
    "EPOCH",
    "MILLISECOND",
    "MIN_TIME",
    "format_timestamp",
    "parse_date_header",
    "parse_timestamp",
    "times_as_text",
    "to_milliseconds",
]

EPOCH = pd.Timestamp(0, tz="UTC")
MIN_TIME = pd.Timestamp.min.tz_localize("UTC")
MILLISECOND = pd.Timedelta(1, "ms")  # the precision of times in requests
_USUAL_LENGTH = len("2026-03-14T09:30:00.000Z")


def format_timestamp(timestamp: pd.Timestamp, op: str) -> str:
    """Return a bound in the milliseconds of both services, rounded so that no case is lost.

    >>> timestamp = pd.Timestamp("2026-03-14T09:30:00.000500Z")
    >>> format_timestamp(timestamp, "gte"), format_timestamp(timestamp, "lt")
    ('2026-03-14T09:30:00.000Z', '2026-03-14T09:30:00.001Z')
    """
    bound = timestamp.floor("ms") if op in {"gt", "gte"} else timestamp.ceil("ms")
    return bound.strftime("%Y-%m-%dT%H:%M:%S.") + f"{bound.microsecond // 1000:03d}Z"


def to_milliseconds(timestamp: pd.Timestamp) -> pd.Timestamp:
    """Return a time rounded down to milliseconds, stored in microseconds."""
    return timestamp.floor("ms").as_unit("us")


def parse_timestamp(text: Any) -> pd.Timestamp | None:
    """Return the UTC time of a cell in microseconds; None if the cell holds no time."""
    # The form that both services use is parsed ten times as fast by Python itself.
    if isinstance(text, str) and len(text) == _USUAL_LENGTH and text[-1] == "Z":
        with suppress(ValueError):
            return pd.Timestamp(datetime.fromisoformat(text)).as_unit("us")
    try:
        timestamp = pd.to_datetime(text, format="ISO8601", utc=True)
        return None if pd.isna(timestamp) else pd.Timestamp(timestamp).floor("us").as_unit("us")
    except (ValueError, TypeError, OverflowError):
        return None


def times_as_text(cells: list[Any]) -> list[Any]:
    """Return a column whose Python dates and times are ISO 8601 text; naive times are UTC.

    >>> times_as_text([datetime(2026, 3, 14, 9, 30), "2026-03-14T09:30:00Z", None])
    ['2026-03-14T09:30:00+00:00', '2026-03-14T09:30:00Z', None]
    """
    return [_as_text(cell) if isinstance(cell, date) else cell for cell in cells]


def _as_text(cell: date) -> str | None:
    if pd.isna(cell):
        return None  # NaT is an instance of datetime
    if isinstance(cell, datetime) and cell.tzinfo is None:
        return f"{cell.isoformat()}+00:00"
    return cell.isoformat()


def parse_date_header(headers: Mapping[str, str]) -> pd.Timestamp:
    """Return the service's clock from the ``Date`` header; this machine's if there is none."""
    try:
        return _parse_date(headers["date"])
    except (KeyError, ValueError, TypeError):
        return pd.Timestamp.now("UTC").floor("s")


@lru_cache(maxsize=4)  # many responses arrive within one second
def _parse_date(text: str) -> pd.Timestamp:
    return pd.Timestamp(parsedate_to_datetime(text)).tz_convert("UTC")
