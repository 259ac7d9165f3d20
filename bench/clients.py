"""Readers to be measured: each takes all cases of a replay into the same typed frame.

Beside ours stand the ways that people read these services without us. What they have to know of
the fields (which column, which type) they get from our schema, before the clock starts: a user
would have written it down once. The floor is what no reader in Python can go below: the bytes by
``http.client``, decoded into typed structs by msgspec, and thrown away.
"""

import importlib.util
import itertools
import json
import math
import urllib.parse
from collections.abc import Callable, Iterator, Mapping, Sequence
from http.client import HTTPConnection
from typing import Any

import boto3
import msgspec
import pandas as pd
import requests
from replay import PAGE, SIGNATURE, Served

import casesearch_pd as cs
from casesearch_pd.query.schema import Field, FieldType
from casesearch_pd.sources.base import Source

Read = Callable[[], pd.DataFrame | int]
"""Read everything; a frame, or how many cases were decoded and thrown away."""

_SEARCH = "/api/v1/cases/search"
_ASKED = {"sort": {"attribute": "created_at", "direction": "asc"}, "page": {"size": PAGE}}
# What comes with every Connect case, by its name there; `template` is the name of the template.
_WIRE = {"case_id": "caseId", "template_id": "templateId", "template": "templateId", "tags": "tags"}


# --- ours -----------------------------------------------------------------------------


def connect_source(served: Served) -> Source:
    """Make our Connect source for a replay."""
    return cs.ConnectCases(
        served.domain_id, boto3_session=_session(), endpoint_url=served.url, rate=math.inf
    )


def persona_source(served: Served) -> Source:
    """Make our Persona source for a replay."""
    return cs.PersonaCases(token=served.token, base_url=f"{served.url}/api/v1", rate=math.inf)


def connect_columns(source: Source, served: Served) -> list[str]:
    """Name the columns of a Connect read: the fields of the replay, and what comes free."""
    return [*_WIRE, *(source.schema.resolve(name).column for name in served.fields)]


def connect_ours(served: Served, source: Source | None = None, **options: Any) -> Read:
    """Call `read_cases` for Connect; without a source of its own, discovery is in the read."""
    columns = connect_columns(source or connect_source(served), served)
    asked = source or connect_source(served)
    return lambda: cs.read_cases(asked, columns=columns, progress=False, **options)


def persona_ours(served: Served, source: Source | None = None, **options: Any) -> Read:
    """Call `read_cases` for Persona; without a source of its own, discovery is in the read."""
    asked = source or persona_source(served)
    return lambda: cs.read_cases(asked, progress=False, **options)


def _session() -> boto3.Session:
    return boto3.Session(
        aws_access_key_id="LOCAL", aws_secret_access_key="local", region_name="us-east-1"
    )


# --- boto3 ----------------------------------------------------------------------------


def boto3_rows(served: Served) -> Read:
    """Page with boto3's paginator; a dict a case, `pandas.DataFrame`, types."""
    source, pages = connect_source(served), _boto3_pages(served)
    fields = _fields(source, connect_columns(source, served))

    def read() -> pd.DataFrame:
        rows = [_row(case) for page in pages() for case in page["cases"]]
        return _typed(
            pd.DataFrame(rows),
            fields,
            _WIRE | {item.column: item.id for item in fields if item.column not in _WIRE},
        )

    return read


def _row(case: Mapping[str, Any]) -> dict[str, Any]:
    row = {item["id"]: next(iter(item["value"].values()), None) for item in case["fields"]}
    row["caseId"], row["templateId"] = case["caseId"], case["templateId"]
    row["tags"] = _tags(case.get("tags"))
    return row


def boto3_normalize(served: Served) -> Read:
    """Page with boto3's paginator; `pandas.json_normalize` to a line a value, a pivot, types."""
    source, pages = connect_source(served), _boto3_pages(served)
    fields = _fields(source, connect_columns(source, served))

    def read() -> pd.DataFrame:
        cases = [case for page in pages() for case in page["cases"]]
        long = pd.json_normalize(cases, "fields", ["caseId"])
        held = [name for name in long.columns if name.startswith("value.")]
        long["value"] = long[held].astype(object).bfill(axis=1).iloc[:, 0]
        wide = long.set_index(["caseId", "id"])["value"].unstack()  # noqa: PD010 - nothing to aggregate
        flat = pd.json_normalize(cases, max_level=0)[["caseId", "templateId", "tags"]]
        flat["tags"] = flat["tags"].map(_tags)
        frame = flat.join(wide, on="caseId")
        return _typed(
            frame,
            fields,
            _WIRE | {item.column: item.id for item in fields if item.column not in _WIRE},
        )

    return read


