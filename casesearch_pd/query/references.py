"""`field`, for writing filters, and the conversion of `pandas.col` expressions.

::

    (field("priority") == "high") & ~field("status").isin(["closed", "solved"])

The result is an unbound expression; names and values are checked when it is bound.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

import pandas as pd

from casesearch_pd.errors import FilterError
from casesearch_pd.query.coercion import to_hashable
from casesearch_pd.query.expressions import Compare, Expression, Node, negate

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["FieldReference", "field", "from_pandas", "is_pandas_expression"]


def field(name: str) -> FieldReference:
    """Return a reference to a field, to compare it with values.

    Parameters
    ----------
    name
        The column, id or label of the field, as `list_fields` shows them.

    Examples
    --------
    >>> field("amount").between(10, 20) | field("amount").isna()
    field('amount').between(10, 20) | field('amount').isna()
    """
    if not isinstance(name, str) or not name:
        raise FilterError(f"the name of a field must be text such as 'status', got {name!r}")
    return FieldReference(name)


class FieldReference:
    """A field of a filter: compared with a value, it becomes an expression."""

    __slots__ = ("name",)
    # == returns a filter, so a reference cannot be the key of a mapping.
    __hash__: ClassVar[None] = None  # type: ignore[assignment]

    def __init__(self, name: str) -> None:
        self.name = name

    def __repr__(self) -> str:
        return f"field({self.name!r})"

    def __eq__(self, value: object) -> Compare:  # type: ignore[override]
        return self._compare("eq", value)

    def __ne__(self, value: object) -> Compare:  # type: ignore[override]
        return self._compare("ne", value)

    def __lt__(self, value: object) -> Compare:
        return self._compare("lt", value)

    def __le__(self, value: object) -> Compare:
        return self._compare("lte", value)

    def __gt__(self, value: object) -> Compare:
        return self._compare("gt", value)

    def __ge__(self, value: object) -> Compare:
        return self._compare("gte", value)

    def isin(self, values: Iterable[object]) -> Compare:
        """Match any of the values; None matches a missing value."""
        return self._compare("in", values)

    # The signature of `pandas.Series.between`, so that filters can be copied from pandas code.
    def between(self, left: object, right: object, inclusive: str = "both") -> Compare:
        """Match values from `left` to `right`, both included."""
        if inclusive != "both":
            raise FilterError(
                f"inclusive must be 'both', got {inclusive!r}; for other bounds use < and >"
            )
        return self._compare("between", (left, right))

    def contains(self, text: str) -> Compare:
        """Match text that contains this text in any letter case, or a list with this member."""
        return self._compare("contains", text)

    def isna(self) -> Compare:
        """Match missing values."""
        return self._compare("isna", True)

    def notna(self) -> Expression:
        """Match values that are not missing."""
        return negate(self.isna())

    def __bool__(self) -> bool:
        raise FilterError(
            f"the truth value of {self!r} is ambiguous; compare it, such as {self!r} == 'open'"
        )

    def _compare(self, op: str, value: object) -> Compare:
        if isinstance(value, (FieldReference, Node)):
            raise FilterError(f"{self!r} must be compared with a value, got {value!r}")
        return Compare(self.name, op, to_hashable(self.name, value))


def from_pandas(expression: Any) -> Expression:
    """Return a `pandas.col` expression as a filter.

    A comparison with a missing value is false, and ``~`` inverts it. Masks of nullable dtypes
    differ: in pandas such a comparison stays missing.

    Raise FilterError if the expression does anything but compare columns with values and combine
    that by &, | and ~, or if this version of pandas lacks the private method `_eval_expression`.
    """
    evaluate = getattr(expression, "_eval_expression", None)
    if evaluate is None:
        raise FilterError("this pandas version cannot convert pd.col; use cs.field(...)")
    # Evaluated on a stand-in for a frame, the expression performs its operations on field
    # references, and so builds the filter itself.
    try:
        result = evaluate(_AnyFrame())
    except (AttributeError, TypeError) as error:
        raise _unsupported(expression) from error
    if not isinstance(result, Expression):
        raise _unsupported(expression)
    return result


def _unsupported(expression: object) -> FilterError:
    return FilterError(
        f"{expression!r} does more than a filter can; compare columns with values and combine "
        "with & | ~"
    )


class _AnyColumn(FieldReference):
    """A column of the stand-in."""

    __slots__ = ()

    @property
    def str(self) -> _Text:
        """Text methods."""
        return _Text(self)


class _Text:
    def __init__(self, column: _AnyColumn) -> None:
        self._column = column

    def contains(self, pat: str, *, case: bool = True, regex: bool = True) -> Compare:
        if case or regex:
            raise FilterError(
                f".str.contains({pat!r}, case={case}, regex={regex}) cannot be sent to a service, "
                "which ignores letter case and knows no patterns; write "
                f".str.contains({pat!r}, case=False, regex=False)"
            )
        return self._column.contains(pat)


class _AllNames:
    def __contains__(self, name: object) -> bool:
        return isinstance(name, str)


class _AnyFrame:
    """A stand-in for a frame that has every column."""

    columns = _AllNames()

    def __getitem__(self, name: str) -> _AnyColumn:
        return _AnyColumn(name)


def is_pandas_expression(value: object) -> bool:
    """Return whether a value is a `pandas.col` expression."""
    expression_type = getattr(pd.api.typing, "Expression", None)
    return expression_type is not None and isinstance(value, expression_type)
