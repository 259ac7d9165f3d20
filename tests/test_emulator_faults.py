"""Faults of the emulator: the effect of each on the wire, and the requests that it applies to."""

import gzip
import http.client
import json
import threading
import time
import warnings
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import get_args
from urllib.parse import parse_qsl, urlsplit

import pytest
import requests
from botocore.exceptions import ClientError, EndpointConnectionError, HTTPClientError
from botocore.parsers import ResponseParserError

from casesearch_pd.demo import LocalCases
from casesearch_pd.emulator import CaseService, Fault
from casesearch_pd.emulator.faults.fault import Kind
from casesearch_pd.emulator.faults.schedule import EFFECTS
from tests.emulator_clients import SIGNATURE, connect_client, persona, persona_search, post_connect

NOW = datetime(2026, 1, 15, 12, 34, 56, 789_000, UTC)
WIRES = ("connect", "persona")
SERVICE = {"cases": 45, "seed": 4, "now": NOW}
CREATED = [{"fieldId": "created_datetime", "sortOrder": "Asc"}]
FIELDS = [{"id": "title"}, {"id": "last_updated_datetime"}]
PATH = "/api/v1/cases/search"


def search(local, wire, cursor=None, size=10):
    """Send one search in the order of creation; the cursor is a token or a link."""
    if wire == "connect":
        body = {"maxResults": size, "fields": FIELDS, "sorts": CREATED, "nextToken": cursor}
        return post_connect(local, body)
    body = {"page": {"size": size}, "sort": {"attribute": "created_at", "direction": "asc"}}
    return persona(local, "POST", cursor or PATH, body)


def cases_of(answer):
    body = answer.json()
    return body["cases"] if "cases" in body else body["data"]


def ids_of(answer):
    return [case.get("caseId") or case["id"] for case in cases_of(answer)]


def next_of(answer):
    body = answer.json()
    return body.get("nextToken") if "cases" in body else body["links"].get("next")


def read_pages(local, wire, size=10, max_pages=12):
    """Follow the tokens; return the ids of each page and the tokens."""
    pages, tokens, cursor = [], [], None
    while len(pages) < max_pages:
        answer = search(local, wire, cursor, size)
        assert answer.status_code == 200, answer.text
        pages.append(ids_of(answer))
        cursor = next_of(answer)
        if not cursor:
            return pages, tokens
        tokens.append(cursor)
    return pages, tokens


def sorted_ids(local):
    frame = local.frame().sort_values(["created_at", "case_id"])
    return list(frame["case_id"])


def flat(pages):
    return [case_id for page in pages for case_id in page]


# --- which requests ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("when", "numbers"),
    [
        ({}, [1, 2, 3, 4, 5, 6, 7, 8]),
        ({"at": 4}, [4]),
        ({"first": 2}, [1, 2]),
        ({"after": 6}, [7, 8]),
        ({"every": 3}, [3, 6]),
        ({"after": 2, "first": 3}, [3, 4, 5]),
        ({"after": 1, "every": 3}, [4, 7]),
        ({"first": 4, "every": 2}, [2, 4]),
    ],
)
@pytest.mark.parametrize("wire", WIRES)
def test_a_fault_applies_to_the_requests_of_its_numbers(local, wire, when, numbers):
    local.faults.append(Fault("error", wire=wire, **when))
    statuses = [search(local, wire).status_code for _ in range(8)]
    assert [number for number, status in enumerate(statuses, 1) if status == 500] == numbers
    other = next(one for one in WIRES if one != wire)
    assert search(local, other).status_code == 200
    assert local.faults.happened() == len(numbers)


def test_a_fault_without_a_wire_counts_both(local):
    local.faults.append(Fault("error", at=2))
    assert [search(local, wire).status_code for wire in WIRES] == [200, 500]


def test_seconds_are_the_services_own_and_count_from_the_first_request():
    fault = Fault("throttle", 5, after=1, seconds=60)
    with CaseService(3, faults=[fault]) as local:
        local.advance(1000)
        assert search(local, "connect").status_code == 200
        local.advance(1000)
        assert search(local, "connect").status_code == 429
        local.advance(30)
        assert search(local, "connect").status_code == 429
        local.advance(31)
        assert search(local, "connect").status_code == 200
        assert local.faults.happened(fault) == 2


def test_a_fault_applies_to_its_operation_only(local):
    local.faults.append(Fault("error", operation="list_fields", status=503))
    local.faults.append(Fault("error", operation="retrieve", status=404))
    assert post_connect(local, b"", "fields-list").status_code == 503
    assert [search(local, wire).status_code for wire in WIRES] == [200, 200]
    case_id = ids_of(search(local, "persona"))[0]
    assert persona(local, "GET", f"/api/v1/cases/{case_id}").status_code == 404
    local.faults.clear()
    local.faults.append(Fault("html", status=418, operation=None))
    for path in ("/", "/api/v1/nothing", "/api/v1/cases"):
        assert persona(local, "GET", path).status_code == 418
    assert post_connect(local, b"", "no-such-operation").status_code == 418


