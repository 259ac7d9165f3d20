"""The editors of a form: any tree is shown unchanged, and edits have the expected effect."""

import json
import re
import time
from dataclasses import replace
from threading import Thread
from types import SimpleNamespace

import ipywidgets as widgets
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from ipywidgets.widgets.widget import _instances

import casesearch_pd as cs
from casesearch_pd.errors import FilterError
from casesearch_pd.form.editor import close_widget
from casesearch_pd.form.form import CaseForm
from casesearch_pd.form.groups import FilterEditor
from casesearch_pd.form.model.conversion import to_expression
from casesearch_pd.form.model.labels import FieldLabels
from casesearch_pd.form.model.query import FormQuery
from casesearch_pd.form.model.tree import (
    EMPTY_TREE,
    OPERATORS,
    Group,
    Rule,
    operators_for,
    rules_of,
)
from casesearch_pd.form.options import OptionsEditor
from casesearch_pd.query.binding import bind
from casesearch_pd.query.schema import Field, Option, Schema
from casesearch_pd.reading.options import binding_context
from tests import form_trees
from tests.law_bench import QUICK, quietly

DAY = pd.Timedelta(days=1)


@pytest.fixture(scope="module")
def sources():
    """Return a source of each service, whose service has stopped: only checks are left."""
    with cs.LocalCases(cases=3, seed=4) as local:
        sources = {"connect": local.connect_cases(), "persona": local.persona_cases()}
        for source in sources.values():
            assert source.schema.fields  # discovered
    return sources


# --- the controls of an editor ------------------------------------------------------------


def widgets_in(widget):
    """Yield a widget and everything inside it."""
    yield widget
    for child in getattr(widget, "children", ()):
        yield from widgets_in(child)


def controls(editor, css):
    return [item for item in widgets_in(editor.widget) if css in item._dom_classes]


def control(editor, css, at=0):
    return controls(editor, css)[at]


def select(dropdown, text):
    dropdown.index = [*dropdown.options].index(text)


def tree_of(rule):
    return Group(members=(rule,))


# --- any tree is shown unchanged ----------------------------------------------------------

TEXTS = st.text(st.characters(codec="utf-8"), max_size=8) | st.sampled_from(
    ["", "5", "True", "a\nb", "\r\n", " a ", "<img src=x onerror=alert(1)>", "2026-03", "\ud800"]
)
SCALARS = st.one_of(
    TEXTS,
    st.booleans(),
    st.integers(-(2**70), 2**70),
    st.floats(allow_nan=False),
    st.timedeltas(pd.Timedelta(days=-9999), pd.Timedelta(days=9999)).map(pd.Timedelta),
)
VALUES = SCALARS | st.none() | st.lists(SCALARS | st.none(), max_size=4).map(tuple)
NAMES = st.sampled_from(
    ["", "status", "created_at", "created_datetime", "tags", "title", "refund_amount_eur",
     "csat_1_5", "vip_customer", "risk_tags", "address", "priority", "state", "fields.foo",
     "no such", "statsu"]
)  # fmt: skip
# Anything that a saved form can contain: unknown operators, values of the wrong shape.
RULES = st.builds(Rule, NAMES, st.sampled_from([*OPERATORS, "sounds like"]), VALUES)
TREES = st.recursive(
    st.builds(
        Group, st.sampled_from(["and", "or"]), st.booleans(), st.lists(RULES, max_size=3).map(tuple)
    ),
    lambda inner: st.builds(
        Group,
        st.sampled_from(["and", "or"]),
        st.booleans(),
        st.lists(RULES | inner, max_size=3).map(tuple),
    ),
    max_leaves=4,
)


@pytest.mark.parametrize("service", ["connect", "persona"])
@given(first=TREES, second=TREES)
@settings(QUICK, max_examples=25)
def test_a_tree_on_the_screen_does_not_change(sources, service, first, second):
    """A tree that the controls cannot represent would be changed silently."""
    editor = FilterEditor(sources[service], tree=first)
    assert repr(editor.tree) == repr(first)
    editor.show(second)
    assert repr(editor.tree) == repr(second)
    editor.tz = "Asia/Kathmandu"
    assert repr(editor.tree) == repr(second)
    assert all(isinstance(text, str) and text for text in editor.problems)
    close_widget(editor.widget)


