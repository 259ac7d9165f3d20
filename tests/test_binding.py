"""Keywords and unbound expressions, bound: every lookup, every refusal."""

import json
import os
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from casesearch_pd import FilterError
from casesearch_pd.query.binding import BindingContext, bind, from_keywords, from_tags
from casesearch_pd.query.expressions import FALSE, TRUE, And, Compare, Not, Or, comparisons, negate
from casesearch_pd.query.schema import Field, make_columns_unique
from tests.bound_filters import (
    CHOICE,
    FIELDS,
    LAW,
    LIST,
    NUMBER,
    TEXT,
    TIME,
    TRUTH,
    WHOLE,
    a_row,
    a_schema,
    keeps,
)

NOW = pd.Timestamp("2026-03-14T12:00Z")
TAGS = Field("tags", "tags", "Tags", "tags")


def at(text):
    return pd.Timestamp(text).tz_convert("UTC")


def bound(schema=None, tz="UTC", **filters):
    schema = schema or a_schema(TAGS)
    return bind(from_keywords(filters, schema), BindingContext(schema, tz, NOW))


def eq(field, value):
    return Compare(field, "eq", value)


NEXT = at("2026-03-14T09:30:00.000001Z")
MARCH = And(
    (Compare(TIME, "gte", at("2026-03-01T00:00Z")), Compare(TIME, "lt", at("2026-04-01T00:00Z")))
)


@pytest.mark.parametrize(
    ("filters", "expected"),
    [
        ({"title": "open"}, eq(TEXT, "open")),
        ({"title__eq": "open"}, eq(TEXT, "open")),
        ({"title__ne": "open"}, Not(eq(TEXT, "open"))),
        ({"title__contains": "pen"}, Compare(TEXT, "contains", "pen")),
        ({"title__in": ["a", "b"]}, Or((eq(TEXT, "a"), eq(TEXT, "b")))),
        ({"title__ne": ["a", "b"]}, Not(Or((eq(TEXT, "a"), eq(TEXT, "b"))))),
        ({"amount__gt": 1}, Compare(NUMBER, "gt", 1)),
        ({"amount__gte": 1.5}, Compare(NUMBER, "gte", 1.5)),
        ({"contacts__lt": 3}, Compare(WHOLE, "lt", 3)),
        ({"contacts__lte": np.int64(3)}, Compare(WHOLE, "lte", 3)),
        ({"amount__between": (1, 2)}, And((Compare(NUMBER, "gte", 1), Compare(NUMBER, "lte", 2)))),
        ({"amount__between": [2, 2]}, And((Compare(NUMBER, "gte", 2), Compare(NUMBER, "lte", 2)))),
        (
            {"title__between": ("a", "b")},
            And((Compare(TEXT, "gte", "a"), Compare(TEXT, "lte", "b"))),
        ),
        ({"vip": True}, eq(TRUTH, True)),
        ({"vip__ne": False}, Not(eq(TRUTH, False))),
        ({"labels__contains": "red"}, Compare(LIST, "contains", "red")),
        ({"priority": "High"}, eq(CHOICE, "p1")),
        ({"priority": ["High", "p2"]}, Or((eq(CHOICE, "p1"), eq(CHOICE, "p2")))),
        ({}, TRUE),
        ({"title": "a", "vip": True}, And((eq(TEXT, "a"), eq(TRUTH, True)))),
    ],
)
def test_every_lookup_means_what_it_says(filters, expected):
    assert bound(**filters) == expected


@pytest.mark.parametrize("nothing", [None, pd.NA, pd.NaT, float("nan")])
@pytest.mark.parametrize("field", FIELDS, ids=lambda field: field.column)
def test_nothing_is_missing_for_every_type(field, nothing):
    """Equality with None must not become an equality with the text "None"."""
    missing = Compare(field, "isna", None)
    assert bound(**{field.column: nothing}) == missing
    assert bound(**{f"{field.column}__ne": nothing}) == Not(missing)
    assert bound(**{f"{field.column}__isna": True}) == missing
    assert bound(**{f"{field.column}__isna": np.False_}) == Not(missing)


