"""`field`: names that users write filters with; and `pandas.col` expressions read the same way.

::

    (field("priority") == "high") & ~field("status").isin(["closed", "solved"])

What comes out is an unbound expression; names and values are checked when it is bound.
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
    """Name a field, to compare it.

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
        raise FilterError(f"a field is named by text such as 'status', not by {name!r}")
    return FieldReference(name)


class FieldReference:
    """A field that is about to be compared."""

    __slots__ = ("name",)
    # == makes a filter and no truth, so a name cannot be a key.
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
        """Be one of these values; None among them is missing."""
        return self._compare("in", values)

    def between(self, left: object, right: object, inclusive: str = "both") -> Compare:
        """Be from `left` to `right`, both included."""
        if inclusive != "both":
            raise FilterError(f"between includes both ends; for {inclusive!r} write < and >")
        return self._compare("between", (left, right))

    def contains(self, text: str) -> Compare:
        """Hold this text, letter case aside; or, for a list, have this member."""
        return self._compare("contains", text)

    def isna(self) -> Compare:
        """Have no value."""
        return self._compare("isna", True)

    def notna(self) -> Expression:
        """Have a value."""
        return negate(self.isna())

    def __bool__(self) -> bool:
        raise FilterError(f"compare {self!r} with a value, such as {self!r} == 'open'")

    def _compare(self, op: str, value: object) -> Compare:
        if isinstance(value, (FieldReference, Node)):
            raise FilterError(f"{self!r} is compared with a value, not with another field")
        return Compare(self.name, op, to_hashable(self.name, value))


def from_pandas(written: Any) -> Expression:
    """Read a `pandas.col` expression.

    A comparison with a missing value is false here, and ``~`` flips it, which is not how
    masks of nullable dtypes behave in pandas: there it stays missing.

    Raises
    ------
    FilterError
        If it does more than compare columns with values and join that by & | ~; or if this
        pandas has no way to look inside (its hook is private).
    """
    look = getattr(written, "_eval_expression", None)
    if look is None:
        raise FilterError("this pandas does not let filters be read from pd.col; use cs.field(...)")
    try:
        read = look(_AnyFrame())
    except (AttributeError, TypeError) as error:
        raise _too_much(written) from error
    if not isinstance(read, Expression):
        raise _too_much(written)
    return read


def _too_much(written: object) -> FilterError:
    return FilterError(
        f"{written!r} does more than a service can be asked; compare columns with values and "
        "join with & | ~"
    )


class _AnyColumn(FieldReference):
    """A column as `pandas.col` hands it out."""

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
                "services search for plain text without regard to letter case; write "
                f".str.contains({pat!r}, case=False, regex=False)"
            )
        return self._column.contains(pat)


class _AllNames:
    def __contains__(self, name: object) -> bool:
        return isinstance(name, str)


class _AnyFrame:
    """Stands in for a frame that has every column."""

    columns = _AllNames()

    def __getitem__(self, name: str) -> _AnyColumn:
        return _AnyColumn(name)


def is_pandas_expression(written: object) -> bool:
    """Tell whether something is a `pandas.col` expression."""
    kind = getattr(pd.api.typing, "Expression", None)
    return kind is not None and isinstance(written, kind)
