"""A mirror that is synced while its service changes is, after the last sync, the final state.

The real changes are no part of the project: later events of fifteen thousand incidents of the
public "Incident management process enriched event log". They are looked for beside the checkout,
or where ``CASESEARCH_INCIDENTS`` says.
"""

import os
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import casesearch_pd as cs

BESIDE = Path(__file__).parents[2] / "shared" / "data" / "incidents.parquet"
INCIDENTS = Path(os.environ.get("CASESEARCH_INCIDENTS", BESIDE))
CHANGES = INCIDENTS.with_name("incident_changes.parquet")
SYNCS = 12


def made_up():
    """Make cases and their changes, each a whole new version, in the order of time."""
    draws = np.random.default_rng(7)
    start = pd.Timestamp("2026-01-01", tz="UTC")
    created = start + pd.to_timedelta(np.sort(draws.integers(0, 40 * 1440, 900)), unit="min")
    first = pd.DataFrame({"case_id": [f"case_{n:04d}" for n in range(900)], "created_at": created})
    which = draws.integers(0, 900, 4000)
    after = pd.to_timedelta(draws.integers(0, 60 * 1440, 4000), unit="min")
    later = first.iloc[which].assign(updated_at=created[which] + after)
    every = pd.concat([first.assign(updated_at=created), later], ignore_index=True)
    every = every.sort_values("updated_at", kind="stable", ignore_index=True)
    every["status"] = draws.choice(["new", "open", "waiting", "closed"], len(every))
    every["priority"] = draws.choice(["low", "high", None], len(every))
    every["moves"] = pd.array(np.arange(len(every)) % 9, "Int64")
    every["note"] = [f"Größe {n}" if n % 3 else None for n in range(len(every))]
    at = len(every) // 4
    known = every.iloc[:at].drop_duplicates("case_id", keep="last")
    return known.reset_index(drop=True), every.iloc[at:].reset_index(drop=True)


def real():
    if not CHANGES.exists():
        pytest.skip("no incident_changes.parquet; set CASESEARCH_INCIDENTS to its neighbour")
    changes = pd.read_parquet(CHANGES).sort_values("updated_at", kind="stable", ignore_index=True)
    return pd.read_parquet(INCIDENTS), changes


def replayed(local, changes):
    """Make the changes of a slice of time; the service's clock goes with them."""
    known = {*local.frame()["case_id"]}
    for row in changes.to_dict("records"):
        case = {name: None if pd.isna(cell) else cell for name, cell in row.items()}
        local.advance(max(0.0, (case["updated_at"] - pd.Timestamp(local.clock())).total_seconds()))
        if case["case_id"] in known:
            local.update(case.pop("case_id"), **case)
        else:
            known.add(local.insert(case))


def final(cases, changes):
    """Take the last version of each case."""
    every = pd.concat([cases, changes], ignore_index=True)
    return every.drop_duplicates("case_id", keep="last").sort_values("case_id", ignore_index=True)


OPEN = {"status__ne": "closed"}


@pytest.mark.filterwarnings("ignore:persona can answer nothing of this filter")
@pytest.mark.parametrize(
    ("log", "service", "asked"),
    [
        (made_up, "connect", {}),
        (made_up, "connect", OPEN),
        (made_up, "persona", {}),
        (made_up, "persona", OPEN),
        (real, "connect", OPEN),
        (real, "persona", {}),
    ],
)
def test_after_the_last_sync_it_is_the_final_state(log, service, asked, tmp_path):
    """A lost version, a case kept too long, a column of another version: all would be seen here."""
    cases, changes = log()
    mirror = cs.Mirror(tmp_path / "cases.duckdb")
    now = max(cases["updated_at"].max(), cases["created_at"].max())
    with cs.LocalCases(cases, now=now.to_pydatetime()) as local:
        source = getattr(local, f"{service}_cases")()
        for part in np.array_split(np.arange(len(changes)), SYNCS):
            mirror.sync(source, **asked, progress=False)
            replayed(local, changes.iloc[part])
        local.advance(60)
        done = mirror.sync(source, progress=False)
        found = cs.read_cases(mirror, sort="case_id")
        pd.testing.assert_frame_equal(
            found, cs.read_cases(source, sort="case_id", progress=False, **asked)
        )
    wanted = final(cases, changes)
    wanted = wanted[wanted["status"] != "closed"] if asked else wanted
    assert found["case_id"].tolist() == wanted["case_id"].tolist()
    assert found["status"].tolist() == wanted["status"].tolist()
    assert found["updated_at"].tolist() == wanted["updated_at"].tolist()
    assert (done.number, done.rows) == (SYNCS + 1, len(found))
