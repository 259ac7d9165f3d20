"""The boto3 client of Amazon Connect Cases, with the raw body of each response.

boto3 signs, finds credentials and endpoints, and keeps the connections. Its retries are off,
because `send_with_retry` repeats requests, and its parser is bypassed through its own
``before-parse`` event: botocore takes a broken 200 for an empty success and loses a whole page
to one null value (both measured), and takes twenty times as long as the codec. If a version of
botocore does not call the handler, its parsed response is used.
"""

from __future__ import annotations

import json
import threading
import zlib
from contextlib import suppress
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import urlsplit

import boto3
import botocore
import botocore.exceptions as boto_errors
import urllib3
from botocore import xform_name
from botocore.config import Config
from botocore.parsers import ResponseParserError

from casesearch_pd.errors import AccessDeniedError
from casesearch_pd.sources.amazon_connect.errors import (
    CALL_ERRORS,
    client_error,
    credentials_error,
    invalid_response,
    translate_error,
)
from casesearch_pd.sources.amazon_connect.secrets import hide_secrets, require_valid_headers
from casesearch_pd.sources.transport.body import (
    MAX_RESPONSE_BYTES,
    parse_json,
    read_body,
    strip_bom,
)
from casesearch_pd.sources.transport.context import ReadContext, default_tuning
from casesearch_pd.sources.transport.interrupt import exchange, interruptible_pools
from casesearch_pd.sources.transport.retry import TransientError
from casesearch_pd.sources.transport.urls import is_loopback

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

__all__ = ["ConnectClient"]

_Decoded = TypeVar("_Decoded")

_OK = 200
_BAD_REQUEST = 400
_MAX_CONNECTIONS = 32
# What botocore's parser gets in place of a response that the codec decodes.
_EMPTY_BODIES = {
    "SearchCases": b'{"cases":[]}',
    "GetCaseAuditEvents": b'{"auditEvents":[]}',
    "SearchRelatedItems": b'{"relatedItems":[]}',
}


class ConnectClient:
    """Sends requests about one domain, once each.

    Raises
    ------
    NotFoundError
        If no region is known.
    AccessDeniedError
        If the profile does not exist.
    """

    def __init__(
        self,
        domain_id: str,
        session: boto3.Session | None,
        region_name: str | None,
        endpoint_url: str | None,
        max_response_bytes: int = MAX_RESPONSE_BYTES,
    ) -> None:
        self.boto = _create_client(session, region_name, endpoint_url)
        self._domain_id = domain_id
        self._responses = threading.local()  # each worker has its own body, and its read
        _limit_responses(self.boto, self._responses, max_response_bytes)
        self.boto.meta.events.register("before-parse.connectcases", self.keep_body)

    @property
    def region_name(self) -> str:
        """The AWS region."""
        return str(self.boto.meta.region_name)

    @property
    def endpoint_url(self) -> str:
        """The address of the service."""
        return str(self.boto.meta.endpoint_url)

    def access_key(self) -> str | None:
        """Return the access key of the next request; it stands for the account.

        Raise AccessDeniedError if the credentials cannot be renewed.
        """
        credentials = self.boto._request_signer._credentials  # noqa: SLF001 - boto3 has no public way
        try:
            return getattr(credentials, "access_key", None)
        except (boto_errors.BotoCoreError, boto_errors.ClientError) as error:
            raise credentials_error(error) from error

    def call(
        self, operation: str, parameters: Mapping[str, Any], context: ReadContext
    ) -> dict[str, Any]:
        """Send one request; return what botocore made of its response."""
        self._responses.context = context
        response: dict[str, Any] = {}
        failure: BaseException | None = None
        try:
            method = getattr(self.boto, xform_name(operation))
            response = method(domainId=self._domain_id, **parameters)
        except BaseException as error:  # noqa: BLE001 - raised below
            failure = error
        finally:
            self._responses.context = None
        # Raised outside of the handler, because the context of the exception holds the headers.
        if failure is not None:
            hide_secrets(failure, self.boto._request_signer._credentials)  # noqa: SLF001 - as in access_key
            if isinstance(failure, CALL_ERRORS):
                raise translate_error(failure, self._domain_id, self.boto.meta) from failure
            raise failure
        meta = response["ResponseMetadata"]
        if "Error" in response:  # see `keep_body`
            meta["HTTPStatusCode"] = _OK
            raise self._error(response, operation)
        if (
            meta["HTTPStatusCode"] != _OK
        ):  # botocore accepts any below 300, such as a part of a body
            raise TransientError(invalid_response("another status than 200", meta))
        return response

    def _error(self, response: Mapping[str, Any], operation: str) -> Exception:
        error = boto_errors.ClientError(dict(response), operation)
        return translate_error(error, self._domain_id, self.boto.meta)

    def read(
        self,
        operation: str,
        parameters: Mapping[str, Any],
        decode: Callable[[Any], _Decoded],
        context: ReadContext,
    ) -> tuple[_Decoded, Mapping[str, str]]:
        """Send one request; return its decoded body and its headers.

        `decode` takes the bytes of a body or, where botocore called no handler, its parsed
        response. It raises ValueError if that is invalid.
        """
        self._responses.body = None
        parsed = self.call(operation, parameters, context)
        headers = parsed["ResponseMetadata"]["HTTPHeaders"]
        body: bytes | None = self._responses.body
        try:
            if body is not None:
                _require_length(body, headers)
            return decode(parsed if body is None else body), headers
        except (ValueError, RecursionError) as error:
            meta = parsed["ResponseMetadata"]
            details = _error_of(_try_parse(body or b""))
            if details is not None:
                raise self._error(
                    {"Error": details, "ResponseMetadata": meta}, operation
                ) from error
            raise TransientError(invalid_response(error, meta)) from error

    def keep_body(self, response_dict: dict[str, Any], event_name: str, **_: object) -> None:
        """Keep the body of a page, and leave an empty one to botocore's parser."""
        empty = _EMPTY_BODIES.get(event_name.rpartition(".")[2])
        if empty is not None and response_dict["status_code"] == _OK:  # errors stay botocore's
            self._responses.body = response_dict["body"]
            response_dict["body"] = empty
            return
        body = response_dict["body"] = strip_bom(response_dict["body"])
        try:
            value, replaced = parse_json(body)
        except json.JSONDecodeError:
            return  # botocore's parser takes such a body for the text of an error
        except (ValueError, RecursionError):
            value, replaced = None, False
        if not isinstance(value, dict):
            response_dict["body"] = b""  # botocore's parser takes any JSON for an object
        elif replaced:
            response_dict["body"] = body.decode(errors="replace").encode()
        if _error_of(value) is not None and response_dict["status_code"] == _OK:
            # With the status of an error botocore's parser finds the code and the message.
            response_dict["status_code"] = _BAD_REQUEST


