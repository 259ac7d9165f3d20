"""Faults of the embedded service: what each does on the wire, to which requests, how often."""

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
CREATED = [{"fieldId": "created_datetime", "sortOrder": "Asc"}]
SHOWN = [{"id": "title"}, {"id": "last_updated_datetime"}]
PATH = "/api/v1/cases/search"


def ask(service, wire, cursor=None, size=10):
    """Send one search in the order of creation; the cursor is a token or a link."""
    if wire == "connect":
        body = {"maxResults": size, "fields": SHOWN, "sorts": CREATED, "nextToken": cursor}
        return post_connect(service, body)
    body = {"page": {"size": size}, "sort": {"attribute": "created_at", "direction": "asc"}}
    return persona(service, "POST", cursor or PATH, body)


def cases_of(answer):
    body = answer.json()
    return body["cases"] if "cases" in body else body["data"]


def ids_of(answer):
    return [case.get("caseId") or case["id"] for case in cases_of(answer)]


def next_of(answer):
    body = answer.json()
    return body.get("nextToken") if "cases" in body else body["links"].get("next")


def walk(service, wire, size=10, most=12):
    """Follow the tokens; return the ids of each page and the tokens handed out."""
    pages, tokens, cursor = [], [], None
    while len(pages) < most:
        answer = ask(service, wire, cursor, size)
        assert answer.status_code == 200, answer.text
        pages.append(ids_of(answer))
        cursor = next_of(answer)
        if not cursor:
            return pages, tokens
        tokens.append(cursor)
    return pages, tokens


def truth(service):
    frame = service.frame().sort_values(["created_at", "case_id"])
    return list(frame["case_id"])


def flat(pages):
    return [case_id for page in pages for case_id in page]


@pytest.fixture(scope="module")
def running():
    with CaseService(45, seed=4, now=NOW) as service:
        yield service


@pytest.fixture
def service(running):
    """Return a service that is well again after the test."""
    running.faults.clear()
    yield running
    running.faults.clear()


# --- which requests ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("when", "met"),
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
def test_a_fault_meets_the_requests_it_names(service, wire, when, met):
    service.faults.append(Fault("error", wire=wire, **when))
    statuses = [ask(service, wire).status_code for _ in range(8)]
    assert [number for number, status in enumerate(statuses, 1) if status == 500] == met
    other = next(one for one in WIRES if one != wire)
    assert ask(service, other).status_code == 200
    assert service.faults.happened() == len(met)


def test_a_fault_without_a_wire_counts_both(service):
    service.faults.append(Fault("error", at=2))
    assert [ask(service, wire).status_code for wire in WIRES] == [200, 500]


def test_seconds_are_the_services_own_and_count_from_the_first_request():
    fault = Fault("throttle", 5, after=1, seconds=60)
    with CaseService(3, faults=[fault]) as service:
        service.advance(1000)
        assert ask(service, "connect").status_code == 200
        service.advance(1000)
        assert ask(service, "connect").status_code == 429
        service.advance(30)
        assert ask(service, "connect").status_code == 429
        service.advance(31)
        assert ask(service, "connect").status_code == 200
        assert service.faults.happened(fault) == 2


def test_operations_are_told_apart(service):
    service.faults.append(Fault("error", operation="list_fields", status=503))
    service.faults.append(Fault("error", operation="retrieve", status=404))
    assert post_connect(service, b"", "fields-list").status_code == 503
    assert [ask(service, wire).status_code for wire in WIRES] == [200, 200]
    case_id = ids_of(ask(service, "persona"))[0]
    assert persona(service, "GET", f"/api/v1/cases/{case_id}").status_code == 404
    service.faults.clear()
    service.faults.append(Fault("html", status=418, operation=None))
    for path in ("/", "/api/v1/nothing", "/api/v1/cases"):
        assert persona(service, "GET", path).status_code == 418
    assert post_connect(service, b"", "no-such-operation").status_code == 418


def test_faults_change_while_the_service_runs(service):
    assert len(service.faults) == 0
    one, two = Fault("error"), Fault("empty", every=2)
    service.faults.append(one)
    service.faults.append(two)
    assert list(service.faults) == [one, two]
    assert repr(service.faults) == "Faults([Fault('error'), Fault('empty', every=2)])"
    ask(service, "connect")
    assert (service.faults.happened(one), service.faults.happened(two)) == (1, 0)
    service.faults.remove(one)
    with pytest.raises(ValueError, match="not among the faults"):
        service.faults.remove(one)
    assert ask(service, "connect").content == b""
    service.faults.clear()
    assert ask(service, "connect").json()["totalCount"] == 45
    with pytest.raises(TypeError, match="not a Fault"):
        service.faults.append("error")


