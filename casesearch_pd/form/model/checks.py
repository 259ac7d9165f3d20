"""Checks of rules before a search: what is missing, what is wrong, what is filtered locally."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from casesearch_pd.errors import FilterError, capture_warnings
from casesearch_pd.form.model.conversion import is_complete, to_expression
from casesearch_pd.form.model.tree import OPERATORS, Group, Rule, from_text, operators_for
from casesearch_pd.query.binding import bind
from casesearch_pd.query.expressions import TRUE, comparisons
from casesearch_pd.query.pushdown import push_down
from casesearch_pd.reading.explain import RESIDUAL_REASONS

if TYPE_CHECKING:
    from collections.abc import Mapping

    from casesearch_pd.form.model.tree import Arity
    from casesearch_pd.query.binding import BindingContext
    from casesearch_pd.query.expressions import Expression
    from casesearch_pd.query.pushdown import PushdownSupport
    from casesearch_pd.query.schema import Field
    from casesearch_pd.sources.base import Source

__all__ = ["CheckResult", "available_operators", "check", "combination_error"]


@dataclass(frozen=True, slots=True)
class CheckResult:
    """The result of the check of a rule."""

    missing: str = ""  # what is still to be entered; empty if the rule is complete
    error: str = ""  # why the rule cannot be searched for; empty if it can
    warnings: tuple[str, ...] = ()
    # Why the rule is evaluated again on this machine; empty if the service does it exactly.
    local_reason: str = ""
    # Whether only the service can evaluate the rule, so that its result cannot be verified.
    is_remote_only: bool = False

    @property
    def problem(self) -> str:
        """What prevents a search; empty if nothing does."""
        return self.missing or self.error


def check(rule: Rule, source: Source, binding: BindingContext) -> CheckResult:
    """Check a rule, without sending a request.

    >>> import casesearch_pd as cs
    >>> from casesearch_pd.reading.options import binding_context
    >>> with cs.LocalCases(cases=1) as local:
    ...     source = local.connect_cases()
    ...     binding = binding_context(source.schema, "UTC")
    ...     check(Rule(), source, binding).problem
    ...     check(Rule("created_at", "eq"), source, binding).problem
    'choose a field'
    'enter a value'
    """
    missing = _missing_part(rule)
    try:
        # An unknown field is reported before its value is entered.
        if rule.field:
            binding.schema.resolve(rule.field)
        return CheckResult(missing=missing) if missing else _check_complete(rule, source, binding)
    except FilterError as error:
        return CheckResult(error=str(error))


def _missing_part(rule: Rule) -> str:
    if not rule.field:
        return "choose a field"
    if rule.operator not in OPERATORS or is_complete(rule):
        return ""
    arity = OPERATORS[rule.operator].arity
    # A value of the wrong shape is an error, which a missing value is not.
    return _MISSING[arity] if rule.value is None or _has_shape(rule.value, arity) else ""


_MISSING: Mapping[Arity, str] = {
    "one": "enter a value",
    "pair": "enter both values",
    "many": "enter at least one value",
    "none": "",
}


def _check_complete(rule: Rule, source: Source, binding: BindingContext) -> CheckResult:
    field = binding.schema.resolve(rule.field)
    _check_shape(rule, field)
    bound, warnings = _bind(rule, binding)
    if binding.schema.find(rule.field) is None:
        text = f"the service lists no such field; the search uses {field.id!r}"
        warnings = (text, *warnings)
    return CheckResult(
        warnings=warnings,
        local_reason=_local_reason(source.push_down(bound).residual, source),
        is_remote_only=any(
            source.pushdown_support(comparison) == "remote_only"
            for comparison in comparisons(bound)
        ),
    )


def combination_error(tree: Group, source: Source, binding: BindingContext) -> str:
    """Return why valid rules cannot be combined; empty if they can."""
    try:
        source.push_down(_bind(tree, binding)[0])
    except FilterError as error:
        return str(error)
    return ""


def _check_shape(rule: Rule, field: Field) -> None:
    """Raise FilterError if the operator or the shape of the value does not fit the field.

    Only a form that was saved for other fields can contain such a rule.
    """
    if rule.operator not in OPERATORS:
        raise FilterError(f"{rule.operator!r} is not an operator of the form; choose another")
    operator = OPERATORS[rule.operator]
    # Operators that a row does not offer may fit nevertheless: an option can be compared by "is".
    if operator not in operators_for(field) and operator.key in ("contains", "not contains"):
        raise FilterError(
            f"{operator.label!r} does not fit {field.column!r} of type {field.type}; choose "
            "another operator"
        )
    if not _has_shape(rule.value, operator.arity):
        label = operator.label_for(field.type)
        raise FilterError(f"{rule.value!r} is not a value for {label!r}; enter another")
    for value in rule.value if isinstance(rule.value, tuple) else (rule.value,):
        if isinstance(value, str):
            from_text(field.type, value)


def _has_shape(value: Any, arity: Arity) -> bool:
    match arity:
        case "many":
            return isinstance(value, tuple)
        case "pair":
            return isinstance(value, tuple) and len(value) == 2  # noqa: PLR2004 - a pair
        case "one":
            return not isinstance(value, tuple)
        case _:
            return True


def _bind(member: Rule | Group, binding: BindingContext) -> tuple[Expression, tuple[str, ...]]:
    """Return a bound tree, and the warnings of binding it."""
    with capture_warnings() as warnings:
        bound = bind(to_expression(member), binding)
    return bound, tuple(dict.fromkeys(warnings))


# An exact condition is usually evaluated again because of the rest of the filter, which a single
# row does not have.
_REASONS: Mapping[PushdownSupport, str] = {
    **RESIDUAL_REASONS,
    "exact": "it does not fit into the requests of the service",
}


def _local_reason(residual: Expression, source: Source) -> str:
    if residual == TRUE:
        return ""
    return "; ".join(
        dict.fromkeys(_REASONS[source.pushdown_support(item)] for item in comparisons(residual))
    )


_LOCAL_SUFFIX = " (filtered locally)"


def available_operators(
    name: str, field: Field, source: Source, binding: BindingContext
) -> dict[str, str]:
    """Return the operators for a field by key, with their labels.

    Operators that the service does not evaluate exactly are marked. A field that never appears in
    results has only the operators that the service itself supports.
    """
    labels: dict[str, str] = {}
    for operator in operators_for(field):
        sample = Rule(name, operator.key, _sample_value(field, operator.key))
        is_exact = _is_exact(sample, source, binding)
        if is_exact is not None:
            labels[operator.key] = operator.label_for(field.type) + (
                "" if is_exact else _LOCAL_SUFFIX
            )
    return labels


def _is_exact(rule: Rule, source: Source, binding: BindingContext) -> bool | None:
    """Return whether the service evaluates a rule exactly; None if it cannot be searched for."""
    try:
        bound = bind(to_expression(rule), binding)
        return push_down(bound, source.pushdown_support).residual == TRUE
    except FilterError:
        return None


def _sample_value(field: Field, key: str) -> Any:
    """Return an example of a value, to find out how the service evaluates the operator."""
    value = _sample_item(field, key)
    match OPERATORS[key].arity:
        case "many":
            return (value,)
        case "pair":
            return (value, value)
        case "one":
            return value
        case "none":
            return None


# A period begins and ends at midnight. An instant with microseconds would be sent rounded, and so
# never be exact.
_SAMPLE_PERIOD = "2026-03"


def _sample_item(field: Field, key: str) -> Any:
    match field.type:
        case "number" | "integer":
            return 1
        case "boolean":
            return True
        case "datetime":
            return _SAMPLE_PERIOD
        case "tags":
            return "key=value"
        case "any" if key in ("lt", "lte", "gt", "gte", "between"):
            return 1
        case _:
            return field.options[0].value if field.options else "a"
