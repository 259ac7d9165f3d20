"""The fields of a source in, the texts out under which people find them; and back.

A field goes by its label. Where that would mean another field too, by label, letter case aside,
or by one of its names, the column stands behind it in brackets.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from casesearch_pd.errors import FilterError
from casesearch_pd.notebook.markup import harmless

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from casesearch_pd.query.schema import Field, Schema

__all__ = ["FieldLabels", "distinct", "on_one_line"]


def on_one_line(text: str) -> str:
    r"""Write a text as a box of one line shows it, without signs that only mislead.

    >>> on_one_line(" Order\nvalue ")
    'Order value'
    """
    return " ".join(harmless(text).split())


def distinct(labels: Sequence[str], names: Sequence[str], taken: Iterable[str] = ()) -> list[str]:
    """Tell things apart that bear the same label: their names stand behind it.

    Parameters
    ----------
    labels
        What they are called.
    names
        What tells them apart, in the same order.
    taken
        Texts that mean something else.

    Examples
    --------
    >>> distinct(["Open", "Status", "status"], ["open", "status", "status_2"])
    ['Open', 'Status (status)', 'status (status_2)']
    """
    lines = [on_one_line(label) for label in labels]
    counts = Counter(line.casefold() for line in lines)
    counts.update(taken)
    found: dict[str, None] = {}
    for line, name in zip(lines, names, strict=True):
        alone = bool(line) and counts[line.casefold()] == 1
        found[_unused(line if alone else f"{line} ({on_one_line(name)})".strip(), found)] = None
    return list(found)


def _unused(text: str, taken: dict[str, None]) -> str:
    number, found = 2, text
    while found in taken:
        number, found = number + 1, f"{text} #{number}"
    return found


class FieldLabels:
    """What the fields of a schema are called, and which field a text means.

    Parameters
    ----------
    schema
        The fields of a source.
    """

    def __init__(self, schema: Schema) -> None:
        self.schema = schema
        fields = schema.fields
        found = distinct(
            [item.label for item in fields],
            [item.column for item in fields],
            _names_of_others(fields),
        )
        self.texts = tuple(found)
        """The texts, in the order of the fields."""
        self._shown = dict(zip((item.column for item in fields), found, strict=True))
        self._meant = {text: item.column for text, item in zip(found, fields, strict=True)}
        self._folded = _folded(fields, self._meant)

    def text_of(self, name: str) -> str:
        """Tell what a field is called that a rule names; an unknown one by that name."""
        known = self.schema.find(name)
        return on_one_line(name) if known is None else self._shown[known.column]

    def meant(self, text: str) -> str:
        """Find the name of the field that a text means; the text itself if none is known."""
        plain = text.strip()
        known = self.schema.find(plain)
        if plain not in self._meant and known is not None:
            return known.column
        return self._meant.get(plain) or self._folded.get(plain.casefold()) or plain

    def field(self, name: str) -> Field | None:
        """Look up the field that a rule names, also one that the service did not tell of."""
        try:
            return self.schema.resolve(name) if name else None
        except FilterError:
            return None


def _names_of_others(fields: Sequence[Field]) -> list[str]:
    """List the names that would mean another field if they stood there as a label."""
    return [
        name
        for item in fields
        for name in {name.casefold() for name in item.names} - {on_one_line(item.label).casefold()}
    ]


def _folded(fields: Sequence[Field], texts: dict[str, str]) -> dict[str, str]:
    """Index texts, names and labels by their small letters, where these mean one field.

    A column's own name means it whoever else bears that label, as it does in filters.
    """
    said = [(text.casefold(), column) for text, column in texts.items()]
    said += [(name.casefold(), item.column) for item in fields for name in item.names]
    said += [(on_one_line(item.label).casefold(), item.column) for item in fields]
    columns = [(item.column.casefold(), item.column) for item in fields]
    return _alone(said) | _alone(columns)


def _alone(said: Iterable[tuple[str, str]]) -> dict[str, str]:
    meant: dict[str, set[str]] = {}
    for text, column in said:
        meant.setdefault(text, set()).add(column)
    return {text: next(iter(columns)) for text, columns in meant.items() if len(columns) == 1}