def test_counts_hold_under_threads(service):
    service.faults.append(Fault("error", every=4))
    statuses = []

    def send():
        statuses.extend(ask(service, "persona").status_code for _ in range(10))

    threads = [threading.Thread(target=send) for _ in range(4)]
    for thread in threads:
        thread.start()
    for number in range(20):
        service.faults.append(Fault("latency", 0, at=number + 1))
    for thread in threads:
        thread.join()
    assert statuses.count(500) == 10
    assert service.faults.happened(Fault("error", every=4)) == 10


def test_faults_act_in_their_order_and_delivery_comes_last(service):
    service.faults.append(Fault("latency", 0.05, at=1))
    service.faults.append(Fault("throttle", first=1))
    service.faults.append(Fault("headers", {"RateLimit-Reset": "3", "content-type": None}))
    begun = time.monotonic()
    answer = ask(service, "persona")
    assert time.monotonic() - begun >= 0.05
    assert (answer.status_code, answer.headers["RateLimit-Reset"]) == (429, "3")
    assert "Content-Type" not in answer.headers


def test_a_service_without_faults_asks_nobody(monkeypatch):
    with CaseService(2) as well:
        monkeypatch.setattr(well.faults, "_met", lambda *_: 1 / 0)
        assert ask(well, "connect").status_code == 200


def test_local_cases_takes_faults():
    with LocalCases(3, faults=[Fault("error", status=403)]) as service:
        assert ask(service, "connect").status_code == 403


@pytest.mark.parametrize(
    ("given", "match"),
    [
        ({"kind": "truncatd"}, "did you mean 'truncated'"),
        ({"kind": "?"}, "not one of"),
        ({"kind": "html", "wire": "soap"}, "wire='soap'"),
        ({"kind": "keys", "value": "snake", "wire": "connect"}, "wire='connect'"),
        ({"kind": "html", "operation": "serch"}, "operation='serch'"),
        ({"kind": "total", "value": 1, "operation": "retrieve"}, "operation='retrieve'"),
        ({"kind": "html", "at": 0}, "at=0"),
        ({"kind": "html", "every": True}, "every=True"),
        ({"kind": "html", "first": 1.5}, "first=1.5"),
        ({"kind": "html", "after": -1}, "after=-1"),
        ({"kind": "html", "seconds": 0}, "seconds=0"),
        ({"kind": "html", "seconds": float("nan")}, "seconds=nan"),
        ({"kind": "html", "at": 1, "first": 3}, "at= is one request"),
        ({"kind": "html", "at": 1, "after": 3}, "at= is one request"),
        ({"kind": "html", "value": 3}, "value=3 of 'html' must be nothing"),
        ({"kind": "html", "status": 99}, "must be 200 to 599"),
        ({"kind": "gzip", "status": 200}, "must be left out"),
        ({"kind": "html", "field": "title"}, "field='title'"),
        ({"kind": "short_page"}, "a number of cases"),
        ({"kind": "total", "value": 1.5}, "a whole number"),
        ({"kind": "latency", "value": (2, 1)}, "a pair of them in order"),
        ({"kind": "latency", "value": -1}, "seconds from 0"),
        ({"kind": "reset", "value": "later"}, "'before', 'in' or 'after'"),
        ({"kind": "throttle", "value": b"1"}, "timedelta"),
        ({"kind": "headers", "value": {"a": 1}}, "a mapping"),
        ({"kind": "redirect"}, "an address"),
        ({"kind": "absolute_link", "value": ""}, "an origin"),
        ({"kind": "repeated_case", "value": "newer"}, "'older'"),
        ({"kind": "keys", "value": "title"}, "'kebab'"),
    ],
)
def test_a_fault_that_cannot_be_is_refused_in_words(given, match):
    with pytest.raises(ValueError, match=match):
        Fault(**given)


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
def test_pages_of_other_sizes_lose_no_case(service, wire, fault, sizes):
    service.faults.append(fault)
    pages, tokens = walk(service, wire, most=30)
    assert [len(page) for page in pages] == sizes
    assert flat(pages) == truth(service)
    assert len(set(tokens)) == len(tokens)


