"""`read_events` and `read_related`, with the real clients and the emulator."""

import json
import math
import threading

import boto3
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import casesearch_pd as cs
from tests.emulator_clients import aws, connect_client

EVENT_COLUMNS = ["case_id", "at", "event", "field", "old", "new", "by"]
TEXT = pd.StringDtype(na_value=float("nan"))
SERVICES = ("connect", "persona")


@pytest.fixture(scope="module")
def local():
    with cs.LocalCases(cases=90, seed=4) as emulator:
        # More of everything than one response of 25 entries has.
        emulator.insert(
            {"title": "a long story", "case_comments": [f"cscm_{n:02}" for n in range(60)]}
        )
        yield emulator


@pytest.fixture(scope="module")
def source(local):
    return local.connect_cases()


@pytest.fixture(scope="module")
def cases(source):
    return cs.read_cases(source, columns=["case_id", "title", "status", "created_at"])


@pytest.fixture(scope="module")
def events(source, cases):
    return cs.read_events(source, cases)


@pytest.fixture(scope="module")
def related(source, cases):
    return cs.read_related(source, cases)


@pytest.fixture
def faults(local):
    yield local.faults
    local.faults.clear()


def long_case(cases):
    return cases.loc[cases["title"] == "a long story", "case_id"].item()


# --- compared with boto3 and the AWS CLI ----------------------------------------------------------


def events_of_boto3(client, domain_id, case_id):
    """Read all pages of GetCaseAuditEvents, for which boto3 has no paginator."""
    more = {}
    while True:
        page = client.get_case_audit_events(domainId=domain_id, caseId=case_id, **more)
        yield from page["auditEvents"]
        if not page.get("nextToken"):
            return
        more = {"nextToken": page["nextToken"]}


def to_text(union):
    return next((str(value) for value in union.values() if value != {}), None)


def test_events_equal_those_of_boto3(local, cases, events):
    """One row per changed field, one row for an event without any, and nothing else."""
    client = connect_client(local)
    for case_id in cases["case_id"]:
        rows = events[events["case_id"] == case_id]
        expected = []
        for event in events_of_boto3(client, local.domain_id, case_id):
            performer = event["performedBy"]
            by = performer.get("user", {}).get("userArn") or performer["iamPrincipalArn"]
            common = (pd.Timestamp(event["performedTime"]), event["type"])
            for one in event["fields"]:
                old, new = to_text(one.get("oldValue", {})), to_text(one["newValue"])
                expected.append((*common, one["eventFieldId"], old, new, by))
            if not event["fields"]:
                expected.append((*common, None, None, event["relatedItemType"], by))
        cells = rows.drop(columns="case_id").astype(object)
        assert [*cells.where(cells.notna(), None).itertuples(index=False, name=None)] == expected


def test_events_are_typed_and_sorted(cases, events):
    assert list(events) == EVENT_COLUMNS
    assert events["at"].dtype == "datetime64[us, UTC]"
    assert {events[name].dtype for name in EVENT_COLUMNS if name != "at"} == {TEXT}
    assert set(events["case_id"]) == set(cases["case_id"])
    order = events.sort_values(["case_id", "at"], kind="stable")
    pd.testing.assert_frame_equal(events, order)


def test_the_last_status_of_a_history_is_that_of_the_case(cases, events):
    """Time in status is derived from the history, which must end with the current status."""
    changes = events[events["field"] == "status"].groupby("case_id")["new"].last()
    statuses = cases.dropna(subset="status").set_index("case_id")["status"]
    assert changes.reindex(statuses.index).to_dict() == statuses.to_dict()


def test_related_items_equal_those_of_boto3(local, cases, related):
    pages = connect_client(local).get_paginator("search_all_related_items")
    items = [
        item for page in pages.paginate(domainId=local.domain_id) for item in page["relatedItems"]
    ]
    assert len(items) == len(related) > 60
    rows = related.set_index("related_id")
    for item in items:
        row = rows.loc[item["relatedItemId"]]
        content = next(iter(item["content"].values()))
        sla = content.get("slaConfiguration", {})
        cells = {
            "case_id": item["caseId"],
            "kind": item["type"].lower(),
            "at": pd.Timestamp(item["associationTime"]),
            "by": item.get("performedBy", {}).get("userArn"),
            "contact_arn": content.get("contactArn"),
            "channel": content.get("channel"),
            "connected_at": content.get("connectedToSystemTime"),
            "body": content.get("body"),
            "file_arn": content.get("fileArn"),
            "sla_name": sla.get("name"),
            "sla_status": sla.get("status"),
            "sla_field": sla.get("fieldId"),
            "sla_target": sla.get("targetFieldValues", [{}])[0].get("stringValue"),
            "sla_target_at": sla.get("targetTime"),
        }
        assert {name: None if pd.isna(row[name]) else row[name] for name in cells} == cells
    assert set(related["kind"]) == {"contact", "comment", "file", "sla"}
    assert set(related["case_id"]) <= set(cases["case_id"])


