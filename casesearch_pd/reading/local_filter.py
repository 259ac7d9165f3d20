"""Filter a DataFrame by the filter language, without a service.

The schema is rebuilt from the DataFrame: names and types from its provenance, other types from its
cells, which `typed_cells` converts before they are compared.
"""

from __future__ import annotations

import re
from collections import defaultdict
from dataclasses import replace
from datetime import date, timedelta
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from casesearch_pd.errors import FilterError, nearest
from casesearch_pd.query.binding import bind
from casesearch_pd.query.coercion import is_missing, require_valid_text, unwrap
from casesearch_pd.query.expressions import comparisons
from casesearch_pd.query.schema import Field, FieldType, Option, Schema
from casesearch_pd.reading.frames.cells import cell_type, typed_cells
from casesearch_pd.reading.frames.frame import require_distinct_columns
from casesearch_pd.reading.frames.masks import mask
from casesearch_pd.reading.options import binding_context, parse_filter
from casesearch_pd.reading.provenance import Provenance, zone_of_frame
from casesearch_pd.sources.traits import infer_traits

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from casesearch_pd.query.expressions import Compare, Expression

__all__ = ["filter_frame"]

_OPEN_PREFIX = "fields."  # of the ids of custom fields, in a service with open fields


def filter_frame(
    frame: pd.DataFrame,
    where: Expression | Mapping[str, object] | None,
    filters: Mapping[str, object],
    *,
    tags: Mapping[str, str] | Iterable[str] | str | None = None,
    tz: str | None = None,
    is_open: Callable[[pd.DataFrame], pd.Series[bool]] | None = None,
) -> pd.DataFrame:
    """Return the rows that match a filter; its naive times are by default in `zone_of_frame`.

    `is_open` returns which cases are open, for a filter by that.
    """
    _check_search(filters)
    provenance = Provenance.of(frame)
    schema = _names_schema(frame, provenance)
    if tags is not None and schema.find("tags") is None:
        raise _missing_column("tags", schema, provenance)
    expression = parse_filter(where, filters, tags, schema)
    rows = frame
    if is_open is not None and _filters_by_openness(expression, schema):
        rows = frame.assign(is_open=_openness(frame, is_open))
        schema = Schema((*schema.fields, _IS_OPEN))
    fields = _filtered_fields(expression, schema, provenance)
    require_distinct_columns(frame, {item.column for item in fields})

    zone = zone_of_frame(frame, "", provenance)
    context = binding_context(schema, (zone or "UTC") if tz is None else tz)
    columns = _type_columns(rows, expression, fields, schema, zone or context.tz)
    typed = Schema(tuple(item for item, _ in columns))
    bound = bind(expression, replace(context, schema=typed))
    _check_remote_only(bound, provenance)
    cells = {item.column: column for item, column in columns}
    return frame[mask(pd.DataFrame(cells, index=frame.index, copy=False), bound)]


def _names_schema(frame: pd.DataFrame, provenance: Provenance) -> Schema:
    """Return a schema with the names and types that the columns had when they were read."""
    fields = []
    for column in frame.columns:
        if isinstance(column, str):
            options = provenance.options.get(column, ())
            field_id = provenance.columns.get(column, column)
            aliases = _aliases(column, field_id)
            fields.append(
                Field(
                    column,
                    field_id,
                    column,
                    provenance.types.get(column, "any"),
                    options=tuple(Option(value, label) for value, label in options),
                    aliases=aliases,
                )
            )
    return Schema(tuple(_with_tag_type(item, frame, provenance) for item in fields))


def _aliases(column: str, field_id: str) -> tuple[str, ...]:
    if not field_id.startswith(_OPEN_PREFIX):
        return (field_id.replace("-", "_"),)
    # The prefix "fields_" means that a system field has the plain name.
    return () if column.startswith("fields_") else (field_id.removeprefix(_OPEN_PREFIX),)


def _with_tag_type(item: Field, frame: pd.DataFrame, provenance: Provenance) -> Field:
    """Give the tags their type, on which the meaning of ``tags=`` depends."""
    if item.column != "tags":
        return item
    keyed = provenance.traits.keyed_tags
    require_distinct_columns(frame, {"tags"})
    is_text = pd.api.types.is_string_dtype(frame["tags"].dtype)
    if keyed is None and not is_text and "case_id" in frame.columns:
        traits = infer_traits(map(str, frame.columns), map(str, frame["case_id"]))
        keyed = None if traits is None else traits.keyed_tags
    if keyed is None:
        keyed = _has_keys(frame["tags"])
    return replace(item, type="tags" if keyed else "list")