def test_faults_change_while_the_service_runs(local):
    assert len(local.faults) == 0
    one, two = Fault("error"), Fault("empty", every=2)
    local.faults.append(one)
    local.faults.append(two)
    assert list(local.faults) == [one, two]
    assert repr(local.faults) == "Faults([Fault('error'), Fault('empty', every=2)])"
    search(local, "connect")
    assert (local.faults.happened(one), local.faults.happened(two)) == (1, 0)
    local.faults.remove(one)
    with pytest.raises(ValueError, match="not among the faults"):
        local.faults.remove(one)
    assert search(local, "connect").content == b""
    local.faults.clear()
    assert search(local, "connect").json()["totalCount"] == 45
    with pytest.raises(TypeError, match="a Fault is required, got 'error'"):
        local.faults.append("error")


def test_counts_hold_under_threads(local):
    local.faults.append(Fault("error", every=4))
    statuses = []

    def send():
        statuses.extend(search(local, "persona").status_code for _ in range(10))

    threads = [threading.Thread(target=send) for _ in range(4)]
    for thread in threads:
        thread.start()
    for number in range(20):
        local.faults.append(Fault("latency", 0, at=number + 1))
    for thread in threads:
        thread.join()
    assert statuses.count(500) == 10
    assert local.faults.happened(Fault("error", every=4)) == 10


def test_faults_act_in_their_order_and_delivery_comes_last(local):
    local.faults.append(Fault("latency", 0.05, at=1))
    local.faults.append(Fault("throttle", first=1))
    local.faults.append(Fault("headers", {"RateLimit-Reset": "3", "content-type": None}))
    start = time.monotonic()
    answer = search(local, "persona")
    assert time.monotonic() - start >= 0.05
    assert (answer.status_code, answer.headers["RateLimit-Reset"]) == (429, "3")
    assert "Content-Type" not in answer.headers


def test_a_service_without_faults_does_not_look_for_them(monkeypatch):
    with CaseService(2) as local:
        monkeypatch.setattr(local.faults, "_matching_faults", lambda *_: 1 / 0)
        assert search(local, "connect").status_code == 200


def test_local_cases_takes_faults():
    with LocalCases(3, faults=[Fault("error", status=403)]) as local:
        assert search(local, "connect").status_code == 403


@pytest.mark.parametrize(
    ("arguments", "match"),
    [
        ({"kind": "truncatd"}, "did you mean 'truncated'"),
        ({"kind": "?"}, "not one of"),
        ({"kind": "html", "wire": "soap"}, "wire of 'html' must be one of .*, got 'soap'"),
        ({"kind": "keys", "value": "snake", "wire": "connect"}, "persona'], got 'connect'"),
        ({"kind": "html", "operation": "serch"}, "operation must be one of .*, got 'serch'"),
        ({"kind": "total", "value": 1, "operation": "retrieve"}, "operation.*, got 'retrieve'"),
        ({"kind": "html", "at": 0}, "at must be a positive number of requests, got 0"),
        ({"kind": "html", "every": True}, "every must be .*, got True"),
        ({"kind": "html", "first": 1.5}, "first must be .*, got 1.5"),
        ({"kind": "html", "after": -1}, "after must be a non-negative .*, got -1"),
        ({"kind": "html", "seconds": 0}, "seconds must be a positive number .*, got 0"),
        ({"kind": "html", "seconds": float("nan")}, "seconds must be .*, got nan"),
        ({"kind": "html", "at": 1, "first": 3}, "at cannot be combined with first"),
        ({"kind": "html", "at": 1, "after": 3}, "at cannot be combined with first"),
        ({"kind": "html", "value": 3}, "value of 'html' must be omitted, got 3"),
        ({"kind": "html", "status": 99}, "must be 200 to 599, got 99"),
        ({"kind": "gzip", "status": 200}, "must be omitted, got 200"),
        ({"kind": "html", "field": "title"}, "field applies to the fault 'value' only"),
        ({"kind": "short_page"}, "a positive number of cases, got None"),
        ({"kind": "total", "value": 1.5}, "an integer, got 1.5"),
        ({"kind": "latency", "value": (2, 1)}, "a pair of minimum and maximum"),
        ({"kind": "latency", "value": -1}, "non-negative seconds"),
        ({"kind": "reset", "value": "later"}, "'before', 'in' or 'after'"),
        ({"kind": "throttle", "value": b"1"}, "timedelta"),
        ({"kind": "headers", "value": {"a": 1}}, "a mapping"),
        ({"kind": "redirect"}, "an address"),
        ({"kind": "absolute_link", "value": ""}, "an origin"),
        ({"kind": "repeated_case", "value": "newer"}, "'older'"),
        ({"kind": "keys", "value": "title"}, "'kebab'"),
    ],
)
def test_an_invalid_fault_is_an_error_that_names_what_is_allowed(arguments, match):
    with pytest.raises(ValueError, match=match):
        Fault(**arguments)


def test_every_kind_has_an_effect_and_is_described():
    assert set(get_args(Kind)) == set(EFFECTS)
    assert [kind for kind in EFFECTS if f"``{kind}``" not in Fault.__doc__] == []


