"""Translate what botocore raises for Amazon Connect Cases into this package's errors.

A `TransientError` is worth another attempt; any other error is permanent.
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
    invalid_response_error,
    permanent_error,
    transient_error,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = [
    "CALL_ERRORS",
    "client_error",
    "credentials_error",
    "invalid_response",
    "translate_error",
]

CALL_ERRORS = (
    boto_errors.BotoCoreError,
    boto_errors.ClientError,
    ResponseParserError,
    UnicodeDecodeError,
    TypeError,  # this and the next: JSON of a shape that botocore's parser does not expect
    AttributeError,
)
"""What a call of botocore raises because of the service, the network or the credentials."""

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
    """Return the error that stands for what botocore raised."""
    match error:
        case boto_errors.ClientError():
            return _from_service(error, domain_id, client_meta)
        case boto_errors.ParamValidationError():
            return errors.InvalidRequestError(
                f"boto3 rejected the request: {error}; compare it with the requests of "
                "explain_cases"
            )
        case boto_errors.HTTPClientError() | boto_errors.ConnectionError():
            error.request = None  # its headers contain the session token
            return TransientError(_unavailable(error, client_meta.endpoint_url))
        case boto_errors.BotoCoreError():
            return credentials_error(error)
        case _:
            return TransientError(
                errors.InvalidResponseError(
                    f"the response cannot be parsed: {error}; check a proxy in between"
                )
            )


def _from_service(error: boto_errors.ClientError, domain_id: str, client_meta: Any) -> Exception:
    details, meta = error.response.get("Error", {}), error.response.get("ResponseMetadata", {})
    headers, code = meta.get("HTTPHeaders", {}), str(details.get("Code", ""))
    failure = ErrorResponse(
        meta.get("HTTPStatusCode", 0),
        code,
        # botocore finds the id of errors in JSON only.
        meta.get("RequestId") or headers.get("x-amzn-requestid"),
        f"{code}: {details.get('Message') or 'no message'}",
    )
    is_success = failure.status == 200  # noqa: PLR2004 - an error in the body of a success
    if is_success and code not in _THROTTLES | _DENIALS:
        return TransientError(invalid_response(f"it is an error: {failure.text}", meta))
    return transient_error(
        failure, headers.get("retry-after"), headers, throttled=code in _THROTTLES
    ) or permanent_error(
        failure, _advice(domain_id, client_meta.region_name), denied=code in _DENIALS
    )


def _advice(domain_id: str, region: str) -> ErrorAdvice:
    return ErrorAdvice(
        access_denied="check AWS_ACCESS_KEY_ID, AWS_SESSION_TOKEN or AWS_PROFILE, and that the "
        "caller is allowed cases:SearchCases, cases:ListFields, cases:ListFieldOptions and "
        "cases:ListTemplates (for history and related items cases:GetCaseAuditEvents, "
        "cases:SearchRelatedItems)",
        not_found=f"check that {domain_id!r} is a Cases domain in {region}; `aws connectcases "
        "list-domains` shows yours",
        redirected="which is not followed; check endpoint_url= and region_name=",
    )


def _unavailable(error: Exception, endpoint_url: str) -> errors.ServiceError:
    return errors.ServiceUnavailableError(
        f"no response from {endpoint_url}: {error}; check the network, a proxy, or endpoint_url="
    )


def client_error(error: Exception) -> errors.ServiceError:
    """Return the error of a client that boto3 could not create."""
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
            return credentials_error(error)


def credentials_error(error: Exception) -> errors.ServiceError:
    """Return the error of a request that cannot be signed."""
    return errors.AccessDeniedError(
        f"no usable AWS credentials ({error}); set AWS_PROFILE, or AWS_ACCESS_KEY_ID and "
        "AWS_SECRET_ACCESS_KEY, or run `aws sso login`"
    )


def invalid_response(reason: object, meta: Mapping[str, Any]) -> errors.InvalidResponseError:
    """Return the error of a success without a valid result; `meta` is its ResponseMetadata."""
    return invalid_response_error(reason, meta.get("HTTPStatusCode"), meta.get("RequestId"))