@pytest.mark.parametrize("wire", WIRES)
def test_an_empty_page_of_an_empty_result_is_no_fault(wire):
    with CaseService(0, faults=[Fault("empty_page"), Fault("repeated_case")]) as service:
        assert walk(service, wire) == ([[]], [])
        assert service.faults.happened() == 0


@pytest.mark.parametrize("gone", [0, 4, 7])
def test_the_rest_of_a_short_page_survives_changes_meanwhile(gone):
    """A bookmark that only counted would skip a case when one before it is deleted."""
    with CaseService(30, seed=1, faults=[Fault("short_page", 4, first=2)]) as service:
        every = truth(service)
        second = ask(service, "connect", next_of(ask(service, "connect")))
        assert ids_of(second) == every[4:8]
        service.delete(every[gone])
        assert ids_of(ask(service, "connect", next_of(second))) == every[8:11]


def test_an_empty_page_keeps_the_place_of_a_short_one():
    faults = [Fault("short_page", 4, at=1), Fault("empty_page", at=2)]
    with CaseService(30, seed=1, faults=faults) as service:
        every = truth(service)
        second = ask(service, "persona", next_of(ask(service, "persona")))
        assert ids_of(second) == []
        service.delete(every[0])
        assert ids_of(ask(service, "persona", next_of(second))) == every[4:11]


def test_a_bookmark_that_is_none_is_refused_like_any_token(service):
    service.faults.append(Fault("short_page", 5, at=1))
    token = next_of(ask(service, "connect"))
    for wrong in (token[:-9], token + "x", "case_again-W10=", "case_again-WzEsMiwzXQ=="):
        assert ask(service, "connect", wrong).status_code == 400
    body = {"page": {"size": 10, "after": "case_again-W10="}}
    assert persona_search(service, body).status_code == 400


def test_persona_cursors_in_the_body_are_followed_too(service):
    """The documentation has the cursor in the body, links have it in the query string."""
    service.faults.append(Fault("short_page", 4, at=1))
    sort = {"attribute": "created_at", "direction": "asc"}
    first = persona_search(service, {"page": {"size": 10}, "sort": sort})
    link = next_of(first)
    assert "page%5Bsize%5D=10" in link
    after = dict(parse_qsl(urlsplit(link).query))["page[after]"]
    second = persona_search(service, {"page": {"size": 10, "after": after}, "sort": sort})
    assert ids_of(first) + ids_of(second) == truth(service)[:10]


def test_lists_are_paged_badly_too(service):
    service.faults.append(Fault("short_page", 3, operation="list_fields", at=1))
    service.faults.append(Fault("short_page", 3, operation="list_cases", at=1))
    every = post_connect(service, b"", "fields-list")
    rest = post_connect(service, b"", f"fields-list?nextToken={every.json()['nextToken']}")
    service.faults.clear()
    whole = post_connect(service, b"", "fields-list").json()["fields"]
    assert [*every.json()["fields"], *rest.json()["fields"]] == whole
    service.faults.append(Fault("short_page", 3, operation="list_cases", at=1))
    one = persona(service, "GET", "/api/v1/cases", params={"page[size]": 5})
    two = persona(service, "GET", next_of(one))
    assert (len(cases_of(one)), len(cases_of(two))) == (3, 2)
    assert not set(ids_of(one)) & set(ids_of(two))


def test_a_link_made_for_the_last_page_is_as_the_services_own(service):
    """A list's links keep what was asked; a search's have the place and the size alone."""
    service.faults.append(Fault("short_page", 40, operation="list_cases"))
    asked = {"page[size]": "50", "fields[case]": "status"}
    link = next_of(persona(service, "GET", "/api/v1/cases", params=asked))
    sent = dict(parse_qsl(urlsplit(link).query))
    assert sent.pop("page[after]")
    assert sent == asked
    assert len(cases_of(persona(service, "GET", link))) == 5
    service.faults.append(Fault("short_page", 3))
    link = next_of(persona_search(service, {"page": {"size": 45}}, {"fields[case]": "status"}))
    assert set(dict(parse_qsl(urlsplit(link).query))) == {"page[after]", "page[size]"}
    assert dict(parse_qsl(urlsplit(link).query))["page[size]"] == "45"


