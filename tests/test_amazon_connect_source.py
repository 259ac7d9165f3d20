"""`ConnectCases` on the wire: what it sends, and what it makes of odd and broken answers."""

import json
import math
import pickle
from datetime import UTC, datetime, timedelta

import boto3
import botocore.exceptions
import pandas as pd
import pytest
from botocore.credentials import RefreshableCredentials
from botocore.session import get_session
from botocore.validate import ParamValidator

import casesearch_pd as cs
from casesearch_pd.sources.transport.context import Tuning
from tests.wire_clients import connect
from tests.wire_stub import (
    CUSTOM,
    SYSTEM,
    Stub,
    broken_answers,
    connect_case,
    connect_domain,
    connect_error,
    connect_field,
    connect_page,
    connect_pages,
    ok,
    script,
    union,
)

TUNING = Tuning()

pytestmark = pytest.mark.usefixtures("clock")

CASES = [connect_case(f"c{number}", {"f-num": number}) for number in range(5)]
WHOLE = json.dumps(connect_page(CASES)).encode()


def serving(*replies, **options):
    return Stub(connect_domain(script(*replies), **options))


def read_one(values, *, expect_warning=None):
    """Read a domain of one case with these values; give its row."""
    with serving(ok(connect_page([connect_case("c1", values)]))) as stub:
        source = connect(stub)
        if expect_warning is None:
            return cs.read_cases(source).iloc[0]
        with pytest.warns(UserWarning, match=expect_warning) as warned:
            row = cs.read_cases(source).iloc[0]
        assert len(warned) == 1
        return row


# --- what is sent ------------------------------------------------------------------------------


def test_every_request_is_one_that_botocore_and_the_limits_allow():
    """boto3 lets 101 rows, 26 fields, 3 sorts and 11 members pass; the service does not."""
    numbers = [connect_field(f"n-{at}", "Number", label=f"N {at}") for at in range(60)]
    filters = {"status": [f"s{at}" for at in range(37)], "n_3__gte": 4, "title__contains": "x"}
    page = connect_page([connect_case("c-1")], total=1)
    with serving(ok(page), fields=[*SYSTEM, *numbers], options=()) as stub:
        source = connect(stub)
        with pytest.warns(UserWarning, match="requests per page"):
            cs.read_cases(source, sort=["-n_7", "status"], search="late", **filters)
        cs.count_cases(source, **filters)
    shape = source.client.meta.service_model.operation_model("SearchCases").input_shape
    # three passes of 25 fields, a sweep of what changed meanwhile, and a count
    assert len(stub.searches) == 7
    for request in stub.searches:
        body = {"domainId": "domain 1", **request.json}
        report = ParamValidator().validate(body, shape)
        assert not report.has_errors(), report.generate_report()
        assert 1 <= body["maxResults"] <= 100
        assert len(body.get("fields", ())) <= 25
        assert len(body.get("sorts", ())) <= 2
        assert all(len(members) <= 10 for members in groups_of(body["filter"]))
        assert all(one["sortOrder"] in {"Asc", "Desc"} for one in body.get("sorts", ()))


def groups_of(term):
    for name, inner in term.items():
        if name in {"andAll", "orAll"}:
            yield inner
            for member in inner:
                yield from groups_of(member)
        elif name == "not":
            yield from groups_of(inner)


def test_a_domain_id_is_escaped_and_the_request_signed():
    """A domain id with a slash would otherwise name another operation."""
    with serving(ok(connect_page([]))) as stub:
        cs.read_cases(connect(stub))
    (request,) = stub.searches
    assert request.path == "/domains/domain%201/cases-search"
    assert "/cases/aws4_request" in request.headers["authorization"]
    assert "casesearch_pd" in request.headers["user-agent"]


