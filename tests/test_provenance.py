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
from casesearch_pd.reading import recent_reads
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


# --- provenance that pandas dropped -----------------------------------------------------------


SERVICES = ("connect", "persona")


def without_attributes(frame):
    """Return the rows as a merge with another table does."""
    frame = frame.copy()
    frame.attrs.clear()
    return frame


def merge_with_teams(frame, _):
    queues = frame["queue"].drop_duplicates()
    return frame.merge(pd.DataFrame({"queue": queues, "team": "x"}), on="queue")


def merge_into_ids(frame, _):
    return pd.DataFrame({"case_id": frame["case_id"]}).merge(frame, on="case_id")


def through_records(frame, _):
    return pd.DataFrame(frame.to_dict("list"))


def through_csv(frame, folder):
    frame.to_csv(folder / "cases.csv", index=False)
    return pd.read_csv(folder / "cases.csv")


def category_of_ids(frame, _):
    return frame.astype({"case_id": "category"})


def half_of_the_rows(frame, _):
    return frame.head(125)


LOSSES = [
    merge_with_teams, merge_into_ids, through_records, through_csv, category_of_ids,
    half_of_the_rows,
]  # fmt: skip


@pytest.mark.parametrize("backend", [None, "numpy_nullable", "pyarrow"])
@pytest.mark.parametrize("loss", LOSSES)
def test_cases_are_recognized_without_their_attributes(source, tmp_path, loss, backend):
    frame = cs.read_cases(source, dtype_backend=backend, tz="Asia/Tokyo")
    lost = without_attributes(loss(frame, tmp_path))
    provenance = Provenance.of(lost)
    assert not Provenance.from_attrs(lost).exists
    assert (provenance.service, provenance.tz) == (source.name, "Asia/Tokyo")
    assert provenance.traits == source.traits
    is_open = dict(zip(frame["case_id"], frame.cases.is_open, strict=True))
    assert dict(zip(lost["case_id"], lost.cases.is_open, strict=True)) == {
        case_id: is_open[case_id] for case_id in lost["case_id"]
    }


def test_a_concatenation_says_what_it_is_made_of(source):
    early = cs.read_cases(source, created_at__lt="2026-02-01")
    late = cs.read_cases(source, created_at__gte="2026-02-01", tz="Asia/Tokyo")
    frame = pd.concat([early, late])
    provenance = frame.cases.provenance
    assert provenance["rows"] == len(frame) == 250
    assert provenance["filter"] is None
    assert [part["rows"] for part in provenance["parts"]] == [len(early), len(late)]
    assert [part["filter"] for part in provenance["parts"]] == [
        early.cases.provenance["filter"],
        late.cases.provenance["filter"],
    ]
    assert provenance["complete"] is True
    assert pd.Timestamp(provenance["as_of"]) == early.cases.as_of
    assert "put together of 2 reads" in provenance["notes"][-1]
    assert json.loads(json.dumps(provenance)) == provenance
    assert [one.rows for one in Provenance.of(frame).reads] == [len(early), len(late)]
    assert [*frame.cases.is_open] == [*early.cases.is_open, *late.cases.is_open]


def test_chunks_that_are_concatenated_are_the_whole_read(source):
    chunks = list(cs.iter_cases(source, chunksize=3))
    frame = pd.concat(chunks)
    provenance = frame.cases.provenance
    assert (provenance["rows"], provenance["part"], provenance["parts"]) == (250, False, [])
    assert pd.concat(chunks[:5]).cases.provenance["part"] is False
    assert len(recent_reads._reads) == 1  # many chunks push no other read out


def test_a_read_that_is_still_under_way_is_a_part(source):
    with cs.iter_cases(source, chunksize=50) as chunks:
        first, second = next(chunks), next(chunks)
    assert pd.concat([first, second]).cases.provenance["part"] is True


def test_services_with_the_same_ids_are_told_apart_by_their_columns(local):
    frames = {name: cs.read_cases(getattr(local, f"{name}_cases")()) for name in SERVICES}
    for name, frame in frames.items():
        lost = without_attributes(frame)
        assert Provenance.of(lost).service == name


def test_a_later_read_of_fewer_columns_hides_no_other(local):
    frames = {name: cs.read_cases(getattr(local, f"{name}_cases")()) for name in SERVICES}
    for name in SERVICES:
        cs.read_cases(getattr(local, f"{name}_cases")(), columns=["case_id"])
    for name, frame in frames.items():
        assert Provenance.of(without_attributes(frame)).service == name


def test_columns_that_both_services_have_decide_nothing(local):
    columns = ["case_id", "status", "closed_at"]
    for name in SERVICES:
        frame = cs.read_cases(getattr(local, f"{name}_cases")(), columns=columns)
    lost = without_attributes(frame)
    assert not Provenance.of(lost).exists


@pytest.mark.parametrize(
    "own",
    [
        {"case_id": ["one", "two"], "status": ["open", "closed"]},
        {"case_id": [1, 2], "status": ["open", "closed"]},
        {"case_id": [None, None], "status": ["open", "closed"]},
        {"case_id": [], "status": []},
    ],
)
def test_other_cases_are_not_recognized(source, own):
    cs.read_cases(source)
    frame = pd.DataFrame(own)
    assert not Provenance.of(frame).exists
    assert frame.cases.provenance == {}


def test_some_cases_of_your_own_among_others_are_not_recognized(source):
    frame = cs.read_cases(source)
    own = frame.head(1).assign(case_id="another")
    assert not Provenance.of(without_attributes(pd.concat([frame, own]))).exists


def test_rows_of_events_are_not_taken_for_cases(local):
    source = local.connect_cases()
    frame = cs.read_cases(source, limit=3, columns=["case_id", "status"])
    events = cs.read_events(source, frame)
    assert not Provenance.of(without_attributes(events)).exists


def test_the_memory_of_reads_is_bounded(source, monkeypatch):
    monkeypatch.setattr(recent_reads, "_MAX_CASES", 300)
    first = cs.read_cases(source)
    second = cs.read_cases(source, created_at__lt="2026-03-01")
    assert len(recent_reads._reads) == 1
    assert Provenance.of(without_attributes(second)).exists
    assert not Provenance.of(without_attributes(first)).exists
    monkeypatch.setattr(recent_reads, "_MAX_READS", 2)
    for _ in range(5):
        cs.read_cases(source, limit=2)
    assert len(recent_reads._reads) == 2


def test_types_and_options_are_those_of_the_schema(source):
    provenance = Provenance.from_attrs(cs.read_cases(source))
    assert provenance.types == {item.column: item.type for item in source.schema.active}
    for column, options in provenance.options.items():
        expected = source.schema.resolve(column).options
        assert options == [[option.value, option.label] for option in expected]
