"""What a read has cost so far in, how many readers pay for the rest out."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from casesearch_pd.sources.run import Run

__all__ = ["hands_that_pay"]

_WORKERS = 8  # readers, unless the user says otherwise
_CPU = 0.04  # seconds a request below which it is this machine that is slow, not the service


def hands_that_pay(run: Run, rate: float, workers: int | None) -> int:
    """Tell how many readers may wait for answers at one time.

    As many requests are under way as are sent in the time that one answer takes; more readers
    would wait for leave to send.

    Parameters
    ----------
    run
        The read so far.
    rate
        Requests a second that may be sent.
    workers
        Readers at most, as the user wants it; None for as many as pay.
    """
    if workers is not None:
        return workers
    latency = run.busy / max(1, run.requests)
    under_way = latency * rate
    return 1 if latency < _CPU else math.ceil(min(_WORKERS, max(1.0, under_way)))