@pytest.mark.parametrize("service", ["connect", "persona"])
@given(tree=TREES)
@settings(QUICK, max_examples=25)
def test_a_copy_of_a_row_is_the_same_row(sources, service, tree):
    """A copy by text would change a value where text looks like a number."""
    editor = FilterEditor(sources[service], tree=Group(members=(tree,)))
    control(editor, "cs-duplicate").click()
    members = editor.tree.members
    assert repr(members) == repr((tree, tree))
    close_widget(editor.widget)


@pytest.mark.parametrize("service", ["connect", "persona"])
def test_every_offered_operator_can_be_searched_for(sources, service):
    """An operator that is offered and never works would be a dead end."""
    source = sources[service]
    for field in source.schema.fields:
        editor = FilterEditor(source, tree=tree_of(Rule(field.column, operators_for(field)[0].key)))
        texts = control(editor, "cs-operator").options
        assert texts, field
        assert all("not offered" not in text for text in texts[1:])
        close_widget(editor.widget)


# --- edits --------------------------------------------------------------------------------


def test_a_filter_is_built_by_hand(sources):
    """The complete path of a new user."""
    changes = []
    editor = FilterEditor(sources["connect"], on_change=lambda: changes.append(editor.tree))
    assert editor.problems == ()
    control(editor, "cs-add-row").click()
    assert editor.problems == ("Row 1: choose a field",)
    control(editor, "cs-field").value = "case REASON"
    assert control(editor, "cs-operator").label == "is any of"
    assert editor.problems == ("Row 1: enter at least one value",)
    control(editor, "cs-options").label = ("Billing", "Delivery")
    assert editor.tree == tree_of(Rule("case_reason", "in", ("billing", "delivery")))
    assert editor.problems == ()
    control(editor, "cs-add-group").click()
    assert editor.tree.members[1] == Group("or", members=(Rule(),))
    control(editor, "cs-not", 1).value = True
    control(editor, "cs-field", 1).value = "Refund amount (EUR)"
    select(control(editor, "cs-operator", 1), "is between")
    control(editor, "cs-value").value = "1"
    assert editor.problems == ("Row 2: enter both values",)
    control(editor, "cs-value-2").value = "2.5"
    group = Group("or", True, (Rule("refund_amount_eur", "between", (1, 2.5)),))
    assert editor.tree.members[1] == group
    assert editor.problems == ()
    assert changes[-1] == editor.tree


@pytest.mark.parametrize(
    "text", ["Created", "created", "created_at", "created_datetime", " CREATED_AT "]
)
def test_a_field_is_found_by_any_of_its_names(sources, text):
    """A user who knows the column or the id should not need the label."""
    editor = FilterEditor(sources["connect"], tree=tree_of(Rule()))
    control(editor, "cs-field").value = text
    assert editor.tree.members[0].field == "created_at"
    assert control(editor, "cs-operator").label == "is on or after"


def test_fields_with_the_same_label_are_distinguished(sources):
    """The wrong one of two fields named Status would silently find other cases."""
    editor = FilterEditor(sources["connect"], tree=tree_of(Rule()))
    field = control(editor, "cs-field")
    assert {"Status (status)", "Status (status_dc1c26f0)"} <= {*field.options}
    for text, column in [
        ("Status (status_dc1c26f0)", "status_dc1c26f0"),
        ("status (STATUS)", "status"),
        ("status", "status"),
    ]:
        field.value = text
        assert editor.tree.members[0].field == column


def test_typing_a_field_loses_nothing(sources):
    """Each keystroke is an edit; the value must survive names that are incomplete."""
    rule = Rule("created_at", "gte", -7 * DAY)
    for service, to in [("connect", "updated_at"), ("persona", "updated_at")]:
        editor = FilterEditor(sources[service], tree=tree_of(rule))
        for end in range(len(to) + 1):
            control(editor, "cs-field").value = to[:end]
        assert editor.tree == tree_of(replace(rule, field=to))