def test_the_aws_cli_returns_the_same_number(local, cases, events, related):
    case_id = long_case(cases)
    arguments = ("--domain-id", local.domain_id, "--case-id", case_id)
    result = aws(local, "search-related-items", *arguments)["relatedItems"]
    assert len(result) == (related["case_id"] == case_id).sum() >= 60
    first = aws(local, "get-case-audit-events", *arguments)["auditEvents"]
    ours = events[events["case_id"] == case_id]
    assert len(first) == 25 < len(ours)
    times = [pd.Timestamp(one["performedTime"]) for one in first]
    assert set(times) <= set(ours["at"])


@pytest.mark.parametrize("kinds", ["contact", ["comment", "sla"], ("file",), ["case", "custom"]])
def test_kinds_are_pushed_to_the_service(local, source, cases, related, kinds):
    before = len(local.requests)
    result = cs.read_related(source, cases, kinds=kinds)
    kinds_in_order = [kinds] if isinstance(kinds, str) else list(kinds)
    expected = related[related["kind"].isin(kinds_in_order)].reset_index(drop=True)
    pd.testing.assert_frame_equal(result, expected)
    spellings = [{"case": "connectCase"}.get(kind, kind) for kind in kinds_in_order]
    for request in local.requests[before:]:
        assert request.body["filters"] == [{kind: {}} for kind in spellings]


# --- which cases ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "as_argument",
    [
        lambda frame: frame,
        lambda frame: frame["case_id"],
        lambda frame: frame["case_id"].astype("string[pyarrow]"),
        lambda frame: pd.Index(frame["case_id"]),
        lambda frame: [*frame["case_id"], *frame["case_id"]],
        lambda frame: (case_id for case_id in frame["case_id"]),
        lambda frame: frame.iloc[::-1],
    ],
)
def test_cases_are_a_frame_or_ids(source, cases, events, as_argument):
    few = cases.head(6)
    result = cs.read_events(source, as_argument(few))
    expected = events[events["case_id"].isin(few["case_id"])].reset_index(drop=True)
    pd.testing.assert_frame_equal(result, expected)


def test_one_id_is_one_case(source, cases, events):
    case_id = cases["case_id"].iloc[3]
    result = cs.read_events(source, case_id)
    assert set(result["case_id"]) == {case_id}
    assert len(result) == (events["case_id"] == case_id).sum()


@pytest.mark.parametrize("read", [cs.read_events, cs.read_related])
def test_no_cases_give_the_same_columns_without_a_request(local, source, cases, read):
    before = len(local.requests)
    empty, one_case = read(source, cases.head(0)), read(source, cases.head(1))
    assert (empty.dtypes == one_case.dtypes).all()
    assert len(empty) == 0
    assert len(local.requests) - before == 1


def test_times_are_in_the_time_zone_of_the_frame(source, events):
    berlin = cs.read_cases(source, columns=["case_id"], tz="Europe/Berlin")
    result = cs.read_events(source, berlin)
    assert str(result["at"].dtype) == "datetime64[us, Europe/Berlin]"
    assert (result["at"].dt.tz_convert("UTC") == events["at"]).all()


CASE = "case_KmquxcWwzQkiQNxXdth1zTDX"
WRONG_CASES = {
    "no case_id": (pd.DataFrame({"id": [CASE]}), "no column 'case_id'"),
    "a number": ([CASE, 7], "case_id must be .* got 7"),
    "a missing id": ([None], "case_id must be .* got None"),
    "a missing id in a frame": (pd.DataFrame({"case_id": [CASE, None]}), "leave it out"),
    "an empty id": ([""], "case_id must be .* got ''"),
    "an id that leads elsewhere": ([".."], "must be the text of an id"),
    "an id that is too long": (["x" * 501], "must be the text of an id"),
    "no list": (7, "cases must be a DataFrame with 'case_id', or ids, got 7"),
    "two services": ([CASE, "0d4fe8f5-93b1-4dd5-bb0c-6f66a1dbd1c5"], "several services"),
}


