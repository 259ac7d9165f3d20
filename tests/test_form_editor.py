"""The editor of a filter shows any tree as it is, and what is edited is what one expects."""

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
from casesearch_pd.form.form import CaseForm
from casesearch_pd.form.groups import FilterEditor
from casesearch_pd.form.model.meaning import to_expression
from casesearch_pd.form.model.question import EVERYTHING, FormQuery
from casesearch_pd.form.model.tree import (
    OPERATORS,
    FieldLabels,
    Group,
    Rule,
    operators_for,
    rules_of,
)
from casesearch_pd.form.options import OptionsEditor
from casesearch_pd.form.value_inputs import close
from casesearch_pd.query.binding import bind
from casesearch_pd.query.schema import Field, Option, Schema
from casesearch_pd.reading.options import binding_context
from tests import form_trees
from tests.law_bench import QUICK, quietly

DAY = pd.Timedelta(days=1)


@pytest.fixture(scope="module")
def sources():
    with cs.LocalCases(cases=3, seed=4) as local:
        found = {"connect": local.connect_cases(), "persona": local.persona_cases()}
        for source in found.values():
            assert source.schema.fields  # discovered while the service still answers
    return found


# --- looking at an editor ----------------------------------------------------------------


def inside(widget):
    """List a widget and all within it."""
    yield widget
    for child in getattr(widget, "children", ()):
        yield from inside(child)


def controls(editor, css):
    return [item for item in inside(editor.widget) if css in item._dom_classes]


def control(editor, css, at=0):
    return controls(editor, css)[at]


def choose(dropdown, text):
    dropdown.index = [*dropdown.options].index(text)


def one(rule):
    return Group(members=(rule,))


# --- any tree comes back as it was -------------------------------------------------------

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
# As wild as a saved form can be: operators that do not fit, values of another shape.
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
@given(first=TREES, then=TREES)
@settings(QUICK, max_examples=25)
def test_what_is_shown_comes_back(sources, service, first, then):
    """A tree that the controls cannot hold would be cut without a word."""
    editor = FilterEditor(sources[service], tree=first)
    assert repr(editor.tree) == repr(first)
    editor.show(then)
    assert repr(editor.tree) == repr(then)
    editor.tz = "Asia/Kathmandu"
    assert repr(editor.tree) == repr(then)
    assert all(isinstance(text, str) and text for text in editor.problems)
    close(editor.widget)


@pytest.mark.parametrize("service", ["connect", "persona"])
@given(tree=TREES)
@settings(QUICK, max_examples=25)
def test_a_copy_of_a_row_is_the_same_row(sources, service, tree):
    """What is typed anew from a copy would be another value where text looks like a number."""
    editor = FilterEditor(sources[service], tree=Group(members=(tree,)))
    control(editor, "cs-duplicate").click()
    members = editor.tree.members
    assert repr(members) == repr((tree, tree))
    close(editor.widget)


@pytest.mark.parametrize("service", ["connect", "persona"])
def test_every_offered_operator_can_be_asked(sources, service):
    """An operator on offer that never works would be a dead end."""
    source = sources[service]
    for field in source.schema.fields:
        editor = FilterEditor(source, tree=one(Rule(field.column, operators_for(field)[0].key)))
        texts = control(editor, "cs-operator").options
        assert texts, field
        assert all("not offered" not in text for text in texts[1:])
        close(editor.widget)


# --- edits -------------------------------------------------------------------------------