@pytest.mark.parametrize("wire", WIRES)
@pytest.mark.parametrize(("version", "newer"), [(None, 0), ("older", 60)])
def test_a_case_stands_on_two_pages(service, wire, version, newer):
    service.faults.append(Fault("repeated_case", version, at=2))
    pages, _ = walk(service, wire)
    assert pages[1][-1] == pages[2][0]
    assert flat([*pages[:2], pages[2][1:], *pages[3:]]) == truth(service)
    service.faults.clear()
    service.faults.append(Fault("repeated_case", version, at=1))
    one = ask(service, wire)
    two = ask(service, wire, next_of(one))
    first, second = (updated(cases_of(one)[-1]), updated(cases_of(two)[0]))
    assert (second - first).total_seconds() == newer


def updated(case):
    if "caseId" in case:
        told = {one["id"]: one["value"] for one in case["fields"]}
        return datetime.fromisoformat(told["last_updated_datetime"]["stringValue"])
    return datetime.fromisoformat(case["attributes"]["updated-at"])


def test_an_older_version_that_does_not_show_its_time_is_the_same(service):
    service.faults.append(Fault("repeated_case", "older"))
    page = post_connect(service, {"maxResults": 5, "fields": [{"id": "title"}]}).json()
    service.faults.clear()
    well = post_connect(service, {"maxResults": 5, "fields": [{"id": "title"}]}).json()
    assert page["cases"] == well["cases"]


@pytest.mark.parametrize("wire", WIRES)
def test_the_same_token_comes_twice(service, wire):
    service.faults.append(Fault("same_token", at=3))
    pages, tokens = walk(service, wire)
    assert tokens[1] == tokens[2]
    assert pages[2] == pages[3]
    assert flat([*pages[:3], *pages[4:]]) == truth(service)
    service.faults.clear()
    service.faults.append(Fault("same_token"))
    pages, tokens = walk(service, wire)
    assert len(pages) == 12
    assert len(set(tokens)) == 1, "for ever, from the first token on"


@pytest.mark.parametrize("wire", WIRES)
def test_tokens_go_round_in_a_cycle(service, wire):
    service.faults.append(Fault("token_cycle"))
    for _ in range(2):
        pages, tokens = walk(service, wire)
        a, b = tokens[:2]
        assert a != b
        assert tokens == [a, b] * 6
        assert pages[1] == pages[3] != pages[2] == pages[4]
    service.faults.clear()
    service.faults.append(Fault("token_cycle", after=1, first=2))
    pages, tokens = walk(service, wire)
    assert tokens[1] == tokens[3] or tokens[0] == tokens[2], "round once"
    assert set(flat(pages)) == set(truth(service)), "and then to the end"
    service.faults.append(Fault("token_cycle"))
    assert walk(service, wire, size=50) == ([truth(service)], []), "one page has no token"


@pytest.mark.parametrize("wire", WIRES)
def test_no_token_ends_the_walk_early(service, wire):
    service.faults.append(Fault("no_token", at=3))
    pages, _ = walk(service, wire)
    assert flat(pages) == truth(service)[:30]
    service.faults.clear()
    service.faults.append(Fault("no_token"))
    body = ask(service, wire).json()
    assert "nextToken" not in body
    assert "next" not in body.get("links", {})


@pytest.mark.parametrize("wire", WIRES)
@pytest.mark.parametrize("value", ["", None, "rubbish", 7])
def test_anything_stands_in_the_place_of_the_token(service, wire, value):
    service.faults.append(Fault("token", value))
    body = ask(service, wire).json()
    held = body if wire == "connect" else body["links"]
    assert held["nextToken" if wire == "connect" else "next"] == value


@pytest.mark.parametrize("wire", WIRES)
def test_a_token_expires_on_the_third_page(service, wire):
    service.faults.append(Fault("expired_token", at=3))
    first = ask(service, wire)
    second = ask(service, wire, next_of(first))
    third = ask(service, wire, next_of(second))
    assert third.status_code == 400
    assert "expired" in third.text
    assert ask(service, wire, next_of(second)).status_code == 200
    service.faults.clear()
    service.faults.append(Fault("expired_token"))
    assert ask(service, wire).status_code == 200, "there is no token on the first page"


def test_a_stock_client_names_an_expired_token(service):
    service.faults.append(Fault("expired_token", at=2))
    paginator = connect_client(service).get_paginator("search_cases")
    pages = iter(paginator.paginate(domainId=service.domain_id, maxResults=10))
    next(pages)
    with pytest.raises(ClientError, match="ValidationException"):
        next(pages)


