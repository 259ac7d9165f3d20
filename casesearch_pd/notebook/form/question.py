"""Everything that a form asks: the tree, and the options of the read; as arguments and as JSON."""

from __future__ import annotations

import keyword
import unicodedata
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

from casesearch_pd.errors import FilterError
from casesearch_pd.notebook.form import tree
from casesearch_pd.notebook.form.meaning import from_expression, is_finished, to_expression
from casesearch_pd.notebook.form.tree import Group, Rule
from casesearch_pd.query.expr import TRUE
from casesearch_pd.reading.plan import OPTIONS, ask, written

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from casesearch_pd.query.expr import Expression
    from casesearch_pd.query.schema import Schema
    from casesearch_pd.sources.contract import Source

__all__ = ["EVERYTHING", "Question"]

EVERYTHING = Group()
"""The tree without rules."""

_FORMAT = 1
_LOOKUPS = {
    "eq": "",
    "in": "",
    "ne": "__ne",
    "not in": "__ne",
    "missing": "__isna",
    "there": "__isna",
    "not contains": None,  # no lookup says so
}


@dataclass(frozen=True)
class Question:
    """What a form asks.

    Parameters
    ----------
    tree
        The rules.
    search
        A text for the service's own full-text search.
    tags
        Tags that a case must bear: ``key=value`` on Amazon Connect, text on Persona.
    columns
        The columns to read; None for every active field.
    sort
        Columns, those with a ``-`` descending.
    limit
        Rows at most.
    tz
        The zone of naive times.
    """

    tree: Group = EVERYTHING
    search: str | None = None
    tags: tuple[str, ...] = ()
    columns: tuple[str, ...] | None = None
    sort: tuple[str, ...] = ()
    limit: int | None = None
    tz: str = "UTC"

    @classmethod
    def of(
        cls,
        source: Source,
        where: Expression | Mapping[str, object] | None,
        filters: Mapping[str, object],
        *,
        tags: Mapping[str, str] | Iterable[str] | str | None = None,
        columns: Sequence[str] | None = None,
        sort: str | Sequence[str] | None = None,
        **options: Any,
    ) -> Question:
        """Take what `read_cases` takes.

        Raises
        ------
        FilterError
            If it cannot be asked, or the form has no rows for it.
        """
        held = dict(tags) if isinstance(tags, Mapping) else _listed(tags)
        asked = ask(source, where, filters, tags=held, columns=columns, sort=sort, **options)
        said = written(where, filters, None, source.schema)
        return cls(
            tree=from_expression(said, source.schema),
            tags=_as_lines(held),
            columns=None if columns is None else tuple(item.column for item in asked.columns),
            sort=() if sort is None else tuple(_sorted_by(asked.sort)),
            **options,
        )

    def arguments(self, schema: Schema) -> dict[str, Any]:
        """List what `read_cases` is given besides the source: these make the same form again."""
        options = {
            "search": self.search,
            "tags": self._tags(schema),
            "columns": None if self.columns is None else list(self.columns),
            "sort": self.sort[0] if len(self.sort) == 1 else list(self.sort) or None,
            "limit": self.limit,
            "tz": None if self.tz == "UTC" else self.tz,
        }
        given = {name: value for name, value in options.items() if value is not None}
        flat = _keywords(self.tree, schema)
        if flat is not None:
            return flat | given
        where = to_expression(self.tree)
        return ({} if where == TRUE else {"where": where}) | given

    def _tags(self, schema: Schema) -> dict[str, str] | list[str] | None:
        if not self.tags:
            return None
        if schema.resolve("tags").type != "tags":
            return list(self.tags)
        pairs = [line.partition("=") for line in self.tags]
        bare = next((key for key, sign, _ in pairs if not sign), None)
        if bare is not None:
            raise FilterError(f"a tag has a key and a value here; write {bare}=value")
        found = {key: value for key, _, value in pairs}
        if len(found) < len(pairs):
            raise FilterError("a tag has one value; ask for others with rows for tags")
        return found

    def to_json(self) -> dict[str, Any]:
        """Write everything, unfinished rows included."""
        return {"format": _FORMAT} | asdict(self) | {"tree": tree.to_json(self.tree)}

    @classmethod
    def from_json(cls, told: object) -> Question:
        """Read what `to_json` wrote.

        Raises
        ------
        FilterError
            If it is something else, or was written by a later version.
        """
        if not isinstance(told, Mapping) or "format" not in told:
            raise FilterError("this is no saved form; CaseForm.save writes one")
        if told["format"] != _FORMAT:
            raise FilterError(
                f"this form was saved in format {told['format']!r}, and this version reads "
                f"{_FORMAT}; update casesearch_pd"
            )
        read = cls(tree=tree.from_json(told.get("tree")))
        return replace(read, **_options(told))


