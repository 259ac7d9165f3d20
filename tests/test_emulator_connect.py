"""Amazon Connect Cases in the emulator: stock clients, and requests that they would not send."""

import http.client
import json
import uuid

import pytest
from botocore import UNSIGNED
from botocore.exceptions import ClientError

from casesearch_pd.emulator import CaseService
from tests.emulator_clients import (
    SIGNATURE,
    aws,
    connect_client,
    ids_of,
    post_connect,
    search_all,
    values_of,
)

SERVICE = {"cases": 240, "seed": 5}


@pytest.fixture(scope="module")
def client(service):
    return connect_client(service)


@pytest.fixture(scope="module")
def fields(service, client):
    return client.list_fields(domainId=service.domain_id)["fields"]


def leaf(operator, field_id, **value):
    return {"field": {operator: {"id": field_id, "value": value}}}


STATUS = leaf("equalTo", "status", stringValue="open")


def test_fields_have_every_type_and_take_two_passes(fields):
    assert {one["type"] for one in fields} == {
        "Text", "Number", "Boolean", "DateTime", "SingleSelect", "Url", "User",
    }  # fmt: skip
    assert 25 < len(fields) <= 45
    custom = [one for one in fields if one["namespace"] == "Custom"]
    assert all(uuid.UUID(one["fieldId"]) for one in custom)
    assert len({one["name"] for one in custom}) == len(custom)
    assert "Status" in {one["name"] for one in custom}, "a custom field with a system field's name"
    assert any(not one["name"].isascii() for one in custom)


def test_fields_come_in_pages(service, client, fields):
    result, more = [], {}
    while True:
        page = client.list_fields(domainId=service.domain_id, maxResults=7, **more)
        result += page["fields"]
        if "nextToken" not in page:
            break
        more = {"nextToken": page["nextToken"]}
    assert result == fields


def test_values_come_in_their_union_members(service, client, fields):
    members = {
        "Text": "stringValue", "Url": "stringValue", "SingleSelect": "stringValue",
        "DateTime": "stringValue", "Number": "doubleValue", "Boolean": "booleanValue",
        "User": "userArnValue",
    }  # fmt: skip
    types = {one["fieldId"]: one["type"] for one in fields}
    value_types = set()
    for start in (0, 25):
        request_fields = [{"id": one["fieldId"]} for one in fields[start : start + 25]]
        page = client.search_cases(
            domainId=service.domain_id, maxResults=100, fields=request_fields
        )
        for case in page["cases"]:
            for one in case["fields"]:
                assert list(one["value"]) == [members[types[one["id"]]]]
                value_types.add(types[one["id"]])
    assert value_types == set(members)


def test_both_passes_together_match_the_frame(service, fields):
    cases_by_id = {}
    for start in (0, 25):
        request_fields = [{"id": one["fieldId"]} for one in fields[start : start + 25]]
        for case in search_all(service, fields=request_fields)[0]:
            cases_by_id.setdefault(case["caseId"], {}).update(values_of(case))
    truth = service.frame().set_index("case_id")
    assert set(cases_by_id) == set(truth.index)
    for case_id, values in cases_by_id.items():
        row = truth.loc[case_id]
        assert values["title"] == row["title"]
        assert values["created_datetime"] == f"{row['created_at'].isoformat()[:-6]:0<23}"[:23] + "Z"
        assert ("assigned_user" in values) == (row["assignee"] == row["assignee"])


def test_paginator_reads_each_case_once_in_the_requested_order(service, client):
    pages = client.get_paginator("search_cases").paginate(
        domainId=service.domain_id,
        fields=[{"id": "created_datetime"}],
        sorts=[{"fieldId": "created_datetime", "sortOrder": "Asc"}],
        PaginationConfig={"PageSize": 17},
    )
    cases = [case for page in pages for case in page["cases"]]
    assert [values_of(c)["created_datetime"] for c in cases] == sorted(
        values_of(c)["created_datetime"] for c in cases
    )
    assert len({case["caseId"] for case in cases}) == len(cases) == 240


