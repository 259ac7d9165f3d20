"""Thirteen thousand real incidents, read through both services and compared cell by cell.

The file is not part of the project: one row per incident of the public "Incident management
process enriched event log". Its path is ``CASESEARCH_INCIDENTS``, or a default one.
"""

import os
from math import ceil
from pathlib import Path

import pandas as pd
import pytest

import casesearch_pd as cs

DEFAULT_PATH = Path(__file__).parents[2] / "shared" / "data" / "incidents.parquet"
INCIDENTS = Path(os.environ.get("CASESEARCH_INCIDENTS", DEFAULT_PATH))

pytestmark = pytest.mark.skipif(
    not INCIDENTS.exists(), reason="no incidents.parquet; set CASESEARCH_INCIDENTS to its path"
)


@pytest.fixture(scope="module")
def incidents():
    return pd.read_parquet(INCIDENTS).sort_values("case_id", ignore_index=True)


@pytest.fixture(scope="module")
def local(incidents):
    with cs.LocalCases(incidents) as emulator:
        yield emulator


@pytest.mark.parametrize("service", ["connect", "persona"])
def test_every_cell_of_the_incidents_is_read(local, incidents, service):
    """A lost digit, a shifted hour or a text "nan" in one of 345,000 cells fails here."""
    frame = cs.read_cases(getattr(local, f"{service}_cases")(), sort="case_id", progress=False)
    assert frame["case_id"].tolist() == incidents["case_id"].tolist()
    # Persona's own resolved-at is the column closed_at, so that of the file has a prefix.
    renamed = {"resolved_at": "fields_resolved_at"} if service == "persona" else {}
    different = [
        name for name in incidents if not _equal(frame[renamed.get(name, name)], incidents[name])
    ]
    assert different == []


def _equal(column, expected):
    both_missing = column.isna() & expected.isna()
    equal = column.astype(object).eq(expected.astype(object)).astype(bool)
    return bool((both_missing | (equal & column.notna() & expected.notna())).all())


@pytest.mark.parametrize("service", ["connect", "persona"])
def test_the_incidents_need_one_request_per_page(local, incidents, service):
    """At two requests per second every needless request costs half a second.

    The read has one worker: each part of a result may end with a page that is not full.
    """
    source = getattr(local, f"{service}_cases")()
    cs.list_fields(source)
    before = len(local.requests)
    provenance = cs.read_cases(source, progress=False, max_workers=1).cases.provenance
    searches = [one for one in local.requests[before:] if "search" in one.path]
    assert len(searches) <= ceil(len(incidents) / 100) * provenance["passes"] + 2
    assert provenance["rows"] == len(incidents)


@pytest.mark.parametrize("service", ["connect", "persona"])
def test_the_incidents_can_be_filtered(local, incidents, service):
    source = getattr(local, f"{service}_cases")()
    march = cs.read_cases(
        source, created_at="2016-03", urgency="1", columns=["case_id"], sort="case_id"
    )
    in_march = incidents["created_at"].dt.strftime("%Y-%m") == "2016-03"
    expected = incidents["case_id"][in_march & (incidents["urgency"] == "1")]
    assert march["case_id"].tolist() == expected.tolist()
    assert len(march) > 0
    unassigned = cs.count_cases(source, created_at="2016-03", assignee=None)
    assert unassigned == (in_march & incidents["assignee"].isna()).sum() > 0
