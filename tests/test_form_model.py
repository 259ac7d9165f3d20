"""The laws of what the form holds: as an expression, as code, as JSON, and back."""

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
from casesearch_pd.form.model import code as entries
from casesearch_pd.form.model import tree
from casesearch_pd.form.model.code import as_code
from casesearch_pd.form.model.meaning import from_expression, to_expression
from casesearch_pd.form.model.question import FormQuery
from casesearch_pd.form.model.tree import Group, Rule
from casesearch_pd.query.binding import BindingContext, bind
from casesearch_pd.query.coercion import is_collection
from casesearch_pd.query.expressions import TRUE, And, Compare, Not, Or, any_of, literals, to_nnf
from casesearch_pd.reading.local_filter import filter_frame
from casesearch_pd.reading.plan import OPTIONS, parse_filter
from tests import form_trees
from tests.filter_trees import trees as any_trees
from tests.form_trees import KEYED, OPEN, groups, rules, settled, trees, unfinished
from tests.hostile_cases import NOW, hostile_rows
from tests.law_bench import QUICK, a_bench, quietly
from tests.plain_reading import holds

SCHEMAS = {"keyed": KEYED, "open": OPEN}


@pytest.fixture(scope="module")
def local():
    with cs.LocalCases(cases=60, seed=3, now=NOW) as service:
        yield service


@pytest.fixture(scope="module", params=["connect", "persona", "keyed", "open"])
def source(request, local):
    """Make a source of each service, and one of each with a hostile schema; none is sent much."""
    match request.param:
        case "connect" | "persona" as service:
            return getattr(local, f"{service}_cases")()
        case "keyed":
            return local.connect_cases(schema=KEYED)
        case _:
            return local.persona_cases(schema=OPEN)


@pytest.fixture(scope="module")
def bench():
    with a_bench("connect", hostile_rows(), {}, {}) as made:
        yield made


def bound(term, schema, tz="UTC"):
    with quietly():
        return bind(term, BindingContext(schema, tz, pd.Timestamp(NOW)))


# --- form, expression, form -------------------------------------------------------------------


@settings(QUICK, max_examples=70)
@given(data=st.data())
def test_a_tree_comes_back_from_its_expression(source, data):
    """A row that came back as another, or not at all, would ask for other cases."""
    drawn = data.draw(trees(source.schema))
    still = settled(drawn, source.schema)
    assert repr(from_expression(to_expression(drawn), source.schema)) == repr(still)
    assert settled(still, source.schema) == still
    assert to_expression(still) == to_expression(drawn)
    assert bound(to_expression(still), source.schema) == bound(to_expression(drawn), source.schema)


@settings(QUICK, max_examples=30)
@given(data=st.data())
def test_rows_that_are_not_finished_say_nothing(source, data):
    """A row that is being written must neither match nothing nor be guessed."""
    rule = rules(source.schema) | unfinished(source.schema)
    drawn = data.draw(groups(rule))
    back = from_expression(to_expression(drawn), source.schema)
    assert repr(back) == repr(settled(drawn, source.schema))


def keeps(member, row, tz):
    """Tell whether a tree keeps a row: its groups read here, its rows as filters are typed."""
    if isinstance(member, Rule):
        return holds(_typed(member), row, tz)
    found = [keeps(item, row, tz) for item in member.members if not _bare(item)]
    joined = all(found) if member.combinator == "and" or not found else any(found)
    return not joined if member.negated and found else joined


def _bare(member):
    return isinstance(member, Group) and all(map(_bare, member.members))


def _typed(rule):
    return TYPED[rule.operator](cs.field(rule.field), rule.value)


TYPED = {
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
    "missing": lambda name, _: name.isna(),
    "there": lambda name, _: name.notna(),
}


@settings(QUICK, max_examples=60)
@given(data=st.data())
def test_a_tree_keeps_the_rows_that_it_says(bench, data):
    """AND, OR and NOT as they stand on the screen, read row by row and by the mask."""
    held = {item.names[0] for item in bench.asked.columns}
    fields = [item for item in bench.source.schema.fields if item.column in held]
    drawn = data.draw(trees(bench.source.schema, fields=fields, here=True))
    tz = data.draw(st.sampled_from(["UTC", "America/Sao_Paulo"]))
    wanted = sorted(row["case_id"] for row in bench.asked.rows if keeps(drawn, row, tz))
    for said in (drawn, settled(drawn, bench.source.schema)):
        found = filter_frame(bench.whole, to_expression(said), {}, tz=tz)
        assert sorted(found["case_id"]) == wanted


# --- form, code, form -------------------------------------------------------------------------


