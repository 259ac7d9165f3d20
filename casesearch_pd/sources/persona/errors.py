"""What went wrong with Persona: an answer or an exception in, this package's errors out.

A `TransientError` is worth another try; any other error is final. Nothing here holds on to a request
or an answer: the one bears the token, the other may repeat it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from requests.exceptions import ChunkedEncodingError, ContentDecodingError

from casesearch_pd import errors
from casesearch_pd.query.expressions import literals
from casesearch_pd.sources.persona.auth import VARIABLE, without_token
from casesearch_pd.sources.transport.retry import (
    ErrorAdvice,
    ErrorResponse,
    TransientError,
    invalid_request,
    malformed_response,
    permanent_error,
    transient_error,
)

if TYPE_CHECKING:
    import requests

    from casesearch_pd.sources.base import Scan

__all__ = ["from_exception", "from_service", "invalid_response", "unsearchable"]


def from_service(response: requests.Response, base_url: str) -> Exception:
    """Say what an answer other than 200 means."""
    words = without_token(_words(response), response.request)
    failure = ErrorResponse(
        response.status_code, words.partition(":")[0], _request_id(response), words
    )
    if failure.status == 409:  # noqa: PLR2004 - "was just modified. Please try again."
        return TransientError(invalid_request(failure))
    if failure.status < 300:  # noqa: PLR2004 - a success, but none that search or List is said to have
        return TransientError(invalid_response("no content", response))
    headers = response.headers
    waits = headers.get("Retry-After") or headers.get("RateLimit-Reset")
    return transient_error(failure, waits, headers) or permanent_error(failure, _advice(base_url))


def _advice(base_url: str) -> ErrorAdvice:
    return ErrorAdvice(
        denied=f"set {VARIABLE} to a key of this environment that may read cases",
        missing=f"check base_url= (now {base_url}) and templates=",
        elsewhere=f"and the token is not sent there; check base_url= (now {base_url})",
    )


def _words(response: requests.Response) -> str:
    """Find the service's own words: title and details of its errors, else the status line."""
    try:
        told = response.json()["errors"]
        parts = [
            ": ".join(str(item[k]) for k in ("title", "details") if item.get(k)) for item in told
        ]
        return "; ".join(parts) or f"status {response.status_code}"
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return f"status {response.status_code} {response.reason or ''}".strip()


def _request_id(response: requests.Response) -> str | None:
    told = response.headers.get("Request-Id")
    return None if told is None else without_token(told, response.request)


def from_exception(
    error: requests.RequestException, base_url: str, *, late: bool = False
) -> errors.ServiceError:
    """Say why there is no answer, or only half of one; `late` if the read's deadline is over."""
    why = without_token(f"{type(error).__name__}: {error}", error.request)
    if late:
        return errors.ServiceUnavailableError(
            f"the deadline passed before {base_url} answered ({why}); give a longer timeout= or "
            "a narrower filter"
        )
    if isinstance(error, (ChunkedEncodingError, ContentDecodingError)):
        return errors.InvalidResponseError(
            f"the answer of {base_url} breaks off or cannot be unpacked ({why}); "
            "a proxy between may have changed it"
        )
    return errors.ServiceUnavailableError(
        f"no answer from {base_url} ({why}); check the network, a proxy, or base_url="
    )


def invalid_response(why: object, response: requests.Response) -> errors.InvalidResponseError:
    """Say that a success holds no answer."""
    return malformed_response(why, response.status_code, _request_id(response))


def unsearchable(error: errors.InvalidRequestError, scan: Scan) -> errors.FilterError | None:
    """Say which custom fields must be searchable, if that may be why a search is refused."""
    asked = [item.target for item in literals(scan.where)] + [item.field for item in scan.sort]
    custom = dict.fromkeys(item.id for item in asked if item.namespace == "custom")
    if not custom or error.status not in {400, 422}:
        return None
    return errors.FilterError(
        f"the service refuses the filter ({error}); {', '.join(custom)} must be marked searchable "
        "on the case template"
    )