def test_aws_cli_reads_search_fields_and_templates(service):
    result = aws(
        service, "search-cases", "--domain-id", service.domain_id, "--filter", json.dumps(STATUS),
        "--fields", "id=title", "--max-items", "3",
    )  # fmt: skip
    assert len(result["cases"]) == 3
    assert result["cases"][0]["fields"][0]["id"] == "title"
    templates = aws(
        service, "list-templates", "--domain-id", service.domain_id, "--status", "Active"
    )
    assert len(templates["templates"]) == 2


def test_defaults_are_25_cases_no_fields_most_recently_updated_first(service, client):
    page = client.search_cases(domainId=service.domain_id)
    newest = service.frame().sort_values(["updated_at", "case_id"], ascending=[False, True])
    assert [case["caseId"] for case in page["cases"]] == newest["case_id"].head(25).tolist()
    assert all(case["fields"] == [] for case in page["cases"])
    assert page["totalCount"] == 240


@pytest.mark.parametrize("order", ["Asc", "Desc"])
def test_missing_sort_values_come_last_both_ways(service, order):
    sorts = [{"fieldId": "last_closed_datetime", "sortOrder": order}]
    cases, _ = search_all(
        service, sorts=sorts, fields=[{"id": "last_closed_datetime"}], maxResults=9
    )
    times = [values_of(case).get("last_closed_datetime") for case in cases]
    present = [one for one in times if one is not None]
    assert times == present + [None] * (len(times) - len(present))
    assert present == sorted(present, reverse=order == "Desc")
    assert len(present) < len(times)


def test_two_sorts_in_opposite_directions_page_through_all(service):
    sorts = [
        {"fieldId": "status", "sortOrder": "Desc"},
        {"fieldId": "next_sla_breach_datetime", "sortOrder": "Asc"},
    ]
    ids = ids_of(service, sorts=sorts, maxResults=11)
    frame = service.frame()
    frame["none"] = frame["sla_at"].isna()
    expected = frame.sort_values(
        ["status", "none", "sla_at", "case_id"], ascending=[False, True, True, True]
    )
    assert ids == expected["case_id"].tolist()


def test_tags_are_shown_and_searched(service):
    cases, total = search_all(service, filter={"tag": {"equalTo": {"key": "team", "value": "red"}}})
    assert total
    assert all(case["tags"]["team"] == "red" for case in cases)
    assert ids_of(service, filter={"tag": {"equalTo": {"key": "team=red", "value": ""}}}) == []


def test_search_term_needs_every_word_somewhere_in_the_case(service, client):
    frame = service.frame()
    title = frame["title"].iloc[0].split(" (")[0]
    result = client.search_cases(domainId=service.domain_id, searchTerm=title.upper())
    words = title.lower().split()
    text = (
        frame[["title", "summary", "internal_notes"]].fillna("").agg(" ".join, axis=1).str.lower()
    )
    assert result["totalCount"] >= text.map(lambda t: all(w in t for w in words)).sum() > 0
    assert (
        client.search_cases(domainId=service.domain_id, searchTerm="nosuchword")["totalCount"] == 0
    )
    assert client.search_cases(domainId=service.domain_id, searchTerm="!?")["totalCount"] == 0
    assert client.search_cases(domainId=service.domain_id, searchTerm="")["totalCount"] == 240


def test_contains_matches_a_caseless_substring_not_a_pattern(service):
    titles = service.frame().set_index("case_id")["title"]
    expected = set(titles.index[titles.str.casefold().str.contains("charged", regex=False)])
    assert set(ids_of(service, filter=leaf("contains", "title", stringValue="CHARGED"))) == expected
    assert ids_of(service, filter=leaf("contains", "title", stringValue="%")) == []


def test_empty_value_matches_unset_fields(service):
    unset = ids_of(service, filter=leaf("equalTo", "assigned_user", emptyValue={}))
    assert set(unset) == set(service.frame().query("assignee.isna()")["case_id"])
    assigned = ids_of(service, filter={"not": leaf("equalTo", "assigned_user", emptyValue={})})
    assert len(assigned) + len(unset) == 240