def test_a_value_that_does_not_fit_is_hidden_and_restored(sources):
    """A refund of "open" euros makes no sense; for the status "open" does again."""
    rule = Rule("status", "in", ("open", "closed"))
    editor = FilterEditor(sources["connect"], tree=tree_of(rule))
    control(editor, "cs-field").value = "Refund amount (EUR)"
    assert editor.tree == tree_of(Rule("refund_amount_eur", "in", None))
    control(editor, "cs-field").value = "Status (status)"
    assert editor.tree == tree_of(rule)


def test_a_new_operator_keeps_the_value(sources):
    """A user should not have to type the value again."""
    editor = FilterEditor(sources["connect"], tree=tree_of(Rule("title", "eq", "a")))
    operator = control(editor, "cs-operator")
    select(operator, "is any of (filtered locally)")
    assert editor.tree == tree_of(Rule("title", "in", ("a",)))
    control(editor, "cs-value").value = "a\nb\n"
    assert editor.tree == tree_of(Rule("title", "in", ("a", "b")))
    select(operator, "contains")
    assert editor.tree == tree_of(Rule("title", "contains", "a"))
    select(operator, "is empty (filtered locally)")
    assert editor.tree == tree_of(Rule("title", "isna", None))
    select(operator, "is any of (filtered locally)")
    assert editor.tree == tree_of(Rule("title", "in", ("a", "b")))


PRESETS = {
    "today": ("eq", r"\d{4}-\d\d-\d\d"),
    "last 24 hours": ("gte", -DAY),
    "last 7 days": ("gte", -7 * DAY),
    "this month": ("eq", r"\d{4}-\d\d"),
    "this year": ("eq", r"\d{4}"),
}


@pytest.mark.parametrize(("preset", "expected"), PRESETS.items())
def test_a_preset_sets_operator_and_value(sources, preset, expected):
    """The last 7 days are not a day that a time could be on."""
    operator, value = expected
    editor = FilterEditor(sources["connect"], tree=tree_of(Rule("created_at", "between", None)))
    select(control(editor, "cs-preset"), preset)
    rule = editor.tree.members[0]
    assert rule.operator == operator
    assert (
        rule.value == value if isinstance(value, pd.Timedelta) else re.fullmatch(value, rule.value)
    )
    assert control(editor, "cs-preset").label == preset
    assert editor.problems == ()
    control(editor, "cs-value").value = "2020-02-02"
    assert control(editor, "cs-preset").label == "preset …"


def test_a_day_that_does_not_exist_is_an_error(sources):
    """The calendar cannot show it."""
    editor = FilterEditor(sources["connect"], tree=tree_of(Rule("created_at", "gte", "2026-02-30")))
    assert control(editor, "cs-day").value is None
    assert "not a date of the calendar" in editor.problems[0]
    control(editor, "cs-value").value = "2026-02-28"
    control(editor, "cs-day").value = None  # as a browser reports a day that is half typed
    assert editor.tree == tree_of(Rule("created_at", "gte", "2026-02-28"))


def test_rows_are_checked_in_the_time_zone(sources):
    """In Berlin half past two did not exist on that night; in UTC it did."""
    tree = tree_of(Rule("created_at", "gte", "2026-03-29T02:30"))
    editor = FilterEditor(sources["connect"], tree=tree)
    assert editor.problems == ()
    for zone, problems in [("Europe/Berlin", 1), ("Europe/Ber", 1), ("UTC", 0)]:
        editor.tz = zone
        assert len(editor.problems) == problems
    assert editor.tree == tree


def test_the_rows_of_a_form_are_checked_in_its_time_zone():
    """A row that is checked in another time zone than it is read in could be wrong unnoticed."""
    with cs.LocalCases(cases=3) as local:
        form = CaseForm(local.connect_cases(), created_at__gte="2026-03-29T02:30")
        box = SimpleNamespace(widget=form)
        assert form.code
        control(box, "cs-zone").value = "Europe/Berlin"
        with pytest.raises(FilterError, match=r"Row 1: .*occurs twice or not at all"):
            form.code  # noqa: B018 - it is asked for
        form.close()