def test_a_filter_is_built_by_hand(sources):
    """The whole path of somebody who has never seen the form."""
    seen = []
    editor = FilterEditor(sources["connect"], on_change=lambda: seen.append(editor.tree))
    assert editor.problems == ()
    control(editor, "cs-add-row").click()
    assert editor.problems == ("Row 1: choose a field",)
    control(editor, "cs-field").value = "case REASON"
    assert control(editor, "cs-operator").label == "is any of"
    assert editor.problems == ("Row 1: give at least one value",)
    control(editor, "cs-options").label = ("Billing", "Delivery")
    assert editor.tree == one(Rule("case_reason", "in", ("billing", "delivery")))
    assert editor.problems == ()
    control(editor, "cs-add-group").click()
    assert editor.tree.members[1] == Group("or", members=(Rule(),))
    control(editor, "cs-not", 1).value = True
    control(editor, "cs-field", 1).value = "Refund amount (EUR)"
    choose(control(editor, "cs-operator", 1), "is between")
    control(editor, "cs-value").value = "1"
    assert editor.problems == ("Row 2: give both values",)
    control(editor, "cs-value-2").value = "2.5"
    group = Group("or", True, (Rule("refund_amount_eur", "between", (1, 2.5)),))
    assert editor.tree.members[1] == group
    assert editor.problems == ()
    assert seen[-1] == editor.tree


@pytest.mark.parametrize(
    "text", ["Created", "created", "created_at", "created_datetime", " CREATED_AT "]
)
def test_a_field_is_found_by_any_of_its_names(sources, text):
    """Who knows the column or the id should not have to look up the label."""
    editor = FilterEditor(sources["connect"], tree=one(Rule()))
    control(editor, "cs-field").value = text
    assert editor.tree.members[0].field == "created_at"
    assert control(editor, "cs-operator").label == "is not before"


def test_names_that_two_fields_share_are_told_apart(sources):
    """The wrong one of two fields called Status would give other cases without a word."""
    editor = FilterEditor(sources["connect"], tree=one(Rule()))
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
    """Each key is an edit; the value must outlive the names that are none on the way."""
    rule = Rule("created_at", "gte", -7 * DAY)
    for service, to in [("connect", "updated_at"), ("persona", "updated_at")]:
        editor = FilterEditor(sources[service], tree=one(rule))
        for end in range(len(to) + 1):
            control(editor, "cs-field").value = to[:end]
        assert editor.tree == one(replace(rule, field=to))


def test_a_value_that_no_longer_fits_is_gone_and_comes_back(sources):
    """Refunds of "open" euros make no sense; back at the status, "open" does again."""
    rule = Rule("status", "in", ("open", "closed"))
    editor = FilterEditor(sources["connect"], tree=one(rule))
    control(editor, "cs-field").value = "Refund amount (EUR)"
    assert editor.tree == one(Rule("refund_amount_eur", "in", None))
    control(editor, "cs-field").value = "Status (status)"
    assert editor.tree == one(rule)


def test_operators_take_the_value_over(sources):
    """Typing a value again for another operator would be a nuisance."""
    editor = FilterEditor(sources["connect"], tree=one(Rule("title", "eq", "a")))
    operator = control(editor, "cs-operator")
    choose(operator, "is any of (checked here)")
    assert editor.tree == one(Rule("title", "in", ("a",)))
    control(editor, "cs-value").value = "a\nb\n"
    assert editor.tree == one(Rule("title", "in", ("a", "b")))
    choose(operator, "contains")
    assert editor.tree == one(Rule("title", "contains", "a"))
    choose(operator, "is missing (checked here)")
    assert editor.tree == one(Rule("title", "missing", None))
    choose(operator, "is any of (checked here)")
    assert editor.tree == one(Rule("title", "in", ("a", "b")))


PRESETS = {
    "today": ("eq", r"\d{4}-\d\d-\d\d"),
    "last 24 hours": ("gte", -DAY),
    "last 7 days": ("gte", -7 * DAY),
    "this month": ("eq", r"\d{4}-\d\d"),
    "this year": ("eq", r"\d{4}"),
}


@pytest.mark.parametrize(("preset", "said"), PRESETS.items())
def test_presets_of_times(sources, preset, said):
    """A preset sets the operator too: "last 7 days" is no day that a time could be on."""
    operator, value = said
    editor = FilterEditor(sources["connect"], tree=one(Rule("created_at", "between", None)))
    choose(control(editor, "cs-preset"), preset)
    found = editor.tree.members[0]
    assert found.operator == operator
    assert (
        found.value == value
        if isinstance(value, pd.Timedelta)
        else re.fullmatch(value, found.value)
    )
    assert control(editor, "cs-preset").label == preset
    assert editor.problems == ()
    control(editor, "cs-value").value = "2020-02-02"
    assert control(editor, "cs-preset").label == "preset …"


