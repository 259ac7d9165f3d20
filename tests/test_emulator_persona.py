"""Persona in the emulator, against Persona's own OpenAPI description."""

import json
import os
from pathlib import Path

import jsonschema
import pandas as pd
import pytest

from casesearch_pd.emulator import CaseService
from tests.emulator_clients import persona, persona_all, persona_search

SIX = (
    "RateLimit-Limit", "RateLimit-Remaining", "RateLimit-Reset", "Request-Id",
    "Persona-Environment-Id", "Persona-Organization-Id",
)  # fmt: skip
CONTRACT = Path(
    os.environ.get(
        "CASESEARCH_CONTRACT",
        Path(__file__).parents[2] / "shared/contracts/persona-cases.openapi.json",
    )
)
OPEN = {"attribute": "status", "operator": "eq", "value": "open"}
ANONYMOUS = "Must be authenticated to access this endpoint"
OLDEST = {"attribute": "created_at", "direction": "asc"}
SERVICE = {"cases": 240, "seed": 5}


@pytest.fixture(scope="module")
def contract():
    if not CONTRACT.is_file():
        pytest.skip("Persona's OpenAPI description is not here (CASESEARCH_CONTRACT names it)")
    return json.loads(CONTRACT.read_text())


def check(contract, path, method, answer):
    """Check an answer against the schema of its status in the description."""
    components = contract["components"]
    response = contract["paths"][path][method]["responses"][str(answer.status_code)]
    if "$ref" in response:
        response = components["responses"][response["$ref"].rpartition("/")[2]]
    schema = {**response["content"]["application/json"]["schema"], "components": components}
    jsonschema.Draft202012Validator(schema).validate(answer.json())
    for name in response.get("headers", {}):
        assert name in answer.headers


def test_every_answer_matches_the_description(contract, service):
    template = service.frame()["template_id"]
    for page in (1, 100):
        answer = persona_search(service, {"page": {"size": page}})
        check(contract, "/cases/search", "post", answer)
        check(
            contract, "/cases", "get", persona(service, "GET", f"/api/v1/cases?page[size]={page}")
        )
    case_id = answer.json()["data"][0]["id"]
    one = persona(service, "GET", f"/api/v1/cases/{case_id}?include=case-template,accounts")
    check(contract, "/cases/{case-id}", "get", one)
    for name in template.unique():
        answer = persona(service, "GET", f"/api/v1/case-templates/{name}")
        check(contract, "/case-templates/{case-template-id}", "get", answer)
    check(contract, "/rate-limits", "get", persona(service, "GET", "/api/v1/rate-limits"))


@pytest.mark.parametrize(
    ("body", "status"),
    [({"query": {}}, 400), ({"query": {"attribute": "x", "operator": "eq", "value": 1}}, 422)],
)
def test_every_error_matches_the_description(contract, service, body, status):
    answer = persona_search(service, body)
    assert answer.status_code == status
    check(contract, "/cases/search", "post", answer)
    unknown = persona(service, "GET", "/api/v1/cases/case_none")
    check(contract, "/cases/{case-id}", "get", unknown)
    stranger = persona(service, "GET", "/api/v1/cases", token="persona_sandbox_other")
    check(contract, "/cases", "get", stranger)
    assert (unknown.status_code, stranger.status_code) == (404, 401)


def status_on_persona(status, resolution):
    """Return the status that Persona shows for a generated case."""
    if status == "closed":
        return "Declined" if resolution in ("Declined", "Withdrawn") else "Approved"
    return {"in_progress": "Ready for Review"}.get(status, status)