def test_the_calendar_fills_in_a_day(sources):
    """The time of day in the box stays."""
    tree = tree_of(Rule("created_at", "gte", "2026-03-14T09:30"))
    editor = FilterEditor(sources["connect"], tree=tree)
    day = control(editor, "cs-day")
    assert day.value == pd.Timestamp("2026-03-14").date()
    day.value = pd.Timestamp("2026-04-01").date()
    assert editor.tree == tree_of(Rule("created_at", "gte", "2026-04-01T09:30"))
    control(editor, "cs-value").value = "3 days ago"
    assert day.value is None
    assert editor.tree == tree_of(Rule("created_at", "gte", -3 * DAY))


def test_the_type_of_a_value_is_selected_for_fields_of_unknown_type(sources):
    """5 and "5" are two values, and the service does not document which one a field has."""
    editor = FilterEditor(sources["persona"], tree=tree_of(Rule("fields.foo", "eq", "5")))
    value_type = control(editor, "cs-kind")
    assert value_type.label == "text"
    select(value_type, "number")
    assert editor.tree.members[0].value == 5
    select(value_type, "yes/no")
    select(control(editor, "cs-value"), "no")
    assert editor.tree.members[0].value is False


def test_rows_are_moved_and_removed(sources):
    """The contents of a row do not depend on its position."""
    rules = [Rule("title", "contains", text) for text in "abc"]
    editor = FilterEditor(sources["connect"], tree=Group(members=tuple(rules)))
    control(editor, "cs-down").click()
    assert [rule.value for rule in editor.tree.members] == ["b", "a", "c"]
    control(editor, "cs-up", 2).click()
    assert [rule.value for rule in editor.tree.members] == ["b", "c", "a"]
    control(editor, "cs-remove", 1).click()
    assert [rule.value for rule in editor.tree.members] == ["b", "a"]
    assert control(editor, "cs-remove", 1).description == "Remove row 2"
    assert [item.disabled for item in controls(editor, "cs-up")] == [True, False]


def test_groups_nest(sources):
    """A group in a group of its own kind changes nothing, so a new group is of the other kind."""
    editor = FilterEditor(sources["connect"])
    control(editor, "cs-add-group").click()
    control(editor, "cs-add-group", 1).click()
    inner = editor.tree.members[0]
    assert (inner.combinator, inner.members[1].combinator) == ("or", "and")
    control(editor, "cs-combinator").index = 1
    assert editor.tree.combinator == "or"
    control(editor, "cs-remove").click()
    assert editor.tree == Group("or")
    assert "All cases match" in control(editor, "cs-message").value


# --- options of a list --------------------------------------------------------------------


def large_schema(fields=500, options=500):
    """Return a schema that is larger than a real one."""
    items = tuple(Option(f"v{at}", f"Option {at}") for at in range(options))
    select_fields = [
        Field(f"f{at}", f"id{at}", f"Field {at}", "select", "custom", items) for at in range(fields)
    ]
    return Schema((*select_fields, Field("created_at", "created", "Created", "datetime")))


class FieldsOnly(cs.BaseSource):
    """A source with fields, which fails the test if anything else is requested."""

    name, can_search, max_sorts = "fields-only", True, 2

    def __init__(self, schema):
        super().__init__("https://fields.invalid", schema=schema)

    def discover(self):
        """Fail, because the fields are known."""
        raise AssertionError("the form must not discover fields again")

    def pushdown_support(self, comparison):
        """Support everything but a part of a text."""
        return "unsupported" if comparison.op == "contains" else "exact"

    def request(self, *_):
        """Fail, because an editor sends nothing."""
        raise AssertionError("the form must not send a request")

    def page(self, *_):
        """Fail, because an editor reads nothing."""
        raise AssertionError("the form must not read a page")

    def can_sort_by(self, field):
        """Sort by times only."""
        return field.type == "datetime"


