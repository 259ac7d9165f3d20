"""`PersonaCases` on the wire: what it sends and where to, and what it makes of odd answers."""

import gzip
import json
import os
import pickle
import time
from pathlib import Path

import jsonschema
import pandas as pd
import pytest

import casesearch_pd as cs
from casesearch_pd.sources.transport.context import Tuning
from casesearch_pd.sources.transport.urls import require_same_origin
from tests.wire_clients import TOKEN, persona, through_proxy
from tests.wire_stub import (
    HANG,
    RATES,
    Stub,
    broken_answers,
    ok,
    persona_case,
    persona_environment,
    persona_error,
    persona_next,
    persona_page,
    persona_pages,
    persona_template,
    script,
)

TUNING = Tuning()

pytestmark = pytest.mark.usefixtures("clock")

CASES = [persona_case(f"case_{number}", amount=number) for number in range(5)]
WHOLE = json.dumps(persona_page(CASES)).encode()


def serving(*replies, **options):
    return Stub(persona_environment(script(*replies), **options))


def read_all(cases, **options):
    """Read an environment of these cases, none of which discovery has seen."""
    with Stub(persona_environment(persona_pages(cases))) as stub:
        return cs.read_cases(persona(stub, **options))


def read_one(attributes=(), **fields):
    return read_all([persona_case("case_1", attributes, **fields)]).iloc[0]


# --- what is sent ------------------------------------------------------------------------------


def test_every_request_pins_what_a_key_could_change_and_none_is_idempotent():
    """A key has defaults of its own; an Idempotency-Key would replay a day-old answer."""
    with Stub(persona_environment(persona_pages(CASES, 2), cases=CASES)) as stub:
        source = persona(stub, version="2023-01-05")
        cs.read_cases(source, status="open")
        cs.read_cases(source, case_id="case_1")
        cs.read_cases(persona(stub, fresh=True, version="2023-01-05"), limit=1)
    assert len(stub.requests) > 8
    for sent_request in stub.requests:
        assert sent_request.headers["authorization"] == f"Bearer {TOKEN}"
        assert sent_request.headers["key-inflection"] == "kebab"
        assert sent_request.headers["persona-version"] == "2023-01-05"
        assert "idempotency-key" not in sent_request.headers


def test_next_links_are_followed_by_post_with_body_and_fieldset():
    """Persona: "Must be used with POST request and original request body"."""
    with Stub(persona_environment(persona_pages(CASES, 2))) as stub:
        frame = cs.read_cases(persona(stub), status="open", columns=["amount", "status"])
    assert frame["amount"].tolist() == [0, 1, 2, 3, 4]
    first, *others = stub.searches
    assert [one.query.get("page[after]") for one in stub.searches] == [None, "case_1", "case_3"]
    for one in others:
        assert one.method == "POST"
        assert one.json == first.json
        assert one.query["fields[case]"] == first.query["fields[case]"]
    assert first.json["query"] == {"attribute": "status", "operator": "eq", "value": "open"}
    assert set(first.query["fields[case]"].split(",")) == {"created-at", "fields.amount", "status"}


def test_all_columns_are_asked_for_without_a_fieldset():
    """A fieldset would hide the attributes that are new since this was written."""
    with Stub(persona_environment(persona_pages(CASES))) as stub:
        cs.read_cases(persona(stub))
    assert not stub.searches[0].query


@pytest.fixture
def search_contract():
    shared_contract = (
        Path(__file__).parents[2] / "shared" / "contracts" / "persona-cases.openapi.json"
    )
    path = Path(os.environ.get("CASESEARCH_CONTRACT", shared_contract))
    if not path.is_file():
        pytest.skip("Persona's OpenAPI description is not here; CASESEARCH_CONTRACT names it")
    contract = json.loads(path.read_text("utf-8"))
    body = contract["paths"]["/cases/search"]["post"]["requestBody"]
    return body["content"]["application/json"]["schema"]


def test_every_search_is_one_that_personas_own_description_allows(search_contract):
    filters = [
        {},
        {"status": ["a", "b", None], "created_at__lt": "2027"},
        {"status__ne": "open", "created_at__gte": "2026-03", "amount__lt": 5.5},
        {"urgent": True, "sla_at__between": ("2026-01-01", "2026-02-01")},
        {"template_id": ["ctmpl_1", "ctmpl_2"], "assignee": "user_1", "status": list("abcdefghij")},
        {"status": [f"s{at}" for at in range(50)]},
    ]
    template = persona_template(amount="number", urgent="boolean")
    with Stub(persona_environment(persona_pages(CASES), template=template)) as stub:
        source = persona(stub, templates=["ctmpl_1", "ctmpl_2"], assume={"exact_text": True})
        for sent_request in filters:
            cs.read_cases(source, **sent_request)
        cs.read_cases(source, sort="-updated_at", limit=2)
    assert len(stub.searches) > len(filters)
    for sent_request in stub.searches:
        jsonschema.validate(sent_request.json, search_contract, jsonschema.Draft202012Validator)


