"""Everything that a form asks: the tree, and the options of the read; as arguments and as JSON."""

from __future__ import annotations

import json
import keyword
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from reprlib import repr as short
from typing import TYPE_CHECKING, Any

from casesearch_pd.errors import FilterError
from casesearch_pd.export.csv_excel import replace_file
from casesearch_pd.form.model import tree
from casesearch_pd.form.model.meaning import from_expression, name_of, to_expression
from casesearch_pd.form.model.tree import Group
from casesearch_pd.query.coercion import is_collection
from casesearch_pd.query.expressions import And, Compare, Not
from casesearch_pd.query.serialization import filter_from_json
from casesearch_pd.reading.plan import OPTIONS, build_query, parse_filter

if TYPE_CHECKING:
    import os
    from collections.abc import Iterable, Sequence

    from casesearch_pd.query.expressions import Expression
    from casesearch_pd.query.schema import Field, Schema
    from casesearch_pd.sources.base import Sort, Source

__all__ = ["EVERYTHING", "FormQuery", "form_query", "load", "require_source_match", "save"]

EVERYTHING = Group()
"""The tree without rules."""

_FORMAT = 1


@dataclass(frozen=True)
class FormQuery:
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
    ) -> FormQuery:
        """Take what `read_cases` takes.

        Raises
        ------
        FilterError
            If it cannot be asked, or the form has no rows for it.
        """
        held = dict(tags) if isinstance(tags, Mapping) else _listed(tags)
        asked = build_query(
            source, where, filters, tags=held, columns=columns, sort=sort, **options
        )
        said = parse_filter(where, filters, None, source.schema)
        return cls(
            tree=from_expression(said, source.schema),
            tags=_as_lines(held),
            columns=None if columns is None else _columns(asked.columns, source.schema),
            sort=() if sort is None else tuple(_sorted_by(asked.sort, source.schema)),
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
        where = to_expression(self.tree)
        flat = _keywords(where, schema)
        return ({"where": where} if flat is None else flat) | given

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
        # Two values of one key do not fit into a mapping.
        return found if len(found) == len(pairs) else list(self.tags)

    def to_json(self) -> dict[str, Any]:
        """Write everything, unfinished rows included."""
        options = {name: getattr(self, name) for name in _STORED}
        listed = {name: list(v) if isinstance(v, tuple) else v for name, v in options.items()}
        return {"format": _FORMAT, "tree": tree.to_json(self.tree)} | listed

    @classmethod
    def from_json(cls, told: object) -> FormQuery:
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
                f"this form was saved in format {short(told['format'])}, and this version reads "
                f"{_FORMAT}; update casesearch_pd"
            )
        strange = next((name for name in told if name not in {"format", "tree", *_STORED}), None)
        if strange is not None:
            raise FilterError(
                f"a saved form has no part {short(strange)}; CaseForm.save writes one"
            )
        read = cls(tree=tree.from_json(told.get("tree")))
        return replace(read, **_options(told))


def _options(told: Mapping[str, Any]) -> dict[str, Any]:
    """Take the options of a saved form, each of its own type."""
    found: dict[str, Any] = {}
    for name, fits in _STORED.items():
        value = told.get(name)
        if value is not None and not fits(value):
            raise FilterError(f"{name}={short(value)} of a saved form is not what it saves")
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


def _listed(tags: Iterable[str] | str | None) -> Any:
    """Take tags that may be listed only once; what is no list is refused where it is asked."""
    return list(tags) if is_collection(tags) else tags  # type: ignore[arg-type]


def _as_lines(tags: dict[str, str] | list[str] | str | None) -> tuple[str, ...]:
    match tags:
        case None:
            lines = []
        case str():
            lines = [tags]
        case dict():
            lines = [f"{key}={value}" for key, value in tags.items()]
        case _:
            lines = tags
    broken = next((line for line in lines if {*"\n\r"} & {*line} or not line), None)
    if broken is not None:
        raise FilterError(f"the form has one line for a tag, which {broken!r} does not fit into")
    return tuple(lines)


def _columns(fields: Iterable[Field], schema: Schema) -> tuple[str, ...]:
    return tuple(name_of(field, schema) for field in fields)


