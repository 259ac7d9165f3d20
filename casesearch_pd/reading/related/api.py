"""Cases whose own columns hold what they are related to in, one row of each relation out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pandas as pd

from casesearch_pd.errors import FilterError, IncompleteReadError, ReadInterrupted, unknown_name
from casesearch_pd.reading.api import read_cases
from casesearch_pd.reading.provenance import read_provenance
from casesearch_pd.reading.related.per_case import (
    read_each,
    select_cases,
    warn_of_cost,
    warn_of_missing_cases,
    write_related_provenance,
)
from casesearch_pd.sources.base import RelatedSource
from casesearch_pd.sources.transport.context import ReadContext

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from casesearch_pd.reading.fetch.pipeline import OnError
    from casesearch_pd.reading.fetch.progress import Progress
    from casesearch_pd.reading.related.per_case import CaseSelection
    from casesearch_pd.sources.base import PerCaseListing, Source

__all__ = ["How", "read_columns", "read_events", "read_related"]


@dataclass(frozen=True)
class How:
    """How to read."""

    progress: Progress
    workers: int | None
    on_error: OnError
    timeout: float | None


def read_columns(
    source: Source, chosen: CaseSelection, kinds: tuple[str, ...], how: How
) -> pd.DataFrame:
    """Take what the frame has, and read what it lacks.

    Raises
    ------
    IncompleteReadError
        If not all cases could be read; ``.missing`` has the ids of the others.
    ReadInterrupted
        If the user stops it.
    """
    frame = chosen.frame if chosen.frame is not None else pd.DataFrame({"case_id": []})
    held = [kind for kind in kinds if kind in frame.columns]
    lacking = [kind for kind in kinds if kind not in held] if chosen.ids else []
    part, told = _exploded(frame, held), {"as_of": read_provenance(frame).get("as_of")}
    if not lacking:
        return _whole(source, [part], {**told, "requests": 0, "complete": True})
    try:
        cases = _read(source, chosen, lacking, how)
    except IncompleteReadError as broken:
        came = set() if broken.partial is None else {*broken.partial["case_id"]}
        broken.missing = tuple(one for one in chosen.ids if one not in came)
        broken.partial = _joined(source, part, broken.partial, lacking)
        raise
    except ReadInterrupted as stopped:
        stopped.partial = _joined(source, part, stopped.partial, lacking)
        raise
    return _joined(source, part, cases, lacking)


def _joined(
    source: Source, part: pd.DataFrame, cases: pd.DataFrame | None, kinds: Sequence[str]
) -> pd.DataFrame:
    if cases is None:
        return part
    return _whole(source, [part, _exploded(cases, kinds)], read_provenance(cases))


def _read(source: Source, chosen: CaseSelection, kinds: list[str], how: How) -> pd.DataFrame:
    warn_of_cost("relationships", len(chosen.ids), source.rate, source.burst)
    cases = read_cases(
        source,
        {"case_id": list(chosen.ids)},
        columns=["case_id", *kinds],
        progress=how.progress,
        max_workers=how.workers,
        on_error=how.on_error,
        timeout=how.timeout,
    )
    if read_provenance(cases).get("complete"):
        warn_of_missing_cases(set(chosen.ids).difference(cases["case_id"]))
    return cases


def _whole(source: Source, parts: Sequence[pd.DataFrame], told: Mapping[str, Any]) -> pd.DataFrame:
    """Put the parts in order, and write down what was read."""
    whole = pd.concat([_NOTHING, *parts]).drop_duplicates()
    whole = whole.sort_values(["case_id", "kind", "related_id"], ignore_index=True)
    said = {name: told.get(name) for name in ("requests", "complete", "as_of")}
    return write_related_provenance(whole, source, "relationships", **said)


def _exploded(cases: pd.DataFrame, kinds: Sequence[str]) -> pd.DataFrame:
    """Make one row of each member of the lists."""
    parts = [_related(cases, kind) for kind in kinds]
    return pd.concat([_NOTHING, *parts], ignore_index=True)


def _related(cases: pd.DataFrame, kind: str) -> pd.DataFrame:
    column = cases[kind]
    if pd.api.types.is_string_dtype(column) and column.notna().any():
        raise FilterError(
            f"column {kind!r} holds text where lists of ids belong; give the frame without it, "
            "or the ids of the cases, to have it read"
        )
    named = cases[["case_id"]].assign(kind=kind, related_id=column).explode("related_id")
    return named.dropna(subset="related_id").astype("str")


_NOTHING = pd.DataFrame({"case_id": [], "kind": [], "related_id": []}, dtype="str")


def read_events(
    source: Source,
    cases: pd.DataFrame | Iterable[str] | str,
    *,
    progress: Progress = "auto",
    max_workers: int | None = None,
    on_error: OnError = "raise",
    timeout: float | None = None,
) -> pd.DataFrame:
    """Read the audit history of cases: one row a change, ready for process mining.

    Parameters
    ----------
    source
        Where the cases are: `ConnectCases`. Persona tells no history.
    cases
        A frame with ``case_id``, such as `read_cases` makes, or ids.
    progress, timeout
        As in `read_cases`.
    max_workers
        How many readers may share the cases; None for as many as pay, at most 8.
    on_error
        ``"partial"`` returns, with a warning, the cases that were read before an error.

    Returns
    -------
    pandas.DataFrame
        ``case_id, at, event, field, old, new, by``, sorted by ``case_id`` and ``at``: text,
        but for ``at``, which is a time in the zone of the given frame, else UTC. ``event`` is
        the service's word, such as ``Case.Updated``; ``field`` a column of `list_fields`, or
        the id of a field that is deleted; ``old`` and ``new`` are values as text (``38``,
        ``true``), missing where there was or is none; ``by`` is the user, else the principal.
        An event without a changed field has one row without ``field``; if it is about a
        related item, ``new`` (of a deleted one, ``old``) is its type.

    Raises
    ------
    FilterError
        If these are no cases of the source, or it tells no history; nothing has been sent.
    ServiceError
        If the service does not answer, or not with events.
    IncompleteReadError
        If it stopped answering half-way; ``.partial`` holds the cases that came, and
        ``.missing`` the ids of the others.

    Warns
    -----
    UserWarning
        If it takes more than a minute, and of cases that are not there any more.

    Notes
    -----
    GetCaseAuditEvents answers for one case at a time, 25 events a request, and lets 2 requests a
    second pass ("Amazon Connect service quotas", administrator guide). The source's ``rate=``
    and ``burst=`` hold for it, in a budget of its own beside that of the searches.

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
    chosen = select_cases(source, cases)
    how = How(progress, _workers(max_workers), _mode(on_error), timeout)
    listing = _knows_more(source).events()
    return _each(source, listing, chosen, how)