def test_a_case_is_retrieved_by_its_id():
    """Search lags writes by a minute; GET /cases/{id} holds an object, not a list."""
    with Stub(persona_environment(persona_pages(CASES), cases=CASES)) as stub:
        source = persona(stub)
        frame = cs.read_cases(source, case_id=["case_3", "case_9", "case_1"])
        one = cs.read_cases(source, case_id="case_1", columns=["amount", "template"])
        assert not stub.searches
    assert frame["case_id"].tolist() == ["case_1", "case_3"]
    assert frame["amount"].tolist() == [1, 3]
    assert one.iloc[0].to_dict() == {"amount": 1, "template": "Review"}


@pytest.mark.parametrize("broken", [{}, {"data": []}, {"data": None}, {"data": {"type": "case"}}])
def test_a_broken_retrieval_is_a_bad_answer(broken):
    environment = persona_environment(persona_pages(CASES))

    def reply(sent_request):
        return ok(broken) if sent_request.path.endswith("/case_1") else environment(sent_request)

    with Stub(reply) as stub, pytest.raises(cs.InvalidResponseError):
        cs.read_cases(persona(stub), case_id="case_1")


def test_fresh_reads_the_list_and_checks_here_what_it_cannot_take():
    """List shows a write at once; it knows a status and a template, and no order."""
    cases = [persona_case(f"case_{at}", {"status": "abc"[at % 3]}, amount=at) for at in range(6)]

    def entries(sent_request):
        expected = sent_request.query.get("filter[status]")
        return persona_pages(
            [case for case in cases if expected in {None, case["attributes"]["status"]}], 1
        )(sent_request)

    environment = persona_environment(entries, newest=cases)
    with Stub(
        lambda one: entries(one) if one.path.endswith("/cases") else environment(one)
    ) as stub:
        frame = cs.read_cases(persona(stub, fresh=True), status="a", amount__gte=1)
        assert not stub.searches
    assert frame["amount"].tolist() == [3]
    sent_request = [one for one in stub.requests if "filter[status]" in one.query]
    assert [one.query["page[size]"] for one in sent_request] == ["100"]


# --- where the token goes ------------------------------------------------------------------------


@pytest.fixture
def abroad():
    """Another host (another port is another origin), which must never hear from us."""
    with Stub(persona_pages(CASES)) as stub:
        yield stub
    assert not stub.requests


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
@pytest.mark.parametrize("when", ["discovery", "search"])
def test_a_redirect_is_refused_and_nothing_goes_abroad(status, when, abroad):
    """A 302 turns the search into a GET; a 307 sends the filter to whoever is named."""
    redirect = (status, {"Location": f"{abroad.url}/api/v1/cases/search"}, b"")
    environment = persona_environment(script(redirect))
    reply = environment if when == "search" else script(redirect)
    with Stub(reply) as stub, pytest.raises(cs.NotFoundError, match=r"token is not sent") as raised:
        cs.read_cases(persona(stub))
    assert raised.value.status == status
    assert len(stub.requests) == (1 if when == "discovery" else 3)


FOREIGN = {
    "host and port": "{abroad}{path}?page%5Bafter%5D=case_4",
    "host only": "//127.0.0.2:{port}{path}?page%5Bafter%5D=case_4",
    "scheme": "https://127.0.0.1:{port}{path}?page%5Bafter%5D=case_4",
    "user info": "http://x:y@127.0.0.1:{port}{path}?page%5Bafter%5D=case_4",
    "another path": "/api/v1/accounts/search?page%5Bafter%5D=case_4",
    "a port that is none": "http://127.0.0.1:99999{path}",
    "a bracket": "http://[::1{path}",
    "relative to nothing": "?page%5Bafter%5D=case_4",
    "a script": "javascript:alert(1)",
}


@pytest.mark.parametrize("link", FOREIGN)
def test_a_next_link_that_leads_elsewhere_is_refused(link, abroad):
    """A client that follows it hands the bearer token to whoever wrote the answer."""

    def search(sent_request):
        port = stub.url.rsplit(":", 1)[1]
        target = FOREIGN[link].format(abroad=abroad.url, path=sent_request.path, port=port)
        return ok(persona_page(CASES, target))

    with Stub(persona_environment(search)) as stub:
        with pytest.raises(cs.InvalidResponseError, match="token is not sent there"):
            cs.read_cases(persona(stub))
        assert len(stub.searches) == 1


def test_a_whole_next_link_of_the_same_origin_is_followed():
    def search(sent_request):
        if "page[after]" in sent_request.query:
            return ok(persona_page(CASES[3:]))
        return ok(persona_page(CASES[:3], stub.url + persona_next(sent_request, "case_2")))

    with Stub(persona_environment(search)) as stub:
        assert len(cs.read_cases(persona(stub))) == 5


