"""Pushdown on Amazon Connect: which comparisons SearchCases evaluates.

Operators by type as the "Get case" flow block of the administrator guide has them: contains
for text, equality for numbers and booleans, order for numbers and times.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from casesearch_pd.errors import FilterError
from casesearch_pd.query.coercion import MAX_EXACT_INTEGER
from casesearch_pd.sources.amazon_connect.schema import RETURNED_COLUMNS

if TYPE_CHECKING:
    from collections.abc import Mapping

    from casesearch_pd.query.expressions import Compare
    from casesearch_pd.query.pushdown import PushdownSupport
    from casesearch_pd.query.schema import FieldType

__all__ = ["pushdown_support", "require_profile_arn"]

_MAX_TEXT = 4100  # characters of a stringValue (service model)

_PROFILE_ARN = re.compile(r"arn:aws[\w-]*:profile:[^:]+:\d+:domains/[^/]+/profiles/.+")
# Key and value of a tag filter (service model). A key may contain "=" too, but "key=value" does
# not show which of several ends the key.
_TAG = re.compile(r"[a-zA-Z0-9 _.:/+\-@]{1,128}=[a-zA-Z0-9 _.:/+\-@]{0,256}")


def pushdown_support(comparison: Compare, assume: Mapping[str, bool]) -> PushdownSupport:
    """Return how well SearchCases evaluates one comparison."""
    target, value = comparison.target, comparison.value
    if target.column == "tags":
        return "exact" if comparison.op == "contains" and _TAG.fullmatch(value) else "unsupported"
    if target.column in RETURNED_COLUMNS and target.id != "case_id":
        return "unsupported"  # every case has it, but the domain has no field of that id
    if comparison.op == "isna":
        return "exact" if assume["empty_filter"] else "unsupported"
    if target.id == "customer_id" and comparison.op == "contains":
        return "unsupported"  # it accepts full ARNs only
    return _support_by_type(target.type, comparison.op, value)


def require_profile_arn(comparison: Compare) -> None:
    """Raise FilterError if a customer is not named by a full profile ARN, as it has to be."""
    if (
        comparison.target.id == "customer_id"
        and comparison.op == "eq"
        and not _PROFILE_ARN.fullmatch(comparison.value)
    ):
        raise FilterError(
            f"customer_id must be a profile ARN, got {comparison.value!r}; write "
            "'arn:aws:profile:REGION:ACCOUNT:domains/DOMAIN/profiles/PROFILE'"
        )


def _support_by_type(field_type: FieldType, op: str, value: Any) -> PushdownSupport:
    if isinstance(value, str) and len(value) > _MAX_TEXT:
        return "unsupported"
    match field_type, op:
        case ("text" | "url" | "user", "eq"):
            return "inexact"  # analysed text: the documentation's example matches by words
        case ("text" | "url", "contains"):
            return "exact"  # the filter language defines contains as this service evaluates it
        case ("select" | "boolean", "eq"):
            return "exact"
        case ("number" | "integer", "eq" | "lt" | "lte" | "gt" | "gte"):
            return "exact" if abs(value) <= MAX_EXACT_INTEGER else "unsupported"
        case ("datetime", "lt" | "lte" | "gt" | "gte"):
            return "exact" if value == value.floor("ms") else "inexact"
        case _:
            return "unsupported"
