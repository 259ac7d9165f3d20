"""Operations other than SearchCases, read by boto3 and checked against botocore's own model."""

import json

import pytest
from botocore.exceptions import ClientError

from casesearch_pd.emulator import CaseService
from tests.emulator_clients import aws, connect_client, post_connect, search_all

SERVICE = {"cases": 120, "seed": 4}


@pytest.fixture(scope="module")
def client(service):
    return connect_client(service)


@pytest.fixture(scope="module")
def every(service, client):
    pages = client.get_paginator("search_all_related_items").paginate(domainId=service.domain_id)
    return [item for page in pages for item in page["relatedItems"]]


def test_items_of_all_cases_are_those_of_each(service, client, every):
    assert {item["type"] for item in every} == {"Contact", "Comment", "File", "Sla"}
    assert len({item["relatedItemId"] for item in every}) == len(every)
    times = [item["associationTime"] for item in every]
    assert times == sorted(times, reverse=True)
    for case_id in service.frame()["case_id"].head(25):
        pages = client.get_paginator("search_related_items").paginate(
            domainId=service.domain_id, caseId=case_id, PaginationConfig={"PageSize": 2}
        )
        own = {item["relatedItemId"] for page in pages for item in page["relatedItems"]}
        assert own == {one["relatedItemId"] for one in every if one["caseId"] == case_id}


def test_items_belong_to_their_cases(service, every):
    frame = service.frame().set_index("case_id")
    assert (
        sum(item["type"] == "Contact" for item in every) == frame["contacts"].clip(upper=12).sum()
    )
    assert sum(item["type"] == "Sla" for item in every) == frame["sla_at"].notna().sum()
    for item in every:
        row = frame.loc[item["caseId"]]
        assert row["created_at"] <= item["associationTime"] <= row["updated_at"]


def test_filters_of_items_are_combined_by_or(service, client, every):
    contacts = [item for item in every if item["type"] == "Contact"]
    channel = contacts[0]["content"]["contact"]["channel"]
    file_arn = next(i for i in every if i["type"] == "File")["content"]["file"]["fileArn"]
    checks = [
        ([{"contact": {}}], lambda i: i["type"] == "Contact"),
        ([{"comment": {}}, {"sla": {}}], lambda i: i["type"] in {"Comment", "Sla"}),
        ([{"contact": {"channel": [channel]}}],
         lambda i: i["content"].get("contact", {}).get("channel") == channel),
        ([{"file": {"fileArn": file_arn}}],
         lambda i: i["content"].get("file", {}).get("fileArn") == file_arn),
        ([{"sla": {"status": "Overdue", "name": "Time to close"}}],
         lambda i: i["type"] == "Sla"
         and i["content"]["sla"]["slaConfiguration"]["status"] == "Overdue"),
        ([{"connectCase": {}}], lambda _: False),
        ([{"custom": {}}], lambda _: False),
    ]  # fmt: skip
    paginator = client.get_paginator("search_all_related_items")
    for filters, matches in checks:
        pages = paginator.paginate(domainId=service.domain_id, filters=filters)
        result = {item["relatedItemId"] for page in pages for item in page["relatedItems"]}
        assert result == {item["relatedItemId"] for item in every if matches(item)}, filters


def test_items_are_sorted_as_requested(service, client):
    sorts = [{"sortProperty": "CaseId", "sortOrder": "Desc"},
             {"sortProperty": "AssociationTime", "sortOrder": "Asc"}]  # fmt: skip
    pages = client.get_paginator("search_all_related_items").paginate(
        domainId=service.domain_id, sorts=sorts
    )
    items = [item for page in pages for item in page["relatedItems"]]
    by_time = sorted(items, key=lambda item: item["associationTime"])
    assert [i["caseId"] for i in items] == [
        i["caseId"] for i in sorted(by_time, key=lambda item: item["caseId"], reverse=True)
    ]


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("related-items-search", {"maxResults": 26}),
        ("related-items-search", {"sorts": [{"sortProperty": "Type", "sortOrder": "Asc"}]}),
        ("related-items-search", {"sorts": [{"sortProperty": "CaseId", "sortOrder": "asc"}]}),
        ("related-items-search", {"filters": [{"contact": {}}] * 11}),
        ("related-items-search", {"filters": [{"phone": {}}]}),
        ("related-items-search", {"filters": [{"sla": {"status": "Late"}}]}),
        ("related-items-search", {"filters": [{"contact": {"channel": ["a"] * 4}}]}),
        ("related-items-search", {"nextToken": "x"}),
        ("list-cases-for-contact", {}),
        ("list-cases-for-contact", {"contactArn": "arn", "maxResults": 11}),
        ("fields-batch", {"fields": []}),
        ("fields-batch", {"fields": [{"id": "x"}] * 51}),
        ("fields-batch", {}),
        ("cases/x", {"fields": []}),
        ("cases/x", {"fields": [{"id": "title"}] * 221}),
    ],
)
def test_invalid_requests_are_refused(service, path, body):
    answer = post_connect(service, body, path)
    assert answer.headers["x-amzn-ErrorType"] == "ValidationException", answer.text