@pytest.mark.parametrize("url", ["https://api.withpersona.com", "https://api.withpersona.com:443"])
def test_the_port_of_the_scheme_is_the_same_origin_written_or_not(url):
    source = cs.PersonaCases(token=TOKEN, base_url=f"{url}/api/v1")
    link = "https://API.withpersona.com:443/api/v1/cases/search?page%5Bafter%5D=a"
    path = "/api/v1/cases/search"
    followed = require_same_origin(link, base_url=source.base_url, path=path)
    assert followed == f"{path}?page%5Bafter%5D=a"


@pytest.mark.parametrize("links", [["case_1", "case_1"], ["case_1", "case_2", "case_1"]])
@pytest.mark.parametrize("honest", [False, True])
def test_a_cursor_that_comes_again_is_no_end_and_no_endless_loop(links, honest):
    """Rows after the circle would be missing; what can be read from the last row on, is."""

    def search(sent_request):
        if len(stub.searches) > 30:  # whoever gets here would go round for ever
            return ok(persona_page([]))
        if honest and "gte" in sent_request.body.decode():
            return ok(WHOLE)
        after = sent_request.query.get("page[after]")
        at = 0 if after is None else 1 + links.index(after)
        return ok(persona_page([CASES[at]], persona_next(sent_request, links[at])))

    with Stub(persona_environment(search)) as stub:
        if honest:
            assert len(cs.read_cases(persona(stub))) == 5
            return
        with pytest.raises(cs.IncompleteReadError) as raised:
            cs.read_cases(persona(stub))
        assert len(stub.searches) < 30
    assert isinstance(raised.value.__cause__, cs.InvalidResponseError)
    assert len(raised.value.partial) == len(links)


@pytest.mark.parametrize(
    "address",
    [
        "http://api.withpersona.com/api/v1",
        "http://127.0.0.1.example.com/api/v1",
        "http://0.0.0.0/api/v1",
        "http://localhost.example.com/api/v1",
    ],
)
def test_clear_text_to_another_machine_is_refused_before_anything_is_sent(address):
    """Whoever listens on the way would have the key of the whole environment."""
    with pytest.raises(cs.AccessDeniedError, match="unencrypted"):
        cs.PersonaCases(token=TOKEN, base_url=address)


@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.8.8", "localhost", "[::1]"])
def test_clear_text_on_this_machine_is_fine(host):
    assert cs.PersonaCases(token=TOKEN, base_url=f"http://{host}:1/api/v1").base_url


@pytest.mark.parametrize(
    "address",
    ["api.withpersona.com", "ftp://h/x", "https://", "https://u:secret@h/x", "https://:secret@h/x",
     "https://h/x?token=secret", "https://h/x#secret", "https://h:99999/x", "https://[secret", ""],
)  # fmt: skip
def test_what_is_no_address_is_refused_without_repeating_it(address):
    """A password may stand in it."""
    with pytest.raises(cs.NotFoundError, match=r"https://api\.withpersona\.com") as raised:
        cs.PersonaCases(token=TOKEN, base_url=address)
    assert "secret" not in str(raised.value)


def test_netrc_does_not_replace_the_token(monkeypatch, tmp_path):
    """The requests library overrules a bearer header with ``~/.netrc``, and says nothing."""
    netrc = tmp_path / ".netrc"
    netrc.write_text("machine 127.0.0.1 login thief password hunted\n")
    netrc.chmod(0o600)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("NETRC", str(netrc))
    with Stub(persona_environment(persona_pages(CASES))) as stub:
        cs.read_cases(persona(stub))
    assert {one.headers["authorization"] for one in stub.requests} == {f"Bearer {TOKEN}"}


def test_no_cookie_goes_back():
    """A key is all that tells who asks; a session of the service's own would be another."""
    pages = persona_pages(CASES, 1)
    with Stub(
        persona_environment(
            lambda sent_request: (200, {"Set-Cookie": "who=me"}, pages(sent_request)[2])
        )
    ) as stub:
        assert len(cs.read_cases(persona(stub))) == 5
    assert len(stub.searches) == 5
    assert not [one for one in stub.requests if "cookie" in one.headers]


def test_no_proxy_is_asked_for_this_machine(monkeypatch):
    """A proxy of the environment would read the token in clear text."""
    with Stub(lambda _: (500, {}, b"")) as proxy, serving(ok(WHOLE)) as stub:
        through_proxy(monkeypatch, proxy.url)
        assert len(cs.read_cases(persona(stub))) == 5
    assert not proxy.requests


