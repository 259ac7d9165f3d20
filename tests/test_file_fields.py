"""Of a Persona file only name and size are kept, wherever it stands; signed URLs go nowhere."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

import casesearch_pd as cs
from casesearch_pd.sources.persona.cells import attachment_names, plain_value
from casesearch_pd.sources.persona.codec import decode_page, decode_parsed
from casesearch_pd.sources.persona.columns import KnownFields
from tests.wire_clients import persona
from tests.wire_stub import Stub, persona_environment, persona_pages

SECRET = "eyJSIGNED.x.y"
URL = f"https://files.example/s.jpg?access_token={SECRET}"
FILE = {"filename": "s.jpg", "byte_size": 20723, "url": URL}
TYPED = {"type": "file", "value": FILE}
SELFIE = {"id": "self_1", "type": "Selfie", "center-photo-url": URL, "left_photo_url": URL}
GOVERNMENT_ID = {"id": "doc_1", "front-photo": FILE, "back-photo": {**FILE, "filename": "b.jpg"}}

# The value of a custom field, and what is shown of it.
VALUES = {
    "file": (TYPED, "s.jpg (20723 bytes)"),
    "in kebab case": (
        {"type": "file", "value": {"filename": "s.jpg", "byte-size": 1, "url": URL}},
        "s.jpg (1 bytes)",
    ),
    "in camel case": (
        {"type": "file", "value": {"filename": "s.jpg", "byteSize": 1, "url": URL}},
        "s.jpg (1 bytes)",
    ),
    "without a wrapper": (FILE, "s.jpg (20723 bytes)"),
    "without a name": ({"type": "file", "value": {"url": URL, "byte-size": 3}}, "file (3 bytes)"),
    "only an address": ({"type": "file", "value": URL}, "s.jpg"),
    "array": ({"type": "array", "value": [TYPED, FILE]}, ["s.jpg (20723 bytes)"] * 2),
    "array of bare files": ({"type": "file", "value": [{"url": URL, "filename": "a"}]}, ["a"]),
    "hash": ({"type": "hash", "value": {"a": TYPED}}, {"a": "s.jpg (20723 bytes)"}),
    "selfie": ({"type": "selfie", "value": SELFIE}, "self_1"),
    "government id": (
        {"type": "government_id", "value": GOVERNMENT_ID},
        "s.jpg (20723 bytes), b.jpg (20723 bytes)",
    ),
    "deep JSON": (
        {"type": "json", "value": {"a": [{"b": {"c": [FILE]}}]}},
        {"a": [{"b": {"c": ["s.jpg (20723 bytes)"]}}]},
    ),
    "selfie in JSON": (
        {"type": "json", "value": {"selfie": SELFIE}},
        {"selfie": {"id": "self_1", "type": "Selfie"}},
    ),
    "text": ({"type": "string", "value": URL}, "https://files.example/s.jpg"),
    "text around it": (
        {"type": "string", "value": f"see {URL}, soon"},
        "see https://files.example/s.jpg soon",
    ),
    "bare text": (URL, "https://files.example/s.jpg"),
    "signed by AWS": (
        {"type": "string", "value": f"HTTPS://b.example/k?a=1&X-Amz-Signature={SECRET}#p"},
        "HTTPS://b.example/k",
    ),
    "fragment": (
        {"type": "json", "value": [f"https://b.example/#id_token={SECRET}"]},
        ["https://b.example/"],
    ),
    "ordinary URL": (
        {"type": "string", "value": "https://b.example/?page=2#top"},
        "https://b.example/?page=2#top",
    ),
}


def page_of(value, **attributes):
    case = {
        "type": "case",
        "id": "case_1",
        "attributes": {"status": "Open", "created-at": "2026-01-05T10:00:00.000Z", **attributes},
        "relationships": {},
    }
    if value is not None:
        case["attributes"]["fields"] = {"photo": value}
    return {"data": [case], "links": {"next": None}}


NOTHING_KNOWN = KnownFields({}, {})


@pytest.mark.parametrize(("value", "cell"), VALUES.values(), ids=VALUES)
def test_a_file_is_name_and_size(value, cell):
    page = page_of(value)
    decoded = decode_page(json.dumps(page).encode(), NOTHING_KNOWN, ())
    assert decoded.columns["photo"] == [cell]
    assert decode_parsed(page, NOTHING_KNOWN, ()).columns["photo"] == [cell]
    known = KnownFields({"photo": decoded.new_fields["photo"]}, {})
    for body in (json.dumps(page), json.dumps(page).replace("/", r"\/").replace(":", ":")):
        assert decode_page(body.encode(), known, ()).columns["photo"] == [cell]


def test_attributes_and_attachments_show_no_address_either():
    page = page_of(
        None,
        selfie=SELFIE,
        proofs=[FILE],
        resolution=URL,
        tags=[URL],
        attachments=[{**FILE, "filename": URL}],
    )
    decoded = decode_page(json.dumps(page).encode(), NOTHING_KNOWN, ())
    assert decoded.columns["selfie"] == ["self_1"]
    assert decoded.columns["proofs"] == [["s.jpg (20723 bytes)"]]
    assert SECRET not in repr(decoded)
    assert attachment_names([FILE]) == ("s.jpg (20723 bytes)",)


nestings = st.recursive(
    st.sampled_from([TYPED, FILE, {"type": "selfie", "value": SELFIE}, URL, GOVERNMENT_ID]),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.dictionaries(
            st.sampled_from(["a", "url", "type", "value", "filename"]), inner, max_size=3
        ),
        st.builds(
            lambda value, kind: {"type": kind, "value": value},
            inner,
            st.sampled_from(["array", "hash", "file", "json"]),
        ),
    ),
    max_leaves=8,
)


@given(nestings)
def test_no_nesting_shows_the_token(value):
    assert SECRET not in repr(plain_value(value))
    assert SECRET not in repr(decode_page(json.dumps(page_of(value)).encode(), NOTHING_KNOWN, ()))


@pytest.mark.usefixtures("clock")
def test_nothing_that_is_written_contains_the_address(tmp_path):
    case = page_of(VALUES["file"][0])["data"][0]
    with Stub(persona_environment(persona_pages([case]))) as stub:
        source = persona(stub)
        df = cs.read_cases(source, progress=False)
        assert df["photo"].tolist() == ["s.jpg (20723 bytes)"]
        cs.Mirror(tmp_path / "a.duckdb").sync(source, progress=False)
        explained = str(cs.explain_cases(source, photo="x"))
    df.cases.to_csv(tmp_path / "a.csv")
    df.cases.to_excel(tmp_path / "a.xlsx")
    df.cases.to_parquet(tmp_path / "a.parquet")
    for path in tmp_path.iterdir():
        assert SECRET.encode() not in path.read_bytes(), path
    assert SECRET not in json.dumps(df.cases.provenance, default=str) + df.to_html() + explained


def test_the_text_of_a_file_is_never_compared_by_the_service():
    """Search would compare its own value with our name and size, and lose cases."""
    with cs.LocalCases(cases=300, seed=1) as local:
        source = local.persona_cases()
        frame = cs.read_cases(source, progress=False)
        text = frame["id_photo"].dropna().iloc[0]
        with pytest.warns(UserWarning, match="filtered locally"):
            matches = cs.read_cases(source, id_photo=text, progress=False)
        with pytest.warns(UserWarning, match="filtered locally"):
            plan = cs.explain_cases(source, id_photo=text)
    assert "query" not in plan.requests[0].body
    assert set(matches["case_id"]) == set(frame.loc[frame["id_photo"].eq(text), "case_id"])