@pytest.mark.parametrize("service", SERVICES)
@pytest.mark.parametrize("argument", WRONG_CASES)
def test_wrong_cases_are_refused_before_any_request(local, service, argument):
    source = getattr(local, f"{service}_cases")()
    before = len(local.requests)
    with pytest.raises(cs.FilterError, match=WRONG_CASES[argument][1]):
        cs.read_related(source, WRONG_CASES[argument][0])
    assert len(local.requests) == before


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"kinds": "contcat"}, "did you mean 'contact'"),
        ({"kinds": []}, "kinds must name at least one kind"),
        ({"max_workers": 0}, "max_workers must be .* got 0"),
        ({"max_workers": True}, "max_workers must be .* got True"),
        ({"on_error": "ignore"}, "on_error must be .* got 'ignore'"),
        ({"progress": "no"}, "progress must be .* got 'no'"),
        ({"timeout": 0}, "timeout must be a positive number"),
    ],
)
def test_wrong_options_are_refused(local, source, cases, options, message):
    before = len(local.requests)
    with pytest.raises(cs.FilterError, match=message):
        cs.read_related(source, cases, **options)
    assert len(local.requests) == before


def test_a_frame_of_another_source_is_refused(local, source, cases):
    """Its cases would all be missing there, and the result silently empty."""
    persona = local.persona_cases()
    persona_cases = cs.read_cases(persona, columns=["case_id", "accounts"])
    before = len(local.requests)
    with pytest.raises(cs.FilterError, match="its service is 'persona'"):
        cs.read_events(source, persona_cases)
    with pytest.raises(cs.FilterError, match="its service is 'connect'"):
        cs.read_related(persona, cases)
    elsewhere = cs.ConnectCases("another", region_name="us-east-1")
    with pytest.raises(cs.FilterError, match="its domain_id is"):
        cs.read_events(elsewhere, cases)
    assert len(local.requests) == before


def test_a_source_without_related_items_is_refused(source, cases, tmp_path):
    mirror = cs.Mirror(tmp_path / "cases.duckdb")
    mirror.sync(source, columns=["status"], progress=False)
    with pytest.raises(cs.FilterError, match="returns only cases"):
        cs.read_events(mirror, cases["case_id"])


# --- deleted cases --------------------------------------------------------------------------------


def test_deleted_cases_are_named_in_one_warning():
    with cs.LocalCases(cases=20, seed=1) as local:
        source = local.connect_cases()
        cases = cs.read_cases(source, columns=["case_id"])
        before = cs.read_events(source, cases)
        deleted = [*cases["case_id"].iloc[[2, 9]]]
        for case_id in deleted:
            local.delete(case_id)
        with pytest.warns(UserWarning, match=r"cases that no longer exist \(2\)") as warning:
            result = cs.read_events(source, cases)
    assert len(warning) == 1
    assert all(case_id in str(warning[0].message) for case_id in deleted)
    expected = before[~before["case_id"].isin(deleted)].reset_index(drop=True)
    pd.testing.assert_frame_equal(result, expected)
    assert result.cases.provenance["gone"] == sorted(deleted)


def test_an_unknown_domain_is_not_a_deleted_case(local):
    """Both are 404 responses, which only their text distinguishes."""
    session = boto3.Session("AKIDTEST", "secret", region_name="us-east-1")
    nowhere = cs.ConnectCases("nowhere", boto3_session=session, endpoint_url=local.url)
    with pytest.raises(cs.NotFoundError, match="'nowhere' is a Cases domain"):
        cs.read_related(nowhere, [CASE])


# --- faults ---------------------------------------------------------------------------------------

TRANSIENT = [
    cs.Fault("throttle", 0, operation=None, every=3),
    cs.Fault("error", operation=None, status=500, every=4),
    cs.Fault("html", operation=None, every=4),
    cs.Fault("empty", operation=None, every=4),
    cs.Fault("truncated", operation=None, every=4),
    cs.Fault("short_body", operation=None, every=4),
    cs.Fault("reset", "in", operation=None, every=5),
    cs.Fault("gzip", operation=None, every=5),
]


