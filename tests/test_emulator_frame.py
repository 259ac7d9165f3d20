"""A user's own DataFrame in the emulator: its columns and no others, every value unchanged."""

import datetime as dt
import os
import re
import time
import uuid
import warnings
from decimal import Decimal
from pathlib import Path
from zoneinfo import ZoneInfo

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

import casesearch_pd as cs
from casesearch_pd.emulator import CaseService
from tests.emulator_clients import (
    connect_client,
    ids_of,
    persona,
    persona_all,
    post_connect,
    search_all,
    values_of,
)

INCIDENTS = Path(
    os.environ.get(
        "CASESEARCH_INCIDENTS", Path(__file__).parents[2] / "shared/data/incidents.parquet"
    )
)
MIDNIGHT = pd.Timestamp("2024-05-01")
TWO = pd.DataFrame({"created_at": [MIDNIGHT] * 2})


def one(**columns):
    """Return a frame of one case."""
    return pd.DataFrame(
        {"created_at": [MIDNIGHT], **{name: [value] for name, value in columns.items()}}
    )


def read_case(service):
    """Return the only case: values by Connect's field name, and Persona's object."""
    fields = post_connect(service, b"", "fields-list").json()["fields"]
    names = {field["fieldId"]: field["name"] for field in fields}
    case = search_all(service, fields=[{"id": field_id} for field_id in names])[0][0]
    values = {names[key]: value for key, value in values_of(case).items()}
    return values, persona_all(service, {})[0]


def test_every_dtype_is_served_and_typed():
    frame = one(
        text="x", whole=7, number=2.5, flag=True, at=pd.Timestamp("2024-05-01T10:00:00.123999"),
        day=dt.date(2024, 5, 2), texts=["a", "b"], nothing=None,
    ).assign(
        small=pd.array([3], dtype="int8"),
        arrow=pd.Series(["é"], dtype=pd.ArrowDtype(pa.string())),
        arrow_time=pd.Series([MIDNIGHT], dtype=pd.ArrowDtype(pa.timestamp("ns"))),
        arrow_list=pd.Series([["c"]], dtype=pd.ArrowDtype(pa.list_(pa.string()))),
        arrow_day=pd.Series([dt.date(2024, 5, 3)], dtype=pd.ArrowDtype(pa.date32())),
        choice=pd.Categorical(["b"], categories=["a", "b"]),
        objects=pd.Series([np.int64(4)], dtype=object),
        mixed=pd.Series([1.5], dtype=object),
        array=pd.Series([np.array(["q"], dtype=object)]),
    )  # fmt: skip
    with CaseService(frame) as service:
        fields = post_connect(service, b"", "fields-list").json()["fields"]
        types = {field["name"]: field["type"] for field in fields}
        connect, case = read_case(service)
        template = case["relationships"]["case-template"]["data"]["id"]
        schema = persona(service, "GET", f"/api/v1/case-templates/{template}").json()["data"]
    kinds = {f["key"]: f["type"] for f in schema["attributes"]["field-schemas"]}
    assert types == {
        "Case Id": "Text", "Created": "DateTime", "Last updated": "DateTime", "text": "Text",
        "whole": "Number", "number": "Number",
        "flag": "Boolean", "at": "DateTime", "day": "Text", "texts": "Text", "nothing": "Text",
        "small": "Number", "arrow": "Text", "arrow_time": "DateTime", "arrow_list": "Text",
        "arrow_day": "Text", "choice": "SingleSelect", "objects": "Number", "mixed": "Number",
        "array": "Text",
    }  # fmt: skip
    assert kinds == {
        "text": "string", "whole": "integer", "number": "number", "flag": "boolean",
        "at": "datetime",
        "day": "date", "texts": "array", "nothing": "string", "small": "integer", "arrow": "string",
        "arrow_time": "datetime", "arrow_list": "array", "arrow_day": "date", "choice": "choices",
        "objects": "integer", "mixed": "number", "array": "array",
    }  # fmt: skip
    values = {key: value["value"] for key, value in case["attributes"]["fields"].items()}
    assert connect["at"] == values["at"] == "2024-05-01T10:00:00.123Z", "truncated"
    assert connect["texts"] == "a, b"
    assert [item["value"] for item in values["texts"]] == ["a", "b"]
    assert connect["day"] == values["day"] == "2024-05-02"
    assert (connect["whole"], values["flag"], values["choice"]) == (7, True, "b")
    assert "nothing" not in connect
    assert values["nothing"] is None