def test_pages_follow_the_token_with_everything_else_the_same():
    """A service may refuse a token that comes with another filter, or answer another question."""
    with Stub(connect_domain(connect_pages(CASES, 2))) as stub:
        frame = cs.read_cases(connect(stub), status="open", columns=["amount"])
    assert frame["amount"].tolist() == [0, 1, 2, 3, 4]
    walked = [one.json for one in stub.searches]
    assert [one.pop("nextToken", None) for one in walked] == [None, "2", "4"]
    assert walked == [walked[0]] * 3


def test_a_service_that_takes_no_hundred_is_asked_once_more_with_25():
    """The limit was 25 until 2025, and still is in some documentation."""
    many = [connect_case(f"c{number:02}") for number in range(30)]

    def search(request):
        if request.json["maxResults"] > 25:
            return connect_error(400, "ValidationException", "maxResults")
        return connect_pages(many)(request)

    with Stub(connect_domain(search)) as stub:
        source = connect(stub)
        assert len(cs.read_cases(source)) == 30
        assert len(cs.read_cases(source)) == 30
    assert [one.json["maxResults"] for one in stub.searches] == [100, 25, 25, 25, 25]


def test_a_refusal_that_is_not_about_the_size_leaves_the_size_alone():
    with serving(connect_error(400, "ValidationException", "filter")) as stub:
        source = connect(stub)
        with pytest.raises(cs.InvalidRequestError, match="filter"):
            cs.read_cases(source)
        assert [one.json["maxResults"] for one in stub.searches] == [100, 25]
        assert source.page_size == 100


def test_no_page_but_the_first_is_asked_for_again_with_25():
    """In the middle of a walk a refusal is about the token, and 25 rows would be read twice."""
    page = connect_page(CASES[:2], token="2", total=5)
    with (
        serving(ok(page), connect_error(400, "ValidationException")) as stub,
        pytest.raises(cs.IncompleteReadError),
    ):
        cs.read_cases(connect(stub))
    assert [one.json["maxResults"] for one in stub.searches] == [100, 100, 100]


def test_a_customer_is_named_by_a_profile_arn():
    """The service wants the whole ARN; a bare id would match nothing and look like no cases."""
    arn = "arn:aws:profile:us-east-1:123456789012:domains/d/profiles/p"
    customer = connect_field("customer_id", namespace="System")
    with serving(ok(connect_page([])), fields=[*SYSTEM, customer]) as stub:
        source = connect(stub)
        with pytest.raises(cs.FilterError, match="arn:aws:profile:REGION"):
            cs.read_cases(source, customer_id="p")
        assert not stub.searches
        cs.read_cases(source, customer_id=arn)
    assert arn in stub.searches[0].body.decode()


def test_a_count_is_one_request_for_one_row():
    with Stub(connect_domain(connect_pages(CASES))) as stub:
        assert cs.count_cases(connect(stub), status="open") == 5
    (request,) = stub.searches
    assert request.json["maxResults"] == 1
    assert "fields" not in request.json


def test_a_service_that_does_not_count_is_an_error_of_the_count_alone():
    """A missing total must not be taken for 0, nor cost the rows."""
    page = {"cases": CASES, "nextToken": None}
    with serving(ok(page)) as stub:
        source = connect(stub)
        with pytest.raises(cs.InvalidResponseError, match="read the cases"):
            cs.count_cases(source)
        frame = cs.read_cases(source)
    assert len(frame) == 5
    assert frame.cases.provenance["total"] is None


# --- what comes back ---------------------------------------------------------------------------

LOST = [
    pytest.param({}, id="empty union"),
    pytest.param({"booleanValue": None}, id="null member"),
    pytest.param({"emptyValue": {}}, id="emptyValue"),
    pytest.param({"emptyValue": None, "doubleValue": None}, id="null members"),
]


@pytest.mark.parametrize("value", LOST)
@pytest.mark.parametrize("name", ["f-text", "f-num", "f-bool", "f-time", "f-user"])
def test_an_empty_value_is_a_missing_cell_and_the_page_survives(name, value):
    """The stock parser loses the page to a null union, though the API says it may come."""
    row = read_one({name: value, "title": "still here"})
    columns = {"f-text": "note", "f-num": "amount", "f-bool": "urgent", "f-time": "due"}
    assert pd.isna(row[columns.get(name, "owner")])
    assert row["title"] == "still here"