def test_a_day_that_there_is_not_is_said(sources):
    """The calendar has no place to show it."""
    editor = FilterEditor(sources["connect"], tree=one(Rule("created_at", "gte", "2026-02-30")))
    assert control(editor, "cs-day").value is None
    assert "not on the calendar" in editor.problems[0]
    control(editor, "cs-value").value = "2026-02-28"
    control(editor, "cs-day").value = None  # as a browser says of a day that is half typed
    assert editor.tree == one(Rule("created_at", "gte", "2026-02-28"))


def test_rows_follow_the_zone(sources):
    """On that night in Berlin half past two never was; in UTC it is a time like any other."""
    tree = one(Rule("created_at", "gte", "2026-03-29T02:30"))
    editor = FilterEditor(sources["connect"], tree=tree)
    assert editor.problems == ()
    for zone, problems in [("Europe/Berlin", 1), ("Europe/Ber", 1), ("UTC", 0)]:
        editor.tz = zone
        assert len(editor.problems) == problems
    assert editor.tree == tree


def test_the_rows_of_a_form_follow_its_zone():
    """A row that is checked in another zone than it is asked in could be called right."""
    with cs.LocalCases(cases=3) as local:
        form = CaseForm(local.connect_cases(), created_at__gte="2026-03-29T02:30")
        box = SimpleNamespace(widget=form)
        assert form.code
        control(box, "cs-zone").value = "Europe/Berlin"
        with pytest.raises(FilterError, match=r"Row 1: .*happens twice or not at all"):
            form.code  # noqa: B018 - it is asked for
        form.close()


def test_the_calendar_fills_in_a_day(sources):
    """The time of day that was written stays."""
    tree = one(Rule("created_at", "gte", "2026-03-14T09:30"))
    editor = FilterEditor(sources["connect"], tree=tree)
    day = control(editor, "cs-day")
    assert day.value == pd.Timestamp("2026-03-14").date()
    day.value = pd.Timestamp("2026-04-01").date()
    assert editor.tree == one(Rule("created_at", "gte", "2026-04-01T09:30"))
    control(editor, "cs-value").value = "3 days ago"
    assert day.value is None
    assert editor.tree == one(Rule("created_at", "gte", -3 * DAY))


def test_fields_of_no_known_type_are_told_the_kind(sources):
    """5 and "5" are two values, and the service cannot say which a field holds."""
    editor = FilterEditor(sources["persona"], tree=one(Rule("fields.foo", "eq", "5")))
    kind = control(editor, "cs-kind")
    assert kind.label == "text"
    choose(kind, "number")
    assert editor.tree.members[0].value == 5
    choose(kind, "yes/no")
    choose(control(editor, "cs-value"), "no")
    assert editor.tree.members[0].value is False


def test_rows_move_and_go(sources):
    """What a row holds has nothing to do with where it stands."""
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
    """A group within a group of its own kind says nothing new, so a new one is of the other."""
    editor = FilterEditor(sources["connect"])
    control(editor, "cs-add-group").click()
    control(editor, "cs-add-group", 1).click()
    inner = editor.tree.members[0]
    assert (inner.combinator, inner.members[1].combinator) == ("or", "and")
    control(editor, "cs-combinator").index = 1
    assert editor.tree.combinator == "or"
    control(editor, "cs-remove").click()
    assert editor.tree == Group("or")
    assert "Every case" in control(editor, "cs-message").value


# --- choices -----------------------------------------------------------------------------


