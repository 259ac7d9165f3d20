"""The options of the emulator: each behavior that the services' documentation leaves open."""

import pytest

from casesearch_pd.emulator import CaseService
from tests.emulator_clients import (
    connect_client,
    ids_of,
    persona,
    persona_all,
    persona_search,
    post_connect,
    search_all,
)

ASC = [{"fieldId": "created_datetime", "sortOrder": "Asc"}]


def leaf(operator, field_id, text):
    return {"field": {operator: {"id": field_id, "value": {"stringValue": text}}}}


def predicate(attribute, value, operator="eq"):
    return {"query": {"attribute": attribute, "operator": operator, "value": value}}


@pytest.mark.parametrize("name", ["unset", "text_match", "nulls", "cursor", "list_match"])
def test_an_unknown_option_or_value_is_refused_by_name(name):
    with pytest.raises(ValueError, match=f"{name} must be one of .*, got 'sometimes'"):
        CaseService(1, **{name: "sometimes"})
    with pytest.raises(TypeError, match="unknown option 'unsat'; did you mean 'unset'"):
        CaseService(1, unsat="omit")
    for wrong in ({"index_delay": -1}, {"window": 0}):
        with pytest.raises(ValueError, match=next(iter(wrong))):
            CaseService(1, **wrong)


@pytest.mark.parametrize(
    ("unset", "values"), [("omit", []), ("empty", [{"emptyValue": {}}]), ("null", [None])]
)
def test_unset_fields(unset, values):
    with CaseService(1, unset=unset) as service:
        case_id = service.insert({"title": "x"})
        fields = [{"id": "summary"}]
        cases, _ = search_all(service, fields=fields, filter=leaf("equalTo", "case_id", case_id))
        assert [one["value"] for one in cases[0]["fields"]] == values
        case = post_connect(service, {"fields": fields}, f"cases/{case_id}").json()
        assert [one["value"] for one in case["fields"]] == values


@pytest.mark.parametrize("default", ["none", "system"])
def test_fields_of_a_search_without_fields(default):
    with CaseService(3, default_fields=default) as service:
        page = connect_client(service).search_cases(domainId=service.domain_id)
        assert bool(page["cases"][0]["fields"]) == (default == "system")


@pytest.mark.parametrize(
    ("text_match", "counts"),
    [("exact", {"Web": 0, "Web Engineer": 1}), ("caseless", {"web": 0, "WEB engineer": 1}),
     ("token", {"engineer": 1, "web engineer": 1, "webs": 0})],
)  # fmt: skip
def test_equality_of_text(text_match, counts):
    with CaseService(4, text_match=text_match) as service:
        service.insert({"title": "Web Engineer", "status": "open"})
        for text, count in counts.items():
            assert len(ids_of(service, filter=leaf("equalTo", "title", text))) == count
            assert len(persona_all(service, predicate("fields.title", text))) == count
        caseless = len(persona_all(service, predicate("status", "OPEN")))
        assert bool(caseless) == (text_match != "exact")
        assert ids_of(service, filter=leaf("equalTo", "status", "OPEN")) == [], "selects are exact"


@pytest.mark.parametrize("allowed", [True, False])
def test_ranges_of_text(allowed):
    with CaseService(30, text_ranges=allowed) as service:
        titles = service.frame()["title"]
        answer = post_connect(service, {"filter": leaf("greaterThan", "title", "M")})
        search = persona_search(service, predicate("fields.title", "M", "gt"))
        assert (answer.status_code, search.status_code) == ((200, 200) if allowed else (400, 422))
        if allowed:
            assert answer.json()["totalCount"] == (titles > "M").sum()


@pytest.mark.parametrize(("list_match", "status"), [("member", 200), ("refuse", 422)])
def test_equality_of_several_values(list_match, status):
    with CaseService(3, list_match=list_match) as service:
        assert persona_search(service, predicate("fields.risk_tags", "pep")).status_code == status


def deep(levels, join="and"):
    leafs = {"attribute": "status", "operator": "eq", "value": "open"}
    return leafs if levels == 0 else {join: [deep(levels - 1, join)]}


