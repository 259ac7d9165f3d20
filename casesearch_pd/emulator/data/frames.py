"""Conversion of a user's DataFrame to cases, and of cases to a DataFrame.

Columns of the shared vocabulary become system fields of each service that has them; all others are
custom fields under their own name. The schema has no field that the frame lacks.
"""

import sys
import warnings
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, tzinfo
from typing import Any
from uuid import UUID

import msgspec
import numpy as np
import pandas as pd

from casesearch_pd.emulator.data.kinds import is_missing, kind_of
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
_PREVIEW = 3
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


def from_frame(
    frame: pd.DataFrame, *, now: datetime, tz: str | tzinfo = "UTC"
) -> tuple[Schema, Iterator[Iterable[Row]]]:
    """Return the schema of a frame and its rows, in one chunk.

    The named levels of the index are columns. Naive times are times in `tz`, and no ``created_at``
    may be later than `now`. A missing ``case_id`` is generated, and warned of.

    Raises
    ------
    ValueError
        If the index has no name, a column's name or dtype is not supported, a ``case_id`` is a
        duplicate, or a ``created_at`` is missing or in the future.
    """
    _check_zone(tz)
    frame = _with_index_columns(frame)
    _check_names(frame)
    if "case_id" in frame:
        frame = frame.assign(case_id=[_as_id(value) for value in frame["case_id"]])
    kinds = {name: _kind(name, frame[name]) for name in frame.columns if name != "template"}
    columns = [_column(name, kinds[name], frame[name]) for name in kinds]
    cells = {column.name: _cells(column, frame[column.name], tz) for column in columns}
    templates = _add_required_columns(frame, columns, cells)
    _check_rows(cells, now)
    if message := lossy_tags(cells.get("tags", ())):
        warn(message)
    rows = zip(*(cells[column.name] for column in columns), strict=True)
    return Schema(tuple(columns), templates), iter([rows])


def _check_zone(tz: object) -> None:
    message = f"tz must be a time zone such as 'Europe/Berlin', got {tz!r}"
    if not isinstance(tz, str | tzinfo) or tz == "":
        raise ValueError(message)
    try:
        pd.Timestamp(0, tz=tz)
    except (KeyError, ValueError) as error:
        raise ValueError(message) from error


def _with_index_columns(frame: pd.DataFrame) -> pd.DataFrame:
    """Return a frame whose index has only row numbers, its named levels being columns."""
    index = frame.index
    unnamed = [number for number, name in enumerate(index.names) if name is None]
    if len(unnamed) == index.nlevels:
        # Integers are row numbers, also those of a filtered frame, where an id names each row.
        is_numbered = isinstance(index, pd.RangeIndex) or (
            "case_id" in frame and pd.api.types.is_integer_dtype(index.dtype)
        )
        if is_numbered or frame.empty:
            return frame.reset_index(drop=True)
    # Anything else may be an id, a date or a queue, which would be lost without a word.
    if unnamed:
        raise ValueError(
            "the index has no name, so it cannot be served as a column; name it, for example "
            "frame.rename_axis('case_id'), or drop it: frame.reset_index(drop=True)"
        )
    for name in set(index.names) & set(frame.columns):
        if (
            not frame[name]
            .reset_index(drop=True)
            .equals(index.to_frame()[name].reset_index(drop=True))
        ):
            raise ValueError(
                f"the index and a column are both called {name!r} and differ; rename one of them"
            )
    return frame.drop(columns=list(set(index.names) & set(frame.columns))).reset_index()


def _as_id(value: Any) -> Any:
    """Return an id as text where it is an integer or a UUID, which have one form only."""
    is_integer = pd.api.types.is_integer(value)
    return str(value) if is_integer or isinstance(value, UUID) else value


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
    kind = kind_of(name, values)
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
    extra = [label for label in ("open", "closed") if name == "status" and label not in set(labels)]
    return tuple(Option(label, label) for label in [*extra, *labels])


def _cells(column: Column, values: pd.Series, tz: str | tzinfo) -> list[SqlValue]:
    if column.kind == "datetime" and pd.api.types.is_datetime64_any_dtype(values.dtype):
        return _time_cells(values, tz)
    cells = values.astype(object)
    if column.kind == "datetime":
        return [stored_value(column, _in_zone(value, tz)) for value in cells]
    return [stored_value(column, value) for value in cells]


def _in_zone(value: Any, tz: str | tzinfo) -> Any:
    if not isinstance(value, datetime) or value.tzinfo is not None or is_missing(value):
        return value
    return pd.Timestamp(value).tz_localize(tz, ambiguous=False, nonexistent="shift_forward")


