"""Schemas: labels to columns, names to fields, types to lookups."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from casesearch_pd import FilterError
from casesearch_pd.query.schema import (
    LOOKUPS,
    Field,
    Schema,
    lookups_for,
    make_columns_unique,
    to_column_name,
    to_custom_column,
)
from tests.bound_filters import LAW, LIST, TIME, a_schema


def custom(label, field_id="0123456789ab", kind="text"):
    return Field(to_column_name(label), field_id, label, kind, "custom")


@pytest.mark.parametrize(
    ("label", "column"),
    [
        ("Priority", "priority"),
        ("Refund amount (EUR)", "refund_amount_eur"),
        ("  Weight [kg] ", "weight_kg"),
        ("CSAT (1-5)", "csat_1_5"),
        ("2nd line", "field_2nd_line"),
        ("٣ days", "field_٣_days"),
        ("Class", "class"),  # keywords stay: where={"class": …}
        ("\N{FULLWIDTH LATIN CAPITAL LETTER F}ull width ½", "full_width_1_2"),
        ("顧客 ランク", "顧客_ランク"),
        ("Größe", "größe"),
        ("???", "field"),
        ("", "field"),
        ("_internal_", "internal"),
    ],
)
def test_labels_become_columns(label, column):
    assert to_column_name(label) == column


@LAW
@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_every_label_becomes_a_name_that_stays_as_it_is(label):
    """A name that changed when it is read again could never be typed."""
    name = to_column_name(label)
    assert re.fullmatch(r"\w+", name)
    assert not name[0].isdigit()
    assert to_column_name(name) == name


def test_system_names_win():
    """A custom "Status" must not take the place of the case's own status."""
    (field,), shared = make_columns_unique([custom("Status", "dc1c26f0-433b")], {"status"})
    assert field.column == "status_dc1c26f0"
    assert shared == {}


def test_both_of_two_alike_are_named_apart():
    """If only the second got a suffix, a field made later could swap columns with the first."""
    fields, shared = make_columns_unique(
        [custom("Team", "aaaaaaaa-1"), custom("Other"), custom("team?", "bbbbbbbb-2")], set()
    )
    assert [item.column for item in fields] == ["team_aaaaaaaa", "other", "team_bbbbbbbb"]
    assert shared == {"team": ("team_aaaaaaaa", "team_bbbbbbbb")}


def test_a_shared_name_is_an_error_that_names_both():
    fields, shared = make_columns_unique(
        [custom("Team", "aaaaaaaa-1"), custom("Team", "bbbbbbbb-2")], ()
    )
    with pytest.raises(FilterError, match="'team_aaaaaaaa' or 'team_bbbbbbbb'"):
        Schema(tuple(fields), shared).resolve("team")


@pytest.mark.parametrize("name", ["created_at", "created_datetime", "created"])
def test_columns_ids_and_aliases_are_names(name):
    assert a_schema().resolve(name) is TIME
    assert name in TIME.names


def test_a_column_beats_an_id():
    """The id of one field may be the column of another; the column is what users see."""
    other = Field("title_text", "title", "Other", "text")
    mine = Field("title", "title-id", "Mine", "text")
    assert Schema((mine, other)).resolve("title") is mine
    assert Schema((other, mine)).resolve("title") is mine


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("priorty", "did you mean 'priority'"),
        ("CREATED_AT", "did you mean 'created_at'"),
        ("zzz", r"see list_fields\(source\)"),
        (3, "the name of a field must be text"),
        (None, "the name of a field must be text"),
        (["title"], "the name of a field must be text"),
    ],
)
def test_unknown_names_are_refused_with_the_next_step(name, message):
    with pytest.raises(FilterError, match=message):
        a_schema().resolve(name)


def test_an_open_schema_takes_what_is_not_close_to_a_known_name():
    result = a_schema(open=True).resolve("shoe_size")
    assert (result.column, result.id, result.type) == ("shoe_size", "fields.shoe_size", "any")
    assert result not in a_schema(open=True).active


def test_an_open_schema_refuses_what_looks_like_a_slip():
    """A misspelt field would be asked of the service, and find nothing or fail."""
    with pytest.raises(FilterError, match="'priority'"):
        a_schema(open=True).resolve("priorities")


def test_an_open_schema_takes_the_full_spelling_always():
    """``fields.NAME`` is how a user insists, however close the name is to another."""
    result = a_schema(open=True).resolve("fields.priorities")
    assert (result.column, result.id) == ("priorities", "fields.priorities")


@pytest.mark.parametrize(
    ("key", "column"),
    [("title", "fields_title"), ("orderNumber", "orderNumber"), ("2nd-line", "field_2nd_line")],
)
def test_a_guessed_field_has_the_column_that_its_cells_will_have(key, column):
    """A field under another name than the page's would come out empty, in silence."""
    assert a_schema(open=True).resolve(f"fields.{key}").column == column
    assert to_custom_column(key, {"title"}) == column


def test_a_closed_schema_takes_no_guess():
    with pytest.raises(FilterError, match="unknown field"):
        a_schema().resolve("fields.title")


def test_active_is_what_is_shown_and_in_use():
    hidden = Field("state", "state", "State", "text", visible=False)
    unused = Field("old", "old", "Old", "text", active=False)
    assert a_schema(hidden, unused).active == a_schema().active


@pytest.mark.parametrize(
    ("kind", "fitting"),
    [
        ("text", LOOKUPS),
        ("url", LOOKUPS),
        ("user", LOOKUPS),
        ("any", LOOKUPS),
        ("number", tuple(item for item in LOOKUPS if item != "contains")),
        ("integer", tuple(item for item in LOOKUPS if item != "contains")),
        ("datetime", tuple(item for item in LOOKUPS if item != "contains")),
        ("boolean", ("eq", "ne", "in", "isna")),
        ("select", ("eq", "ne", "in", "isna")),
        ("list", ("isna", "contains")),
        ("tags", ("isna", "contains")),
        ("json", ("isna",)),
    ],
)
def test_lookups_by_type(kind, fitting):
    assert lookups_for(kind) == fitting


def test_schemas_are_values():
    assert a_schema() == a_schema()
    assert a_schema() != a_schema(open=True)
    assert a_schema().find("nothing") is None
    assert LIST.visible