def test_nothing_can_be_among_the_values():
    assert bound(title=["a", None]) == Or((eq(TEXT, "a"), Compare(TEXT, "isna", None)))
    assert bound(title__ne=[None, "a"]) == Not(Or((Compare(TEXT, "isna", None), eq(TEXT, "a"))))


@pytest.mark.parametrize(
    "values",
    [["a", "b"], ("a", "b"), {"b", "a"}, frozenset("ab"), pd.Series(["a", "b"], index=[7, 8]),
     pd.Index(["a", "b"]), np.array(["a", "b"]), pd.array(["a", "b"]), {"a": 1, "b": 2}.keys(),
     (letter for letter in "ab"), pd.Series(["a", "b", "a"]).astype("category")],
)  # fmt: skip
@pytest.mark.parametrize("name", ["title", "title__in"])
def test_every_kind_of_collection_is_any_of(name, values):
    if name == "title" or not hasattr(values, "send"):  # a generator is used up after once
        assert bound(**{name: values}) == Or((eq(TEXT, "a"), eq(TEXT, "b")))


@pytest.mark.parametrize("empty", [[], (), set(), pd.Series([], dtype="str"), np.array([])])
def test_an_empty_any_of_keeps_no_row(empty):
    """An empty list that meant "no filter" would read every case there is."""
    assert bound(title=empty) == FALSE
    assert bound(title__in=empty, vip=True) == FALSE
    assert bound(title__ne=empty) == TRUE


def test_a_filter_can_be_used_twice():
    """What a user passes is copied: a list that is changed later changes no filter."""
    values = ["a", "b"]
    written = from_keywords({"title": values}, a_schema())
    values.append("c")
    assert len(comparisons(bind(written, BindingContext(a_schema(), "UTC", NOW)))) == 2


def test_sets_make_the_same_filter_in_every_process():
    """Text hashes differ from process to process; requests that differed could not be cached."""
    code = (
        "from tests.test_binding import bound; "
        "from casesearch_pd.query.expressions import comparisons; "
        "import json; print(json.dumps([item.value for item in "
        "comparisons(bound(title={'open', 'closed', 'pending', 'solved', 'new'}))]))"
    )
    outputs = [
        subprocess.run(
            [sys.executable, "-c", code],
            env={**os.environ, "PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
            timeout=60,
        ).stdout
        for seed in ("1", "2")
    ]
    assert outputs[0] == outputs[1]
    assert len(json.loads(outputs[0])) == 5


# --- times -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("filters", "expected"),
    [
        ({"created_at": "2026-03"}, MARCH),
        ({"created_at__ne": "2026-03"}, Not(MARCH)),
        ({"created_at__gt": "2026-03"}, Compare(TIME, "gte", at("2026-04-01T00:00Z"))),
        ({"created_at__gte": "2026-03"}, Compare(TIME, "gte", at("2026-03-01T00:00Z"))),
        ({"created_at__lt": "2026-03"}, Compare(TIME, "lt", at("2026-03-01T00:00Z"))),
        ({"created_at__lte": "2026-03"}, Compare(TIME, "lt", at("2026-04-01T00:00Z"))),
        ({"created_at__between": ("2026-03", "2026-03")}, MARCH),
        ({"created_at__between": ("2026-03-01", "2026-03-31")}, MARCH),
        ({"created_at__gt": "2026-03-14T09:30Z"}, Compare(TIME, "gte", NEXT)),
        ({"created_at__lte": "2026-03-14T09:30Z"}, Compare(TIME, "lt", NEXT)),
        ({"created_at__gte": -pd.Timedelta("2h")}, Compare(TIME, "gte", at("2026-03-14T10:00Z"))),
        ({"created_datetime__lt": "2026"}, Compare(TIME, "lt", at("2026-01-01T00:00Z"))),
    ],
)  # fmt: skip
def test_times_are_compared_by_their_ends(filters, expected):
    """After March begins with April; not in March is outside of it."""
    assert bound(**filters) == expected


def test_naive_times_are_in_the_zone_of_the_read():
    assert bound(tz="Europe/Berlin", created_at__gte="2026-03-14") == Compare(
        TIME, "gte", at("2026-03-13T23:00Z")
    )


