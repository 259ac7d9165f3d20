"""Conversion of a user's DataFrame to cases, and of cases to a DataFrame.

Columns of the shared vocabulary become system fields of each service that has them; all others are
custom fields under their own name. The schema has no field that the frame lacks.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime
from typing import Any

import pandas as pd

from casesearch_pd.emulator.data.schema import (
    PERSONA_ATTRIBUTES,
    PERSONA_RELATIONSHIPS,
    Column,
    Option,
    Schema,
    Template,
    custom_field_id,
    make_id,
)
from casesearch_pd.emulator.data.store import Row, SqlValue, Store
from casesearch_pd.emulator.data.values import stored_time, stored_value, to_series

# Fields of a domain, from the Amazon Connect quotas page.
_MAX_COLUMNS = 500
_PREVIEW = 5
_TEXTS = frozenset({"text", "select", "user"})


@dataclass(frozen=True, slots=True)
class _SystemColumn:
    """A name of the shared vocabulary: the kind of its column and its names in the services."""

    kind: str
    label: str
    connect: str = ""
    persona: str = ""


SYSTEM_COLUMNS: Mapping[str, _SystemColumn] = {
    "case_id": _SystemColumn("text", "Case Id", "case_id", "id"),
    "reference": _SystemColumn("text", "Reference number", "reference_number", "name"),
    "template_id": _SystemColumn("text", "Template Id", "", "relationships.case_template"),
    "title": _SystemColumn("text", "Title", "title"),
    "summary": _SystemColumn("text", "Summary", "summary"),
    "status": _SystemColumn("select", "Status", "status", "status"),
    "created_at": _SystemColumn("datetime", "Created", "created_datetime", "created_at"),
    "updated_at": _SystemColumn("datetime", "Last updated", "last_updated_datetime", "updated_at"),
    "closed_at": _SystemColumn("datetime", "Last closed", "last_closed_datetime", "resolved_at"),
    "sla_at": _SystemColumn(
        "datetime", "Next SLA breach", "next_sla_breach_datetime", "sla_expires_at"
    ),
    "assignee": _SystemColumn("text", "Assigned user", "assigned_user", "assignee_id"),
    "queue": _SystemColumn("text", "Assigned queue", "assigned_queue", "relationships.case_queue"),
    "tags": _SystemColumn("list", "Tags", "", "tags"),
    "case_reason": _SystemColumn("select", "Case reason", "case_reason"),
    "customer_id": _SystemColumn("text", "Customer", "customer_id"),
    "created_by": _SystemColumn("user", "Created by", "created_by"),
    "last_updated_user": _SystemColumn("user", "Last updated by", "last_updated_user"),
    "last_reopened_datetime": _SystemColumn("datetime", "Last reopened", "last_reopened_datetime"),
    "resolution": _SystemColumn("text", "Resolution", "", "resolution"),
    "assigned_at": _SystemColumn("datetime", "Assigned", "", "assigned_at"),
    "redacted_at": _SystemColumn("datetime", "Redacted", "", "redacted_at"),
    **{
        f"{role}_{part}": _SystemColumn("text", f"{role} {part}".capitalize(), "", f"{role}_{part}")
        for role in ("creator", "assigner", "resolver", "updater")
        for part in ("id", "type")
    },
    **{
        name: _SystemColumn("list", name.capitalize(), "", f"relationships.{name}")
        for name in ("accounts", "inquiries", "reports", "verifications", "txns", "case_comments")
    },
}
# Members of every case on Connect, which are not fields there.
_CASE_MEMBERS = frozenset({"template_id", "tags"})


def from_frame(frame: pd.DataFrame, *, now: datetime) -> tuple[Schema, Iterator[Iterable[Row]]]:
    """Return the schema of a frame and its rows, in one chunk.

    A missing ``case_id`` is generated. No ``created_at`` may be later than `now`.

    Raises
    ------
    ValueError
        If a column's name or dtype is not supported, a ``case_id`` is a duplicate, or a
        ``created_at`` is missing or in the future.
    """
    _check_names(frame)
    kinds = {name: _kind(name, frame[name]) for name in frame.columns if name != "template"}
    columns = [_column(name, kinds[name], frame[name]) for name in kinds]
    cells = {column.name: _cells(column, frame[column.name]) for column in columns}
    templates = _add_required_columns(frame, columns, cells)
    _check_rows(cells, now)
    rows = zip(*(cells[column.name] for column in columns), strict=True)
    return Schema(tuple(columns), templates), iter([rows])


def _check_names(frame: pd.DataFrame) -> None:
    for name in frame.columns:
        if not isinstance(name, str) or not name.strip():
            raise ValueError(f"column names must be text, got {name!r}; rename the column")
    repeated = frame.columns[frame.columns.duplicated()]
    if len(repeated):
        raise ValueError(f"column {repeated[0]!r} is a duplicate; rename one of the two")
    if frame.shape[1] > _MAX_COLUMNS:
        raise ValueError(
            f"a domain has at most {_MAX_COLUMNS} fields, got {frame.shape[1]} columns; drop some"
        )
    if "created_at" not in frame.columns:
        raise ValueError(
            "the frame has no created_at column, which paging needs on both services; add one, "
            "for example frame.assign(created_at=pd.Timestamp.now('UTC'))"
        )


def _kind(name: str, values: pd.Series) -> str:
    kind = _dtype_kind(name, values)
    system = SYSTEM_COLUMNS.get(name)
    if system is None:
        return kind
    compatible = _TEXTS if kind in _TEXTS else {kind}
    # A column without values may have any dtype.
    if system.kind in compatible or values.isna().all():
        return system.kind
    raise ValueError(
        f"column {name!r} has dtype {values.dtype}, but {name} is a {system.kind} field; "
        "convert it, or rename it to serve it as a custom field"
    )


def _dtype_kind(name: str, values: pd.Series) -> str:
    dtype = values.dtype
    types = pd.api.types
    if isinstance(dtype, pd.CategoricalDtype):
        return _category_kind(name, dtype)
    if isinstance(dtype, pd.ArrowDtype) and dtype.type is date:
        return "date"
    for kind, fits in (
        ("boolean", types.is_bool_dtype),
        ("integer", types.is_integer_dtype),
        ("number", types.is_float_dtype),
        ("datetime", types.is_datetime64_any_dtype),
    ):
        if fits(dtype):
            return kind
    if isinstance(dtype, pd.ArrowDtype) or types.is_object_dtype(dtype):
        return _object_kind(name, values)
    if types.is_string_dtype(dtype):
        return "text"
    raise _unsupported(name, str(dtype))


def _category_kind(name: str, dtype: pd.CategoricalDtype) -> str:
    if all(isinstance(value, str) for value in dtype.categories):
        return "select"
    raise _unsupported(name, f"category of {dtype.categories.dtype}")


def _object_kind(name: str, values: pd.Series) -> str:
    present = [value for value in values if not _is_missing(value)]
    kinds = {_value_kind(value) for value in present} or {"text"}
    # A column of objects may have integers and floats: they are numbers.
    if kinds == {"integer", "number"}:
        return "number"
    if len(kinds) == 1 and "" not in kinds:
        return kinds.pop()
    names = sorted({type(value).__name__ for value in present})
    raise _unsupported(name, f"{values.dtype} with values of type {', '.join(names[:_PREVIEW])}")


def _is_missing(value: Any) -> bool:
    return value is None or (pd.api.types.is_scalar(value) and bool(pd.isna(value)))


def _value_kind(value: Any) -> str:
    return next((kind for kind, fits in _VALUE_KINDS.items() if fits(value)), "")


def _is_texts(value: Any) -> bool:
    if not pd.api.types.is_list_like(value) or isinstance(value, Mapping | set | frozenset):
        return False
    return all(isinstance(item, str) for item in value)


_VALUE_KINDS: Mapping[str, Callable[[Any], bool]] = {
    "boolean": pd.api.types.is_bool,
    "text": lambda value: isinstance(value, str),
    "integer": pd.api.types.is_integer,
    "number": pd.api.types.is_float,
    "datetime": lambda value: isinstance(value, datetime),
    "date": lambda value: isinstance(value, date),
    "list": _is_texts,
}


def _unsupported(name: str, what: str) -> ValueError:
    return ValueError(
        f"column {name!r} has the unsupported dtype {what}; use text, numbers, booleans, "
        "date-times, categories or lists of text, or drop it"
    )


def _column(name: str, kind: str, values: pd.Series) -> Column:
    system = SYSTEM_COLUMNS.get(name, _SystemColumn(kind, name))
    custom = not system.connect and name not in _CASE_MEMBERS
    return Column(
        name,
        kind,
        system.label if system.connect or name in _CASE_MEMBERS else name,
        system.connect or (custom_field_id(name) if custom else ""),
        custom,
        system.persona or f"fields.{name}",
        _options(name, kind, values),
    )


def _options(name: str, kind: str, values: pd.Series) -> tuple[Option, ...]:
    if kind != "select":
        return ()
    labels = values.cat.categories if hasattr(values, "cat") else sorted(values.dropna().unique())
    # Every case can be opened and closed, whatever values the frame has.
    extra = [one for one in ("open", "closed") if name == "status" and one not in set(labels)]
    return tuple(Option(label, label) for label in [*extra, *labels])


def _cells(column: Column, values: pd.Series) -> list[SqlValue]:
    if column.kind == "datetime" and pd.api.types.is_datetime64_any_dtype(values.dtype):
        return _time_cells(values)
    return [stored_value(column, value) for value in values.astype(object)]


def _time_cells(values: pd.Series) -> list[SqlValue]:
    utc = pd.to_datetime(values, utc=True).dt.tz_localize(None)
    text = utc.dt.floor("ms").dt.strftime("%Y-%m-%dT%H:%M:%S.%f").str[:23]
    return [None if missing else str(one) for one, missing in zip(text, utc.isna(), strict=True)]


def _add_required_columns(
    frame: pd.DataFrame, columns: list[Column], cells: dict[str, list[SqlValue]]
) -> tuple[Template, ...]:
    """Add the columns that the services require, and return the templates."""
    size = len(frame)
    new_ids: list[SqlValue] = [make_id("case", "frame", number) for number in range(size)]
    ids = cells.get("case_id", new_ids)
    cells["case_id"] = [own or new for own, new in zip(ids, new_ids, strict=True)]
    cells.setdefault("updated_at", list(cells["created_at"]))
    updated = zip(cells["updated_at"], cells["created_at"], strict=True)
    cells["updated_at"] = [own or other for own, other in updated]
    templates = _templates(frame, cells)
    names = {column.name for column in columns}
    for name in ("case_id", "template_id", "updated_at"):
        if name not in names:
            column = _column(name, SYSTEM_COLUMNS[name].kind, pd.Series(dtype="str"))
            # Only the id becomes a field: the frame has no values for the others.
            persona = "" if name == "updated_at" else column.persona
            hidden = replace(column, connect="", persona=persona)
            columns.append(column if name == "case_id" else hidden)
    return templates


def _templates(frame: pd.DataFrame, cells: dict[str, list[SqlValue]]) -> tuple[Template, ...]:
    size = len(frame)
    names: Sequence[Any] = frame["template"].tolist() if "template" in frame else ["Cases"] * size
    names = ["Cases" if _is_missing(name) else str(name) for name in names]
    new_ids: list[SqlValue] = [make_id("ctmpl", "frame", name) for name in names]
    ids = cells.get("template_id", new_ids)
    cells["template_id"] = [own or new for own, new in zip(ids, new_ids, strict=True)]
    only_ids = "template" not in frame and "template_id" in frame
    pairs = dict(zip(cells["template_id"], ids if only_ids else names, strict=True))
    templates = tuple(Template(str(one), str(name or "Cases")) for one, name in pairs.items())
    return templates or (Template(make_id("ctmpl", "frame", "Cases"), "Cases"),)


def _check_rows(cells: Mapping[str, list[SqlValue]], now: datetime) -> None:
    ids, created = cells["case_id"], cells["created_at"]
    missing = [number for number, time in enumerate(created) if time is None]
    if missing:
        raise ValueError(
            f"created_at is missing in {len(missing)} rows, first in row {missing[0]}; "
            "fill it or drop them: frame.dropna(subset=['created_at'])"
        )
    latest = max((str(time) for time in created), default="")
    if latest > stored_time(now):
        raise ValueError(
            f"the latest created_at, {latest}Z, is after the service's time, {stored_time(now)}Z; "
            "drop those rows, or pass a later now="
        )
    if len(set(ids)) < len(ids):
        repeated = Counter(ids).most_common(1)[0][0]
        raise ValueError(f"case_id {repeated!r} is a duplicate; ids must be unique")


def to_frame(store: Store, wire: str | None) -> pd.DataFrame:
    """Return all cases in the order of their ids, with the columns of `CaseService.frame`."""
    columns = _columns_by_name(store.schema.columns, wire)
    rows = store.rows([column.name for column in columns.values()])
    cells = list(zip(*rows, strict=True)) if rows else [()] * len(columns)
    return pd.DataFrame(
        {
            name: to_series(column, list(values))
            for (name, column), values in zip(columns.items(), cells, strict=True)
        }
    )


def _columns_by_name(columns: Sequence[Column], wire: str | None) -> dict[str, Column]:
    match wire:
        case None:
            return {column.name: column for column in columns}
        case "connect":
            return {c.name: c for c in columns if c.connect or c.name in _CASE_MEMBERS}
        case "persona":
            return _persona_columns([column for column in columns if column.persona])
        case _:
            raise ValueError(f"wire must be 'connect', 'persona' or None, got {wire!r}")


def _persona_columns(columns: Sequence[Column]) -> dict[str, Column]:
    """Return columns by name; a custom key that is also a system name gets ``fields_``."""
    system = {_system_name(column): column for column in columns if not column.persona_key}
    custom = {column.persona_key: column for column in columns if column.persona_key}
    reserved = {*system, *PERSONA_ATTRIBUTES, *PERSONA_RELATIONSHIPS}
    return system | {
        f"fields_{key}" if key in reserved else key: column for key, column in custom.items()
    }


def _system_name(column: Column) -> str:
    return "closed_at" if column.persona == "resolved_at" else column.name
