"""What went wrong with Amazon Connect Cases: botocore's exceptions in, this package's errors out.

A `TransientError` is worth another try; any other error is final.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import botocore.exceptions as boto_errors
from botocore.parsers import ResponseParserError

from casesearch_pd import errors
from casesearch_pd.sources.transport.retry import (
    ErrorAdvice,
    ErrorResponse,
    TransientError,
    malformed_response,
    permanent_error,
    transient_error,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["FAILURES", "invalid_response", "no_client", "not_signed", "translate_error"]

FAILURES = (
    boto_errors.BotoCoreError,
    boto_errors.ClientError,
    ResponseParserError,
    UnicodeDecodeError,
    TypeError,  # this and the next: botocore's parser met JSON of another shape
    AttributeError,
)
"""All that a call of botocore can raise because of the service, the network or credentials."""

_THROTTLES = {
    "ThrottlingException",
    "Throttling",
    "TooManyRequestsException",
    "RequestThrottled",
    "429",
}
# Some come with 400 instead of 403 ("Common errors", Amazon Connect API reference).
_DENIALS = {
    "AccessDenied",
    "AccessDeniedException",
    "ExpiredToken",
    "ExpiredTokenException",
    "IncompleteSignature",
    "InvalidClientTokenId",
    "InvalidSignatureException",
    "MissingAuthenticationToken",
    "OptInRequired",
    "RequestExpired",
    "UnrecognizedClientException",
}


def translate_error(error: Exception, domain_id: str, client_meta: Any) -> Exception:
    """Say in this package's words what botocore raised.

    Parameters
    ----------
    error
        One of `FAILURES`.
    domain_id
        The domain that was asked.
    client_meta
        The client's ``meta``, for region and address.
    """
    match error:
        case boto_errors.ClientError():
            return _from_service(error, domain_id, client_meta)
        case boto_errors.ParamValidationError():
            return errors.InvalidRequestError(f"boto3 does not send this request: {error}")
        case boto_errors.HTTPClientError() | boto_errors.ConnectionError():
            error.request = None  # its headers bear the session token
            return TransientError(_unreachable(error, client_meta.endpoint_url))
        case boto_errors.BotoCoreError():
            return not_signed(error)
        case _:
            return TransientError(
                errors.InvalidResponseError(f"the answer cannot be read: {error}")
            )


def _from_service(error: boto_errors.ClientError, domain_id: str, client_meta: Any) -> Exception:
    told, meta = error.response.get("Error", {}), error.response.get("ResponseMetadata", {})
    headers, code = meta.get("HTTPHeaders", {}), str(told.get("Code", ""))
    failure = ErrorResponse(
        meta.get("HTTPStatusCode", 0),
        code,
        # botocore reads the id off errors in JSON only.
        meta.get("RequestId") or headers.get("x-amzn-requestid"),
        f"{code}: {told.get('Message') or 'no message'}",
    )
    waits = headers.get("retry-after")
    return transient_error(
        failure, waits, headers, throttled=code in _THROTTLES
    ) or permanent_error(
        failure, _advice(domain_id, client_meta.region_name), denied=code in _DENIALS
    )


def _advice(domain_id: str, region: str) -> ErrorAdvice:
    return ErrorAdvice(
        denied="check AWS_ACCESS_KEY_ID, AWS_SESSION_TOKEN or AWS_PROFILE, and that the caller "
        "may cases:SearchCases, cases:ListFields, cases:ListFieldOptions and cases:ListTemplates "
        "(for history and related items cases:GetCaseAuditEvents, cases:SearchRelatedItems)",
        missing=f"is {domain_id!r} a Cases domain in {region}? `aws connectcases list-domains` "
        "shows yours",
        elsewhere="which is not followed; check endpoint_url= and region_name=",
    )


def _unreachable(error: Exception, endpoint_url: str) -> errors.ServiceError:
    return errors.ServiceUnavailableError(
        f"no answer from {endpoint_url}: {error}; check the network, a proxy, or endpoint_url="
    )


def no_client(error: Exception) -> errors.ServiceError:
    """Say why boto3 makes no client: region, profile, credentials or address."""
    match error:
        case boto_errors.NoRegionError():
            return errors.NotFoundError(
                "no AWS region is known; pass region_name='us-east-1', or set AWS_DEFAULT_REGION"
            )
        case boto_errors.ProfileNotFound():
            return errors.AccessDeniedError(
                f"{error}; set AWS_PROFILE to one that `aws configure list-profiles` shows"
            )
        case ValueError():
            return errors.NotFoundError(
                f"no endpoint for Amazon Connect Cases: {error}; check region_name=, endpoint_url="
            )
        case _:
            return not_signed(error)


def not_signed(error: Exception) -> errors.ServiceError:
    """Say that there are no credentials to sign with."""
    return errors.AccessDeniedError(
        f"no usable AWS credentials ({error}); set AWS_PROFILE, or AWS_ACCESS_KEY_ID and "
        "AWS_SECRET_ACCESS_KEY, or run `aws sso login`"
    )


def invalid_response(why: object, meta: Mapping[str, Any]) -> errors.InvalidResponseError:
    """Say that a success holds no answer; `meta` is botocore's ResponseMetadata."""
    return malformed_response(why, meta.get("HTTPStatusCode"), meta.get("RequestId"))