MOMENTS = ["2026-03", "2026-03-14", "2026-03-14T12:00Z", "2026-03-14T11:59:59.9999995Z"]


@LAW
@given(st.sampled_from(MOMENTS), a_row())
def test_the_six_comparisons_of_a_time_agree_with_each_other(moment, row):
    """Law: a case is before, in, or after a time, in exactly one of them unless it is missing."""
    meets = {
        op: keeps(bound(**{f"created_at__{op}": moment}), row)
        for op in ("eq", "ne", "lt", "lte", "gt", "gte")
    }
    known = row["created_at"] is not None
    assert meets["lt"] + meets["eq"] + meets["gt"] == known
    assert meets["ne"] is not meets["eq"]
    assert meets["lte"] == (meets["lt"] or meets["eq"])
    assert meets["gte"] == (meets["gt"] or meets["eq"])


@LAW
@given(st.sampled_from(FIELDS), st.data())
def test_ne_keeps_what_eq_does_not(field, data):
    """Law 2: ``ne`` keeps the cases without a value."""
    row = data.draw(a_row())
    if field is LIST:
        value = None
    else:
        value = data.draw(st.none() | st.sampled_from([v for v in _values(field) if v != ""]))
    equal, other = bound(**{field.column: value}), bound(**{f"{field.column}__ne": value})
    assert other == negate(equal)
    assert keeps(equal, row) is not keeps(other, row)


def _values(field):
    return {"text": ["open"], "select": ["p1"], "boolean": [True], "datetime": ["2026-03-14"]}.get(
        field.type, [0, 2.5]
    )


# --- names -------------------------------------------------------------------------------------


def test_a_full_column_name_beats_a_lookup():
    """A custom field may be labelled "Amount__in"; its column must stay reachable."""
    odd = Field("amount__in", "odd-id", "Amount__in", "number", "custom")
    assert bound(a_schema(odd), amount__in=3) == eq(odd, 3)
    assert bound(a_schema(odd), amount__in__gt=3) == Compare(odd, "gt", 3)
    assert bound(a_schema(), amount__in=[3]) == eq(NUMBER, 3)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("titel", "unknown field 'titel'; did you mean 'title'"),
        ("titel__contains", "did you mean 'title'"),
        ("title__contain", "unknown lookup '__contain'; did you mean title__contains\\?"),
        ("title__like", "unknown lookup '__like'; did you mean title__contains\\?"),
        ("title__isnull", r"did you mean title__isna=True for missing values, title__isna=False"),
        ("title__zzz", r"unknown lookup '__zzz' \(lookups of 'title': __eq, __ne, __in, __isna"),
        ("zzz__like", "unknown field 'zzz__like'"),
        ("__in", "unknown field '__in'"),
    ],
)
def test_unknown_names_and_lookups_are_refused_with_the_nearest(name, message):
    with pytest.raises(FilterError, match=message):
        bound(**{name: "x"})


def test_a_name_that_two_fields_share_is_refused():
    twins, shared = make_columns_unique(
        [Field("team", id_, "Team", "text", "custom") for id_ in ("aaaaaaaa", "bbbbbbbb")], ()
    )
    schema = a_schema(*twins, shared=shared)
    with pytest.raises(FilterError, match="several fields"):
        bound(schema, team="red")
    assert bound(schema, team_bbbbbbbb="red") == eq(twins[1], "red")


