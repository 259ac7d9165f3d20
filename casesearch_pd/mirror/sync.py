"""A source and a file in, the file as the source is now out: at first all, later what changed.

A sync reads as any read does, into a new file beside the old one, and moves it there at its end.
What breaks off leaves the old file as it is; a first sync that breaks off is gone on with by the
next, from what it saved in a folder beside.
"""

from __future__ import annotations

import glob
import hashlib
import os
import shutil
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import pandas as pd

from casesearch_pd.errors import CaseSearchError, FilterError
from casesearch_pd.mirror.about import About
from casesearch_pd.mirror.audit import Present, audited
from casesearch_pd.mirror.engine import peek, writer
from casesearch_pd.mirror.history import Sync, conclude
from casesearch_pd.mirror.lock import writing
from casesearch_pd.mirror.merge import merge, present
from casesearch_pd.mirror.question import question_of, source_of
from casesearch_pd.mirror.stage import Stage
from casesearch_pd.query.expr import FALSE
from casesearch_pd.query.schema import Field
from casesearch_pd.query.stored import to_json
from casesearch_pd.reading.changes import changed, why_anew
from casesearch_pd.reading.checkpoint import question_of as question_of_route
from casesearch_pd.reading.place import Place, beside
from casesearch_pd.reading.plan import plan
from casesearch_pd.reading.provenance import read_back
from casesearch_pd.reading.stream import Chunks, Options
from casesearch_pd.reading.touched import Then

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from pathlib import Path

    import duckdb

    from casesearch_pd.mirror.merge import Merged
    from casesearch_pd.mirror.question import Question, Wish
    from casesearch_pd.query.expr import Expression
    from casesearch_pd.reading.changes import Inquiry
    from casesearch_pd.reading.plan import Route
    from casesearch_pd.sources.contract import Source

__all__ = ["synced"]

_PIECE = 5_000  # rows that are a frame at once


@dataclass
class _Syncing:
    """One sync under way."""

    path: Path
    old: About | None
    question: Question
    stage: Stage
    late: dict[str, Field] = field(default_factory=dict)
    kind: str = "first"
    stays: tuple[Expression, ...] = ()

    @property
    def inquiry(self) -> Inquiry:
        """Who is asked what."""
        return self.question.inquiry

    @property
    def asked(self) -> dict[str, Field]:
        """The fields that are read, by column."""
        fields = self.inquiry.query.columns
        return self.late | {item.column: item for item in fields}


def synced(path: Path, source: Source | None, wish: Wish) -> Sync:
    """Bring a mirror up to date, or make it.

    Raises
    ------
    FilterError
        If the mirror holds other cases than are asked for, or its folder cannot be written.
    CaseSearchError
        If somebody else is writing it, or the disk is full.
    """
    with writing(path):
        _tidy(path)
        old = peek(path)
        question = question_of(path, old, source_of(path, old, source), wish)
        try:
            return _synced(path, old, question, audit=wish.audit)
        except CaseSearchError as error:
            error.add_note(_left(path, old))
            raise


def _left(path: Path, old: About | None) -> str:
    if old is not None:
        return f"the mirror {str(path)!r} is as it was; sync again when that is mended"
    return f"the mirror {str(path)!r} is not made yet; sync again to go on where this broke off"


def _synced(path: Path, old: About | None, question: Question, *, audit: bool) -> Sync:
    with beside(Place(path, folder=False)) as work:
        with writer(work, None if old is None else path) as connection:
            syncing = _Syncing(path, old, question, Stage(connection))
            _read(syncing)
            if audit and old is not None and syncing.kind == "changes":
                _audit(syncing, old)
            done = _written(syncing, connection)
        _move(work / "new.duckdb", path)
    _remove(path, _SAVED.format(glob.escape(path.name), "*"))
    return done


# --- reading ------------------------------------------------------------------------------


def _read(syncing: _Syncing) -> None:
    """Read what the mirror lacks."""
    then = _then(syncing)
    if then is None or why_anew(syncing.inquiry, then):
        syncing.kind = "first" if then is None else "anew"
        syncing.stays = (FALSE,)
        _read_all(syncing)
    else:
        syncing.kind = "changes"
        _read_changes(syncing, then)