def _has_keys(tags: pd.Series[Any]) -> bool:
    lists = (list(cell) for cell in tags.dropna() if not isinstance(cell, str))
    first = next((cell for cell in lists if cell), ())
    return all("=" in str(tag) for tag in first)


def _filtered_fields(expression: Expression, schema: Schema, provenance: Provenance) -> list[Field]:
    """Return the fields of a filter, in the order of the DataFrame."""
    names = dict.fromkeys(str(comparison.field) for comparison in comparisons(expression))
    missing = next((name for name in names if schema.find(name) is None), None)
    if missing is not None:
        raise _missing_column(missing, schema, provenance)
    fields = {schema.resolve(name) for name in names}
    return [item for item in schema.fields if item in fields]


def _missing_column(name: str, schema: Schema, provenance: Provenance) -> FilterError:
    if name in provenance.remote_only:
        return FilterError(
            f"the service filters by {name!r} but never returns it, so a DataFrame cannot be "
            f"filtered by it; use read_cases(source, {name}=…)"
        )
    close = nearest(name, [item.column for item in schema.fields])
    hint = f"did you mean {' or '.join(map(repr, close))}? If not, " if close else ""
    return FilterError(
        f"this DataFrame has no column {name!r}; {hint}read it too: columns=[…, {name!r}]"
    )


_IS_OPEN = Field("is_open", "is_open", "is_open", "boolean")


def _filters_by_openness(expression: Expression, schema: Schema) -> bool:
    """Return whether a filter is by ``is_open``, of which no column of the frame has the name."""
    if schema.find("is_open") is not None:
        return False
    by_openness = [item for item in comparisons(expression) if item.field == "is_open"]
    for comparison in by_openness:
        is_truth = isinstance(unwrap(comparison.value), bool)
        if comparison.op not in {"eq", "ne"} or not is_truth:
            raise FilterError(
                f"is_open must be True or False, got {comparison.value!r}; write is_open=True"
            )
    return bool(by_openness)


def _openness(
    frame: pd.DataFrame, is_open: Callable[[pd.DataFrame], pd.Series[bool]]
) -> pd.Series[bool]:
    try:
        return is_open(frame)
    except KeyError as error:  # its text would be shown in quotes
        raise FilterError(str(error.args[0])) from error
    except ValueError as error:
        raise FilterError(str(error)) from error


def _check_search(filters: Mapping[str, object]) -> None:
    if "search" in filters:
        raise FilterError(
            "search= is the full-text search of the service, which a DataFrame does not have; use "
            "read_cases(source, search=…), or search one column: title__contains=…"
        )


def _check_remote_only(bound: Expression, provenance: Provenance) -> None:
    """Refuse values that only the service compares: the cells hold something else."""
    for comparison in comparisons(bound):
        column, value = comparison.target.column, comparison.value
        prefix = provenance.remote_only.get(column)
        if prefix and isinstance(value, str) and value.startswith(prefix):
            raise FilterError(
                f"{column}={value!r} is an id that the service compares but never returns; use "
                f"read_cases(source, {column}={value!r}), or filter by what the cells show"
            )


def _type_columns(
    frame: pd.DataFrame,
    expression: Expression,
    fields: Sequence[Field],
    schema: Schema,
    zone: Any,
) -> list[tuple[Field, pd.Series[Any]]]:
    """Return the fields of a filter with their types, and their columns converted to these."""
    by_column = defaultdict(list)
    for comparison in comparisons(expression):
        by_column[schema.resolve(str(comparison.field)).column].append(comparison)
    return [_type_column(item, frame[item.column], by_column[item.column], zone) for item in fields]


def _type_column(
    item: Field, column: pd.Series[Any], terms: Sequence[Compare], zone: Any
) -> tuple[Field, pd.Series[Any]]:
    """Return a field with the type of its column, and the column with this type."""
    if all(term.op == "isna" or is_missing(term.value) for term in terms):
        return replace(item, type="json"), column  # whatever the cells are
    _check_category_order(column, terms)
    compares_times = any(map(_compares_times, terms))
    kind = "datetime" if item.column in _TIME_COLUMNS else item.type
    cells = typed_cells(column, zone, kind, compares_times=compares_times)
    item = replace(item, type=_field_type(item, cells))
    texts = [text for term in terms for text in _equal_texts(term)]
    for text in texts:  # Arrow cannot look up a text that UTF-8 cannot encode
        require_valid_text(item, text)
    if item.type == "select":
        item = _with_cell_values(item, cells, texts)
    if item.type in _TEXT_TYPES and not item.options and item.column != "case_id":
        item = replace(item, examples=_known_values(cells, texts))
    return item, cells