def executed(code, source):
    """Run code, and tell what it gives to read_cases."""
    given_ = {}

    def read_cases(asked_of, where=None, **named):
        assert asked_of is source
        given_.update(named, where=where)

    exec(
        compile(code, "code", "exec"),
        {"cs": SimpleNamespace(field=cs.field, read_cases=read_cases), "source": source},
    )
    return given_


def question_of(source, *, where=None, **given_):
    """Take what read_cases takes, its options apart from its filters."""
    options = {name: value for name, value in given_.items() if name in OPTIONS}
    filters = {name: value for name, value in given_.items() if name not in OPTIONS}
    with quietly():
        return FormQuery.of(source, where, filters, **options)


@settings(QUICK, max_examples=50)
@given(data=st.data())
def test_a_question_comes_back_from_its_code(source, data):
    """Who copies the code must ask what the form asked."""
    question = data.draw(form_trees.questions(source, trees(source.schema)))
    code = as_code(question.arguments(source.schema))
    back = question_of(source, **executed(code, source))
    still = replace(question, tree=settled(question.tree, source.schema))
    assert repr(back) == repr(still)
    assert as_code(back.arguments(source.schema)) == code
    code.encode()  # a file can hold it


@settings(QUICK, max_examples=30)
@given(data=st.data())
def test_code_is_laid_out_in_lines(source, data):
    """A line may only be longer than a page is wide if one condition is."""
    question = FormQuery(data.draw(trees(source.schema)))
    for line in as_code(question.arguments(source.schema)).splitlines():
        assert len(line) <= 88 or (
            line.count("cs.field(") <= 1 and line.count(", ") <= _commas(line)
        )


def _commas(line):
    """Count the commas that one value of a line may hold: those of its longest text."""
    return max(line.count(", "), 0) if '"' in line or "'" in line else 1


def test_a_real_read_takes_the_code(local):
    """The arguments above are taken by a stand-in; here by read_cases."""
    source = local.connect_cases()
    question = question_of(
        source,
        where=~(cs.field("status") == "closed") | cs.field("title").contains("a"),
        created_at__lt=pd.Timedelta(days=1),
        columns=["status", "title"],
        sort="-created_at",
        limit=5,
    )
    names = {"cs": cs, "source": source}
    exec(as_code(question.arguments(source.schema)), names)
    assert len(names["df"]) == 5
    assert [*names["df"].columns] == ["status", "title"]


@settings(QUICK, max_examples=30)
@given(data=st.data())
def test_rows_side_by_side_are_keywords(source, data):
    """An expression where keywords do is harder to read and to change."""
    drawn = data.draw(form_trees.flat(source.schema))
    given_ = FormQuery(drawn).arguments(source.schema)
    plain = all(_is_plain(rule, source.schema) for rule in drawn.members)
    assert ("where" not in given_) == plain
    nested = Group("or", members=(Group(members=drawn.members),))
    assert FormQuery(nested).arguments(source.schema) == given_


LOOKUPS = {"eq": "", "in": "", "ne": "__ne", "not in": "__ne", "missing": "__isna"}
LOOKUPS |= {"there": "__isna"}
UNTYPED = {"class", "ﬁne", "2nd line", 'ha"rd\\', *form_trees.UNTOLD}
NO_NAMES = {"limit", "source", "__debug__", "amount__ne", "limit__ne"}


def _is_plain(rule, schema):
    name = rule.field + LOOKUPS.get(rule.operator, f"__{rule.operator}")
    if rule.operator == "not contains" or rule.field in UNTYPED:
        return name.startswith("class__")
    column = schema.find(rule.field)
    if name in {"limit", "source", "__debug__"} or column is None:
        return False
    return name == rule.field or schema.find(name) is None


@pytest.mark.parametrize(
    ("asked", "code"),
    [
        ({}, "df = cs.read_cases(source)"),
        ({"status": "open", "limit": 20}, 'df = cs.read_cases(source, status=["open"], limit=20)'),
    ],
)
def test_code_is_what_somebody_would_type(local, asked, code):
    made = as_code(
        question_of(local.connect_cases(), **asked).arguments(local.connect_cases().schema)
    )
    assert made == code.replace('["open"]', '"open"')


# --- JSON -------------------------------------------------------------------------------------


@settings(QUICK, max_examples=40)
@given(data=st.data())
def test_a_question_comes_back_from_its_file(source, data):
    """Unfinished rows included: who saves a form closes the notebook in the middle of a word."""
    rule = rules(source.schema) | unfinished(source.schema)
    question = data.draw(form_trees.questions(source, groups(rule)))
    text = json.dumps(question.to_json())
    back = FormQuery.from_json(json.loads(text))
    assert repr(back) == repr(question)
    assert back.tree == question.tree


