"""What there is around cases, read by the real clients from the embedded service."""

import json
import math
import threading

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
    with cs.LocalCases(cases=90, seed=4) as running:
        # More of everything than one answer of 25 entries holds.
        running.insert(
            {"title": "a long story", "case_comments": [f"cscm_{n:02}" for n in range(60)]}
        )
        yield running


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
def faulty(local):
    yield local.faults
    local.faults.clear()


def long_case(cases):
    return cases.loc[cases["title"] == "a long story", "case_id"].item()


# --- what the stock client says -----------------------------------------------------------------


def told_events(client, domain_id, case_id):
    """Follow the tokens of GetCaseAuditEvents by hand, as boto3 has no paginator for it."""
    more = {}
    while True:
        page = client.get_case_audit_events(domainId=domain_id, caseId=case_id, **more)
        yield from page["auditEvents"]
        if not page.get("nextToken"):
            return
        more = {"nextToken": page["nextToken"]}


def plain(union):
    return next((str(value) for value in union.values() if value != {}), None)


def test_events_are_what_boto3_tells(local, cases, events):
    """One row a changed field, one row of an event that changed none, and nothing else."""
    client = connect_client(local)
    for case_id in cases["case_id"]:
        rows = events[events["case_id"] == case_id]
        expected = []
        for event in told_events(client, local.domain_id, case_id):
            who = event["performedBy"]
            by = who.get("user", {}).get("userArn") or who["iamPrincipalArn"]
            common = (pd.Timestamp(event["performedTime"]), event["type"])
            for one in event["fields"]:
                old, new = plain(one.get("oldValue", {})), plain(one["newValue"])
                expected.append((*common, one["eventFieldId"], old, new, by))
            if not event["fields"]:
                expected.append((*common, None, None, event["relatedItemType"], by))
        found = rows.drop(columns="case_id").astype(object)
        assert [*found.where(found.notna(), None).itertuples(index=False, name=None)] == expected


def test_events_are_typed_and_in_order(cases, events):
    assert list(events) == EVENT_COLUMNS
    assert events["at"].dtype == "datetime64[us, UTC]"
    assert {events[name].dtype for name in EVENT_COLUMNS if name != "at"} == {TEXT}
    assert set(events["case_id"]) == set(cases["case_id"])
    order = events.sort_values(["case_id", "at"], kind="stable")
    pd.testing.assert_frame_equal(events, order)


def test_the_last_status_of_a_history_is_the_one_that_the_case_has(cases, events):
    """Time in a status is counted from the history; it must end where the case is."""
    changes = events[events["field"] == "status"].groupby("case_id")["new"].last()
    known = cases.dropna(subset="status").set_index("case_id")["status"]
    assert changes.reindex(known.index).to_dict() == known.to_dict()


