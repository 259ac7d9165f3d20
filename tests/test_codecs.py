"""The quick and the slow way to read a page give the same cells, and no page breaks either.

The quick way decodes into typed structs; the slow one goes through plain JSON value by value,
and takes over for a page that does not fit. A third way, botocore's own parser, is used where
botocore does not call the client's handler.
"""

import json
from copy import deepcopy
from unittest.mock import patch

import pandas as pd
from botocore.loaders import Loader
from botocore.model import ServiceModel
from botocore.parsers import create_parser
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from casesearch_pd.query.schema import Field
from casesearch_pd.reading.frames.columns import Columns
from casesearch_pd.reading.frames.frame import build_frame
from casesearch_pd.sources.amazon_connect import codec as connect_codec
from casesearch_pd.sources.base import Page
from casesearch_pd.sources.persona import codec as persona_codec
from casesearch_pd.sources.persona.codec import decode_parsed
from casesearch_pd.sources.persona.columns import KnownFields
from casesearch_pd.sources.persona.schema import decode_template, discover_schema
from tests.wire_stub import ATTRIBUTES, CREATED, RELATED, persona_case, persona_page

quickly = settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow], derandomize=True
)

words = st.text(max_size=8)
texts = st.one_of(words, st.sampled_from(["open", CREATED, "2026-03-14", "1", "NaN", "user_1"]))
numbers = st.one_of(
    st.integers(-(2**53), 2**53),
    st.floats(allow_nan=False, allow_infinity=False),
)
plain = st.one_of(st.none(), st.booleans(), numbers, texts)
# Anything that JSON can say; what a service would have to go mad to say.
anything = st.recursive(
    st.one_of(st.none(), st.booleans(), numbers, texts, st.sampled_from([10**30, "\ud800"])),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(words, inner, max_size=3)),
    max_leaves=6,
)


def frame_of(columns, rows, fields, new_fields=(), invalid=()):
    """Build the frame of one page, as a read does."""
    grown = Columns(fields, open=True)
    page = Page(
        rows,
        columns,
        None,
        None,
        pd.Timestamp(0),
        new_fields=dict(new_fields),
        invalid=dict(invalid),
    )
    grown.add(page)
    cells, _ = grown.finish()
    return build_frame(cells, tz="UTC", backend=None), dict(grown.invalid)


@st.composite
def damaged(draw, pages):
    """Put anything at all somewhere into a page, or take something out of it."""
    page = deepcopy(draw(pages))  # what is drawn next time must not be damaged already
    places = list(places_in(page))
    holder, key = draw(st.sampled_from(places))
    if draw(st.booleans()):
        holder[key] = draw(anything)
    elif isinstance(holder, dict):
        del holder[key]
    else:
        holder.pop(key)
    return page


def places_in(cells):
    keys = cells.keys() if isinstance(cells, dict) else range(len(cells))
    for key in list(keys):
        yield cells, key
        if isinstance(cells[key], (dict, list)):
            yield from places_in(cells[key])


# --- Amazon Connect Cases ---------------------------------------------------------------------

TYPES = ("text", "number", "boolean", "datetime", "select", "user", "url")
FIELDS = (
    Field("case_id", "caseId", "", "text"),
    Field("template_id", "templateId", "", "select"),
    Field("template", "template", "", "select"),
    Field("tags", "tags", "", "tags"),
    *(Field(f"a_{kind}", f"id-{kind}", "", kind, "custom") for kind in TYPES),
)
TEMPLATES = {"t-1": "General"}
MEMBERS = {
    "stringValue": texts,
    "doubleValue": numbers,
    "booleanValue": st.booleans(),
    "userArnValue": texts,
    "emptyValue": st.just({}),
}

one_member = st.one_of([st.fixed_dictionaries({name: values}) for name, values in MEMBERS.items()])
# As the service model has it, and as it may still come: none set, several set, null ones.
unions = st.one_of(
    one_member,
    st.none(),
    st.fixed_dictionaries(
        {}, optional={name: st.none() | values for name, values in MEMBERS.items()}
    ),
)


def cases(values):
    cells = st.fixed_dictionaries(
        {"id": st.sampled_from([item.id for item in FIELDS] + ["id-nobody-asked-for"])},
        optional={"value": values},
    )
    return st.fixed_dictionaries(
        {"caseId": words, "fields": st.lists(cells, max_size=9)},
        optional={
            "templateId": st.sampled_from(["t-1", "t-2", None]),
            "tags": st.none() | st.dictionaries(words, st.none() | words, max_size=3),
            "newMember": plain,
        },
    )


def connect_pages(values=unions):
    return st.fixed_dictionaries(
        {"cases": st.lists(cases(values), max_size=5)},
        optional={
            "nextToken": st.sampled_from([None, "", "more"]),
            "totalCount": st.none() | st.integers(0, 2**40),
            "newMember": plain,
        },
    )


