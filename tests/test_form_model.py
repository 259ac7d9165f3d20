"""The laws of a form's query: as an expression, as code, as JSON, and back."""

import json
import operator
from dataclasses import replace
from datetime import date, datetime, timedelta, timezone
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import casesearch_pd as cs
from casesearch_pd.form.model.code import read_cases_code
from casesearch_pd.form.model.conversion import from_expression, to_expression
from casesearch_pd.form.model.query import FormQuery
from casesearch_pd.form.model.saved_form import query_from_json, query_to_json, tree_to_json
from casesearch_pd.form.model.tree import (
    Group,
    Rule,
    from_lines,
    from_text,
    to_lines,
    to_text,
    value_type,
)
from casesearch_pd.query.binding import BindingContext, bind
from casesearch_pd.query.coercion import is_collection
from casesearch_pd.query.expressions import TRUE, And, Compare, Not, Or, any_of, comparisons, to_nnf
from casesearch_pd.query.schema import Field, Schema
from casesearch_pd.reading.local_filter import filter_frame
from casesearch_pd.reading.options import RESERVED_NAMES, Query, parse_filter
from tests import form_trees
from tests.filter_trees import trees as filter_expressions
from tests.form_trees import (
    KEYED,
    OPEN,
    groups,
    incomplete_rules,
    normalize_tree,
    rules,
    trees,
)
from tests.hostile_cases import NOW, hostile_rows
from tests.law_bench import QUICK, a_bench, quietly
from tests.reference_filter import matches as matches_filter

SERVICE = {"cases": 60, "seed": 3}


@pytest.fixture(scope="module", params=["connect", "persona", "keyed", "open"])
def source(request, service):
    """Return a source of each service, and one of each with a hostile schema."""
    match request.param:
        case "keyed":
            return service.connect_cases(schema=KEYED)
        case "open":
            return service.persona_cases(schema=OPEN)
        case name:
            return service.sources[name]


@pytest.fixture(scope="module")
def bench():
    with a_bench("connect", hostile_rows(), {}, {}) as bench:
        yield bench


def bind_at_now(term, schema, tz="UTC"):
    with quietly():
        return bind(term, BindingContext(schema, tz, pd.Timestamp(NOW)))


# --- tree, expression, tree -------------------------------------------------------------------


@settings(QUICK, max_examples=70)
@given(data=st.data())
def test_a_tree_is_restored_from_its_expression(source, data):
    """A row that was restored as another one, or not at all, would find other cases."""
    schema = source.schema
    tree = data.draw(trees(schema))
    normalized = normalize_tree(tree, schema)
    assert repr(from_expression(to_expression(tree), schema)) == repr(normalized)
    assert normalize_tree(normalized, schema) == normalized
    assert to_expression(normalized) == to_expression(tree)
    bound = bind_at_now(to_expression(tree), schema)
    assert bind_at_now(to_expression(normalized), schema) == bound


@settings(QUICK, max_examples=30)
@given(data=st.data())
def test_incomplete_rows_are_left_out_of_the_expression(source, data):
    """A row that is being edited must neither hide every case nor be guessed."""
    rule = rules(source.schema) | incomplete_rules(source.schema)
    tree = data.draw(groups(rule))
    restored = from_expression(to_expression(tree), source.schema)
    assert repr(restored) == repr(normalize_tree(tree, source.schema))


def matches(member, row, tz):
    """Return whether a tree matches a case: groups evaluated here, rules as typed filters."""
    if isinstance(member, Rule):
        return matches_filter(_typed_filter(member), row, tz)
    results = [matches(item, row, tz) for item in member.members if not _is_empty(item)]
    result = all(results) if member.combinator == "and" or not results else any(results)
    return not result if member.negated and results else result


def _is_empty(member):
    return isinstance(member, Group) and all(map(_is_empty, member.members))


def _typed_filter(rule):
    return TYPED_FILTERS[rule.operator](cs.field(rule.field), rule.value)


TYPED_FILTERS = {
    "eq": operator.eq,
    "ne": operator.ne,
    "lt": operator.lt,
    "lte": operator.le,
    "gt": operator.gt,
    "gte": operator.ge,
    "in": lambda name, value: name.isin(value),
    "not in": lambda name, value: ~name.isin(value),
    "contains": lambda name, value: name.contains(value),
    "not contains": lambda name, value: ~name.contains(value),
    "between": lambda name, value: name.between(*value),
    "isna": lambda name, _: name.isna(),
    "notna": lambda name, _: name.notna(),
}


