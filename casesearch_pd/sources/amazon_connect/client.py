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
from typing import TYPE_CHECKING, Any, TypeVar

import boto3
import botocore
import botocore.exceptions as boto_errors
from botocore import xform_name
from botocore.config import Config

from casesearch_pd.sources.amazon_connect.errors import (
    CALL_ERRORS,
    client_error,
    credentials_error,
    invalid_response,
    translate_error,
)
from casesearch_pd.sources.transport.context import default_tuning
from casesearch_pd.sources.transport.retry import TransientError
from casesearch_pd.sources.transport.urls import is_loopback

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

__all__ = ["ConnectClient"]

_Decoded = TypeVar("_Decoded")

_OK = 200
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
    ) -> None:
        self.boto = _create_client(session, region_name, endpoint_url)
        self._domain_id = domain_id
        self._responses = threading.local()  # each worker has its own body
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

        Raises AccessDeniedError if the credentials cannot be renewed.
        """
        credentials = self.boto._request_signer._credentials  # noqa: SLF001 - boto3 has no public way
        try:
            return getattr(credentials, "access_key", None)
        except (boto_errors.BotoCoreError, boto_errors.ClientError) as error:
            raise credentials_error(error) from error

    def call(self, operation: str, parameters: Mapping[str, Any]) -> dict[str, Any]:
        """Send one request; return what botocore made of its response."""
        try:
            method = getattr(self.boto, xform_name(operation))
            response: dict[str, Any] = method(domainId=self._domain_id, **parameters)
        except CALL_ERRORS as error:
            raise translate_error(error, self._domain_id, self.boto.meta) from error
        return response

    def read(
        self, operation: str, parameters: Mapping[str, Any], decode: Callable[[Any], _Decoded]
    ) -> tuple[_Decoded, Mapping[str, str]]:
        """Send one request; return its decoded body and its headers.

        `decode` takes the bytes of a body or, where botocore called no handler, its parsed
        response. It raises ValueError if that is invalid.
        """
        self._responses.body = None
        parsed = self.call(operation, parameters)
        headers = parsed["ResponseMetadata"]["HTTPHeaders"]
        body: bytes | None = self._responses.body
        try:
            if body is not None:
                _require_length(body, headers)
            return decode(parsed if body is None else body), headers
        except (ValueError, RecursionError) as error:
            raise TransientError(invalid_response(error, parsed["ResponseMetadata"])) from error

    def keep_body(self, response_dict: dict[str, Any], event_name: str, **_: object) -> None:
        """Keep the body of a page, and leave an empty one to botocore's parser."""
        empty = _EMPTY_BODIES.get(event_name.rpartition(".")[2])
        if empty is not None and response_dict["status_code"] == _OK:  # errors stay botocore's
            self._responses.body = response_dict["body"]
            response_dict["body"] = empty
        elif not _is_parsable(response_dict["body"]):
            response_dict["body"] = b""


def _require_length(body: bytes, headers: Mapping[str, str]) -> None:
    length = headers.get("content-length")
    if length is not None and length.isdigit() and int(length) != len(body):
        raise ValueError(f"the body ends after {len(body)} of {length} bytes")


def _is_parsable(body: bytes) -> bool:
    """Return whether botocore's parser can handle a body: it takes any JSON for an object."""
    try:
        return isinstance(json.loads(body), dict)
    except json.JSONDecodeError:
        return True  # it takes such a body for the text of an error
    except (ValueError, RecursionError):
        return False


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
        return creator.client(
            "connectcases", region_name=region, endpoint_url=endpoint, config=config
        )
    except (boto_errors.BotoCoreError, ValueError) as error:
        raise client_error(error) from error
