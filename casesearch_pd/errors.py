"""The errors a read can end in: what went wrong comes in, a sentence with the next step goes out.

::

    CaseSearchError
    ├─ FilterError (ValueError)     what cannot be asked: names, lookups, values
    ├─ ServiceError                 status, code, request_id
    │  ├─ AccessDeniedError         credentials: missing, expired, not allowed
    │  ├─ NotFoundError             domain, template, endpoint
    │  ├─ RefusedError              the service does not accept the request
    │  ├─ ThrottledError            the rate limit, for longer than the patience
    │  ├─ UnreachableError          no connection, no answer in time, 5xx to the end
    │  └─ BadAnswerError            a 200 that is not an answer, a cursor that loops
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
    """The root of all errors that this package raises on purpose."""


class FilterError(CaseSearchError, ValueError):
    """A filter, column or sort that cannot be asked: found before a search is sent."""


class ServiceError(CaseSearchError):
    """An answer of the service that ends the read.

    Parameters
    ----------
    message
        What happened and what to do next; the service's own words are in it.
    status
        The HTTP status, or None when there was no answer.
    code
        The service's name for the error, where it gave one.
    request_id
        What the service's support asks for, where it gave one.
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
    """Credentials are missing, expired or not allowed to do this (401, 403)."""


class NotFoundError(ServiceError):
    """The domain, template or endpoint does not exist (404)."""


class InvalidRequestError(ServiceError):
    """The service does not accept the request (400, 409, 422)."""


class ThrottledError(ServiceError):
    """The rate limit was hit for longer than the read is patient."""


class ServiceUnavailableError(ServiceError):
    """No connection, no answer in time, or server errors to the end of the patience."""


class InvalidResponseError(ServiceError):
    """A success status without an answer in it, or a cursor that leads nowhere."""


class IncompleteReadError(CaseSearchError):
    """Some rows could not be read; what was read is kept.

    Parameters
    ----------
    message
        What is missing and why.
    partial
        The rows that were read, as one typed frame.
    missing
        The parts of the result that were not read, in words.
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
    """The user stopped the read; ``partial`` holds the rows read so far."""

    def __init__(self, message: str, *, partial: pd.DataFrame | None = None) -> None:
        super().__init__(message)
        self.partial = partial


def nearest(name: str, known: Iterable[str]) -> list[str]:
    """Find up to three names of `known` that look like `name`, letter case aside."""
    folded = {item.casefold(): item for item in known}
    found = get_close_matches(name.casefold(), folded, n=3, cutoff=0.75)
    return [folded[item] for item in found]


def unknown_name(kind: str, name: object, known: Iterable[str], *, see: str) -> FilterError:
    """Say that `name` is no `kind`, with the nearest ones and where to look."""
    close = nearest(str(name), known)
    hint = f"; did you mean {' or '.join(map(repr, close))}?" if close else f"; see {see}"
    return FilterError(f"unknown {kind} {name!r}{hint}")


_HEARER: ContextVar[list[str] | None] = ContextVar("who listens to warnings", default=None)


@contextmanager
def capture_warnings() -> Iterator[list[str]]:
    """Collect what this thread is warned of, instead of warning.

    `warnings.catch_warnings` changes the filters of the whole process, so that the warnings of
    other threads would vanish with those of this one.

    Yields
    ------
    list of str
        The messages so far; it goes on to be filled.
    """
    said: list[str] = []
    token = _HEARER.set(said)
    try:
        yield said
    finally:
        _HEARER.reset(token)


def warn(message: str) -> None:
    """Warn at the line of the user's that led here, or tell who listens in this thread."""
    if (said := _HEARER.get()) is not None:
        said.append(message)
        return
    frame, level = sys._getframe(1), 2  # noqa: SLF001 - what warnings itself does
    while frame.f_back is not None and frame.f_code.co_filename.startswith(_HOME):
        frame, level = frame.f_back, level + 1
    warnings.warn(message, stacklevel=level)


_HOME = str(Path(__file__).parent)
