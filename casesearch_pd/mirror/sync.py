"""Update a mirror: bind the query, read all cases or what changed, and write the new file.

A mirror holds the cases of one source that match one filter, in one selection of columns. Later
syncs keep to them; another query is an error, because its result would be another mirror.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import pandas as pd

from casesearch_pd.errors import CaseSearchError, FilterError, warn
from casesearch_pd.mirror.merge import create_mirror_rows_table, merge, with_examples
from casesearch_pd.mirror.metadata import MirrorMetadata, Sync, record_sync
from casesearch_pd.mirror.reconcile import MirrorRows, reconcile
from casesearch_pd.mirror.staging import StagingTable
from casesearch_pd.mirror.storage import (
    checkpoint_folder,
    close_mirror_file,
    locate,
    open_writer,
    read_metadata_if_exists,
    remove_checkpoints,
    remove_leftovers,
    replace_file,
    write_lock,
)
from casesearch_pd.query.expressions import FALSE, TRUE, Compare, all_of, any_of, negate
from casesearch_pd.query.schema import Field
from casesearch_pd.query.serialization import filter_from_json, filter_to_json
from casesearch_pd.reading.atomic import OutputPath, temporary_sibling
from casesearch_pd.reading.fetch.chunks import Chunks
from casesearch_pd.reading.incremental.changes import (
    IncrementalRead,
    PreviousRead,
    full_read_reason,
    read_changes,
    read_query,
)
from casesearch_pd.reading.options import Query, bind_query, parse_filter
from casesearch_pd.reading.plan import make_plan
from casesearch_pd.reading.provenance import Provenance
from casesearch_pd.sources.registry import (
    differing_key,
    remember_source,
    require_source,
    resolve_source,
)
from casesearch_pd.sources.transport.context import ReadContext, use_context

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from pathlib import Path

    import duckdb

    from casesearch_pd.mirror.merge import MergeResult
    from casesearch_pd.mirror.metadata import SyncKind
    from casesearch_pd.query.expressions import Expression
    from casesearch_pd.query.schema import Schema
    from casesearch_pd.reading.options import ReadOptions
    from casesearch_pd.reading.plan import ReadPlan
    from casesearch_pd.sources.base import Source

__all__ = ["SyncRequest", "run_sync"]

# The columns that identify cases and their versions, and order them.
_KEY_COLUMNS = ("case_id", "created_at", "updated_at")
_CHUNK_ROWS = 5_000


@dataclass(frozen=True)
class SyncRequest:
    """The arguments of `Mirror.sync`."""

    query: Query  # that of the mirror, or empty, in later syncs
    options: ReadOptions
    verify: bool = False


@dataclass
class _SyncRun:
    """A sync in progress."""

    path: Path
    old: MirrorMetadata | None
    incremental: IncrementalRead  # its query has the key columns too
    selection: tuple[Field, ...] | None  # None for every active field
    tz: str  # of naive times in the filter
    new_fields: dict[str, Field] = field(default_factory=dict)  # not in the schema, by column
    kind: SyncKind = "full"
    # Cases of the old file that meet all of these stay without being read.
    keep_conditions: tuple[Expression, ...] = (FALSE,)

    @property
    def fields(self) -> dict[str, Field]:
        """The fields that are read, by column."""
        return self.new_fields | {item.column: item for item in self.incremental.query.columns}


def run_sync(path: Path, source: Source | None, request: SyncRequest) -> Sync:
    """Create or update a mirror; see `Mirror.sync`."""
    path = locate(OutputPath(path, is_folder=False).target)
    if path.is_dir():
        raise FilterError(f"{str(path)!r} is a folder; name a file in it, such as cases.duckdb")
    # The time limit covers discovery, and begins before it.
    context = ReadContext.with_timeout(request.options.timeout)
    with use_context(context), write_lock(path):
        remove_leftovers(path)
        old = read_metadata_if_exists(path)
        run = _bind(path, old, _require_same_source(path, old, source), request, context)
        try:
            return _sync(run, verify=request.verify)
        except CaseSearchError as error:
            error.add_note(
                f"the mirror {str(path)!r} was not created; sync again to resume the read"
                if old is None
                else f"the mirror {str(path)!r} is unchanged; sync again after fixing the cause"
            )
            raise


def _sync(run: _SyncRun, *, verify: bool) -> Sync:
    path = run.path
    with temporary_sibling(OutputPath(path, is_folder=False)) as folder:
        with open_writer(folder, None if run.old is None else path) as connection:
            stage = StagingTable(connection)
            _read(run, stage)
            if verify and run.old is not None and run.kind == "increment":
                _verify(run, stage, run.old)
            run.incremental.context.check_time("the new file of the mirror")
            sync = _write(run, stage)
        close_mirror_file(path)
        replace_file(folder / "new.duckdb", path)
    remove_checkpoints(path)
    return sync


def _require_same_source(path: Path, old: MirrorMetadata | None, source: Source | None) -> Source:
    """Return the source to read, by default that of the last sync; refuse a different one."""
    if source is None:
        if old is None:
            raise FilterError(f"the mirror {str(path)!r} has no source yet; call sync(source)")
        return resolve_source(old.source)
    require_source(source)
    if old is not None:
        name = differing_key(source.describe(), old.source)
        if name is not None:
            raise FilterError(
                f"the mirror {str(path)!r} has the cases of another source: its {name} is "
                f"{old.source.get(name)!r}, got {source.describe().get(name)!r}; pass its own "
                "source, or create a mirror at another path"
            )
    remember_source(source)  # for the next sync, which need not pass it
    return source


def _bind(
    path: Path,
    old: MirrorMetadata | None,
    source: Source,
    request: SyncRequest,
    context: ReadContext,
) -> _SyncRun:
    """Bind the query of the user in the first sync, and that of the mirror in later ones."""
    query = request.query
    if old is not None:
        query = _mirror_query(path, source.schema, old, query)
    bound = bind_query(source, query)
    if bound.where == FALSE:
        raise FilterError(
            "no case can match this filter, so there is nothing to mirror; change the filter"
        )
    keys = [item for item in map(source.schema.find, _KEY_COLUMNS) if item is not None]
    incremental = IncrementalRead(
        source,
        replace(bound, columns=tuple(dict.fromkeys([*bound.columns, *keys]))),
        request.options,
        context,
    )
    return _SyncRun(path, old, incremental, None if bound.all_columns else bound.columns, query.tz)


def _mirror_query(path: Path, schema: Schema, old: MirrorMetadata, query: Query) -> Query:
    """Return the query of the mirror; refuse a different one."""
    if query.where is not None or query.filters or query.tags is not None:
        expression = parse_filter(query.where, query.filters, query.tags, schema)
        if filter_to_json(expression) != old.filter:
            raise FilterError(
                f"the mirror {str(path)!r} has the cases of another filter, "
                f"{filter_from_json(old.filter)!r}; sync without a filter to keep it, or create a "
                "mirror at another path"
            )
    if query.columns is not None:
        names = [query.columns] if isinstance(query.columns, str) else query.columns
        if list(dict.fromkeys(schema.resolve(name).id for name in names)) != old.selection:
            raise FilterError(
                f"the mirror {str(path)!r} has other columns; sync without columns= to keep them, "
                "or create a mirror at another path"
            )
    known = {item.id for item in schema.fields}
    ids = None if old.selection is None else [id_ for id_ in old.selection if id_ in known]
    return Query(where=filter_from_json(old.filter), columns=ids, tz=old.tz)


def _read(run: _SyncRun, stage: StagingTable) -> None:
    """Read all cases, or what changed since the last sync."""
    if run.old is None:
        _read_all(run, stage)
        return
    since = run.old.synced_at - run.incremental.lookback
    previous = PreviousRead(since, pd.Timestamp(run.old.now), run.old.tz)
    if full_read_reason(run.incremental, previous):
        _read_all(run, stage)
    else:
        _read_changes(run, stage, run.old, previous)


def _read_all(run: _SyncRun, stage: StagingTable) -> None:
    plan = make_plan(run.incremental.source, run.incremental.query, streamed=True)
    with _chunks(run, plan) as chunks:
        for chunk in chunks:
            run.new_fields |= chunks.new_fields
            stage.add(chunk, run.fields)
        run.incremental.metadata.as_of = chunks.metadata.as_of


def _chunks(run: _SyncRun, plan: ReadPlan) -> Chunks:
    incremental = run.incremental
    options = replace(incremental.options, chunksize=_CHUNK_ROWS)
    resumable = replace(options, checkpoint=checkpoint_folder(run.path, plan))
    try:
        return Chunks(plan, incremental.context, resumable, open_columns=True, keep_checkpoint=True)
    except FilterError:  # a filter that cannot be combined with the windows of a checkpoint
        return Chunks(plan, incremental.context, options, open_columns=True)


def _read_changes(
    run: _SyncRun, stage: StagingTable, old: MirrorMetadata, previous: PreviousRead
) -> None:
    changes = read_changes(run.incremental, previous, [*old.by_column])
    _add(run, stage, changes.rows)
    _add(run, stage, _read_new_fields(run, old))
    stage.remove(changes.removed_ids)
    run.kind, run.keep_conditions = "increment", changes.conditions


def _read_new_fields(run: _SyncRun, old: MirrorMetadata) -> Iterator[pd.DataFrame]:
    """Read the cases that have a value in a field that is new to the mirror."""
    # A field may be new only to us (to a key with more rights), so that cases without an update
    # have values in it. An open service returned all values of a case from the beginning.
    incremental, known = run.incremental, {column.field.id for column in old.columns}
    new = [item for item in incremental.query.columns if item.id not in known]
    if not new or (incremental.query.all_columns and incremental.source.schema.open):
        return
    has_value = any_of(negate(Compare(item, "isna", None)) for item in new)
    query = replace(incremental.query, where=all_of([incremental.query.where, has_value]))
    if make_plan(incremental.source, query, quiet=True).pushdown.parts == (TRUE,):
        names = ", ".join(item.column for item in new)
        warn(
            f"{incremental.source.name} cannot be queried for the cases that have a value in "
            f"{names}, new since the last sync; each case gets its value when it is next updated. "
            "To have all values now, create a mirror at another path"
        )
        return
    yield read_query(incremental, query)


def _verify(run: _SyncRun, stage: StagingTable, old: MirrorMetadata) -> None:
    """Add and remove the cases that an increment cannot detect."""
    created = create_mirror_rows_table(stage, old, _file_fields(run), run.keep_conditions)
    result = reconcile(run.incremental, MirrorRows(stage.connection, created))
    _add(run, stage, result.frames)
    stage.remove(result.deleted)
    run.kind = "verify"


def _add(run: _SyncRun, stage: StagingTable, frames: Iterable[pd.DataFrame]) -> None:
    for frame in frames:
        run.new_fields |= _new_fields(frame, run.fields)
        stage.add(frame, run.fields)


def _new_fields(frame: pd.DataFrame, known: Mapping[str, Field]) -> dict[str, Field]:
    """Return the fields of a frame that are not in the schema; their values determine the types."""
    ids = Provenance.from_attrs(frame).columns
    return {
        column: Field(column, ids[column], ids[column].removeprefix("fields."), "any", "custom")
        for column in map(str, frame)
        if column not in known
    }


def _write(run: _SyncRun, stage: StagingTable) -> Sync:
    """Write the new file and close it."""
    old, context, connection = run.old, run.incremental.context, stage.connection
    merged = merge(stage, old, _file_fields(run), run.keep_conditions)
    as_of = run.incremental.metadata.as_of or (None if old is None else old.synced_at)
    assert as_of is not None, "a read has a time"
    sync = Sync(
        number=1 if old is None else _number_of_syncs(connection) + 1,
        kind=run.kind,
        as_of=as_of,
        rows=merged.rows,
        added=merged.added,
        changed=merged.changed,
        removed=merged.removed,
        requests=context.requests,
        seconds=round(context.elapsed(), 3),
    )
    record_sync(connection, _metadata(run, connection, merged, as_of), sync)
    connection.execute("CHECKPOINT new")
    connection.execute("DETACH new")
    return sync


def _number_of_syncs(connection: duckdb.DuckDBPyConnection) -> int:
    ((number,),) = connection.execute("SELECT len(syncs) FROM old.metadata").fetchall()
    return int(number)


def _metadata(
    run: _SyncRun, connection: duckdb.DuckDBPyConnection, merged: MergeResult, as_of: pd.Timestamp
) -> MirrorMetadata:
    source, query = run.incremental.source, run.incremental.query
    return MirrorMetadata(
        source=source.describe(),
        traits=source.traits,
        filter=filter_to_json(query.filter),
        selection=None if run.selection is None else [item.id for item in run.selection],
        tz=run.tz,
        columns=with_examples(connection, merged.columns, source.traits.closed_status),
        shared={name: tuple(columns) for name, columns in source.schema.shared.items()},
        as_of=as_of.isoformat(),
        now=query.now.isoformat(),
        rows=merged.rows,
    )


def _file_fields(run: _SyncRun) -> list[Field]:
    """Return the fields of the new file: those read, invisible ones, and those of the past."""
    schema = run.incremental.source.schema
    active = {*(schema.active if run.selection is None else run.selection)}
    selected = [replace(item, active=item in active) for item in run.incremental.query.columns]
    new = [item for item in run.new_fields.values() if item not in selected]
    hidden = [item for item in schema.fields if not item.visible]
    current = [*selected, *new, *hidden]
    return [*current, *_retired_fields(run, current)]


def _retired_fields(run: _SyncRun, current: Sequence[Field]) -> list[Field]:
    """Return the fields of the old file that the source no longer has; they keep their values."""
    if run.old is None:
        return []
    ids, names = {item.id for item in current}, {item.column for item in current}
    # An open service does not list all of its fields every time, so theirs stay active. Others are
    # read only if they are named.
    is_open = run.incremental.source.schema.open
    return [
        replace(
            item,
            column=f"{item.column}_{item.id[:8]}" if item.column in names else item.column,
            active=item.active and is_open,
        )
        for item in (column.field for column in run.old.by_id.values())
        if item.id not in ids
    ]
