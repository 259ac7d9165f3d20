"""What the documents of the two services leave open, each as a named choice with a strict default.

A client that is right whichever way these fall is right on the real services too.
"""

from dataclasses import dataclass, fields
from typing import Literal, get_args, get_type_hints


@dataclass(frozen=True)
class EmulatorOptions:
    """How the service behaves where no document says it.

    Parameters
    ----------
    unset
        Connect, a field asked for that a case does not have: ``omit`` it, or show it with the
        value ``{"emptyValue": {}}`` (``empty``) or ``null``. Event streams carry "only non-null
        field values".
    default_fields
        Connect, SearchCases without ``fields``: ``none`` come back, or the ``system`` fields.
    text_match
        Equality on text: ``exact``; ``caseless``; or ``token``, every word of the value occurs.
        (AWS's own SearchCases example finds "Forward Web Engineer-1" by "Forward Web Engineer".)
    text_ranges
        Whether greater and less than are taken on text, in code point order, or refused.
    list_match
        Persona, ``eq`` on a field of several values: some ``member`` is equal, or ``refuse``.
    filter_depth
        The deepest nesting of a filter; None is what is documented: 2 on Persona, none on Connect.
    not_is_level
        Persona, whether ``not`` counts as a level of nesting.
    nulls
        Cases without the sort field come ``last`` or ``first``, in both directions.
    cursor
        A page starts after the row before it (``keyset``), or after a number of rows
        (``offset``), so that inserts and deletes shift it.
    window
        How many cases of a result can be reached by paging, or None for all.
    token_lifetime
        Seconds for which Connect takes a page token, or None for ever.
    index_delay
        Seconds until SearchCases and Persona's search see a change; List, retrieve and GetCase
        see it at once. Persona documents "within approximately 1 minute"; AWS "typically less
        than a few seconds".
    rate, burst
        Requests per second on each Connect operation after a burst, and sixty times the rate a
        minute on Persona; None for no limit. AWS's quotas page has 2 and 10, Persona's 300 a
        minute.
    wrapped
        Persona, whether custom values are ``{"type", "value"}``, as in its search sample, or
        bare, as in its webhook samples.
    sparse_relationships
        Persona, whether a sparse fieldset that names no relationship still shows them all.
    """

    unset: Literal["omit", "empty", "null"] = "omit"
    default_fields: Literal["none", "system"] = "none"
    text_match: Literal["exact", "caseless", "token"] = "exact"
    text_ranges: bool = False
    list_match: Literal["member", "refuse"] = "member"
    filter_depth: int | None = None
    not_is_level: bool = True
    nulls: Literal["last", "first"] = "last"
    cursor: Literal["keyset", "offset"] = "keyset"
    window: int | None = None
    token_lifetime: float | None = None
    index_delay: float = 0.0
    rate: float | None = None
    burst: float = 10.0
    wrapped: bool = True
    sparse_relationships: bool = False

    def __post_init__(self) -> None:
        hints = get_type_hints(type(self))
        for one in fields(self):
            allowed = get_args(hints[one.name])
            value = getattr(self, one.name)
            if all(isinstance(word, str) for word in allowed) and allowed and value not in allowed:
                raise ValueError(f"{one.name}={value!r} is not one of {list(allowed)}")
        if self.index_delay < 0 or (self.window is not None and self.window < 1):
            raise ValueError("index_delay must not be negative, window must be at least 1")

    @property
    def nulls_last(self) -> bool:
        """Whether missing sort keys come last."""
        return self.nulls == "last"