def test_a_field_without_a_value_is_a_missing_cell():
    case = connect_case("c1", {"title": "here"})
    case["fields"] += [{"id": "f-text", "value": None}, {"id": "f-num"}, None, {"value": {}}]
    with serving(ok(connect_page([case]))) as stub:
        row = cs.read_cases(connect(stub)).iloc[0]
    assert pd.isna(row["note"])
    assert pd.isna(row["amount"])
    assert row["title"] == "here"


@pytest.mark.parametrize("fields", [None, {}, "x", 5])
def test_fields_that_are_no_list_are_no_fields(fields):
    case = {**connect_case("c1"), "fields": fields}
    with serving(ok(connect_page([case]))) as stub:
        assert pd.isna(cs.read_cases(connect(stub))["created_at"].iloc[0])


@pytest.mark.parametrize(
    ("name", "column", "value"),
    [
        ("f-num", "amount", {"futureValue": [1]}),
        ("f-num", "amount", {"stringValue": "12"}),
        ("f-bool", "urgent", {"booleanValue": "false"}),
        ("f-text", "note", {"doubleValue": 5}),
        ("f-time", "due", {"stringValue": "soon"}),
        ("f-num", "amount", 5),
        ("f-num", "amount", {"doubleValue": "many"}),
    ],
)
def test_a_value_of_another_form_costs_its_cell_and_is_named_once(name, column, value):
    """A lost page, or "false" taken for a truth value, would be worse than a missing cell."""
    case = connect_case("c1", {"title": "here"})
    case["fields"].append({"id": name, "value": value})
    with (
        serving(ok(connect_page([case]))) as stub,
        pytest.warns(UserWarning, match="do not fit") as warned,
    ):
        row = cs.read_cases(connect(stub)).iloc[0]
    (warning,) = warned
    assert str(warning.message).partition(": ")[2].partition(";")[0] == f"{column} (1)"
    assert pd.isna(row[column])
    assert row["title"] == "here"


def test_of_two_members_the_one_of_the_fields_type_counts():
    row = read_one({"f-num": {"stringValue": "x", "doubleValue": 3, "booleanValue": None}})
    assert row["amount"] == 3


def test_a_user_comes_under_either_member():
    """Clients in the wild accept both for assigned_user."""
    arn = "arn:aws:connect:us-east-1:1:instance/i/agent/a"
    for member in ("userArnValue", "stringValue"):
        assert read_one({"f-user": {member: arn}})["owner"] == arn


@pytest.mark.parametrize(("text", "value"), [("Infinity", math.inf), ("-Infinity", -math.inf)])
def test_numbers_that_json_has_no_figure_for_come_as_text(text, value):
    assert read_one({"f-num": {"doubleValue": text}})["amount"] == value


@pytest.mark.parametrize("text", [b'"NaN"', b"NaN"])
def test_not_a_number_is_missing(text):
    page = json.dumps(connect_page([connect_case("c1", {"f-num": 7.25})])).encode()
    with serving(ok(page.replace(b"7.25", text))) as stub:
        assert pd.isna(cs.read_cases(connect(stub))["amount"].iloc[0])


def test_a_number_that_a_float_cannot_hold_is_counted():
    """2**53 + 1 becomes 2**53 in silence with boto3."""
    row = read_one({"f-num": {"doubleValue": 2**53 + 1}}, expect_warning=r"amount \(1\)")
    assert row["amount"] == 2.0**53


def test_a_lone_surrogate_costs_one_character():
    """It is legal JSON; Arrow loses the whole frame to it."""
    row = read_one({"title": "a\ud800b", "f-text": "whole"}, expect_warning=r"title \(1\)")
    assert row["title"] == "a\ufffdb"
    assert row["note"] == "whole"