def test_cases_of_a_contact_are_those_that_have_it(service, client, every):
    cases_by_contact = {}
    for item in every:
        if item["type"] == "Contact":
            cases_by_contact.setdefault(item["content"]["contact"]["contactArn"], set()).add(
                item["caseId"]
            )
    assert max(len(cases) for cases in cases_by_contact.values()) == 2, (
        "some contacts belong to two cases"
    )
    for arn, cases in cases_by_contact.items():
        result = client.list_cases_for_contact(domainId=service.domain_id, contactArn=arn)["cases"]
        assert {case["caseId"] for case in result} == cases
    for arn in ("arn:aws:connect:none", "arn:aws:connect:x/contact/0-0-0-0-ffffffffffff"):
        result = client.list_cases_for_contact(domainId=service.domain_id, contactArn=arn)
        assert result["cases"] == []


def test_get_case_returns_what_search_returns(service, client):
    fields = client.list_fields(domainId=service.domain_id)["fields"]
    request_fields = [{"id": field["fieldId"]} for field in fields]
    result, _ = search_all(service, fields=request_fields[:25])
    for case in result[:10]:
        one = client.get_case(
            domainId=service.domain_id, caseId=case["caseId"], fields=request_fields
        )
        assert one["fields"][: len(case["fields"])] == case["fields"]
        assert (one["templateId"], one["tags"]) == (case["templateId"], case["tags"])
    for call in (
        lambda: client.get_case(domainId=service.domain_id, caseId="none", fields=request_fields),
        lambda: client.get_case_audit_events(domainId=service.domain_id, caseId="none"),
        lambda: client.search_related_items(domainId=service.domain_id, caseId="none"),
        lambda: client.get_case(
            domainId=service.domain_id, caseId=result[0]["caseId"], fields=[{"id": "none"}]
        ),
        lambda: client.get_template(domainId=service.domain_id, templateId="none"),
    ):
        with pytest.raises(ClientError, match="ResourceNotFoundException"):
            call()


def test_history_has_the_creation_and_the_status_changes(service, client):
    frame = service.frame()
    for _, row in frame.iterrows():
        events, more = [], {}
        while True:
            page = client.get_case_audit_events(
                domainId=service.domain_id, caseId=row["case_id"], maxResults=3, **more
            )
            events += page["auditEvents"]
            if "nextToken" not in page:
                break
            more = {"nextToken": page["nextToken"]}
        assert events[0]["type"] == "Case.Created"
        assert events[0]["performedTime"] == row["created_at"]
        times = [event["performedTime"] for event in events]
        assert times == sorted(times)
        changes = [one for event in events for one in event["fields"]]
        last = [one for one in changes if one["eventFieldId"] == "status"][-1]
        assert (last["newValue"]["stringValue"] == "closed") == (row["status"] == "closed")


def test_batch_get_field_names_unknown_fields(service, client):
    answer = client.batch_get_field(
        domainId=service.domain_id, fields=[{"id": "status"}, {"id": "nope"}, {"id": "title"}]
    )
    assert [field["fieldId"] for field in answer["fields"]] == ["status", "title"]
    assert [error["id"] for error in answer["errors"]] == ["nope"]
    assert answer["fields"][0]["deleted"] is False


def test_domains_and_templates_are_described(service, client):
    assert [one["domainId"] for one in client.list_domains()["domains"]] == [service.domain_id]
    for template in client.list_templates(domainId=service.domain_id)["templates"]:
        one = client.get_template(domainId=service.domain_id, templateId=template["templateId"])
        assert (one["name"], one["status"]) == (template["name"], template["status"])
        assert one["requiredFields"] == [{"fieldId": "title"}]


def test_aws_cli_reads_a_case(service):
    case_id = service.frame()["case_id"][0]
    result = aws(
        service, "get-case", "--domain-id", service.domain_id, "--case-id", case_id,
        "--fields", json.dumps([{"id": "case_id"}]),
    )  # fmt: skip
    assert result["fields"][0]["value"]["stringValue"] == case_id


def test_items_follow_live_changes():
    with CaseService(10, seed=1) as running:
        client = connect_client(running)

        def count():
            answer = client.get_paginator("search_all_related_items").paginate(
                domainId=running.domain_id
            )
            return sum(len(page["relatedItems"]) for page in answer)

        before = count()
        new = running.insert({"title": "x", "contacts": 3})
        assert count() == before + 3
        running.delete(new)
        assert count() == before


def test_history_of_a_users_own_case_follows_from_its_times():
    import pandas as pd  # noqa: PLC0415 - only here

    frame = pd.DataFrame({
        "case_id": ["a"], "created_at": pd.to_datetime(["2024-01-01"]),
        "closed_at": pd.to_datetime(["2024-01-02"]), "status": ["closed"],
    })  # fmt: skip
    with CaseService(frame) as running:
        events = connect_client(running).get_case_audit_events(
            domainId=running.domain_id, caseId="a"
        )["auditEvents"]
    assert [event["type"] for event in events] == ["Case.Created", "Case.Updated"]