def test_generated_statuses_are_those_of_a_persona_template(service):
    """Were "closed" among them, a client that takes that word for the end would pass by chance."""
    frame, shown = service.frame(), service.frame("persona")
    expected = list(map(status_on_persona, frame["status"], frame["resolution"]))
    assert shown["status"].tolist() == expected
    assert set(expected) == {"open", "pending", "Ready for Review", "Approved", "Declined"}
    assert set(service.frame("connect")["status"]) == {"open", "in_progress", "pending", "closed"}
    for status in ("open", "Ready for Review", "Declined", "closed"):
        query = {"attribute": "status", "operator": "eq", "value": status}
        found = {case["id"] for case in persona_all(service, {"query": query})}
        assert found == set(shown["case_id"][shown["status"] == status])
    sort = {"attribute": "status", "direction": "desc"}
    cases = persona_all(service, {"sort": sort})
    assert [case["attributes"]["status"] for case in cases] == sorted(expected, reverse=True)


def test_a_status_that_a_test_sets_is_served_as_it_is(service):
    case_id = service.frame()["case_id"][0]
    before = service.frame()["status"][0]
    for status in ("Declined", "Waiting on UBOs"):
        service.update(case_id, status=status)
        case = persona(service, "GET", f"/api/v1/cases/{case_id}").json()["data"]
        assert case["attributes"]["status"] == status
    service.update(case_id, status=before)
    own = pd.DataFrame({"created_at": [service.now] * 2, "status": ["closed", "in_progress"]})
    with CaseService(own, now=service.now) as running:
        statuses = {case["attributes"]["status"] for case in persona_all(running, {})}
    assert statuses == {"closed", "in_progress"}, "a frame keeps its own statuses"


def test_cases_match_the_frame(service):
    frame = service.frame().set_index("case_id")
    cases = persona_all(service, {"sort": OLDEST})
    assert [case["id"] for case in cases] == (
        frame.reset_index().sort_values(["created_at", "case_id"])["case_id"].tolist()
    )
    for case in cases:
        row, attributes = frame.loc[case["id"]], case["attributes"]
        assert attributes["status"] == status_on_persona(row["status"], row["resolution"])
        assert attributes["name"] == row["reference"]
        assert attributes["fields"]["title"] == {"type": "string", "value": row["title"]}
        assert attributes["tags"] == row["tags"]
        assert (attributes["resolved-at"] is None) == (row["status"] != "closed")
        assert case["relationships"]["case-template"]["data"]["id"] == row["template_id"]
        queue = case["relationships"]["case-queue"]["data"]
        assert queue is None if row["queue"] != row["queue"] else queue["id"] == row["queue"]


def test_fields_follow_the_template_and_have_every_type(service):
    schemas = {}
    for template in service.frame()["template_id"].unique():
        answer = persona(service, "GET", f"/api/v1/case-templates/{template}").json()["data"]
        schemas[template] = {f["key"]: f["type"] for f in answer["attributes"]["field-schemas"]}
    assert len(schemas) == 2
    assert {kind for one in schemas.values() for kind in one.values()} >= {
        "string", "number", "integer", "boolean", "date", "datetime", "choices", "multi-choices",
        "array", "hash", "json", "email-address",
    }  # fmt: skip
    for case in persona_all(service, {}):
        template = case["relationships"]["case-template"]["data"]["id"]
        fields = case["attributes"]["fields"]
        types = {key: one["type"] for key, one in fields.items()}
        relations = {key for key in types if schemas[template][key] == "relation-schema"}
        assert relations <= {"selfie", "government_id"}
        assert types == schemas[template] | {key: types[key] for key in relations}


def test_a_hash_wraps_its_members(service):
    cases = persona_all(service, {})
    every = [case["attributes"]["fields"] for case in cases]
    fields = next(one for one in every if "address" in one)
    assert fields["address"]["type"] == "hash"
    assert fields["address"]["value"]["verified"]["type"] == "boolean"
    assert all(one["type"] == "string" for one in fields["aliases"]["value"])