def test_a_function_gives_the_token_anew_for_each_request():
    """A short-lived token would run out in the middle of a long read."""
    tokens = (f"token-{number}" for number in range(99))
    with Stub(persona_environment(persona_pages(CASES, 1))) as stub:
        source = persona(stub, token=lambda: next(tokens), rate=None)
        budget = source.rate_limiter
        cs.read_cases(source)
        assert source.rate_limiter is budget
    sent = [one.headers["authorization"] for one in stub.requests]
    assert len(set(sent)) == len(sent) == 7


def test_a_token_that_is_gone_in_the_middle_is_an_access_error(monkeypatch):
    monkeypatch.setenv("PERSONA_API_KEY", TOKEN)
    with Stub(persona_environment(persona_pages(CASES, 1))) as stub:
        source = persona(stub, token=None)
        assert source.schema
        monkeypatch.delenv("PERSONA_API_KEY")
        with pytest.raises(cs.AccessDeniedError, match="missing"):
            cs.read_cases(source)
        assert not stub.searches


# --- what comes back ---------------------------------------------------------------------------


def inflected(values, to):
    return {to(name): value for name, value in values.items()}


def snake(name):
    return name.replace("-", "_")


def camel(name):
    first, *others = name.split("-")
    return first + "".join(word.title() for word in others)


@pytest.mark.parametrize("to", [snake, camel])
def test_names_in_another_inflection_mean_the_same(to):
    """A key's dashboard default, or a proxy, may win over the header."""
    details = {"tags": ["vip"], "sla-expires-at": "2026-04-01T00:00:00Z", "assigner-type": "user"}
    files = [{"filename": "a.pdf", "byte-size": 7, "url": "https://files/x?access_token=s"}]
    case = persona_case("case_1", {**details, "attachments": files}, l_2=5, riskLevel="high")
    other = json.loads(json.dumps(case))
    values = other["attributes"]
    values["attachments"] = [inflected(one, to) for one in values["attachments"]]
    other["attributes"] = inflected(values, to)
    other["relationships"] = inflected(other["relationships"], to)
    pd.testing.assert_frame_equal(read_all([other]), read_all([case]))


@pytest.mark.parametrize("value", ["high", 5, 2.5, True, None, ["a", "b"]])
def test_a_field_is_the_same_wrapped_and_bare(value):
    kinds = {str: "string", int: "integer", float: "number", bool: "boolean", list: "array"}
    wrapped = {"type": kinds.get(type(value), "string"), "value": value}
    details, bare = read_one(key=wrapped)["key"], read_one(key=value)["key"]
    assert (pd.isna(details) and pd.isna(bare)) if value is None else details == bare == value


def test_wrappers_come_off_at_any_depth():
    """A hash is a map of wrappers and an array a list of them, as deep as a template likes."""

    def text(value):
        return {"type": "string", "value": value}

    address = {
        "type": "hash",
        "value": {"street": text("High St"), "lines": {"type": "array", "value": [text("a"), 2]}},
    }
    row = read_one(
        address=address,
        people={"type": "array", "value": [{"type": "hash", "value": {"name": text("Ann")}}]},
        bare={"inner": text("x"), "type": "not a wrapper", "value": text("y")},
        file={"type": "file", "value": None},
    )  # fmt: skip
    assert row["address"] == {"street": "High St", "lines": ["a", 2]}
    assert row["people"] == [{"name": "Ann"}]
    assert row["bare"] == {"inner": "x", "type": "not a wrapper", "value": "y"}
    assert pd.isna(row["file"])


def test_what_an_answer_lacks_is_missing():
    """Blocklists, sparse fieldsets and redaction take attributes and relationships away."""
    bare = {"type": "case", "id": "case_1"}
    half = {**bare, "id": "case_2", "attributes": {"status": "open", "fields": None, "tags": None}}
    links = {"case-template": {"data": None}, "case-queue": {}, "accounts": None, "reports": 5}
    third = {**bare, "id": "case_3", "attributes": {}, "relationships": links}
    frame = read_all([bare, half, third])
    assert frame["status"].tolist()[1:2] == ["open"]
    assert frame["status"].isna().tolist() == [True, False, True]
    for column in ("created_at", "template_id", "template", "queue", "accounts", "reports"):
        assert frame[column].isna().all(), column


def test_relationships_are_ids():
    case = persona_case("case_1")
    case["relationships"] |= {
        "case-queue": {"data": {"type": "case-queue", "id": "cqueue_1"}},
        "accounts": {"data": [{"type": "account", "id": one} for one in ("act_1", "act_2")]},
        "reports": {"data": {"type": "report/watchlist", "id": "rep_1"}},
    }  # fmt: skip
    row = read_all([case]).iloc[0]
    assert row["queue"] == "cqueue_1"
    assert row["accounts"] == ["act_1", "act_2"]
    assert row["reports"] == ["rep_1"]
    assert row["template"] == "Review"