@settings(QUICK, max_examples=60)
@given(data=st.data())
def test_a_tree_matches_the_cases_that_the_screen_promises(bench, data):
    """AND, OR and NOT as they are on the screen, evaluated case by case and by the mask."""
    names = {item.names[0] for item in bench.table.columns}
    fields = [item for item in bench.source.schema.fields if item.column in names]
    tree = data.draw(trees(bench.source.schema, fields=fields, comparable=True))
    tz = data.draw(st.sampled_from(["UTC", "America/Sao_Paulo"]))
    expected = sorted(row["case_id"] for row in bench.table.rows if matches(tree, row, tz))
    for variant in (tree, normalize_tree(tree, bench.source.schema)):
        result = filter_frame(bench.whole, to_expression(variant), {}, tz=tz)
        assert sorted(result["case_id"]) == expected


# --- query, code, query -----------------------------------------------------------------------


def run_code(code, source):
    """Run code, and return the arguments with which it calls read_cases."""
    arguments = {}

    def read_cases(argument, where=None, **keywords):
        assert argument is source
        arguments.update(keywords, where=where)

    names = {"cs": SimpleNamespace(field=cs.field, read_cases=read_cases), "source": source}
    exec(compile(code, "code", "exec"), names)
    return arguments


def form_query(source, **arguments):
    """Return the form's query for arguments of read_cases."""
    options = {name: value for name, value in arguments.items() if name in RESERVED_NAMES}
    filters = {name: value for name, value in arguments.items() if name not in RESERVED_NAMES}
    with quietly():
        return FormQuery.from_query(source, Query(filters=filters, **options))


def code_of(query, source):
    return read_cases_code(query.to_arguments(source.schema))


@settings(QUICK, max_examples=50)
@given(data=st.data())
def test_a_query_is_restored_from_its_code(source, data):
    """A user who copies the code must find the same cases as in the form."""
    query = data.draw(form_trees.queries(source, trees(source.schema)))
    code = code_of(query, source)
    restored = form_query(source, **run_code(code, source))
    normalized = replace(query, tree=normalize_tree(query.tree, source.schema))
    assert repr(restored) == repr(normalized)
    assert code_of(restored, source) == code
    code.encode()  # it can be written to a file


@settings(QUICK, max_examples=30)
@given(data=st.data())
def test_long_code_is_split_into_lines(source, data):
    """A line may only be too long if a single condition is."""
    query = FormQuery(data.draw(trees(source.schema)))
    for line in code_of(query, source).splitlines():
        assert len(line) <= 88 or (
            line.count("cs.field(") <= 1 and line.count(", ") <= _commas(line)
        )


def _commas(line):
    """Return how many commas one value of a line may have: those of its longest text."""
    return max(line.count(", "), 0) if '"' in line or "'" in line else 1


def test_read_cases_runs_the_code(local):
    """The tests above use a stand-in for read_cases."""
    source = local.sources["connect"]
    query = form_query(
        source,
        where=~(cs.field("status") == "closed") | cs.field("title").contains("a"),
        created_at__lt=pd.Timedelta(days=1),
        columns=["status", "title"],
        sort="-created_at",
        limit=5,
    )
    names = {"cs": cs, "source": source}
    exec(code_of(query, source), names)
    assert len(names["df"]) == 5
    assert [*names["df"].columns] == ["status", "title"]


@settings(QUICK, max_examples=30)
@given(data=st.data())
def test_rows_without_groups_are_keywords(source, data):
    """An expression is harder to read and to change than keywords."""
    tree = data.draw(form_trees.flat_trees(source.schema))
    arguments = FormQuery(tree).to_arguments(source.schema)
    are_keywords = all(_is_keyword(rule, source.schema) for rule in tree.members)
    assert ("where" not in arguments) == are_keywords
    nested = Group("or", members=(Group(members=tree.members),))
    assert FormQuery(nested).to_arguments(source.schema) == arguments


LOOKUPS = {"eq": "", "in": "", "ne": "__ne", "not in": "__ne", "isna": "__isna"}
LOOKUPS |= {"notna": "__isna"}
INVALID_IDENTIFIERS = {"class", "ﬁne", "2nd line", 'ha"rd\\', *form_trees.UNLISTED}


def _is_keyword(rule, schema):
    name = rule.field + LOOKUPS.get(rule.operator, f"__{rule.operator}")
    if rule.operator == "not contains":
        return False
    if rule.field in INVALID_IDENTIFIERS:
        return name.startswith("class__")
    column = schema.find(rule.field)
    if name in {"limit", "source", "__debug__"} or column is None:
        return False
    return name == rule.field or schema.find(name) is None


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        ({}, "df = cs.read_cases(source)"),
        ({"status": "open", "limit": 20}, 'df = cs.read_cases(source, status="open", limit=20)'),
    ],
)
def test_code_is_what_a_user_would_type(local, arguments, code):
    source = local.sources["connect"]
    assert code_of(form_query(source, **arguments), source) == code