def test_times_are_compared_across_offsets_and_digits(service):
    at = service.frame()["created_at"].sort_values().iloc[100]
    at_text = at.isoformat()[:23]
    later = at.tz_convert("+05:30").isoformat(timespec="milliseconds")
    behind = at.tz_convert("-08:00").isoformat(timespec="milliseconds")
    equal = [
        at_text + "Z",
        at_text + "000+00:00",
        later,
        behind,
        behind[:-3],
        later.replace(".", ","),
    ]
    for text in equal:
        assert (
            len(ids_of(service, filter=leaf("equalTo", "created_datetime", stringValue=text))) >= 1
        )
    finer = at_text + "0001Z"
    assert ids_of(service, filter=leaf("equalTo", "created_datetime", stringValue=finer)) == []
    below = ids_of(service, filter=leaf("lessThan", "created_datetime", stringValue=finer))
    upto = ids_of(
        service, filter=leaf("lessThanOrEqualTo", "created_datetime", stringValue=equal[0])
    )
    assert sorted(below) == sorted(upto)


def at(text):
    return {"filter": leaf("equalTo", "created_datetime", stringValue=text)}


def nested(depth):
    return STATUS if depth == 1 else {"andAll": [{"not": nested(depth - 2)}, {"orAll": [STATUS]}]}


def test_deep_filters_are_accepted(service):
    assert post_connect(service, {"filter": nested(23)}).status_code == 200


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ({"maxResults": 0}, "maxResults"),
        ({"maxResults": 101}, "maxResults"),
        ({"maxResults": True}, "maxResults"),
        ({"maxResults": "5"}, "maxResults"),
        ({"fields": [{"id": "title"}] * 26}, "fields"),
        ({"fields": [{"id": "nope"}]}, "nope"),
        ({"fields": [{"id": ""}]}, "fields.1"),
        ({"fields": ["title"]}, "fields.1"),
        ({"fields": {}}, "list"),
        ({"sorts": [{"fieldId": "status", "sortOrder": "Asc"}] * 3}, "sorts"),
        ({"sorts": [{"fieldId": "status", "sortOrder": "asc"}]}, "sortOrder"),
        ({"sorts": [{"fieldId": "status"}]}, "sortOrder"),
        ({"sorts": [{"fieldId": "created_date", "sortOrder": "Asc"}]}, "created_date"),
        ({"searchTerm": "x" * 256}, "searchTerm"),
        ({"searchTerm": 7}, "searchTerm"),
        ({"nextToken": "x" * 9001}, "nextToken"),
        ({"nextToken": "no token"}, "nextToken"),
        ({"nextToken": 5}, "nextToken"),
        ({"filters": {}}, "filters"),
        ({"filter": []}, "structure"),
        ({"filter": {}}, "exactly one"),
        ({"filter": {"field": None}}, "exactly one"),
        ({"filter": {**STATUS, "not": STATUS}}, "exactly one"),
        ({"filter": {"and": []}}, "and"),
        ({"filter": {"field": {"id": "status", "value": {"stringValue": "open"}}}}, "exactly one"),
        ({"filter": {"field": {"equalTo": {"id": "status", "values": 1}}}}, "values"),
        ({"filter": {"field": {"equalTo": 3}}}, "structure"),
        ({"filter": {"andAll": [STATUS] * 11}}, "andAll"),
        ({"filter": {"orAll": [STATUS] * 11}}, "orAll"),
        ({"filter": {"orAll": STATUS}}, "list"),
        ({"filter": nested(25)}, "deeper"),
        ({"filter": leaf("equalTo", "x" * 501, stringValue="a")}, "501"),
        ({"filter": leaf("equalTo", "nope", stringValue="a")}, "nope"),
        ({"filter": leaf("equalTo", "status", stringValue="a" * 4101)}, "4101"),
        ({"filter": leaf("equalTo", "status", doubleValue=1)}, "stringValue"),
        ({"filter": leaf("equalTo", "status", stringValue=1)}, "string"),
        ({"filter": leaf("equalTo", "status", stringValue="a", doubleValue=1)}, "exactly one"),
        ({"filter": leaf("equalTo", "created_by", stringValue="arn:x")}, "userArnValue"),
        ({"filter": leaf("equalTo", "customer_id", stringValue="cust-1")}, "arn:aws:profile"),
        ({"filter": leaf("equalTo", "title", emptyValue=1)}, "structure"),
        ({"filter": leaf("contains", "title", emptyValue={})}, "emptyValue"),
        ({"filter": leaf("contains", "status", stringValue="o")}, "contains"),
        ({"filter": leaf("greaterThan", "title", stringValue="o")}, "greaterThan"),
        (at("2026-01-01"), "offset"),
        (at("2026-01-01T00:00:00"), "offset"),
        (at("2026-02-30T00:00:00Z"), "day"),
        (at("2026-01-01T00:00:00+05:75"), "minutes"),
        (at("2026-01-01T00:00.5Z"), "fraction"),
        (at("2026-01-01T00:00:00+24:00"), "timedelta"),
        (at("0001-01-01T00:00:00+01:00"), "range"),
        (at("yesterday"), "offset"),
        ({"filter": {"tag": {"equalTo": {"key": "", "value": ""}}}}, "key"),
        ({"filter": {"tag": {"equalTo": {"key": "a!", "value": ""}}}}, "key"),
        ({"filter": {"tag": {"equalTo": {"key": "a", "value": "x" * 257}}}}, "value"),
        ([], "structure"),
        (b"{", "JSON"),
        (b'{"searchTerm": "\\ud800"}', "JSON"),
        (b"\xff", "JSON"),
        (b'{"filter":' * 60_000, "deeply"),
    ],
)  # fmt: skip
def test_an_invalid_request_is_an_error_that_names_its_member(service, body, message):
    answer = post_connect(service, body)
    assert answer.status_code == 400, answer.text
    assert answer.headers["x-amzn-ErrorType"] == "ValidationException"
    assert answer.headers["x-amzn-RequestId"]
    assert list(answer.json()) == ["message"]
    assert message in answer.json()["message"]


