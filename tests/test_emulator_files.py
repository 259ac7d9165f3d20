"""Files in custom fields of Persona: the emulator sends signed addresses, no client shows one."""

import json

import pytest

import casesearch_pd as cs
from tests.emulator_clients import persona, persona_all

SERVICE = {"cases": 60, "seed": 3}
FIELDS = ["id_photo", "selfie", "government_id", "documents"]
SECRET = "access_token"


@pytest.fixture(scope="module")
def with_files(service):
    """Return the custom fields of the cases that have files, as sent."""
    cases = persona_all(service, {})
    fields = [case["attributes"]["fields"] for case in cases]
    return [one for one in fields if one.get("id_photo", {}).get("value")]


def test_files_are_sent_with_a_signed_address_at_any_depth(with_files):
    assert len(with_files) > 5
    for fields in with_files:
        assert [fields[name]["type"] for name in FIELDS] == [
            "file", "selfie", "government_id", "array",
        ]  # fmt: skip
        assert all(SECRET in json.dumps(fields[name]) for name in FIELDS)
        assert set(fields["id_photo"]["value"]) == {"filename", "url", "byte_size"}
        document = fields["documents"]["value"][0]
        assert document["type"] == "hash"
        assert document["value"]["scan"]["type"] == "file"
        assert set(document["value"]["scan"]["value"]) == {"filename", "url", "byte_size"}
        assert document["value"]["kind"] == {"type": "string", "value": "passport"}


@pytest.mark.parametrize("inflection", ["kebab", "camel", "snake"])
def test_the_members_of_a_file_are_never_inflected(service, inflection):
    cases = persona_all(service, {}, Key_Inflection=inflection)
    photos = [case["attributes"]["fields"].get("id_photo", {}).get("value") for case in cases]
    assert {name for photo in photos if photo for name in photo} == {"filename", "url", "byte_size"}


def test_a_template_has_the_types_of_files(service):
    (review,) = {
        template
        for template in service.frame()["template_id"].unique()
        if service.frame().set_index("template_id").loc[template, "id_photo"].notna().any()
    }
    answer = persona(service, "GET", f"/api/v1/case-templates/{review}").json()["data"]
    types = {one["key"]: one["type"] for one in answer["attributes"]["field-schemas"]}
    relation = "relation-schema"
    assert [types[name] for name in FIELDS] == ["file", relation, relation, "array"]


@pytest.mark.parametrize("name", FIELDS)
def test_fields_of_files_cannot_be_searched_or_sorted_by(service, name):
    attribute = f"fields.{name}"
    query = {"attribute": attribute, "operator": "eq", "value": "x"}
    sort = {"attribute": attribute, "direction": "asc"}
    for body in ({"query": query}, {"sort": sort}):
        assert persona(service, "POST", "/api/v1/cases/search", body).status_code == 422


def test_the_frame_of_the_service_shows_names_and_sizes(service):
    frame = service.frame("persona").dropna(subset="id_photo")
    assert frame["id_photo"].str.fullmatch(r"id_photo\.jpg \(\d+ bytes\)").all()
    assert frame["selfie"].str.startswith("self_").all()
    assert frame["government_id"].str.fullmatch(r"government_id\.jpg \(\d+ bytes\)").all()
    first = frame["documents"].iloc[0][0]
    assert first["kind"] == "passport"
    assert first["scan"].startswith("passport.jpg (")
    assert SECRET not in service.frame().drop(columns="attachments").to_csv()
    assert not set(FIELDS) & set(service.frame("connect"))


def test_a_file_can_be_replaced(service):
    case_id = service.frame().dropna(subset="id_photo")["case_id"].iloc[0]
    new = {"filename": "new.png", "byte_size": 7, "url": f"https://f.example/n?{SECRET}=x"}
    service.update(case_id, id_photo=new)
    case = persona(service, "GET", f"/api/v1/cases/{case_id}").json()["data"]
    assert case["attributes"]["fields"]["id_photo"] == {"type": "file", "value": new}
    photos = service.frame().set_index("case_id")["id_photo"]
    assert photos[case_id] == "new.png (7 bytes)"


@pytest.mark.filterwarnings("ignore:values that do not fit")
@pytest.mark.parametrize("wrapped", [True, False])
def test_no_address_leaves_the_client(wrapped, tmp_path):
    """Cells, files, mirrors and reports have names and sizes only."""
    with cs.LocalCases(cases=60, seed=3, wrapped=wrapped) as local:
        source, expected = local.persona_cases(), local.frame("persona")
        df = cs.read_cases(source)
        cs.to_parquet(source, tmp_path / "cases.parquet")
        mirror = cs.Mirror(tmp_path / "cases.duckdb")
        mirror.sync(source, progress=False)
        df.cases.report(tmp_path / "report.html")
        texts = [df.to_csv(), df.to_html(), repr(df.attrs), repr(cs.read_cases(mirror).to_dict())]
        texts += [repr(chunk.to_dict()) for chunk in cs.iter_cases(source, chunksize=25)]
    texts += [path.read_bytes().decode("latin-1") for path in tmp_path.iterdir()]
    assert [text[:80] for text in texts if SECRET in text] == []
    for name in FIELDS if wrapped else ["id_photo", "documents"]:
        cells = df.set_index("case_id")[name].dropna()
        assert len(cells) > 5
        assert cells.to_dict() == expected.set_index("case_id")[name].dropna().to_dict()