# --- pages and tokens -------------------------------------------------------------------------


@pytest.mark.parametrize("wire", WIRES)
@pytest.mark.parametrize(
    ("fault", "sizes"),
    [
        (Fault("empty_page", first=1), [0, 10, 10, 10, 10, 5]),
        (Fault("empty_page", at=3), [10, 10, 0, 10, 10, 5]),
        (Fault("short_page", 3, at=2), [10, 3, 7, 10, 10, 5]),
        (Fault("short_page", 4), [4, 4, 2, 4, 4, 2, 4, 4, 2, 4, 4, 2, 4, 1]),
        (Fault("short_page", 10), [10, 10, 10, 10, 5]),
        (Fault("long_page", 3, at=2), [10, 13, 7, 10, 5]),
        (Fault("long_page", 100, at=2), [10, 20, 10, 5]),
        (Fault("long_page", 7, at=4), [10, 10, 10, 15]),
        (Fault("long_page", 2, at=5), [10, 10, 10, 10, 5]),
        (Fault("short_page", 2, at=5), [10, 10, 10, 10, 2, 3]),
    ],
)
def test_pages_of_other_sizes_lose_no_case(local, wire, fault, sizes):
    local.faults.append(fault)
    pages, tokens = read_pages(local, wire, max_pages=30)
    assert [len(page) for page in pages] == sizes
    assert flat(pages) == sorted_ids(local)
    assert len(set(tokens)) == len(tokens)


@pytest.mark.parametrize("wire", WIRES)
def test_an_empty_page_of_an_empty_result_is_no_fault(wire):
    with CaseService(0, faults=[Fault("empty_page"), Fault("repeated_case")]) as local:
        assert read_pages(local, wire) == ([[]], [])
        assert local.faults.happened() == 0


@pytest.mark.parametrize("index", [0, 4, 7])
def test_the_rest_of_a_short_page_is_complete_after_a_deletion(index):
    """A bookmark that only counted would skip a case when one before it is deleted."""
    with CaseService(30, seed=1, faults=[Fault("short_page", 4, first=2)]) as local:
        every = sorted_ids(local)
        second = search(local, "connect", next_of(search(local, "connect")))
        assert ids_of(second) == every[4:8]
        local.delete(every[index])
        assert ids_of(search(local, "connect", next_of(second))) == every[8:11]


def test_an_empty_page_keeps_the_position_of_a_short_one():
    faults = [Fault("short_page", 4, at=1), Fault("empty_page", at=2)]
    with CaseService(30, seed=1, faults=faults) as local:
        every = sorted_ids(local)
        second = search(local, "persona", next_of(search(local, "persona")))
        assert ids_of(second) == []
        local.delete(every[0])
        assert ids_of(search(local, "persona", next_of(second))) == every[4:11]


def test_a_bookmark_that_is_none_is_refused_like_any_token(local):
    local.faults.append(Fault("short_page", 5, at=1))
    token = next_of(search(local, "connect"))
    for wrong in (token[:-9], token + "x", "case_again-W10=", "case_again-WzEsMiwzXQ=="):
        assert search(local, "connect", wrong).status_code == 400
    body = {"page": {"size": 10, "after": "case_again-W10="}}
    assert persona_search(local, body).status_code == 400


def test_persona_cursors_in_the_body_are_followed_too(local):
    """The documentation has the cursor in the body, links have it in the query string."""
    local.faults.append(Fault("short_page", 4, at=1))
    sort = {"attribute": "created_at", "direction": "asc"}
    first = persona_search(local, {"page": {"size": 10}, "sort": sort})
    link = next_of(first)
    assert "page%5Bsize%5D=10" in link
    after = dict(parse_qsl(urlsplit(link).query))["page[after]"]
    second = persona_search(local, {"page": {"size": 10, "after": after}, "sort": sort})
    assert ids_of(first) + ids_of(second) == sorted_ids(local)[:10]


def test_faults_of_pages_apply_to_lists_too(local):
    local.faults.append(Fault("short_page", 3, operation="list_fields", at=1))
    local.faults.append(Fault("short_page", 3, operation="list_cases", at=1))
    every = post_connect(local, b"", "fields-list")
    rest = post_connect(local, b"", f"fields-list?nextToken={every.json()['nextToken']}")
    local.faults.clear()
    intact = post_connect(local, b"", "fields-list").json()["fields"]
    assert [*every.json()["fields"], *rest.json()["fields"]] == intact
    local.faults.append(Fault("short_page", 3, operation="list_cases", at=1))
    one = persona(local, "GET", "/api/v1/cases", params={"page[size]": 5})
    two = persona(local, "GET", next_of(one))
    assert (len(cases_of(one)), len(cases_of(two))) == (3, 2)
    assert not set(ids_of(one)) & set(ids_of(two))