def crowded(fields=500, options=500):
    """Make a schema of more than anybody has."""
    choices = tuple(Option(f"v{at}", f"Option {at}") for at in range(options))
    made = [
        Field(f"f{at}", f"id{at}", f"Field {at}", "select", "custom", choices)
        for at in range(fields)
    ]
    return Schema((*made, Field("created_at", "created", "Created", "datetime")))


class Quiet:
    """A source that would fail the test if it were asked for anything but its fields."""

    name, searches, sorts = "quiet", True, 2

    def __init__(self, schema):
        self.schema = schema

    def pushdown_support(self, literal):
        """Compare everything but parts of a text."""
        return "no" if literal.op == "contains" else "exact"

    def push_down(self, where):
        """Divide a filter, as real sources do."""
        return cs.query.pushdown.push_down(where, self.pushdown_support)

    def can_sort_by(self, field):
        """Sort by times only."""
        return field.type == "datetime"


def test_hidden_choices_stay_chosen():
    """To look for one more option must not lose those that were chosen before."""
    editor = FilterEditor(Quiet(crowded(1)), tree=one(Rule("f0", "in", ("v7", "gone"))))
    assert control(editor, "cs-options").options[-1] == "gone (no option)"
    control(editor, "cs-find").value = "OPTION 49"
    listed = control(editor, "cs-options")
    assert len(listed.options) == 11
    assert editor.tree == one(Rule("f0", "in", ("v7", "gone")))
    listed.index = (0, 2)
    assert editor.tree == one(Rule("f0", "in", ("v7", "gone", "v49", "v491")))
    control(editor, "cs-find").value = ""
    assert listed.label == ("Option 7", "Option 49", "Option 491", "gone (no option)")
    listed.index = ()
    assert editor.problems == ("Row 1: give at least one value",)


def test_rows_that_are_right_alone_can_be_wrong_together(sources):
    """What only the service sees cannot be weighed against what is checked here."""
    rules = (Rule("state", "eq", "x"), Rule("title", "contains", "a"))
    editor = FilterEditor(sources["persona"], tree=Group(members=rules))
    assert editor.problems == ()
    control(editor, "cs-combinator").index = 1
    (problem,) = editor.problems
    assert problem.startswith("'state' can be filtered by the service but not seen")


def test_a_label_that_looks_like_another_one_is_told_apart():
    """A field may be called as another one is called when it is told apart."""
    labels = [("A", "a"), ("A", "b"), ("A (a)", "c"), ("c", "d")]
    fields = [Field(column, f"id{column}", label, "text") for label, column in labels]
    editor = FilterEditor(Quiet(Schema(tuple(fields))), tree=one(Rule()))
    name = control(editor, "cs-field")
    assert name.options == ("A (a)", "A (b)", "A (a) #2", "c (d)")
    for text, field in zip(name.options, fields, strict=True):
        name.value = text
        assert editor.tree.members[0].field == field.column


def test_labels_alike_are_told_apart():
    """Of two options of one label the wrong one would be asked for."""
    options = (
        Option("a", "Same"),
        Option("b", "Same"),
        Option("c", "Old", active=False),
        Option("d", ""),
    )
    field = Field("f", "f", "F", "select", "custom", options)
    editor = FilterEditor(Quiet(Schema((field,))), tree=one(Rule("f", "in")))
    listed = control(editor, "cs-options")
    assert listed.options == ("Same (a)", "Same (b)", "Old (inactive)", "(d)")
    listed.index = (1,)
    assert editor.tree == one(Rule("f", "in", ("b",)))


def test_five_hundred_fields_and_options_stay_light():
    """Each edit must cost what it changes, and not what else there is."""
    source = Quiet(crowded())
    rules = tuple(Rule(f"f{at}", "in", (f"v{at}",)) for at in range(10))
    editor = FilterEditor(source, tree=Group(members=rules))
    before = {id(item) for item in inside(editor.widget)}
    assert len(before) < 10 * 20
    fields = [item.options for item in controls(editor, "cs-field")]
    assert all(
        text is other for texts in fields for text, other in zip(texts, fields[0], strict=True)
    )
    control(editor, "cs-options").index = (1, 2)
    assert {id(item) for item in inside(editor.widget)} == before
    control(editor, "cs-field", 9).value = "Field 77"
    assert len({id(item) for item in inside(editor.widget)} - before) < 8


