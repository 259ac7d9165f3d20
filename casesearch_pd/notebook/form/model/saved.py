"""Where the question of a form is kept: in a file, and in what a frame tells of its reading."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from casesearch_pd.errors import FilterError
from casesearch_pd.notebook.export import replaced
from casesearch_pd.notebook.form.model.question import Question
from casesearch_pd.query.stored import from_json

if TYPE_CHECKING:
    import os
    from collections.abc import Mapping

    from casesearch_pd.sources.contract import Source

__all__ = ["check_told", "load", "question_of", "save"]

_TOLD = {"source", "filter", "columns", "sort", "search", "limit", "tz"}


def save(path: str | os.PathLike[str], question: Question, source: Source) -> Path:
    """Write a question, and where it was asked, as JSON; no secret is in it.

    Raises
    ------
    FilterError
        If no file can be written there.
    """
    told = question.to_json() | {"source": source.describe()}
    with replaced(path) as (target, new):
        new.write_text(json.dumps(told, indent=1) + "\n", "utf-8")
    return target


def load(path: str | os.PathLike[str]) -> Question:
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
    return Question.from_json(told)


def check_told(told: Mapping[str, Any]) -> None:
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


def question_of(told: Mapping[str, Any], source: Source) -> Question:
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
    return Question.of(
        source,
        from_json(told["filter"]),
        {},
        columns=None if every else list(told["columns"].values()),
        sort=None if told["sort"] == ["created_at"] else told["sort"],
        **{name: told[name] for name in ("search", "limit", "tz")},
    )