def test_hidden_options_stay_selected():
    """Finding one more option must not lose those that are selected."""
    editor = FilterEditor(
        FieldsOnly(large_schema(1)), tree=tree_of(Rule("f0", "in", ("v7", "gone")))
    )
    assert control(editor, "cs-options").options[-1] == "gone (no option)"
    control(editor, "cs-find").value = "OPTION 49"
    option_list = control(editor, "cs-options")
    assert len(option_list.options) == 11
    assert editor.tree == tree_of(Rule("f0", "in", ("v7", "gone")))
    option_list.index = (0, 2)
    assert editor.tree == tree_of(Rule("f0", "in", ("v7", "gone", "v49", "v491")))
    control(editor, "cs-find").value = ""
    assert option_list.label == ("Option 7", "Option 49", "Option 491", "gone (no option)")
    option_list.index = ()
    assert editor.problems == ("Row 1: enter at least one value",)


def test_rows_that_are_valid_alone_can_be_invalid_together(sources):
    """A condition that only the service evaluates cannot be combined with a local one by OR."""
    rules = (Rule("state", "eq", "x"), Rule("title", "contains", "a"))
    editor = FilterEditor(sources["persona"], tree=Group(members=rules))
    assert editor.problems == ()
    control(editor, "cs-combinator").index = 1
    (problem,) = editor.problems
    assert problem.startswith("'state' ")
    assert "cannot be combined by OR" in problem


def test_a_label_that_equals_a_numbered_label_is_distinguished():
    """A field may have the label that another one gets to distinguish it."""
    labels = [("A", "a"), ("A", "b"), ("A (a)", "c"), ("c", "d")]
    fields = [Field(column, f"id{column}", label, "text") for label, column in labels]
    editor = FilterEditor(FieldsOnly(Schema(tuple(fields))), tree=tree_of(Rule()))
    name = control(editor, "cs-field")
    assert name.options == ("A (a)", "A (b)", "A (a) #2", "c (d)")
    for text, field in zip(name.options, fields, strict=True):
        name.value = text
        assert editor.tree.members[0].field == field.column


def test_options_with_the_same_label_are_distinguished():
    """The wrong one of two options with the same label would find other cases."""
    options = (
        Option("a", "Same"),
        Option("b", "Same"),
        Option("c", "Old", active=False),
        Option("d", ""),
    )
    field = Field("f", "f", "F", "select", "custom", options)
    editor = FilterEditor(FieldsOnly(Schema((field,))), tree=tree_of(Rule("f", "in")))
    option_list = control(editor, "cs-options")
    assert option_list.options == ("Same (a)", "Same (b)", "Old (inactive)", "(d)")
    option_list.index = (1,)
    assert editor.tree == tree_of(Rule("f", "in", ("b",)))


def test_an_edit_makes_few_widgets_with_many_fields_and_options():
    """The cost of an edit must not depend on the size of the schema."""
    source = FieldsOnly(large_schema())
    rules = tuple(Rule(f"f{at}", "in", (f"v{at}",)) for at in range(10))
    editor = FilterEditor(source, tree=Group(members=rules))
    widget_ids = {id(item) for item in widgets_in(editor.widget)}
    assert len(widget_ids) < 10 * 20
    fields = [item.options for item in controls(editor, "cs-field")]
    assert all(
        text is other for texts in fields for text, other in zip(texts, fields[0], strict=True)
    )
    control(editor, "cs-options").index = (1, 2)
    assert {id(item) for item in widgets_in(editor.widget)} == widget_ids
    control(editor, "cs-field", 9).value = "Field 77"
    assert len({id(item) for item in widgets_in(editor.widget)} - widget_ids) < 8


def test_an_edit_is_quick():
    """A user who waits for a keystroke types it again; 0.2 s are enough."""
    editor = FilterEditor(
        FieldsOnly(large_schema()),
        tree=Group(members=tuple(Rule(f"f{at}", "in") for at in range(10))),
    )
    started = time.process_time()
    for at in range(5):
        control(editor, "cs-options", 3).index = (at,)
    assert time.process_time() - started < 5 * 0.2


# --- meaningful trees ---------------------------------------------------------------------


