"""What one search request may be, read off the two services' own descriptions.

Amazon Connect Cases: botocore's service model ``connectcases/2022-10-03`` and the flow block
"Get case" of the administrator guide. Persona: its OpenAPI description of ``/cases/search``.
"""

from datetime import datetime

CONNECT_OPERATORS = {
    "equalTo", "contains", "greaterThan", "greaterThanOrEqualTo", "lessThan", "lessThanOrEqualTo",
}  # fmt: skip
CONNECT_VALUES = {"stringValue": str, "doubleValue": (int, float), "booleanValue": bool,
                  "emptyValue": dict, "userArnValue": str}  # fmt: skip
PERSONA_OPERATORS = {"eq", "gt", "gte", "lt", "lte"}
PERSONA_ATTRIBUTES = {
    "template", "status", "state", "created_at", "updated_at", "resolved_at", "sla_expires_at",
    "assignee", "case_queue", "resolver",
}  # fmt: skip


def check(received):
    """Hold one received request to the limits of its service; it must not have been refused."""
    assert received.status in {200, 404}, (received.status, received.body)
    if received.path.endswith("/cases-search"):
        _connect(received.body)
    # A GET of that path asks for a case whose id is "search".
    elif received.path.endswith("/cases/search") and received.method == "POST":
        _persona(received.body)


def _connect(body):
    assert set(body) <= {"maxResults", "nextToken", "searchTerm", "filter", "sorts", "fields"}
    assert 1 <= body.get("maxResults", 25) <= 100
    assert len(body.get("fields", ())) <= 25
    assert len({item["id"] for item in body.get("fields", ())}) == len(body.get("fields", ()))
    assert len(body.get("sorts", ())) <= 2
    assert all(item["sortOrder"] in {"Asc", "Desc"} for item in body.get("sorts", ()))
    if "filter" in body:
        _connect_filter(body["filter"])


def _connect_filter(union):
    ((member, inner),) = union.items()  # a union has exactly one member
    match member:
        case "andAll" | "orAll":
            assert 1 <= len(inner) <= 10
            for item in inner:
                _connect_filter(item)
        case "not":
            _connect_filter(inner)
        case "tag":
            ((_, pair),) = inner.items()
            assert set(pair) == {"key", "value"}
            assert 1 <= len(pair["key"]) <= 128
            assert len(pair["value"]) <= 256
        case _:
            assert member == "field"
            _connect_comparison(inner)


def _connect_comparison(union):
    ((operator, leaf),) = union.items()
    assert operator in CONNECT_OPERATORS
    assert set(leaf) == {"id", "value"}
    assert 1 <= len(leaf["id"]) <= 500
    ((member, value),) = leaf["value"].items()
    assert isinstance(value, CONNECT_VALUES[member])
    assert isinstance(value, bool) == (member == "booleanValue")
    assert not isinstance(value, str) or len(value) <= 4100


def _persona(body):
    assert set(body) <= {"query", "sort", "page"}
    assert 1 <= body["page"]["size"] <= 100
    if "sort" in body:
        assert set(body["sort"]) == {"attribute", "direction"}
        assert body["sort"]["attribute"] in {"created_at", "updated_at", "resolved_at"}
        assert body["sort"]["direction"] in {"asc", "desc"}
    if "query" in body:
        _persona_clause(body["query"], 0)


def _persona_clause(clause, depth):
    if "attribute" in clause:
        return _persona_predicate(clause)
    ((word, inner),) = clause.items()
    assert word in {"and", "or", "not"}
    assert depth < 2, "nested deeper than two levels"
    inside = [inner] if word == "not" else inner
    assert isinstance(inside, list)
    assert 1 <= len(inside) <= 20
    for item in inside:
        _persona_clause(item, depth + 1)
    return None


def _persona_predicate(leaf):
    assert set(leaf) == {"attribute", "operator", "value"}
    assert leaf["operator"] in PERSONA_OPERATORS
    assert isinstance(leaf["value"], (str, int, float))
    name = leaf["attribute"]
    assert name in PERSONA_ATTRIBUTES or name.startswith("fields.")
    if name.endswith("_at") and name in PERSONA_ATTRIBUTES:
        assert datetime.fromisoformat(leaf["value"]).tzinfo is not None
