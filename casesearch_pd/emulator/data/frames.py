"""A user's own DataFrame as cases: columns by name and dtype become a schema and rows to store.

Columns of the shared vocabulary become system fields on each wire that has them; all others are
custom fields under their own name. Nothing that the frame lacks is offered.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime
from typing import Any

import pandas as pd

from casesearch_pd.emulator.data.schema import (
    Column,
    Option,
    Schema,
    Template,
    custom_field_id,
    made_id,
)
from casesearch_pd.emulator.data.store import SqlValue, Store
from casesearch_pd.emulator.data.values import shown_series, stored_time, stored_value
from casesearch_pd.emulator.persona.render import ATTRIBUTES, RELATIONSHIPS

_MOST_COLUMNS = 500  # fields of a domain, by the Amazon Connect quotas page
_PREVIEW = 5
_TEXTS = frozenset({"text", "select", "user"})


@dataclass(frozen=True, slots=True)
class _System:
    """A name of the shared vocabulary: the kind it needs and its names on the wires."""

    kind: str
    label: str
    connect: str = ""
    persona: str = ""


SYSTEM: Mapping[str, _System] = {
    "case_id": _System("text", "Case Id", "case_id", "id"),
    "reference": _System("text", "Reference number", "reference_number", "name"),
    "template_id": _System("text", "Template Id", "", "relationships.case_template"),
    "title": _System("text", "Title", "title"),
    "summary": _System("text", "Summary", "summary"),
    "status": _System("select", "Status", "status", "status"),
    "created_at": _System("datetime", "Created", "created_datetime", "created_at"),
    "updated_at": _System("datetime", "Last updated", "last_updated_datetime", "updated_at"),
    "closed_at": _System("datetime", "Last closed", "last_closed_datetime", "resolved_at"),
    "sla_at": _System("datetime", "Next SLA breach", "next_sla_breach_datetime", "sla_expires_at"),
    "assignee": _System("text", "Assigned user", "assigned_user", "assignee_id"),
    "queue": _System("text", "Assigned queue", "assigned_queue", "relationships.case_queue"),
    "tags": _System("list", "Tags", "", "tags"),
    "case_reason": _System("select", "Case reason", "case_reason"),
    "customer_id": _System("text", "Customer", "customer_id"),
    "created_by": _System("user", "Created by", "created_by"),
    "last_updated_user": _System("user", "Last updated by", "last_updated_user"),
    "last_reopened_datetime": _System("datetime", "Last reopened", "last_reopened_datetime"),
    "resolution": _System("text", "Resolution", "", "resolution"),
    "assigned_at": _System("datetime", "Assigned", "", "assigned_at"),
    "redacted_at": _System("datetime", "Redacted", "", "redacted_at"),
    **{
        f"{role}_{part}": _System("text", f"{role} {part}".capitalize(), "", f"{role}_{part}")
        for role in ("creator", "assigner", "resolver", "updater")
        for part in ("id", "type")
    },
    **{
        name: _System("list", name.capitalize(), "", f"relationships.{name}")
        for name in ("accounts", "inquiries", "reports", "verifications", "txns", "case_comments")
    },
}
_OFFERED_ELSEWHERE = frozenset({"template_id", "tags"})
"""Shown on Connect with every case, not as a field."""


def adopt(
    frame: pd.DataFrame, *, now: datetime
) -> tuple[Schema, Iterator[Iterable[tuple[SqlValue, ...]]]]:
    """Return the schema that a frame states and its rows, in one chunk.

    Parameters
    ----------
    frame
        One row a case; ``created_at`` is needed, ``case_id`` is made where it is missing.
    now
        No ``created_at`` may be later.

    Raises
    ------
    ValueError
        A column's name or dtype, a duplicate ``case_id``, a ``created_at`` that is missing or
        lies in the future; the message names the column and the next step.
    """
    _check_names(frame)
    kinds = {name: _kind(name, frame[name]) for name in frame.columns if name != "template"}
    columns = [_column(name, kinds[name], frame[name]) for name in kinds]
    cells = {column.name: _cells(column, frame[column.name]) for column in columns}
    templates = _complete(frame, columns, cells)
    _check_rows(cells, now)
    ordered = tuple(columns)
    rows = zip(*(cells[column.name] for column in ordered), strict=True)
    return Schema(ordered, templates), iter([rows])


def _check_names(frame: pd.DataFrame) -> None:
    for name in frame.columns:
        if not isinstance(name, str) or not name.strip():
            raise ValueError(f"column {name!r}: names must be text; rename it")
    repeated = frame.columns[frame.columns.duplicated()]
    if len(repeated):
        raise ValueError(f"column {repeated[0]!r} is there twice; rename one")
    if frame.shape[1] > _MOST_COLUMNS:
        raise ValueError(f"{frame.shape[1]} columns; a domain holds {_MOST_COLUMNS} fields")
    if "created_at" not in frame.columns:
        raise ValueError(
            "the frame has no created_at column, which both services page by; add one, "
            "for example frame.assign(created_at=pd.Timestamp.now('UTC'))"
        )


def _kind(name: str, values: pd.Series) -> str:
    found = _dtype_kind(name, values)
    system = SYSTEM.get(name)
    if system is None:
        return found
    fits = _TEXTS if found in _TEXTS else {found}
    if system.kind in fits or values.isna().all():
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
    held = [value for value in values if not _missing(value)]
    found = {_value_kind(value) for value in held} or {"text"}
    if found == {"integer", "number"}:
        return "number"
    if len(found) == 1 and "" not in found:
        return found.pop()
    names = sorted({type(value).__name__ for value in held})
    raise _unsupported(name, f"{values.dtype} holding {', '.join(names[:_PREVIEW])}")


def _missing(value: Any) -> bool:
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
    system = SYSTEM.get(name, _System(kind, name))
    custom = not system.connect and name not in _OFFERED_ELSEWHERE
    return Column(
        name,
        kind,
        system.label if system.connect or name in _OFFERED_ELSEWHERE else name,
        system.connect or (custom_field_id(name) if custom else ""),
        custom,
        system.persona or f"fields.{name}",
        _options(name, kind, values),
    )


def _options(name: str, kind: str, values: pd.Series) -> tuple[Option, ...]:
    if kind != "select":
        return ()
    found = values.cat.categories if hasattr(values, "cat") else sorted(values.dropna().unique())
    extra = [value for value in ("open", "closed") if name == "status" and value not in set(found)]
    return tuple(Option(value, value) for value in [*extra, *found])


def _cells(column: Column, values: pd.Series) -> list[SqlValue]:
    if column.kind == "datetime" and pd.api.types.is_datetime64_any_dtype(values.dtype):
        return _time_cells(values)
    return [stored_value(column, value) for value in values.astype(object)]


def _time_cells(values: pd.Series) -> list[SqlValue]:
    utc = pd.to_datetime(values, utc=True).dt.tz_localize(None)
    cut = utc.dt.floor("ms")
    text = cut.dt.strftime("%Y-%m-%dT%H:%M:%S.%f").str[:23]
    return [None if missing else str(one) for one, missing in zip(text, utc.isna(), strict=True)]


def _complete(
    frame: pd.DataFrame, columns: list[Column], cells: dict[str, list[SqlValue]]
) -> tuple[Template, ...]:
    """Add the columns that the wires cannot do without, and return the templates."""
    size = len(frame)
    made: list[SqlValue] = [made_id("case", "frame", number) for number in range(size)]
    given = cells.get("case_id", made)
    cells["case_id"] = [own or new for own, new in zip(given, made, strict=True)]
    cells.setdefault("updated_at", list(cells["created_at"]))
    updated = zip(cells["updated_at"], cells["created_at"], strict=True)
    cells["updated_at"] = [own or other for own, other in updated]
    templates = _templates(frame, cells)
    here = {column.name for column in columns}
    for name in ("case_id", "template_id", "updated_at"):
        if name not in here:
            offered = _column(name, SYSTEM[name].kind, pd.Series(dtype="str"))
            hidden = replace(
                offered, connect="", persona="" if name == "updated_at" else offered.persona
            )
            columns.append(offered if name == "case_id" else hidden)
    return templates


def _templates(frame: pd.DataFrame, cells: dict[str, list[SqlValue]]) -> tuple[Template, ...]:
    size = len(frame)
    names: Sequence[Any] = frame["template"].tolist() if "template" in frame else ["Cases"] * size
    names = ["Cases" if _missing(name) else str(name) for name in names]
    made: list[SqlValue] = [made_id("ctmpl", "frame", name) for name in names]
    given = cells.get("template_id", made)
    cells["template_id"] = [own or new for own, new in zip(given, made, strict=True)]
    only_ids = "template" not in frame and "template_id" in frame
    pairs = dict(zip(cells["template_id"], given if only_ids else names, strict=True))
    found = tuple(Template(str(one), str(name or "Cases")) for one, name in pairs.items())
    return found or (Template(made_id("ctmpl", "frame", "Cases"), "Cases"),)


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
            f"created_at goes up to {latest}Z, which is later than now, {stored_time(now)}Z; "
            "drop those rows, or pass a later now="
        )
    if len(set(ids)) < len(ids):
        twice = Counter(ids).most_common(1)[0][0]
        raise ValueError(f"case_id {twice!r} is there twice; ids must be unique")


_WITH_EVERY_CASE = frozenset({"template_id", "tags"})
"""Shown on Connect with every case, not as a field."""


def truth(store: Store, wire: str | None) -> pd.DataFrame:
    """Return all cases in the order of their ids.

    Parameters
    ----------
    store
        The cases.
    wire
        ``connect`` or ``persona`` for the columns which that wire shows, None for all.
    """
    named = _named(store.schema.columns, wire)
    rows = store.rows([column.name for column in named.values()])
    held = list(zip(*rows, strict=True)) if rows else [()] * len(named)
    return pd.DataFrame(
        {
            name: shown_series(column, list(values))
            for (name, column), values in zip(named.items(), held, strict=True)
        }
    )


def _named(columns: Sequence[Column], wire: str | None) -> dict[str, Column]:
    match wire:
        case None:
            return {column.name: column for column in columns}
        case "connect":
            return {c.name: c for c in columns if c.connect or c.name in _WITH_EVERY_CASE}
        case "persona":
            return _of_persona([column for column in columns if column.persona])
        case _:
            raise ValueError(f"wire={wire!r} is not one of 'connect', 'persona', None")


def _of_persona(columns: Sequence[Column]) -> dict[str, Column]:
    """Return columns by the names that a reader gives them: a taken key gets ``fields_``."""
    system = {_system_name(column): column for column in columns if not column.persona_key}
    custom = {column.persona_key: column for column in columns if column.persona_key}
    taken = {*system, *ATTRIBUTES, *RELATIONSHIPS}
    free = {f"fields_{key}" if key in taken else key: column for key, column in custom.items()}
    return system | free


def _system_name(column: Column) -> str:
    return "closed_at" if column.persona == "resolved_at" else column.name