@pytest.mark.parametrize("key", ["byte-size", "byte_size", "byteSize"])
def test_an_attachment_shows_name_and_size_and_never_its_address(key):
    """The address holds an access token: a saved notebook would publish the file."""
    files = [
        {"filename": "a.pdf", "url": "https://files/a?access_token=hush", key: 1234},
        {"filename": None, "url": "https://files/b?access_token=hush"},
        "https://files/c?access_token=hush",
    ]
    frame = read_all([persona_case("case_1", {"attachments": files})])
    assert frame["attachments"].tolist() == [["a.pdf (1234 bytes)", "attachment"]]
    assert "hush" not in str(frame.to_dict())
    strange = read_all([persona_case("case_1", {"attachments": "https://x?access_token=hush"})])
    assert "hush" not in str(strange.to_dict())


def test_an_attribute_made_tomorrow_becomes_a_column():
    """Persona adds attributes without a new version."""
    new = {"risk-score": 7, "status": "open"}
    assert read_one(new)["risk_score"] == 7
    known = [persona_case("case_0", {"risk-score": 6})]
    with Stub(persona_environment(persona_pages(known), newest=known)) as stub:
        source = persona(stub)
        assert cs.read_cases(source, columns=["risk_score"])["risk_score"].tolist() == [6]
    assert "risk-score" in stub.searches[0].query["fields[case]"]


def test_an_attribute_and_a_field_of_one_name_are_two_columns():
    newest = [persona_case("case_0", score=1)]
    case = persona_case("case_1", {"score": "A"}, score=2)
    with Stub(persona_environment(persona_pages([case]), newest=newest)) as stub:
        row = cs.read_cases(persona(stub)).iloc[0]
    assert row["score"] == 2
    assert row["attribute_score"] == "A"


def test_a_field_of_a_taken_name_is_set_apart():
    row = read_one({"status": "open"}, status="x", case_id="y", resolved_at="z")
    assert row["status"] == "open"
    assert (row["fields_status"], row["fields_case_id"]) == ("x", "y")
    assert row["fields_resolved_at"] == "z"


ALIKE = {"risk_score": 1, "risk-score": 2, "risk score": 3, "fields_risk_score": 4}


@pytest.mark.parametrize("details", [(), tuple(ALIKE), tuple(ALIKE)[:1], tuple(ALIKE)[1:]])
def test_keys_that_are_spelt_alike_keep_a_column_each(details):
    """In one column the value of one key would take the place of the other's."""
    template = persona_template(**dict.fromkeys(details, "integer"))
    case = persona_case("case_1", **ALIKE)
    with Stub(persona_environment(persona_pages([case]), template=template)) as stub:
        row = cs.read_cases(persona(stub)).iloc[0]
    alike = [name for name in row.index if name.endswith("risk_score")]
    assert sorted(row[alike]) == [1, 2, 3, 4]
    assert not details or row["risk_score"] == ALIKE[details[0]]


@pytest.mark.parametrize("key", ALIKE)
def test_each_of_the_keys_that_are_spelt_alike_can_be_asked_for(key):
    """A filter on one of them that reached another would find other cases."""
    template = persona_template(**dict.fromkeys(ALIKE, "integer"))
    case = persona_case("case_1", **ALIKE)
    with Stub(persona_environment(persona_pages([case]), template=template)) as stub:
        source = persona(stub)
        name = f"fields.{key}"
        frame = cs.read_cases(source, {name: ALIKE[key]}, columns=["case_id", name])
    assert frame.iloc[0].tolist() == ["case_1", ALIKE[key]]
    assert stub.searches[0].json["query"]["attribute"] == name


def test_a_key_that_discovery_did_not_meet_stays_apart_from_one_it_did():
    case = persona_case("case_1", **{"risk_score": 1, "risk-score": 2})
    template = persona_template(risk_score="integer")
    with Stub(persona_environment(persona_pages([case]), template=template)) as stub:
        columns = ["fields.risk-score", "risk_score"]
        row = cs.read_cases(persona(stub), columns=columns).iloc[0]
    assert row.to_dict() == {"fields_risk_score": 2, "risk_score": 1}


def test_a_new_attribute_and_a_new_field_of_one_name_are_two_columns():
    """Nothing is known of either before the page that has both."""
    row = read_all([persona_case("case_1", {"score": "A"}, score=2)]).iloc[0]
    assert (row["score"], row["attribute_score"]) == (2, "A")


def test_an_attribute_that_discovery_met_keeps_its_column_when_a_field_takes_its_name():
    newest = [persona_case("case_0", {"score": "A"})]
    cases = [
        persona_case("case_1", {"score": "B"}),
        persona_case("case_2", {"score": "C"}, score=2),
    ]
    with Stub(persona_environment(persona_pages(cases, 1), newest=newest)) as stub:
        frame = cs.read_cases(persona(stub))
    assert frame["score"].tolist() == ["B", "C"]
    assert frame["fields_score"].tolist()[1] == 2