@pytest.fixture(scope="module", params=["connect", "persona", "keyed", "open"])
def any_source(request, sources):
    """Return a source of each service, and one of each with a hostile schema."""
    schemas = {"keyed": form_trees.KEYED, "open": form_trees.OPEN}
    return sources.get(request.param) or FieldsOnly(schemas[request.param])


@settings(QUICK, max_examples=25)
@given(data=st.data())
def test_a_valid_tree_is_shown_without_an_error(any_source, data):
    """A valid row must neither be called invalid nor change."""
    tree = data.draw(form_trees.trees(any_source.schema))
    editor = FilterEditor(any_source, tree=tree)
    assert repr(editor.tree) == repr(tree)
    results = [row.check_result for row in editor.rows]
    for rule, result in zip(rules_of(tree), results, strict=True):
        with quietly():
            is_valid = can_be_searched(rule, any_source)
        assert bool(result.problem) == (not is_valid), (rule, result)
    close_widget(editor.widget)


def can_be_searched(rule, source):
    try:
        source.push_down(bind(to_expression(rule), binding_context(source.schema, "UTC")))
    except FilterError:
        return False
    return True


@settings(QUICK, max_examples=25)
@given(data=st.data())
def test_an_incomplete_row_is_a_problem(any_source, data):
    """A row that was left out silently would look as if it had been searched for."""
    rule = data.draw(form_trees.incomplete_rules(any_source.schema))
    editor = FilterEditor(any_source, tree=tree_of(rule))
    assert repr(editor.tree) == repr(tree_of(rule))
    assert len(editor.problems) == 1
    close_widget(editor.widget)


@settings(QUICK, max_examples=40)
@given(data=st.data())
def test_a_row_can_be_typed_as_it_is_shown(any_source, data):
    """A row that cannot be entered by hand would be a dead end for a small change."""
    schema = any_source.schema
    visible = form_trees.rules(schema).filter(lambda item: schema.resolve(item.field).visible)
    rule = data.draw(visible)
    original, typed = (FilterEditor(any_source, tree=tree_of(item)) for item in (rule, Rule()))
    for css in ("cs-field", "cs-operator"):
        copy(control(original, css), control(typed, css))
    for css in ("cs-kind", "cs-value", "cs-value-2", "cs-options"):
        for at, item in enumerate(controls(original, css)):
            copy(item, control(typed, css, at))
    result = typed.tree.members[0]
    assert (result.field, result.operator) == (column_of(rule.field, any_source), rule.operator)
    if not has_unknown_options(rule, original):
        assert repr(result.value) == repr(rule.value)
    close_widget(original.widget)
    close_widget(typed.widget)


def copy(original, typed):
    if isinstance(original, widgets.SelectMultiple):
        typed.label = [text for text in original.label if text in typed.options]
    elif isinstance(original, widgets.Dropdown):
        typed.index = [*typed.options].index(original.label)
    else:
        typed.value = original.value


def column_of(name, source):
    field = source.schema.find(name)
    return name if field is None else field.column


def has_unknown_options(rule, editor):
    """Return whether a value is not among the options of a list, or is repeated."""
    lists = controls(editor, "cs-options")
    texts = [text for item in lists for text in item.options]
    is_repeated = isinstance(rule.value, tuple) and len({*map(repr, rule.value)}) < len(rule.value)
    return any("no option" in text for text in texts) or (bool(lists) and is_repeated)


# --- safety and accessibility -------------------------------------------------------------

HOSTILE = "<img src=x onerror=alert(1)> $x^2$ \u202e \ud800"


def hostile_source():
    """Return a source with a field of each type, all of whose texts are attacks."""
    options = tuple(Option(f"{at}{HOSTILE}", HOSTILE) for at in range(14))
    types = ["text", "select", "number", "datetime", "boolean", "list", "any", "json"]
    fields = [Field(f"{name}{HOSTILE}", f"id{name}", HOSTILE, name, "custom") for name in types]
    fields[1] = replace(fields[1], options=options)
    fields[5] = replace(fields[5], options=options)
    system = (
        Field("tags", "tags", "Tags", "tags"),
        Field("created_at", "c", "Created", "datetime"),
    )
    return FieldsOnly(Schema((*fields, *system)))