def test_an_edit_is_quick():
    """A key that waits for the kernel is a key that is typed twice; 0.2 s is ample."""
    editor = FilterEditor(
        Quiet(crowded()), tree=Group(members=tuple(Rule(f"f{at}", "in") for at in range(10)))
    )
    started = time.process_time()
    for at in range(5):
        control(editor, "cs-options", 3).index = (at,)
    assert time.process_time() - started < 5 * 0.2


# --- trees that mean something -----------------------------------------------------------


@pytest.fixture(scope="module", params=["connect", "persona", "keyed", "open"])
def asked(request, sources):
    """Make a source of each service, and one of each whose fields are as odd as they can be."""
    schemas = {"keyed": form_trees.KEYED, "open": form_trees.OPEN}
    return sources.get(request.param) or Quiet(schemas[request.param])


@settings(QUICK, max_examples=25)
@given(data=st.data())
def test_a_tree_that_means_something_is_shown_without_a_fault(asked, data):
    """A row that the service can be asked must not be called wrong, nor come back as another."""
    tree = data.draw(form_trees.trees(asked.schema))
    editor = FilterEditor(asked, tree=tree)
    assert repr(editor.tree) == repr(tree)
    said = [row.finding for row in editor.rows]
    for rule, finding in zip(rules_of(tree), said, strict=True):
        with quietly():
            bound = could_be_bound(rule, asked)
        assert bool(finding.problem) == (not bound), (rule, finding)
    close(editor.widget)


def could_be_bound(rule, source):
    try:
        source.push_down(bind(to_expression(rule), binding_context(source.schema, "UTC")))
    except FilterError:
        return False
    return True


@settings(QUICK, max_examples=25)
@given(data=st.data())
def test_an_unfinished_row_is_a_problem(asked, data):
    """A row that was left out without a word would look as if it had been asked."""
    rule = data.draw(form_trees.unfinished(asked.schema))
    editor = FilterEditor(asked, tree=one(rule))
    assert repr(editor.tree) == repr(one(rule))
    assert len(editor.problems) == 1
    close(editor.widget)


@settings(QUICK, max_examples=40)
@given(data=st.data())
def test_what_a_row_shows_can_be_typed(asked, data):
    """What no hand could have made would be a dead end for who wants to change it a little."""
    seen = form_trees.rules(asked.schema).filter(lambda it: asked.schema.resolve(it.field).visible)
    rule = data.draw(seen)
    shown, typed = (FilterEditor(asked, tree=one(item)) for item in (rule, Rule()))
    for css in ("cs-field", "cs-operator"):
        copy(control(shown, css), control(typed, css))
    for css in ("cs-kind", "cs-value", "cs-value-2", "cs-options"):
        for at, held in enumerate(controls(shown, css)):
            copy(held, control(typed, css, at))
    found = typed.tree.members[0]
    assert (found.field, found.operator) == (meant(rule.field, asked), rule.operator)
    if not strange(rule, shown):
        assert repr(found.value) == repr(rule.value)
    close(shown.widget)
    close(typed.widget)


def copy(shown, typed):
    if isinstance(shown, widgets.SelectMultiple):
        typed.label = [text for text in shown.label if text in typed.options]
    elif isinstance(shown, widgets.Dropdown):
        typed.index = [*typed.options].index(shown.label)
    else:
        typed.value = shown.value


def meant(name, source):
    known = source.schema.find(name)
    return name if known is None else known.column


def strange(rule, editor):
    """Tell whether a value is none that a list offers, or stands there twice."""
    listed = controls(editor, "cs-options")
    texts = [text for item in listed for text in item.options]
    doubled = isinstance(rule.value, tuple) and len({*map(repr, rule.value)}) < len(rule.value)
    return any("no option" in text for text in texts) or (bool(listed) and doubled)