def test_pages_are_read_in_both_directions(service):
    ids = [case["id"] for case in persona_all(service, {"sort": OLDEST})]
    body = {"sort": OLDEST, "page": {"size": 50}}
    first = persona_search(service, body).json()
    assert first["links"]["prev"] is None
    assert first["links"]["next"].startswith("/api/v1/cases/search?page%5Bafter%5D=case_")
    second = persona(service, "POST", first["links"]["next"], body).json()
    assert [case["id"] for case in second["data"]] == ids[50:100]
    back = persona(service, "POST", second["links"]["prev"], body).json()
    assert [case["id"] for case in back["data"]] == ids[:50]
    assert back["links"]["prev"] is None
    last = persona_search(service, {**body, "page": {"after": ids[-41]}}, {"page[size]": "40"})
    assert [case["id"] for case in last.json()["data"]] == ids[-40:]
    assert last.json()["links"]["next"] is None


def test_default_page_is_10_newest_first(service):
    ids = [case["id"] for case in persona_search(service, {}).json()["data"]]
    newest = service.frame().sort_values(["created_at", "case_id"], ascending=[False, True])
    assert ids == newest["case_id"].head(10).tolist()


@pytest.mark.parametrize("direction", ["asc", "desc"])
def test_missing_sort_attributes_come_last(service, direction):
    sort = {"attribute": "resolved_at", "direction": direction}
    cases = persona_all(service, {"sort": sort, "page": {"size": 7}})
    times = [case["attributes"]["resolved-at"] for case in cases]
    present = sorted((one for one in times if one is not None), reverse=direction == "desc")
    assert times == present + [None] * (len(times) - len(present))


def test_people_are_searched_by_hidden_ids(service):
    cases = persona_all(service, {})
    emails = {case["attributes"]["assignee-id"] for case in cases} - {None}
    ids_by_user = {}
    for case in cases:
        user = case["attributes"]["assignee-id"]
        ids_by_user.setdefault(user, []).append(case["id"])
    assert all("@" in email for email in emails)
    for email in emails:
        query = {"query": predicate("assignee", service.user_id(email))}
        assert {case["id"] for case in persona_all(service, query)} == set(ids_by_user[email])
    resolved = {"query": predicate("resolver", service.user_id("ann@example.com"))}
    frame = service.frame()
    assert {case["id"] for case in persona_all(service, resolved)} == set(
        frame[frame["resolver_id"] == "ann@example.com"]["case_id"]
    )
    by_email = persona_search(service, {"query": predicate("assignee", emails.pop())})
    assert by_email.json()["data"] == [], "the search knows hidden ids only"


def predicate(attribute, value, operator="eq"):
    return {"attribute": attribute, "operator": operator, "value": value}


def test_state_template_and_queue_are_searchable(service):
    frame = service.frame()
    unresolved = persona_all(service, {"query": predicate("state", "open")})
    assert len(unresolved) == frame["resolved_at"].isna().sum()
    for attribute, column in (("template", "template_id"), ("case_queue", "queue")):
        value = frame[column].mode()[0]
        result = persona_all(service, {"query": predicate(attribute, value)})
        assert {case["id"] for case in result} == set(frame[frame[column] == value]["case_id"])


def test_fields_are_searchable_by_their_types(service):
    frame = service.frame()
    day = frame["birthdate"].dropna().iloc[0]
    checks = {
        ("fields.vip_customer", "eq", True): frame["vip_customer"].fillna(False).astype(bool),
        ("fields.contacts", "gte", 3): frame["contacts"] >= 3,
        ("fields.risk_score", "lt", 0.2): (frame["risk_score"] < 0.2).fillna(False).astype(bool),
        ("fields.birthdate", "lte", day): frame["birthdate"].fillna("9") <= day,
        ("fields.risk_tags", "eq", "pep"): frame["risk_tags"].map(lambda v: bool(v) and "pep" in v),
        ("fields.language", "eq", "ja"): frame["língua"].fillna("") == "ja",
        ("fields.status", "eq", "packed"): frame["shipment_status"].fillna("") == "packed",
        ("created_at", "lt", "2026-01-01"): frame["created_at"] < "2026-01-01T00:00:00Z",
    }
    for (attribute, operator, value), expected in checks.items():
        result = persona_all(service, {"query": predicate(attribute, value, operator)})
        assert {c["id"] for c in result} == set(frame[expected]["case_id"]), attribute