def encoded(page):
    return json.dumps(page).encode()


def details(answer):
    """Write an answer out, so that 1, 1.0 and True stay apart."""
    return {**{name: getattr(answer, name) for name in ("rows", "cursor", "total")},
            "columns": repr(sorted(answer.columns.items()))}  # fmt: skip


def same_frames(quick, slow, fields):
    one, odd = frame_of(quick.columns, quick.rows, fields, invalid=quick.invalid)
    other, other_odd = frame_of(slow.columns, slow.rows, fields, invalid=slow.invalid)
    pd.testing.assert_frame_equal(one, other)
    assert odd == other_odd


@quickly
@given(connect_pages())
def test_both_ways_read_the_same_of_a_connect_page(page):
    """A cell that depended on the neighbours of its page would be found by nobody."""
    body = encoded(page)
    with patch.object(connect_codec, "decode_parsed", side_effect=AssertionError("the slow way")):
        quick = connect_codec.decode_page(body, FIELDS, TEMPLATES)
    slow = connect_codec.decode_parsed(page, FIELDS, TEMPLATES)
    assert details(quick) == details(slow)
    same_frames(quick, slow, FIELDS)


SHAPE = (
    ServiceModel(Loader().load_service_model("connectcases", "service-2"))
    .operation_model("SearchCases")
    .output_shape
)
PARSER = create_parser("rest-json")


@quickly
@given(connect_pages(one_member))
def test_botocores_parser_is_as_good_on_a_page_of_the_service_model(page):
    """It is what remains should a botocore not call the handler; it turns numbers to floats."""
    answer = {"body": encoded(page), "headers": {}, "status_code": 200}
    parsed = PARSER.parse(answer, SHAPE)
    own = connect_codec.decode_page(answer["body"], FIELDS, TEMPLATES)
    other = connect_codec.decode_parsed(parsed, FIELDS, TEMPLATES)
    assert (own.rows, own.cursor, own.total) == (other.rows, other.cursor, other.total)
    same_frames(own, other, FIELDS)


@quickly
@given(damaged(connect_pages()))
def test_no_damage_to_a_connect_page_breaks_more_than_the_page(page):
    """Whatever a proxy makes of an answer: cells, or an error that is tried again."""
    try:
        answer = connect_codec.decode_page(encoded(page), FIELDS, TEMPLATES)
    except ValueError:
        return
    assert {len(cells) for cells in answer.columns.values()} <= {answer.rows}
    frame, _ = frame_of(answer.columns, answer.rows, FIELDS, invalid=answer.invalid)
    assert len(frame) == answer.rows


# --- Persona ------------------------------------------------------------------------------------

KNOWN = KnownFields(
    {
        "text": Field("text", "fields.text", "", "text", "custom"),
        "number": Field("number", "fields.number", "", "number", "custom"),
        "any-key": Field("any_key", "fields.any-key", "", "any", "custom"),
        "list": Field("list", "fields.list", "", "list", "custom"),
    },
    {"ctmpl_1": "Review"},
)
WANTED = (
    Field("status", "status", "", "text"),
    Field("created_at", "created-at", "", "datetime"),
    Field("template", "template", "", "select"),
    Field("tags", "tags", "", "list"),
    KNOWN.custom["number"],
)

leaf = st.fixed_dictionaries(
    {"type": st.sampled_from(["string", "number", "hash", "array", "new"])},
    optional={"value": plain},
)


def nested(inner):
    cells = {
        "hash": st.dictionaries(words, inner, max_size=3),
        "array": st.lists(inner | plain, max_size=3),
    }
    return st.one_of(
        [
            st.fixed_dictionaries({"type": st.just(kind), "value": values})
            for kind, values in cells.items()
        ]
    )


wrapped = st.recursive(leaf, nested, max_leaves=6)
fields = st.dictionaries(
    st.sampled_from([*KNOWN.custom, "new", "status", "2nd"]),
    st.one_of(plain, wrapped, st.lists(plain | wrapped, max_size=3)),
    max_size=6,
)
refs = st.fixed_dictionaries({"id": st.sampled_from(["ctmpl_1", "x_1"]), "type": words})
links = st.fixed_dictionaries({}, optional={"data": st.none() | refs | st.lists(refs, max_size=2)})
files = st.lists(
    st.fixed_dictionaries({}, optional={"filename": st.none() | words, "byte-size": numbers}),
    max_size=2,
)


@st.composite
def persona_cases(draw):
    case = persona_case(draw(words))
    attributes = draw(
        st.fixed_dictionaries(
            {},
            optional={
                **dict.fromkeys(ATTRIBUTES, plain),
                "fields": fields,
                "attachments": st.none() | files,
                "tags": st.none() | st.lists(words, max_size=3),
            },
        )
    )
    names = ["case-template", "case-queue", *RELATED, "new-relation"]
    related = draw(st.none() | st.dictionaries(st.sampled_from(names), links, max_size=4))
    return {**case, "attributes": attributes, "relationships": related}