def read_related(
    source: Source,
    cases: pd.DataFrame | Iterable[str] | str,
    *,
    kinds: Iterable[str] | str | None = None,
    progress: Progress = "auto",
    max_workers: int | None = None,
    on_error: OnError = "raise",
    timeout: float | None = None,
) -> pd.DataFrame:
    """Read what belongs to cases: one row a related item.

    Parameters
    ----------
    source
        Where the cases are.
    cases
        A frame with ``case_id``, such as `read_cases` makes, or ids.
    kinds
        Which kinds; None for all. Amazon Connect: ``contact``, ``comment``, ``file``, ``sla``,
        ``case``, ``custom``. Persona: ``case_comments``, ``accounts``, ``inquiries``,
        ``reports``, ``verifications``, ``txns``.
    progress, max_workers, on_error, timeout
        As in `read_events`.

    Returns
    -------
    pandas.DataFrame
        Amazon Connect: ``case_id, related_id, kind, at, by, tags, contact_arn, channel,
        connected_at, body, file_arn, sla_name, sla_status, sla_field, sla_target,
        sla_target_at, sla_completed_at, other_case_id, custom``, sorted by ``case_id`` and
        ``at``; what is not of the row's kind is missing. Times are in the zone of the given
        frame, else UTC; ``tags`` holds lists of ``key=value``, ``custom`` JSON of the fields of
        a custom item, all else is text. Persona: ``case_id, kind, related_id``, sorted so.

    Raises
    ------
    FilterError
        If these are no cases of the source, or it knows no such kind; nothing has been sent.
    ServiceError
        If the service does not answer, or not with related items.
    IncompleteReadError
        If it stopped answering half-way; ``.partial`` holds the cases that came, and
        ``.missing`` the ids of the others.

    Warns
    -----
    UserWarning
        If it takes more than a minute, and of cases that are not there any more.

    Notes
    -----
    Amazon Connect: SearchRelatedItems answers for one case at a time, 25 items a request, and
    lets 2 requests a second pass ("Amazon Connect service quotas", administrator guide). The
    source's ``rate=`` and ``burst=`` hold for it, in a budget of its own.

    Persona: a case itself tells what it is related to. Columns that the frame has are taken as
    they are, and nothing is sent; others are read with one request a case, so that it is cheaper
    to have `read_cases` bring them: ``columns=[…, "accounts"]``.

    Examples
    --------
    >>> import casesearch_pd as cs
    >>> with cs.LocalCases(cases=30, seed=2) as local:
    ...     df = cs.read_cases(local.persona_cases(), columns=["case_id", "accounts"])
    ...     related = cs.read_related(local.persona_cases(), df, kinds="accounts")
    >>> list(related), related["case_id"].isin(df["case_id"]).all()
    (['case_id', 'kind', 'related_id'], np.True_)
    """
    chosen = select_cases(source, cases)
    how = How(progress, _workers(max_workers), _mode(on_error), timeout)
    wanted = _kinds(_knows_more(source), kinds)
    listing = _knows_more(source).related(wanted)
    if listing is None:
        return read_columns(source, chosen, wanted, how)
    return _each(source, listing, chosen, how)


# --- what was asked ---------------------------------------------------------------------------


def _knows_more(source: Source) -> RelatedSource:
    if not isinstance(source, RelatedSource):
        raise FilterError(f"{source!r} tells nothing but its cases; ask the service itself")
    return source


def _kinds(source: RelatedSource, kinds: Iterable[str] | str | None) -> tuple[str, ...]:
    wanted = (kinds,) if isinstance(kinds, str) else tuple(source.kinds if kinds is None else kinds)
    strange = next((kind for kind in wanted if kind not in source.kinds), None)
    if strange is not None:
        raise unknown_name("kind", strange, source.kinds, see=", ".join(source.kinds))
    if not wanted:
        raise FilterError(f"kinds={kinds!r} reads nothing; leave it out for all kinds")
    return tuple(dict.fromkeys(wanted))


def _workers(number: int | None) -> int | None:
    counts = isinstance(number, int) and not isinstance(number, bool) and number >= 1
    if number is not None and not counts:
        raise FilterError(f"max_workers={number!r} reads nothing; write 1 or more, or None")
    return number


def _mode(on_error: OnError) -> OnError:
    if on_error not in ("raise", "partial"):
        raise FilterError(f"on_error={on_error!r} is neither 'raise' nor 'partial'")
    return on_error


def _each(source: Source, listing: PerCaseListing, chosen: CaseSelection, how: How) -> pd.DataFrame:
    return read_each(
        source,
        listing,
        chosen,
        ReadContext.with_timeout(how.timeout),
        progress=how.progress,
        on_error=how.on_error,
        workers=how.workers,
    )
