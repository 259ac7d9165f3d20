"""What an error answer means on either wire: its status, words and advice in, an error out.

A `Trouble` is worth another try; any other error is final.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from casesearch_pd.errors import (
    AccessDeniedError,
    BadAnswerError,
    NotFoundError,
    RefusedError,
    ServiceError,
    ThrottledError,
    UnreachableError,
)
from casesearch_pd.sources.moments import served_at
from casesearch_pd.sources.patience import Trouble, retry_after

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["Advice", "Failure", "final", "no_answer", "passing", "refused"]


@dataclass(frozen=True, slots=True)
class Failure:
    """An answer that is an error.

    Parameters
    ----------
    status
        The HTTP status.
    code
        The service's name for the error.
    request_id
        What the service's support asks for, where it gave one.
    words
        The service's own text.
    """

    status: int
    code: str
    request_id: str | None
    words: str

    def error(self, kind: type[ServiceError], message: str) -> ServiceError:
        """Make an error that has what the answer tells."""
        return kind(message, status=self.status, code=self.code, request_id=self.request_id)


@dataclass(frozen=True, slots=True)
class Advice:
    """What a user can do about a final error.

    Parameters
    ----------
    denied
        Where access is denied.
    missing
        Where there is no such thing.
    elsewhere
        Where the service redirects.
    """

    denied: str
    missing: str
    elsewhere: str


def passing(
    failure: Failure, waits: str | None, headers: Mapping[str, str], *, throttled: bool = False
) -> Trouble | None:
    """Say what passes by itself: throttles and 5xx; None for what is final.

    Parameters
    ----------
    failure
        The answer.
    waits
        Its ``Retry-After``, or what stands for it.
    headers
        Its headers, for the service's clock.
    throttled
        Whether the service throttles, whatever the status.
    """
    words, status = failure.words, failure.status
    if status == 429 or throttled:  # noqa: PLR2004 - statuses are known by number, here and below
        message = f"the service is throttling ({words}); pass a lower rate="
        wait = retry_after(waits, served_at(headers).timestamp())
        return Trouble(failure.error(ThrottledError, message), throttled=True, wait=wait)
    if status == 408 or status >= 500:  # noqa: PLR2004
        message = f"the service fails ({words}); try again later"
        return Trouble(failure.error(UnreachableError, message))
    return None


def final(failure: Failure, advice: Advice, *, denied: bool = False) -> ServiceError:
    """Say what no other try would change; `denied` where the code says so and not the status."""
    status, words = failure.status, failure.words
    if status in {401, 403} or denied:
        message = f"the service denies access ({words}); {advice.denied}"
        return failure.error(AccessDeniedError, message)
    if status == 404:  # noqa: PLR2004
        return failure.error(NotFoundError, f"not found ({words}); {advice.missing}")
    if status < 400:  # noqa: PLR2004
        message = f"the service redirects elsewhere ({status}), {advice.elsewhere}"
        return failure.error(NotFoundError, message)
    return refused(failure)


def refused(failure: Failure) -> ServiceError:
    """Say that the service does not accept the request."""
    message = f"the service refuses the request ({failure.words})"
    return failure.error(RefusedError, message)


def no_answer(why: object, status: int | None, request_id: str | None) -> BadAnswerError:
    """Say that a success holds no answer."""
    return BadAnswerError(
        f"the service answered {status} with what is no answer ({why}); "
        "a proxy between may have changed it",
        status=status,
        request_id=request_id,
    )
