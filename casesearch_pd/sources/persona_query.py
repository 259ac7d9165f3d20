"""What a Persona search is asked: a scan in, the body and the parameters of its request out.

Shapes follow Persona's OpenAPI description (version 2025-12-08).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, assert_never

from casesearch_pd.query.expr import And, Compare, Expression, Not, Or, literals
from casesearch_pd.sources.moments import instant
from casesearch_pd.sources.persona_names import snake

if TYPE_CHECKING:
    from casesearch_pd.query.schema import Field
    from casesearch_pd.sources.contract import Scan

__all__ = ["fieldset", "list_parameters", "search_body", "to_query"]


def search_body(scan: Scan, size: int) -> dict[str, Any]:
    """Write the body of a search for so many cases a page."""
    body: dict[str, Any] = {}
    if not scan.everything:
        body["query"] = to_query(scan.where)
    if scan.sort:
        (sort,) = scan.sort
        direction = "desc" if sort.descending else "asc"
        body["sort"] = {"attribute": snake(sort.field.id), "direction": direction}
    body["page"] = {"size": size}
    return body


def to_query(term: Expression) -> dict[str, Any]:
    """Write a query; the shape is within the limits already."""
    match term:
        case Compare():
            return _predicate(term)
        case Not(inner):
            return {"not": to_query(inner)}
        case And(terms):
            return {"and": [to_query(item) for item in terms]}
        case Or(terms):
            return {"or": [to_query(item) for item in terms]}
        case _:
            assert_never(term)


def _predicate(literal: Compare) -> dict[str, Any]:
    target = literal.target
    value = instant(literal.value, literal.op) if target.type == "datetime" else literal.value
    return {"attribute": _attribute(target), "operator": literal.op, "value": value}


_SEARCHED_AS = {"case-template": "template", "case-queue": "case_queue", "assignee-id": "assignee"}


def _attribute(target: Field) -> str:
    """Spell the attribute as predicates do: snake case, and some under another name."""
    if target.namespace == "custom":
        return target.id
    return _SEARCHED_AS.get(target.id, snake(target.id))


_FILTERS = {"status": "filter[status]", "case-template": "filter[case-template-id]"}


def list_parameters(where: Expression, size: int) -> tuple[tuple[str, str], ...]:
    """Write the parameters of the List endpoint, for so many cases a page."""
    named = tuple((_FILTERS[item.target.id], item.value) for item in literals(where))
    return (*named, ("page[size]", str(size)))


def fieldset(scan: Scan) -> tuple[tuple[str, str], ...]:
    """Name what the answer is to hold; nothing for all there is."""
    names = [
        "case-template" if item.id == "template" else item.id
        for item in scan.fields
        if item.id != "id"
    ]
    return (("fields[case]", ",".join(dict.fromkeys(names))),) if names else ()