def test_a_field_first_seen_on_the_last_page_is_a_whole_column():
    """Old cases keep old fields, so that columns differ between rows."""
    cases = [persona_case("case_1"), persona_case("case_2"), persona_case("case_3", late="x")]
    with Stub(persona_environment(persona_pages(cases, 1))) as stub:
        frame = cs.read_cases(persona(stub))
    assert frame["late"].isna().tolist() == [True, True, False]
    assert frame["late"].iloc[-1] == "x"


@pytest.mark.parametrize("first", ["12", 7])
def test_text_in_one_case_and_a_number_in_the_next_is_text(first):
    """Without a schema nothing says which of them is wrong, so none may be lost."""
    second = 7 if first == "12" else "12"
    frame = read_all([persona_case("case_1", key=first), persona_case("case_2", key=second)])
    assert frame["key"].tolist() == [str(first), str(second)]


def test_wrappers_that_disagree_on_one_page_are_text_too():
    wrapped = [{"type": "number", "value": 7}, {"type": "string", "value": "x"}]
    frame = read_all([persona_case(f"case_{at}", key=one) for at, one in enumerate(wrapped)])
    assert frame["key"].tolist() == ["7", "x"]


NUMBER, WORD = {"type": "number", "value": 7}, {"type": "string", "value": "x"}


@pytest.mark.parametrize("cells", [(NUMBER, WORD), (WORD, NUMBER), (NUMBER, "x"), ("x", NUMBER)])
def test_pages_that_disagree_on_an_undiscovered_field_make_it_text(cells):
    """Templates change: old cases hold what the key was then, and none of it is wrong."""
    cases = [persona_case(f"case_{at}", key=cell) for at, cell in enumerate(cells)]
    with Stub(persona_environment(persona_pages(cases, 1))) as stub:
        frame = cs.read_cases(persona(stub))
    assert sorted(frame["key"]) == ["7", "x"]


def test_a_field_that_discovery_met_has_the_type_it_was_met_with():
    """What list_fields shows is what every chunk of a read holds; what does not fit is counted."""
    newest = [persona_case("case_0", key=NUMBER)]
    cases = [persona_case("case_1", key=NUMBER), persona_case("case_2", key=WORD)]
    with Stub(persona_environment(persona_pages(cases, 1), newest=newest)) as stub:
        source = persona(stub)
        assert source.schema.resolve("key").type == "number"
        with pytest.warns(UserWarning, match=r"key \(1\)"):
            frame = cs.read_cases(source)
    assert frame["key"].isna().tolist() == [False, True]


def test_under_a_template_a_value_of_another_type_is_missing_and_named():
    template = persona_template(amount="number", due="datetime", urgent="boolean")
    odd = persona_case("case_1", amount="many", due="soon", urgent="false")
    with Stub(persona_environment(persona_pages([odd]), template=template)) as stub:
        source = persona(stub)
        with pytest.warns(UserWarning, match=r"amount \(1\), due \(1\), urgent \(1\)"):
            row = cs.read_cases(source).iloc[0]
    assert row[["amount", "due", "urgent"]].isna().all()
    assert row["status"] == "open"


def test_whole_numbers_are_whole_to_the_last_digit():
    template = persona_template(count="integer", amount="number")
    case = persona_case("case_1", count=2**53 + 1, amount=2**53 + 1)
    with Stub(persona_environment(persona_pages([case]), template=template)) as stub:
        source = persona(stub)
        with pytest.warns(UserWarning, match=r"rounded\): amount \(1\);"):
            row = cs.read_cases(source).iloc[0]
    assert row["count"] == 2**53 + 1


def test_a_lone_surrogate_costs_one_character():
    case = persona_case("case_1", {"name": "a\ud800b"}, key="whole")
    with pytest.warns(UserWarning, match=r"reference \(1\)"):
        row = read_all([case]).iloc[0]
    assert (row["reference"], row["key"]) == ("a\ufffdb", "whole")


def test_a_case_on_two_pages_is_there_once_in_its_newest_version():
    old = persona_case("case_1", {"status": "old"})
    new = persona_case("case_1", {"status": "new", "updated-at": "2026-03-15T00:00:00.000Z"})
    for first, second in ((old, new), (new, old)):
        page = script(
            lambda sent_request, first=first: ok(
                persona_page([first], persona_next(sent_request, "case_1"))
            ),
            ok(persona_page([second])),
        )
        with Stub(persona_environment(page)) as stub:
            assert cs.read_cases(persona(stub))["status"].tolist() == ["new"]


def test_an_empty_page_with_a_next_link_is_not_the_end():
    def empty(sent_request):
        return ok(persona_page([], persona_next(sent_request, "case_0")))

    with serving(empty, ok(WHOLE)) as stub:
        assert len(cs.read_cases(persona(stub))) == 5


