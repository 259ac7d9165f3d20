"""The cases as they stand, as a DataFrame: what a reader of either wire must come to."""

from collections.abc import Sequence

import pandas as pd

from casesearch_pd.local.persona_render import ATTRIBUTES, RELATIONSHIPS
from casesearch_pd.local.schema import Column
from casesearch_pd.local.store import Store
from casesearch_pd.local.values import shown_series

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