def test_related_items_are_what_boto3_tells(local, cases, related):
    pages = connect_client(local).get_paginator("search_all_related_items")
    told = [
        item for page in pages.paginate(domainId=local.domain_id) for item in page["relatedItems"]
    ]
    assert len(told) == len(related) > 60
    rows = related.set_index("related_id")
    for item in told:
        row = rows.loc[item["relatedItemId"]]
        content = next(iter(item["content"].values()))
        sla = content.get("slaConfiguration", {})
        held = {
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
        assert {name: None if pd.isna(row[name]) else row[name] for name in held} == held
    assert set(related["kind"]) == {"contact", "comment", "file", "sla"}
    assert set(related["case_id"]) <= set(cases["case_id"])


def test_the_aws_cli_counts_the_same(local, cases, events, related):
    case_id = long_case(cases)
    asked = ("--domain-id", local.domain_id, "--case-id", case_id)
    found = aws(local, "search-related-items", *asked)["relatedItems"]
    assert len(found) == (related["case_id"] == case_id).sum() >= 60
    first = aws(local, "get-case-audit-events", *asked)["auditEvents"]
    ours = events[events["case_id"] == case_id]
    assert len(first) == 25 < len(ours)
    times = [pd.Timestamp(one["performedTime"]) for one in first]
    assert set(times) <= set(ours["at"])


@pytest.mark.parametrize("kinds", ["contact", ["comment", "sla"], ("file",), ["case", "custom"]])
def test_kinds_are_asked_of_the_service(local, source, cases, related, kinds):
    before = len(local.requests)
    found = cs.read_related(source, cases, kinds=kinds)
    named = [kinds] if isinstance(kinds, str) else list(kinds)
    expected = related[related["kind"].isin(named)].reset_index(drop=True)
    pd.testing.assert_frame_equal(found, expected)
    spelt = [{"case": "connectCase"}.get(kind, kind) for kind in named]
    for request in local.requests[before:]:
        assert request.body["filters"] == [{kind: {}} for kind in spelt]


# --- which cases --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "given_as",
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
def test_cases_come_as_a_frame_or_as_ids(source, cases, events, given_as):
    few = cases.head(6)
    found = cs.read_events(source, given_as(few))
    expected = events[events["case_id"].isin(few["case_id"])].reset_index(drop=True)
    pd.testing.assert_frame_equal(found, expected)


def test_one_id_is_one_case(source, cases, events):
    case_id = cases["case_id"].iloc[3]
    found = cs.read_events(source, case_id)
    assert set(found["case_id"]) == {case_id}
    assert len(found) == (events["case_id"] == case_id).sum()


@pytest.mark.parametrize("read", [cs.read_events, cs.read_related])
def test_no_cases_make_the_same_columns_and_send_nothing(local, source, cases, read):
    before = len(local.requests)
    nothing, some = read(source, cases.head(0)), read(source, cases.head(1))
    assert (nothing.dtypes == some.dtypes).all()
    assert len(nothing) == 0
    assert len(local.requests) - before == 1


def test_times_are_in_the_zone_of_the_frame(source, events):
    berlin = cs.read_cases(source, columns=["case_id"], tz="Europe/Berlin")
    found = cs.read_events(source, berlin)
    assert str(found["at"].dtype) == "datetime64[us, Europe/Berlin]"
    assert (found["at"].dt.tz_convert("UTC") == events["at"]).all()


CASE = "case_KmquxcWwzQkiQNxXdth1zTDX"
BAD = {
    "no case_id": (pd.DataFrame({"id": [CASE]}), "no column 'case_id'"),
    "a number": ([CASE, 7], "case_id 7"),
    "a missing id": ([None], "case_id None"),
    "a missing id in a frame": (pd.DataFrame({"case_id": [CASE, None]}), "leave it out"),
    "an empty id": ([""], "case_id ''"),
    "an id that leads elsewhere": ([".."], "is no id of a case"),
    "an id that is too long": (["x" * 501], "is no id of a case"),
    "no list": (7, "names no cases"),
    "two services": ([CASE, "0d4fe8f5-93b1-4dd5-bb0c-6f66a1dbd1c5"], "several services"),
}


@pytest.mark.parametrize("service", SERVICES)
@pytest.mark.parametrize("bad", BAD)
def test_what_names_no_cases_is_refused_before_anything_is_sent(local, service, bad):
    asked = getattr(local, f"{service}_cases")()
    before = len(local.requests)
    with pytest.raises(cs.FilterError, match=BAD[bad][1]):
        cs.read_related(asked, BAD[bad][0])
    assert len(local.requests) == before


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"kinds": "contcat"}, "did you mean 'contact'"),
        ({"kinds": []}, "reads nothing"),
        ({"max_workers": 0}, "max_workers=0"),
        ({"max_workers": True}, "max_workers=True"),
        ({"on_error": "ignore"}, "on_error='ignore'"),
        ({"progress": "no"}, "progress='no'"),
        ({"timeout": 0}, "timeout=0"),
    ],
)
def test_options_that_mean_nothing_are_refused(local, source, cases, options, says):
    before = len(local.requests)
    with pytest.raises(cs.FilterError, match=says):
        cs.read_related(source, cases, **options)
    assert len(local.requests) == before