BAD_SHAPE = [
    {"query": {}},
    {"query": None},
    {"query": []},
    {"query": {"and": [OPEN], "or": [OPEN]}},
    {"query": {"and": OPEN}},
    {"query": {"and": []}},
    {"query": {"not": [OPEN]}},
    {"query": {**OPEN, "extra": 1}},
    {"query": {"attribute": "status", "operator": "eq"}},
    {"query": {**OPEN, "value": None}},
    {"query": {**OPEN, "value": ["open"]}},
    {"query": {**OPEN, "operator": "in"}},
    {"query": {**OPEN, "operator": 1}},
    {"query": {**OPEN, "attribute": 1}},
    {"sort": [OLDEST]},
    {"sort": None},
    {"sort": {"attribute": "created_at"}},
    {"sort": {"attribute": "created_at", "direction": "ASC"}},
    {"sort": {"attribute": 3, "direction": "asc"}},
    {"page": {"size": 0}},
    {"page": {"size": 101}},
    {"page": {"size": True}},
    {"page": {"size": 1.5}},
    {"page": {"number": 2}},
    {"page": [1]},
    {"page": {"after": "case_none"}},
    {"page": {"after": ""}},
    {"page": {"after": "a", "before": "b"}},
    {"limit": 3},
    [],
]


@pytest.mark.parametrize("body", BAD_SHAPE)
def test_wrong_shapes_are_400(service, body):
    answer = persona_search(service, body)
    assert answer.status_code == 400, answer.text
    error = answer.json()["errors"][0]
    assert error["title"] == "Bad Request"
    assert error["details"]
    assert all(name in answer.headers for name in SIX)


def deep(levels):
    return OPEN if levels == 0 else {"and" if levels % 2 else "or": [deep(levels - 1)]}


BAD_MEANING = [
    {"query": {"and": [OPEN] * 21}},
    {"query": {"or": [OPEN] * 21}},
    {"query": deep(3)},
    {"query": {"and": [{"or": [{"not": OPEN}]}]}},
    {"query": {"not": {"not": {"not": OPEN}}}},
    {"query": predicate("created-at", "2026-01-01")},
    {"query": predicate("name", "C00000001")},
    {"query": predicate("fields.nope", "x")},
    {"query": predicate("fields.internal_notes", "x")},
    {"query": predicate("fields.address", "x")},
    {"query": predicate("fields.raw_check", "x")},
    {"query": predicate("created_at", 5)},
    {"query": predicate("created_at", "2026-13-01")},
    {"query": predicate("created_at", "2026-01-01T00:00:00")},
    {"query": predicate("status", True)},
    {"query": predicate("status", "a", "gt")},
    {"query": predicate("fields.contacts", "3")},
    {"query": predicate("fields.contacts", True)},
    {"query": predicate("fields.vip_customer", "true")},
    {"query": predicate("fields.vip_customer", True, "gt")},
    {"query": predicate("fields.risk_tags", "pep", "gt")},
    {"query": predicate("fields.birthdate", "2026-01-01T00:00:00Z")},
    {"sort": {"attribute": "name", "direction": "asc"}},
    {"sort": {"attribute": "fields.risk_tags", "direction": "asc"}},
]


@pytest.mark.parametrize("body", BAD_MEANING)
def test_a_query_that_is_not_allowed_is_422_with_a_pointer(service, body):
    answer = persona_search(service, body)
    assert answer.status_code == 422, answer.text
    assert answer.json()["errors"][0]["source"]["pointer"].startswith("/")


def test_depth_of_two_is_legal(service):
    for query in ({"and": [OPEN, {"or": [OPEN, OPEN]}]}, {"and": [{"not": OPEN}]}, deep(2)):
        assert persona_search(service, {"query": query}).status_code == 200