@pytest.mark.parametrize("fault", TRANSIENT, ids=lambda fault: fault.kind)
def test_transient_faults_change_nothing(source, events, related, faults, fault):
    longest = related["case_id"].value_counts().idxmax()
    ids = [longest, *related["case_id"].unique()[:8]]
    faults.append(fault)
    result, items = cs.read_events(source, ids), cs.read_related(source, ids)
    assert faults.happened() > 2
    expected = events[events["case_id"].isin(ids)].reset_index(drop=True)
    pd.testing.assert_frame_equal(result, expected)
    expected = related[related["case_id"].isin(ids)].reset_index(drop=True)
    pd.testing.assert_frame_equal(items, expected)


READERS = {
    "get_case_audit_events": cs.read_events,
    "search_related_items": cs.read_related,
}


@pytest.mark.parametrize("operation", READERS)
@pytest.mark.parametrize("kind", ["same_token", "expired_token", "token_cycle"])
def test_a_failing_cursor_is_recovered_once(source, cases, faults, operation, kind):
    """The listing of one case is read again; a second failure is an error."""
    case_id, read = long_case(cases), READERS[operation]
    expected = read(source, case_id)
    faults.append(cs.Fault(kind, operation=operation, after=1, first=2 if "cycle" in kind else 1))
    pd.testing.assert_frame_equal(read(source, case_id), expected)
    assert faults.happened() == 1
    faults.clear()
    faults.append(cs.Fault(kind, operation=operation))
    error = cs.InvalidRequestError if kind == "expired_token" else cs.InvalidResponseError
    with pytest.raises(error):
        read(source, case_id)


@pytest.mark.parametrize("operation", READERS)
@pytest.mark.parametrize("kind", ["empty_page", "short_page"])
def test_empty_and_short_pages_lose_nothing(source, cases, faults, operation, kind):
    case_id, read = long_case(cases), READERS[operation]
    expected = read(source, case_id)
    value = {"value": 3} if kind == "short_page" else {}
    faults.append(cs.Fault(kind, operation=operation, every=2, **value))
    pd.testing.assert_frame_equal(read(source, case_id), expected)
    assert faults.happened()


def test_an_error_before_the_first_case_is_raised_itself(source, cases, faults):
    faults.append(cs.Fault("error", operation="get_case_audit_events", status=403))
    with pytest.raises(cs.AccessDeniedError, match="cases:GetCaseAuditEvents"):
        cs.read_events(source, cases)
    faults.clear()
    faults.append(cs.Fault("body", {"auditEvents": None}, operation="get_case_audit_events"))
    with pytest.raises(cs.InvalidResponseError, match="no list auditEvents"):
        cs.read_events(source, cases)


@pytest.mark.parametrize("workers", [1, 4])
def test_a_failed_read_keeps_its_cases_and_the_rest_can_be_read(
    source, cases, events, faults, workers
):
    """Each case is complete or missing, so that both parts make up the whole."""
    operation = "get_case_audit_events"
    faults.append(cs.Fault("error", operation=operation, status=400, after=40))
    with pytest.raises(cs.IncompleteReadError, match=r"read failed after .* missing") as failure:
        cs.read_events(source, cases, max_workers=workers)
    partial, missing = failure.value.partial, failure.value.missing
    assert set(partial["case_id"]).isdisjoint(missing)
    assert {*partial["case_id"], *missing} == {*cases["case_id"]}
    assert partial["case_id"].nunique() >= 30
    assert partial.cases.provenance["complete"] is False
    faults.clear()
    rest = cs.read_events(source, missing)
    combined = pd.concat([partial, rest]).sort_values(["case_id", "at"], kind="stable")
    pd.testing.assert_frame_equal(combined.reset_index(drop=True), events)


def test_a_partial_result_is_returned_on_request(source, cases, events, faults):
    faults.append(cs.Fault("error", operation="get_case_audit_events", status=400, after=20))
    with pytest.warns(UserWarning, match="incomplete result"):
        partial = cs.read_events(source, cases, on_error="partial", max_workers=1)
    assert 0 < len(partial) < len(events)
    assert partial.cases.provenance["complete"] is False