def test_a_frame_of_another_source_is_refused(local, source, cases):
    """Its ids would all be missing there, and the answer an empty success."""
    persona = local.persona_cases()
    theirs = cs.read_cases(persona, columns=["case_id", "accounts"])
    before = len(local.requests)
    with pytest.raises(cs.FilterError, match="its service is 'persona'"):
        cs.read_events(source, theirs)
    with pytest.raises(cs.FilterError, match="its service is 'connect'"):
        cs.read_related(persona, cases)
    elsewhere = cs.ConnectCases("another", region_name="us-east-1")
    with pytest.raises(cs.FilterError, match="its domain_id is"):
        cs.read_events(elsewhere, cases)
    assert len(local.requests) == before


def test_a_source_that_knows_only_its_cases_says_so(cases):
    class Mirror:
        def describe(self):
            return {}

    with pytest.raises(cs.FilterError, match="nothing but its cases"):
        cs.read_events(Mirror(), cases)


# --- cases that are gone ------------------------------------------------------------------------


def test_deleted_cases_are_named_once_and_the_others_come():
    with cs.LocalCases(cases=20, seed=1) as local:
        source = local.connect_cases()
        cases = cs.read_cases(source, columns=["case_id"])
        before = cs.read_events(source, cases)
        gone = [*cases["case_id"].iloc[[2, 9]]]
        for case_id in gone:
            local.delete(case_id)
        with pytest.warns(UserWarning, match="2 cases are not there") as warned:
            found = cs.read_events(source, cases)
    assert len(warned) == 1
    assert all(case_id in str(warned[0].message) for case_id in gone)
    expected = before[~before["case_id"].isin(gone)].reset_index(drop=True)
    pd.testing.assert_frame_equal(found, expected)
    assert found.cases.provenance["gone"] == sorted(gone)


def test_a_domain_that_is_none_is_no_deleted_case(local):
    """Both are 404; only what the service names tells them apart."""
    nowhere = local.connect_cases()
    nowhere.domain_id = "nowhere"
    with pytest.raises(cs.NotFoundError, match="is 'nowhere' a Cases domain"):
        cs.read_related(nowhere, [CASE])


# --- faults -------------------------------------------------------------------------------------

PASSING = [
    cs.Fault("throttle", 0, operation=None, every=3),
    cs.Fault("error", operation=None, status=500, every=4),
    cs.Fault("html", operation=None, every=4),
    cs.Fault("empty", operation=None, every=4),
    cs.Fault("truncated", operation=None, every=4),
    cs.Fault("short_body", operation=None, every=4),
    cs.Fault("reset", "in", operation=None, every=5),
    cs.Fault("gzip", operation=None, every=5),
    cs.Fault("not_utf8", operation=None, every=5),
]


@pytest.mark.parametrize("fault", PASSING, ids=lambda fault: fault.kind)
def test_passing_faults_change_nothing(source, events, related, faulty, fault):
    longest = related["case_id"].value_counts().idxmax()
    ids = [longest, *related["case_id"].unique()[:8]]
    faulty.append(fault)
    found, items = cs.read_events(source, ids), cs.read_related(source, ids)
    assert faulty.happened() > 2
    expected = events[events["case_id"].isin(ids)].reset_index(drop=True)
    pd.testing.assert_frame_equal(found, expected)
    expected = related[related["case_id"].isin(ids)].reset_index(drop=True)
    pd.testing.assert_frame_equal(items, expected)


LISTS = {
    "get_case_audit_events": cs.read_events,
    "search_related_items": cs.read_related,
}


@pytest.mark.parametrize("operation", LISTS)
@pytest.mark.parametrize("kind", ["same_token", "expired_token", "token_cycle"])
def test_a_lost_way_is_found_again_once(source, cases, faulty, operation, kind):
    """A list of one case is soon read anew; only a service that leads nowhere again is refused."""
    case_id, read = long_case(cases), LISTS[operation]
    whole = read(source, case_id)
    faulty.append(cs.Fault(kind, operation=operation, after=1, first=2 if "cycle" in kind else 1))
    pd.testing.assert_frame_equal(read(source, case_id), whole)
    assert faulty.happened() == 1
    faulty.clear()
    faulty.append(cs.Fault(kind, operation=operation))
    wanted = cs.InvalidRequestError if kind == "expired_token" else cs.InvalidResponseError
    with pytest.raises(wanted):
        read(source, case_id)


