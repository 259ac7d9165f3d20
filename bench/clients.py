"""The readers to measure: each reads all cases of a replay into the same typed DataFrame.

They are `read_cases` and the usual ways to read these services without it. What those need to know
about the fields (column and type) they take from our schema before they are measured, as a user
would have written it once. The minimum for any reader in Python is to read the bytes with
``http.client``, to decode them into typed structs with msgspec, and to drop them.
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
from replay import PAGE, SIGNATURE, ReplayServer

import casesearch_pd as cs
from casesearch_pd.query.schema import Field, FieldType
from casesearch_pd.sources.base import Source

Read = Callable[[], pd.DataFrame | int]
"""Read all cases; return a frame, or the number of cases that were decoded and dropped."""

_SEARCH = "/api/v1/cases/search"
_QUERY = {"sort": {"attribute": "created_at", "direction": "asc"}, "page": {"size": PAGE}}
# What every Connect case has, by its name in responses; `template` is the name of the template.
_RESPONSE_NAMES = {
    "case_id": "caseId",
    "template_id": "templateId",
    "template": "templateId",
    "tags": "tags",
}


# --- ours -----------------------------------------------------------------------------


def connect_source(server: ReplayServer) -> Source:
    """Return our Connect source for a replay."""
    return cs.ConnectCases(
        server.domain_id, boto3_session=_session(), endpoint_url=server.url, rate=math.inf
    )


def persona_source(server: ReplayServer) -> Source:
    """Return our Persona source for a replay."""
    return cs.PersonaCases(token=server.token, base_url=f"{server.url}/api/v1", rate=math.inf)


def connect_columns(source: Source, server: ReplayServer) -> list[str]:
    """Return the columns of a Connect read: the fields of the replay, and those of every case."""
    return [*_RESPONSE_NAMES, *(source.schema.resolve(name).column for name in server.fields)]


def connect_ours(server: ReplayServer, source: Source | None = None, **options: Any) -> Read:
    """Return a call of `read_cases` for Connect; without a source, it includes discovery."""
    columns = connect_columns(source or connect_source(server), server)
    source = source or connect_source(server)
    return lambda: cs.read_cases(source, columns=columns, progress=False, **options)


def persona_ours(server: ReplayServer, source: Source | None = None, **options: Any) -> Read:
    """Return a call of `read_cases` for Persona; without a source, it includes discovery."""
    source = source or persona_source(server)
    return lambda: cs.read_cases(source, progress=False, **options)


def _session() -> boto3.Session:
    return boto3.Session(
        aws_access_key_id="LOCAL", aws_secret_access_key="local", region_name="us-east-1"
    )


# --- boto3 ----------------------------------------------------------------------------


def boto3_rows(server: ReplayServer) -> Read:
    """Read pages with boto3's paginator; a dict per case, `pandas.DataFrame`, types."""
    source, pages = connect_source(server), _boto3_pages(server)
    fields = _fields(source, connect_columns(source, server))

    def read() -> pd.DataFrame:
        rows = [_row(case) for page in pages() for case in page["cases"]]
        return _typed(
            pd.DataFrame(rows),
            fields,
            _RESPONSE_NAMES
            | {item.column: item.id for item in fields if item.column not in _RESPONSE_NAMES},
        )

    return read


def _row(case: Mapping[str, Any]) -> dict[str, Any]:
    row = {item["id"]: next(iter(item["value"].values()), None) for item in case["fields"]}
    row["caseId"], row["templateId"] = case["caseId"], case["templateId"]
    row["tags"] = _tags(case.get("tags"))
    return row


def boto3_normalize(server: ReplayServer) -> Read:
    """Read pages with boto3's paginator; `pandas.json_normalize`, a pivot, types."""
    source, pages = connect_source(server), _boto3_pages(server)
    fields = _fields(source, connect_columns(source, server))

    def read() -> pd.DataFrame:
        cases = [case for page in pages() for case in page["cases"]]
        long = pd.json_normalize(cases, "fields", ["caseId"])
        value_columns = [name for name in long.columns if name.startswith("value.")]
        long["value"] = long[value_columns].astype(object).bfill(axis=1).iloc[:, 0]
        wide = long.set_index(["caseId", "id"])["value"].unstack()  # noqa: PD010 - nothing to aggregate
        flat = pd.json_normalize(cases, max_level=0)[["caseId", "templateId", "tags"]]
        flat["tags"] = flat["tags"].map(_tags)
        frame = flat.join(wide, on="caseId")
        return _typed(
            frame,
            fields,
            _RESPONSE_NAMES
            | {item.column: item.id for item in fields if item.column not in _RESPONSE_NAMES},
        )

    return read


def _boto3_pages(server: ReplayServer) -> Callable[[], Iterator[Mapping[str, Any]]]:
    client = _session().client("connectcases", endpoint_url=server.url)
    arguments = {
        "domainId": server.domain_id,
        "maxResults": PAGE,
        "fields": [{"id": name} for name in server.fields],
    }
    return lambda: iter(client.get_paginator("search_cases").paginate(**arguments))


def _tags(tags: Mapping[str, str] | None) -> list[str]:
    return sorted(f"{key}={value}" for key, value in (tags or {}).items())


