"""What a user asks of a sync and what the mirror holds in, the question for the source out.

A mirror holds the cases of one source, by one filter, in one choice of columns. A later sync
keeps to them; another question is an error, since its answer would be another mirror.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import pandas as pd

from casesearch_pd.errors import CaseSearchError, FilterError, warn
from casesearch_pd.mirror.merge import merge, present
from casesearch_pd.mirror.metadata import MirrorMetadata, Sync, record_sync
from casesearch_pd.mirror.reconcile import PresentRows, reconcile
from casesearch_pd.mirror.staging import StagingTable
from casesearch_pd.mirror.storage import (
    checkpoint_folder,
    peek,
    release,
    remove_checkpoint,
    remove_leftovers,
    replace_file,
    write_lock,
    writer,
)
from casesearch_pd.query.expressions import FALSE, TRUE, Compare, all_of, any_of, negate
from casesearch_pd.query.schema import Field
from casesearch_pd.query.serialization import filter_from_json, filter_to_json
from casesearch_pd.reading.fetch.stream import Chunks, Options
from casesearch_pd.reading.frames.frame import FrameFormat
from casesearch_pd.reading.incremental.changes import (
    IncrementalRead,
    PreviousRead,
    full_read_reason,
    read_changes,
    read_part,
)
from casesearch_pd.reading.output.atomic import OutputPath, temporary_sibling
from casesearch_pd.reading.plan import build_query, make_plan, parse_filter, parse_lookback
from casesearch_pd.reading.provenance import read_provenance
from casesearch_pd.sources.registry import (
    first_difference,
    remember_source,
    require_source,
    resolve_source,
)
from casesearch_pd.sources.transport.context import ReadContext

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from datetime import timedelta
    from pathlib import Path

    import duckdb

    from casesearch_pd.mirror.merge import MergeResult
    from casesearch_pd.query.expressions import Expression
    from casesearch_pd.query.schema import Schema
    from casesearch_pd.reading.fetch.progress import Progress
    from casesearch_pd.reading.plan import Query, ReadPlan
    from casesearch_pd.sources.base import Source

__all__ = ["SyncQuery", "SyncRequest", "run_sync", "source_of", "sync_query"]

_KEYS = ("case_id", "created_at", "updated_at")  # without which cases cannot be kept apart


@dataclass(frozen=True)
class SyncRequest:
    """What a user asks of a sync: the arguments of `Mirror.sync`."""

    where: Expression | Mapping[str, object] | None
    filters: Mapping[str, object]
    tags: Mapping[str, str] | Iterable[str] | str | None
    columns: Sequence[str] | None
    tz: str
    verify: bool
    progress: Progress
    max_workers: int | None
    timeout: float | None
    lookback: timedelta | str | float | None

    @property
    def filtered(self) -> bool:
        """Whether it says which cases are wanted."""
        return self.where is not None or bool(self.filters) or self.tags is not None


@dataclass(frozen=True)
class SyncQuery:
    """What a sync asks.

    Parameters
    ----------
    inquiry
        Who is asked what; with the fields that tell cases and versions apart.
    chosen
        The fields that were asked for; None for every active one.
    tz
        The zone of naive times in the filter.
    """

    inquiry: IncrementalRead
    chosen: tuple[Field, ...] | None
    tz: str


def source_of(path: Path, old: MirrorMetadata | None, source: Source | None) -> Source:
    """Take the source that was given, or that of the last sync; refuse another one."""
    if source is None and old is None:
        raise FilterError(f"nothing tells whose cases {str(path)!r} is to hold; sync(source)")
    if source is None:
        assert old is not None, "one of them is there"
        return resolve_source(old.source)
    require_source(source)
    name = None if old is None else first_difference(source.describe(), old.source)
    if old is not None and name is not None:
        raise FilterError(
            f"the mirror {str(path)!r} holds the cases of another source: its {name} is "
            f"{old.source.get(name)!r}, this one's {source.describe().get(name)!r}; give its own "
            "source, or make another mirror in another file"
        )
    remember_source(source)  # for the next sync, which need not name it
    return source


def sync_query(
    path: Path, old: MirrorMetadata | None, source: Source, wish: SyncRequest
) -> SyncQuery:
    """Bind the question: at first the user's, later what the mirror holds.

    Raises
    ------
    FilterError
        If it cannot be asked, or is another one than the mirror's.
    """
    tz = wish.tz if old is None else old.tz
    query = _first(source, wish) if old is None else _same(path, source, old, wish)
    if query.where == FALSE:
        raise FilterError("no case can meet this filter, so there is nothing to mirror")
    keys = [item for item in map(source.schema.find, _KEYS) if item is not None]
    whole = replace(query, columns=tuple(dict.fromkeys([*query.columns, *keys])))
    inquiry = IncrementalRead(
        source,
        whole,
        FrameFormat(),
        parse_lookback(source, wish.lookback),
        run=ReadContext.with_timeout(wish.timeout),
        progress=wish.progress,
        workers=wish.max_workers,
    )
    return SyncQuery(inquiry, None if query.all_columns else query.columns, tz)


def _first(source: Source, wish: SyncRequest) -> Query:
    return build_query(
        source, wish.where, wish.filters, tags=wish.tags, columns=wish.columns, tz=wish.tz
    )


def _same(path: Path, source: Source, old: MirrorMetadata, wish: SyncRequest) -> Query:
    """Ask what was asked at first."""
    schema = source.schema
    if (
        wish.filtered
        and filter_to_json(parse_filter(wish.where, wish.filters, wish.tags, schema)) != old.filter
    ):
        raise FilterError(
            f"the mirror {str(path)!r} holds the cases of another filter, "
            f"{filter_from_json(old.filter)!r}; sync without a filter to keep to it, or make another "
            "mirror in another file"
        )
    if wish.columns is not None and _ids(wish.columns, schema) != old.columns:
        raise FilterError(
            f"the mirror {str(path)!r} holds other columns; sync without columns= to keep to "
            "them, or make another mirror in another file"
        )
    known = {item.id for item in schema.fields}
    ids = None if old.columns is None else [one for one in old.columns if one in known]
    return build_query(source, filter_from_json(old.filter), {}, columns=ids, tz=old.tz)


def _ids(names: Sequence[str], schema: Schema) -> list[str]:
    listed = [names] if isinstance(names, str) else names
    return list(dict.fromkeys(schema.resolve(name).id for name in listed))


_PIECE = 5_000  # rows that are a frame at once


@dataclass
class _Syncing:
    """One sync under way."""

    path: Path
    old: MirrorMetadata | None
    question: SyncQuery
    stage: StagingTable
    late: dict[str, Field] = field(default_factory=dict)
    kind: str = "full"
    stays: tuple[Expression, ...] = ()

    @property
    def inquiry(self) -> IncrementalRead:
        """Who is asked what."""
        return self.question.inquiry

    @property
    def asked(self) -> dict[str, Field]:
        """The fields that are read, by column."""
        fields = self.inquiry.query.columns
        return self.late | {item.column: item for item in fields}


def run_sync(path: Path, source: Source | None, wish: SyncRequest) -> Sync:
    """Bring a mirror up to date, or make it.

    Raises
    ------
    FilterError
        If the mirror holds other cases than are asked for, or its folder cannot be written.
    CaseSearchError
        If somebody else is writing it, or the disk is full.
    """
    with write_lock(path):
        remove_leftovers(path)
        old = peek(path)
        question = sync_query(path, old, source_of(path, old, source), wish)
        try:
            return _synced(path, old, question, verify=wish.verify)
        except CaseSearchError as error:
            error.add_note(_left(path, old))
            raise


def _left(path: Path, old: MirrorMetadata | None) -> str:
    if old is not None:
        return f"the mirror {str(path)!r} is as it was; sync again when that is mended"
    return f"the mirror {str(path)!r} is not made yet; sync again to go on where this broke off"


def _synced(path: Path, old: MirrorMetadata | None, question: SyncQuery, *, verify: bool) -> Sync:
    with temporary_sibling(OutputPath(path, folder=False)) as work:
        with writer(work, None if old is None else path) as connection:
            syncing = _Syncing(path, old, question, StagingTable(connection))
            _read(syncing)
            if verify and old is not None and syncing.kind == "increment":
                _audit(syncing, old)
            done = _written(syncing, connection)
        release(path)
        replace_file(work / "new.duckdb", path)
    remove_checkpoint(path)
    return done


# --- reading ------------------------------------------------------------------------------


def _read(syncing: _Syncing) -> None:
    """Read what the mirror lacks."""
    then = _then(syncing)
    if then is None or full_read_reason(syncing.inquiry, then):
        syncing.kind = "full"
        syncing.stays = (FALSE,)
        _read_all(syncing)
    else:
        syncing.kind = "increment"
        _read_changes(syncing, then)


def _then(syncing: _Syncing) -> PreviousRead | None:
    old, lag = syncing.old, syncing.inquiry.lag
    return None if old is None else PreviousRead(old.moment - lag, pd.Timestamp(old.now), old.tz)


def _read_all(syncing: _Syncing) -> None:
    inquiry = syncing.inquiry
    route = make_plan(inquiry.source, inquiry.query, streamed=True)
    with _chunks(syncing, route) as chunks:
        for chunk in chunks:
            syncing.late |= chunks.late
            syncing.stage.add(chunk, syncing.asked)
        inquiry.new.as_of = chunks.told.as_of


def _chunks(syncing: _Syncing, route: ReadPlan) -> Chunks:
    inquiry = syncing.inquiry
    options = Options(_PIECE, inquiry.progress, lookback=inquiry.lag, open=True)
    kept = replace(options, checkpoint=checkpoint_folder(syncing.path, route), keep=True)
    try:
        return Chunks(route, inquiry.run, inquiry.look, kept)
    except FilterError:  # not every filter leaves room for the windows of a checkpoint
        return Chunks(route, inquiry.run, inquiry.look, options)


def _read_changes(syncing: _Syncing, then: PreviousRead) -> None:
    assert syncing.old is not None, "there are changes of something"
    found = read_changes(syncing.inquiry, then, [*syncing.old.by_column])
    _add(syncing, found.rows)
    _add(syncing, _of_new_fields(syncing, syncing.old))
    syncing.stage.remove(found.gone)
    syncing.stays = found.stays


def _of_new_fields(syncing: _Syncing, old: MirrorMetadata) -> Iterator[pd.DataFrame]:
    """Read the cases that have a value in a field that is new here: it need not be new to them.

    A service with open fields shows all that a case has, told before or not, so nothing lacks.
    """
    inquiry, known = syncing.inquiry, {one.field.id for one in old.kept}
    new = [item for item in inquiry.query.columns if item.id not in known]
    if not new or (inquiry.query.all_columns and inquiry.source.schema.open):
        return
    valued = any_of(negate(Compare(item, "isna", None)) for item in new)
    query = replace(inquiry.query, where=all_of([inquiry.query.where, valued]))
    if make_plan(inquiry.source, query, quiet=True).pushdown.parts == (TRUE,):
        named = ", ".join(item.column for item in new)
        warn(
            f"{inquiry.source.name} cannot be asked which cases have a value in {named}, new since "
            "the last sync; cases get theirs when they are updated. A new mirror in another file "
            "has them all"
        )
        return
    yield read_part(inquiry, query)


def _audit(syncing: _Syncing, old: MirrorMetadata) -> None:
    """Find what increments cannot see."""
    created = present(syncing.stage, old, _fields(syncing), syncing.stays)
    found = reconcile(syncing.inquiry, PresentRows(syncing.stage.connection, created))
    _add(syncing, found.rows)
    syncing.stage.remove(found.gone)
    syncing.kind = "verify"


def _add(syncing: _Syncing, found: Iterable[pd.DataFrame]) -> None:
    for rows in found:
        syncing.late |= _late(rows, syncing.asked)
        syncing.stage.add(rows, syncing.asked)


def _late(rows: pd.DataFrame, known: Mapping[str, Field]) -> dict[str, Field]:
    """Name the fields that no schema told; their cells tell the types."""
    ids = read_provenance(rows)["columns"]
    new = {column: ids[column] for column in map(str, rows) if column not in known}
    return {
        column: Field(column, told, told.removeprefix("fields."), "any", "custom")
        for column, told in new.items()
    }


# --- writing ------------------------------------------------------------------------------


def _written(syncing: _Syncing, connection: duckdb.DuckDBPyConnection) -> Sync:
    """Write the new file to its end."""
    inquiry, old = syncing.inquiry, syncing.old
    merged = merge(syncing.stage, old, _fields(syncing), syncing.stays)
    as_of = inquiry.new.as_of or (None if old is None else old.moment)
    assert as_of is not None, "something was asked"
    number = 1 if old is None else _number(connection) + 1
    counts = (merged.rows, merged.added, merged.changed, merged.removed)
    run = inquiry.run
    done = Sync(number, syncing.kind, as_of, *counts, run.requests, round(run.elapsed(), 3))
    record_sync(connection, _about(syncing, merged, as_of), done)
    connection.execute("CHECKPOINT new")
    connection.execute("DETACH new")
    return done


def _number(connection: duckdb.DuckDBPyConnection) -> int:
    found = connection.execute("SELECT len(syncs) FROM old.about").fetchone()
    return int(found[0]) if found else 0


def _about(syncing: _Syncing, merged: MergeResult, as_of: pd.Timestamp) -> MirrorMetadata:
    source, query, chosen = syncing.inquiry.source, syncing.inquiry.query, syncing.question.chosen
    return MirrorMetadata(
        source=source.describe(),
        filter=filter_to_json(query.filter),
        columns=None if chosen is None else [item.id for item in chosen],
        tz=syncing.question.tz,
        kept=merged.kept,
        shared={name: tuple(held) for name, held in source.schema.shared.items()},
        as_of=as_of.isoformat(),
        now=query.now.isoformat(),
        rows=merged.rows,
    )


def _fields(syncing: _Syncing) -> list[Field]:
    """List the fields of the new file: those that are read, the unseen ones, those of before."""
    schema, chosen = syncing.inquiry.source.schema, syncing.question.chosen
    shown = {*(schema.active if chosen is None else chosen)}
    read = [replace(one, active=one in shown) for one in syncing.inquiry.query.columns]
    late = [one for one in syncing.late.values() if one not in read]
    hidden = [one for one in schema.fields if not one.visible]
    now = [*read, *late, *hidden]
    return [*now, *_retired(syncing, now)]


def _retired(syncing: _Syncing, now: Sequence[Field]) -> list[Field]:
    """Keep what the service tells no more: its values are asked for by name only.

    A service with open fields does not tell all of them every time.
    """
    ids, taken = {one.id for one in now}, {one.column for one in now}
    before = () if syncing.old is None else (one.field for one in syncing.old.kept if one.name)
    open_ = syncing.inquiry.source.schema.open
    return [
        replace(
            one,
            column=f"{one.column}_{one.id[:8]}" if one.column in taken else one.column,
            active=one.active and open_,
        )
        for one in before
        if one.id not in ids
    ]