def test_a_link_of_the_last_page_is_like_the_services_own(local):
    """A list's links have all parameters of the request; a search's only cursor and size."""
    local.faults.append(Fault("short_page", 40, operation="list_cases"))
    params = {"page[size]": "50", "fields[case]": "status"}
    link = next_of(persona(local, "GET", "/api/v1/cases", params=params))
    link_params = dict(parse_qsl(urlsplit(link).query))
    assert link_params.pop("page[after]")
    assert link_params == params
    assert len(cases_of(persona(local, "GET", link))) == 5
    local.faults.append(Fault("short_page", 3))
    link = next_of(persona_search(local, {"page": {"size": 45}}, {"fields[case]": "status"}))
    assert set(dict(parse_qsl(urlsplit(link).query))) == {"page[after]", "page[size]"}
    assert dict(parse_qsl(urlsplit(link).query))["page[size]"] == "45"


@pytest.mark.parametrize("wire", WIRES)
@pytest.mark.parametrize(("version", "newer"), [(None, 0), ("older", 60)])
def test_a_case_is_repeated_on_the_next_page(local, wire, version, newer):
    local.faults.append(Fault("repeated_case", version, at=2))
    pages, _ = read_pages(local, wire)
    assert pages[1][-1] == pages[2][0]
    assert flat([*pages[:2], pages[2][1:], *pages[3:]]) == sorted_ids(local)
    local.faults.clear()
    local.faults.append(Fault("repeated_case", version, at=1))
    one = search(local, wire)
    two = search(local, wire, next_of(one))
    first, second = (update_time(cases_of(one)[-1]), update_time(cases_of(two)[0]))
    assert (second - first).total_seconds() == newer


def update_time(case):
    if "caseId" in case:
        values = {one["id"]: one["value"] for one in case["fields"]}
        return datetime.fromisoformat(values["last_updated_datetime"]["stringValue"])
    return datetime.fromisoformat(case["attributes"]["updated-at"])


def test_a_case_without_its_update_time_is_repeated_unchanged(local):
    local.faults.append(Fault("repeated_case", "older"))
    page = post_connect(local, {"maxResults": 5, "fields": [{"id": "title"}]}).json()
    local.faults.clear()
    intact = post_connect(local, {"maxResults": 5, "fields": [{"id": "title"}]}).json()
    assert page["cases"] == intact["cases"]


@pytest.mark.parametrize("wire", WIRES)
def test_the_same_token_is_repeated(local, wire):
    local.faults.append(Fault("same_token", at=3))
    pages, tokens = read_pages(local, wire)
    assert tokens[1] == tokens[2]
    assert pages[2] == pages[3]
    assert flat([*pages[:3], *pages[4:]]) == sorted_ids(local)
    local.faults.clear()
    local.faults.append(Fault("same_token"))
    pages, tokens = read_pages(local, wire)
    assert len(pages) == 12
    assert len(set(tokens)) == 1, "for ever, from the first token on"


@pytest.mark.parametrize("wire", WIRES)
def test_tokens_form_a_cycle(local, wire):
    local.faults.append(Fault("token_cycle"))
    for _ in range(2):
        pages, tokens = read_pages(local, wire)
        a, b = tokens[:2]
        assert a != b
        assert tokens == [a, b] * 6
        assert pages[1] == pages[3] != pages[2] == pages[4]
    local.faults.clear()
    local.faults.append(Fault("token_cycle", after=1, first=2))
    pages, tokens = read_pages(local, wire)
    assert tokens[1] == tokens[3] or tokens[0] == tokens[2], "round once"
    assert set(flat(pages)) == set(sorted_ids(local)), "and then to the end"
    local.faults.append(Fault("token_cycle"))
    assert read_pages(local, wire, size=50) == ([sorted_ids(local)], []), "one page has no token"


@pytest.mark.parametrize("wire", WIRES)
def test_a_missing_token_ends_the_pages_early(local, wire):
    local.faults.append(Fault("no_token", at=3))
    pages, _ = read_pages(local, wire)
    assert flat(pages) == sorted_ids(local)[:30]
    local.faults.clear()
    local.faults.append(Fault("no_token"))
    body = search(local, wire).json()
    assert "nextToken" not in body
    assert "next" not in body.get("links", {})


@pytest.mark.parametrize("wire", WIRES)
@pytest.mark.parametrize("value", ["", None, "rubbish", 7])
def test_the_token_is_replaced_by_any_value(local, wire, value):
    local.faults.append(Fault("token", value))
    body = search(local, wire).json()
    links = body if wire == "connect" else body["links"]
    assert links["nextToken" if wire == "connect" else "next"] == value


@pytest.mark.parametrize("wire", WIRES)
def test_a_token_expires_on_the_third_page(local, wire):
    local.faults.append(Fault("expired_token", at=3))
    first = search(local, wire)
    second = search(local, wire, next_of(first))
    third = search(local, wire, next_of(second))
    assert third.status_code == 400
    assert "expired" in third.text
    assert search(local, wire, next_of(second)).status_code == 200
    local.faults.clear()
    local.faults.append(Fault("expired_token"))
    assert search(local, wire).status_code == 200, "there is no token on the first page"