def test_vocabulary_becomes_system_fields_and_the_rest_custom():
    at = pd.Timestamp("2024-05-02", tz="Europe/Berlin")
    frame = one(
        case_id="C-1", reference="R-1", title="T", summary="S", status="Resolved", updated_at=at,
        closed_at=at, sla_at=at, resolved_at=at, assignee="agent-6", queue="group-56",
        tags=["k=v", "bare="], template="Standard", accounts=["act_1"], resolution="done",
        creator_id="u1", customer_id="cust", name="own name",
    )  # fmt: skip
    with CaseService(frame) as service:
        connect, case = read_case(service)
        tags = search_all(service)[0][0]["tags"]
        templates = post_connect(service, b"", "templates-list").json()["templates"]
        assert len(ids_of(service, filter={"tag": {"equalTo": {"key": "bare", "value": ""}}})) == 1
    attributes, links = case["attributes"], case["relationships"]
    time_text = "2024-05-01T22:00:00.000Z"
    assert connect == {
        "Case Id": "C-1", "Reference number": "R-1", "Title": "T", "Summary": "S",
        "Status": "Resolved",
        "Created": "2024-05-01T00:00:00.000Z", "Last updated": time_text,
        "Last closed": time_text,
        "Next SLA breach": time_text, "resolved_at": time_text, "Assigned user": "agent-6",
        "Assigned queue": "group-56", "accounts": "act_1", "resolution": "done", "creator_id": "u1",
        "Customer": "cust", "name": "own name",
    }  # fmt: skip
    assert tags == {"k": "v", "bare": ""}
    assert [template["name"] for template in templates] == ["Standard"]
    assert set(attributes) == {
        "status", "name", "resolution", "created-at", "updated-at", "resolved-at", "sla-expires-at",
        "creator-id", "assignee-id", "tags", "fields",
    }  # fmt: skip
    assert set(attributes["fields"]) == {"title", "summary", "resolved_at", "customer_id", "name"}
    assert set(links) == {"case-template", "case-queue", "accounts"}
    assert links["case-queue"]["data"]["id"] == "group-56"
    assert (attributes["assignee-id"], attributes["name"], attributes["resolved-at"]) == (
        "agent-6",
        "R-1",
        time_text,
    )


def test_a_custom_key_with_a_system_name_has_a_column_of_its_own():
    frame = one(resolved_at=MIDNIGHT, closed_at=MIDNIGHT, name="x", title="t")
    with CaseService(frame) as service:
        columns = set(service.frame("persona"))
    assert {"closed_at", "fields_resolved_at", "fields_name", "title"} < columns


def test_the_schema_has_only_the_frames_columns():
    with CaseService(one(title="x")) as service:
        fields = post_connect(service, b"", "fields-list").json()["fields"]
        assert [field["fieldId"] for field in fields] == [
            "created_datetime", "title", "case_id", "last_updated_datetime"
        ]  # fmt: skip
        case = persona_all(service, {})[0]
        assert set(case["attributes"]) == {"created-at", "updated-at", "fields"}
        assert set(case["relationships"]) == {"case-template"}
        unknown = {"field": {"equalTo": {"id": "status", "value": {"stringValue": "open"}}}}
        assert post_connect(service, {"filter": unknown}).status_code == 400
        for attribute in ("status", "assignee", "resolved_at"):
            value = "2024-01-01" if attribute == "resolved_at" else "x"
            query = {"attribute": attribute, "operator": "eq", "value": value}
            sort = {"attribute": attribute, "direction": "asc"}
            assert persona_all(service, {"query": query, "sort": sort}) == []
        items = post_connect(service, {}, f"cases/{case['id']}/related-items-search").json()
        assert items == {"relatedItems": []}, "a user's cases have no generated items"


def test_generated_ids_are_the_same_every_time():
    frame = pd.DataFrame(
        {"created_at": pd.date_range("2024-01-01", periods=4), "title": list("abcd")}
    )
    with CaseService(frame) as first, CaseService(frame) as second:
        assert sorted(ids_of(first)) == sorted(ids_of(second))
    partly_named = frame.assign(case_id=["x", None, "y", ""])
    with pytest.warns(UserWarning, match="case_id is missing in 2 rows; .* generates") as caught:
        partly = CaseService(partly_named)
    assert caught[0].filename == __file__
    with partly:
        assert {"x", "y"} < set(ids_of(partly))


