"""Conditions on cases: SQL text and its values, combined by and, or, not.

A comparison with a missing value is NULL in SQL, which WHERE takes for false; only under ``not``
does the difference show, so that is where it is made two-valued.
"""

from collections.abc import Sequence
from dataclasses import dataclass

SqlValue = str | int | float | None


@dataclass(frozen=True, slots=True)
class Where:
    """A condition in SQL and the values of its placeholders."""

    sql: str
    values: tuple[SqlValue, ...] = ()


EVERYTHING = Where("1")
NOTHING = Where("0")


def all_of(parts: Sequence[Where]) -> Where:
    """Return the condition that holds where every part does; no parts hold everywhere."""
    return _joined(parts, " AND ") if parts else EVERYTHING


def any_of(parts: Sequence[Where]) -> Where:
    """Return the condition that holds where some part does; no parts hold nowhere."""
    return _joined(parts, " OR ") if parts else NOTHING


def negated(part: Where) -> Where:
    """Return the condition that holds exactly where the part does not."""
    return Where(f"({part.sql}) IS NOT TRUE", part.values)


def _joined(parts: Sequence[Where], word: str) -> Where:
    if len(parts) == 1:
        return parts[0]
    sql = word.join(f"({part.sql})" for part in parts)
    return Where(sql, tuple(value for part in parts for value in part.values))
