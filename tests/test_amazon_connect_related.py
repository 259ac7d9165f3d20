"""Answers about one case as no good service gives them: what of them becomes rows."""

import json
import traceback

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

import casesearch_pd as cs
from casesearch_pd.sources.amazon_connect.related import event_rows
from tests.wire_clients import SECRET, SESSION, Clock, connect, tuned
from tests.wire_stub import (
    HANG,
    RESET,
    Stub,
    broken_answers,
    connect_domain,
    connect_error,
    connect_pages,
    ok,
    script,
)

AT = "2026-03-14T09:30:00.000Z"
LISTS = {
    "audit-history": (cs.read_events, "auditEvents"),
    "related-items-search": (cs.read_related, "relatedItems"),
}


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    with tuned(max_fault_attempts=2, read_timeout=0.3):
        yield Clock.installed(monkeypatch)


def event(number=1, *, at=AT, kind="Case.Updated", fields=(), **more):
    """Write an entry of GetCaseAuditEvents; `fields` are (id, old union, new union)."""
    details = [
        {"eventFieldId": name, "newValue": new, **({} if old is None else {"oldValue": old})}
        for name, old, new in fields
    ]
    return {"eventId": f"e-{number}", "type": kind, "performedTime": at, "fields": details, **more}


def item(number=1, kind="Comment", at=AT, **content):
    """Write an entry of SearchRelatedItems."""
    return {"relatedItemId": f"r-{number}", "type": kind, "associationTime": at, "content": content}


def service(around):
    """Answer as a domain without cases to search, and by `around` about single ones."""
    domain = connect_domain(connect_pages([]))
    return lambda request: (
        around(request) if request.path.endswith(tuple(LISTS)) else domain(request)
    )


def items_of_page(*pages):
    """Answer with these pages of entries; the token is the number of the page."""

    def reply(request):
        at = int(request.json.get("nextToken") or 0)
        name = LISTS[request.path.rsplit("/", 1)[1]][1]
        token = str(at + 1) if at + 1 < len(pages) else None
        return ok({name: pages[at], "nextToken": token})

    return reply


def events_of(*entries, deaf=False):
    with Stub(service(items_of_page(list(entries)))) as stub:
        source = connect(stub)
        if deaf:
            handler = source.connection.keep_body
            source.client.meta.events.unregister("before-parse.connectcases", handler)
        return cs.read_events(source, ["c1"])


def related_of(*entries):
    with Stub(service(items_of_page(list(entries)))) as stub:
        return cs.read_related(connect(stub), ["c1"])


# --- values -------------------------------------------------------------------------------------

VALUES = {
    "text": ({"stringValue": "a"}, "a"),
    "empty text": ({"stringValue": ""}, ""),
    "a whole number": ({"doubleValue": 38}, "38"),
    "a whole number with a point": ({"doubleValue": 38.0}, "38"),
    "a fraction": ({"doubleValue": 0.1}, "0.1"),
    "more than a double holds": ({"doubleValue": 2**53 + 1}, "9007199254740993"),
    "true": ({"booleanValue": True}, "true"),
    "false": ({"booleanValue": False}, "false"),
    "a user": ({"userArnValue": "arn:u"}, "arn:u"),
    "nothing": ({"emptyValue": {}}, None),
    "null in a union": ({"booleanValue": None}, None),
    "an empty union": ({}, None),
    "two members": ({"stringValue": "a", "doubleValue": None}, "a"),
    "null for a union": (None, None),
}


@pytest.mark.parametrize("name", VALUES)
def test_values_become_text(name):
    """The union has five members, and a null in one would cost botocore the whole answer."""
    union, text = VALUES[name]
    result = events_of(event(fields=[("title", {"stringValue": "old"}, union)]))
    assert result["new"].astype(object).where(result["new"].notna(), None).tolist() == [text]
    assert result["old"].tolist() == ["old"]


@given(st.floats(allow_nan=False, allow_infinity=False) | st.integers(-(2**70), 2**70))
def test_no_digit_of_a_number_is_lost(number):
    details = event(fields=[("n", {"doubleValue": number}, {"doubleValue": number})])
    (row,) = event_rows(details, lambda name: name)
    assert type(number)(row["new"]) == number
    assert row["old"] == row["new"]


def test_a_value_of_no_known_form_costs_itself():
    with pytest.warns(UserWarning, match=r"new \(1\)"):
        result = events_of(
            event(1, fields=[("title", None, {"colourValue": "red"})]),
            event(2, at="2026-03-14T09:31:00.000Z", fields=[("title", None, {"stringValue": "b"})]),
        )
    assert result["new"].isna().tolist() == [True, False]


def test_fields_go_by_their_columns_and_deleted_ones_by_their_id():
    union = {"stringValue": "x"}
    names = ["f-text", "created_datetime", "f-gone"]
    result = events_of(event(fields=[(name, None, union) for name in names]))
    assert result["field"].tolist() == ["note", "created_at", "f-gone"]


