"""The labels of fields and options on the screen, each of them unambiguous."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from casesearch_pd.errors import FilterError
from casesearch_pd.render.cell_text import single_line

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from casesearch_pd.query.schema import Field, Schema

__all__ = ["FieldLabels", "label_distinctly"]


class FieldLabels:
    """The labels of the fields of a schema, and the field that a text stands for.

    >>> from casesearch_pd.query.schema import Field, Schema
    >>> labels = FieldLabels(Schema((Field("opened_by", "openedBy", "Opened by", "text"),)))
    >>> labels.label_of("opened_by"), labels.column_of(" OPENED BY")
    ('Opened by', 'opened_by')
    """

    def __init__(self, schema: Schema) -> None:
        self.schema = schema
        fields = schema.fields
        labels = label_distinctly(
            [field.label for field in fields],
            [field.column for field in fields],
            _names_of_other_fields(fields),
        )
        self.labels = tuple(labels)
        """The labels, in the order of the fields."""
        columns = [field.column for field in fields]
        self._labels_by_column = dict(zip(columns, labels, strict=True))
        self._columns_by_label = dict(zip(labels, columns, strict=True))
        self._columns_by_folded_text = _columns_by_folded_text(fields, self._columns_by_label)

    def label_of(self, name: str) -> str:
        """Return the label of the field that a rule names; an unknown field keeps that name."""
        field = self.schema.find(name)
        return single_line(name) if field is None else self._labels_by_column[field.column]

    def column_of(self, text: str) -> str:
        """Return the name of the field that a text stands for, or the text if none is known."""
        stripped = text.strip()
        field = self.schema.find(stripped)
        # A label wins over the name of another field only if it was written exactly.
        if stripped not in self._columns_by_label and field is not None:
            return field.column
        return (
            self._columns_by_label.get(stripped)
            or self._columns_by_folded_text.get(stripped.casefold())
            or stripped
        )

    def field(self, name: str) -> Field | None:
        """Return the field that a rule names, also one that is missing from the schema."""
        try:
            return self.schema.resolve(name) if name else None
        except FilterError:
            return None


def label_distinctly(
    labels: Sequence[str], names: Sequence[str], reserved: Iterable[str] = ()
) -> list[str]:
    """Return labels of which no two are the same: duplicates are followed by their names.

    >>> label_distinctly(["Open", "Status", "status"], ["open", "status", "status_2"])
    ['Open', 'Status (status)', 'status (status_2)']
    """
    lines = [single_line(label) for label in labels]
    counts = Counter(line.casefold() for line in lines)
    counts.update(reserved)
    # A dict keeps the order and makes the test for a repeated label cheap.
    distinct: dict[str, None] = {}
    for line, name in zip(lines, names, strict=True):
        is_unique = bool(line) and counts[line.casefold()] == 1
        label = line if is_unique else f"{line} ({single_line(name)})".strip()
        distinct[_numbered(label, distinct)] = None
    return list(distinct)


def _numbered(label: str, others: dict[str, None]) -> str:
    """Return a label, followed by a number if another label is the same."""
    number, candidate = 2, label
    while candidate in others:
        number, candidate = number + 1, f"{label} #{number}"
    return candidate


def _names_of_other_fields(fields: Sequence[Field]) -> list[str]:
    """Return the names that would stand for another field if a label had the same text."""
    return [
        name
        for field in fields
        for name in {name.casefold() for name in field.names}
        - {single_line(field.label).casefold()}
    ]


def _columns_by_folded_text(
    fields: Sequence[Field], columns_by_label: dict[str, str]
) -> dict[str, str]:
    """Return the column for every casefolded label and name that stands for one field only."""
    pairs = [(label.casefold(), column) for label, column in columns_by_label.items()]
    pairs += [(name.casefold(), field.column) for field in fields for name in field.names]
    pairs += [(single_line(field.label).casefold(), field.column) for field in fields]
    columns = [(field.column.casefold(), field.column) for field in fields]
    # As in filters, the name of a column wins over another field that has it as its label.
    return _unambiguous(pairs) | _unambiguous(columns)


def _unambiguous(pairs: Iterable[tuple[str, str]]) -> dict[str, str]:
    columns_by_text: dict[str, set[str]] = {}
    for text, column in pairs:
        columns_by_text.setdefault(text, set()).add(column)
    return {text: min(columns) for text, columns in columns_by_text.items() if len(columns) == 1}