@pytest.mark.parametrize("name", ["nrows", "usecols", "limit"])
def test_a_field_named_like_an_option_is_no_keyword(local, name):
    """The code would be refused, or read as the option of that name."""
    field = Field(name, f"{name}-id", name, "number", "custom")
    schema = Schema((*KEYED.fields[:3], field))
    source = local.connect_cases(schema=schema)
    query = form_query(source, where={name: 3})
    assert [*query.to_arguments(schema)] == ["where"]
    restored = form_query(source, **run_code(code_of(query, source), source))
    assert restored == query


# --- JSON -------------------------------------------------------------------------------------


@settings(QUICK, max_examples=40)
@given(data=st.data())
def test_a_query_is_restored_from_its_file(source, data):
    """Incomplete rows included: a user may save the form in the middle of an edit."""
    rule = rules(source.schema) | incomplete_rules(source.schema)
    query = data.draw(form_trees.queries(source, groups(rule)))
    text = json.dumps(query_to_json(query))
    restored = query_from_json(json.loads(text))
    assert repr(restored) == repr(query)
    assert restored.tree == query.tree


def test_operators_of_earlier_saved_forms_are_read():
    """Forms were saved when the operators had other keys."""
    members = [
        {"field": "queue", "operator": key, "value": None} for key in ("missing", "there", "eq")
    ]
    tree = {"combinator": "or", "negated": False, "members": members}
    query = query_from_json({"format": 1, "tree": tree})
    assert [rule.operator for rule in query.tree.members] == ["isna", "notna", "eq"]


@settings(QUICK, max_examples=250)
@given(data=st.data())
def test_a_damaged_file_is_refused_in_words(data):
    """Whatever a text editor did to the file, the form explains it."""
    source = SimpleNamespace(schema=KEYED, can_search=True)
    record = query_to_json(data.draw(form_trees.queries(source, trees(KEYED))))
    path = data.draw(st.sampled_from([*_paths(record)]))
    damaged = _replace_at(record, path, data.draw(_JUNK))
    try:
        query = query_from_json(damaged)
    except cs.FilterError:
        return
    # What is accepted is a query like any other.
    record = json.loads(json.dumps(query_to_json(query)))
    assert query_from_json(record) == query
    to_expression(query.tree)


_JUNK = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=2)
        | st.dictionaries(
            st.sampled_from(["field", "members", "timedelta", "period", "freq", "date", "x"]),
            inner,
            max_size=3,
        )
    ),
    max_leaves=4,
)


def _paths(record, path=()):
    yield path
    items = ()
    if isinstance(record, dict):
        items = record.items()
    elif isinstance(record, list):
        items = enumerate(record)
    for key, value in items:
        yield from _paths(value, (*path, key))


def _replace_at(record, path, junk):
    if not path:
        return junk
    copy = dict(record) if isinstance(record, dict) else list(record)
    copy[path[0]] = _replace_at(copy[path[0]], path[1:], junk)
    return copy


DEEP = {"combinator": "and", "negated": False, "members": []}
for _ in range(5_000):
    DEEP = {"combinator": "and", "negated": False, "members": [DEEP]}


@pytest.mark.parametrize(
    "record",
    [
        None,
        [],
        {"format": 2, "tree": {}},
        {"format": 1},
        {"format": 1, "tree": tree_to_json(Rule("status"))},
        {"format": 1, "tree": DEEP},
        {"format": 1, "tree": tree_to_json(Group()), "serch": "refund"},
        {"format": 1, "tree": tree_to_json(Group()), "limit": True},
        {
            "format": 1,
            "tree": {
                "combinator": "and",
                "negated": False,
                "members": [{"field": "due", "operator": "eq", "value": {"timedelta": "a week"}}],
            },
        },
    ],
    ids=["none", "list", "later", "no tree", "rule", "deep", "typo", "boolean", "duration"],
)
def test_another_json_is_refused(record):
    with pytest.raises(cs.FilterError):
        query_from_json(record)


# --- any filter of read_cases -----------------------------------------------------------------


def unordered(term):
    """Return a bound expression in a form that does not depend on the order of its terms."""
    match to_nnf(term):
        case And(terms):
            return ("and", frozenset(map(unordered, terms)))
        case Or(terms):
            return ("or", frozenset(map(unordered, terms)))
        case other:
            return other


