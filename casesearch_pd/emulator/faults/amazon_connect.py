"""The wire format of Amazon Connect Cases: a token is in a search's body, or in a list's query."""

from dataclasses import replace
from http.client import responses
from typing import Any

from casesearch_pd.emulator.amazon_connect.responses import ConnectError, connect_error_reply
from casesearch_pd.emulator.amazon_connect.routes import ROUTES, operation_of
from casesearch_pd.emulator.faults.wire import WireFormat, dump_json, request_body, with_query
from casesearch_pd.emulator.server import Reply, Request

_CODES = {
    400: "ValidationException",
    401: "UnrecognizedClientException",
    403: "AccessDeniedException",
    404: "ResourceNotFoundException",
    409: "ConflictException",
    429: "ThrottlingException",
    500: "InternalServerException",
    503: "ServiceUnavailableException",
}
_SERVER_ERROR = 500


def _is_list(request: Request) -> bool:
    return request.path.endswith("-list")


def _token_of(request: Request) -> str | None:
    parameters = dict(request.query) if _is_list(request) else request_body(request)
    return parameters.get("nextToken") or None


def _with_token(request: Request, token: str | None) -> Request:
    if _is_list(request):
        return with_query(request, "nextToken", token)
    return replace(request, content=dump_json({**request_body(request), "nextToken": token}))


def _cases(body: Any) -> list[Any] | None:
    return next((member for member in body.values() if isinstance(member, list)), None)


def _next_token(body: Any) -> str | None:
    token: str | None = body.get("nextToken")
    return token


def _set_next_cursor(body: Any, _: Request, token: str | None) -> None:
    if token is None:
        _remove_token(body)
    else:
        _set_token(body, token)


def _set_token(body: Any, token: Any) -> None:
    body["nextToken"] = token


def _remove_token(body: Any) -> bool:
    return body.pop("nextToken", None) is not None


def _fields(case: Any) -> list[Any]:
    fields: list[Any] = case.get("fields", [])
    return fields


def _set_value(case: Any, field: str | None, value: Any) -> bool:
    matches = [item for item in _fields(case) if field in (None, item["id"])]
    for item in matches[-1:]:
        item["value"] = value
    return bool(matches)


def _update_time(case: Any) -> tuple[dict[str, Any], str] | None:
    for item in _fields(case):
        if item["id"] == "last_updated_datetime":
            return item["value"], "stringValue"
    return None


def _error(status: int, message: str) -> Reply:
    code = _CODES.get(status, _CODES[500 if status >= _SERVER_ERROR else 400])
    return connect_error_reply(
        ConnectError(status, code, message or responses.get(status, "Error"))
    )


CONNECT = WireFormat(
    name="connect",
    operations=frozenset(operation.__name__ for operation in ROUTES.values()),
    operation_of=operation_of,
    request_cursor=_token_of,
    with_cursor=_with_token,
    cases=_cases,
    next_cursor=_next_token,
    set_next_cursor=_set_next_cursor,
    set_next_raw=_set_token,
    remove_next=_remove_token,
    set_value=_set_value,
    update_time=_update_time,
    error=_error,
)
