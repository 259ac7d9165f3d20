"""Provenance: what a frame tells of its own reading, wherever it travels."""

import functools
import json
import pickle
from datetime import UTC, datetime

import pandas as pd
import pytest

import casesearch_pd as cs
from casesearch_pd.query.expressions import Compare
from casesearch_pd.query.serialization import filter_from_json
from casesearch_pd.reading.provenance import KEY, combine_digests, digest_ids, read_provenance

NOW = datetime(2026, 3, 14, 12, tzinfo=UTC)


@pytest.fixture(scope="module")
def local():
    with cs.LocalCases(cases=250, seed=3, now=NOW) as running:
        yield running


@pytest.fixture(scope="module", params=["connect", "persona"])
def source(local, request):
    return getattr(local, f"{request.param}_cases")()


@pytest.fixture(scope="module")
def frame(source):
    return cs.read_cases(
        source,
        created_at__lt="2026-03-01",
        status__ne="closed",
        columns=["case_id", "status", "closed_at"],
        sort="-created_at",
        tz="Europe/Berlin",
    )


def test_it_tells_what_was_read(source, frame):
    told = frame.cases.provenance
    assert told["source"] == source.describe()
    assert told["columns"] == {
        name: source.schema.resolve(name).id for name in ("case_id", "status", "closed_at")
    }
    assert (told["sort"], told["limit"], told["tz"]) == (["-created_at"], None, "Europe/Berlin")
    assert told["search"] is None
    assert told["rows"] == len(frame) > 0
    assert told["total"] == (len(frame) if source.can_count else None)
    assert told["complete"] is True
    assert told["notes"] == []


def test_it_tells_what_the_read_cost(local, source):
    sent = len(local.requests)
    told = cs.read_cases(source, columns=["case_id"]).cases.provenance
    assert told["requests"] == len(local.requests) - sent == 3
    assert told["passes"] == 1


def test_it_tells_the_clock_of_the_service(local, frame):
    """Ages and refreshes count from the service's clock; this machine's may be wrong."""
    as_of = pd.Timestamp(frame.cases.provenance["as_of"])
    assert NOW <= as_of <= local.clock()


def test_the_filter_can_be_read_again(source, frame):
    """A refresh asks the same question."""
    written = filter_from_json(frame.cases.provenance["filter"])
    assert Compare("created_at", "lt", "2026-03-01") in written.terms
    assert Compare("status", "ne", "closed") in written.terms
    again = cs.read_cases(source, where=written, columns=["case_id"], tz="Europe/Berlin")
    assert digest_ids(again["case_id"]) == frame.cases.provenance["ids"]


def test_relative_times_stay_relative(source):
    """The last seven days of a stored filter are those before the day it is read again."""
    frame = cs.read_cases(source, created_at__gte=-pd.Timedelta("7D"), columns=["case_id"])
    assert frame.cases.provenance["filter"]["value"] == {"timedelta": "P-7DT0H0M0S"}


def test_it_tells_what_relative_times_counted_from(source):
    before = pd.Timestamp.now("UTC").floor("ms")
    now = pd.Timestamp(cs.read_cases(source, columns=["case_id"]).cases.provenance["now"])
    assert before <= now <= pd.Timestamp.now("UTC")


def test_it_tells_what_only_the_service_can_compare(local):
    """A frame is filtered later, without the service; it must not find nothing instead."""
    unseen = cs.read_cases(local.persona_cases(), limit=1).cases.provenance["remote_only"]
    assert unseen == {"assignee": "user_", "state": "", "resolver": ""}
    assert cs.read_cases(local.connect_cases(), limit=1).cases.provenance["remote_only"] == {}


def test_a_chunk_tells_that_it_is_one(source):
    with cs.iter_cases(source, columns=["case_id"], chunksize=100) as chunks:
        assert [chunk.cases.provenance["part"] for chunk in chunks] == [True, True, True]
    assert cs.read_cases(source, columns=["case_id"]).cases.provenance["part"] is False


def test_it_is_text_without_secrets(local, frame):
    """Attrs are copied at every step and saved in files; a token in them would travel along."""
    text = frame.attrs[KEY]
    assert isinstance(text, str)
    assert local.token not in text
    assert "Bearer" not in text


def test_it_survives_what_frames_go_through(frame, tmp_path):
    told = frame.cases.provenance
    frame.to_parquet(tmp_path / "cases.parquet")
    for other in (
        pd.read_parquet(tmp_path / "cases.parquet"),
        pickle.loads(pickle.dumps(frame)),
        frame[frame["status"] == "open"],
        frame.head(3),
        frame.copy(),
    ):
        assert other.cases.provenance == told


def test_ids_are_told_by_a_fingerprint_that_minds_no_order():
    ids = pd.Series(["b", "a", "ü"], dtype=object)
    assert (
        digest_ids(ids)
        == digest_ids(ids[::-1])
        == digest_ids(ids.astype("str"))
        != digest_ids(ids[:2])
    )
    assert len(digest_ids(pd.Series([], dtype="str"))) == len(digest_ids(ids)) == 32


def test_the_fingerprints_of_parts_add_up():
    """A read that is handed on in chunks tells the same as one that is not."""
    ids = pd.Series([f"case {number}" for number in range(1000)], dtype="str")
    parts = [ids[:1], ids[1:700], ids[700:700], ids[700:]]
    whole = digest_ids(ids)
    assert functools.reduce(combine_digests, map(digest_ids, parts)) == whole
    assert functools.reduce(combine_digests, map(digest_ids, parts[:-1])) != whole
    # The halves are sums of their own: no carry goes from one to the other.
    assert combine_digests("f" * 32, "0" * 15 + "1" + "0" * 16) == "0" * 16 + "f" * 16


def test_a_frame_of_your_own_has_none():
    assert read_provenance(pd.DataFrame()) == {}


@pytest.mark.parametrize("held", ["no json", "[1]", '"text"', 3, {"rows": 1}])
def test_what_is_no_provenance_is_refused(held):
    frame = pd.DataFrame({"case_id": []})
    frame.attrs[KEY] = held
    with pytest.raises(ValueError, match=r"attrs\['casesearch'\] is not provenance"):
        _ = frame.cases.provenance


def test_it_is_json_of_a_known_format(frame):
    assert json.loads(frame.attrs[KEY])["format"] == 1