def _then(syncing: _Syncing) -> Then | None:
    old, lag = syncing.old, syncing.inquiry.lag
    return None if old is None else Then(old.moment - lag, pd.Timestamp(old.now), old.tz)


def _read_all(syncing: _Syncing) -> None:
    inquiry = syncing.inquiry
    route = plan(inquiry.source, inquiry.query, streamed=True)
    with _chunks(syncing, route) as chunks:
        for chunk in chunks:
            syncing.late |= chunks.late
            syncing.stage.add(chunk, syncing.asked)
        inquiry.new.as_of = chunks.told.as_of


def _chunks(syncing: _Syncing, route: Route) -> Chunks:
    inquiry = syncing.inquiry
    options = Options(_PIECE, inquiry.progress, overlap=inquiry.lag, open=True)
    saved = replace(options, checkpoint=_saved(syncing.path, route), keep=True)
    try:
        return Chunks(route, inquiry.run, inquiry.look, saved)
    except FilterError:  # not every filter leaves room for the windows of a checkpoint
        return Chunks(route, inquiry.run, inquiry.look, options)


def _read_changes(syncing: _Syncing, then: Then) -> None:
    assert syncing.old is not None, "there are changes of something"
    found = changed(syncing.inquiry, then, [*syncing.old.by_column])
    _add(syncing, found.rows)
    syncing.stage.remove(found.gone)
    syncing.stays = found.stays


def _audit(syncing: _Syncing, old: About) -> None:
    """Find what increments cannot see."""
    created = present(syncing.stage, old, _fields(syncing), syncing.stays)
    found = audited(syncing.inquiry, Present(syncing.stage.connection, created))
    _add(syncing, found.rows)
    syncing.stage.remove(found.gone)
    syncing.kind = "changes+audit"


def _add(syncing: _Syncing, found: Iterable[pd.DataFrame]) -> None:
    for rows in found:
        syncing.late |= _late(rows, syncing.asked)
        syncing.stage.add(rows, syncing.asked)


def _late(rows: pd.DataFrame, known: Mapping[str, Field]) -> dict[str, Field]:
    """Name the fields that no schema told; their cells tell the types."""
    ids = read_back(rows)["columns"]
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
    conclude(connection, _about(syncing, merged, as_of), done)
    connection.execute("CHECKPOINT new")
    connection.execute("DETACH new")
    return done


def _number(connection: duckdb.DuckDBPyConnection) -> int:
    found = connection.execute("SELECT len(syncs) FROM old.about").fetchone()
    return int(found[0]) if found else 0


def _about(syncing: _Syncing, merged: Merged, as_of: pd.Timestamp) -> About:
    source, query, chosen = syncing.inquiry.source, syncing.inquiry.query, syncing.question.chosen
    return About(
        source=source.describe(),
        filter=to_json(query.filter),
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
    hidden = [one for one in schema.fields if not one.shown]
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


# --- files --------------------------------------------------------------------------------

_SAVED = ".{}.saved-{}"


def _saved(path: Path, route: Route) -> Path:
    """Name a folder for what is read; another question has another one."""
    mark = hashlib.sha256(question_of_route(route, streamed=True).encode()).hexdigest()[:16]
    return path.with_name(_SAVED.format(path.name, mark))


def _tidy(path: Path) -> None:
    """Remove the folders of writers that were killed."""
    _remove(path, f".{glob.escape(path.name)}-{'[a-z0-9_]' * 8}")  # as tempfile names them


def _remove(path: Path, folders: str) -> None:
    for folder in path.parent.glob(folders):
        shutil.rmtree(folder, ignore_errors=True)


def _move(new: Path, path: Path) -> None:
    """Put the new file in the place of the old one, at once and for good."""
    try:
        with new.open("rb+") as file:
            os.fsync(file.fileno())
        new.replace(path)
    except OSError as error:
        raise CaseSearchError(
            f"the mirror {str(path)!r} cannot be replaced ({error}); what was there is intact"
        ) from error
