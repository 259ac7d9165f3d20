"""How long each case was in each status, from the history of its changes."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from casesearch_pd.analysis.lifecycle import (
    DAY,
    MISSING,
    as_of,
    column_of,
    times_of,
    timestamp_microseconds,
)
from casesearch_pd.reading.provenance import Provenance

__all__ = ["time_in_status"]

_EVENT_COLUMNS = ("case_id", "at", "field", "old", "new")


def time_in_status(cases: pd.DataFrame, events: pd.DataFrame) -> pd.DataFrame:
    """Return how many days each case was in each status.

    Parameters
    ----------
    cases
        A frame with ``created_at`` and ``status``.
    events
        Their history, as `read_events` returns it: ``case_id, at, field, old, new``, one row
        per change. Changes of other cases and of other fields are ignored.

    Returns
    -------
    pandas.DataFrame
        One row per case, indexed by ``case_id`` in the order of the frame; one Float64 column
        per status, such as ``open_days``: 0 where the case was never in it. The current status
        lasts until the later of the two reads; time before the creation or after that is not
        counted. A case without a change in its history has been in its status since its
        creation; one without any history has NA everywhere.

    Raises
    ------
    KeyError
        If the cases or the events lack a column.
    """
    missing = [name for name in _EVENT_COLUMNS if name not in events.columns]
    if missing:
        raise KeyError(f"the events have no {missing}; read them with read_events(source, df)")
    ids = pd.Index(column_of(cases, "case_id")).drop_duplicates()
    spans = _spans(cases.drop_duplicates("case_id"), events, ids, _end(cases, events))
    days = spans.groupby(["case", "status"])["days"].sum()
    wide = days.unstack().reindex(range(len(ids))).fillna(0.0)  # noqa: PD010 - no duplicates
    # A case without any history is unknown; one whose history has no change of status is not.
    wide.loc[~ids.isin(events["case_id"])] = np.nan
    result = wide.set_axis(ids).rename(columns="{}_days".format).rename_axis(columns=None)
    return result.astype("Float64")


def _end(cases: pd.DataFrame, events: pd.DataFrame) -> int:
    """Return the later time of the two reads, in microseconds."""
    read_at, events_read_at = as_of(cases), Provenance.from_attrs(events).as_of
    return timestamp_microseconds(max(read_at, events_read_at or read_at))


def _spans(cases: pd.DataFrame, events: pd.DataFrame, ids: pd.Index[Any], end: int) -> pd.DataFrame:
    """Return the time spans of each case: one from its creation, one from each change."""
    changes = _status_changes(events, ids)
    first = _first_spans(cases, changes, end)
    spans = pd.concat([first, _later_spans(changes, end)], ignore_index=True)
    spans = spans[spans["status"].notna() & (spans["start"] != MISSING)]
    # A change may be dated before the creation or after the reads; MISSING is before all times.
    created = first["start"].to_numpy()[spans["case"]]
    starts, ends = np.maximum(spans["start"], created), np.minimum(spans["end"], end)
    return spans.assign(days=(ends - starts).clip(lower=0) / DAY)


def _status_changes(events: pd.DataFrame, ids: pd.Index[Any]) -> pd.DataFrame:
    """Return the changes of status of these cases, in the order of case and time."""
    changes = pd.DataFrame(
        {
            "case": ids.get_indexer(pd.Index(events["case_id"])),
            "at": times_of(events, "at"),
            "old": events["old"].astype("str").array,
            "new": events["new"].astype("str").array,
        }
    )
    is_status = events["field"].eq("status").to_numpy(dtype=bool, na_value=False)
    changes = changes[is_status & (changes["case"] >= 0) & (changes["at"] != MISSING)]
    return changes.sort_values(["case", "at"], ignore_index=True, kind="stable")


def _first_spans(cases: pd.DataFrame, changes: pd.DataFrame, end: int) -> pd.DataFrame:
    """Return the spans before the first change; without a change, in the current status."""
    first = changes.drop_duplicates("case")
    spans = pd.DataFrame(
        {
            "case": np.arange(len(cases)),
            "start": times_of(cases, "created_at"),
            "end": end,
            "status": column_of(cases, "status").astype("str").array,
        }
    )
    spans.loc[first["case"], "end"] = first["at"].to_numpy()
    spans.loc[first["case"], "status"] = first["old"].array
    return spans


def _later_spans(changes: pd.DataFrame, end: int) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "case": changes["case"],
            "start": changes["at"],
            "end": changes.groupby("case")["at"].shift(-1, fill_value=end),
            "status": changes["new"],
        }
    )