# --- everyone ----------------------------------------------------------------------------

HOSTILE = "<img src=x onerror=alert(1)> $x^2$ \u202e \ud800"


def hostile():
    """Make a source with a field of each type, of which every text is an attack."""
    options = tuple(Option(f"{at}{HOSTILE}", HOSTILE) for at in range(14))
    kinds = ["text", "select", "number", "datetime", "boolean", "list", "any", "json"]
    fields = [Field(f"{kind}{HOSTILE}", f"id{kind}", HOSTILE, kind, "custom") for kind in kinds]
    fields[1] = replace(fields[1], options=options)
    fields[5] = replace(fields[5], options=options)
    system = (
        Field("tags", "tags", "Tags", "tags"),
        Field("created_at", "c", "Created", "datetime"),
    )
    return Quiet(Schema((*fields, *system)))


def test_no_text_of_the_service_is_markup():
    """A label that ran in the browser could read every case."""
    source = hostile()
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
    shown = [*inside(editor.widget), *inside(options.widget)]
    for item in shown:
        assert not isinstance(item, widgets.Label | widgets.HTMLMath)
        assert not isinstance(item, widgets.HTML) or "<img" not in item.value
        assert "<" not in str(getattr(item, "description", ""))
        assert getattr(item, "description_allow_html", False) is False
        # Half of a surrogate pair could not be sent to a browser.
        assert json.dumps(item.get_state(), ensure_ascii=False, default=str).encode()


def test_every_control_has_a_name_and_a_class(sources):
    """Who hears the page, and who tests it, has nothing else to go by."""
    inner = [Rule("fields.foo"), Rule("title", "in", ("a\nb",)), Rule("vip_customer")]
    outer = [Rule("status", "in"), Rule("created_at", "between")]
    tree = Group(members=(*outer, Group("or", members=tuple(inner))))
    editor = FilterEditor(sources["persona"], tree=tree)
    options = OptionsEditor(sources["persona"])
    places = (widgets.Box, widgets.HTML)
    found = [
        item
        for item in [*inside(editor.widget), *inside(options.widget)]
        if not isinstance(item, places)
    ]
    assert [item for item in found if not item.description] == []
    assert [item for item in found if not any(c.startswith("cs-") for c in item._dom_classes)] == []
    named = [item.description for item in inside(editor.widget) if hasattr(item, "placeholder")]
    assert "Field of row 4" in named


# --- threads and callbacks ---------------------------------------------------------------


def test_a_callback_that_fails_stops_nothing(sources, caplog):
    """An error in what hears of an edit must not undo the edit."""
    editor = FilterEditor(sources["connect"], on_change=lambda: 1 / 0)
    control(editor, "cs-add-row").click()
    assert editor.tree == one(Rule())
    assert "ZeroDivisionError" in caplog.text


def test_showing_is_no_edit(sources):
    """A form that showed a saved filter and heard of its own edits would ask twice."""
    seen = []
    editor = FilterEditor(sources["connect"], on_change=lambda: seen.append(1))
    editor.show(one(Rule("title", "contains", "a")))
    assert seen == []
    control(editor, "cs-value").value = "b"
    assert seen == [1]


def test_edits_come_from_several_threads(sources):
    """JupyterLab hands out events on several threads at once; none may be lost."""
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


def test_rows_that_are_gone_leave_nothing(sources):
    """A form that is edited for a day must not fill the kernel."""
    editor = FilterEditor(sources["persona"])
    control(editor, "cs-add-row").click()
    for name in ("Created at", "fields.foo", "Status", "Title"):  # one of each kind
        control(editor, "cs-field").value = name
    control(editor, "cs-remove").click()
    before = len(_instances)
    for _ in range(3):
        control(editor, "cs-add-row").click()
        for name in ("Created at", "fields.foo", "Status", "Title"):
            control(editor, "cs-field").value = name
        control(editor, "cs-remove").click()
    assert len(_instances) == before