@pytest.mark.parametrize("operation", LISTS)
@pytest.mark.parametrize("kind", ["empty_page", "short_page"])
def test_odd_pages_lose_nothing(source, cases, faulty, operation, kind):
    case_id, read = long_case(cases), LISTS[operation]
    whole = read(source, case_id)
    value = {"value": 3} if kind == "short_page" else {}
    faulty.append(cs.Fault(kind, operation=operation, every=2, **value))
    pd.testing.assert_frame_equal(read(source, case_id), whole)
    assert faulty.happened()


def test_what_never_comes_is_an_error_and_no_empty_frame(source, cases, faulty):
    faulty.append(cs.Fault("error", operation="get_case_audit_events", status=403))
    with pytest.raises(cs.AccessDeniedError, match="cases:GetCaseAuditEvents"):
        cs.read_events(source, cases)
    faulty.clear()
    faulty.append(cs.Fault("body", {"auditEvents": None}, operation="get_case_audit_events"))
    with pytest.raises(cs.InvalidResponseError, match="no list auditEvents"):
        cs.read_events(source, cases)


@pytest.mark.parametrize("workers", [1, 4])
def test_what_came_before_an_error_is_kept_and_the_rest_can_be_asked_for(
    source, cases, events, faulty, workers
):
    """A case is there as a whole or not at all, so that both parts make the whole."""
    operation = "get_case_audit_events"
    faulty.append(cs.Fault("error", operation=operation, status=400, after=40))
    with pytest.raises(cs.IncompleteReadError, match=r"\.missing") as broken:
        cs.read_events(source, cases, max_workers=workers)
    partial, missing = broken.value.partial, broken.value.missing
    assert set(partial["case_id"]).isdisjoint(missing)
    assert {*partial["case_id"], *missing} == {*cases["case_id"]}
    assert partial["case_id"].nunique() >= 30
    assert partial.cases.provenance["complete"] is False
    faulty.clear()
    rest = cs.read_events(source, missing)
    both = pd.concat([partial, rest]).sort_values(["case_id", "at"], kind="stable")
    pd.testing.assert_frame_equal(both.reset_index(drop=True), events)


def test_a_part_is_given_only_to_who_asks_for_it(source, cases, events, faulty):
    faulty.append(cs.Fault("error", operation="get_case_audit_events", status=400, after=20))
    with pytest.warns(UserWarning, match="not whole"):
        part = cs.read_events(source, cases, on_error="partial", max_workers=1)
    assert 0 < len(part) < len(events)
    assert part.cases.provenance["complete"] is False


def test_ctrl_c_keeps_the_cases_that_came(source, cases, events):
    def before_send(**_):
        asked.append(1)
        if len(asked) > 30:
            raise KeyboardInterrupt

    asked, name = [], "before-send.connectcases.GetCaseAuditEvents"
    source.client.meta.events.register(name, before_send)
    try:
        for workers in (1, 4):
            asked.clear()
            with pytest.raises(cs.ReadInterrupted, match=r"sys\.last_value\.partial") as stopped:
                cs.read_events(source, cases, max_workers=workers)
            partial = stopped.value.partial
            assert partial["case_id"].nunique() >= 20
            whole = events[events["case_id"].isin(partial["case_id"])].reset_index(drop=True)
            pd.testing.assert_frame_equal(partial, whole)
            assert not [one for one in threading.enumerate() if one.name.startswith("cases_")]
    finally:
        source.client.meta.events.unregister(name, before_send)


# --- readers and budgets ------------------------------------------------------------------------