@pytest.mark.parametrize(
    "query",
    ["page[size]=x", "page[size]=0", "page[number]=1", "limit=3", "filter[status]=open",
     "page[size]=3&page[size]=4", "page[a][b]=1", "page=3", "include=accounts"],
)  # fmt: skip
def test_wrong_query_strings_are_400(service, query):
    assert persona(service, "POST", f"/api/v1/cases/search?{query}", {}).status_code == 400


def test_a_page_in_the_query_string_takes_precedence(service):
    answer = persona_search(service, {"page": {"size": 3}}, {"page[size]": "5"})
    assert len(answer.json()["data"]) == 5


@pytest.mark.parametrize(
    ("inflection", "created", "queue", "size"),
    [("kebab", "created-at", "case-queue", "byte-size"),
     ("snake", "created_at", "case_queue", "byte_size"),
     ("camel", "createdAt", "caseQueue", "byteSize")],
)  # fmt: skip
def test_names_are_inflected_but_not_field_keys_or_types(service, inflection, created, queue, size):
    cases = persona_all(service, {}, Key_Inflection=inflection)
    assert all(created in case["attributes"] for case in cases)
    assert all("contact_channel" in case["attributes"]["fields"] for case in cases)
    assert cases[0]["relationships"][queue]["data"]["type"] == "case-queue"
    files = [one for case in cases for one in case["attributes"]["attachments"]]
    assert files
    assert all(set(one) == {"filename", "url", size} for one in files)
    template = service.frame()["template_id"][0]
    answer = persona(
        service, "GET", f"/api/v1/case-templates/{template}", Key_Inflection=inflection
    )
    schemas = {"kebab": "field-schemas", "snake": "field_schemas", "camel": "fieldSchemas"}[
        inflection
    ]
    assert answer.json()["data"]["attributes"][schemas]


@pytest.mark.parametrize(
    "headers", [{"Key_Inflection": "snake_case"}, {"Persona_Version": "2025-01-01"}]
)
def test_unknown_inflections_and_versions_are_400(service, headers):
    assert persona_search(service, {}, **headers).status_code == 400


@pytest.mark.parametrize("version", ["2026-09-29", "2025-12-08", "2020-05-18"])
def test_known_versions_are_accepted(service, version):
    assert persona_search(service, {}, Persona_Version=version).status_code == 200


def test_a_sparse_fieldset_has_only_the_members_it_names(service):
    def first_case(fieldset, **headers):
        params = {"fields[case]": fieldset}
        return persona_search(service, {}, params, **headers).json()["data"][0]

    one = first_case("status,created-at,fields.priority")
    assert set(one["attributes"]) == {"status", "created-at", "fields"}
    assert set(one["attributes"]["fields"]) == {"priority"}
    assert "relationships" not in one
    two = first_case("case-queue,inquiries")
    assert two["attributes"] == {}
    assert set(two["relationships"]) == {"case-queue", "inquiries"}
    assert "created_at" in first_case("created_at", Key_Inflection="snake")["attributes"]
    assert len(first_case("fields")["attributes"]["fields"]) > 5


def test_list_is_newest_first_and_takes_filters(service):
    frame = service.frame().sort_values(["created_at", "case_id"], ascending=False)
    answer = persona(service, "GET", "/api/v1/cases?page[size]=100").json()
    assert [case["id"] for case in answer["data"]] == frame["case_id"].head(100).tolist()
    path, ids = "/api/v1/cases?filter[status]=Approved&page[size]=90", []
    while path:
        page = persona(service, "GET", path).json()
        ids += [case["id"] for case in page["data"]]
        path = page["links"]["next"]
    is_approved = service.frame("persona").set_index("case_id")["status"] == "Approved"
    assert ids == [case_id for case_id in frame["case_id"] if is_approved[case_id]]
    account = frame["accounts"][frame["accounts"].map(bool)].iloc[0][0]
    result = persona(service, "GET", f"/api/v1/cases?filter[accountId]={account}").json()["data"]
    assert [c["relationships"]["accounts"]["data"][0]["id"] for c in result] == [account]
    none = persona(service, "GET", "/api/v1/cases?filter[reference-id]=x").json()
    assert none == {"data": [], "links": {"prev": None, "next": None}}
    bad = persona(service, "GET", "/api/v1/cases?filter[created-at-start]=x")
    assert bad.status_code == 400