def test_a_stock_client_raises_for_an_expired_token(local):
    local.faults.append(Fault("expired_token", at=2))
    paginator = connect_client(local).get_paginator("search_cases")
    pages = iter(paginator.paginate(domainId=local.domain_id, maxResults=10))
    next(pages)
    with pytest.raises(ClientError, match="ValidationException"):
        next(pages)


@pytest.mark.parametrize("origin", ["https://elsewhere.example", "https://a:b@elsewhere.example/"])
def test_a_link_to_another_host(local, origin):
    local.faults.append(Fault("absolute_link", origin))
    assert next_of(search(local, "persona")).startswith(f"{origin.rstrip('/')}{PATH}?page")


def test_an_absolute_link_to_the_service_can_be_followed(local):
    local.faults.append(Fault("absolute_link"))
    pages, tokens = read_pages(local, "persona")
    assert all(link.startswith(local.url) for link in tokens)
    assert flat(pages) == sorted_ids(local)
    assert local.faults.happened() == 4, "the last page has no link"
    assert search(local, "connect").status_code == 200


@pytest.mark.parametrize("more", [10, -3, -100])
def test_the_total_is_not_that_of_the_rows(local, more):
    local.faults.append(Fault("total", more))
    assert search(local, "connect").json()["totalCount"] == max(45 + more, 0)
    assert search(local, "persona").status_code == 200


def test_the_total_changes_with_each_request(local):
    local.faults.append(Fault("moving_total", 2))
    totals = [search(local, "connect").json()["totalCount"] for _ in range(3)]
    assert totals == [47, 49, 51]
    local.faults.clear()
    local.faults.append(Fault("total", 5, operation="list_fields"))
    assert "totalCount" not in post_connect(local, b"", "fields-list").json()


# --- answers ----------------------------------------------------------------------------------