WHO = {
    "a user": ({"user": {"userArn": "arn:u"}, "iamPrincipalArn": "arn:role"}, "arn:u"),
    "another entity": ({"user": {"customEntity": "bot"}, "iamPrincipalArn": "arn:role"}, "bot"),
    "a role": ({"iamPrincipalArn": "arn:role"}, "arn:role"),
    "nobody": (None, None),
}


@pytest.mark.parametrize("name", WHO)
def test_who_did_it(name):
    details, who = WHO[name]
    result = events_of(event(performedBy=details))
    assert result["by"].astype(object).where(result["by"].notna(), None).tolist() == [who]


def test_an_event_without_fields_has_its_row():
    gone = event(2, kind="RelatedItem.Deleted", relatedItemType="File", fields=())
    merged = event(3, kind="Case.Merged", mergeMetadata={"primaryCaseId": "c1"})
    result = events_of(event(1, kind="RelatedItem.Created", relatedItemType="Sla"), gone, merged)
    assert result["event"].tolist() == ["RelatedItem.Created", "RelatedItem.Deleted", "Case.Merged"]
    assert result["new"].fillna("-").tolist() == ["Sla", "-", "-"]
    assert result["old"].fillna("-").tolist() == ["-", "File", "-"]
    assert result["field"].isna().all()


def test_a_service_that_tells_the_newest_first_gives_the_same_order():
    """Two changes of one moment would otherwise change places, and a status with them."""
    details = [
        event(number, at=at, fields=[("status", None, {"stringValue": str(number)})])
        for number, at in enumerate([AT, AT, "2026-03-14T10:00:00.000Z", "2026-03-15T10:00:00Z"])
    ]
    forwards, backwards = events_of(*details), events_of(*details[::-1])
    assert forwards["new"].tolist() == ["0", "1", "2", "3"]
    pd.testing.assert_frame_equal(forwards, backwards)


def test_an_entry_that_comes_twice_is_there_once():
    """A cursor may be an offset: what is added meanwhile pushes entries onto the next page."""
    first = [event(number, at=f"2026-03-14T09:3{number}:00.000Z") for number in range(3)]
    with Stub(
        service(items_of_page(first, [first[2], event(9, at="2026-03-15T00:00:00Z")]))
    ) as stub:
        assert len(cs.read_events(connect(stub), ["c1"])) == 4
    items = [item(number, comment={"body": "b"}) for number in range(3)]
    with Stub(service(items_of_page(items, items[1:]))) as stub:
        assert len(cs.read_related(connect(stub), ["c1"])) == 3


def test_a_botocore_that_calls_no_handler_gives_the_same_frame():
    details = [
        event(1, fields=[("title", {"stringValue": "a"}, {"doubleValue": 3})]),
        event(2, at="2026-03-15T00:00:00.5Z", performedBy={"iamPrincipalArn": "arn:role"}),
    ]
    pd.testing.assert_frame_equal(events_of(*details, deaf=True), events_of(*details))


def test_all_kinds_of_items_are_flattened():
    custom = {"fields": [{"id": "f-num", "value": {"doubleValue": 2}}, {"id": "x", "value": {}}]}
    sla = {"name": "answer", "type": "CaseField", "status": "Met", "targetTime": AT}
    sla |= {"fieldId": "f-text", "targetFieldValues": [{"booleanValue": True}]}
    sla |= {"completionTime": "2026-03-14T09:31:00.000Z"}
    result = related_of(
        item(1, "Custom", custom=custom),
        item(2, "ConnectCase", connectCase={"caseId": "c2"}),
        item(3, "Sla", sla={"slaConfiguration": sla}),
        item(4, "Hologram", hologram={"depth": 3}),
        {**item(5, "Comment", comment=None), "tags": {"b": None, "a": "x"}},
    ).set_index("related_id")
    assert result["kind"].tolist() == ["custom", "case", "sla", "hologram", "comment"]
    assert json.loads(result.loc["r-1", "custom"]) == {"amount": "2", "x": None}
    assert result.loc["r-2", "other_case_id"] == "c2"
    assert result.loc["r-3", ["sla_name", "sla_status", "sla_field", "sla_target"]].tolist() == [
        "answer", "Met", "note", "true",
    ]  # fmt: skip
    assert result.loc["r-3", "sla_completed_at"] == pd.Timestamp("2026-03-14T09:31Z")
    rest = result.columns.difference(["case_id", "kind", "at", "tags"])
    assert result.loc[["r-4", "r-5"], rest].isna().all(axis=None)
    assert result.loc["r-5", "tags"] == ["a=x", "b="]


# --- no answers ---------------------------------------------------------------------------------

WHOLE = {
    "audit-history": {"auditEvents": [event(fields=[("title", None, {"stringValue": "word"})])]},
    "related-items-search": {"relatedItems": [item(comment={"body": "word"})]},
}
ENTRIES = {
    "an entry without an id": [{"type": "Case.Updated"}],
    "an entry without a type": [{"eventId": "e", "relatedItemId": "r"}],
    "an entry that is none": ["x"],
    "a token that is no text": None,
}