@pytest.mark.parametrize("links", [{"links": {"next": ""}}, {"links": {}}, {"links": None}, {}])
def test_the_end_is_no_next_link_however_it_is_written(links):
    with serving(ok({"data": CASES, **links})) as stub:
        assert len(cs.read_cases(persona(stub))) == 5
    assert len(stub.searches) == 1


@pytest.mark.parametrize("links", [{"links": {}}, {}])
def test_a_full_page_without_links_is_no_end_to_believe_in(links):
    """The links are required; where a proxy lost them, the other pages would be missing unsaid."""
    full = [persona_case(f"case_{number}") for number in range(100)]
    with (
        serving(ok({"data": full, **links})) as stub,
        pytest.raises(cs.InvalidResponseError, match="next link"),
    ):
        cs.read_cases(persona(stub))


# --- broken answers ----------------------------------------------------------------------------

BROKEN = {
    **broken_answers(WHOLE, members="data", word=b"case_0"),
    "a null case": ok({"data": [None], "links": {"next": None}}),
    "a case without an id": ok({"data": [{"type": "case"}], "links": {"next": None}}),
    "a link that is no text": ok({"data": CASES, "links": {"next": 5}}),
    "gzip that is none": ok(WHOLE, Content_Encoding="gzip"),
    "204": (204, {}, b""),
}


@pytest.mark.parametrize("fault", BROKEN)
def test_a_broken_success_that_clears_costs_nothing(fault):
    with serving(BROKEN[fault], ok(WHOLE)) as stub:
        assert cs.read_cases(persona(stub))["amount"].tolist() == [0, 1, 2, 3, 4]
    assert len(stub.searches) == 2


@pytest.mark.parametrize("fault", BROKEN)
def test_a_broken_success_ends_as_an_invalid_response(fault):
    """An empty or short frame in its place would be taken for the truth."""
    with (
        serving(BROKEN[fault]) as stub,
        pytest.raises(cs.InvalidResponseError, match="a proxy in between"),
    ):
        cs.read_cases(persona(stub))
    assert len(stub.searches) == TUNING.max_fault_attempts


def test_gzip_that_was_asked_for_is_unpacked():
    with serving(ok(gzip.compress(WHOLE), Content_Encoding="gzip")) as stub:
        assert len(cs.read_cases(persona(stub))) == 5
    assert "gzip" in stub.searches[0].headers["accept-encoding"]


# --- the fields --------------------------------------------------------------------------------


def test_templates_come_from_the_newest_page_and_from_the_user():
    """Persona lists no templates, so that a field of an unseen one would be unknown."""
    select = {"type": "choices", "key": "tier", "label": "Tier",
              "config": {"options": ["g", "s"], "option-labels": ["Gold", "Silver"]}}  # fmt: skip

    def template(sent_request):
        details = persona_template(sent_request.path.rsplit("/", 1)[1], amount="number")
        details["attributes"]["field-schemas"] += [select, {"type": "quaternion", "key": "spin"}]
        return ok({"data": details})

    environment = persona_environment(persona_pages(CASES), newest=[persona_case("case_0")])
    with Stub(lambda one: template(one) if "templates" in one.path else environment(one)) as stub:
        source = persona(stub, templates=["ctmpl_9"])
        fields = cs.list_fields(source).set_index("column")
        cs.read_cases(source, tier="Gold")
    sent_request = [one.path.rsplit("/", 1)[1] for one in stub.requests if "templates" in one.path]
    assert sorted(sent_request) == ["ctmpl_1", "ctmpl_9"]
    assert fields["type"][["amount", "tier", "spin"]].tolist() == ["number", "select", "any"]
    assert fields["options"]["tier"] == ["g", "s"]
    assert stub.searches[0].json["query"]["value"] == "g"


def test_two_templates_that_differ_on_a_key_leave_it_to_the_cells():
    kinds = {"ctmpl_1": {"a": "string", "b": "number"}, "ctmpl_2": {"a": "number", "b": "integer"}}

    def template(sent_request):
        name = sent_request.path.rsplit("/", 1)[1]
        return ok({"data": persona_template(name, **kinds[name])})

    environment = persona_environment(persona_pages(CASES))
    with Stub(lambda one: template(one) if "templates" in one.path else environment(one)) as stub:
        fields = cs.list_fields(persona(stub, templates=["ctmpl_2"])).set_index("column")
    assert fields["type"][["a", "b"]].tolist() == ["any", "number"]


@pytest.mark.parametrize("status", [403, 404])
def test_a_template_that_cannot_be_read_matters_only_to_who_named_it(status):
    """A key may read cases and no templates; then the cases show the fields."""
    environment = persona_environment(persona_pages(CASES), newest=CASES)

    def reply(sent_request):
        return (
            persona_error(status) if "templates" in sent_request.path else environment(sent_request)
        )

    with Stub(reply) as stub:
        frame = cs.read_cases(persona(stub))
        assert frame["amount"].tolist() == [0, 1, 2, 3, 4]
        assert frame["template"].tolist() == ["ctmpl_1"] * 5
        with pytest.raises((cs.AccessDeniedError, cs.NotFoundError)):
            cs.read_cases(persona(stub, templates="ctmpl_1"))