ID = uuid.UUID("6f0b7a52-1d0e-5c2c-9d55-0f4f3f0c8a11")
ROWS = pd.DataFrame({
    "case_id": ["K-1", "K-2"], "created_at": pd.date_range("2024-05-01", periods=2, tz="UTC"),
    "queue": ["a", "b"], "title": ["x", "y"],
})  # fmt: skip


@pytest.mark.parametrize(
    "frame",
    [
        ROWS.set_index("case_id"),
        ROWS.set_index(["queue", "case_id"]),
        ROWS.set_index("created_at"),
        ROWS.set_index("queue"),
        ROWS.set_index("case_id", drop=False),
        ROWS.set_index(["title", "created_at", "case_id"]),
        ROWS.set_axis([7, 3]),
        ROWS[::-1],
        pd.concat([ROWS[:1], ROWS[1:].set_axis([0])]),
    ],
)
def test_an_index_is_served_as_columns(frame):
    with CaseService(frame) as service:
        assert sorted(ids_of(service)) == ["K-1", "K-2"]
        back = service.frame()[list(ROWS.columns)]
    pd.testing.assert_frame_equal(back, ROWS, check_dtype=False)


@pytest.mark.parametrize(
    ("ids", "texts"),
    [
        ([10, 9], ["10", "9"]),
        (pd.array([10, 9], dtype="Int64"), ["10", "9"]),
        (pd.Categorical([10, 9]), ["10", "9"]),
        (pd.Series([10, "x"], dtype=object), ["10", "x"]),
        (pd.Series([ID, uuid.UUID(int=0)]), [str(ID), str(uuid.UUID(int=0))]),
        (pd.Index(["b", "a"]).astype("string[pyarrow]"), ["b", "a"]),
    ],
)
def test_ids_of_other_types_are_served_as_text(ids, texts):
    frame = ROWS.assign(case_id=ids)
    for one_frame in (frame, frame.set_index("case_id")):
        with CaseService(one_frame) as service:
            by_id = service.frame().set_index("case_id")
            assert by_id.loc[texts, "title"].tolist() == ["x", "y"]


def test_decimals_and_categories_of_other_values_are_served():
    frame = ROWS.assign(
        price=[Decimal("0.10"), None],
        arrow_price=pd.Series(
            [Decimal("1.50"), Decimal(2)], dtype=pd.ArrowDtype(pa.decimal128(5, 2))
        ),
        level=pd.Categorical([3, None]),
        day=pd.Categorical([dt.date(2024, 5, 2), None]),
        at=pd.Categorical([MIDNIGHT, None]),
        flag=pd.Categorical([True, False]),
    )
    with CaseService(frame) as service:
        back = service.frame().astype(object)
    back = back.where(back.notna(), None)
    assert back["price"].tolist() == [0.1, None]
    assert back["arrow_price"].tolist() == [1.5, 2]
    assert back["level"].tolist() == [3, None]
    assert back["day"].tolist() == ["2024-05-02", None]
    assert back["at"].tolist() == [MIDNIGHT.tz_localize("UTC"), None]
    assert back["flag"].tolist() == [True, False]


KATHMANDU = "Asia/Kathmandu"


@pytest.mark.parametrize(
    "times",
    [
        pd.Series([MIDNIGHT, MIDNIGHT]),
        pd.Series([MIDNIGHT.to_pydatetime(), None], dtype=object),
        pd.Series([MIDNIGHT, None], dtype=pd.ArrowDtype(pa.timestamp("us"))),
        pd.Categorical([MIDNIGHT, None]),
        pd.Series([MIDNIGHT.tz_localize(KATHMANDU), None]),
    ],
)
def test_naive_times_are_in_the_given_zone(times):
    """A frame that was read in a zone and lost it, as in Excel, is served at the same instants."""
    with CaseService(ROWS.assign(closed_at=times), tz=KATHMANDU) as service:
        assert service.frame()["closed_at"][0] == pd.Timestamp("2024-04-30T18:15:00Z")
        assert service.frame()["created_at"][0] == pd.Timestamp("2024-05-01T00:00:00Z"), "aware"