def test_no_text_of_the_service_is_markup():
    """A label that ran in the browser could read every case."""
    source = hostile_source()
    rules = tuple(
        Rule(field.column, operator.key, value)
        for field in source.schema.fields
        for operator in operators_for(field)
        for value in (None, HOSTILE, (HOSTILE,))
    )
    editor = FilterEditor(source, tree=Group(members=(*rules, Rule(HOSTILE, HOSTILE, HOSTILE))))
    assert any(HOSTILE[:4] in text for text in editor.problems)
    options = OptionsEditor(
        source,
        FormQuery(search=HOSTILE, tags=(HOSTILE,), columns=(HOSTILE,), sort=(HOSTILE,), tz=HOSTILE),
    )
    for item in [*widgets_in(editor.widget), *widgets_in(options.widget)]:
        assert not isinstance(item, widgets.Label | widgets.HTMLMath)
        assert not isinstance(item, widgets.HTML) or "<img" not in item.value
        assert "<" not in str(getattr(item, "description", ""))
        assert getattr(item, "description_allow_html", False) is False
        # Half of a surrogate pair cannot be sent to a browser.
        assert json.dumps(item.get_state(), ensure_ascii=False, default=str).encode()


def test_every_control_has_a_label_and_a_class(sources):
    """Screen readers and tests find controls only by these."""
    inner = [Rule("fields.foo"), Rule("title", "in", ("a\nb",)), Rule("vip_customer")]
    outer = [Rule("status", "in"), Rule("created_at", "between")]
    tree = Group(members=(*outer, Group("or", members=tuple(inner))))
    editor = FilterEditor(sources["persona"], tree=tree)
    options = OptionsEditor(sources["persona"])
    other = (widgets.Box, widgets.HTML)
    items = [
        item
        for item in [*widgets_in(editor.widget), *widgets_in(options.widget)]
        if not isinstance(item, other)
    ]
    assert [item for item in items if not item.description] == []
    assert [item for item in items if not any(c.startswith("cs-") for c in item._dom_classes)] == []
    labels = [
        item.description for item in widgets_in(editor.widget) if hasattr(item, "placeholder")
    ]
    assert "Field of row 4" in labels


# --- threads and callbacks ----------------------------------------------------------------


def test_a_failing_callback_does_not_undo_the_edit(sources, caplog):
    """The edit is complete before the callback is called."""
    editor = FilterEditor(sources["connect"], on_change=lambda: 1 / 0)
    control(editor, "cs-add-row").click()
    assert editor.tree == tree_of(Rule())
    assert "ZeroDivisionError" in caplog.text


def test_showing_a_tree_is_not_an_edit(sources):
    """A form that shows a saved filter would otherwise count twice."""
    edits = []
    editor = FilterEditor(sources["connect"], on_change=lambda: edits.append(1))
    editor.show(tree_of(Rule("title", "contains", "a")))
    assert edits == []
    control(editor, "cs-value").value = "b"
    assert edits == [1]


