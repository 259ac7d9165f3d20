"""Behavior that the documentation of the two services leaves open, as options.

The defaults are strict. A client that is correct with every value of every option is correct on
the real services too.
"""

from collections.abc import Iterable
from dataclasses import dataclass, fields
from difflib import get_close_matches
from typing import Literal, get_args, get_type_hints


@dataclass(frozen=True)
class EmulatorOptions:
    """Behavior of the emulator where the documentation of the services leaves it open.

    Parameters
    ----------
    unset
        Connect: a requested field that a case does not have is omitted (``omit``), or has the
        value ``{"emptyValue": {}}`` (``empty``) or ``null``. Event streams carry "only non-null
        field values".
    default_fields
        Connect: SearchCases without ``fields`` returns ``none``, or the ``system`` fields.
    text_match
        Equality on text: ``exact``; ``caseless``; or ``token``, every word of the value occurs.
        (AWS's own SearchCases example finds "Forward Web Engineer-1" by "Forward Web Engineer".)
    text_ranges
        Whether greater and less than are accepted on text, in code point order, or refused.
    list_match
        Persona: ``eq`` on a field with several values matches an equal ``member``, or is an error
        (``refuse``).
    filter_depth
        Maximum nesting of a filter; None for the documented one: 2 on Persona, none on Connect.
    not_is_level
        Persona: whether ``not`` counts as a level of nesting.
    nulls
        Cases without the sort field come ``last`` or ``first``, in both directions.
    cursor
        A page starts after the row before it (``keyset``), or after a number of rows
        (``offset``), so that inserts and deletes shift it.
    window
        Number of cases of a result that can be reached by paging, or None for all.
    token_lifetime
        Seconds for which Connect accepts a page token, or None for no limit.
    index_delay
        Seconds until SearchCases and Persona's search see a change; List, retrieve and GetCase
        see it at once. Persona documents "within approximately 1 minute"; AWS "typically less
        than a few seconds".
    rate, burst
        Requests per second on each Connect operation after a burst, and sixty times the rate per
        minute on Persona; None for no limit. AWS's quotas page has 2 and 10, Persona's 300 per
        minute.
    wrapped
        Persona: whether custom values are ``{"type", "value"}``, as in its search sample, or
        bare, as in its webhook samples.
    sparse_relationships
        Persona: whether a sparse fieldset that names no relationship still returns all of them.
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
        # Options with a fixed set of values; the types of the others are not checked.
        hints = get_type_hints(type(self))
        for option in fields(self):
            allowed = get_args(hints[option.name])
            value = getattr(self, option.name)
            if all(isinstance(word, str) for word in allowed) and allowed and value not in allowed:
                raise ValueError(f"{option.name} must be one of {list(allowed)}, got {value!r}")
        if self.index_delay < 0:
            raise ValueError(f"index_delay must be non-negative seconds, got {self.index_delay!r}")
        if self.window is not None and self.window < 1:
            raise ValueError(f"window must be a positive integer or None, got {self.window!r}")

    @property
    def nulls_last(self) -> bool:
        """Whether missing sort values come last."""
        return self.nulls == "last"


def check_option_names(names: Iterable[str]) -> None:
    """Raise TypeError, as for any unexpected keyword argument, if there is no such option."""
    known = [option.name for option in fields(EmulatorOptions)]
    for name in names:
        if name not in known:
            near = get_close_matches(name, known, 1)
            hint = f"; did you mean {near[0]!r}?" if near else f", not one of {sorted(known)}"
            raise TypeError(f"unknown option {name!r}{hint}")
