"""How a read ends: complete, interrupted, or failed with a partial result.

Every sink (DataFrame, chunks, Parquet, mirror, Dask partition) and every per-case read ends here,
so that errors, warnings and notes have one wording, and ``on_error`` one meaning.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NoReturn, Protocol

from casesearch_pd.errors import (
    AccessDeniedError,
    IncompleteReadError,
    NotFoundError,
    ReadInterrupted,
    ServiceError,
    warn,
)
from casesearch_pd.sources.transport.context import Cancelled

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pandas as pd

    from casesearch_pd.reading.options import OnError
    from casesearch_pd.reading.plan import ReadPlan
    from casesearch_pd.sources.transport.context import ReadContext

__all__ = [
    "INTERRUPTED",
    "CountCheck",
    "PartialResult",
    "ShortResultError",
    "UnfinishedRead",
    "check_count",
    "end_early",
    "raise_interrupted",
]

INTERRUPTED = "interrupted by the user"
"""The note of a read that was interrupted."""

_MAX_NAMED = 5  # missing items that a message lists


@dataclass(frozen=True)
class PartialResult:
    """What was read before a read ended early."""

    frame: pd.DataFrame  # with provenance that says that it is incomplete
    amount: str  # how much was read, such as "300 rows"
    undelivered: int | None = None  # the rows in `frame`, if others were delivered before


class UnfinishedRead(Protocol):
    """What `end_early` needs to know of a read."""

    @property
    def context(self) -> ReadContext:
        """The read that the requests belong to."""

    @property
    def started(self) -> bool:
        """Whether at least one response was received."""

    def missing(self) -> list[str]:
        """Return what was not read."""

    def partial(self, note: str) -> PartialResult:
        """Return what was read, marked as incomplete with a note."""


def end_early(
    error: BaseException, read: UnfinishedRead, on_error: OnError = "raise"
) -> pd.DataFrame:
    """Return the partial result of a read, with a warning, or raise the error that it ends with.

    Raises
    ------
    ReadInterrupted
        If the user cancelled the read, whatever else happened at the same time.
    IncompleteReadError
        If something was received before the error, unless `on_error` is ``"partial"``.
    Exception
        The error itself, if nothing was received, or credentials or names are at fault.
    """
    if isinstance(error, KeyboardInterrupt | Cancelled) or read.context.cancelled:
        raise_interrupted(read, error)
    match error:
        case AccessDeniedError() | NotFoundError():
            raise error
        case ShortResultError():
            missing = [error.missing]
        case ServiceError() if read.started:
            missing = read.missing()
        case _:
            raise error
    names = [*missing[:_MAX_NAMED], *(["…"] if len(missing) > _MAX_NAMED else [])]
    reason = f"missing: {'; '.join(names)}: {error}"
    result = read.partial(f"read failed; {reason}")
    location = "kept in .partial"
    if result.undelivered is not None:
        location = f"the last {result.undelivered} {location}"
    failure = IncompleteReadError(
        f"read failed after {result.amount} ({location}); {reason}",
        partial=result.frame,
        missing=missing,
    )
    if on_error == "raise":
        raise failure from error
    warn(f"incomplete result: {failure}")
    return result.frame


def raise_interrupted(read: UnfinishedRead, cause: BaseException | None = None) -> NoReturn:
    """Raise ReadInterrupted with the partial result of a read."""
    result = read.partial(INTERRUPTED)
    rows = "they" if result.undelivered is None else f"the last {result.undelivered}"
    # After Ctrl-C the error is in `sys`; code that called `cancel` has caught it.
    location = ".partial" if read.context.cancelled else "sys.last_value.partial"
    raise ReadInterrupted(
        f"read interrupted after {result.amount}; {rows} are kept in {location}",
        partial=result.frame,
    ) from cause


@dataclass(frozen=True)
class CountCheck:
    """The rows of a read compared with the service's own count."""

    rows: int
    total: int | None  # on the first page; None if not all of the result was counted then
    recount: int | None = None  # after the read, if there was a need

    @property
    def is_short(self) -> bool:
        """Whether cases are missing. More rows than the count are no fault."""
        return self.recount is not None and self.rows < self.recount

    @property
    def is_stable(self) -> bool:
        """Whether no change of the count was seen; only then do too few rows prove a loss."""
        return self.total in (None, self.recount)

    @property
    def notes(self) -> list[str]:
        """What provenance says about a read that is not short."""
        if self.total is None or self.recount is None or not self.recount <= self.rows < self.total:
            return []
        return [f"the total decreased from {self.total} to {self.recount} during the read"]

    def __str__(self) -> str:
        return f"the service counts {self.recount} cases but returned {self.rows}"


def check_count(
    plan: ReadPlan, context: ReadContext, rows: int, total: int | None, *, is_resumed: bool
) -> CountCheck:
    """Compare the rows of a read with the count; count again if there are fewer.

    In a resumed read some rows come from a checkpoint, so that no first page has counted all.
    """
    needed = is_resumed and plan.source.can_count
    if not needed and (total is None or rows >= total):
        return CountCheck(rows, total)
    scans = plan.pass_scans(plan.passes[0])
    return CountCheck(rows, total, sum(plan.source.count(scan, context) for scan in scans))


class ShortResultError(Exception):
    """The service counts more cases than it returned; `end_early` makes an error of it."""

    def __init__(self, checks: Sequence[CountCheck]) -> None:
        last = checks[-1]
        assert last.recount is not None, "a short result was counted again"
        self.missing = f"{last.recount - last.rows} of {last.recount} cases"
        times = ", twice in a row" if len(checks) > 1 else ""
        super().__init__(f"{last}{times}; read again later, or narrow the filter")