def has_rows(term):
    """Return whether the form has rows for a filter: no empty list, only years, months, days."""
    return all(
        _has_row(item) for comparison in comparisons(term) for item in _items(comparison)
    ) and not any(is_collection(item.value) and len(item.value) == 0 for item in comparisons(term))


def _items(comparison):
    return comparison.value if is_collection(comparison.value) else (comparison.value,)


def _has_row(value):
    if isinstance(value, pd.Period):
        return value.freqstr in {"Y-DEC", "M", "D"}
    return not isinstance(value, np.datetime64) or np.datetime_data(value.dtype)[0] != "W"


def check_conversion(source, where, filters, tz="UTC"):
    """Check that a filter has rows of the same meaning, or is refused with a reason."""
    expression = parse_filter(where, filters, None, source.schema)
    if not has_rows(expression):
        with pytest.raises(cs.FilterError, match=r"the form has (no row|rows only for years)"):
            form_query(source, where=where, tz=tz, **filters)
        return
    query = form_query(source, where=where, tz=tz, **filters)
    bound = bind_at_now(expression, source.schema, tz)
    converted = bind_at_now(to_expression(query.tree), source.schema, tz)
    assert unordered(converted) == unordered(bound)
    restored = form_query(source, **run_code(code_of(query, source), source))
    assert repr(restored) == repr(query)


@settings(QUICK, max_examples=100)
@given(data=st.data())
def test_any_filter_has_rows_or_is_refused(bench, data):
    """A form that began with a part of its filter would find other cases."""
    tz = data.draw(st.sampled_from(["UTC", "Europe/Berlin"]))
    where = data.draw(filter_expressions(bench.table, tz))
    check_conversion(bench.source, where, {}, tz)


KATHMANDU = timezone(timedelta(hours=5, minutes=45))
FILTERS = {
    "keywords": (None, {"status": "open", "amount__gte": 3}),
    "a list with a missing value": (None, {"status": ["open", None]}),
    "none of a list with a missing value": (None, {"title__ne": ["open", None, "a\nb"]}),
    "nothing but missing": (None, {"title": [None]}),
    "missing": (None, {"title": None, "status__ne": None, "vip": np.nan}),
    "yes or no": (None, {"vip": [True, False, None]}),
    "a set": (None, {"amount": {3, 2.5}}),
    "a series": (None, {"title": pd.Series(["a", "b", "a"])}),
    "numbers of numpy": (None, {"amount": np.array([1, 2]), "size__lt": np.int64(7)}),
    "a boolean of numpy": (None, {"vip": np.True_, "title__isna": np.False_}),
    "a day": (None, {"created_at": date(2026, 3, 29)}),
    "a month": (None, {"created_at": pd.Period("2026-03", "M")}),
    "a year of numpy": (None, {"created_at__gt": np.datetime64("2025")}),
    "a quarter": (None, {"created_at": pd.Period("2026Q1", "Q")}),
    "a week": (None, {"created_at__ne": pd.Period("2026-03-09", "W")}),
    "a week of numpy": (None, {"created_at": np.datetime64("2026-03-12", "W")}),
    "an hour": (None, {"created_at__lt": pd.Period("2026-03-14T09", "h")}),
    "an instant": (None, {"created_at__lte": datetime(2026, 3, 14, 9, tzinfo=KATHMANDU)}),
    "an offset with seconds": (
        None,
        {"created_at__gt": datetime(1890, 1, 1, tzinfo=timezone(timedelta(seconds=3208)))},
    ),
    "nanoseconds": (None, {"created_at__lt": pd.Timestamp("2026-03-14T12:00:00.000000001Z")}),
    "from now": (None, {"created_at__gte": timedelta(days=-7)}),
    "from now in numpy": (None, {"created_at": [np.timedelta64(-3, "h"), None]}),
    "a pair": (None, {"created_at__between": ("2026-03", date(2026, 4, 1)), "amount__ne": 1}),
    "spaces": (None, {"created_at": " 2026-03 "}),
    "an empty list": (None, {"status": []}),
    "not an empty list": (None, {"status__ne": []}),
    "a mapping": ({"limit": 3} | {"amount__gt": 1}, {}),
    "pandas": ((pd.col("amount") > 3) & ~pd.col("closed_at").isna(), {}),
    "no case": (any_of([]), {}),
    "every case": (TRUE, {}),
    "built by hand": (Or((And(()), Compare("title", "eq", "a"))), {"vip": True}),
    "a double negation by hand": (Not(Not(Compare("title", "contains", "a"))), {}),
    "no case by hand": (And((Not(And(())), Compare("title", "eq", "a"))), {}),
    "an id": (None, {"created_datetime__lt": "2026"}),
}