# --- requests and dlt -----------------------------------------------------------------


def requests_normalize(server: ReplayServer) -> Read:
    """Follow ``links.next`` in a loop with requests; `pandas.json_normalize`, types."""
    session = requests.Session()
    session.headers["Authorization"] = f"Bearer {server.token}"
    fields = _fields(persona_source(server))

    def read() -> pd.DataFrame:
        cases, link = [], _SEARCH
        while link is not None:
            response = session.post(urllib.parse.urljoin(server.url, link), json=_QUERY)
            response.raise_for_status()
            page = response.json()
            cases += page["data"]
            link = page["links"]["next"]
        return _normalized(cases, fields)

    return read


def dlt_normalize(server: ReplayServer) -> Read:
    """Read pages with dlt's REST client; `pandas.json_normalize`, types."""
    from dlt.sources.helpers.rest_client import RESTClient  # noqa: PLC0415 - an extra, and slow to import
    from dlt.sources.helpers.rest_client.auth import BearerTokenAuth  # noqa: PLC0415
    from dlt.sources.helpers.rest_client.paginators import JSONLinkPaginator  # noqa: PLC0415

    client = RESTClient(server.url, auth=BearerTokenAuth(server.token), data_selector="data")
    fields = _fields(persona_source(server))

    def read() -> pd.DataFrame:
        paginator = JSONLinkPaginator(next_url_path="links.next")
        pages = client.paginate(_SEARCH, "POST", json=_QUERY, paginator=paginator)
        return _normalized(list(itertools.chain.from_iterable(pages)), fields)

    return read


def _normalized(cases: list[dict[str, Any]], fields: Sequence[Field]) -> pd.DataFrame:
    """Return a frame of flattened values; a hash stays one cell, as it is one column for us."""
    frame = pd.json_normalize(cases, max_level=3)
    for field in fields:
        name = _flat_name(field)
        if field.type in {"list", "json"}:
            frame[name] = frame[name].map(_CELLS.get(field.column, _unwrap), na_action="ignore")
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


def _unwrap(value: Any) -> Any:
    """Return a value without its ``{"type", "value"}``, at any depth."""
    if isinstance(value, list):
        return [_unwrap(item) for item in value]
    if not isinstance(value, dict):
        return value
    if value.keys() == {"type", "value"}:
        return _unwrap(value["value"])
    return {key: _unwrap(item) for key, item in value.items()}


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


# --- the minimum ------------------------------------------------------------------------


class _Value(msgspec.Struct, gc=False):
    stringValue: str | None = None  # noqa: N815 - as in responses, here and below
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


def connect_minimum(server: ReplayServer) -> Read:
    """Decode Connect pages from ``http.client`` and drop them."""
    decode = msgspec.json.Decoder(_ConnectPage).decode
    query: dict[str, Any] = {"maxResults": PAGE, "fields": [{"id": name} for name in server.fields]}
    path = f"/domains/{server.domain_id}/cases-search"

    def read() -> int:
        connection, cases, token = _connect(server), 0, {}
        while token is not None:
            page = decode(_post(connection, path, query | token, {"Authorization": SIGNATURE}))
            cases += len(page.cases)
            token = None if page.nextToken is None else {"nextToken": page.nextToken}
        connection.close()
        return cases

    return read


def persona_minimum(server: ReplayServer) -> Read:
    """Decode Persona pages from ``http.client`` and drop them."""
    decode = msgspec.json.Decoder(_PersonaPage).decode
    headers = {"Authorization": f"Bearer {server.token}"}

    def read() -> int:
        connection, cases, path = _connect(server), 0, _SEARCH
        while path is not None:
            page = decode(_post(connection, path, _QUERY, headers))
            cases, path = cases + len(page.data), page.links.next
        connection.close()
        return cases

    return read


def _connect(server: ReplayServer) -> HTTPConnection:
    return HTTPConnection(urllib.parse.urlsplit(server.url).netloc)


def _post(connection: HTTPConnection, path: str, body: object, headers: Mapping[str, str]) -> bytes:
    headers = {"Content-Type": "application/json", **headers}
    connection.request("POST", path, json.dumps(body), headers)
    return connection.getresponse().read()


# --- the readers --------------------------------------------------------------------------

OURS, MINIMUM = "read_cases", "http.client + msgspec, dropped"
CONNECT_PEER, PERSONA_PEER = "boto3 + dict rows", "requests + json_normalize"
READERS: dict[str, dict[str, Callable[[ReplayServer], Read]]] = {
    "Connect": {
        OURS: connect_ours,
        CONNECT_PEER: boto3_rows,
        "boto3 + json_normalize": boto3_normalize,
        MINIMUM: connect_minimum,
    },
    "Persona": {
        OURS: persona_ours,
        PERSONA_PEER: requests_normalize,
        "dlt + json_normalize": dlt_normalize,
        MINIMUM: persona_minimum,
    },
}


def is_installed(reader: str) -> bool:
    """Return whether the libraries of a reader are installed: dlt is an extra."""
    return not reader.startswith("dlt") or importlib.util.find_spec("dlt") is not None
