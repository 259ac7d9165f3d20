"""Stock clients of the emulator, and requests that no stock client would send."""

import json
import os
import subprocess
import sys
from pathlib import Path

import boto3
import requests
from botocore.config import Config
from botocore.validate import ParamValidator

SIGNATURE = (
    "AWS4-HMAC-SHA256 Credential=AKIDTEST/20260101/us-east-1/cases/aws4_request, "
    f"SignedHeaders=content-type;host;x-amz-date, Signature={'0' * 64}"
)
# The statuses of generated cases that are closed, by service.
CLOSED = {"connect": ["closed"], "persona": ["Approved", "Declined"]}


def connect_client(service, key="AKIDTEST", **config):
    """Return a stock boto3 client that checks each response against botocore's own model."""
    client = boto3.client(
        "connectcases",
        region_name=service.region,
        endpoint_url=service.url,
        aws_access_key_id=key,
        aws_secret_access_key="secret",
        config=Config(retries={"total_max_attempts": 1}, **config),
    )
    client.meta.events.register("after-call.connectcases", _validate)
    return client


def _validate(parsed, model, **_):
    if parsed["ResponseMetadata"]["HTTPStatusCode"] < 300:
        answer = {name: value for name, value in parsed.items() if name != "ResponseMetadata"}
        report = ParamValidator().validate(answer, model.output_shape)
        assert not report.has_errors(), report.generate_report()


def post_connect(service, body, path="cases-search", **headers):
    """Send a body to an operation of the domain without botocore's validation."""
    all_headers = {"Authorization": SIGNATURE, "X-Amz-Date": "20260101T000000Z", **headers}
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    url = f"{service.url}/domains/{service.domain_id}/{path}"
    return requests.post(url, content, headers=all_headers, timeout=20)


def search_all(service, **body):
    """Return every case of a Connect search, page by page, with its total."""
    cases, token = [], None
    while True:
        answer = post_connect(service, {"maxResults": 100, **body, "nextToken": token})
        assert answer.status_code == 200, answer.text
        page = answer.json()
        cases += page["cases"]
        token = page.get("nextToken")
        if token is None:
            return cases, page["totalCount"]


def ids_of(service, **body):
    """Return the ids of a Connect search, after checking its total."""
    cases, total = search_all(service, **body)
    assert total == len(cases)
    return [case["caseId"] for case in cases]


def values_of(case):
    """Return the values of a Connect case by field id."""
    return {one["id"]: next(iter(one["value"].values())) for one in case["fields"]}


def persona(service, method, path, body=None, *, params=None, token=None, **headers):
    """Send a request to Persona; names of headers have underscores instead of hyphens."""
    extra = {name.replace("_", "-"): value for name, value in headers.items()}
    all_headers = {"Authorization": f"Bearer {token or service.token}", **extra}
    url = path if path.startswith("http") else f"{service.url}{path}"
    return requests.request(
        method,
        url,
        json=body,
        params=params,
        headers=all_headers,
        timeout=20,
        allow_redirects=False,
    )


def persona_search(service, body, params=None, **headers):
    """POST a search."""
    return persona(service, "POST", "/api/v1/cases/search", body, params=params, **headers)


def persona_all(service, body, **headers):
    """Return every case of a Persona search, following links.next by POST."""
    answer = persona_search(service, {"page": {"size": 100}, **body}, **headers)
    cases = []
    while True:
        assert answer.status_code == 200, answer.text
        cases += answer.json()["data"]
        link = answer.json()["links"]["next"]
        if link is None:
            return cases
        answer = persona(service, "POST", link, {"page": {"size": 100}, **body}, **headers)


def aws(service, *arguments):
    """Run the aws CLI against the service and return its output."""
    command = [str(Path(sys.executable).with_name("aws")), "connectcases", *arguments]
    command += ["--endpoint-url", service.url, "--region", service.region, "--output", "json"]
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith("AWS_")},
        "AWS_ACCESS_KEY_ID": "AKIDTEST",
        "AWS_SECRET_ACCESS_KEY": "secret",
        "AWS_MAX_ATTEMPTS": "1",
        "AWS_CONFIG_FILE": os.devnull,
        "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
        "AWS_PAGER": "",
    }
    result = subprocess.run(
        command, env=environment, capture_output=True, text=True, timeout=60, check=False
    )
    assert result.returncode == 0, result.stderr
    return json.loads(result.stdout)