def test_tags_come_as_key_and_value_in_order():
    tagged = connect_case("c1", tags={"team": "red", "a": None, "b": ""})
    with serving(ok(connect_page([tagged, connect_case("c2", tags=None)]))) as stub:
        frame = cs.read_cases(connect(stub))
    assert frame["tags"].tolist() == [["a=", "b=", "team=red"], []]


def test_cases_of_the_same_tags_each_have_a_list_of_their_own():
    """One that they shared would change in all rows where somebody changes one."""
    cases = [connect_case(name, tags={"team": "red"}) for name in ("c1", "c2")]
    with serving(ok(connect_page(cases))) as stub:
        frame = cs.read_cases(connect(stub))
    frame["tags"][0].append("seen")
    assert frame["tags"].tolist() == [["team=red", "seen"], ["team=red"]]


@pytest.mark.parametrize(
    ("tags", "written"),
    [({"n": 5, "of": ["x"]}, ["n=5", "of=['x']"]), (["team=red"], []), ("red", [])],
)
def test_tags_that_are_no_texts_cost_no_page(tags, written):
    """What nobody documents still comes, as far as it is a key and a value."""
    cases = [connect_case("c1", tags=tags), connect_case("c2", tags={"team": "red"})]
    with serving(ok(connect_page(cases))) as stub:
        frame = cs.read_cases(connect(stub))
    assert frame["tags"].tolist() == [written, ["team=red"]]


@pytest.mark.parametrize("template", [None, "t-9", 5, ["t-1"]])
def test_a_template_that_discovery_did_not_name_has_no_name(template):
    with serving(ok(connect_page([connect_case("c1", templateId=template)]))) as stub:
        row = cs.read_cases(connect(stub)).iloc[0]
    assert pd.isna(row["template"])
    assert row["template_id"] == template if template == "t-9" else pd.isna(row["template_id"])


def test_null_among_the_cases_is_passed_over():
    """The service model calls the list sparse."""
    with serving(ok(connect_page([None, CASES[0]], total=1))) as stub:
        assert len(cs.read_cases(connect(stub))) == 1


def test_the_end_is_no_token_however_it_is_written():
    """A loop on the mere presence of nextToken never ends."""
    for end in ({"nextToken": None}, {"nextToken": ""}, {}):
        with serving(ok({"cases": CASES, "totalCount": 5, **end})) as stub:
            assert len(cs.read_cases(connect(stub))) == 5
        assert len(stub.searches) == 1


def test_an_empty_page_with_a_token_is_not_the_end():
    pages = [connect_page([], token="1", total=5), connect_page(CASES)]
    with serving(*map(ok, pages)) as stub:
        assert len(cs.read_cases(connect(stub))) == 5


def test_a_page_longer_than_asked_for_is_read_whole():
    with serving(ok(connect_page(CASES))) as stub:
        assert len(cs.read_cases(connect(stub, page_size=2))) == 5


CIRCLES = [["a", "a"], ["a", "b", "a"]]


def circling(tokens, *, honest):
    """Answer each token by the page after it, round and round; from a new beginning, if honest."""

    def search(request):
        if len(stub.searches) > 30:  # whoever gets here would go round for ever
            return ok(connect_page([], total=5))
        if honest and "greaterThanOrEqualTo" in request.body.decode():
            return ok(connect_page(CASES))
        token = request.json.get("nextToken")
        at = 0 if token is None else 1 + tokens.index(token)
        return ok(connect_page([CASES[at]], token=tokens[at], total=5))

    stub = Stub(connect_domain(search))
    return stub