def test_an_interrupt_keeps_the_cases_that_were_read(source, cases, events):
    def before_send(**_):
        arguments.append(1)
        if len(arguments) > 30:
            raise KeyboardInterrupt

    arguments, name = [], "before-send.connectcases.GetCaseAuditEvents"
    source.client.meta.events.register(name, before_send)
    try:
        for workers in (1, 4):
            arguments.clear()
            with pytest.raises(cs.ReadInterrupted, match=r"sys\.last_value\.partial") as interrupt:
                cs.read_events(source, cases, max_workers=workers)
            partial = interrupt.value.partial
            assert partial["case_id"].nunique() >= 20
            expected = events[events["case_id"].isin(partial["case_id"])].reset_index(drop=True)
            pd.testing.assert_frame_equal(partial, expected)
            assert not [one for one in threading.enumerate() if one.name.startswith("cases_")]
    finally:
        source.client.meta.events.unregister(name, before_send)


# --- workers and rate limits ----------------------------------------------------------------------


def test_several_workers_read_the_same_rows(source, cases, events, faults):
    faults.append(cs.Fault("latency", (0.0, 0.02), operation="get_case_audit_events"))
    pd.testing.assert_frame_equal(cs.read_events(source, cases, max_workers=8), events)


def test_several_workers_are_used_where_the_service_is_slow(source, cases, faults):
    names = set()

    def before_send(**_):
        names.add(threading.current_thread().name)

    name = "before-send.connectcases.GetCaseAuditEvents"
    source.client.meta.events.register(name, before_send)
    try:
        faults.append(cs.Fault("latency", 0.06, operation="get_case_audit_events"))
        cs.read_events(source, cases.head(20), max_workers=1)
        assert names == {threading.current_thread().name}
        cs.read_events(source, cases.head(40))
        assert len(names) > 2
    finally:
        source.client.meta.events.unregister(name, before_send)


def test_each_operation_has_its_own_rate_limit():
    """Quotas are counted per operation: a search must not wait for a history."""
    with cs.LocalCases(cases=3) as local:
        slow = local.connect_cases(rate=0.001, burst=1)
        one = cs.read_cases(slow, columns=["case_id"], limit=1, timeout=5)
        cs.read_events(slow, one, timeout=5)
        cs.read_related(slow, one, timeout=5)
        with pytest.raises(cs.ThrottledError, match="timeout"):
            cs.read_events(slow, one, timeout=5)


def test_an_expensive_read_warns_of_its_cost():
    with cs.LocalCases(cases=91) as local:
        slow = local.connect_cases(rate=0.5, burst=2)
        ids = local.frame()["case_id"]
        with (
            pytest.warns(UserWarning, match=r"items of 91 cases .* 0 days 00:02:58 at 0\.5 per"),
            pytest.raises(cs.IncompleteReadError) as failure,
        ):
            cs.read_related(slow, ids, timeout=1)
    assert len(failure.value.missing) == 90


def test_throttled_requests_are_retried():
    with cs.LocalCases(cases=12, seed=3, rate=40) as local:
        source = local.connect_cases(rate=math.inf)
        cases = cs.read_cases(source, columns=["case_id"])
        result = cs.read_events(source, cases, max_workers=4)
    assert set(result["case_id"]) == set(cases["case_id"])


# --- Persona --------------------------------------------------------------------------------------

KINDS = ["case_comments", "accounts", "inquiries", "reports", "verifications", "txns"]


@pytest.fixture(scope="module")
def persona(local):
    return local.persona_cases()


@pytest.fixture(scope="module")
def persona_cases(persona):
    return cs.read_cases(persona, columns=["case_id", *KINDS])


def pairs(frame):
    return sorted(
        (row["case_id"], kind, one)
        for _, row in frame.iterrows()
        for kind in KINDS
        for one in row[kind]
    )


def test_persona_has_no_history(local, persona, persona_cases):
    before = len(local.requests)
    with pytest.raises(cs.FilterError, match="no audit history of a case; read created_at"):
        cs.read_events(persona, persona_cases)
    assert len(local.requests) == before


def test_relationships_in_the_frame_are_used(local, persona, persona_cases):
    before = len(local.requests)
    result = cs.read_related(persona, persona_cases)
    assert len(local.requests) == before
    assert [*result.itertuples(index=False, name=None)] == pairs(persona_cases)
    assert {*result.dtypes} == {TEXT}
    assert result.cases.provenance["requests"] == 0


def test_relationships_missing_from_the_frame_are_read(local, persona, persona_cases):
    expected = cs.read_related(persona, persona_cases)
    before = len(local.requests)
    one_case = persona_cases.drop(columns=["accounts", "txns"])
    pd.testing.assert_frame_equal(cs.read_related(persona, one_case), expected)
    assert len(local.requests) - before == len(persona_cases)
    by_id = cs.read_related(persona, persona_cases["case_id"], kinds=["txns", "accounts"])
    expected = expected[expected["kind"].isin(["txns", "accounts"])].reset_index(drop=True)
    pd.testing.assert_frame_equal(by_id, expected)