# --- what does not fit -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("filters", "message"),
    [
        ({"vip__gt": True}, "__gt does not fit 'vip' of type boolean; use __eq, __ne, __in"),
        ({"priority__contains": "p"}, "__contains does not fit 'priority' of type select"),
        ({"priority__lt": "p"}, "__lt does not fit"),
        ({"amount__contains": "1"}, "__contains does not fit 'amount' of type number"),
        ({"created_at__contains": "2026"}, "__contains does not fit"),
        ({"labels": "red"}, "'labels' contains lists; filter by a member: labels__contains='red'"),
        ({"labels": ["red"]}, "labels__contains='red'"),
        ({"labels__ne": "red"}, "labels__contains='red'"),
        ({"labels__gt": "red"}, "__gt does not fit"),
        ({"amount": "3"}, "'amount' is of type number"),
        ({"amount": [1, "3"]}, "'amount' is of type number"),
        ({"vip": "yes"}, "True or False"),
        ({"title": 3}, "text such as '3'"),
        ({"created_at": 3}, "a time such as"),
        ({"created_at__gte": "today"}, "a time such as"),
        ({"title__in": "open"}, r"__in must be a list, got 'open'; write \['open'\]"),
        ({"amount__in": 3}, r"write \[3\]"),
        ({"title__isna": "yes"}, "__isna must be True or False, got 'yes'"),
        ({"title__isna": 1}, "__isna must be True or False"),
        ({"amount__between": 3}, r"must be a pair \(from, to\), got 3"),
        ({"amount__between": (1, 2, 3)}, "must be a pair"),
        ({"title__between": "ab"}, "must be a pair"),
        ({"amount__between": (2, 1)}, "reversed: 2 comes after 1"),
        ({"created_at__between": ("2026-05", "2026-03")}, "reversed: '2026-05' comes after"),
        ({"amount__between": (None, 1)}, "must be a single value, got None"),
        ({"amount__gt": None}, "__gt must be a single value, got None"),
        ({"amount__gt": [1]}, "__gt must be a single value"),
        ({"title__contains": ""}, "__contains must be a non-empty text"),
        ({"title__contains": 3}, "__contains must be a non-empty text, got 3"),
        ({"title__contains": ["a"]}, "__contains must be a non-empty text"),
        ({"title": {"a": 1}}, "cannot be compared with a mapping"),
        ({"title": [["a"]]}, "cannot be compared with"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_refused_with_what_does(filters, message):
    with pytest.raises(FilterError, match=message):
        bound(**filters)


def test_json_is_only_missing_or_not():
    cells = Field("raw", "raw-id", "Raw", "json", "custom")
    assert bound(a_schema(cells), raw=None) == Compare(cells, "isna", None)
    with pytest.raises(FilterError, match="'raw'"):
        bound(a_schema(cells), raw="x")


def test_an_option_that_is_none_warns_and_is_asked():
    """Options are added on the service at any time, so an unknown one is no error."""
    with pytest.warns(UserWarning, match="'Hihg' is not an option of 'priority'; the nearest is"):
        assert bound(priority="Hihg") == eq(CHOICE, "Hihg")


# --- tags and expressions ----------------------------------------------------------------------


def tagged(tags, kind="tags"):
    schema = a_schema(Field("tags", "tags", "Tags", kind))
    return [
        item.value
        for item in comparisons(bind(from_tags(tags, schema), BindingContext(schema, "UTC", NOW)))
    ]


def test_tags_mean_all_of_them():
    schema = a_schema(TAGS)
    assert isinstance(from_tags({"team": "red", "tier": "1"}, schema), And)
    assert tagged({"team": "red", "tier": "1"}) == ["team=red", "tier=1"]
    assert tagged(["team=red"]) == tagged("team=red") == ["team=red"]
    assert tagged(["urgent", "vip"], "list") == ["urgent", "vip"]
    assert from_tags(None, schema) == from_tags([], schema) == TRUE


def test_tags_in_the_form_of_the_other_service_are_refused():
    with pytest.raises(FilterError, match="tags of this service have no keys"):
        tagged({"team": "red"}, "list")
    with pytest.raises(FilterError, match=r"write tags=\{'urgent': 'value'\}"):
        tagged(["urgent"])


def test_a_tree_is_bound_at_its_leaves():
    tree = Not(And((Compare("title", "in", ("a", "b")), Compare("vip", "ne", True))))
    assert bind(tree, BindingContext(a_schema(), "UTC", NOW)) == Not(
        And((Or((eq(TEXT, "a"), eq(TEXT, "b"))), Not(eq(TRUTH, True))))
    )


def test_what_is_bound_already_stays():
    tree = Or((eq(TEXT, "a"), Not(eq(TRUTH, True))))
    assert bind(tree, BindingContext(a_schema(), "UTC", NOW)) == tree