def broken(path):
    whole = json.dumps(WHOLE[path]).encode()
    ids = {"audit-history": b'"e-', "related-items-search": b'"r-'}
    details = broken_answers(whole, members=LISTS[path][1], word=ids[path])
    details |= {name: ok({LISTS[path][1]: values}) for name, values in ENTRIES.items() if values}
    details["a token that is no text"] = ok({LISTS[path][1]: [], "nextToken": 7})
    return details


@pytest.mark.parametrize("path", LISTS)
@pytest.mark.parametrize("fault", broken("audit-history"))
def test_an_invalid_response_is_not_an_empty_history(path, fault):
    """Botocore takes most of these for a case to which nothing ever happened."""
    read = LISTS[path][0]
    with Stub(service(lambda _: broken(path)[fault])) as stub:
        with pytest.raises(cs.InvalidResponseError):
            read(connect(stub), ["c1"])
        assert len(stub.requests) == 2, "it was worth another try"
    with Stub(service(script(broken(path)[fault], ok(WHOLE[path])))) as stub:
        assert len(read(connect(stub), ["c1"])) == 1


@pytest.mark.parametrize("path", LISTS)
def test_a_wrong_byte_costs_its_cell_and_is_said(path):
    whole = json.dumps(WHOLE[path]).encode()
    with Stub(service(lambda _: ok(whole.replace(b"word", b"w\xffrd")))) as stub:
        with pytest.warns(UserWarning, match=r"(new|body) \(1\)"):
            frame = LISTS[path][0](connect(stub), ["c1"])
        assert sum("/cases/c1/" in one.path for one in stub.requests) == 1
    assert (frame == "w\ufffdrd").to_numpy().sum() == 1


@pytest.mark.parametrize("path", LISTS)
def test_a_cursor_that_does_not_advance_is_refused(path):
    read, name = LISTS[path]
    turn = {"": "a", "a": "b", "b": "a"}
    entry = WHOLE[path][name]

    def reply(request):
        return ok({name: entry, "nextToken": turn[request.json.get("nextToken", "")]})

    with Stub(service(reply)) as stub:
        with pytest.raises(cs.InvalidResponseError, match=r"of case 'c1' .* does not advance"):
            read(connect(stub), ["c1"])
        assert len([one for one in stub.requests if one.path.endswith(path)]) == 2 * 3


@pytest.mark.parametrize("path", LISTS)
def test_empty_pages_are_followed_but_not_for_ever(path):
    read, name = LISTS[path]
    with Stub(service(items_of_page([], [], WHOLE[path][name]))) as stub:
        assert len(read(connect(stub), ["c1"])) == 1
    with Stub(service(items_of_page(*[[]] * 60))) as stub:
        with pytest.raises(cs.InvalidResponseError):
            read(connect(stub), ["c1"])
        assert len(stub.requests) < 50


def test_nothing_more_is_asked_for_after_a_failure():
    """A service that refuses one case would be asked for thousands in vain."""
    replies = script(ok({"relatedItems": []}), connect_error(400, "ValidationException"))
    with Stub(service(replies)) as stub:
        with pytest.raises(cs.IncompleteReadError, match="c1") as broken:
            cs.read_related(connect(stub), [f"c{number}" for number in range(30)])
        assert len(stub.requests) == 2
    assert len(broken.value.missing) == 29


def missing(**details):
    status, headers, _ = connect_error(404, "ResourceNotFoundException")
    return status, headers, json.dumps({"message": "not found", **details}).encode()


@pytest.mark.parametrize(
    ("details", "gone"),
    [
        ({"resourceType": "Case", "resourceId": "c1"}, True),
        ({"resourceType": "CASE"}, True),
        ({"resourceId": "arn:aws:cases:us-east-1:1:domain/d/case/c1"}, True),
        ({"resourceType": "Domain", "resourceId": "domain 1"}, False),
        ({}, False),
    ],
)
def test_only_a_case_that_is_not_found_is_gone(details, gone):
    """An unknown domain, or a proxy's own 404, would make all histories empty."""
    with Stub(service(lambda _: missing(**details))) as stub:
        if gone:
            with pytest.warns(UserWarning, match=r"no longer exist \(1\).*: c1;"):
                assert len(cs.read_events(connect(stub), ["c1"])) == 0
        else:
            with pytest.raises(cs.NotFoundError):
                cs.read_events(connect(stub), ["c1"])


FAULTS = {
    "400": connect_error(400, "ValidationException"),
    "403": connect_error(403, "AccessDeniedException"),
    "500": connect_error(500, "InternalServerException"),
    "cut short": ok(b'{"auditEvents": ['),
    "a reset": RESET,
    "no answer": HANG,
}


@pytest.mark.parametrize("fault", FAULTS)
def test_no_error_carries_a_credential(fault):
    with Stub(service(lambda _: FAULTS[fault])) as stub:
        with pytest.raises(cs.ServiceError) as raised:
            cs.read_events(connect(stub), ["c1"])
        assert stub.requests[0].headers["x-amz-security-token"] == SESSION
    text = "".join(traceback.format_exception(raised.value))
    shown = f"{text} {[vars(one) for one in (raised.value, raised.value.__cause__) if one]}"
    assert SESSION not in shown
    assert SECRET not in shown
