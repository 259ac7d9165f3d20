"""Times on the wire and in the store: ISO 8601 text in, comparable text out.

A time is stored as 23 characters of UTC, ``2022-03-16T23:16:57.893``, without the zone's letter.
Such texts compare as instants, also with a finer one: ``…57.893`` < ``…57.8931`` < ``…57.894``.
"""

import re
from datetime import UTC, date, datetime, timedelta, timezone

_INSTANT = re.compile(
    r"(\d{4}-\d\d-\d\d)[Tt](\d\d:\d\d(?::\d\d)?)(?:[.,](\d+))?(?:([Zz])|([+-])(\d\d)(?::?(\d\d))?)",
    re.ASCII,
)
_DATE = re.compile(r"\d{4}-\d\d-\d\d", re.ASCII)


def stored_time(moment: datetime) -> str:
    """Return a moment as stored: UTC, cut (not rounded) to milliseconds."""
    utc = moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
    return utc.replace(tzinfo=None).isoformat(timespec="milliseconds")


def wire_time(stored: str) -> str:
    """Return a stored time as both services write it, ``2022-03-16T23:16:57.893Z``."""
    return stored + "Z"


def parse_instant(text: str) -> str:
    """Return ISO 8601 text with a zone as comparable text, every digit of its fraction kept.

    Raises
    ------
    ValueError
        No date, time and offset, or a moment that the calendar does not have.
    """
    match = _INSTANT.fullmatch(text)
    if match is None:
        raise ValueError(f"{text!r} is not an ISO 8601 date-time with an offset")
    day, clock, fraction, _, sign, hours, minutes = match.groups()
    if fraction and clock.count(":") == 1:
        raise ValueError(f"{text!r} has a fraction of a minute")
    moment = datetime.fromisoformat(f"{day}T{clock}") - _offset(sign, hours, minutes)
    digits = (fraction or "").rstrip("0").ljust(3, "0")
    return f"{moment.isoformat(timespec='seconds')}.{digits}"


def parse_date(text: str) -> str:
    """Return a calendar date, ``YYYY-MM-DD``, or raise ValueError."""
    if _DATE.fullmatch(text) is None:
        raise ValueError(f"{text!r} is not a date of the form YYYY-MM-DD")
    return date.fromisoformat(text).isoformat()


def _offset(sign: str | None, hours: str | None, minutes: str | None) -> timedelta:
    if sign is None or hours is None:
        return timedelta()
    span = timedelta(hours=int(hours), minutes=int(minutes or 0))
    if int(minutes or 0) >= 60:  # noqa: PLR2004 - minutes of an hour
        raise ValueError("the offset has more than 59 minutes")
    timezone(span)  # refuses a day and more
    return -span if sign == "-" else span