def _sorted_by(sort: Iterable[Sort], schema: Schema) -> list[str]:
    return [("-" if item.descending else "") + name_of(item.field, schema) for item in sort]


# --- keywords ---------------------------------------------------------------------------

_PLAIN = {"eq": "", "in": "", "isna": "__isna"}
_DENIED = {"eq": "__ne", "in": "__ne", "isna": "__isna"}
_TAKEN = OPTIONS | {"source", "__debug__"}
"""What no field can be a keyword by: options, a parameter, and what Python keeps to itself."""


def _keywords(where: Expression, schema: Schema) -> dict[str, Any] | None:
    """Write conditions side by side as keywords; None where something else is among them."""
    found: dict[str, Any] = {}
    for term in where.terms if isinstance(where, And) else (where,):
        said = _keyword(term, schema)
        if said is None or said[0] in found:
            return None
        found[said[0]] = said[1]
    return found


def _keyword(term: Expression, schema: Schema) -> tuple[str, Any] | None:
    match term:
        case Compare(str(field), op, value):
            lookup, said = _PLAIN.get(op, f"__{op}"), value
        case Not(Compare(str(field), ("eq" | "in" | "isna") as op, value)):
            lookup, said = _DENIED[op], False if op == "isna" else value
        case _:
            return None
    if not _is_keyword(field, lookup, schema):
        return None
    return f"{field}{lookup}", list(said) if op == "in" else said


def _is_keyword(column: str, lookup: str, schema: Schema) -> bool:
    """Tell whether a keyword can be typed, and is read as this lookup of this column."""
    name = f"{column}{lookup}"
    # Python spells a keyword in its own way (NFKC), and a field may be named like a lookup.
    typed = name.isidentifier() and not keyword.iskeyword(name)
    if not typed or unicodedata.normalize("NFKC", name) != name or name in _TAKEN:
        return False
    known = schema.find(name) is not None
    return not known if lookup else known or "__" not in name


_TOLD = {"source", "filter", "columns", "sort", "search", "limit", "tz"}


def save(path: str | os.PathLike[str], question: FormQuery, source: Source) -> Path:
    """Write a question, and where it was asked, as JSON; no secret is in it.

    Raises
    ------
    FilterError
        If no file can be written there.
    """
    told = question.to_json() | {"source": source.describe()}
    with replace_file(path) as (target, new):
        new.write_text(json.dumps(told, indent=1) + "\n", "utf-8")
    return target


def load(path: str | os.PathLike[str]) -> FormQuery:
    """Read a question that `save` wrote.

    Raises
    ------
    FilterError
        If it is another file, or none.
    """
    place = Path(path).expanduser()
    try:
        told = json.loads(place.read_text("utf-8"))
    except OSError as error:
        raise FilterError(f"{str(place)!r} cannot be read ({error}); name a saved form") from error
    except (ValueError, RecursionError) as error:
        raise FilterError(
            f"{str(place)!r} is no saved form: it is not JSON ({error}); CaseForm.save writes one"
        ) from error
    if isinstance(told, dict):
        told.pop("source", None)  # for people: it may be asked of another one
    return FormQuery.from_json(told)


def require_source_match(told: Mapping[str, Any]) -> None:
    """Refuse a frame that does not tell how it was read.

    Raises
    ------
    FilterError
        If something of it is missing.
    """
    if not told.keys() >= _TOLD:
        raise FilterError(
            "this frame does not tell how it was read; CaseForm(source) begins without a filter"
        )


def form_query(told: Mapping[str, Any], source: Source) -> FormQuery:
    """Find the question that a frame was read by.

    Parameters
    ----------
    told
        The frame's provenance.
    source
        Where it was read.

    Raises
    ------
    FilterError
        If the form has no rows for its filter.
    """
    every = {item.column for item in source.schema.active} <= told["columns"].keys()
    return FormQuery.of(
        source,
        filter_from_json(told["filter"]),
        {},
        columns=None if every else list(told["columns"].values()),
        sort=None if told["sort"] == ["created_at"] else told["sort"],
        **{name: told[name] for name in ("search", "limit", "tz")},
    )