def test_relationships_are_read_from_parquet_but_not_from_text(persona, persona_cases, tmp_path):
    """Parquet returns lists as arrays; CSV returns text that looks like a list."""
    persona_cases.to_parquet(tmp_path / "cases.parquet")
    back = pd.read_parquet(tmp_path / "cases.parquet")
    pd.testing.assert_frame_equal(
        cs.read_related(persona, back), cs.read_related(persona, persona_cases)
    )
    from_text = persona_cases.assign(accounts=persona_cases["accounts"].map(str))
    with pytest.raises(cs.FilterError, match="column 'accounts' holds text"):
        cs.read_related(persona, from_text)


def test_the_given_frame_is_not_modified(persona, persona_cases, source, cases):
    for owner, frame in ((persona, persona_cases), (source, cases.head(3))):
        before, attrs = frame.copy(deep=True), dict(frame.attrs)
        cs.read_related(owner, frame)
        pd.testing.assert_frame_equal(frame, before)
        assert frame.attrs == attrs


def test_deleted_cases_of_persona_are_named():
    with cs.LocalCases(cases=12, seed=1) as local:
        persona = local.persona_cases()
        cases = cs.read_cases(persona, columns=["case_id"])
        deleted = cases["case_id"].iloc[4]
        local.delete(deleted)
        with pytest.warns(UserWarning, match=rf"no longer exist \(1\).*{deleted}"):
            result = cs.read_related(persona, cases)
    assert deleted not in set(result["case_id"])
    assert len(result) > 0


def test_a_failed_read_of_relationships_keeps_its_rows(persona, persona_cases, faults):
    expected = cs.read_related(persona, persona_cases)
    faults.append(cs.Fault("error", wire="persona", operation="retrieve", status=400, after=20))
    with pytest.raises(cs.IncompleteReadError) as failure:
        cs.read_related(persona, persona_cases["case_id"])
    assert list(failure.value.partial) == ["case_id", "kind", "related_id"]
    partial, missing = failure.value.partial, failure.value.missing
    assert set(missing) < set(persona_cases["case_id"])
    faults.clear()
    rest = cs.read_related(persona, missing)
    assert 0 < len(rest) < len(expected)
    combined = pd.concat([partial, rest]).sort_values([*expected], ignore_index=True)
    pd.testing.assert_frame_equal(combined, expected)


def test_an_interrupt_keeps_the_relationships_of_the_frame(local, persona, persona_cases):
    def token():
        calls.append(1)
        if len(calls) > 40:
            raise KeyboardInterrupt
        return local.token

    calls = []
    counting = cs.PersonaCases(token=token, base_url=persona.base_url, rate=math.inf)
    with pytest.raises(cs.ReadInterrupted) as interrupt:
        cs.read_related(counting, persona_cases.drop(columns="txns"))
    partial = interrupt.value.partial
    without = partial[partial["kind"] != "txns"].reset_index(drop=True)
    kinds = [kind for kind in KINDS if kind != "txns"]
    pd.testing.assert_frame_equal(without, cs.read_related(persona, persona_cases, kinds=kinds))
    assert partial.cases.provenance["complete"] is False


# --- laws -----------------------------------------------------------------------------------------


@settings(max_examples=20, deadline=None)
@given(data=st.data())
def test_any_selection_of_cases_has_the_same_rows(source, cases, events, related, data):
    """Each case has the same rows, whatever cases are read and in whatever order."""
    ids = data.draw(st.lists(st.sampled_from([*cases["case_id"]]), max_size=8))
    for read, whole in ((cs.read_events, events), (cs.read_related, related)):
        result = read(source, ids)
        expected = whole[whole["case_id"].isin(ids)].reset_index(drop=True)
        pd.testing.assert_frame_equal(result, expected)


def test_provenance_describes_what_was_read(events, related):
    provenance = events.cases.provenance
    assert (provenance["around"], provenance["rows"], provenance["complete"]) == (
        "audit history",
        len(events),
        True,
    )
    assert provenance["requests"] > provenance["cases"] == 91
    assert pd.Timestamp(provenance["as_of"]).tzinfo is not None
    assert json.loads(related.attrs["casesearch"])["around"] == "related items"
