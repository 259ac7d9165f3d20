"""What belongs to a Persona case: its to-many relationships, which are columns of the case."""

from __future__ import annotations

from typing import NoReturn

from casesearch_pd.errors import FilterError
from casesearch_pd.sources.persona.field_names import RELATIONSHIPS, TO_ONE

__all__ = ["KINDS", "raise_no_history"]

KINDS = tuple(column for name, column in RELATIONSHIPS.items() if name not in TO_ONE)
"""Kinds of related items; the column of the same name holds their ids."""


def raise_no_history() -> NoReturn:
    """Raise FilterError: Persona's events are those of the whole environment, for three months."""
    raise FilterError(
        "Persona's API has no audit history of a case; read created_at, updated_at, assigned_at "
        "and closed_at instead, or have a webhook collect the case.* events"
    )