@pytest.mark.parametrize("kind", ["Number", "Boolean"])
@pytest.mark.parametrize("value", [{"doubleValue": "1"}, {"booleanValue": 1}, {"stringValue": "1"}])
def test_values_of_another_type_are_refused(service, fields, kind, value):
    field_id = next(one["fieldId"] for one in fields if one["type"] == kind)
    assert post_connect(service, {"filter": leaf("equalTo", field_id, **value)}).status_code == 400


@pytest.mark.parametrize(
    ("text", "all_below"), [("Infinity", True), ("NaN", False), (10**30, True)]
)
def test_numbers_beyond_json_and_64_bits_are_accepted(service, fields, text, all_below):
    number = next(one["fieldId"] for one in fields if one["name"] == "Contacts")
    result = ids_of(service, filter=leaf("lessThan", number, doubleValue=text))
    assert len(result) == (240 if all_below else 0)


def test_null_members_are_ignored(service):
    answer = post_connect(service, {"nextToken": None, "filter": None, "sorts": None})
    assert answer.json()["totalCount"] == 240


def test_a_token_is_valid_for_its_own_request_only(service):
    first = {"maxResults": 10, "sorts": [{"fieldId": "status", "sortOrder": "Asc"}]}
    token = post_connect(service, first).json()["nextToken"]
    assert post_connect(service, {**first, "nextToken": token}).status_code == 200
    for other in (
        {"maxResults": 11},
        {"filter": STATUS},
        {"sorts": []},
        {"fields": [{"id": "title"}]},
    ):
        answer = post_connect(service, {**first, **other, "nextToken": token})
        assert answer.status_code == 400
    changed = token[:-4] + ("AAAA" if token[-4:] != "AAAA" else "BBBB")
    assert post_connect(service, {**first, "nextToken": changed}).status_code == 400