def test_many_readers_bring_the_same_rows(source, cases, events, faulty):
    faulty.append(cs.Fault("latency", (0.0, 0.02), operation="get_case_audit_events"))
    pd.testing.assert_frame_equal(cs.read_events(source, cases, max_workers=8), events)


def test_readers_join_where_the_service_is_slow(source, cases, faulty):
    names = set()

    def before_send(**_):
        names.add(threading.current_thread().name)

    name = "before-send.connectcases.GetCaseAuditEvents"
    source.client.meta.events.register(name, before_send)
    try:
        faulty.append(cs.Fault("latency", 0.06, operation="get_case_audit_events"))
        cs.read_events(source, cases.head(20), max_workers=1)
        assert names == {threading.current_thread().name}
        cs.read_events(source, cases.head(40))
        assert len(names) > 2
    finally:
        source.client.meta.events.unregister(name, before_send)


def test_each_list_has_a_budget_of_its_own():
    """The quotas are counted by operation: a search must not wait for a history, nor reverse."""
    with cs.LocalCases(cases=3) as local:
        slow = local.connect_cases(rate=0.001, burst=1)
        one = cs.read_cases(slow, columns=["case_id"], limit=1, timeout=5)
        cs.read_events(slow, one, timeout=5)
        cs.read_related(slow, one, timeout=5)
        with pytest.raises(cs.ThrottledError, match="timeout"):
            cs.read_events(slow, one, timeout=5)


def test_a_dear_read_says_what_it_costs():
    with cs.LocalCases(cases=91) as local:
        slow = local.connect_cases(rate=0.5, burst=2)
        ids = local.frame()["case_id"]
        with (
            pytest.warns(UserWarning, match=r"items of 91 cases .* 0 days 00:02:58 at 0\.5 a sec"),
            pytest.raises(cs.IncompleteReadError) as broken,
        ):
            cs.read_related(slow, ids, timeout=1)
    assert len(broken.value.missing) == 90


def test_a_throttling_service_is_waited_for():
    with cs.LocalCases(cases=12, seed=3, rate=40) as local:
        source = local.connect_cases(rate=math.inf)
        cases = cs.read_cases(source, columns=["case_id"])
        found = cs.read_events(source, cases, max_workers=4)
    assert set(found["case_id"]) == set(cases["case_id"])


# --- Persona ------------------------------------------------------------------------------------

KINDS = ["case_comments", "accounts", "inquiries", "reports", "verifications", "txns"]


@pytest.fixture(scope="module")
def persona(local):
    return local.persona_cases()


@pytest.fixture(scope="module")
def theirs(persona):
    return cs.read_cases(persona, columns=["case_id", *KINDS])


def pairs(frame):
    return sorted(
        (row["case_id"], kind, one)
        for _, row in frame.iterrows()
        for kind in KINDS
        for one in row[kind]
    )


def test_persona_tells_no_history(local, persona, theirs):
    before = len(local.requests)
    with pytest.raises(cs.FilterError, match="no audit history of a case; read created_at"):
        cs.read_events(persona, theirs)
    assert len(local.requests) == before


def test_relationships_are_taken_from_the_frame(local, persona, theirs):
    before = len(local.requests)
    found = cs.read_related(persona, theirs)
    assert len(local.requests) == before
    assert [*found.itertuples(index=False, name=None)] == pairs(theirs)
    assert {*found.dtypes} == {TEXT}
    assert found.cases.provenance["requests"] == 0


def test_relationships_that_the_frame_lacks_are_read(local, persona, theirs):
    whole = cs.read_related(persona, theirs)
    before = len(local.requests)
    some = theirs.drop(columns=["accounts", "txns"])
    pd.testing.assert_frame_equal(cs.read_related(persona, some), whole)
    assert len(local.requests) - before == len(theirs)
    by_id = cs.read_related(persona, theirs["case_id"], kinds=["txns", "accounts"])
    expected = whole[whole["kind"].isin(["txns", "accounts"])].reset_index(drop=True)
    pd.testing.assert_frame_equal(by_id, expected)


