"""One rule in; out come what it lacks, what is wrong with it, and who is going to answer it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from casesearch_pd.errors import FilterError, capture_warnings
from casesearch_pd.form.model.code import from_text
from casesearch_pd.form.model.meaning import is_complete, to_expression
from casesearch_pd.form.model.tree import OPERATORS, Group, Rule, operators_for
from casesearch_pd.query.binding import bind
from casesearch_pd.query.expressions import TRUE, literals
from casesearch_pd.query.pushdown import push_down
from casesearch_pd.reading.explain import WHY

if TYPE_CHECKING:
    from collections.abc import Mapping

    from casesearch_pd.form.model.tree import Takes
    from casesearch_pd.query.binding import BindingContext
    from casesearch_pd.query.expressions import Expression
    from casesearch_pd.query.pushdown import PushdownSupport
    from casesearch_pd.query.schema import Field
    from casesearch_pd.sources.base import Source

__all__ = ["Problem", "check", "check_all", "offered_operators"]


@dataclass(frozen=True, slots=True)
class Problem:
    """What there is to say of a rule.

    Parameters
    ----------
    missing
        What is still to be given; empty if nothing is.
    wrong
        Why it cannot be asked; empty if it can.
    warned
        What it warns of.
    checked
        Why the service's answer is checked again here; empty where the service answers exactly.
    unseen
        Whether only the service can see what is asked for, so that nobody can check its answer.
    """

    missing: str = ""
    wrong: str = ""
    warned: tuple[str, ...] = ()
    checked: str = ""
    unseen: bool = False

    @property
    def problem(self) -> str:
        """What keeps the rule from being asked; empty if nothing does."""
        return self.missing or self.wrong


def check(rule: Rule, source: Source, binding: BindingContext) -> Problem:
    """Say what there is to say of a rule; nothing is sent.

    Parameters
    ----------
    rule
        What a row holds.
    source
        Who is going to be asked; its fields are known.
    binding
        What names and times mean, as `reading.plan.bearings` takes it.

    Examples
    --------
    >>> import casesearch_pd as cs
    >>> from casesearch_pd.reading.plan import bearings
    >>> with cs.LocalCases(cases=1) as local:
    ...     source = local.connect_cases()
    ...     binding = bearings(source.schema, "UTC")
    ...     for rule in (Rule(), Rule("queue", "eq", "Billing"), Rule("created_at", "eq", "soon")):
    ...         print(check(rule, source, binding).problem or check(rule, source, binding).checked)
    choose a field
    the service's answer may be too wide
    'created_at' is of type datetime: 'soon' does not fit; write a time such as '2026-03', \
