"""Cases and the history of their changes come in; how long each was in which status goes out."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from casesearch_pd.analysis.lifecycle import (
    DAY,
    MISSING,
    as_of,
    column_of,
    timestamp_microseconds,
    to_microseconds,
)
from casesearch_pd.reading.provenance import read_provenance

__all__ = ["time_in_status"]

_EVENTS = ("case_id", "at", "field", "old", "new")


def time_in_status(cases: pd.DataFrame, events: pd.DataFrame) -> pd.DataFrame:
    """Tell how many days each case was in each status.

    Parameters
    ----------
    cases
        A frame with ``created_at`` and ``status``.
    events
        Their history, as `read_events` makes it: ``case_id, at, field, old, new``, one row a
        change. Changes of other cases and of other fields count for nothing.

    Returns
    -------
    pandas.DataFrame
        A row a case, indexed by ``case_id`` in the order of the frame; a Float64 column a
        status, named ``open_days``: 0 where a case was never in it. The status of now lasts
        until the later of the two reads; nothing before the creation or after that is counted. A
        case whose history shows no change has been in its status since its creation; one
        without any history has NA everywhere.

    Raises
    ------
    KeyError
        If the cases or the events lack a column.
    """
    lacking = [name for name in _EVENTS if name not in events.columns]
    if lacking:
        raise KeyError(f"the events lack {lacking}; make them with read_events(source, df)")
    ids = pd.Index(column_of(cases, "case_id")).drop_duplicates()
    spans = _spans(cases.drop_duplicates("case_id"), events, ids, _until(cases, events))
    days = spans.groupby(["case", "status"])["days"].sum()
    wide = days.unstack().reindex(range(len(ids))).fillna(0.0)  # noqa: PD010 - no doubles
    wide.loc[~ids.isin(events["case_id"])] = np.nan
    named = wide.set_axis(ids).rename(columns="{}_days".format).rename_axis(columns=None)
    return named.astype("Float64")


def _until(cases: pd.DataFrame, events: pd.DataFrame) -> int:
    told = [pd.Timestamp(at) for at in (read_provenance(events).get("as_of"),) if at is not None]
    return timestamp_microseconds(max([as_of(cases), *told]))


def _spans(
    cases: pd.DataFrame, events: pd.DataFrame, ids: pd.Index[Any], until: int
) -> pd.DataFrame:
    """List the spans of each case: one from its creation, then one from each change of status."""
    changes = _changes(events, ids)
    first = _first_spans(cases, changes, until)
    spans = pd.concat([first, _later_spans(changes, until)], ignore_index=True)
    spans = spans[spans["status"].notna() & (spans["start"] != MISSING)]
    born = first["start"].to_numpy()[spans["case"]]  # where it is missing, before all times
    start, end = np.maximum(spans["start"], born), np.minimum(spans["end"], until)
    return spans.assign(days=(end - start).clip(lower=0) / DAY)


def _changes(events: pd.DataFrame, ids: pd.Index[Any]) -> pd.DataFrame:
    """Take the changes of status of these cases, each case's in the order of time."""
    found = pd.DataFrame(
        {
            "case": ids.get_indexer(pd.Index(events["case_id"])),
            "at": to_microseconds(events["at"]),
            "old": events["old"].astype("str").array,
            "new": events["new"].astype("str").array,
        }
    )
    meant = events["field"].eq("status").to_numpy(dtype=bool, na_value=False)
    found = found[meant & (found["case"] >= 0) & (found["at"] != MISSING)]
    return found.sort_values(["case", "at"], ignore_index=True, kind="stable")


def _first_spans(cases: pd.DataFrame, changes: pd.DataFrame, until: int) -> pd.DataFrame:
    """Begin with what the first change changed; without any, with the status of now."""
    first = changes.drop_duplicates("case")
    spans = pd.DataFrame(
        {
            "case": np.arange(len(cases)),
            "start": to_microseconds(column_of(cases, "created_at")),
            "end": until,
            "status": column_of(cases, "status").astype("str").array,
        }
    )
    spans.loc[first["case"], "end"] = first["at"].to_numpy()
    spans.loc[first["case"], "status"] = first["old"].array
    return spans


def _later_spans(changes: pd.DataFrame, until: int) -> pd.DataFrame:
    ends = changes.groupby("case")["at"].shift(-1, fill_value=until)
    return pd.DataFrame(
        {
            "case": changes["case"],
            "start": changes["at"],
            "end": ends,
            "status": changes["new"],
        }
    )
