"""A mirror that is synced while its service changes has the final state after the last sync.

The real changes are not part of the project: later events of fifteen thousand incidents of the
public "Incident management process enriched event log". They are expected next to the checkout, or
at the path in ``CASESEARCH_INCIDENTS``.
"""

import os
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import casesearch_pd as cs

DEFAULT_PATH = Path(__file__).parents[2] / "shared" / "data" / "incidents.parquet"
INCIDENTS = Path(os.environ.get("CASESEARCH_INCIDENTS", DEFAULT_PATH))
CHANGES = INCIDENTS.with_name("incident_changes.parquet")
SYNCS = 12


def generated_log():
    """Return cases and their changes, each a complete new version, in the order of time."""
    random = np.random.default_rng(7)
    start = pd.Timestamp("2026-01-01", tz="UTC")
    created = start + pd.to_timedelta(np.sort(random.integers(0, 40 * 1440, 900)), unit="min")
    first = pd.DataFrame({"case_id": [f"case_{n:04d}" for n in range(900)], "created_at": created})
    which = random.integers(0, 900, 4000)
    after = pd.to_timedelta(random.integers(0, 60 * 1440, 4000), unit="min")
    later = first.iloc[which].assign(updated_at=created[which] + after)
    every = pd.concat([first.assign(updated_at=created), later], ignore_index=True)
    every = every.sort_values("updated_at", kind="stable", ignore_index=True)
    every["status"] = random.choice(["new", "open", "waiting", "closed"], len(every))
    every["priority"] = random.choice(["low", "high", None], len(every))
    every["moves"] = pd.array(np.arange(len(every)) % 9, "Int64")
    every["note"] = [f"Größe {n}" if n % 3 else None for n in range(len(every))]
    at = len(every) // 4
    cases = every.iloc[:at].drop_duplicates("case_id", keep="last")
    return cases.reset_index(drop=True), every.iloc[at:].reset_index(drop=True)


def real_log():
    if not CHANGES.exists():
        pytest.skip("no incident_changes.parquet; set CASESEARCH_INCIDENTS to the file next to it")
    changes = pd.read_parquet(CHANGES).sort_values("updated_at", kind="stable", ignore_index=True)
    return pd.read_parquet(INCIDENTS), changes


def replay(emulator, changes):
    """Apply the changes of a period, and set the service's clock to each of them."""
    known = {*emulator.frame()["case_id"]}
    for row in changes.to_dict("records"):
        case = {name: None if pd.isna(cell) else cell for name, cell in row.items()}
        emulator.advance(
            max(0.0, (case["updated_at"] - pd.Timestamp(emulator.clock())).total_seconds())
        )
        if case["case_id"] in known:
            emulator.update(case.pop("case_id"), **case)
        else:
            known.add(emulator.insert(case))


def final_state(cases, changes):
    """Return the last version of each case."""
    every = pd.concat([cases, changes], ignore_index=True)
    return every.drop_duplicates("case_id", keep="last").sort_values("case_id", ignore_index=True)


OPEN = {"status__ne": "closed"}


@pytest.mark.filterwarnings("ignore:persona cannot evaluate this filter")
@pytest.mark.parametrize(
    ("log", "service", "filters"),
    [
        (generated_log, "connect", {}),
        (generated_log, "connect", OPEN),
        (generated_log, "persona", {}),
        (generated_log, "persona", OPEN),
        (real_log, "connect", OPEN),
        (real_log, "persona", {}),
    ],
)
def test_the_last_sync_ends_in_the_final_state(log, service, filters, tmp_path):
    """It finds lost versions, cases that were kept too long, and columns of another version."""
    cases, changes = log()
    mirror = cs.Mirror(tmp_path / "cases.duckdb")
    now = max(cases["updated_at"].max(), cases["created_at"].max())
    with cs.LocalCases(cases, now=now.to_pydatetime()) as local:
        source = getattr(local, f"{service}_cases")()
        for part in np.array_split(np.arange(len(changes)), SYNCS):
            mirror.sync(source, **filters, progress=False)
            replay(local, changes.iloc[part])
        local.advance(60)
        sync = mirror.sync(source, progress=False)
        frame = cs.read_cases(mirror, sort="case_id")
        pd.testing.assert_frame_equal(
            frame, cs.read_cases(source, sort="case_id", progress=False, **filters)
        )
    expected = final_state(cases, changes)
    expected = expected[expected["status"] != "closed"] if filters else expected
    assert frame["case_id"].tolist() == expected["case_id"].tolist()
    assert frame["status"].tolist() == expected["status"].tolist()
    assert frame["updated_at"].tolist() == expected["updated_at"].tolist()
    assert (sync.number, sync.rows) == (SYNCS + 1, len(frame))