def test_edits_come_from_several_threads(sources):
    """JupyterLab handles events in several threads at once; none may be lost."""
    editor = FilterEditor(sources["connect"])
    add = control(editor, "cs-add-row")
    threads = [Thread(target=lambda: [add.click() for _ in range(5)]) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert editor.tree == Group(members=(Rule(),) * 20)
    assert [item.description for item in controls(editor, "cs-field")] == [
        f"Field of row {at}" for at in range(1, 21)
    ]


def test_removed_rows_leave_no_widgets(sources):
    """A form that is edited for a day must not fill the memory of the kernel."""
    editor = FilterEditor(sources["persona"])
    control(editor, "cs-add-row").click()
    for name in ("Created at", "fields.foo", "Status", "Title"):  # one of each type
        control(editor, "cs-field").value = name
    control(editor, "cs-remove").click()
    count = len(_instances)
    for _ in range(3):
        control(editor, "cs-add-row").click()
        for name in ("Created at", "fields.foo", "Status", "Title"):
            control(editor, "cs-field").value = name
        control(editor, "cs-remove").click()
    assert len(_instances) == count


# --- options ------------------------------------------------------------------------------

QUERIES = st.builds(
    FormQuery,
    tree=st.just(EMPTY_TREE),
    search=st.none() | TEXTS,
    tags=st.lists(TEXTS, max_size=3).map(tuple),
    columns=st.none() | st.lists(NAMES | TEXTS, max_size=4, unique=True).map(tuple),
    sort=st.lists(NAMES.map("-{}".format) | NAMES, max_size=5).map(tuple),
    limit=st.none() | st.integers(0, 10**6),
    tz=st.sampled_from(["UTC", "Europe/Berlin", "nowhere"]),
)


@pytest.mark.parametrize("service", ["connect", "persona"])
@given(query=QUERIES)
@settings(QUICK, max_examples=25)
def test_options_on_the_screen_do_not_change(sources, service, query):
    """An option that the controls cannot represent would be changed silently."""
    editor = OptionsEditor(sources[service])
    editor.show(query)
    assert repr(editor.query(EMPTY_TREE)) == repr(query)
    assert all(isinstance(text, str) for text in editor.problems)
    close_widget(editor.widget)


def test_options_are_edited(sources):
    """The complete path of the options."""
    editor = OptionsEditor(sources["connect"])
    assert editor.query(EMPTY_TREE) == FormQuery()
    control(editor, "cs-search-text").value = "late"
    control(editor, "cs-tags").value = "team=red\n"
    control(editor, "cs-columns").label = ("Title", "Status (status)")
    select(control(editor, "cs-sort"), "Created")
    control(editor, "cs-descending").value = True
    control(editor, "cs-limit").value = "1,000"
    control(editor, "cs-zone").value = "Europe/Berlin"
    assert editor.problems == ()
    expected = FormQuery(
        EMPTY_TREE,
        "late",
        ("team=red",),
        ("title", "status"),
        ("-created_at",),
        1000,
        "Europe/Berlin",
    )
    assert editor.query(EMPTY_TREE) == expected
    control(editor, "cs-limit").value = "some"
    assert editor.query(EMPTY_TREE).limit is None
    control(editor, "cs-tags").value = "red"
    assert [text.partition(":")[0] for text in editor.problems] == ["Tags", "Maximum rows"]


def test_full_text_search_is_offered_if_the_source_has_it(sources):
    """Persona has none; a saved search for Connect is shown with an error."""
    assert controls(OptionsEditor(sources["persona"]), "cs-search-text") == []
    editor = OptionsEditor(sources["persona"], FormQuery(search="late"))
    assert editor.problems[0].startswith("Search: persona has no full-text search")
    control(editor, "cs-search-text").value = ""
    assert editor.query(EMPTY_TREE) == FormQuery()


def test_tags_are_offered_if_the_source_has_them():
    """A source outside the package may have none."""
    source = FieldsOnly(Schema((Field("created_at", "c", "Created", "datetime"),)))
    assert controls(OptionsEditor(source), "cs-tags") == []
    editor = OptionsEditor(source, FormQuery(tags=("late",)))
    assert editor.problems[0].startswith("Tags: unknown field 'tags'")


def test_an_unknown_field_is_reported_before_a_missing_value():
    """A user with a typo in the name should not be asked for a value first."""
    with cs.LocalCases(cases=1) as local:
        editor = FilterEditor(local.connect_cases(), tree=Group(members=(Rule("prioritty", "eq"),)))
    (problem,) = editor.problems
    assert "did you mean 'priority'" in problem


def test_the_name_of_a_column_wins_over_a_label_in_any_case():
    """Two fields have the label Status; in filters the name stands for the system field."""
    with cs.LocalCases(cases=1) as local:
        labels = FieldLabels(local.connect_cases().schema)
    status_labels = [label for label in labels.labels if label.startswith("Status (")]
    assert len(status_labels) == 2
    assert labels.column_of("Status") == "status"
    assert [labels.column_of(label) for label in status_labels] == ["status", "status_dc1c26f0"]