# --- options -----------------------------------------------------------------------------

QUESTIONS = st.builds(
    FormQuery,
    tree=st.just(EVERYTHING),
    search=st.none() | TEXTS,
    tags=st.lists(TEXTS, max_size=3).map(tuple),
    columns=st.none() | st.lists(NAMES | TEXTS, max_size=4, unique=True).map(tuple),
    sort=st.lists(NAMES.map("-{}".format) | NAMES, max_size=5).map(tuple),
    limit=st.none() | st.integers(0, 10**6),
    tz=st.sampled_from(["UTC", "Europe/Berlin", "nowhere"]),
)


@pytest.mark.parametrize("service", ["connect", "persona"])
@given(question=QUESTIONS)
@settings(QUICK, max_examples=25)
def test_options_come_back(sources, service, question):
    """An option that the controls cannot hold would be cut without a word."""
    editor = OptionsEditor(sources[service])
    editor.show(question)
    assert repr(editor.question(EVERYTHING)) == repr(question)
    assert all(isinstance(text, str) for text in editor.problems)
    close(editor.widget)


def test_options_are_edited(sources):
    """The whole path of the options."""
    editor = OptionsEditor(sources["connect"])
    assert editor.question(EVERYTHING) == FormQuery()
    control(editor, "cs-search-text").value = "late"
    control(editor, "cs-tags").value = "team=red\n"
    control(editor, "cs-columns").label = ("Title", "Status (status)")
    choose(control(editor, "cs-sort"), "Created")
    control(editor, "cs-descending").value = True
    control(editor, "cs-limit").value = "1,000"
    control(editor, "cs-zone").value = "Europe/Berlin"
    assert editor.problems == ()
    asked = FormQuery(
        EVERYTHING,
        "late",
        ("team=red",),
        ("title", "status"),
        ("-created_at",),
        1000,
        "Europe/Berlin",
    )
    assert editor.question(EVERYTHING) == asked
    control(editor, "cs-limit").value = "some"
    assert editor.question(EVERYTHING).limit is None
    control(editor, "cs-tags").value = "red"
    assert [text.partition(":")[0] for text in editor.problems] == ["Tags", "Rows at most"]


def test_a_search_is_offered_where_there_is_one(sources):
    """Persona has none; one that was saved for Connect is shown, and said to be no use."""
    assert controls(OptionsEditor(sources["persona"]), "cs-search-text") == []
    editor = OptionsEditor(sources["persona"], FormQuery(search="late"))
    assert editor.problems[0].startswith("Search: persona has no full-text search")
    control(editor, "cs-search-text").value = ""
    assert editor.question(EVERYTHING) == FormQuery()


def test_tags_are_offered_where_there_are_some():
    """A source of somebody's own may have none."""
    source = Quiet(Schema((Field("created_at", "c", "Created", "datetime"),)))
    assert controls(OptionsEditor(source), "cs-tags") == []
    editor = OptionsEditor(source, FormQuery(tags=("late",)))
    assert editor.problems[0].startswith("Tags: unknown field 'tags'")


def test_a_field_that_is_not_there_is_told_before_a_value_is_asked_for():
    """A wish for a value, beside a name with a slip in it, sends people the wrong way."""
    with cs.LocalCases(cases=1) as local:
        editor = FilterEditor(local.connect_cases(), tree=Group(members=(Rule("prioritty", "eq"),)))
    (problem,) = editor.problems
    assert "did you mean 'priority'" in problem


def test_a_column_is_meant_by_its_name_in_any_letter_case():
    """Two fields are labelled Status here; in filters the name means the system's own."""
    with cs.LocalCases(cases=1) as local:
        labels = FieldLabels(local.connect_cases().schema)
    shared = [text for text in labels.texts if text.startswith("Status (")]
    assert len(shared) == 2
    assert labels.meant("Status") == "status"
    assert [labels.meant(text) for text in shared] == ["status", "status_dc1c26f0"]