@settings(QUICK, max_examples=250)
@given(data=st.data())
def test_a_damaged_file_is_refused_in_words(data):
    """Whatever somebody's editor did to the file, the form says so."""
    question = data.draw(
        form_trees.questions(SimpleNamespace(schema=KEYED, searches=True), trees(KEYED))
    )
    told = question.to_json()
    path = data.draw(st.sampled_from([*_places(told)]))
    damaged = _damaged(told, path, data.draw(_JUNK))
    try:
        read = FormQuery.from_json(damaged)
    except cs.FilterError:
        return
    again = json.loads(json.dumps(read.to_json()))
    assert FormQuery.from_json(again) == read  # what is taken is a question like any other
    to_expression(read.tree)


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


def _places(told, path=()):
    yield path
    items = (
        told.items()
        if isinstance(told, dict)
        else enumerate(told)
        if isinstance(told, list)
        else ()
    )
    for key, value in items:
        yield from _places(value, (*path, key))


def _damaged(told, path, junk):
    if not path:
        return junk
    copy = dict(told) if isinstance(told, dict) else list(told)
    copy[path[0]] = _damaged(copy[path[0]], path[1:], junk)
    return copy


DEEP = {"combinator": "and", "negated": False, "members": []}
for _ in range(5_000):
    DEEP = {"combinator": "and", "negated": False, "members": [DEEP]}


@pytest.mark.parametrize(
    "told",
    [
        None,
        [],
        {"format": 2, "tree": {}},
        {"format": 1},
        {"format": 1, "tree": tree.to_json(Rule("status"))},
        {"format": 1, "tree": DEEP},
        {"format": 1, "tree": tree.to_json(Group()), "serch": "refund"},
        {"format": 1, "tree": tree.to_json(Group()), "limit": True},
        {
            "format": 1,
            "tree": {
                "combinator": "and",
                "negated": False,
                "members": [{"field": "due", "operator": "eq", "value": {"timedelta": "a week"}}],
            },
        },
    ],
    ids=["none", "a list", "a later one", "no tree", "a rule", "deep", "a typo", "true", "a span"],
)
def test_what_is_no_saved_form_is_refused(told):
    with pytest.raises(cs.FilterError):
        FormQuery.from_json(told)


# --- whatever read_cases takes ----------------------------------------------------------------


def meant(term):
    """Bring a bound expression into one shape, whatever the order of its terms."""
    match to_nnf(term):
        case And(terms):
            return ("and", frozenset(map(meant, terms)))
        case Or(terms):
            return ("or", frozenset(map(meant, terms)))
        case other:
            return other


def has_rows(term):
    """Tell whether the form has rows for a filter: no empty list, no period but Y, M and D."""
    return all(
        _has_a_row(item) for literal in literals(term) for item in _listed(literal)
    ) and not any(is_collection(item.value) and len(item.value) == 0 for item in literals(term))


def _listed(literal):
    return literal.value if is_collection(literal.value) else (literal.value,)


def _has_a_row(value):
    if isinstance(value, pd.Period):
        return value.freqstr in {"Y-DEC", "M", "D"}
    return not isinstance(value, np.datetime64) or np.datetime_data(value.dtype)[0] != "W"


def check_taken(source, where, filters, tz="UTC"):
    """Hold one filter to the law: rows of the same meaning, or a refusal with a reason."""
    asked = parse_filter(where, filters, None, source.schema)
    if not has_rows(asked):
        with pytest.raises(cs.FilterError, match=r"the form (has no row|knows years)"):
            question_of(source, where=where, tz=tz, **filters)
        return
    question = question_of(source, where=where, tz=tz, **filters)
    said = to_expression(question.tree)
    assert meant(bound(said, source.schema, tz)) == meant(bound(asked, source.schema, tz))
    back = question_of(source, **executed(as_code(question.arguments(source.schema)), source))
    assert repr(back) == repr(question)


@settings(QUICK, max_examples=100)
@given(data=st.data())
def test_any_filter_has_rows_or_is_refused(bench, data):
    """A form that started with less than it was given would read other cases."""
    tz = data.draw(st.sampled_from(["UTC", "Europe/Berlin"]))
    drawn = data.draw(any_trees(bench.asked, tz))
    check_taken(bench.source, drawn, {}, tz)