def nots(levels):
    inner = {"attribute": "status", "operator": "eq", "value": "open"}
    return inner if levels == 0 else {"not": nots(levels - 1)}


@pytest.mark.parametrize(("depth", "connect", "search"), [(None, 20, 2), (1, 1, 1), (4, 4, 4)])
def test_depth_of_filters(depth, connect, search):
    def connect_filter(levels):
        status = leaf("equalTo", "status", "open")
        return status if levels == 1 else {"andAll": [connect_filter(levels - 1)]}

    with CaseService(3, filter_depth=depth) as service:
        assert post_connect(service, {"filter": connect_filter(connect)}).status_code == 200
        assert persona_search(service, {"query": deep(search)}).status_code == 200
        assert persona_search(service, {"query": deep(search + 1)}).status_code == 422
        if depth:
            assert post_connect(service, {"filter": connect_filter(connect + 1)}).status_code == 400


@pytest.mark.parametrize(("counts", "status"), [(True, 422), (False, 200)])
def test_not_as_a_level(counts, status):
    with CaseService(3, not_is_level=counts) as service:
        assert persona_search(service, {"query": nots(3)}).status_code == status
        assert persona_search(service, {"query": nots(200)}).status_code == 422


@pytest.mark.parametrize("nulls", ["last", "first"])
@pytest.mark.parametrize("direction", ["Asc", "Desc"])
def test_where_missing_sort_values_go(nulls, direction):
    with CaseService(60, nulls=nulls) as service:
        sorts = [{"fieldId": "last_closed_datetime", "sortOrder": direction}]
        body = {"sorts": sorts, "fields": [{"id": "last_closed_datetime"}], "maxResults": 7}
        gaps = [not case["fields"] for case in search_all(service, **body)[0]]
        assert any(gaps)
        assert gaps == sorted(gaps, reverse=nulls == "first")
        sort = {"attribute": "resolved_at", "direction": direction.lower()}
        cases = persona_all(service, {"sort": sort})
        gaps = [case["attributes"]["resolved-at"] is None for case in cases]
        assert gaps == sorted(gaps, reverse=nulls == "first")


@pytest.mark.parametrize(("cursor", "twice"), [("keyset", 0), ("offset", 1)])
def test_a_row_inserted_before_the_cursor(cursor, twice):
    early = "2001-01-01T00:00:00Z"
    with CaseService(30, cursor=cursor) as service:
        body = {"sorts": ASC, "maxResults": 10}
        first = post_connect(service, body).json()
        service.insert({"created_at": early})
        second = post_connect(service, {**body, "nextToken": first["nextToken"]}).json()
        ids = [case["caseId"] for case in first["cases"] + second["cases"]]
        assert len(ids) - len(set(ids)) == twice
    with CaseService(30, cursor=cursor) as service:
        body = {"sort": {"attribute": "created_at", "direction": "asc"}, "page": {"size": 10}}
        first = persona_search(service, body).json()
        service.insert({"created_at": early})
        second = persona(service, "POST", first["links"]["next"], body).json()
        third = persona(service, "POST", second["links"]["next"], body).json()
        ids = [case["id"] for case in first["data"] + second["data"] + third["data"]]
        assert len(ids) - len(set(ids)) == twice
        link = third["links"]["next"]
        assert bool(link) == bool(twice), "an offset has one more row to come"
        if link:
            last = persona(service, "POST", link, body).json()
            assert (len(last["data"]), last["links"]["next"]) == (1, None)


