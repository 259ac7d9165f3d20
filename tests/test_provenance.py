"""Provenance: the description of a read in the attributes of its DataFrame."""

import functools
import json
import pickle
from datetime import UTC, datetime

import pandas as pd
import pytest

import casesearch_pd as cs
from casesearch_pd.query.expressions import Compare
from casesearch_pd.query.serialization import filter_from_json
from casesearch_pd.reading.provenance import (
    KEY,
    Provenance,
    combine_digests,
    digest_ids,
    read_provenance,
)
from casesearch_pd.sources.traits import ServiceTraits

NOW = datetime(2026, 3, 14, 12, tzinfo=UTC)


@pytest.fixture(scope="module")
def local():
    with cs.LocalCases(cases=250, seed=3, now=NOW) as emulator:
        yield emulator


@pytest.fixture(scope="module", params=["connect", "persona"])
def source(local, request):
    return getattr(local, f"{request.param}_cases")()


@pytest.fixture(scope="module")
def frame(source):
    return cs.read_cases(
        source,
        created_at__lt="2026-03-01",
        status__ne="pending",
        columns=["case_id", "status", "closed_at"],
        sort="-created_at",
        tz="Europe/Berlin",
    )


def test_provenance_describes_the_query_and_result(source, frame):
    provenance = frame.cases.provenance
    assert provenance["source"] == source.describe()
    assert provenance["columns"] == {
        name: source.schema.resolve(name).id for name in ("case_id", "status", "closed_at")
    }
    assert (provenance["sort"], provenance["limit"], provenance["tz"]) == (
        ["-created_at"],
        None,
        "Europe/Berlin",
    )
    assert provenance["search"] is None
    assert provenance["rows"] == len(frame) > 0
    assert provenance["total"] == (len(frame) if source.can_count else None)
    assert provenance["complete"] is True
    assert provenance["notes"] == []


def test_provenance_counts_requests_and_passes(local, source):
    requests_before = len(local.requests)
    provenance = cs.read_cases(source, columns=["case_id"]).cases.provenance
    assert provenance["requests"] == len(local.requests) - requests_before == 3
    assert provenance["passes"] == 1


def test_as_of_is_the_clock_of_the_service(local, frame):
    """Ages and refreshes count from the service's clock; the local one may be wrong."""
    as_of = pd.Timestamp(frame.cases.provenance["as_of"])
    assert NOW <= as_of <= local.clock()


def test_the_stored_filter_selects_the_same_cases(source, frame):
    """A refresh reads by the stored filter."""
    stored_filter = filter_from_json(frame.cases.provenance["filter"])
    assert Compare("created_at", "lt", "2026-03-01") in stored_filter.terms
    assert Compare("status", "ne", "pending") in stored_filter.terms
    result = cs.read_cases(source, where=stored_filter, columns=["case_id"], tz="Europe/Berlin")
    assert digest_ids(result["case_id"]) == frame.cases.provenance["ids"]


def test_relative_times_stay_relative(source):
    """The last seven days of a stored filter are those before the day it is read again."""
    frame = cs.read_cases(source, created_at__gte=-pd.Timedelta("7D"), columns=["case_id"])
    assert frame.cases.provenance["filter"]["value"] == {"timedelta": "P-7DT0H0M0S"}


def test_provenance_has_the_time_that_relative_times_count_from(source):
    before = pd.Timestamp.now("UTC").floor("ms")
    now = pd.Timestamp(cs.read_cases(source, columns=["case_id"]).cases.provenance["now"])
    assert before <= now <= pd.Timestamp.now("UTC")


def test_provenance_lists_the_remote_only_fields(local):
    """A frame is filtered later, without the service, where they would match nothing."""
    remote_only = cs.read_cases(local.persona_cases(), limit=1).cases.provenance["remote_only"]
    assert remote_only == {"assignee": "user_", "state": "", "resolver": ""}
    assert cs.read_cases(local.connect_cases(), limit=1).cases.provenance["remote_only"] == {}


def test_a_chunk_is_marked_as_one(source):
    with cs.iter_cases(source, columns=["case_id"], chunksize=100) as chunks:
        assert [chunk.cases.provenance["part"] for chunk in chunks] == [True, True, True]
    assert cs.read_cases(source, columns=["case_id"]).cases.provenance["part"] is False


def test_provenance_is_text_without_secrets(local, frame):
    """Attrs are copied and saved in files; a token in them would be saved too."""
    text = frame.attrs[KEY]
    assert isinstance(text, str)
    assert local.token not in text
    assert "Bearer" not in text


def test_provenance_survives_files_and_filters(frame, tmp_path):
    provenance = frame.cases.provenance
    frame.to_parquet(tmp_path / "cases.parquet")
    for other in (
        pd.read_parquet(tmp_path / "cases.parquet"),
        pickle.loads(pickle.dumps(frame)),
        frame[frame["status"] == "open"],
        frame.head(3),
        frame.copy(),
    ):
        assert other.cases.provenance == provenance


def test_the_digest_of_ids_ignores_their_order():
    ids = pd.Series(["b", "a", "ü"], dtype=object)
    assert (
        digest_ids(ids)
        == digest_ids(ids[::-1])
        == digest_ids(ids.astype("str"))
        != digest_ids(ids[:2])
    )
    assert len(digest_ids(pd.Series([], dtype="str"))) == len(digest_ids(ids)) == 32


def test_digests_of_parts_add_up():
    """A read in chunks has the same digest as a whole one."""
    ids = pd.Series([f"case {number}" for number in range(1000)], dtype="str")
    parts = [ids[:1], ids[1:700], ids[700:700], ids[700:]]
    digest = digest_ids(ids)
    assert functools.reduce(combine_digests, map(digest_ids, parts)) == digest
    assert functools.reduce(combine_digests, map(digest_ids, parts[:-1])) != digest
    # The halves are sums of their own: no carry goes from one to the other.
    assert combine_digests("f" * 32, "0" * 15 + "1" + "0" * 16) == "0" * 16 + "f" * 16


def test_a_frame_of_your_own_has_no_provenance():
    assert read_provenance(pd.DataFrame()) == {}


@pytest.mark.parametrize("attribute", ["no json", "[1]", '"text"', 3, {"rows": 1}])
def test_other_attributes_are_refused(attribute):
    frame = pd.DataFrame({"case_id": []})
    frame.attrs[KEY] = attribute
    with pytest.raises(ValueError, match=r"attrs\['casesearch'\] is not provenance"):
        _ = frame.cases.provenance


def test_provenance_is_json_with_a_format_number(frame):
    assert json.loads(frame.attrs[KEY])["format"] == 1


def test_provenance_of_other_versions_is_read(frame):
    """Unknown keys are ignored, and missing ones have defaults."""
    provenance = Provenance.from_attrs(frame)
    assert provenance.exists
    assert json.loads(provenance.to_attrs()[KEY]) == frame.cases.provenance
    other = frame.copy()
    other.attrs[KEY] = json.dumps({"format": 9, "rows": 3, "of_a_later_version": {"a": 1}})
    assert Provenance.from_attrs(other) == Provenance(rows=3)
    assert Provenance.from_attrs(pd.DataFrame()) == Provenance(exists=False)


def test_a_frame_without_traits_has_those_of_its_service(source, frame):
    """Provenance written before it contained traits names only the service."""
    record = frame.cases.provenance
    assert ServiceTraits.from_json(record.pop("traits")) == source.traits
    other = frame.copy()
    other.attrs[KEY] = json.dumps(record)
    assert Provenance.from_attrs(other).traits == source.traits
