"""`read_events`: the audit history of cases."""

from __future__ import annotations

from typing import TYPE_CHECKING

from casesearch_pd.reading.options import ReadOptions
from casesearch_pd.reading.related.per_case import (
    read_listing,
    require_related_source,
    select_cases,
)
from casesearch_pd.sources.transport.context import ReadContext, use_context

if TYPE_CHECKING:
    from collections.abc import Iterable

    import pandas as pd

    from casesearch_pd.reading.options import OnError
    from casesearch_pd.reading.progress import Progress
    from casesearch_pd.sources.base import Source

__all__ = ["read_events"]


def read_events(
    source: Source,
    cases: pd.DataFrame | Iterable[str] | str,
    *,
    progress: Progress = "auto",
    max_workers: int | None = None,
    on_error: OnError = "raise",
    timeout: float | None = None,
) -> pd.DataFrame:
    """Read the audit history of cases: one row per change, ready for process mining.

    Parameters
    ----------
    source
        The source of the cases: `ConnectCases`. Persona has no history.
    cases
        A DataFrame with ``case_id``, such as `read_cases` returns, or ids.
    progress, timeout
        As in `read_cases`.
    max_workers
        The maximum number of workers, which share the cases; None for as many as useful, at
        most 8.
    on_error
        ``"partial"`` returns, with a warning, the cases that were read before an error.

    Returns
    -------
    pandas.DataFrame
        ``case_id, at, event, field, old, new, by``, sorted by ``case_id`` and ``at``: text,
        except ``at``, which is a time in the time zone of the given DataFrame, else UTC.
        ``event`` is the word of the service, such as ``Case.Updated``; ``field`` a column of
        `list_fields`, or the id of a deleted field; ``old`` and ``new`` are values as text
        (``38``, ``true``), missing where there was or is none; ``by`` is the user, else the
        principal. An event without a changed field has one row without ``field``; if it is
        about a related item, ``new`` (of a deleted one, ``old``) is its type.

    Raises
    ------
    FilterError
        If these are not cases of the source, or it has no history; nothing has been sent.
    ServiceError
        If the service does not respond, or not with events.
    IncompleteReadError
        If the read fails after the first case; ``.partial`` holds the rows of the cases that
        were read, and ``.missing`` the ids of the others.

    Warns
    -----
    UserWarning
        If it takes more than a minute, and of cases that no longer exist.

    Notes
    -----
    GetCaseAuditEvents returns the events of one case, 25 per request, and permits 2 requests per
    second ("Amazon Connect service quotas", administrator guide). The ``rate=`` and ``burst=``
    of the source apply to it, separately from searches.

    Examples
    --------
    >>> import casesearch_pd as cs
    >>> with cs.LocalCases(cases=30, seed=2) as local:
    ...     df = cs.read_cases(local.connect_cases(), status="closed", columns=["case_id"])
    ...     events = cs.read_events(local.connect_cases(), df)
    >>> list(events)
    ['case_id', 'at', 'event', 'field', 'old', 'new', 'by']
    >>> sorted(events.loc[events["field"] == "status", "new"].unique())
    ['closed', 'open']
    """
    selection = select_cases(source, cases)
    options = ReadOptions(
        progress=progress, max_workers=max_workers, on_error=on_error, timeout=timeout
    )
    context = ReadContext.with_timeout(options.timeout)
    with use_context(context):
        listing = require_related_source(source).events()
    return read_listing(source, listing, selection, options, context)