@pytest.mark.parametrize(("window", "reachable"), [(None, 60), (25, 25), (60, 60), (1000, 60)])
def test_how_far_paging_reaches(window, reachable):
    with CaseService(60, window=window) as service:
        cases, total = search_all(service, sorts=ASC, maxResults=10)
        assert (len(cases), total) == (reachable, 60)
        assert len(service.requests) == -(-reachable // 10), "no empty page at the end"
        pages = {"page": {"size": 10}}
        assert len(persona_all(service, pages)) == (reachable if reachable != 25 else 30)


@pytest.mark.parametrize("lifetime", [None, 300])
def test_tokens_expire(lifetime):
    with CaseService(30, token_lifetime=lifetime) as service:
        token = post_connect(service, {}).json()["nextToken"]
        service.advance(299)
        assert post_connect(service, {"nextToken": token}).status_code == 200
        service.advance(2)
        answer = post_connect(service, {"nextToken": token})
        assert answer.status_code == (200 if lifetime is None else 400)
        assert lifetime is None or "expired" in answer.json()["message"]


@pytest.mark.parametrize("delay", [0, 60])
def test_search_lags_behind_writes(delay):
    with CaseService(5, index_delay=delay) as service:
        new = service.insert({"title": "new", "status": "open"})
        old = service.frame()["case_id"].drop_duplicates().loc[lambda ids: ids != new].iloc[0]
        service.delete(old)
        cases = persona(service, "GET", "/api/v1/cases").json()["data"]
        live_ids = {case["id"] for case in cases}
        assert new in live_ids
        assert old not in live_ids
        assert persona(service, "GET", f"/api/v1/cases/{new}").status_code == 200
        assert (
            post_connect(service, {"fields": [{"id": "title"}]}, f"cases/{new}").status_code == 200
        )
        for ids in (ids_of(service), [case["id"] for case in persona_all(service, {})]):
            assert (new in ids, old in ids) == ((False, True) if delay else (True, False))
        service.advance(delay / 2)
        service.update(new, title="newer")
        service.advance(delay / 2 + 1)
        assert new in ids_of(service)
        assert ids_of(service, filter=leaf("equalTo", "title", "newer")) == ([] if delay else [new])
        service.advance(delay)
        assert ids_of(service, filter=leaf("equalTo", "title", "newer")) == [new]


def test_rates_are_unlimited_by_default():
    with CaseService(2) as service:
        answers = [post_connect(service, {}) for _ in range(40)]
        assert {answer.status_code for answer in answers} == {200}
        assert int(persona_search(service, {}).headers["RateLimit-Remaining"]) > 100_000


def test_connect_refuses_beyond_burst_and_rate():
    with CaseService(2, rate=0.01, burst=3) as service:
        statuses = [post_connect(service, {}).status_code for _ in range(5)]
        assert statuses == [200, 200, 200, 429, 429]
        error = post_connect(service, {})
        assert error.headers["x-amzn-ErrorType"] == "ThrottlingException"
        assert post_connect(service, b"", "fields-list").status_code == 200, "a bucket each"
        service.advance(101)
        assert [post_connect(service, {}).status_code for _ in range(2)] == [200, 429]


def test_persona_counts_a_window_of_a_minute():
    with CaseService(2, rate=0.05) as service:
        answers = [persona_search(service, {}) for _ in range(5)]
        assert [answer.status_code for answer in answers] == [200, 200, 200, 429, 429]
        assert [answer.headers["RateLimit-Remaining"] for answer in answers] == list("21000")
        assert {answer.headers["RateLimit-Limit"] for answer in answers} == {"3"}
        assert 0 < int(answers[-1].headers["RateLimit-Reset"]) <= 60
        assert "Retry-After" not in answers[-1].headers
        assert answers[-1].json()["errors"][0]["title"] == "Rate limit exceeded"
        assert persona_search(service, {}, token="other").status_code == 401, "not counted"
        service.advance(61)
        limits = persona(service, "GET", "/api/v1/rate-limits").json()["data"][0]["attributes"]
        assert limits == {"limit": 3, "remaining": 2, "seconds-to-reset": 60}


@pytest.mark.parametrize("wrapped", [True, False])
def test_custom_values_wrapped_or_bare(wrapped):
    with CaseService(20, wrapped=wrapped) as service:
        for case in persona_all(service, {}):
            fields = case["attributes"]["fields"]
            assert isinstance(fields["title"], dict if wrapped else str)
            if "address" in fields:
                street = (fields["address"]["value"] if wrapped else fields["address"])["street"]
                assert isinstance(street, dict if wrapped else str)


@pytest.mark.parametrize("present", [True, False])
def test_relationships_under_a_sparse_fieldset(present):
    with CaseService(2, sparse_relationships=present) as service:
        case = persona_search(service, {}, {"fields[case]": "status"}).json()["data"][0]
        assert ("relationships" in case) == present