@pytest.mark.parametrize("tz", ["Nowhere", "", 5, "+25:00"])
def test_an_unknown_zone_is_an_error(tz):
    with pytest.raises(ValueError, match="tz must be a time zone such as 'Europe/Berlin', got"):
        CaseService(ROWS, tz=tz)


def test_an_offset_and_a_zone_object_are_zones():
    naive = ROWS.assign(created_at=ROWS["created_at"].dt.tz_localize(None))
    for tz in ("+02:00", dt.timezone(dt.timedelta(hours=2)), ZoneInfo("Etc/GMT-2")):
        with CaseService(naive, tz=tz) as service:
            assert service.frame()["created_at"][0] == pd.Timestamp("2024-04-30T22:00:00Z")


def test_a_wall_time_that_occurs_twice_or_never_is_served_as_filters_take_it():
    times = pd.Series(pd.to_datetime(["2024-10-27 02:30", "2024-03-31 02:30"]))
    for column in (times, times.astype(object)):
        with CaseService(ROWS.assign(closed_at=column), tz="Europe/Berlin") as service:
            assert service.frame()["closed_at"].tolist() == [
                pd.Timestamp("2024-10-27T01:30:00Z"),
                pd.Timestamp("2024-03-31T01:00:00Z"),
            ]


def test_local_cases_serve_naive_times_in_the_zone_of_the_read():
    with cs.LocalCases(ROWS) as local:
        source = local.connect_cases()
        read = cs.read_cases(source, tz=KATHMANDU)
        naive = read.assign(created_at=read["created_at"].dt.tz_localize(None))
        other = read.assign(updated_at=read["updated_at"].dt.tz_localize(None))
        other.attrs.clear()
        for frame in (naive, other):
            with cs.LocalCases(frame) as again:
                assert again.frame()["created_at"].tolist() == ROWS["created_at"].tolist()
        with cs.LocalCases(naive, tz="UTC") as again:
            assert again.frame()["created_at"].tolist() != ROWS["created_at"].tolist()


@pytest.mark.parametrize("name", ["connect", "persona"])
def test_a_frame_without_update_times_has_them_on_both_services(name):
    with cs.LocalCases(ROWS) as local:
        source = local.connect_cases() if name == "connect" else local.persona_cases()
        read = cs.read_cases(source)
        assert read["updated_at"].tolist() == read["created_at"].tolist()
        local.advance(3600)
        local.update("K-1", title="new")
        local.advance(3600)
        assert cs.count_cases(source, updated_at__gte=local.clock() - dt.timedelta(hours=2)) == 1
        refreshed = read.cases.refresh().set_index("case_id")
    assert refreshed["title"].to_dict() == {"K-1": "new", "K-2": "y"}
    assert refreshed.loc["K-1", "updated_at"] > refreshed.loc["K-2", "updated_at"]


@pytest.mark.parametrize(
    ("tags", "message"),
    [
        (["urgent"], "1 without a value .* 'urgent' as 'urgent='$"),
        (["b", "team=red", "a"], "2 without a value .* 'a' as 'a=', 'b' as 'b='$"),
        (["team=red", "team=blue"], "of several tags of a case with one key the last .* 'team'$"),
        (["team=red", "team"], "without a value .*; of several tags"),
        (["a", "a"], "without a value .*; of several tags"),
        (["a=1=2", "=x", "b="], ""),
        ([], ""),
    ],
)
def test_tags_that_amazon_connect_cannot_show_are_warned_of(tags, message):
    def warned(action):
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            action()
        assert {one.filename for one in caught} <= {__file__}
        return [str(one.message) for one in caught]

    frame = ROWS.assign(tags=[tags, tags])
    ways = [lambda: CaseService(frame).stop(), lambda: cs.LocalCases(frame).stop()]
    with CaseService(ROWS.assign(tags=[[], None])) as service:
        ways.append(lambda: service.insert({"tags": tags}))
        ways.append(lambda: service.update("K-1", tags=tags))
        for way in ways:
            texts = warned(way)
            assert len(texts) == bool(message)
            assert not texts or re.search(message, texts[0]), texts
        shown = {case["id"]: case["attributes"]["tags"] for case in persona_all(service, {})}
    assert shown["K-1"] == tags, "Persona's tags are any text"