KATHMANDU = timezone(timedelta(hours=5, minutes=45))
TAKEN = {
    "keywords": (None, {"status": "open", "amount__gte": 3}),
    "a list with a missing value": (None, {"status": ["open", None]}),
    "none of a list with a missing value": (None, {"title__ne": ["open", None, "a\nb"]}),
    "nothing but missing": (None, {"title": [None]}),
    "missing": (None, {"title": None, "status__ne": None, "vip": np.nan}),
    "yes or no": (None, {"vip": [True, False, None]}),
    "a set": (None, {"amount": {3, 2.5}}),
    "a series": (None, {"title": pd.Series(["a", "b", "a"])}),
    "numbers of numpy": (None, {"amount": np.array([1, 2]), "size__lt": np.int64(7)}),
    "truth of numpy": (None, {"vip": np.True_, "title__isna": np.False_}),
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
    "a hand's double denial": (Not(Not(Compare("title", "contains", "a"))), {}),
    "no case by hand": (And((Not(And(())), Compare("title", "eq", "a"))), {}),
    "an id": (None, {"created_datetime__lt": "2026"}),
}


@pytest.mark.parametrize("name", TAKEN)
def test_each_way_of_asking_has_rows_or_is_refused(bench, name):
    where, filters = TAKEN[name]
    if isinstance(where, dict) and "limit" in where:
        where = {key: value for key, value in where.items() if key != "limit"}
    if name in {"no case", "no case by hand"}:
        with pytest.raises(cs.FilterError, match="no case at all"):
            question_of(bench.source, where=where, **filters)
        return
    check_taken(bench.source, where, filters)


def test_a_bound_filter_has_rows_too(bench):
    """Who binds a filter before it is read gets the same rows, its times in UTC."""
    schema = bench.source.schema
    asked = (cs.field("created_at") == "2026-03") & cs.field("title").isna()
    question = question_of(bench.source, where=bound(asked, schema))
    assert bound(to_expression(question.tree), schema) == bound(asked, schema)


@pytest.mark.parametrize("tags", [5, b"a", [5], "", ["a\nb"], [""], {"team": "a\nb"}])
def test_tags_that_fit_no_line_are_refused(local, tags):
    for source in (local.connect_cases(), local.persona_cases()):
        with pytest.raises(cs.FilterError):
            question_of(source, tags=tags)


def test_two_values_of_one_tag_are_held(local):
    source = local.connect_cases()
    question = question_of(source, tags=["team=red", "team=a=b"])
    assert question.arguments(source.schema) == {"tags": ["team=red", "team=a=b"]}
    assert question_of(source, **question.arguments(source.schema)) == question


def test_a_field_that_no_schema_told_is_found_again(local):
    """Its column may be close to a known one, which only its id tells apart."""
    source = local.persona_cases(schema=OPEN)
    question = question_of(
        source, where={"fields.amounts": 5}, columns=["fields.amounts"], sort="-fields.amounts"
    )
    assert question.columns == ("fields.amounts",)
    assert question_of(source, **question.arguments(OPEN)) == question


# --- entries ----------------------------------------------------------------------------------


@settings(QUICK, max_examples=300)
@given(data=st.data())
def test_a_value_comes_back_from_its_box(data):
    """A value that changed by being shown would ask for other cases after a click."""
    kind = data.draw(st.sampled_from(["text", "select", "url", "number", "integer", "boolean",
                                      "datetime", "list", "any"]))  # fmt: skip
    value = data.draw(form_trees.values(kind))
    typed = entries.kind_of(kind, value)
    back = entries.from_text(typed, entries.to_text(value))
    assert repr(back) == repr(value)
    assert "\n" not in entries.to_text(value)
    if kind != "any":
        held = data.draw(st.lists(form_trees.values(kind)).map(tuple))
        assert repr(entries.from_lines(kind, entries.to_lines(held))) == repr(held)


CENTURIES = timedelta(days=106_751)  # the longest text that pandas reads as a length of time


@settings(QUICK)
@given(span=st.timedeltas(-CENTURIES, CENTURIES))
def test_a_length_of_time_comes_back_from_its_box(span):
    """In words while it is a whole number of some unit, by the clock otherwise."""
    value = pd.Timedelta(span)
    assert entries.from_text("datetime", entries.to_text(value)) == value


@pytest.mark.parametrize(
    ("kind", "text"),
    [("number", "nan"), ("number", "1e999"), ("integer", "two"), ("boolean", "maybe"),
     ("datetime", "a while ago"), ("datetime", "in NaT"), ("number", "9" * 5_000)],
)  # fmt: skip
def test_what_is_no_value_is_refused(kind, text):
    """`nan` would have asked for missing values, and `1e999` for none."""
    with pytest.raises(cs.FilterError):
        entries.from_text(kind, text)


@pytest.mark.parametrize(
    ("kind", "text", "value"),
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
def test_what_is_typed_is_read_as_it_is_meant(kind, text, value):
    assert entries.from_text(kind, text) == value