@pytest.mark.parametrize("wire", WIRES)
def test_broken_bodies_have_status_200(local, wire):
    intact = search(local, wire)
    for fault, content in (
        (Fault("empty", at=1), b""),
        (Fault("truncated", at=1), intact.content[: len(intact.content) // 2]),
        (Fault("body", {}, at=1), b"{}"),
        (Fault("body", {"cases": None}, at=1), b'{"cases":null}'),
        (Fault("body", "é", at=1), b'"\xc3\xa9"'),
        (Fault("body", b"\x00{", at=1), b"\x00{"),
        (Fault("not_utf8", at=1), intact.content.replace(b'":"', b'":"\xff')),
    ):
        local.faults.append(fault)
        answer = search(local, wire)
        assert (answer.status_code, answer.content) == (200, content), fault
        assert answer.headers["Content-Length"] == str(len(content))
        assert answer.headers["Content-Type"] == intact.headers["Content-Type"]
        local.faults.clear()
    assert search(local, wire).content == intact.content


@pytest.mark.parametrize("wire", WIRES)
def test_an_html_page_replaces_the_response(local, wire):
    local.faults.append(Fault("html", at=1))
    local.faults.append(Fault("html", status=502, at=2))
    answers = [search(local, wire) for _ in range(2)]
    assert [answer.status_code for answer in answers] == [200, 502]
    assert all(answer.headers["Content-Type"].startswith("text/html") for answer in answers)
    assert all(answer.text.startswith("<!DOCTYPE html>") for answer in answers)


@pytest.mark.parametrize("wire", WIRES)
def test_gzip_that_was_not_accepted(local, wire):
    intact = search(local, wire).content
    local.faults.append(Fault("gzip"))
    assert search(local, wire).content == intact, "requests unpacks it"
    with pytest.raises((UnicodeDecodeError, ResponseParserError)):
        connect_client(local).search_cases(domainId=local.domain_id)
    link = http.client.HTTPConnection("127.0.0.1", local.port, timeout=10)
    headers = {"Authorization": f"Bearer {local.token}", "Accept-Encoding": "identity"}
    link.request("POST", PATH, b"{}", headers)
    answer = link.getresponse()
    assert answer.headers["Content-Encoding"] == "gzip"
    assert json.loads(gzip.decompress(answer.read()))["data"]
    link.close()


@pytest.mark.parametrize(
    "value",
    [{"booleanValue": None}, {}, {"stringValue": "a", "doubleValue": 1.0}, {"booleanValue": "no"},
     {"colourValue": "red"}, {"doubleValue": 7.0}, None],
)  # fmt: skip
def test_a_value_of_any_shape_in_one_field(local, value):
    intact = search(local, "connect").json()
    local.faults.append(Fault("value", value, field="title"))
    changed = search(local, "connect").json()
    assert changed["cases"][1:] == intact["cases"][1:]
    others = [one for one in changed["cases"][0]["fields"] if one["id"] != "title"]
    values = {one["id"]: one["value"] for one in changed["cases"][0]["fields"]}
    assert values["title"] == value
    assert others == [one for one in intact["cases"][0]["fields"] if one["id"] != "title"]
    local.faults.clear()
    local.faults.append(Fault("value", value))
    assert search(local, "connect").json()["cases"][0]["fields"][-1]["value"] == value
    local.faults.clear()
    local.faults.append(Fault("value", value, field="nowhere"))
    assert search(local, "connect").json() == intact
    assert local.faults.happened() == 0


def test_a_stock_client_raises_for_a_null_in_a_union(local):
    local.faults.append(Fault("value", {"booleanValue": None}, wire="connect"))
    with pytest.raises(ResponseParserError):
        connect_client(local).search_cases(domainId=local.domain_id, fields=FIELDS)


def test_a_value_on_persona_is_in_a_custom_field_or_an_attribute(local):
    intact = search(local, "persona").json()["data"]
    holder = next(at for at, case in enumerate(intact) if "city" in case["attributes"]["fields"])
    last = list(intact[0]["attributes"]["fields"])[-1]
    for field, at, name in (("status", 0, "status"), ("city", holder, "city"), (None, 0, last)):
        local.faults.append(Fault("value", {"odd": 1}, field=field))
        changed = search(local, "persona").json()["data"]
        local.faults.clear()
        attributes = changed[at]["attributes"]
        members = attributes if field == "status" else attributes["fields"]
        assert members[name] == {"odd": 1}
        original = intact[at]["attributes"]
        members[name] = (original if field == "status" else original["fields"])[name]
        assert changed == intact, "and nothing else"
    local.faults.append(Fault("value", 1, field="nowhere"))
    assert search(local, "persona").json()["data"] == intact


@pytest.mark.parametrize(("wire", "member"), [("connect", "tags"), ("persona", "relationships")])
def test_a_member_is_missing(local, wire, member):
    assert all(member in case for case in cases_of(search(local, wire)))
    local.faults.append(Fault("without", member))
    assert not any(member in case for case in cases_of(search(local, wire)))
    local.faults.append(Fault("without", "no such member"))
    search(local, wire)
    assert local.faults.happened(Fault("without", "no such member")) == 0


@pytest.mark.parametrize("requested", ["kebab", "snake", "camel"])
@pytest.mark.parametrize("returned", ["kebab", "snake", "camel"])
def test_keys_have_another_inflection(local, requested, returned):
    """The response must be the service's own for a request of that inflection."""
    intact = persona_search(local, {"page": {"size": 45}}, Key_Inflection=returned).json()["data"]
    local.faults.append(Fault("keys", returned))
    changed = persona_search(local, {"page": {"size": 45}}, Key_Inflection=requested).json()["data"]
    assert changed == intact
    assert any(case["attributes"]["attachments"] for case in intact)
    local.faults.append(Fault("without", "relationships"))
    local.faults.append(Fault("keys", returned))
    assert persona_search(local, {}).status_code == 200


def test_custom_values_are_bare():
    """The response must be the service's own with the option of bare values."""
    body = {"page": {"size": 60}}
    with CaseService(60, seed=4, now=NOW, wrapped=False) as local:
        bare = persona_search(local, body).json()["data"]
    with CaseService(60, seed=4, now=NOW) as local:
        intact = persona_search(local, body).json()["data"]
        local.faults.append(Fault("bare_fields", at=1))
        assert persona_search(local, body).json()["data"] == bare != intact
        local.faults.append(Fault("bare_fields"))
        sparse = persona_search(local, body, {"fields[case]": "status"})
        assert sparse.status_code == 200
        assert local.faults.happened() == 1
    with CaseService(60, seed=4, now=NOW, wrapped=False, faults=[Fault("bare_fields")]) as local:
        assert persona_search(local, body).json()["data"] == bare


def test_headers_are_set_and_removed(local):
    local.faults.append(Fault("headers", {"ratelimit-limit": None, "RateLimit-Remaining": "0"}))
    answer = search(local, "persona")
    assert "RateLimit-Limit" not in answer.headers
    assert answer.headers["RateLimit-Remaining"] == "0"
    assert answer.json()["data"]


def test_a_reply_that_is_not_a_page_is_unchanged(local):
    """A page fault does nothing to a refusal, an error or a broken body."""
    page_faults = [Fault("short_page", 1), Fault("without", "id"), Fault("long_page", 1)]
    for broken in (Fault("error"), Fault("truncated"), Fault("body", [1]), Fault("body", {})):
        for fault in (broken, *page_faults):
            local.faults.append(fault)
        for wire in WIRES:
            assert search(local, wire).status_code in (200, 500)
        assert local.faults.happened() == 2
        local.faults.clear()
    for fault in page_faults:
        local.faults.append(fault)
    assert post_connect(local, {"maxResults": 0}).status_code == 400
    assert post_connect(local, b"[]").status_code == 400
    assert post_connect(local, b"{").status_code == 400


def test_a_page_that_cannot_be_lengthened_is_unchanged(local):
    """The page with the other cases is broken by an earlier fault, the first one is not."""
    local.faults.append(Fault("expired_token"))
    local.faults.append(Fault("long_page", 3))
    assert len(ids_of(search(local, "connect"))) == 10
    assert local.faults.happened(Fault("long_page", 3)) == 0


# --- refusals ---------------------------------------------------------------------------------


@pytest.mark.parametrize("wire", WIRES)
@pytest.mark.parametrize(
    ("value", "header"),
    [(2, "2"), (0.5, "0.5"), ("soon", "soon"), ("", ""), ("-1", "-1"), (None, None)],
)
def test_a_throttle_has_a_retry_after(local, wire, value, header):
    local.faults.append(Fault("throttle", value))
    answer = search(local, wire)
    assert (answer.status_code, answer.headers.get("Retry-After")) == (429, header)
    assert answer.json()


def test_a_throttle_has_a_date_of_the_services_clock(local):
    local.faults.append(Fault("throttle", timedelta(seconds=90)))
    answer = search(local, "connect")
    retry_at = parsedate_to_datetime(answer.headers["Retry-After"])
    assert retry_at - parsedate_to_datetime(answer.headers["Date"]) in (
        timedelta(seconds=89), timedelta(seconds=90), timedelta(seconds=91),
    )  # fmt: skip


def test_a_stock_client_raises_for_a_throttle(local):
    local.faults.append(Fault("throttle", wire="connect"))
    with pytest.raises(ClientError, match="ThrottlingException"):
        connect_client(local).search_cases(domainId=local.domain_id)


@pytest.mark.parametrize(
    ("status", "code"),
    [(400, "ValidationException"), (401, "UnrecognizedClientException"),
     (403, "AccessDeniedException"), (404, "ResourceNotFoundException"),
     (422, "ValidationException"), (500, "InternalServerException"),
     (520, "InternalServerException")],
)  # fmt: skip
def test_errors_have_the_documented_shape(local, status, code):
    local.faults.append(Fault("error", status=status))
    answer = search(local, "connect")
    assert (answer.status_code, answer.headers["x-amzn-ErrorType"]) == (status, code)
    assert answer.json()["message"]
    answer = search(local, "persona")
    assert answer.status_code == status
    assert answer.json()["errors"][0]["title"]
    with pytest.raises(ClientError, match=code):
        connect_client(local).search_cases(domainId=local.domain_id)


@pytest.mark.parametrize("status", [None, 301, 307])
@pytest.mark.parametrize("wire", WIRES)
def test_a_redirect_to_another_address(local, wire, status):
    target = f"{local.url}/api/v1/rate-limits"
    local.faults.append(Fault("redirect", target, status=status))
    answer = search(local, "persona")
    assert (answer.status_code, answer.headers["Location"]) == (status or 302, target)
    if wire == "connect":
        method = search(local, wire).request.method
        assert method == ("POST" if status == 307 else "GET"), "requests follows it"


# --- delivery ---------------------------------------------------------------------------------


def raw_search(local):
    link = http.client.HTTPConnection("127.0.0.1", local.port, timeout=10)
    try:
        link.request("POST", PATH, b"{}", {"Authorization": f"Bearer {local.token}"})
        answer = link.getresponse()
        return answer, answer.read()
    finally:
        link.close()


def test_latency_counts_from_the_arrival_of_the_request(local):
    local.faults.append(Fault("latency", 0.12, at=2))
    times = []
    for _ in range(2):
        start = time.monotonic()
        assert search(local, "connect").status_code == 200
        times.append(time.monotonic() - start)
    assert times[1] >= 0.12


def test_latency_includes_the_time_of_the_service_itself(monkeypatch):
    """A delay on top of the service's own time would make a replay slower than what it replays."""
    with CaseService(2, latency=0.5) as local:
        answer_without_faults, stop = local._answer_without_faults, threading.Event()
        monkeypatch.setattr(
            local,
            "_answer_without_faults",
            lambda request: stop.wait(0.5) or answer_without_faults(request),
        )
        start = time.monotonic()
        assert search(local, "connect").status_code == 200
        assert 0.5 <= time.monotonic() - start < 0.95


def test_a_late_reset_is_late_and_a_reset(local):
    local.faults.append(Fault("reset", "before"))
    local.faults.append(Fault("latency", 0.05))
    start = time.monotonic()
    with pytest.raises(ConnectionResetError) as caught:
        raw_search(local)
    assert not isinstance(caught.value, http.client.RemoteDisconnected)
    assert time.monotonic() - start >= 0.05


def test_latency_is_an_option_of_the_service_and_random_by_seed():
    def delays(seed):
        faults = [Fault("latency", (0.0, 0.02), seed=seed)]
        with CaseService(2, faults=faults, latency=0.001) as local:
            replies = []
            send = local._answer_without_faults
            local._server.answer = lambda request: (
                replies.append(local.faults.answer(request, send)) or replies[-1]
            )
            for _ in range(3):
                search(local, "connect")
            post_connect(local, b"", "fields-list")
            return [reply.delivery.delay for reply in replies]

    one = delays(1)
    assert one == delays(1) != delays(2)
    assert all(0.001 <= delay <= 0.02 for delay in one)
    assert len(set(one)) == 4
    assert one[-1] == 0.001, "the option applies to every request, the fault to searches"
    with CaseService(2) as local:
        assert len(local.faults) == 0


def test_silence_ends_without_a_byte(local):
    local.faults.append(Fault("silence", 0.1, at=1))
    local.faults.append(Fault("silence", 0, at=2))
    start = time.monotonic()
    with pytest.raises(http.client.RemoteDisconnected):
        raw_search(local)
    assert time.monotonic() - start >= 0.1
    with pytest.raises(http.client.RemoteDisconnected):
        raw_search(local)
    assert raw_search(local)[0].status == 200
    local.faults.append(Fault("silence", 30))
    with pytest.raises(requests.ReadTimeout):
        requests.post(f"{local.url}/domains/x/cases-search", timeout=0.1)


def test_silence_does_not_outlive_the_service():
    before = set(threading.enumerate())
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with CaseService(2, faults=[Fault("silence", 60), Fault("latency", 60)]) as local:
            with pytest.raises(requests.ReadTimeout):
                requests.post(f"{local.url}/domains/x/cases-search", timeout=0.1)
            start = time.monotonic()
    assert time.monotonic() - start < 10
    assert set(threading.enumerate()) == before


@pytest.mark.parametrize("value", [0.02, ("body", 0.02), ("head", 0.002)])
@pytest.mark.parametrize("wire", WIRES)
def test_a_reply_drips_byte_by_byte(local, wire, value):
    local.faults.append(Fault("body", b"0123456789", wire=wire))
    local.faults.append(Fault("drip", value, wire=wire))
    start = time.monotonic()
    assert search(local, wire).content == b"0123456789"
    assert time.monotonic() - start >= 0.18, "ten bytes of the body, or a hundred of the head"


def test_a_drip_is_not_ended_by_a_client_that_waits_for_the_next_byte_only(local):
    local.faults.append(Fault("body", b"0123456789"))
    local.faults.append(Fault("drip", 0.05))
    headers = {"Authorization": f"Bearer {local.token}"}
    url = f"{local.url}{PATH}"
    assert requests.post(url, headers=headers, timeout=0.3).content == b"0123456789"


def test_a_drip_ends_with_its_client_and_with_the_service():
    before = set(threading.enumerate())
    with CaseService(5, faults=[Fault("drip", 0.05)]) as local:
        links = [http.client.HTTPConnection("127.0.0.1", local.port) for _ in range(2)]
        for link in links:
            link.request("POST", PATH, b"{}", {"Authorization": f"Bearer {local.token}"})
            assert link.getresponse().status == 200
        links[0].close()
        start = time.monotonic()
    assert time.monotonic() - start < 2, "it takes minutes to its end"
    links[1].close()
    assert set(threading.enumerate()) <= before


@pytest.mark.parametrize("where", ["before", "in", "after"])
def test_the_connection_is_reset(local, where):
    """An orderly end would raise RemoteDisconnected or IncompleteRead, not a reset."""
    local.faults.append(Fault("reset", where, at=1))
    with pytest.raises(ConnectionResetError) as caught:
        raw_search(local)
    assert not isinstance(caught.value, http.client.RemoteDisconnected)
    assert raw_search(local)[0].status == 200
    local.faults.append(Fault("reset", where, wire="connect"))
    with pytest.raises((HTTPClientError, EndpointConnectionError)):
        connect_client(local).search_cases(domainId=local.domain_id)


def receive_all(local, fault):
    """Return all bytes before the end of the connection, and whether it ends with a reset."""
    local.faults.append(fault)
    request = f"POST {PATH} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {local.token}\r\n\r\n"
    link = http.client.HTTPConnection("127.0.0.1", local.port, timeout=10)
    link.connect()
    link.sock.sendall(request.encode())
    chunks, reset = [], False
    try:
        while chunk := link.sock.recv(65536):
            chunks.append(chunk)
    except ConnectionResetError:
        reset = True
    link.close()
    return b"".join(chunks), reset


def test_a_reset_comes_before_in_or_after_the_head(local):
    assert receive_all(local, Fault("reset", "before", at=1)) == (b"", True)
    content, reset = receive_all(local, Fault("reset", "in", at=1))
    assert reset
    assert content.startswith(b"HTTP/1.1 200 OK\r\n")
    assert b"\r\n\r\n" not in content
    content, reset = receive_all(local, Fault("reset", "after", at=1))
    assert reset
    assert b"\r\n\r\n" in content


def test_a_body_is_shorter_than_its_content_length(local):
    content, reset = receive_all(local, Fault("short_body", at=1))
    head, _, body = content.partition(b"\r\n\r\n")
    length = int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0])
    assert 0 < len(body) < length
    assert not reset
    local.faults.clear()
    local.faults.append(Fault("short_body"))
    with pytest.raises(http.client.IncompleteRead):
        raw_search(local)
    client = connect_client(local)
    with pytest.raises(AssertionError, match='Missing required parameter in input: "cases"'):
        # boto3 itself accepts it as a response.
        client.search_cases(domainId=local.domain_id)


def test_faulty_requests_are_logged_like_any_other(local):
    local.requests.clear()
    local.faults.append(Fault("throttle", at=1))
    search(local, "connect")
    search(local, "connect")
    assert [one.status for one in local.requests] == [429, 200]
    assert SIGNATURE not in repr(local.requests)