def test_lists_refuse_parameters_that_the_model_does_not_have(service, client):
    for path in ("fields-list?maxResults=0", "fields-list?maxResults=x", "fields-list?page=1",
                 "templates-list?status=Old", "fields/status/options-list?values=a&values=b",
                 "fields-list?nextToken=abc"):  # fmt: skip
        assert post_connect(service, b"", path).status_code == 400, path
    with pytest.raises(client.exceptions.ResourceNotFoundException) as caught:
        client.list_field_options(domainId=service.domain_id, fieldId="nope")
    assert caught.value.response["resourceType"] == "Field"


def test_options_have_values_that_are_not_their_labels(service, client, fields):
    select = next(one for one in fields if one["name"] == "Contact channel")
    options = client.list_field_options(domainId=service.domain_id, fieldId=select["fieldId"])
    assert any(one["name"] != one["value"] for one in options["options"])
    one = client.list_field_options(
        domainId=service.domain_id, fieldId=select["fieldId"], values=["ch_02"]
    )
    assert one["options"] == [{"name": "E-mail", "value": "ch_02", "active": True}]
    status = client.list_field_options(domainId=service.domain_id, fieldId="status")["options"]
    assert {"open", "closed"} < {option["value"] for option in status}


def test_templates_and_domain_are_described(service, client):
    every = client.list_templates(domainId=service.domain_id)["templates"]
    active = client.list_templates(domainId=service.domain_id, status=["Active"])["templates"]
    assert len(every) > len(active) >= 2
    domain = client.get_domain(domainId=service.domain_id)
    assert domain["domainStatus"] == "Active"
    assert domain["domainArn"].endswith(service.domain_id)


def test_an_unknown_domain_is_named(client):
    with pytest.raises(client.exceptions.ResourceNotFoundException) as caught:
        client.search_cases(domainId="no such/domain")
    assert caught.value.response["resourceId"] == "no such/domain"
    assert caught.value.response["resourceType"] == "Domain"


@pytest.mark.parametrize(
    ("header", "code"),
    [
        (None, "MissingAuthenticationTokenException"),
        (SIGNATURE.replace("/cases/", "/connect/"), "UnrecognizedClientException"),
        (SIGNATURE.replace("host;", ""), "UnrecognizedClientException"),
        (SIGNATURE[:-1], "UnrecognizedClientException"),
        ("Basic abc", "UnrecognizedClientException"),
    ],
)
def test_requests_without_a_valid_signature_are_refused(service, header, code):
    answer = post_connect(service, {}, Authorization=header)
    assert answer.status_code == 403
    assert answer.headers["x-amzn-ErrorType"] == code


def test_unsigned_requests_and_unknown_keys_are_refused(service):
    with CaseService(3, access_key="AKIDTEST") as strict:
        assert connect_client(strict).search_cases(domainId=strict.domain_id)["totalCount"] == 3
        with pytest.raises(ClientError, match="UnrecognizedClientException"):
            connect_client(strict, key="other").search_cases(domainId=strict.domain_id)
    with pytest.raises(ClientError, match="MissingAuthenticationToken"):
        connect_client(service, signature_version=UNSIGNED).get_domain(domainId=service.domain_id)


def test_authentication_is_checked_before_the_path(service):
    assert post_connect(service, {}, "nope", Authorization=None).status_code == 403
    wrong = post_connect(service, {}, "nope")
    assert wrong.status_code == 404
    assert wrong.headers["x-amzn-ErrorType"] == "UnknownOperationException"


def test_other_methods_are_refused_with_a_json_error(service):
    link = http.client.HTTPConnection("127.0.0.1", service.port)
    headers = {"Authorization": SIGNATURE, "X-Amz-Date": "x"}
    for method in ("GET", "PUT", "PATCH", "DELETE", "OPTIONS", "HEAD"):
        link.request(method, f"/domains/{service.domain_id}", headers=headers)
        answer = link.getresponse()
        content = answer.read()
        assert answer.status == 405
        assert content == b"" if method == "HEAD" else json.loads(content)["message"]
    link.close()
