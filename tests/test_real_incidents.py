"""Thirteen thousand real incidents, served and read back through both services, cell by cell.

The file is not part of the project: one row an incident, as the public "Incident management
process enriched event log" has them. It is looked for beside the checkout, or where
``CASESEARCH_INCIDENTS`` says.
"""

import os
from math import ceil
from pathlib import Path

import pandas as pd
import pytest

import casesearch_pd as cs

BESIDE = Path(__file__).parents[2] / "shared" / "data" / "incidents.parquet"
INCIDENTS = Path(os.environ.get("CASESEARCH_INCIDENTS", BESIDE))

pytestmark = pytest.mark.skipif(
    not INCIDENTS.exists(), reason="no incidents.parquet; set CASESEARCH_INCIDENTS to its path"
)


@pytest.fixture(scope="module")
def incidents():
    return pd.read_parquet(INCIDENTS).sort_values("case_id", ignore_index=True)


@pytest.fixture(scope="module")
def local(incidents):
    with cs.LocalCases(incidents) as running:
        yield running


@pytest.mark.parametrize("service", ["connect", "persona"])
def test_every_cell_of_the_incidents_comes_back(local, incidents, service):
    """A lost digit, a shifted hour or a text "nan" in one of 345,000 cells fails here."""
    frame = cs.read_cases(getattr(local, f"{service}_cases")(), sort="case_id", progress=False)
    assert frame["case_id"].tolist() == incidents["case_id"].tolist()
    # Persona's own resolved-at is the column closed_at, so the file's comes under its key.
    taken = {"resolved_at": "fields_resolved_at"} if service == "persona" else {}
    wrong = [name for name in incidents if not _same(frame[taken.get(name, name)], incidents[name])]
    assert wrong == []


def _same(found, given):
    both_missing = found.isna() & given.isna()
    equal = found.astype(object).eq(given.astype(object)).astype(bool)
    return bool((both_missing | (equal & found.notna() & given.notna())).all())


@pytest.mark.parametrize("service", ["connect", "persona"])
def test_the_incidents_cost_their_pages(local, incidents, service):
    """At two requests a second every needless request of a read costs half a second.

    Read by one thread: on a slow moment of the machine several would be started, and each part
    of a result may end with a page that is not full.
    """
    source = getattr(local, f"{service}_cases")()
    cs.list_fields(source)
    before = len(local.requests)
    told = cs.read_cases(source, progress=False, max_workers=1).cases.provenance
    searches = [one for one in local.requests[before:] if "search" in one.path]
    assert len(searches) <= ceil(len(incidents) / 100) * told["passes"] + 2
    assert told["rows"] == len(incidents)


@pytest.mark.parametrize("service", ["connect", "persona"])
def test_the_incidents_can_be_asked(local, incidents, service):
    source = getattr(local, f"{service}_cases")()
    march = cs.read_cases(
        source, created_at="2016-03", urgency="1", columns=["case_id"], sort="case_id"
    )
    in_march = incidents["created_at"].dt.strftime("%Y-%m") == "2016-03"
    kept = incidents["case_id"][in_march & (incidents["urgency"] == "1")]
    assert march["case_id"].tolist() == kept.tolist()
    assert len(march) > 0
    unassigned = cs.count_cases(source, created_at="2016-03", assignee=None)
    assert unassigned == (in_march & incidents["assignee"].isna()).sum() > 0