@pytest.mark.parametrize("tokens", CIRCLES)
def test_a_token_that_comes_again_is_no_end_and_no_endless_loop(tokens):
    """boto3's paginator notices only two equal ones in a row, and follows a cycle for ever."""
    with circling(tokens, honest=False) as stub:
        with pytest.raises(cs.IncompleteReadError, match="does not advance") as raised:
            cs.read_cases(connect(stub))
        assert len(stub.searches) <= 5 * len(tokens)
    assert type(raised.value.__cause__) is cs.InvalidResponseError
    # One case a page: what came before the circle closed, once each.
    assert raised.value.partial["amount"].tolist() == [*range(len(tokens))]
    (missing,) = raised.value.missing
    assert "created_at from 2026-03-14T09:30:00" in missing


@pytest.mark.parametrize("tokens", CIRCLES)
def test_a_read_goes_on_from_its_last_row_where_tokens_go_in_a_circle(tokens):
    with circling(tokens, honest=True) as stub:
        assert cs.read_cases(connect(stub))["amount"].tolist() == [0, 1, 2, 3, 4]


# --- broken answers ----------------------------------------------------------------------------

BROKEN = {
    **broken_answers(WHOLE, members="cases", word=b"c1"),
    "an object for cases": ok({"cases": {}}),
    "cases that are none": ok({"cases": [5]}),
    "a case without an id": ok({"cases": [{"fields": []}]}),
    "a token that is no text": ok({"cases": [], "nextToken": 5}),
    "202": (202, {}, b""),
}


@pytest.mark.parametrize("fault", BROKEN)
def test_a_broken_success_that_clears_costs_nothing(fault):
    """boto3 takes a broken 200 for the end of the result: rows would be missing in silence."""
    with serving(BROKEN[fault], ok(WHOLE)) as stub:
        frame = cs.read_cases(connect(stub))
    assert frame["amount"].tolist() == [0, 1, 2, 3, 4]
    assert len(stub.searches) == 2


@pytest.mark.parametrize("fault", BROKEN)
def test_a_broken_success_ends_as_an_invalid_response(fault):
    with serving(BROKEN[fault]) as stub, pytest.raises(cs.InvalidResponseError) as raised:
        cs.read_cases(connect(stub))
    assert len(stub.searches) == TUNING.max_fault_attempts
    assert raised.value.status in {200, 202}
    assert "a proxy in between" in str(raised.value)


def test_a_broken_page_in_the_middle_is_read_again():
    """With page 4 of 10 cut short, boto3's paginator gives 75 of 225 rows and no error."""

    def search(request):
        if request.json.get("nextToken") == "2" and len(stub.searches) < 4:
            return BROKEN["truncated"]
        return connect_pages(CASES, 2)(request)

    with Stub(connect_domain(search)) as stub:
        assert len(cs.read_cases(connect(stub))) == 5


def test_a_redirect_is_not_followed():
    with (
        serving((302, {"Location": "http://127.0.0.1:1/"}, b"")) as stub,
        pytest.raises(cs.NotFoundError, match="endpoint_url="),
    ):
        cs.read_cases(connect(stub))
    assert len(stub.searches) == 1


# --- without the before-parse event ---------------------------------------------------------------


def deaf(stub):
    """Bind a source whose botocore does not call its handler; nobody documents that it does."""
    source = connect(stub)
    source.client.meta.events.unregister("before-parse.connectcases", source.connection.keep_body)
    return source


def test_a_botocore_that_does_not_call_the_handler_gives_the_same_frame():
    values = {"title": "x", "f-num": 1.5, "f-bool": False, "f-user": {"userArnValue": "arn:u"}}
    cases = [connect_case("c1", values, tags={"a": "b"}), connect_case("c2", {"f-text": ""})]
    with Stub(connect_domain(connect_pages(cases, 1))) as stub:
        pd.testing.assert_frame_equal(cs.read_cases(deaf(stub)), cs.read_cases(connect(stub)))


@pytest.mark.parametrize("fault", ["html", "empty", "no list", "gzip", "not UTF-8"])
def test_a_broken_success_is_seen_without_the_handler_too(fault):
    with serving(BROKEN[fault]) as stub, pytest.raises(cs.InvalidResponseError):
        cs.read_cases(deaf(stub))