@pytest.mark.parametrize("origin", ["https://elsewhere.example", "https://a:b@elsewhere.example/"])
def test_a_link_leads_to_a_foreign_host(service, origin):
    service.faults.append(Fault("absolute_link", origin))
    assert next_of(ask(service, "persona")).startswith(f"{origin.rstrip('/')}{PATH}?page")


def test_an_absolute_link_to_the_service_can_be_followed(service):
    service.faults.append(Fault("absolute_link"))
    pages, tokens = walk(service, "persona")
    assert all(link.startswith(service.url) for link in tokens)
    assert flat(pages) == truth(service)
    assert service.faults.happened() == 4, "the last page has no link"
    assert ask(service, "connect").status_code == 200


@pytest.mark.parametrize("more", [10, -3, -100])
def test_the_total_is_not_that_of_the_rows(service, more):
    service.faults.append(Fault("total", more))
    assert ask(service, "connect").json()["totalCount"] == max(45 + more, 0)
    assert ask(service, "persona").status_code == 200


def test_the_total_moves(service):
    service.faults.append(Fault("moving_total", 2))
    totals = [ask(service, "connect").json()["totalCount"] for _ in range(3)]
    assert totals == [47, 49, 51]
    service.faults.clear()
    service.faults.append(Fault("total", 5, operation="list_fields"))
    assert "totalCount" not in post_connect(service, b"", "fields-list").json()


# --- answers ----------------------------------------------------------------------------------