def test_retrieve_returns_a_case_and_its_included_objects(service):
    case_id = service.frame()["case_id"][3]
    answer = persona(service, "GET", f"/api/v1/cases/{case_id}?include=case-template,case-queue")
    assert answer.json()["data"]["id"] == case_id
    assert {one["type"] for one in answer.json()["included"]} <= {"case-template", "case-queue"}
    assert persona(service, "GET", f"/api/v1/cases/{case_id}?include=x").status_code == 400
    assert "included" not in persona(service, "GET", f"/api/v1/cases/{case_id}").json()
    assert persona(service, "GET", "/api/v1/cases/search").status_code == 404
    assert persona(service, "GET", "/api/v1/case-templates/none").status_code == 404


@pytest.mark.parametrize(
    ("authorization", "title"),
    [(None, ANONYMOUS), ("Bearer ", ANONYMOUS), ("Basic abc", ANONYMOUS),
     ("Bearer persona_sandbox_x", "Token is invalid")],
)  # fmt: skip
@pytest.mark.parametrize("path", ["/api/v1/cases/search", "/api/v1/nowhere", "/api/v1"])
def test_requests_without_a_valid_token_are_401_on_every_path(service, authorization, title, path):
    answer = persona(service, "POST", path, {}, Authorization=authorization)
    assert answer.status_code == 401
    assert answer.json() == {"errors": [{"title": title}]}
    assert not [name for name in SIX if name in answer.headers]


def test_other_paths_and_methods_are_refused_with_a_json_error(service):
    for method, path, status in (
        ("GET", "/api/v1/nowhere", 404), ("POST", "/nowhere", 404), ("PUT", "/api/v1/cases", 405),
        ("DELETE", "/api/v1/cases/case_1", 405), ("POST", "/api/v1/rate-limits", 405),
    ):  # fmt: skip
        answer = persona(service, method, path)
        assert answer.status_code == status
        assert answer.json()["errors"][0]["title"]
        assert all(name in answer.headers for name in SIX)


def test_malformed_json_is_400(service):
    import requests  # noqa: PLC0415 - the only place that sends bytes

    for content in (b"{", b"\xff", b'{"query": {"not":' * 50_000):
        answer = requests.post(
            f"{service.url}/api/v1/cases/search",
            content,
            headers={"Authorization": f"Bearer {service.token}"},
            timeout=20,
        )
        assert answer.status_code == 400


def test_an_idempotency_key_replays_the_first_answer():
    with CaseService(5) as service:
        first = persona_search(service, {}, Idempotency_Key="a")
        service.insert({"title": "new"})
        again = persona_search(service, {}, Idempotency_Key="a")
        assert again.content == first.content
        assert again.headers["Request-Id"] != first.headers["Request-Id"]
        assert len(persona_search(service, {}).json()["data"]) == 6
        other = persona_search(service, {"page": {"size": 3}}, Idempotency_Key="a")
        assert other.status_code == 409
        error = persona_search(service, {"sort": 1}, Idempotency_Key="b")
        assert persona_search(service, {"sort": 1}, Idempotency_Key="b").content == error.content


def test_old_idempotency_keys_expire():
    with CaseService(1) as service:
        first = persona_search(service, {}, Idempotency_Key="0")
        service.insert({"title": "new"})
        for number in range(1, 1002):
            persona_search(service, {}, Idempotency_Key=str(number))
        assert persona_search(service, {}, Idempotency_Key="0").content != first.content


def test_the_cursor_of_a_deleted_case_is_refused():
    with CaseService(30) as service:
        link = persona_search(service, {"page": {"size": 5}}).json()["links"]["next"]
        service.delete(link.partition("after%5D=")[2].partition("&")[0])
        assert persona(service, "POST", link, {}).status_code == 400
