"""`read_related`: the items that belong to cases, listed per case or held in their own columns."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pandas as pd

from casesearch_pd.errors import FilterError, IncompleteReadError, ReadInterrupted, unknown_name
from casesearch_pd.query.coercion import is_collection
from casesearch_pd.reading.fetch.pipeline import read_frame
from casesearch_pd.reading.options import Query, ReadOptions
from casesearch_pd.reading.plan import plan_read
from casesearch_pd.reading.provenance import Provenance
from casesearch_pd.reading.related.per_case import (
    read_listing,
    require_related_source,
    select_cases,
    warn_of_cost,
    warn_of_missing_cases,
)
from casesearch_pd.sources.transport.context import ReadContext, use_context

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from casesearch_pd.reading.options import OnError
    from casesearch_pd.reading.progress import Progress
    from casesearch_pd.reading.related.per_case import CaseSelection
    from casesearch_pd.sources.base import RelatedSource, Source

__all__ = ["read_related"]

_LISTING = "relationships"


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
    """Read what belongs to cases: one row per related item.

    Parameters
    ----------
    source
        The source of the cases.
    cases
        A DataFrame with ``case_id``, such as `read_cases` returns, or ids.
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
        ``at``; columns of other kinds are missing values. Times are in the time zone of the
        given DataFrame, else UTC; ``tags`` holds lists of ``key=value``, ``custom`` JSON of the
        fields of a custom item, all else is text. Persona: ``case_id, kind, related_id``, sorted
        by these.

    Raises
    ------
    FilterError, ServiceError, IncompleteReadError
        As in `read_events`, and for an unknown kind. It warns like `read_events`, too.

    Notes
    -----
    Amazon Connect: SearchRelatedItems returns the items of one case, 25 per request, and permits
    2 requests per second ("Amazon Connect service quotas", administrator guide). The ``rate=``
    and ``burst=`` of the source apply to it, separately from searches.

    Persona: columns of the cases themselves hold their relationships. Columns of the DataFrame are
    used as they are, and nothing is sent; others are read with one request per case, so that
    it is cheaper to read them with the cases: ``columns=[…, "accounts"]``.

    Examples
    --------
    >>> import casesearch_pd as cs
    >>> with cs.LocalCases(cases=30, seed=2) as local:
    ...     df = cs.read_cases(local.persona_cases(), columns=["case_id", "accounts"])
    ...     related = cs.read_related(local.persona_cases(), df, kinds="accounts")
    >>> list(related), related["case_id"].isin(df["case_id"]).all()
    (['case_id', 'kind', 'related_id'], np.True_)
    """
    selection = select_cases(source, cases)
    options = ReadOptions(
        progress=progress, max_workers=max_workers, on_error=on_error, timeout=timeout
    )
    context = ReadContext.with_timeout(options.timeout)
    related_source = require_related_source(source)
    names = _parse_kinds(related_source, kinds)
    with use_context(context):
        listing = related_source.related(names)
        if listing is None:
            return _read_columns(source, selection, names, options, context)
    return read_listing(source, listing, selection, options, context)


def _parse_kinds(source: RelatedSource, kinds: Iterable[str] | str | None) -> tuple[str, ...]:
    if kinds is None:
        return tuple(source.kinds)
    if not isinstance(kinds, str) and not is_collection(kinds):
        raise FilterError(f"kinds must be a name or a list of names, got {kinds!r}")
    names = tuple(dict.fromkeys([kinds] if isinstance(kinds, str) else map(str, kinds)))
    unknown = next((name for name in names if name not in source.kinds), None)
    if unknown is not None:
        raise unknown_name("kind", unknown, source.kinds, see=", ".join(source.kinds))
    if not names:
        raise FilterError(f"kinds must name at least one kind, got {kinds!r}; None reads all")
    return names


def _read_columns(
    source: Source,
    selection: CaseSelection,
    kinds: tuple[str, ...],
    options: ReadOptions,
    context: ReadContext,
) -> pd.DataFrame:
    """Use the columns that the DataFrame has, and read the others."""
    cases = selection.frame if selection.frame is not None else pd.DataFrame({"case_id": []})
    present = [kind for kind in kinds if kind in cases.columns]
    absent = [kind for kind in kinds if kind not in present] if selection.ids else []
    rows = _explode(cases, present)
    if not absent:
        as_of = Provenance.of(cases).as_of
        return _combine(source, [rows], Provenance(requests=0, complete=True, as_of=as_of))

    def combine(cases: pd.DataFrame | None) -> pd.DataFrame:
        if cases is None:
            return rows
        return _combine(source, [rows, _explode(cases, absent)], Provenance.from_attrs(cases))

    try:
        return combine(_read_cases(source, selection, absent, options, context))
    except IncompleteReadError as error:
        read_ids = set() if error.partial is None else {*error.partial["case_id"]}
        error.missing = tuple(case_id for case_id in selection.ids if case_id not in read_ids)
        error.partial = combine(error.partial)
        raise
    except ReadInterrupted as stop:
        stop.partial = combine(stop.partial)
        raise


def _read_cases(
    source: Source,
    selection: CaseSelection,
    kinds: list[str],
    options: ReadOptions,
    context: ReadContext,
) -> pd.DataFrame:
    warn_of_cost(_LISTING, len(selection.ids), source.rate, source.burst)
    query = Query(where={"case_id": list(selection.ids)}, columns=["case_id", *kinds])
    cases = read_frame(plan_read(source, query), context, options)
    if Provenance.from_attrs(cases).complete:
        warn_of_missing_cases(set(selection.ids).difference(cases["case_id"]))
    return cases


def _combine(source: Source, parts: Sequence[pd.DataFrame], provenance: Provenance) -> pd.DataFrame:
    """Sort the rows of all parts, and write their provenance: that of reading the cases."""
    frame = pd.concat([_NO_ROWS, *parts]).drop_duplicates()
    frame = frame.sort_values(["case_id", "kind", "related_id"], ignore_index=True)
    frame.attrs |= Provenance(
        source=source.describe(),
        traits=source.traits,
        listing=_LISTING,
        rows=len(frame),
        requests=provenance.requests,
        complete=provenance.complete,
        as_of=provenance.as_of,
    ).to_attrs()
    return frame


def _explode(cases: pd.DataFrame, kinds: Sequence[str]) -> pd.DataFrame:
    """Return one row for each member of the lists."""
    return pd.concat([_NO_ROWS, *(_explode_kind(cases, kind) for kind in kinds)], ignore_index=True)


def _explode_kind(cases: pd.DataFrame, kind: str) -> pd.DataFrame:
    column = cases[kind]
    if pd.api.types.is_string_dtype(column) and column.notna().any():
        raise FilterError(
            f"the column {kind!r} holds text instead of lists of ids; drop it, or pass the ids of "
            "the cases, to have it read"
        )
    rows = cases[["case_id"]].assign(kind=kind, related_id=column).explode("related_id")
    return rows.dropna(subset="related_id").astype("str")


_NO_ROWS = pd.DataFrame({"case_id": [], "kind": [], "related_id": []}, dtype="str")
