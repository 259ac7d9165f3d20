"""What SearchCases can compare: one literal in, a verdict out.

Operators by type as the "Get case" flow block of the administrator guide has them: contains
for text, equality for numbers and booleans, order for numbers and times.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from casesearch_pd.errors import FilterError
from casesearch_pd.sources.amazon_connect.schema import FREE

if TYPE_CHECKING:
    from collections.abc import Mapping

    from casesearch_pd.query.expressions import Compare
    from casesearch_pd.query.pushdown import PushdownSupport
    from casesearch_pd.query.schema import FieldType

__all__ = ["check_profile", "pushdown_support"]

_TEXT = 4100  # characters of a stringValue (service model)
_EXACT = 2**53  # whole numbers that a double holds exactly
_PROFILE_ARN = re.compile(r"arn:aws[\w-]*:profile:[^:]+:\d+:domains/[^/]+/profiles/.+")
# Key and value of a tag filter (service model). A key may hold "=" too, but which of several
# ends the key cannot be told from "key=value".
_TAG = re.compile(r"[a-zA-Z0-9 _.:/+\-@]{1,128}=[a-zA-Z0-9 _.:/+\-@]{0,256}")


def pushdown_support(literal: Compare, assume: Mapping[str, bool]) -> PushdownSupport:
    """Say how well SearchCases answers one comparison."""
    target, value = literal.target, literal.value
    if target.column == "tags":
        return "exact" if literal.op == "contains" and _TAG.fullmatch(value) else "unsupported"
    if target.column in FREE and target.id != "case_id":
        return "unsupported"  # it comes with every case, but the domain lists no field of that id
    if literal.op == "isna":
        return "exact" if assume["empty_filter"] else "unsupported"
    if target.id == "customer_id" and literal.op == "contains":
        return "unsupported"  # it takes full ARNs only
    return _by_type(target.type, literal.op, value)


def check_profile(literal: Compare) -> None:
    """Refuse a customer that is not named by its full profile ARN, as the service wants it.

    Raises
    ------
    FilterError
        If it is something else.
    """
    if (
        literal.target.id == "customer_id"
        and literal.op == "eq"
        and not _PROFILE_ARN.fullmatch(literal.value)
    ):
        raise FilterError(
            f"customer_id={literal.value!r} is no profile ARN; write "
            "'arn:aws:profile:REGION:ACCOUNT:domains/DOMAIN/profiles/PROFILE'"
        )


def _by_type(kind: FieldType, op: str, value: Any) -> PushdownSupport:
    if isinstance(value, str) and len(value) > _TEXT:
        return "unsupported"
    match kind, op:
        case ("text" | "url" | "user", "eq"):
            return "inexact"  # analysed text: the documentation's own example matches by words
        case ("text" | "url", "contains"):
            return "exact"  # means what the service means
        case ("select" | "boolean", "eq"):
            return "exact"
        case ("number" | "integer", "eq" | "lt" | "lte" | "gt" | "gte"):
            return "exact" if abs(value) <= _EXACT else "unsupported"
        case ("datetime", "lt" | "lte" | "gt" | "gte"):
            return "exact" if value == value.floor("ms") else "inexact"
        case _:
            return "unsupported"