# Columns that hold times on every service.
_TIME_COLUMNS = {"created_at", "updated_at", "closed_at", "sla_at", "last_reopened_datetime"}
_ISO_VALUE = re.compile(r"\d{4}(-\d\d(-\d\d([T ]\d\d:\d\d.*)?)?)?")


_BY_ORDER = {"lt", "lte", "gt", "gte", "between"}


def _check_category_order(column: pd.Series[Any], terms: Sequence[Compare]) -> None:
    """Refuse a comparison by the order of categories, which is not that of their values."""
    dtype: Any = column.dtype
    if not isinstance(dtype, pd.CategoricalDtype) or not dtype.ordered:
        return
    by_order = any(term.op in _BY_ORDER for term in terms)
    if by_order and not dtype.categories.is_monotonic_increasing:
        raise FilterError(
            f"{column.name!r} is a category with an order of its own, and a filter compares by the "
            f"order of the values; use df[df[{column.name!r}] >= …]"
        )


def _compares_times(comparison: Compare) -> bool:
    """Return whether a comparison is with a time, or by order."""
    if comparison.op in _BY_ORDER:
        return True
    return comparison.op != "contains" and any(map(_is_time_value, _values(comparison)))


def _values(comparison: Compare) -> tuple[Any, ...]:
    return comparison.value if isinstance(comparison.value, tuple) else (comparison.value,)


def _is_time_value(value: object) -> bool:
    if isinstance(value, str):
        return _ISO_VALUE.fullmatch(value) is not None
    return isinstance(value, (date, timedelta, np.datetime64, np.timedelta64, pd.Period))


def _field_type(item: Field, cells: pd.Series[Any]) -> FieldType:
    """Return the type of a field: that of the read, where the cells still have it."""
    kind = cell_type(cells)
    if item.type in {"list", "tags"} and kind != item.type:
        _check_lists(item, cells)
        return item.type
    is_text = kind == "text" and item.type in _TEXT_TYPES
    keeps = is_text or item.type == "json" or (item.type != "any" and not cells.notna().any())
    return item.type if keeps else kind


_TEXT_TYPES = {"text", "url", "user", "select"}


_MAX_TEXTS = 20  # of a filter that are compared with the cells; more come from a program
_MAX_DISTINCT = 10_000
_MAX_EXAMPLES = 50  # among more cells, something is similar to anything


def _equal_texts(comparison: Compare) -> list[str]:
    if comparison.op not in {"eq", "ne", "in"}:
        return []
    return [value for value in _values(comparison) if isinstance(value, str)]


def _known_values(cells: pd.Series[Any], texts: Sequence[str]) -> tuple[str, ...]:
    """Return the distinct cells, so that binding warns of a text that differs only in spelling.

    Of many cells, these are only the ones that are a text of the filter in any letter case.
    """
    if not 0 < len(texts) <= _MAX_TEXTS:
        return ()
    equal = cells[cells.isin(texts)].unique()
    is_many = cells.iloc[: 2 * _MAX_DISTINCT].nunique() > _MAX_DISTINCT
    if is_many or set(texts) <= set(equal):
        return ()
    distinct = [str(cell) for cell in cells.dropna().unique()]
    if len(distinct) <= _MAX_EXAMPLES:
        return tuple(distinct)
    folded = {text.casefold() for text in texts}
    is_few = len(distinct) <= _MAX_DISTINCT
    return tuple(cell for cell in distinct if is_few and cell.casefold() in folded)


def _check_lists(item: Field, column: pd.Series[Any]) -> None:
    if column.dtype != object and column.notna().any():
        raise FilterError(
            f"{item.column!r} holds text here instead of lists, as text files return them; save "
            "DataFrames as Parquet or pickle"
        )


def _with_cell_values(item: Field, cells: pd.Series[Any], texts: Sequence[str]) -> Field:
    """Return a field whose options are those of its cells, which the user may have changed."""
    values = {option.value for option in item.options}
    present = set(cells[cells.isin([*texts, *values])].unique())
    if not present & values and cells.notna().any():
        return replace(item, options=())
    # A text that cells have is this value, whatever label is equal to it.
    own = (Option(text, text) for text in texts if text in present - values)
    return replace(item, options=(*item.options, *own))