@pytest.mark.parametrize("wire", WIRES)
def test_broken_bodies_come_with_status_200(service, wire):
    whole = ask(service, wire)
    for fault, content in (
        (Fault("empty", at=1), b""),
        (Fault("truncated", at=1), whole.content[: len(whole.content) // 2]),
        (Fault("body", {}, at=1), b"{}"),
        (Fault("body", {"cases": None}, at=1), b'{"cases":null}'),
        (Fault("body", "é", at=1), b'"\xc3\xa9"'),
        (Fault("body", b"\x00{", at=1), b"\x00{"),
        (Fault("not_utf8", at=1), whole.content.replace(b'":"', b'":"\xff')),
    ):
        service.faults.append(fault)
        answer = ask(service, wire)
        assert (answer.status_code, answer.content) == (200, content), fault
        assert answer.headers["Content-Length"] == str(len(content))
        assert answer.headers["Content-Type"] == whole.headers["Content-Type"]
        service.faults.clear()
    assert ask(service, wire).content == whole.content


@pytest.mark.parametrize("wire", WIRES)
def test_a_page_of_html_comes_instead(service, wire):
    service.faults.append(Fault("html", at=1))
    service.faults.append(Fault("html", status=502, at=2))
    answers = [ask(service, wire) for _ in range(2)]
    assert [answer.status_code for answer in answers] == [200, 502]
    assert all(answer.headers["Content-Type"].startswith("text/html") for answer in answers)
    assert all(answer.text.startswith("<!DOCTYPE html>") for answer in answers)


@pytest.mark.parametrize("wire", WIRES)
def test_gzip_that_nobody_asked_for(service, wire):
    whole = ask(service, wire).content
    service.faults.append(Fault("gzip"))
    assert ask(service, wire).content == whole, "requests unpacks it"
    with pytest.raises((UnicodeDecodeError, ResponseParserError)):
        connect_client(service).search_cases(domainId=service.domain_id)
    link = http.client.HTTPConnection("127.0.0.1", service.port, timeout=10)
    headers = {"Authorization": f"Bearer {service.token}", "Accept-Encoding": "identity"}
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
def test_a_value_of_any_shape_stands_in_one_field(service, value):
    well = ask(service, "connect").json()
    service.faults.append(Fault("value", value, field="title"))
    bad = ask(service, "connect").json()
    assert bad["cases"][1:] == well["cases"][1:]
    kept = [one for one in bad["cases"][0]["fields"] if one["id"] != "title"]
    told = {one["id"]: one["value"] for one in bad["cases"][0]["fields"]}
    assert told["title"] == value
    assert kept == [one for one in well["cases"][0]["fields"] if one["id"] != "title"]
    service.faults.clear()
    service.faults.append(Fault("value", value))
    assert ask(service, "connect").json()["cases"][0]["fields"][-1]["value"] == value
    service.faults.clear()
    service.faults.append(Fault("value", value, field="nowhere"))
    assert ask(service, "connect").json() == well
    assert service.faults.happened() == 0


def test_a_stock_client_stumbles_over_a_null_in_a_union(service):
    service.faults.append(Fault("value", {"booleanValue": None}, wire="connect"))
    with pytest.raises(ResponseParserError):
        connect_client(service).search_cases(domainId=service.domain_id, fields=SHOWN)


def test_a_value_on_persona_stands_in_a_custom_field_or_an_attribute(service):
    well = ask(service, "persona").json()["data"]
    holder = next(at for at, case in enumerate(well) if "city" in case["attributes"]["fields"])
    last = list(well[0]["attributes"]["fields"])[-1]
    for field, at, name in (("status", 0, "status"), ("city", holder, "city"), (None, 0, last)):
        service.faults.append(Fault("value", {"odd": 1}, field=field))
        bad = ask(service, "persona").json()["data"]
        service.faults.clear()
        attributes = bad[at]["attributes"]
        held = attributes if field == "status" else attributes["fields"]
        assert held[name] == {"odd": 1}
        kept = well[at]["attributes"]
        held[name] = (kept if field == "status" else kept["fields"])[name]
        assert bad == well, "and nothing else"
    service.faults.append(Fault("value", 1, field="nowhere"))
    assert ask(service, "persona").json()["data"] == well


@pytest.mark.parametrize(("wire", "member"), [("connect", "tags"), ("persona", "relationships")])
def test_a_member_is_missing(service, wire, member):
    assert all(member in case for case in cases_of(ask(service, wire)))
    service.faults.append(Fault("without", member))
    assert not any(member in case for case in cases_of(ask(service, wire)))
    service.faults.append(Fault("without", "no such member"))
    ask(service, wire)
    assert service.faults.happened(Fault("without", "no such member")) == 0


@pytest.mark.parametrize("asked", ["kebab", "snake", "camel"])
@pytest.mark.parametrize("sent", ["kebab", "snake", "camel"])
def test_keys_come_in_another_inflection(service, asked, sent):
    """What comes must be what the service itself sends when asked for that inflection."""
    well = persona_search(service, {"page": {"size": 45}}, Key_Inflection=sent).json()["data"]
    service.faults.append(Fault("keys", sent))
    bad = persona_search(service, {"page": {"size": 45}}, Key_Inflection=asked).json()["data"]
    assert bad == well
    assert any(case["attributes"]["attachments"] for case in well)
    service.faults.append(Fault("without", "relationships"))
    service.faults.append(Fault("keys", sent))
    assert persona_search(service, {}).status_code == 200


def test_custom_values_come_bare():
    """What comes must be what the service sends when it has bare values throughout."""
    body = {"page": {"size": 60}}
    with CaseService(60, seed=4, now=NOW, wrapped=False) as service:
        bare = persona_search(service, body).json()["data"]
    with CaseService(60, seed=4, now=NOW) as service:
        well = persona_search(service, body).json()["data"]
        service.faults.append(Fault("bare_fields", at=1))
        assert persona_search(service, body).json()["data"] == bare != well
        service.faults.append(Fault("bare_fields"))
        sparse = persona_search(service, body, {"fields[case]": "status"})
        assert sparse.status_code == 200
        assert service.faults.happened() == 1
    with CaseService(60, seed=4, now=NOW, wrapped=False, faults=[Fault("bare_fields")]) as service:
        assert persona_search(service, body).json()["data"] == bare


def test_headers_are_set_and_left_out(service):
    service.faults.append(Fault("headers", {"ratelimit-limit": None, "RateLimit-Remaining": "0"}))
    answer = ask(service, "persona")
    assert "RateLimit-Limit" not in answer.headers
    assert answer.headers["RateLimit-Remaining"] == "0"
    assert answer.json()["data"]


def test_what_is_no_page_is_left_alone(service):
    """A page fault on a refusal, an error or a broken body has no occasion."""
    page_faults = [Fault("short_page", 1), Fault("without", "id"), Fault("long_page", 1)]
    for broken in (Fault("error"), Fault("truncated"), Fault("body", [1]), Fault("body", {})):
        for fault in (broken, *page_faults):
            service.faults.append(fault)
        for wire in WIRES:
            assert ask(service, wire).status_code in (200, 500)
        assert service.faults.happened() == 2
        service.faults.clear()
    for fault in page_faults:
        service.faults.append(fault)
    assert post_connect(service, {"maxResults": 0}).status_code == 400
    assert post_connect(service, b"[]").status_code == 400
    assert post_connect(service, b"{").status_code == 400


def test_a_page_that_cannot_be_lengthened_is_left_alone(service):
    """The page to take cases from is broken by an earlier fault, the first one is not."""
    service.faults.append(Fault("expired_token"))
    service.faults.append(Fault("long_page", 3))
    assert len(ids_of(ask(service, "connect"))) == 10
    assert service.faults.happened(Fault("long_page", 3)) == 0


# --- refusals ---------------------------------------------------------------------------------


@pytest.mark.parametrize("wire", WIRES)
@pytest.mark.parametrize(
    ("value", "told"),
    [(2, "2"), (0.5, "0.5"), ("soon", "soon"), ("", ""), ("-1", "-1"), (None, None)],
)
def test_a_throttle_tells_when_to_come_back(service, wire, value, told):
    service.faults.append(Fault("throttle", value))
    answer = ask(service, wire)
    assert (answer.status_code, answer.headers.get("Retry-After")) == (429, told)
    assert answer.json()


def test_a_throttle_tells_a_date_of_the_services_clock(service):
    service.faults.append(Fault("throttle", timedelta(seconds=90)))
    answer = ask(service, "connect")
    told = parsedate_to_datetime(answer.headers["Retry-After"])
    assert told - parsedate_to_datetime(answer.headers["Date"]) in (
        timedelta(seconds=89), timedelta(seconds=90), timedelta(seconds=91),
    )  # fmt: skip


def test_a_stock_client_names_the_throttle(service):
    service.faults.append(Fault("throttle", wire="connect"))
    with pytest.raises(ClientError, match="ThrottlingException"):
        connect_client(service).search_cases(domainId=service.domain_id)


@pytest.mark.parametrize(
    ("status", "code"),
    [(400, "ValidationException"), (401, "UnrecognizedClientException"),
     (403, "AccessDeniedException"), (404, "ResourceNotFoundException"),
     (422, "ValidationException"), (500, "InternalServerException"),
     (520, "InternalServerException")],
)  # fmt: skip
def test_errors_have_the_documented_shape(service, status, code):
    service.faults.append(Fault("error", status=status))
    told = ask(service, "connect")
    assert (told.status_code, told.headers["x-amzn-ErrorType"]) == (status, code)
    assert told.json()["message"]
    told = ask(service, "persona")
    assert told.status_code == status
    assert told.json()["errors"][0]["title"]
    with pytest.raises(ClientError, match=code):
        connect_client(service).search_cases(domainId=service.domain_id)


@pytest.mark.parametrize("status", [None, 301, 307])
@pytest.mark.parametrize("wire", WIRES)
def test_a_redirect_leads_elsewhere(service, wire, status):
    target = f"{service.url}/api/v1/rate-limits"
    service.faults.append(Fault("redirect", target, status=status))
    followed = ask(service, "persona")
    assert (followed.status_code, followed.headers["Location"]) == (status or 302, target)
    if wire == "connect":
        again = ask(service, wire)
        landed = again.request.method
        assert landed == ("POST" if status == 307 else "GET"), "requests follows it"


# --- delivery ---------------------------------------------------------------------------------


def search(service):
    link = http.client.HTTPConnection("127.0.0.1", service.port, timeout=10)
    try:
        link.request("POST", PATH, b"{}", {"Authorization": f"Bearer {service.token}"})
        answer = link.getresponse()
        return answer, answer.read()
    finally:
        link.close()


def test_a_reply_is_late_from_the_requests_arrival(service):
    service.faults.append(Fault("latency", 0.12, at=2))
    times = []
    for _ in range(2):
        begun = time.monotonic()
        assert ask(service, "connect").status_code == 200
        times.append(time.monotonic() - begun)
    assert times[1] >= 0.12


def test_latency_holds_what_the_service_itself_needs(monkeypatch):
    """A delay on top of the service's own time would make a replay slower than what it replays."""
    with CaseService(2, latency=0.5) as service:
        routed, stop = service._routed, threading.Event()
        monkeypatch.setattr(service, "_routed", lambda request: stop.wait(0.5) or routed(request))
        begun = time.monotonic()
        assert ask(service, "connect").status_code == 200
        assert 0.5 <= time.monotonic() - begun < 0.95


def test_a_late_reset_is_late_and_a_reset(service):
    service.faults.append(Fault("reset", "before"))
    service.faults.append(Fault("latency", 0.05))
    begun = time.monotonic()
    with pytest.raises(ConnectionResetError) as caught:
        search(service)
    assert not isinstance(caught.value, http.client.RemoteDisconnected)
    assert time.monotonic() - begun >= 0.05


def test_latency_is_an_option_of_the_service_and_drawn_from_a_seed():
    def delays(seed):
        faults = [Fault("latency", (0.0, 0.02), seed=seed)]
        with CaseService(2, faults=faults, latency=0.001) as service:
            sent = []
            send = service._routed
            service._server.answer = lambda request: (
                sent.append(service.faults.answer(request, send)) or sent[-1]
            )
            for _ in range(3):
                ask(service, "connect")
            post_connect(service, b"", "fields-list")
            return [reply.delivery.delay for reply in sent]

    one = delays(1)
    assert one == delays(1) != delays(2)
    assert all(0.001 <= delay <= 0.02 for delay in one)
    assert len(set(one)) == 4
    assert one[-1] == 0.001, "the option holds for every request, the fault for searches"
    with CaseService(2) as service:
        assert len(service.faults) == 0


def test_silence_ends_without_a_byte(service):
    service.faults.append(Fault("silence", 0.1, at=1))
    service.faults.append(Fault("silence", 0, at=2))
    begun = time.monotonic()
    with pytest.raises(http.client.RemoteDisconnected):
        search(service)
    assert time.monotonic() - begun >= 0.1
    with pytest.raises(http.client.RemoteDisconnected):
        search(service)
    assert search(service)[0].status == 200
    service.faults.append(Fault("silence", 30))
    with pytest.raises(requests.ReadTimeout):
        requests.post(f"{service.url}/domains/x/cases-search", timeout=0.1)


def test_silence_does_not_outlive_the_service():
    before = set(threading.enumerate())
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with CaseService(2, faults=[Fault("silence", 60), Fault("latency", 60)]) as service:
            with pytest.raises(requests.ReadTimeout):
                requests.post(f"{service.url}/domains/x/cases-search", timeout=0.1)
            begun = time.monotonic()
    assert time.monotonic() - begun < 10
    assert set(threading.enumerate()) == before


@pytest.mark.parametrize("where", ["before", "in", "after"])
def test_the_connection_is_reset(service, where):
    """An orderly end would raise RemoteDisconnected or IncompleteRead, not a reset."""
    service.faults.append(Fault("reset", where, at=1))
    with pytest.raises(ConnectionResetError) as caught:
        search(service)
    assert not isinstance(caught.value, http.client.RemoteDisconnected)
    assert search(service)[0].status == 200
    service.faults.append(Fault("reset", where, wire="connect"))
    with pytest.raises((HTTPClientError, EndpointConnectionError)):
        connect_client(service).search_cases(domainId=service.domain_id)


def received(service, fault):
    """Return every byte that comes before the connection ends."""
    service.faults.append(fault)
    request = f"POST {PATH} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {service.token}\r\n\r\n"
    link = http.client.HTTPConnection("127.0.0.1", service.port, timeout=10)
    link.connect_cases()
    link.sock.sendall(request.encode())
    chunks, reset = [], False
    try:
        while chunk := link.sock.recv(65536):
            chunks.append(chunk)
    except ConnectionResetError:
        reset = True
    link.close()
    return b"".join(chunks), reset


def test_a_reset_comes_before_in_or_after_the_head(service):
    assert received(service, Fault("reset", "before", at=1)) == (b"", True)
    sent, reset = received(service, Fault("reset", "in", at=1))
    assert reset
    assert sent.startswith(b"HTTP/1.1 200 OK\r\n")
    assert b"\r\n\r\n" not in sent
    sent, reset = received(service, Fault("reset", "after", at=1))
    assert reset
    assert b"\r\n\r\n" in sent


def test_a_body_is_shorter_than_it_says(service):
    sent, reset = received(service, Fault("short_body", at=1))
    head, _, body = sent.partition(b"\r\n\r\n")
    length = int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0])
    assert 0 < len(body) < length
    assert not reset
    service.faults.clear()
    service.faults.append(Fault("short_body"))
    with pytest.raises(http.client.IncompleteRead):
        search(service)
    client = connect_client(service)
    with pytest.raises(AssertionError, match='Missing required parameter in input: "cases"'):
        client.search_cases(domainId=service.domain_id)  # boto3 itself takes it for an answer


def test_faulty_requests_are_told_like_any_other(service):
    service.requests.clear()
    service.faults.append(Fault("throttle", at=1))
    ask(service, "connect")
    ask(service, "connect")
    assert [one.status for one in service.requests] == [429, 200]
    assert SIGNATURE not in repr(service.requests)
