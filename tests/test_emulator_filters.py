"""Filters of both services against an evaluation of the same frame in Python."""

import math
import operator
from datetime import UTC, datetime, timedelta

import pandas as pd
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from casesearch_pd.emulator import CaseService
from tests.emulator_clients import ids_of, persona_all, post_connect

NOW = datetime(2026, 3, 1, tzinfo=UTC)
EARLY, LATE = (datetime(year, 1, 1) for year in (2020, 2027))  # noqa: DTZ001 - drawn, then UTC
TEXTS = ["", "a", "A", "ä", "Straße", "STRASSE", "50% off", "under_score", "it's \"q\"", "a\nb",
         "日本語", "🙂 face", "a" * 600, "a" * 599 + "b", "null", "\\"]  # fmt: skip
NUMBERS = [0.0, -0.0, 1.5, -2.25, 1e300, 1e-300, 3.0, 2.0**53]
INTEGERS = [0, 1, -1, 7, 2**53 + 1, -(2**62), 2**63 - 1]
TIMES = [NOW - timedelta(milliseconds=ms) for ms in (1, 2, 2, 1000, 86_400_000, 10**9, 10**11)]
KINDS = {
    "title": TEXTS, "note": TEXTS, "score": NUMBERS, "size": INTEGERS, "vip": [True, False],
    "created_at": TIMES, "closed_at": TIMES, "due": TIMES, "level": ["low", "high", "Low"],
    "status": ["open", "closed", "Waiting on UBOs"],
}  # fmt: skip
OPERATORS = {
    "equalTo": operator.eq, "greaterThan": operator.gt, "greaterThanOrEqualTo": operator.ge,
    "lessThan": operator.lt, "lessThanOrEqualTo": operator.le,
}  # fmt: skip
PERSONA = {"eq": "equalTo", "gt": "greaterThan", "gte": "greaterThanOrEqualTo", "lt": "lessThan",
           "lte": "lessThanOrEqualTo"}  # fmt: skip
TREES = settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