def test_relationships_survive_parquet_and_no_text_is_taken_for_a_list(persona, theirs, tmp_path):
    """Parquet gives lists back as arrays; CSV gives them back as text that looks like one."""
    theirs.to_parquet(tmp_path / "cases.parquet")
    back = pd.read_parquet(tmp_path / "cases.parquet")
    pd.testing.assert_frame_equal(cs.read_related(persona, back), cs.read_related(persona, theirs))
    spoilt = theirs.assign(accounts=theirs["accounts"].map(str))
    with pytest.raises(cs.FilterError, match="'accounts' holds text"):
        cs.read_related(persona, spoilt)


def test_the_frame_given_is_left_alone(persona, theirs, source, cases):
    for asked, frame in ((persona, theirs), (source, cases.head(3))):
        before, attrs = frame.copy(deep=True), dict(frame.attrs)
        cs.read_related(asked, frame)
        pd.testing.assert_frame_equal(frame, before)
        assert frame.attrs == attrs


def test_deleted_cases_of_persona_are_named():
    with cs.LocalCases(cases=12, seed=1) as local:
        persona = local.persona_cases()
        cases = cs.read_cases(persona, columns=["case_id"])
        gone = cases["case_id"].iloc[4]
        local.delete(gone)
        with pytest.warns(UserWarning, match=f"1 cases are not there.*{gone}"):
            found = cs.read_related(persona, cases)
    assert gone not in set(found["case_id"])
    assert len(found) > 0


def test_a_broken_read_of_relationships_keeps_what_came(persona, theirs, faulty):
    whole = cs.read_related(persona, theirs)
    faulty.append(cs.Fault("error", wire="persona", operation="retrieve", status=400, after=20))
    with pytest.raises(cs.IncompleteReadError) as broken:
        cs.read_related(persona, theirs["case_id"])
    assert list(broken.value.partial) == ["case_id", "kind", "related_id"]
    partial, missing = broken.value.partial, broken.value.missing
    assert set(missing) < set(theirs["case_id"])
    faulty.clear()
    rest = cs.read_related(persona, missing)
    assert 0 < len(rest) < len(whole)
    both = pd.concat([partial, rest]).sort_values([*whole], ignore_index=True)
    pd.testing.assert_frame_equal(both, whole)


def test_what_the_frame_has_is_kept_when_the_rest_is_stopped(persona, theirs):
    def token():
        sent.append(1)
        if len(sent) > 40:
            raise KeyboardInterrupt
        return persona._token.value()

    sent = []
    asked = cs.PersonaCases(token=token, base_url=persona.base_url, rate=math.inf)
    with pytest.raises(cs.ReadInterrupted) as stopped:
        cs.read_related(asked, theirs.drop(columns="txns"))
    partial = stopped.value.partial
    without = partial[partial["kind"] != "txns"].reset_index(drop=True)
    held = [kind for kind in KINDS if kind != "txns"]
    pd.testing.assert_frame_equal(without, cs.read_related(persona, theirs, kinds=held))
    assert partial.cases.provenance["complete"] is False


# --- laws ---------------------------------------------------------------------------------------


@settings(max_examples=20, deadline=None)
@given(pick=st.data())
def test_parts_make_the_whole(source, cases, events, related, pick):
    """Whichever cases are asked for, and in whatever order, each has the same rows."""
    ids = pick.draw(st.lists(st.sampled_from([*cases["case_id"]]), max_size=8))
    for read, whole in ((cs.read_events, events), (cs.read_related, related)):
        found = read(source, ids)
        expected = whole[whole["case_id"].isin(ids)].reset_index(drop=True)
        pd.testing.assert_frame_equal(found, expected)


def test_provenance_tells_what_was_read(events, related):
    told = events.cases.provenance
    assert (told["around"], told["rows"], told["complete"]) == ("audit history", len(events), True)
    assert told["requests"] > told["cases"] == 91
    assert pd.Timestamp(told["as_of"]).tzinfo is not None
    assert json.loads(related.attrs["casesearch"])["around"] == "related items"
