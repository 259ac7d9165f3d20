"""What every part of a report is made of, and how a part tells what it lacks."""

from __future__ import annotations

import warnings
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from casesearch_pd.notebook.cases import column_of, read_at, zone_of
from casesearch_pd.notebook.report.markup import element
from casesearch_pd.reading.provenance import read_back

if TYPE_CHECKING:
    from collections.abc import Iterator
    from xml.etree.ElementTree import Element

    import pandas as pd

    from casesearch_pd.notebook.names import Names

__all__ = ["About", "Part", "note", "part", "shortened_cell"]

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
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 1]}…"


@dataclass
class Part:
    """What a part of the report came to say besides itself.

    Parameters
    ----------
    notes
        Its warnings, and why it is not there.
    failed
        Whether it is not there.
    """

    notes: list[str] = field(default_factory=list)
    failed: bool = False

    @property
    def elements(self) -> list[Element]:
        """All notes, each once."""
        return [note(text) for text in dict.fromkeys(self.notes)]


@contextmanager
def part(what: str) -> Iterator[Part]:
    """Make a part: each warning becomes a note of it, and so does a column that is missing."""
    made = Part()
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        try:
            yield made
        except KeyError as error:  # it says which column is missing, and how to get it
            made.failed = True
            made.notes.append(f"{what} is left out: {error.args[0]}")
    made.notes[:0] = [str(warning.message) for warning in said]
