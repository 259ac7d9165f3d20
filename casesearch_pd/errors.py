"""Errors and warnings of this package; each message ends with the next step.

::

    CaseSearchError
    ├─ FilterError (ValueError)     an invalid filter or option: names, lookups, values
    ├─ ServiceError                 status, code, request_id
    │  ├─ AccessDeniedError         credentials: missing, expired, not sufficient
    │  ├─ NotFoundError             domain, template, endpoint
    │  ├─ InvalidRequestError       the service rejects the request
    │  ├─ ThrottledError            the rate limit, until the retries are exhausted
    │  ├─ ServiceUnavailableError   no connection, no response in time, or 5xx, likewise
    │  └─ InvalidResponseError      a 200 without a valid result, a cursor that loops
    └─ IncompleteReadError          .partial, .missing
    ReadInterrupted (KeyboardInterrupt)   .partial
"""

from __future__ import annotations

import sys
import warnings
from contextlib import contextmanager
from contextvars import ContextVar
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    import pandas as pd

__all__ = [
    "AccessDeniedError",
    "CaseSearchError",
    "FilterError",
    "IncompleteReadError",
    "InvalidRequestError",
    "InvalidResponseError",
    "NotFoundError",
    "ReadInterrupted",
    "ServiceError",
    "ServiceUnavailableError",
    "ThrottledError",
    "capture_warnings",
    "nearest",
    "unknown_name",
    "warn",
]


class CaseSearchError(Exception):
    """The base class of the errors that this package raises on purpose."""


class FilterError(CaseSearchError, ValueError):
    """A filter, column, sort or option that is invalid; raised before a search is sent."""


class ServiceError(CaseSearchError):
    """An error of the service that ends the read.

    Parameters
    ----------
    message
        What happened, with the service's own text, and what to do next.
    status
        The HTTP status, or None if there was no response.
    code
        The service's name for the error, if it has one.
    request_id
        The id that the service's support asks for, if there is one.
    """

    def __init__(
        self,
        message: str,
        *,
        status: int | None = None,
        code: str | None = None,
        request_id: str | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.request_id = request_id


class AccessDeniedError(ServiceError):
    """Credentials are missing, expired or not sufficient (401, 403)."""


class NotFoundError(ServiceError):
    """The domain, template or endpoint does not exist (404)."""


class InvalidRequestError(ServiceError):
    """The service rejects the request (400, 409, 422)."""


class ThrottledError(ServiceError):
    """The rate limit allows no further request within the time limit."""


class ServiceUnavailableError(ServiceError):
    """No connection, no response in time, or server errors until the retries are exhausted."""


class InvalidResponseError(ServiceError):
    """A success status without a valid result, or a pagination cursor that does not advance."""


class IncompleteReadError(CaseSearchError):
    """Some rows could not be read; the others are in ``partial``.

    Parameters
    ----------
    message
        What is missing and why.
    partial
        The rows that were read, as one typed DataFrame.
    missing
        Descriptions of the parts that were not read.
    """

    def __init__(
        self,
        message: str,
        *,
        partial: pd.DataFrame | None = None,
        missing: Sequence[str] = (),
    ) -> None:
        super().__init__(message)
        self.partial = partial
        self.missing = tuple(missing)


class ReadInterrupted(KeyboardInterrupt):
    """The user stopped the read; ``partial`` contains the rows read so far."""

    def __init__(self, message: str, *, partial: pd.DataFrame | None = None) -> None:
        super().__init__(message)
        self.partial = partial


def nearest(name: str, known: Iterable[str]) -> list[str]:
    """Return up to three names of `known` that are similar to `name`, in any letter case."""
    folded = {item.casefold(): item for item in known}
    matches = get_close_matches(name.casefold(), folded, n=3, cutoff=0.75)
    return [folded[item] for item in matches]


def unknown_name(kind: str, name: object, known: Iterable[str], *, see: str) -> FilterError:
    """Return the error of an unknown name, with the nearest names or where to find them."""
    close = nearest(str(name), known)
    hint = f"; did you mean {' or '.join(map(repr, close))}?" if close else f"; see {see}"
    return FilterError(f"unknown {kind} {name!r}{hint}")


_CAPTURED: ContextVar[list[str] | None] = ContextVar("captured warnings", default=None)


@contextmanager
def capture_warnings() -> Iterator[list[str]]:
    """Collect the warnings of this thread instead of issuing them.

    `warnings.catch_warnings` changes the filters of the whole process, so that the warnings of
    other threads would be lost.

    Yields
    ------
    list of str
        The messages; later ones are appended.
    """
    messages: list[str] = []
    token = _CAPTURED.set(messages)
    try:
        yield messages
    finally:
        _CAPTURED.reset(token)


def warn(message: str) -> None:
    """Issue a warning at the line of the user's code, or append it to the captured ones."""
    if (messages := _CAPTURED.get()) is not None:
        messages.append(message)
        return
    # The innermost frame outside of this package is the user's.
    frame, level = sys._getframe(1), 2  # noqa: SLF001 - what warnings itself does
    while frame.f_back is not None and frame.f_code.co_filename.startswith(_PACKAGE):
        frame, level = frame.f_back, level + 1
    warnings.warn(message, stacklevel=level)


_PACKAGE = str(Path(__file__).parent)
