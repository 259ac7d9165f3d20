"""What a user asks of a sync and what the mirror holds in, the question for the source out.

A mirror holds the cases of one source, by one filter, in one choice of columns. A later sync
keeps to them; another question is an error, since its answer would be another mirror.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from casesearch_pd.errors import FilterError
from casesearch_pd.query.expr import FALSE
from casesearch_pd.query.stored import from_json, to_json
from casesearch_pd.reading.changes import Inquiry
from casesearch_pd.reading.frame import Look
from casesearch_pd.reading.plan import ask, overlap_of, written
from casesearch_pd.sources.again import again, check_opened, differing, remember
from casesearch_pd.sources.run import Run

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from datetime import timedelta
    from pathlib import Path

    from casesearch_pd.mirror.about import About
    from casesearch_pd.query.expr import Expression
    from casesearch_pd.query.schema import Field, Schema
    from casesearch_pd.reading.plan import Query
    from casesearch_pd.reading.progress import Progress
    from casesearch_pd.sources.contract import Source

__all__ = ["Question", "Wish", "question_of", "source_of"]

_KEYS = ("case_id", "created_at", "updated_at")  # without which cases cannot be kept apart


@dataclass(frozen=True)
class Wish:
    """What a user asks of a sync: the arguments of `Mirror.sync`."""

    where: Expression | Mapping[str, object] | None
    filters: Mapping[str, object]
    tags: Mapping[str, str] | Iterable[str] | str | None
    columns: Sequence[str] | None
    tz: str
    audit: bool
    progress: Progress
    max_workers: int | None
    deadline: float | None
    overlap: timedelta | str | float | None

    @property
    def filtered(self) -> bool:
        """Whether it says which cases are wanted."""
        return self.where is not None or bool(self.filters) or self.tags is not None


@dataclass(frozen=True)
class Question:
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

    inquiry: Inquiry
    chosen: tuple[Field, ...] | None
    tz: str


def source_of(path: Path, old: About | None, source: Source | None) -> Source:
    """Take the source that was given, or that of the last sync; refuse another one."""
    if source is None and old is None:
        raise FilterError(f"nothing tells whose cases {str(path)!r} is to hold; sync(source)")
    if source is None:
        assert old is not None, "one of them is there"
        return again(old.source)
    check_opened(source)
    name = None if old is None else differing(source.describe(), old.source)
    if old is not None and name is not None:
        raise FilterError(
            f"the mirror {str(path)!r} holds the cases of another source: its {name} is "
            f"{old.source.get(name)!r}, this one's {source.describe().get(name)!r}; give its own "
            "source, or make another mirror in another file"
        )
    remember(source)  # for the next sync, which need not name it
    return source


def question_of(path: Path, old: About | None, source: Source, wish: Wish) -> Question:
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
    inquiry = Inquiry(
        source,
        whole,
        Look(),
        overlap_of(source, wish.overlap),
        run=Run.within(wish.deadline),
        progress=wish.progress,
        workers=wish.max_workers,
    )
    return Question(inquiry, None if query.every else query.columns, tz)


def _first(source: Source, wish: Wish) -> Query:
    return ask(source, wish.where, wish.filters, tags=wish.tags, columns=wish.columns, tz=wish.tz)


def _same(path: Path, source: Source, old: About, wish: Wish) -> Query:
    """Ask what was asked at first."""
    schema = source.schema
    if (
        wish.filtered
        and to_json(written(wish.where, wish.filters, wish.tags, schema)) != old.filter
    ):
        raise FilterError(
            f"the mirror {str(path)!r} holds the cases of another filter, "
            f"{from_json(old.filter)!r}; sync without a filter to keep to it, or make another "
            "mirror in another file"
        )
    if wish.columns is not None and _ids(wish.columns, schema) != old.columns:
        raise FilterError(
            f"the mirror {str(path)!r} holds other columns; sync without columns= to keep to "
            "them, or make another mirror in another file"
        )
    known = {item.id for item in schema.fields}
    ids = None if old.columns is None else [one for one in old.columns if one in known]
    return ask(source, from_json(old.filter), {}, columns=ids, tz=old.tz)


def _ids(names: Sequence[str], schema: Schema) -> list[str]:
    listed = [names] if isinstance(names, str) else names
    return list(dict.fromkeys(schema.resolve(name).id for name in listed))
