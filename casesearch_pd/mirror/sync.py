"""A source and a file in, the file as the source is now out: at first all, later what changed.

A sync reads as any read does, into a new file beside the old one, and moves it there at its end.
What breaks off leaves the old file as it is; a first sync that breaks off is gone on with by the
next, from what it saved in a folder beside.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import pandas as pd

from casesearch_pd.errors import CaseSearchError, FilterError, warn
from casesearch_pd.mirror.about import About
from casesearch_pd.mirror.audit import Present, audited
from casesearch_pd.mirror.beside import forget, move, saved, tidy
from casesearch_pd.mirror.engine import peek, release, writer
from casesearch_pd.mirror.history import Sync, conclude
from casesearch_pd.mirror.lock import writing
from casesearch_pd.mirror.merge import merge, present
from casesearch_pd.mirror.question import question_of, source_of
from casesearch_pd.mirror.stage import Stage
from casesearch_pd.query.expr import FALSE, TRUE, Compare, all_of, any_of, negate
from casesearch_pd.query.schema import Field
from casesearch_pd.query.stored import to_json
from casesearch_pd.reading.changes import changed, inquire, why_anew
from casesearch_pd.reading.place import Place, beside
from casesearch_pd.reading.plan import plan
from casesearch_pd.reading.provenance import read_back
from casesearch_pd.reading.stream import Chunks, Options
from casesearch_pd.reading.touched import Then

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence
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
        tidy(path)
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
        release(path)
        move(work / "new.duckdb", path)
    forget(path)
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
    kept = replace(options, checkpoint=saved(syncing.path, route), keep=True)
    try:
        return Chunks(route, inquiry.run, inquiry.look, kept)
    except FilterError:  # not every filter leaves room for the windows of a checkpoint
        return Chunks(route, inquiry.run, inquiry.look, options)


def _read_changes(syncing: _Syncing, then: Then) -> None:
    assert syncing.old is not None, "there are changes of something"
    found = changed(syncing.inquiry, then, [*syncing.old.by_column])
    _add(syncing, found.rows)
    _add(syncing, _of_new_fields(syncing, syncing.old))
    syncing.stage.remove(found.gone)
    syncing.stays = found.stays


def _of_new_fields(syncing: _Syncing, old: About) -> Iterator[pd.DataFrame]:
    """Read the cases that have a value in a field that is new here: it need not be new to them.

    A service with open fields shows all that a case has, told before or not, so nothing lacks.
    """
    inquiry, known = syncing.inquiry, {one.field.id for one in old.kept}
    new = [item for item in inquiry.query.columns if item.id not in known]
    if not new or (inquiry.query.every and inquiry.source.schema.open):
        return
    valued = any_of(negate(Compare(item, "isna", None)) for item in new)
    query = replace(inquiry.query, where=all_of([inquiry.query.where, valued]))
    if plan(inquiry.source, query, quiet=True).split.parts == (TRUE,):
        named = ", ".join(item.column for item in new)
        warn(
            f"{inquiry.source.name} cannot be asked which cases have a value in {named}, new since "
            "the last sync; cases get theirs when they are updated. A new mirror in another file "
            "has them all"
        )
        return
    yield inquire(inquiry, query)


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
