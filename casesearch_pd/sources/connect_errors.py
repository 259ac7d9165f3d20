"""What went wrong with Amazon Connect Cases: botocore's exceptions in, this package's errors out.

A `Trouble` is worth another try; any other error is final.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import botocore.exceptions as boto_errors
from botocore.parsers import ResponseParserError

from casesearch_pd import errors
from casesearch_pd.sources.moments import served_at
from casesearch_pd.sources.pace import Trouble, retry_after

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["FAILURES", "bad_answer", "no_client", "not_signed", "translated"]

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


def translated(error: Exception, domain_id: str, client_meta: Any) -> Exception:
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
            return errors.RefusedError(f"boto3 does not send this request: {error}")
        case boto_errors.HTTPClientError() | boto_errors.ConnectionError():
            error.request = None  # its headers bear the session token
            return Trouble(_unreachable(error, client_meta.endpoint_url))
        case boto_errors.BotoCoreError():
            return not_signed(error)
        case _:
            return Trouble(errors.BadAnswerError(f"the answer cannot be read: {error}"))


def _from_service(error: boto_errors.ClientError, domain_id: str, client_meta: Any) -> Exception:
    told, meta = error.response.get("Error", {}), error.response.get("ResponseMetadata", {})
    code, status = str(told.get("Code", "")), meta.get("HTTPStatusCode", 0)
    words = f"{code}: {told.get('Message') or 'no message'}"
    headers = meta.get("HTTPHeaders", {})
    # botocore reads the id off errors in JSON only.
    request_id = meta.get("RequestId") or headers.get("x-amzn-requestid")
    facts: dict[str, Any] = {"status": status, "code": code, "request_id": request_id}
    if status == 429 or code in _THROTTLES:  # noqa: PLR2004
        wait = retry_after(headers.get("retry-after"), served_at(headers).timestamp())
        asked = errors.ThrottledError(
            f"the service is throttling ({words}); pass a lower rate=", **facts
        )
        return Trouble(asked, throttled=True, wait=wait)
    if status == 408 or status >= 500:  # noqa: PLR2004
        return Trouble(
            errors.UnreachableError(f"the service fails ({words}); try again later", **facts)
        )
    return _final(
        status, code, words, facts, f"{domain_id!r} a Cases domain in {client_meta.region_name}"
    )


def _final(status: int, code: str, words: str, facts: dict[str, Any], domain: str) -> Exception:
    if status in {401, 403} or code in _DENIALS:
        return errors.AccessDeniedError(
            f"the service denies access ({words}); check AWS_ACCESS_KEY_ID, AWS_SESSION_TOKEN or "
            "AWS_PROFILE, and that the caller may cases:SearchCases, cases:ListFields, "
            "cases:ListFieldOptions and cases:ListTemplates",
            **facts,
        )
    if status == 404:  # noqa: PLR2004
        return errors.NotFoundError(
            f"{words}; is {domain}? `aws connectcases list-domains` shows yours", **facts
        )
    if status < 400:  # noqa: PLR2004
        return errors.NotFoundError(
            f"the service redirects elsewhere ({status}), which is not followed; "
            "check endpoint_url= and region_name=",
            **facts,
        )
    return errors.RefusedError(f"the service refuses the request ({words})", **facts)


def _unreachable(error: Exception, endpoint_url: str) -> errors.ServiceError:
    return errors.UnreachableError(
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


def bad_answer(why: object, meta: Mapping[str, Any]) -> errors.BadAnswerError:
    """Say that a success holds no answer; `meta` is botocore's ResponseMetadata."""
    return errors.BadAnswerError(
        f"the service answered {meta.get('HTTPStatusCode')} with what is no answer "
        f"({why}); a proxy between may have changed it",
        status=meta.get("HTTPStatusCode"),
        request_id=meta.get("RequestId"),
    )