def _boto3_pages(served: Served) -> Callable[[], Iterator[Mapping[str, Any]]]:
    client = _session().client("connectcases", endpoint_url=served.url)
    asked = {
        "domainId": served.domain_id,
        "maxResults": PAGE,
        "fields": [{"id": name} for name in served.fields],
    }
    return lambda: iter(client.get_paginator("search_cases").paginate(**asked))


def _tags(tags: Mapping[str, str] | None) -> list[str]:
    return sorted(f"{key}={value}" for key, value in (tags or {}).items())


# --- requests and dlt -----------------------------------------------------------------


def requests_normalize(served: Served) -> Read:
    """Follow ``links.next`` in a loop with requests; `pandas.json_normalize`, types."""
    session = requests.Session()
    session.headers["Authorization"] = f"Bearer {served.token}"
    fields = _fields(persona_source(served))

    def read() -> pd.DataFrame:
        cases, link = [], _SEARCH
        while link is not None:
            answer = session.post(urllib.parse.urljoin(served.url, link), json=_ASKED)
            answer.raise_for_status()
            page = answer.json()
            cases += page["data"]
            link = page["links"]["next"]
        return _normalized(cases, fields)

    return read


def dlt_normalize(served: Served) -> Read:
    """Page with dlt's REST client; `pandas.json_normalize`, types."""
    from dlt.sources.helpers.rest_client import RESTClient  # noqa: PLC0415 - an extra, and dear
    from dlt.sources.helpers.rest_client.auth import BearerTokenAuth  # noqa: PLC0415
    from dlt.sources.helpers.rest_client.paginators import JSONLinkPaginator  # noqa: PLC0415

    client = RESTClient(served.url, auth=BearerTokenAuth(served.token), data_selector="data")
    fields = _fields(persona_source(served))

    def read() -> pd.DataFrame:
        paginator = JSONLinkPaginator(next_url_path="links.next")
        pages = client.paginate(_SEARCH, "POST", json=_ASKED, paginator=paginator)
        return _normalized(list(itertools.chain.from_iterable(pages)), fields)

    return read


def _normalized(cases: list[dict[str, Any]], fields: Sequence[Field]) -> pd.DataFrame:
    """Flatten down to the values; a hash stays one cell, as it is one column with us."""
    frame = pd.json_normalize(cases, max_level=3)
    for field in fields:
        name = _flat_name(field)
        if field.type in {"list", "json"}:
            frame[name] = frame[name].map(_CELLS.get(field.column, _plain), na_action="ignore")
    return _typed(frame, fields, {item.column: _flat_name(item) for item in fields})


def _flat_name(field: Field) -> str:
    if field.namespace == "custom":
        return f"attributes.{field.id}.value"
    if field.column == "case_id":
        return field.id
    if field.column in _TO_ONE:
        return f"relationships.{_TO_ONE[field.column]}.data.id"
    linked = field.type == "list" and field.column not in {"tags", "attachments"}
    return f"relationships.{field.id}.data" if linked else f"attributes.{field.id}"


_TO_ONE = {"template_id": "case-template", "template": "case-template", "queue": "case-queue"}


def _ids(links: list[dict[str, str]]) -> list[str]:
    return [link["id"] for link in links]


def _attachments(files: list[dict[str, Any]]) -> list[str]:
    return [f"{item['filename']} ({item['byte-size']} bytes)" for item in files]


def _plain(value: Any) -> Any:
    """Take the ``{"type", "value"}`` off, at any depth."""
    if isinstance(value, list):
        return [_plain(item) for item in value]
    if not isinstance(value, dict):
        return value
    if value.keys() == {"type", "value"}:
        return _plain(value["value"])
    return {key: _plain(item) for key, item in value.items()}


_LINKED = ("case_comments", "accounts", "inquiries", "reports", "verifications", "txns")
_CELLS: dict[str, Callable[[Any], Any]] = {
    **dict.fromkeys(_LINKED, _ids),
    "attachments": _attachments,
    "tags": list,
}


# --- the same types for all -------------------------------------------------------------


def _fields(source: Source, columns: Sequence[str] | None = None) -> tuple[Field, ...]:
    if columns is None:
        return source.schema.active
    return tuple(source.schema.resolve(name) for name in columns)


def _typed(frame: pd.DataFrame, fields: Sequence[Field], names: Mapping[str, str]) -> pd.DataFrame:
    columns = {item.column: _column(frame[names[item.column]], item.type) for item in fields}
    templates = next(item.options for item in fields if item.column == "template_id")
    labels = {option.value: option.label for option in templates}
    columns["template"] = columns["template_id"].map(labels).astype("str")
    return pd.DataFrame(columns)


