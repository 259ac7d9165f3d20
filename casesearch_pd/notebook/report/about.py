"""What every part of a report is made of, and how a part tells what it lacks."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from casesearch_pd.errors import hearing
from casesearch_pd.notebook.cases import column_of, read_at, zone_of
from casesearch_pd.notebook.lines import shortened
from casesearch_pd.notebook.markup import element
from casesearch_pd.reading.provenance import read_back

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from xml.etree.ElementTree import Element

    import pandas as pd

    from casesearch_pd.notebook.names import Names

__all__ = ["About", "LacksError", "Part", "left_out", "note", "part", "shortened_cell"]

_LONGEST = 160  # characters of a cell


@dataclass(frozen=True)
class About:
    """What every part of a report is made of.

    Parameters
    ----------
    cases
        The frame.
    names
        Words for ids.
    told
        The frame's provenance.
    now
        When it was read, on the clocks of the frame's zone.
    """

    cases: pd.DataFrame
    names: Names
    told: dict[str, Any]
    now: pd.Timestamp

    @classmethod
    def of(cls, cases: pd.DataFrame, names: Names) -> About:
        """Take the frame and what it tells of itself."""
        zoned = "created_at" in cases.columns
        zone = zone_of(column_of(cases, "created_at")) if zoned else "UTC"
        return cls(cases, names, read_back(cases), read_at(cases).tz_convert(zone))


def note(text: str) -> Element:
    """Make a sentence that stands out."""
    return element("p", text, class_="note")


def shortened_cell(text: str) -> str:
    """Cut text that would make a table unreadable."""
    return shortened(text, _LONGEST)


class LacksError(Exception):
    """The cases do not hold what a part needs."""


@dataclass
class Part:
    """What a part of the report came to say besides itself.

    Parameters
    ----------
    notes
        What it warned of, each once.
    lacks
        Why it is not there; None if it is.
    """

    notes: tuple[str, ...] = ()
    lacks: str | None = None


@contextmanager
def part() -> Iterator[Part]:
    """Make a part: its warnings become notes of it, and a column that is missing its end."""
    made = Part()
    with hearing() as said:
        try:
            yield made
        except (KeyError, LacksError) as error:  # `column_of` says what is missing, and the way
            made.lacks = str(error.args[0])
            return
    made.notes = tuple(dict.fromkeys(said))


def left_out(parts: Mapping[str, Part]) -> Iterator[Element]:
    """Say which parts are not there, those of one reason together."""
    for lacks in dict.fromkeys(made.lacks for made in parts.values() if made.lacks):
        whats = ", ".join(what for what, made in parts.items() if made.lacks == lacks)
        yield note(f"Left out ({whats}): {lacks}")