def test_templates_come_from_their_columns():
    frame = pd.DataFrame({
        "created_at": pd.to_datetime(["2024-01-01"] * 3), "template_id": ["t1", "t2", None],
    })  # fmt: skip
    with CaseService(frame) as service:
        templates = post_connect(service, b"", "templates-list").json()["templates"]
        assert [(one["templateId"], one["name"]) for one in templates][:2] == [
            ("t1", "t1"),
            ("t2", "t2"),
        ]
        assert templates[2]["name"] == "Cases"
    with CaseService(frame.assign(template=["One", "Two", None])) as service:
        templates = post_connect(service, b"", "templates-list").json()["templates"]
        assert {one["name"] for one in templates} == {"One", "Two", "Cases"}


def test_status_options_are_those_of_the_data_and_open_and_closed():
    frame = pd.DataFrame({"created_at": [MIDNIGHT] * 2, "status": ["Waiting on UBOs", "open"]})
    with CaseService(frame) as service:
        client = connect_client(service)
        options = client.list_field_options(domainId=service.domain_id, fieldId="status")["options"]
    assert {option["value"] for option in options} == {"open", "closed", "Waiting on UBOs"}


def test_columns_that_differ_only_by_letter_case_are_two():
    with CaseService(one(Note="a", note="b")) as service:
        connect, case = read_case(service)
    assert (connect["Note"], connect["note"]) == ("a", "b")
    assert case["attributes"]["fields"]["Note"]["value"] == "a"


def test_integers_and_floats_in_one_column_are_numbers():
    frame = TWO.assign(case_id=["a", "b"], n=pd.Series([1, 2.5], dtype=object))
    with CaseService(frame) as service:
        assert service.frame()["n"].tolist() == [1, 2.5]


def test_an_empty_column_has_the_kind_of_its_name():
    with CaseService(one(closed_at=float("nan"), tags=None)) as service:
        connect, case = read_case(service)
    assert "Last closed" not in connect
    assert (case["attributes"]["resolved-at"], case["attributes"]["tags"]) == (None, [])


def test_an_empty_frame_is_served():
    frame = pd.DataFrame({"created_at": pd.to_datetime([]), "title": pd.Series([], dtype="str")})
    with CaseService(frame) as service:
        assert search_all(service) == ([], 0)
        assert persona_all(service, {}) == []
        assert post_connect(service, b"", "templates-list").json()["templates"]


BAD = {
    "no created_at": (pd.DataFrame({"title": ["x"]}), "created_at.*assign"),
    "missing created_at": (
        pd.DataFrame({"created_at": [MIDNIGHT, None]}), "created_at.*1 rows.*row 1"
    ),
    "text created_at": (pd.DataFrame({"created_at": ["2024"]}), "created_at.*convert"),
    "future": (pd.DataFrame({"created_at": [pd.Timestamp("2999-01-01")]}), "after the service"),
    "same ids": (TWO.assign(case_id=["a", "a"]), "case_id 'a' is a duplicate"),
    "column twice": (
        pd.DataFrame([[MIDNIGHT, 1, 2]], columns=["created_at", "a", "a"]), "'a' is a duplicate"
    ),
    "unnamed": (pd.DataFrame([[MIDNIGHT, 1]], columns=["created_at", 0]), "0.*rename"),
    "too many": (pd.DataFrame([[1] * 501], columns=[f"c{n}" for n in range(501)]), "501"),
    "ids with a fraction": (one(case_id=5.0), "case_id.*convert"),
    "true ids": (one(case_id=True), "case_id.*convert"),
    "a UUID": (one(extra=uuid.uuid4()), "'extra'.*UUID"),
    "text tags": (one(tags="k=v"), "tags.*convert"),
    "maps": (one(extra={"a": 1}), "'extra'.*dict"),
    "sets": (one(extra={"a"}), "'extra'.*set"),
    "long decimals": (one(extra=Decimal("0.12345678901234567890")), "'extra'.*17 digits"),
    "infinite decimals": (one(extra=Decimal("Infinity")), "'extra'.*finite"),
    "mixed": (TWO.assign(m=pd.Series([1, "a"], dtype=object)), "'m'.*int, str"),
    "spans": (one(extra=pd.Timedelta("1h")), "'extra'.*timedelta"),
    "periods": (one(extra=pd.Period("2024-01")), "'extra'.*period"),
    "categories of spans": (
        one().assign(extra=pd.Categorical([pd.Timedelta("1h")])), "'extra'.*category"
    ),
    "an index without a name": (one(title="x").set_axis(["K-1"]), "index has no name.*rename_axis"),
    "numbers without a name or an id": (one(title="x").set_axis([17]), "index has no name"),
    "an index with half a name": (
        one(title="x").set_axis(pd.MultiIndex.from_tuples([("K-1", 1)], names=["case_id", None])),
        "index has no name",
    ),
    "an index that contradicts a column": (
        one(case_id="a").set_axis(pd.Index(["b"], name="case_id")), "both called 'case_id'"
    ),
    "an index named by a number": (
        one(title="x").set_axis(pd.Index(["b"], name=0)), "0.*rename the column"
    ),
    "one template by two names": (
        TWO.assign(template_id="t1", template=["One", "Two"]), "'t1' has two names.*'One' and 'Two'"
    ),
    "infinite": (one(extra=float("inf")), "'extra'.*finite"),
    "huge": (one().assign(extra=pd.array([2**64 - 1], dtype="UInt64")), "'extra'.*64 bits"),
    "surrogate": (one().assign(extra=pd.Series(["\ud800"], dtype=object)), "'extra'.*surrogate"),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD)