def test_a_page_that_botocore_cannot_parse_is_a_bad_answer_without_the_handler():
    page = connect_page([connect_case("c1", {"f-bool": {"booleanValue": None}})])
    with (
        serving(ok(page)) as stub,
        pytest.raises(cs.InvalidResponseError, match="cannot be parsed"),
    ):
        cs.read_cases(deaf(stub))


# --- the fields --------------------------------------------------------------------------------


def lists(search, **members):
    """Answer discovery by these replies, each list by its own."""
    healthy = connect_domain(search)

    def reply(request):
        details = members.get(request.path.rsplit("/", 1)[1].removesuffix("-list"))
        return healthy(request) if details is None else details(request)

    return Stub(reply)


def test_discovery_follows_its_pages_and_asks_once():
    fields = [*SYSTEM, *CUSTOM]

    def entries(request):
        at = int(request.query.get("nextToken", 0))
        more = str(at + 3) if at + 3 < len(fields) else None
        return ok({"fields": fields[at : at + 3], "nextToken": more})

    with lists(connect_pages(CASES), fields=script(entries)) as stub:
        source = connect(stub)
        frame = cs.list_fields(source)
        cs.read_cases(source)
        assert sum(one.path.endswith("fields-list") for one in stub.requests) == 4
    assert {"note", "amount", "urgent", "due", "owner", "link"} <= set(frame["column"])
    assert frame.set_index("column").loc["status", "options"] == ["open"]


@pytest.mark.parametrize(
    "broken",
    [
        ok(b"<html>"),
        ok({}),
        ok({"fields": None}),
        ok({"fields": [None]}),
        ok({"fields": [{}]}),
        ok({"fields": [{**SYSTEM[0], "name": 5}]}),
        ok({"fields": 5}),
        ok([]),
        ok(b"\xff"),
    ],
    ids=[
        "html",
        "empty",
        "null",
        "null item",
        "empty item",
        "no text",
        "number",
        "list",
        "not UTF-8",
    ],
)
def test_a_broken_list_of_fields_is_a_bad_answer_or_mended(broken):
    """Without its fields a domain would look as if it had none, and every filter as unknown."""
    with lists(connect_pages(CASES), fields=script(broken)) as stub:
        with pytest.raises(cs.InvalidResponseError):
            cs.read_cases(connect(stub))
        assert not stub.searches
    healthy = ok({"fields": [*SYSTEM, *CUSTOM]})
    with lists(connect_pages(CASES), fields=script(broken, healthy)) as stub:
        assert len(cs.read_cases(connect(stub))) == 5


def test_a_list_of_fields_that_goes_in_a_circle_is_a_bad_answer():
    answers = [ok({"fields": list(SYSTEM), "nextToken": token}) for token in ("a", "b", "a", None)]
    with (
        lists(connect_pages(CASES), fields=script(*answers)) as stub,
        pytest.raises(cs.InvalidResponseError, match="repeats its nextToken"),
    ):
        cs.read_cases(connect(stub))
    assert len(stub.requests) == 4  # the templates, and three pages


def test_a_schema_read_before_saves_discovery():
    with Stub(connect_domain(connect_pages(CASES))) as stub:
        schema = connect(stub).schema
        before = len(stub.requests)
        assert len(cs.read_cases(connect(stub, schema=schema))) == 5
        assert len(stub.requests) == before + 1


def test_a_field_of_a_type_made_tomorrow_is_read_as_its_cells_are():
    tomorrow = connect_field("f-new", "Quaternion", label="Spin")
    case = connect_case("c1", {"f-new": "left"})
    with serving(ok(connect_page([case])), fields=[*SYSTEM, tomorrow]) as stub:
        assert cs.read_cases(connect(stub))["spin"].tolist() == ["left"]