class _LimitedSession:
    """Stands in for botocore's HTTP session, with the time limit of reads and a limit of bodies."""

    def __init__(self, session: Any, state: threading.local, max_response_bytes: int) -> None:
        self._session = session
        self._state = state
        self._max_response_bytes = max_response_bytes

    def __getattr__(self, name: str) -> Any:
        return getattr(self._session, name)

    def send(self, request: Any) -> Any:
        """Send one request; return its response with its whole body."""
        require_valid_headers(request.headers)
        context = getattr(self._state, "context", None) or ReadContext()
        request.stream_output = True  # botocore leaves the body to this method
        response = None
        with exchange(context) as current:
            try:
                response = self._session.send(request)
                response._content = self._read_body(response, request)  # noqa: SLF001 - botocore's cache
            except Exception:
                if response is not None:
                    response.raw.close()  # the rest of the body is on the connection
                if not current.over:
                    raise
        current.raise_if_over("Amazon Connect")
        return response

    def _read_body(self, response: Any, request: Any) -> bytes:
        try:
            return read_body(response.raw, response.headers, self._max_response_bytes)
        except zlib.error as error:
            raise ResponseParserError(f"it cannot be decompressed: {error}") from error
        except urllib3.exceptions.ReadTimeoutError as error:
            raise boto_errors.ReadTimeoutError(endpoint_url=request.url, error=error) from error
        except (urllib3.exceptions.HTTPError, OSError) as error:
            raise boto_errors.ConnectionClosedError(
                error=error, request=request, endpoint_url=request.url
            ) from error


def _limit_responses(client: Any, state: threading.local, max_response_bytes: int) -> None:
    """Limit the requests of a client to the time of their reads, and their bodies in size.

    Another version of botocore may keep its session elsewhere; then its own timeouts apply.
    """
    with suppress(AttributeError):
        session = client._endpoint.http_session  # noqa: SLF001 - botocore has no public way
        pools = interruptible_pools(session._pool_classes_by_scheme)  # noqa: SLF001 - as above
        session._manager.pool_classes_by_scheme = pools  # noqa: SLF001 - as above
        session._pool_classes_by_scheme = pools  # noqa: SLF001 - as above
        client._endpoint.http_session = _LimitedSession(session, state, max_response_bytes)  # noqa: SLF001 - as above


def _require_length(body: bytes, headers: Mapping[str, str]) -> None:
    length = headers.get("content-length")
    if "content-encoding" in headers:
        return  # it is the length of the compressed body, whose end was checked
    if length is not None and length.isdigit() and int(length) != len(body):
        raise ValueError(f"the body ends after {len(body)} of {length} bytes")


def _try_parse(body: bytes) -> Any:
    try:
        return parse_json(body)[0]
    except (ValueError, RecursionError):
        return None


def _error_of(value: Any) -> dict[str, str] | None:
    """Return code and message of a body that is an error, whatever its status."""
    if not isinstance(value, dict) or not isinstance(value.get("__type"), str):
        return None
    message = value.get("message") or value.get("Message") or "no message"
    return {"Code": value["__type"].rpartition("#")[2], "Message": str(message)}


def _create_client(session: boto3.Session | None, region: str | None, endpoint: str | None) -> Any:
    tuning = default_tuning()
    config = Config(
        retries={"mode": "standard", "total_max_attempts": 1},
        connect_timeout=tuning.connect_timeout,
        read_timeout=tuning.read_timeout,
        max_pool_connections=_MAX_CONNECTIONS,
        proxies={} if endpoint is not None and is_loopback(endpoint) else None,
        # Built once; botocore would build it at every call.
        user_agent=f"casesearch_pd Boto3/{boto3.__version__} Botocore/{botocore.__version__}",
        # All requests are made here, and the tests validate them against the service model;
        # validating each again takes a twentieth of the time of a page.
        parameter_validation=False,
    )
    try:
        creator = session or boto3.Session()
        client = creator.client(
            "connectcases", region_name=region, endpoint_url=endpoint, config=config
        )
    except (boto_errors.BotoCoreError, ValueError) as error:
        raise client_error(error) from error
    # Also an address of the environment or a profile (AWS_ENDPOINT_URL).
    url = str(client.meta.endpoint_url)
    if url.lower().startswith("http:") and not is_loopback(url):
        raise AccessDeniedError(
            f"the credentials would be sent to {urlsplit(url).hostname} unencrypted; use https://"
        )
    return client