persona_pages = st.builds(
    persona_page, st.lists(persona_cases(), max_size=4), st.none() | st.just("/next?x=1")
)


def entries(cells):
    """Write tuples as lists, which they become in a frame, and keys in one order."""
    if isinstance(cells, dict):
        return {name: entries(cells[name]) for name in sorted(cells)}
    return [entries(one) for one in cells] if isinstance(cells, (list, tuple)) else cells


@quickly
@given(persona_pages, st.sampled_from([(), WANTED]))
def test_both_ways_read_the_same_of_a_persona_page(page, expected):
    body = encoded(page)
    with patch.object(persona_codec, "decode_parsed", side_effect=AssertionError("the slow way")):
        quick = persona_codec.decode_page(body, KNOWN, expected)
    slow = decode_parsed(page, KNOWN, expected)
    assert repr(entries(quick.columns)) == repr(entries(slow.columns))
    for name in ("rows", "next_link", "has_next_link", "new_fields", "templates"):
        assert getattr(quick, name) == getattr(slow, name)
    known = tuple(KNOWN.custom.values())
    one, odd = frame_of(quick.columns, quick.rows, known, quick.new_fields)
    other, other_odd = frame_of(slow.columns, slow.rows, known, slow.new_fields)
    pd.testing.assert_frame_equal(one, other)
    assert odd == other_odd


@quickly
@given(damaged(persona_pages.filter(lambda page: page["data"])), st.sampled_from([(), WANTED]))
def test_no_damage_to_a_persona_page_breaks_more_than_the_page(page, expected):
    try:
        answer = persona_codec.decode_page(encoded(page), KNOWN, expected)
    except ValueError:
        return
    assert {len(cells) for cells in answer.columns.values()} <= {answer.rows}
    frame, _ = frame_of(
        answer.columns, answer.rows, tuple(KNOWN.custom.values()), answer.new_fields
    )
    assert len(frame) == answer.rows


@quickly
@given(damaged(st.builds(persona_case, words, texts=plain).map(lambda case: {"data": case})))
def test_no_damage_to_a_retrieved_case_breaks_more_than_its_page(answer):
    try:
        page = persona_codec.decode_case(encoded(answer), KNOWN, ())
    except ValueError:
        return
    assert page.rows == 1


templates = st.fixed_dictionaries(
    {"id": words, "attributes": st.fixed_dictionaries(
        {"name": words, "field-schemas": st.lists(st.fixed_dictionaries(
            {"type": words, "key": words, "label": words, "config": st.just({"options": ["a"]})}
        ), max_size=2)})}
)  # fmt: skip


@quickly
@given(damaged(templates.map(lambda details: {"data": details})))
def test_no_damage_to_a_template_breaks_discovery(answer):
    """One odd template among fifty must not hide the fields of the others with a KeyError."""
    try:
        template = decode_template(encoded(answer))
    except ValueError:
        return
    empty = persona_codec.decode_page(encoded(persona_page([])), KNOWN, ())
    assert discover_schema([template], empty, frozenset()).fields


# --- what decides the way ------------------------------------------------------------------------


def test_an_odd_value_sends_its_page_the_slow_way_and_costs_itself_alone():
    """The tests above are about pages that both ways can read; here is one that one cannot."""
    page = {"cases": [
        {"caseId": "c1", "fields": [{"id": "id-number", "value": {"quaternionValue": [1]}}]},
        {"caseId": "c2", "fields": [{"id": "id-number", "value": {"doubleValue": 2}}]},
    ]}  # fmt: skip
    with patch.object(connect_codec, "decode_parsed", wraps=connect_codec.decode_parsed) as slow:
        answer = connect_codec.decode_page(encoded(page), FIELDS, TEMPLATES)
    slow.assert_called_once()
    assert answer.columns["a_number"] == [None, 2]
    assert answer.invalid == {"a_number": 1}


def test_every_case_of_a_page_comes_in_the_order_of_the_page():
    page = {"cases": [{"caseId": f"c{at}", "fields": []} for at in (3, 1, 2)]}
    answer = connect_codec.decode_page(encoded(page), FIELDS, TEMPLATES)
    assert answer.columns["case_id"] == ["c3", "c1", "c2"]


def test_an_unasked_field_takes_no_column():
    page = {"cases": [{"caseId": "c1", "fields": [{"id": "other", "value": {"stringValue": "x"}}]}]}
    answer = connect_codec.decode_page(encoded(page), FIELDS[:1], TEMPLATES)
    assert set(answer.columns) == {"case_id", "template_id", "template", "tags"}