'2026-03-14' or '2026-03-14T09:30'
    """
    missing = _missing(rule)
    try:
        if rule.field:
            binding.schema.resolve(rule.field)  # who looks for a field need not give a value first
        return Problem(missing=missing) if missing else _asked(rule, source, binding)
    except FilterError as error:
        return Problem(wrong=str(error))


def _missing(rule: Rule) -> str:
    if not rule.field:
        return "choose a field"
    if rule.operator not in OPERATORS or is_complete(rule):
        return ""
    takes = OPERATORS[rule.operator].takes
    return _MISSING[takes] if rule.value is None or _is_shaped(rule.value, takes) else ""


_MISSING: Mapping[Takes, str] = {
    "one": "give a value",
    "pair": "give both values",
    "many": "give at least one value",
    "none": "",
}


def _asked(rule: Rule, source: Source, binding: BindingContext) -> Problem:
    field = binding.schema.resolve(rule.field)
    _check_shape(rule, field)
    bound, warned = _bound(rule, binding)
    if binding.schema.find(rule.field) is None:
        warned = (f"the service told of no such field; it is asked for {field.id!r}", *warned)
    unseen = any(source.pushdown_support(item) == "remote_only" for item in literals(bound))
    return Problem("", "", warned, _why(source.push_down(bound).residual, source), unseen)


def check_all(tree: Group, source: Source, binding: BindingContext) -> str:
    """Tell what is wrong with rules together, each of which is right; empty if nothing is.

    Parameters
    ----------
    tree
        The rules; `check` finds nothing wrong with any.
    source
        Who is going to be asked.
    binding
        What names and times mean.
    """
    try:
        source.push_down(_bound(tree, binding)[0])
    except FilterError as error:
        return str(error)
    return ""


def _check_shape(rule: Rule, field: Field) -> None:
    """Refuse what only a form can have that was saved for other fields, or written by hand.

    Raises
    ------
    FilterError
        If the operator or the value is of no form that the field can have.
    """
    if rule.operator not in OPERATORS:
        raise FilterError(f"{rule.operator!r} is no operator of the form; choose one")
    operator = OPERATORS[rule.operator]
    # One that a row would not offer may fit all the same: a select can be equal.
    if operator not in operators_for(field) and operator.key in ("contains", "not contains"):
        raise FilterError(
            f"{operator.label!r} does not fit {field.column!r} of type {field.type}; choose "
            "another operator"
        )
    values = rule.value if isinstance(rule.value, tuple) else (rule.value,)
    if not _is_shaped(rule.value, operator.takes):
        label = operator.labelled(field.type)
        raise FilterError(f"{rule.value!r} is no value for {label!r}; give another")
    for value in values:
        if isinstance(value, str):
            from_text(field.type, value)


def _is_shaped(value: Any, takes: Takes) -> bool:
    match takes:
        case "many":
            return isinstance(value, tuple)
        case "pair":
            return isinstance(value, tuple) and len(value) == 2  # noqa: PLR2004 - a pair
        case "one":
            return not isinstance(value, tuple)
        case _:
            return True


def _bound(rule: Rule | Group, binding: BindingContext) -> tuple[Expression, tuple[str, ...]]:
    """Bind rules; tell what that warned of."""
    with capture_warnings() as heard:
        bound = bind(to_expression(rule), binding)
    return bound, tuple(dict.fromkeys(heard))


# Of a row alone nothing is "the rest".
_WHY: Mapping[PushdownSupport, str] = {
    **WHY,
    "exact": "it does not fit into the service's requests",
}


def _why(residual: Expression, source: Source) -> str:
    if residual == TRUE:
        return ""
    return "; ".join(
        dict.fromkeys(_WHY[source.pushdown_support(item)] for item in literals(residual))
    )


# --- operators --------------------------------------------------------------------------

_HERE = " (checked here)"


def offered_operators(
    name: str, field: Field, source: Source, binding: BindingContext
) -> dict[str, str]:
    """List the operators for a field, with what they are called.

    Those that the service cannot answer exactly are marked. Of a field that is never shown, only
    what the service itself can compare is there.

    Parameters
    ----------
    name
        What a rule calls the field.
    field
        The field.
    source
        Who is going to be asked.
    binding
        What names and times mean.
    """
    found: dict[str, str] = {}
    for operator in operators_for(field):
        exact = _is_exact(Rule(name, operator.key, _sample(field, operator.key)), source, binding)
        if exact is not None:
            found[operator.key] = operator.labelled(field.type) + ("" if exact else _HERE)
    return found


def _is_exact(rule: Rule, source: Source, binding: BindingContext) -> bool | None:
    """Tell whether the service answers a rule exactly; None if it cannot be asked at all."""
    try:
        bound = bind(to_expression(rule), binding)
        return push_down(bound, source.pushdown_support).residual == TRUE
    except FilterError:
        return None


def _sample(field: Field, key: str) -> Any:
    """Make up a value, to see what becomes of it."""
    one = _one(field, key)
    match OPERATORS[key].takes:
        case "many":
            return (one,)
        case "pair":
            return (one, one)
        case "one":
            return one
        case "none":
            return None


_PERIOD = "2026-03"  # its ends are midnights; an instant to the microsecond is asked too widely


def _one(field: Field, key: str) -> Any:
    match field.type:
        case "number" | "integer":
            return 1
        case "boolean":
            return True
        case "datetime":
            return _PERIOD
        case "tags":
            return "key=value"
        case "any" if key in ("lt", "lte", "gt", "gte", "between"):
            return 1
        case _:
            return field.options[0].value if field.options else "a"