def hostile_frame(rows=180):
    """Return cases whose columns repeat the values above with different steps, and gaps."""

    def column(name, step):
        values = [*KINDS[name], None] if name != "created_at" else KINDS[name]
        return [values[(number * step + number // 7) % len(values)] for number in range(rows)]

    frame = pd.DataFrame(
        {name: pd.Series(column(name, step)) for step, name in enumerate(KINDS, 1)}
    )
    return frame.assign(
        case_id=[f"id-{number:03d}" for number in range(rows)],
        size=pd.array(column("size", 5), dtype="Int64"),
        vip=pd.array(column("vip", 1), dtype="boolean"),
        level=pd.Categorical(column("level", 3)),
        words=pd.Series(
            [[["a", "b"], [], None, ["c, d"]][n % 4] for n in range(rows)], dtype=object
        ),
    )


@pytest.fixture(scope="module")
def frame():
    return hostile_frame()


@pytest.fixture(scope="module")
def service(frame):
    with CaseService(frame, now=NOW) as running:
        yield running


@pytest.fixture(scope="module")
def ids(service):
    """Return Connect field ids by frame column."""
    fields = post_connect(service, b"", "fields-list").json()["fields"]
    names = {"created_datetime": "created_at", "last_closed_datetime": "closed_at"}
    system = [one["fieldId"] for one in fields if one["namespace"] == "System"]
    custom = {one["name"]: one["fieldId"] for one in fields if one["namespace"] == "Custom"}
    return {names.get(one, one): one for one in system} | custom


def is_missing(value):
    return not isinstance(value, list) and (value is None or value is pd.NA or pd.isna(value))


def matches(node, row):
    """Return whether a row matches; a comparison with a is_missing value is false."""
    match node:
        case ("and", parts):
            return all(matches(part, row) for part in parts)
        case ("or", parts):
            return any(matches(part, row) for part in parts)
        case ("not", part):
            return not matches(part, row)
        case (column, "isna", _):
            return is_missing(row[column])
        case (column, "contains", value):
            return not is_missing(row[column]) and value.casefold() in row[column].casefold()
        case (column, name, value):
            return not is_missing(row[column]) and bool(OPERATORS[name](row[column], value))


def is_time(column):
    return column in {"created_at", "closed_at", "due"}


def comparisons(contains):
    def of(column):
        names = ["equalTo"]
        if column in {"score", "size"} or is_time(column):
            names = list(OPERATORS)
        values = st.sampled_from(KINDS[column])
        if column in {"score", "size"}:
            values |= st.floats(allow_nan=False) | st.integers(-(2**70), 2**70)
        if is_time(column):
            values |= st.datetimes(EARLY, LATE).map(lambda at: at.replace(tzinfo=UTC))
        nodes = st.tuples(st.just(column), st.sampled_from(names), values)
        if not contains:
            return nodes
        nodes |= st.just((column, "isna", None))
        if column in {"title", "note"}:
            nodes |= st.tuples(
                st.just(column), st.just("contains"), st.sampled_from(TEXTS) | st.text(max_size=2)
            )
        return nodes

    return st.sampled_from(list(KINDS)).flatmap(of)


def combinations(inner, most):
    lists = st.lists(inner, min_size=1, max_size=most)
    return st.one_of(
        st.tuples(st.just("and"), lists),
        st.tuples(st.just("or"), lists),
        st.tuples(st.just("not"), inner),
    )


CONNECT_TREES = st.recursive(
    comparisons(contains=True), lambda inner: combinations(inner, 4), max_leaves=12
)
LEAVES = comparisons(contains=False)
PERSONA_TREES = LEAVES | combinations(LEAVES, 5) | combinations(LEAVES | combinations(LEAVES, 3), 3)


def member(column, value):
    if is_time(column):
        return {"stringValue": value.isoformat()}
    if column == "vip":
        return {"booleanValue": value}
    if column in {"score", "size"}:
        return {
            "doubleValue": str(value).title().replace("Inf", "Infinity")
            if math.isinf(value)
            else value
        }
    return {"stringValue": value}


def connect_filter(node, ids):
    match node:
        case ("and" | "or" as name, parts):
            return {f"{name}All": [connect_filter(part, ids) for part in parts]}
        case ("not", part):
            return {"not": connect_filter(part, ids)}
        case (column, "isna", _):
            return {"field": {"equalTo": {"id": ids[column], "value": {"emptyValue": {}}}}}
        case (column, name, value):
            return {"field": {name: {"id": ids[column], "value": member(column, value)}}}


def persona_query(node):
    match node:
        case ("and" | "or" as name, parts):
            return {name: [persona_query(part) for part in parts]}
        case ("not", part):
            return {"not": persona_query(part)}
        case (column, name, value):
            system = {"created_at": "created_at", "closed_at": "resolved_at", "status": "status"}
            return {
                "attribute": system.get(column, f"fields.{column}"),
                "operator": next(short for short, long in PERSONA.items() if long == name),
                "value": value.isoformat() if is_time(column) else value,
            }


def expected_ids(frame, node):
    rows = frame.to_dict("records")
    return {row["case_id"] for row in rows if matches(node, row)}


@TREES
@given(CONNECT_TREES)
@example(("not", ("score", "lessThan", 0.0)))
@example(("and", [("title", "contains", "strasse"), ("not", ("note", "isna", None))]))
def test_connect_matches_an_evaluation_in_python(service, frame, ids, tree):
    assert set(ids_of(service, filter=connect_filter(tree, ids))) == expected_ids(frame, tree)


def finite(node):
    match node:
        case ("and" | "or", parts):
            return all(finite(part) for part in parts)
        case ("not", part):
            return finite(part)
        case (_, _, float() as value):
            return math.isfinite(value)
        case _:
            return True


@TREES
@given(PERSONA_TREES.filter(finite))
def test_persona_matches_an_evaluation_in_python(service, frame, tree):
    cases = persona_all(service, {"query": persona_query(tree)}, Key_Inflection="snake")
    assert {case["id"] for case in cases} == expected_ids(frame, tree)


@settings(TREES, max_examples=25)
@given(
    st.lists(st.tuples(st.sampled_from([*KINDS, "words"]), st.booleans()), max_size=2),
    st.sampled_from([1, 7, 50, 100]),
)
def test_every_order_is_total_and_its_pages_are_complete(service, frame, ids, sorts, size):
    body = [{"fieldId": ids[name], "sortOrder": "Desc" if down else "Asc"} for name, down in sorts]
    size = size if size > 1 else 90
    result = ids_of(service, sorts=body, maxResults=size)
    rows = sorted(frame.to_dict("records"), key=operator.itemgetter("case_id"))
    for name, down in reversed(sorts):

        def key(row, name=name):
            value = row[name]
            return (
                ", ".join(value)
                if isinstance(value, list)
                else value[:512]
                if isinstance(value, str)
                else value
            )

        present = sorted((row for row in rows if not is_missing(row[name])), key=key, reverse=down)
        rows = present + [row for row in rows if is_missing(row[name])]
    if sorts:
        assert result == [row["case_id"] for row in rows]
    assert len(set(result)) == len(rows)


def test_lists_are_one_text_on_connect_and_members_on_persona(service, frame, ids):
    joint = {"field": {"equalTo": {"id": ids["words"], "value": {"stringValue": "a, b"}}}}
    with_b = {row["case_id"] for row in frame.to_dict("records") if row["words"] == ["a", "b"]}
    assert set(ids_of(service, filter=joint)) == with_b
    query = {"attribute": "fields.words", "operator": "eq", "value": "b"}
    assert {case["id"] for case in persona_all(service, {"query": query})} == with_b