def _column(values: pd.Series, kind: FieldType) -> pd.Series:
    match kind:
        case "datetime":
            return pd.to_datetime(values, format="ISO8601", utc=True).dt.as_unit("us")
        case "number":
            return values.astype("Float64")
        case "integer":
            return values.astype("Int64")
        case "boolean":
            return values.astype("boolean")
        case "list" | "tags" | "json":
            return values.astype(object)
        case _:
            return values.astype("str")


# --- the floor --------------------------------------------------------------------------


class _Value(msgspec.Struct, gc=False):
    stringValue: str | None = None  # noqa: N815 - the wire's spelling, here and below
    doubleValue: float | None = None  # noqa: N815
    booleanValue: bool | None = None  # noqa: N815
    userArnValue: str | None = None  # noqa: N815


class _FieldValue(msgspec.Struct, gc=False):
    id: str
    value: _Value


class _ConnectCase(msgspec.Struct, gc=False):
    caseId: str  # noqa: N815
    templateId: str  # noqa: N815
    fields: list[_FieldValue]
    tags: dict[str, str]


class _ConnectPage(msgspec.Struct, gc=False):
    cases: list[_ConnectCase]
    nextToken: str | None = None  # noqa: N815


class _Wrapped(msgspec.Struct, gc=False):
    value: Any


class _Attributes(msgspec.Struct, gc=False, rename="kebab"):
    status: str
    name: str
    created_at: str
    fields: dict[str, _Wrapped]
    tags: list[str]
    attachments: Any
    resolution: str | None = None
    updated_at: str | None = None
    assigned_at: str | None = None
    resolved_at: str | None = None
    redacted_at: str | None = None
    sla_expires_at: str | None = None
    creator_id: str | None = None
    creator_type: str | None = None
    assignee_id: str | None = None
    assigner_id: str | None = None
    assigner_type: str | None = None
    resolver_id: str | None = None
    resolver_type: str | None = None
    updater_id: str | None = None
    updater_type: str | None = None


class _Ref(msgspec.Struct, gc=False):
    id: str


class _Link(msgspec.Struct, gc=False):
    data: list[_Ref] | _Ref | None


class _PersonaCase(msgspec.Struct, gc=False):
    id: str
    attributes: _Attributes
    relationships: dict[str, _Link]


class _Links(msgspec.Struct, gc=False):
    next: str | None


class _PersonaPage(msgspec.Struct, gc=False):
    data: list[_PersonaCase]
    links: _Links


def connect_floor(served: Served) -> Read:
    """Decode Connect pages from ``http.client`` and throw them away."""
    decode = msgspec.json.Decoder(_ConnectPage).decode
    asked: dict[str, Any] = {"maxResults": PAGE, "fields": [{"id": name} for name in served.fields]}
    path = f"/domains/{served.domain_id}/cases-search"

    def read() -> int:
        link, cases, token = _link(served), 0, {}
        while token is not None:
            page = decode(_post(link, path, asked | token, {"Authorization": SIGNATURE}))
            cases += len(page.cases)
            token = None if page.nextToken is None else {"nextToken": page.nextToken}
        link.close()
        return cases

    return read


def persona_floor(served: Served) -> Read:
    """Decode Persona pages from ``http.client`` and throw them away."""
    decode = msgspec.json.Decoder(_PersonaPage).decode
    headers = {"Authorization": f"Bearer {served.token}"}

    def read() -> int:
        link, cases, path = _link(served), 0, _SEARCH
        while path is not None:
            page = decode(_post(link, path, _ASKED, headers))
            cases, path = cases + len(page.data), page.links.next
        link.close()
        return cases

    return read


def _link(served: Served) -> HTTPConnection:
    return HTTPConnection(urllib.parse.urlsplit(served.url).netloc)


def _post(link: HTTPConnection, path: str, body: object, headers: Mapping[str, str]) -> bytes:
    link.request("POST", path, json.dumps(body), {"Content-Type": "application/json", **headers})
    return link.getresponse().read()


# --- who is measured ----------------------------------------------------------------------

OURS, FLOOR = "read_cases", "http.client + msgspec, dropped"
CONNECT_PEER, PERSONA_PEER = "boto3 + dict rows", "requests + json_normalize"
READERS: dict[str, dict[str, Callable[[Served], Read]]] = {
    "Connect": {
        OURS: connect_ours,
        CONNECT_PEER: boto3_rows,
        "boto3 + json_normalize": boto3_normalize,
        FLOOR: connect_floor,
    },
    "Persona": {
        OURS: persona_ours,
        PERSONA_PEER: requests_normalize,
        "dlt + json_normalize": dlt_normalize,
        FLOOR: persona_floor,
    },
}


def installed(reader: str) -> bool:
    """Tell whether what a reader needs is there: dlt is an extra."""
    return not reader.startswith("dlt") or importlib.util.find_spec("dlt") is not None