def _options(told: Mapping[str, Any]) -> dict[str, Any]:
    """Take the options of a saved form, each of its own type."""
    found: dict[str, Any] = {}
    for name, fits in _STORED.items():
        value = told.get(name)
        if value is not None and not fits(value):
            raise FilterError(f"{name}={value!r} of a saved form is not what it saves")
        if value is not None:
            found[name] = tuple(value) if isinstance(value, list) else value
    return found


def _is_text(value: object) -> bool:
    return isinstance(value, str)


def _are_texts(value: object) -> bool:
    return isinstance(value, list) and all(map(_is_text, value))


def _is_number(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


_STORED = {
    "search": _is_text,
    "tags": _are_texts,
    "columns": _are_texts,
    "sort": _are_texts,
    "limit": _is_number,
    "tz": _is_text,
}


def _listed(tags: Iterable[str] | str | None) -> list[str] | None:
    if tags is None:
        return None
    return [tags] if isinstance(tags, str) else list(tags)


def _as_lines(tags: dict[str, str] | list[str] | None) -> tuple[str, ...]:
    if tags is None:
        return ()
    lines = [f"{key}={value}" for key, value in tags.items()] if isinstance(tags, dict) else tags
    broken = next((line for line in lines if "\n" in line or not line), None)
    if broken is not None:
        raise FilterError(f"the form has one line for a tag, which {broken!r} does not fit into")
    return tuple(lines)


def _sorted_by(sort: Iterable[Any]) -> list[str]:
    return [("-" if item.descending else "") + item.field.column for item in sort]


def _keywords(group: Group, schema: Schema) -> dict[str, Any] | None:
    """Write the rows as keywords, if they are nothing but conditions side by side."""
    if group.negated or (group.combinator == "or" and len(group.members) > 1):
        return None
    found: dict[str, Any] = {}
    for member in group.members:
        if isinstance(member, Group):
            return None
        if not is_finished(member):
            continue
        name = _keyword(member, schema)
        if name is None or name in found:
            return None
        found[name] = _argument(member)
    return found


def _keyword(rule: Rule, schema: Schema) -> str | None:
    """Name the keyword of a rule; None if no keyword says it."""
    lookup = _LOOKUPS.get(rule.operator, f"__{rule.operator}")
    if lookup is None:
        return None
    name = f"{rule.field}{lookup}"
    # Python spells a keyword in its own way (NFKC), and a field may be named like a lookup.
    typed = name.isidentifier() and not keyword.iskeyword(name)
    if not typed or unicodedata.normalize("NFKC", name) != name or name in OPTIONS:
        return None
    known = schema.find(name) is not None
    clear = known if not lookup else not known
    return name if clear or (not lookup and "__" not in name) else None


def _argument(rule: Rule) -> Any:
    match rule.operator:
        case "missing" | "there":
            return rule.operator == "missing"
        case "in" | "not in":
            return rule.value[0] if len(rule.value) == 1 else list(rule.value)
        case _:
            return rule.value