@pytest.mark.parametrize(
    "broken",
    [
        ok(b"<html>"),
        ok({}),
        ok({"data": []}),
        ok({"data": {"attributes": {}}}),
        ok(b"\xff"),
    ],
    ids=["html", "empty", "list", "no id", "not UTF-8"],
)
def test_a_broken_template_is_a_bad_answer_or_mended(broken):
    environment = persona_environment(persona_pages(CASES))

    def serve(*replies):
        details = script(*replies)
        return Stub(lambda one: details(one) if "templates" in one.path else environment(one))

    with serve(broken) as stub, pytest.raises(cs.InvalidResponseError):
        cs.read_cases(persona(stub))
    with serve(broken, ok({"data": persona_template()})) as stub:
        assert len(cs.read_cases(persona(stub))) == 5


def test_an_environment_without_cases_has_the_documented_columns():
    """Zero rows must have the same columns as a million."""
    environment = persona_environment(persona_pages([]))

    def reply(sent_request):
        return (
            ok(persona_page([]))
            if sent_request.path.endswith("/cases")
            else environment(sent_request)
        )

    with Stub(reply) as stub:
        empty = cs.read_cases(persona(stub))
    full = read_all([persona_case("case_1")])
    assert empty.dtypes.to_dict() == full.dtypes.to_dict()


def test_a_schema_read_before_saves_discovery():
    with Stub(persona_environment(persona_pages(CASES))) as stub:
        schema = persona(stub).schema
        before = len(stub.requests)
        assert len(cs.read_cases(persona(stub, schema=schema))) == 5
        assert len(stub.requests) == before + 1


# --- pace ----------------------------------------------------------------------------------------


def limits(remaining, limit="300", reset="30"):
    return {
        **RATES,
        "RateLimit-Limit": limit,
        "RateLimit-Remaining": remaining,
        "RateLimit-Reset": reset,
    }


@pytest.mark.parametrize(
    ("headers", "waited"),
    [
        (limits("61"), 0),
        (limits("60"), 30),
        (limits("0"), 30),
        (limits("0", reset="1700000000"), 60),
        (limits("none"), 0),
        (limits("0", reset="²"), 0),
        ({"RateLimit-Remaining": "0"}, 0),
    ],
)
def test_a_fifth_of_the_window_is_left_to_others(headers, waited, clock):
    """Production shares the 300 requests; a read that takes them all stops it."""
    page = script(
        lambda sent_request: (
            200,
            headers,
            ok(persona_page(CASES[:2], persona_next(sent_request, "case_1")))[2],
        ),
        ok(
            persona_page(CASES[2:]),
            **{name.replace("-", "_"): text for name, text in RATES.items()},
        ),
    )
    with Stub(persona_environment(page)) as stub:
        assert len(cs.read_cases(persona(stub, rate=None))) == 5
    assert sum(clock.slept) == pytest.approx(waited, abs=0.9)


def test_a_response_is_awaited_no_longer_than_the_timeout(monkeypatch):
    """Twenty seconds of patience are no comfort to who has one."""
    monkeypatch.undo()  # a real clock
    with serving(HANG) as stub:
        source = persona(stub)
        assert source.schema
        start = time.monotonic()
        with pytest.raises(
            cs.ServiceUnavailableError, match=r"timeout=0.3 s is over.*longer timeout="
        ):
            cs.read_cases(source, timeout=0.3)
        assert time.monotonic() - start < 0.9 * TUNING.read_timeout


def test_a_rate_that_the_user_gave_is_kept_whatever_the_headers_say(clock):
    page = (200, limits("0"), WHOLE)
    with serving(page) as stub:
        cs.read_cases(persona(stub, rate=1000.0))
    assert sum(clock.slept) < 1


def test_a_copy_elsewhere_finds_its_token_in_the_environment(monkeypatch):
    """A worker on another machine has a token of its own; ours must not travel in a pickle."""
    with Stub(persona_environment(persona_pages(CASES))) as stub:
        source = persona(stub)
        frame = cs.read_cases(source)
        pickled = pickle.dumps(source)
        monkeypatch.setenv("PERSONA_API_KEY", "another-token")
        copy = pickle.loads(pickled)
        pd.testing.assert_frame_equal(cs.read_cases(copy), frame)
        assert stub.requests[-1].headers["authorization"] == "Bearer another-token"
    assert copy.describe() == source.describe()
    monkeypatch.delenv("PERSONA_API_KEY")
    with pytest.raises(cs.AccessDeniedError, match="PERSONA_API_KEY"):
        pickle.loads(pickled)