def test_an_unsupported_frame_is_an_error_that_names_its_column(name):
    frame, message = BAD[name]
    with pytest.raises(ValueError, match=message):
        CaseService(frame)


def test_a_later_now_allows_later_cases():
    frame = pd.DataFrame({"created_at": [pd.Timestamp("2999-01-01")]})
    with CaseService(frame, now=dt.datetime(3000, 1, 1, tzinfo=dt.UTC)) as service:
        assert search_all(service)[1] == 1


def test_frame_returns_the_users_columns():
    frame = pd.DataFrame({
        "case_id": ["a", "b"], "created_at": pd.to_datetime(["2024-01-01", "2024-01-02"], utc=True),
        "size": pd.array([1, None], dtype="Int64"), "words": [["x"], None],
    })  # fmt: skip
    with CaseService(frame) as service:
        back = service.frame()[list(frame.columns)]
    pd.testing.assert_frame_equal(back, frame, check_dtype=False)


@pytest.mark.skipif(not INCIDENTS.is_file(), reason="the real incidents are not here")
def test_real_incidents_are_returned_cell_by_cell():
    frame = pd.read_parquet(INCIDENTS)
    start = time.perf_counter()
    with CaseService(frame, request_log_size=0) as service:
        assert time.perf_counter() - start < 10
        fields = post_connect(service, b"", "fields-list").json()["fields"]
        names = {field["fieldId"]: field["name"] for field in fields}
        labels = {
            "Case Id": "case_id", "Created": "created_at", "Last updated": "updated_at",
            "Title": "title", "Last closed": "closed_at", "Status": "status",
            "Assigned user": "assignee",
            "Assigned queue": "queue",
        }  # fmt: skip
        most = [field for field in names if names[field] not in ("Title", "Assigned queue")]
        rows = {}
        for part in (most[:25], [field for field in names if field not in most]):
            for case in search_all(service, fields=[{"id": field} for field in part])[0]:
                values = {labels.get(names[k], names[k]): v for k, v in values_of(case).items()}
                rows.setdefault(case["caseId"], {}).update(values)
        objects = persona_all(service, {}, Key_Inflection="snake")
    connect = pd.DataFrame.from_dict(rows, orient="index").set_index("case_id").sort_index()
    search = pd.DataFrame([
        {**{key: one["value"] for key, one in case["attributes"].pop("fields").items()},
         "case_id": case["id"], "closed_at": case["attributes"].pop("resolved_at"),
         "assignee": case["attributes"].pop("assignee_id"), **case["attributes"],
         "queue": (case["relationships"]["case_queue"]["data"] or {}).get("id")}
        for case in objects
    ]).set_index("case_id").sort_index()  # fmt: skip
    frame = frame.set_index("case_id").sort_index()
    for name in frame.columns:
        for result in (connect, search):
            expected = frame[name]
            if isinstance(expected.dtype, pd.DatetimeTZDtype):
                expected = expected.dt.strftime("%Y-%m-%dT%H:%M:%S.000Z")
            expected, values = expected.astype(object), result[name].astype(object)
            assert (expected.isna() == values.isna()).all(), name
            assert (expected.dropna() == values.dropna()).all(), name