def test_discovery_has_a_rate_limiter_of_its_own(clock):
    """40 selects would otherwise use up the burst that the searches need."""
    selects = [connect_field(f"s-{at}", "SingleSelect", label=f"S {at}") for at in range(40)]
    with serving(ok(connect_page([])), fields=[*SYSTEM, *selects]) as stub:
        source = connect(stub, rate=None)
        assert len(source.schema.fields) > 40
        waited = sum(clock.slept)
        cs.read_cases(source, columns=["title"])
    assert waited == pytest.approx((41 - 16) / (6 * 0.8), abs=0.5)  # ListFieldOptions: 6/s, 16
    assert sum(clock.slept) == waited


# --- credentials -----------------------------------------------------------------------------


def test_credentials_that_cannot_be_renewed_are_an_access_error():
    """An SSO log-in that ran out is found while signing, before anything is sent."""

    def renew():
        raise botocore.exceptions.UnauthorizedSSOTokenError

    session = get_session()
    session._credentials = RefreshableCredentials(
        "AKIDTEST", "secret", "token", datetime.now(UTC) - timedelta(1), renew, "sso"
    )
    with (
        serving(ok(connect_page(CASES))) as stub,
        pytest.raises(cs.AccessDeniedError, match="aws sso login"),
    ):
        cs.read_cases(
            connect(
                stub, boto3_session=boto3.Session(region_name="us-east-1", botocore_session=session)
            )
        )
    assert not stub.requests


def test_an_unsigned_client_is_one_caller_for_the_rate_limiter():
    with serving(ok(connect_page(CASES))) as stub:
        source = connect(stub)
        source.client._request_signer._credentials = None
        assert source.rate_limiter is connect_rate_limiter(source)


def connect_rate_limiter(source):
    return source._rate_limiter_of("SearchCases", source.rate, source.burst)


def test_a_copy_elsewhere_finds_its_own_credentials(monkeypatch):
    """A worker on another machine has its own; ours must not travel to it in a pickle."""
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIDOTHER")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "other")
    monkeypatch.delenv("AWS_PROFILE", raising=False)
    with Stub(connect_domain(connect_pages(CASES))) as stub:
        source = connect(stub)
        frame = cs.read_cases(source)
        discovered = len(stub.requests)
        copy = pickle.loads(pickle.dumps(source))
        pd.testing.assert_frame_equal(cs.read_cases(copy), frame)
        assert len(stub.requests) == discovered + 1  # it took the fields along
    assert "Credential=AKIDOTHER/" in stub.requests[-1].headers["authorization"]
    assert copy.describe() == source.describe()


def test_a_copy_keeps_to_its_profile(monkeypatch, tmp_path):
    config = tmp_path / "credentials"
    config.write_text("[work]\naws_access_key_id = AKIDWORK\naws_secret_access_key = s\n")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(config))
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    session = boto3.Session(profile_name="work", region_name="us-east-1")
    with Stub(connect_domain(connect_pages(CASES))) as stub:
        copy = pickle.loads(pickle.dumps(connect(stub, boto3_session=session)))
        cs.read_cases(copy)
    assert "Credential=AKIDWORK/" in stub.requests[-1].headers["authorization"]


def test_no_proxy_is_asked_for_this_machine(monkeypatch):
    """A proxy of the environment would get the requests that are meant for loopback."""
    with Stub(lambda _: (500, {}, b"")) as proxy, serving(ok(connect_page(CASES))) as stub:
        for name in ("http_proxy", "HTTP_PROXY", "all_proxy"):
            monkeypatch.setenv(name, proxy.url)
        monkeypatch.delenv("no_proxy", raising=False)
        monkeypatch.delenv("NO_PROXY", raising=False)
        assert len(cs.read_cases(connect(stub))) == 5
    assert not proxy.requests


def test_the_stub_writes_unions_as_they_are_documented():
    """The tests above stand on this."""
    assert union(True) == {"booleanValue": True}
    assert union(2) == {"doubleValue": 2}
    assert union("x") == {"stringValue": "x"}