def _time_cells(values: pd.Series, tz: str | tzinfo) -> list[SqlValue]:
    if values.dt.tz is None:
        # As everywhere in the package, a wall time that occurs twice is the second one.
        second = np.zeros(len(values), dtype=bool)
        naive = values.astype("datetime64[us]")
        values = naive.dt.tz_localize(tz, ambiguous=second, nonexistent="shift_forward")
    utc = pd.to_datetime(values, utc=True).dt.tz_localize(None)
    text = utc.dt.floor("ms").dt.strftime("%Y-%m-%dT%H:%M:%S.%f").str[:23]
    return [None if missing else str(item) for item, missing in zip(text, utc.isna(), strict=True)]


def _add_required_columns(
    frame: pd.DataFrame, columns: list[Column], cells: dict[str, list[SqlValue]]
) -> tuple[Template, ...]:
    """Add the columns that the services require, and return the templates."""
    size = len(frame)
    new_ids: list[SqlValue] = [make_id("case", "frame", number) for number in range(size)]
    ids = cells.get("case_id", new_ids)
    if missing := sum(not case_id for case_id in ids):
        warn(f"case_id is missing in {missing} rows; the emulator generates ids for them")
    cells["case_id"] = [own or new for own, new in zip(ids, new_ids, strict=True)]
    cells.setdefault("updated_at", list(cells["created_at"]))
    updated = zip(cells["updated_at"], cells["created_at"], strict=True)
    cells["updated_at"] = [own or other for own, other in updated]
    templates = _templates(frame, cells)
    names = {column.name for column in columns}
    # Both services have the three always, so that a later change of a case is seen on both.
    columns += [
        _column(name, SYSTEM_COLUMNS[name].kind, pd.Series(dtype="str"))
        for name in ("case_id", "template_id", "updated_at")
        if name not in names
    ]
    return templates


def _templates(frame: pd.DataFrame, cells: dict[str, list[SqlValue]]) -> tuple[Template, ...]:
    """Return the templates, and set the template of each case: "Cases" where it has none."""
    size = len(frame)
    names = frame["template"].tolist() if "template" in frame else [None] * size
    names = [None if is_missing(name) else str(name) for name in names]
    new_ids: list[SqlValue] = [make_id("ctmpl", "frame", name or "Cases") for name in names]
    ids = cells.get("template_id", new_ids)
    cells["template_id"] = [own or new for own, new in zip(ids, new_ids, strict=True)]
    name_of: dict[SqlValue, str] = {}
    for template_id, name in zip(cells["template_id"], names, strict=True):
        if name is not None and name_of.setdefault(template_id, name) != name:
            raise ValueError(
                f"template_id {template_id!r} has two names in the column template, "
                f"{name_of[template_id]!r} and {name!r}; an id has one name"
            )
    # Without a column of names, the ids of the frame serve as names.
    own_ids = set() if "template" in frame else set(ids) - set(new_ids)
    templates = tuple(
        Template(str(item), name_of.get(item, str(item) if item in own_ids else "Cases"))
        for item in dict.fromkeys(cells["template_id"])
    )
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


def warn(message: str) -> None:
    """Issue a warning at the line of the user's code, outside of this package."""
    frame, level = sys._getframe(1), 2  # noqa: SLF001 - as the module warnings does
    while frame.f_back is not None and frame.f_globals["__name__"].startswith("casesearch_pd."):
        frame, level = frame.f_back, level + 1
    warnings.warn(message, stacklevel=level)


def lossy_tags(cells: Iterable[SqlValue]) -> str:
    """Return a warning about stored tags that Amazon Connect cannot show as they are, or ""."""
    bare: dict[str, None] = {}
    repeated: dict[str, None] = {}
    for tags in {cell for cell in cells if cell is not None and cell != "[]"}:
        keys = set()
        # The wire has a map: a tag without "=" gets an empty value, the last of equal keys stays.
        for tag in msgspec.json.decode(str(tags), type=list[str]):
            key, separator, _ = tag.partition("=")
            bare |= {} if separator else {tag: None}
            repeated |= {key: None} if key in keys else {}
            keys.add(key)
    parts = []
    if bare:
        examples = ", ".join(f"{tag!r} as {tag + '='!r}" for tag in sorted(bare)[:_PREVIEW])
        parts.append(f"{len(bare)} without a value are served with an empty one, {examples}")
    if repeated:
        examples = ", ".join(map(repr, sorted(repeated)[:_PREVIEW]))
        parts.append(f"of several tags of a case with one key the last is served, here {examples}")
    what = "; ".join(parts)
    return f"tags on Amazon Connect are pairs of a key and a value: {what}" if what else ""


def to_frame(store: Store, wire: str | None) -> pd.DataFrame:
    """Return all cases in the order of their ids, with the columns of `CaseService.frame`."""
    columns = _columns_by_name(store.schema.columns, wire)
    is_persona = wire == "persona"
    rows = store.rows([c.persona_name if is_persona else c.name for c in columns.values()])
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
