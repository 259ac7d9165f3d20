"""A list a case in, the pages of each case out, asked for by as many hands as pay.

The readers take one case after the other off a common list, and one budget paces all of them.
A case is here with all of its entries or not at all, so what is missing can be told by id and
be asked for later.
"""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass, field
from itertools import islice
from typing import TYPE_CHECKING, Any

from casesearch_pd.errors import BadAnswerError, RefusedError, ServiceError
from casesearch_pd.reading.hands import hands_that_pay
from casesearch_pd.sources.run import Halted

if TYPE_CHECKING:
    from collections.abc import Iterator

    from casesearch_pd.sources.contract import Page, PerCase
    from casesearch_pd.sources.run import Run

__all__ = ["Round"]

_ALONE = 8  # cases that one reader asks for before others are asked to join
_EMPTY = 20  # empty pages of one case that are followed


@dataclass
class Round:
    """The cases to ask for, and what has come.

    Parameters
    ----------
    listing
        Who is asked.
    ids
        The cases.
    run
        The read that this belongs to.
    bar
        Told of each case.
    workers
        Readers at most; None for as many as pay.
    told
        The pages of each case that was asked to its end.
    gone
        Cases that the service does not have.
    failure
        What ended it.
    """

    listing: PerCase
    ids: tuple[str, ...]
    run: Run
    bar: Any
    workers: int | None
    told: dict[str, list[Page]] = field(default_factory=dict)
    gone: set[str] = field(default_factory=set)
    failure: ServiceError | None = None
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def __post_init__(self) -> None:
        """Stand at the first case."""
        self._waiting = iter(self.ids)

    @property
    def missing(self) -> list[str]:
        """The cases that were not asked to their end."""
        return [one for one in self.ids if one not in self.told and one not in self.gone]

    def read(self) -> None:
        """Ask for all cases, or until the service fails.

        Raises
        ------
        Halted
            If the user stopped the read.
        """
        self._work(_ALONE)
        hands = hands_that_pay(self.run, self.listing.rate, self.workers)
        if hands == 1:
            self._work()
        elif self.missing:
            self._share(hands)
        self.run.check()

    def _share(self, hands: int) -> None:
        with ThreadPoolExecutor(hands, thread_name_prefix="cases") as pool:
            try:
                for done in as_completed([pool.submit(self._work) for _ in range(hands)]):
                    done.result()
            except BaseException:
                self.run.halt.set()  # whoever waits for leave to send is woken
                raise

    def _work(self, most: int | None = None) -> None:
        for case_id in islice(self._taken(), most):
            try:
                pages = _walk(self.listing, case_id, self.run)
            except ServiceError as error:
                with self._lock:
                    self.failure = self.failure or error
                return
            self._note(case_id, pages)

    def _taken(self) -> Iterator[str]:
        while True:
            with self._lock:
                case_id = next(self._waiting, None)
            if case_id is None or self.failure is not None or self.run.halt.is_set():
                return
            yield case_id

    def _note(self, case_id: str, pages: list[Page] | None) -> None:
        with self._lock:
            if pages is None:
                self.gone.add(case_id)
            else:
                self.told[case_id] = pages
            self.bar.update(1)


# --- one case ---------------------------------------------------------------------------------


def _walk(listing: PerCase, case_id: str, run: Run) -> list[Page] | None:
    """Ask for all that there is of one case; None if there is no such case.

    Raises
    ------
    ServiceError
        If the service does not answer, or its cursors lead nowhere twice.
    """
    try:
        return _follow(listing, case_id, run)
    except _Lost:
        pass  # a cursor may expire; a list of one case is soon read anew
    try:
        return _follow(listing, case_id, run)
    except _Lost as lost:
        raise lost.error from lost


class _Lost(Exception):  # noqa: N818 - begins a case anew, and reaches nobody
    """A cursor leads nowhere."""

    def __init__(self, error: ServiceError) -> None:
        super().__init__(str(error))
        self.error = error


def _follow(listing: PerCase, case_id: str, run: Run) -> list[Page] | None:
    pages: list[Page] = []
    seen: set[str | None] = set()
    cursor: str | None = None
    while cursor is not None or not pages:
        page = _page(listing, case_id, cursor, run)
        if page is None:  # also if it goes while it is read
            return None
        pages.append(page)
        cursor = page.cursor
        if cursor in seen or sum(not one.rows for one in pages) > _EMPTY:
            raise _Lost(
                BadAnswerError(
                    f"the {listing.name} of case {case_id!r} comes with page cursors that lead "
                    "nowhere; report it to the service, and leave the case out meanwhile"
                )
            )
        seen.add(cursor)
        if run.halt.is_set():
            raise Halted
    return pages


def _page(listing: PerCase, case_id: str, cursor: str | None, run: Run) -> Page | None:
    try:
        return listing.page(case_id, cursor, run)
    except RefusedError as error:
        if cursor is None:
            raise
        raise _Lost(error) from error