@pytest.mark.parametrize("name", FILTERS)
def test_each_kind_of_filter_has_rows_or_is_refused(bench, name):
    where, filters = FILTERS[name]
    if isinstance(where, dict) and "limit" in where:
        where = {key: value for key, value in where.items() if key != "limit"}
    if name in {"no case", "no case by hand"}:
        with pytest.raises(cs.FilterError, match="no case at all"):
            form_query(bench.source, where=where, **filters)
        return
    check_conversion(bench.source, where, filters)


def test_a_bound_filter_has_rows_too(bench):
    """A filter that is bound before it is read gets the same rows, with times in UTC."""
    schema = bench.source.schema
    where = (cs.field("created_at") == "2026-03") & cs.field("title").isna()
    bound = bind_at_now(where, schema)
    query = form_query(bench.source, where=bound)
    assert bind_at_now(to_expression(query.tree), schema) == bound


@pytest.mark.parametrize("tags", [5, b"a", [5], "", ["a\nb"], [""], {"team": "a\nb"}])
def test_tags_that_fit_no_line_are_refused(local, tags):
    for source in local.sources.values():
        with pytest.raises(cs.FilterError):
            form_query(source, tags=tags)


def test_tags_of_a_generator_are_read_once(local):
    """A generator is empty when it is read a second time."""
    query = form_query(local.sources["connect"], tags=(tag for tag in ["team=red"]))
    assert query.tags == ("team=red",)


def test_two_values_of_one_tag_are_preserved(local):
    source = local.sources["connect"]
    query = form_query(source, tags=["team=red", "team=a=b"])
    arguments = query.to_arguments(source.schema)
    assert arguments == {"tags": ["team=red", "team=a=b"]}
    assert form_query(source, **arguments) == query


def test_a_field_outside_the_schema_is_named_by_its_id(local):
    """Its column may be close to a field of the schema, from which only the id distinguishes it."""
    source = local.persona_cases(schema=OPEN)
    query = form_query(
        source, where={"fields.amounts": 5}, columns=["fields.amounts"], sort="-fields.amounts"
    )
    assert query.columns == ("fields.amounts",)
    assert form_query(source, **query.to_arguments(OPEN)) == query


# --- values as text ---------------------------------------------------------------------------


@settings(QUICK, max_examples=300)
@given(data=st.data())
def test_a_value_is_restored_from_its_text(data):
    """A value that changed by being displayed would find other cases after a click."""
    field_type = data.draw(st.sampled_from(["text", "select", "url", "number", "integer",
                                            "boolean", "datetime", "list", "any"]))  # fmt: skip
    value = data.draw(form_trees.values(field_type))
    restored = from_text(value_type(field_type, value), to_text(value))
    assert repr(restored) == repr(value)
    assert "\n" not in to_text(value)
    if field_type != "any":
        values = data.draw(st.lists(form_trees.values(field_type)).map(tuple))
        assert repr(from_lines(field_type, to_lines(values))) == repr(values)


CENTURIES = timedelta(days=106_751)  # the longest duration that pandas reads as text


@settings(QUICK)
@given(duration=st.timedeltas(-CENTURIES, CENTURIES))
def test_a_duration_is_restored_from_its_text(duration):
    """In words if it is a whole number of some unit, else by the clock."""
    value = pd.Timedelta(duration)
    assert from_text("datetime", to_text(value)) == value


@pytest.mark.parametrize(
    ("field_type", "text"),
    [("number", "nan"), ("number", "1e999"), ("integer", "two"), ("boolean", "maybe"),
     ("datetime", "a while ago"), ("datetime", "in NaT"), ("number", "9" * 5_000)],
)  # fmt: skip
def test_a_text_that_is_no_value_is_refused(field_type, text):
    """`nan` would search for missing values, and `1e999` for none."""
    with pytest.raises(cs.FilterError):
        from_text(field_type, text)


@pytest.mark.parametrize(
    ("field_type", "text", "value"),
    [
        ("text", '"urgent"', '"urgent"'),
        ("text", '""', ""),
        ("text", '"a\\nb"', "a\nb"),
        ("text", "", None),
        ("boolean", "Yes", True),
        ("integer", " 12 ", 12),
        ("datetime", "7 days ago", pd.Timedelta(days=-7)),
        ("datetime", "In 90 minutes", pd.Timedelta(minutes=90)),
        ("datetime", " 2026-03 ", "2026-03"),
    ],
)
def test_a_typed_text_is_read_as_intended(field_type, text, value):
    assert from_text(field_type, text) == value
