"""Translate the error responses of Persona into this package's errors.

A `TransientError` is worth another attempt; any other error is permanent.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from casesearch_pd import errors
from casesearch_pd.query.expressions import comparisons
from casesearch_pd.sources.transport.retry import (
    ErrorAdvice,
    ErrorResponse,
    TransientError,
    invalid_request_error,
    invalid_response_error,
    permanent_error,
    transient_error,
)

if TYPE_CHECKING:
    from casesearch_pd.sources.base import Scan
    from casesearch_pd.sources.transport.http import HttpResponse

__all__ = ["TOKEN_VARIABLE", "has_errors", "response_error", "unsearchable_field_error"]

TOKEN_VARIABLE = "PERSONA_API_KEY"  # noqa: S105 - a name


def response_error(response: HttpResponse, base_url: str) -> Exception:
    """Return the error of a response whose status is not 200."""
    text = _error_text(response)
    code = text.partition(":")[0]
    failure = ErrorResponse(response.status, code, response.request_id, text)
    if failure.status == 409:  # noqa: PLR2004 - "was just modified. Please try again."
        return TransientError(invalid_request_error(failure))
    if failure.status == 200:  # noqa: PLR2004 - with errors in its body
        return _error_in_success(failure, base_url)
    if failure.status < 300:  # noqa: PLR2004 - a success, but none that search or List documents
        error = invalid_response_error("no content", failure.status, failure.request_id)
        return TransientError(error)
    headers = response.headers
    # Persona sends no Retry-After, but the end of its rate window.
    retry_after = headers.get("Retry-After") or headers.get("RateLimit-Reset")
    return transient_error(failure, retry_after, headers) or permanent_error(
        failure, _advice(base_url)
    )


_THROTTLE_WORDS = ("too many requests", "rate limit")
_DENIAL_WORDS = ("unauthorized", "forbidden", "authenticate", "api key", "permission")


def has_errors(response: HttpResponse) -> bool:
    """Return whether a response with status 200 is a list of errors, which come first in it."""
    if b'"errors"' not in response.body[:_ERRORS_WITHIN]:
        return False
    try:
        value = response.json()
    except (ValueError, RecursionError):
        return False
    return isinstance(value, dict) and bool(value.get("errors")) and "data" not in value


_ERRORS_WITHIN = 1024  # bytes: looking through a whole page would cost time


def _error_in_success(failure: ErrorResponse, base_url: str) -> Exception:
    """Return the error that a body with status 200 describes; only its words say which."""
    words = failure.text.casefold()
    throttled = any(word in words for word in _THROTTLE_WORDS)
    if throttled and (error := transient_error(failure, None, {}, throttled=True)):
        return error
    if any(word in words for word in _DENIAL_WORDS):
        return permanent_error(failure, _advice(base_url), denied=True)
    reason = f"it is an error: {failure.text}"
    return TransientError(invalid_response_error(reason, failure.status, failure.request_id))


def _advice(base_url: str) -> ErrorAdvice:
    return ErrorAdvice(
        access_denied=f"set {TOKEN_VARIABLE} to a key of this environment that may read cases",
        not_found=f"check base_url= (now {base_url}) and templates=",
        redirected=f"and the token is not sent there; check base_url= (now {base_url})",
    )


def _error_text(response: HttpResponse) -> str:
    """Return the titles and details of the service's own errors, or else the status line."""
    try:
        parts = [
            ": ".join(str(item[key]) for key in ("title", "details") if item.get(key))
            for item in response.json()["errors"]
        ]
        return "; ".join(parts) or f"status {response.status}"
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return f"status {response.status} {response.reason}".strip()


def unsearchable_field_error(
    error: errors.InvalidRequestError, scan: Scan
) -> errors.FilterError | None:
    """Return which custom fields have to be searchable, if that may be why a search failed."""
    fields = [item.target for item in comparisons(scan.where)] + [item.field for item in scan.sort]
    custom = dict.fromkeys(item.id for item in fields if item.namespace == "custom")
    if not custom or error.status not in {400, 422}:
        return None
    return errors.FilterError(
        f"the service rejected the filter ({error}); {', '.join(custom)} must be marked searchable "
        "on the case template"
    )
