"""The public walk, end to end: real clients, the embedded service, a plain reading of its truth."""

import operator
import pickle
import warnings
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from math import ceil

import numpy as np
import pandas as pd
import pytest

import casesearch_pd as cs
from casesearch_pd.query.schema import Schema, lookups

NOW = datetime(2026, 3, 14, 12, tzinfo=UTC)
COSTLY = pytest.mark.filterwarnings("ignore:.*can answer nothing of this filter:UserWarning")
MANY = 230  # cases; three pages


@dataclass
class Asked:
    """One service, asked by its real client, and the truth that it serves."""

    local: cs.LocalCases
    source: object
    truth: pd.DataFrame
    rows: list

    def read(self, *args, **named):
        """Read without a bar."""
        return cs.read_cases(self.source, *args, progress=False, **named)

    def searches(self):
        """List the search requests so far."""
        return [one for one in self.local.requests if "search" in one.path]


@pytest.fixture(scope="module")
def local():
    with cs.LocalCases(cases=MANY, seed=7, now=NOW) as running:
        yield running


@pytest.fixture(scope="module")
def connect(local):
    return _asked(local, local.connect_cases())


@pytest.fixture(scope="module")
def persona(local):
    return _asked(local, local.persona_cases())


@pytest.fixture(scope="module", params=["connect", "persona"])
def asked(request):
    return request.getfixturevalue(request.param)


def _asked(local, source):
    truth = local.frame(source.name).sort_values(["created_at", "case_id"], ignore_index=True)
    # Of two fields with the label "Status" the custom one bears its id.
    apart = next((f.column for f in source.schema.fields if f.column.startswith("status_")), "")
    truth = truth.rename(columns={"shipment_status": apart})
    rows = truth.astype(object).where(truth.notna(), None).to_dict("records")
    return Asked(local, source, truth, rows)


def ids(frame):
    return frame["case_id"].tolist()


def same(found, truth):
    """Compare two columns cell by cell: missing is missing, numbers by value."""
    return all(_same(a, b) for a, b in zip(found.tolist(), truth.tolist(), strict=True))


def _same(one, other):
    if isinstance(one, (list, dict)) or isinstance(other, (list, dict)):
        return one == other
    return bool(pd.isna(one) and pd.isna(other)) or bool(one == other)


# --- everything --------------------------------------------------------------------------------


def test_every_cell_comes_home(asked):
    """The whole domain, all columns, in the order of creation."""
    frame = asked.read()
    assert ids(frame) == ids(asked.truth)
    shared = [name for name in frame if name in asked.truth and name not in SHOWN_OTHERWISE]
    assert len(shared) >= 30
    assert [name for name in shared if not same(frame[name], asked.truth[name])] == []


# Attachments come without their address; Connect's custom texts of several lines as they are.
SHOWN_OTHERWISE = {"attachments", "template"}


def test_the_columns_are_the_active_fields_in_their_order(asked):
    assert list(asked.read().columns) == [item.column for item in asked.source.schema.active]


def test_types_follow_the_schema(asked):
    dtypes = asked.read().dtypes.astype(str)
    kinds = {item.column: item.type for item in asked.source.schema.active}
    named = {"number": "Float64", "integer": "Int64", "boolean": "boolean",
             "datetime": "datetime64[us, UTC]", "list": "object", "tags": "object",
             "json": "object"}  # fmt: skip
    assert {name: dtypes[name] for name in kinds} == {
        name: named.get(kind, "str") for name, kind in kinds.items()
    }


# --- filters -----------------------------------------------------------------------------------

COMPARE = {"eq": "eq", "lt": "lt", "lte": "le", "gt": "gt", "gte": "ge"}


def meets(held, op, value):
    """Read one comparison in plain Python: two-valued, missing meets nothing."""
    match op:
        case "ne":
            return not meets(held, "eq", value)
        case "in":
            return any(meets(held, "eq", item) for item in value)
        case "isna":
            return (held is None) == value
        case "between":
            return meets(held, "gte", value[0]) and meets(held, "lte", value[1])
        case "eq" if value is None:
            return held is None
        case _ if held is None:
            return False
        case "contains":
            return value in held if isinstance(held, list) else value.casefold() in held.casefold()
        case _:
            return bool(getattr(operator, COMPARE[op])(held, value))


SYSTEM = ["status", "queue", "assignee", "reference", "created_at", "updated_at", "closed_at",
          "sla_at"]  # fmt: skip
CUSTOM = ["priority", "contact_channel", "title", "order_number", "refund_amount_eur", "weight_kg",
          "csat_1_5", "contacts", "vip_customer", "field_2nd_line", "callback_due", "order_link",
          "account_owner", "class", "risk_score", "tags"]  # fmt: skip
ONLY = {
    "connect": ["城市", "língua", "case_reason", "created_by"],
    "persona": ["city", "language", "fields_status", "resolution", "risk_tags", "birthdate"],
}


@COSTLY
@pytest.mark.parametrize("service", ["connect", "persona"])
@pytest.mark.parametrize("part", ["system", "custom", "only"])
def test_every_lookup_of_every_type_keeps_the_right_cases(service, part, request):
    """System and custom fields of every type, against a plain loop over the truth."""
    asked = request.getfixturevalue(service)
    columns = {"system": SYSTEM, "custom": CUSTOM, "only": ONLY[service]}[part]
    wrong = {}
    for column in columns:
        field = asked.source.schema.resolve(column)
        cells = [row[column] for row in asked.rows]
        for op, value in _questions(field, cells):
            found = asked.read({f"{column}__{op}": value}, columns=["case_id"])
            kept = [
                row["case_id"] for row in asked.rows if meets(row[column], op, value)
            ]  # fmt: skip
            if ids(found) != kept:
                wrong[f"{column}__{op}={value!r}"] = set(ids(found)) ^ set(kept)
    assert wrong == {}


def _questions(field, cells):
    """Ask for values that are there: each lookup has to find some cases and to miss some."""
    if field.type in {"list", "tags"}:
        members = sorted({member for cell in cells for member in cell or ()})
        return [("contains", members[0]), ("isna", True)]
    values = sorted({cell for cell in cells if cell is not None})
    low, middle, high = values[0], values[len(values) // 2], values[-1]
    asked = {
        "eq": [middle, None],
        "ne": [middle, None],
        "in": [[low, high], [middle, None], {low, middle}],
        "isna": [True, False],
        "between": [(low, middle)],
        "contains": [str(middle)[1:-1] or middle],
    }
    return [
        (op, value)
        for op in lookups(field.type)
        for value in asked.get(op, [middle])
        if op != "contains" or isinstance(middle, str)
    ]


@COSTLY
def test_filters_are_joined_by_and(asked):
    found = asked.read({"priority": "high"}, status=["open", "pending"], created_at__lt="2026-03")
    kept = [
        row["case_id"]
        for row in asked.rows
        if row["priority"] == "high"
        and row["status"] in {"open", "pending"}
        and row["created_at"] < pd.Timestamp("2026-03-01", tz="UTC")
    ]
    assert ids(found) == kept


def test_select_values_may_be_given_as_labels(connect):
    by_label = connect.read(status="In progress", columns=["case_id"])
    assert ids(by_label) == ids(connect.read(status="in_progress", columns=["case_id"]))
    assert len(by_label) > 0


def test_periods_are_those_of_the_zone(asked):
    """The first of March in Berlin begins an hour before that of London."""
    found = asked.read(created_at="2026-03", columns=["case_id", "created_at"], tz="Europe/Berlin")
    start = pd.Timestamp("2026-03-01", tz="Europe/Berlin")
    assert ids(found) == ids(asked.truth[asked.truth["created_at"] >= start])
    assert str(found["created_at"].dtype) == "datetime64[us, Europe/Berlin]"


def test_relative_times_count_from_now(asked):
    week = asked.read(created_at__gte=-timedelta(days=7), columns=["case_id"])
    assert len(week) == (asked.truth["created_at"] >= pd.Timestamp.now("UTC") - timedelta(7)).sum()


def test_tags_on_connect_are_pairs(connect):
    tag = next(tag for tags in connect.truth["tags"] for tag in tags)
    key, _, value = tag.partition("=")
    kept = [row["case_id"] for row in connect.rows if tag in row["tags"]]
    assert ids(connect.read(tags={key: value}, columns=["case_id"])) == kept
    assert ids(connect.read(tags=[tag], columns=["case_id"])) == kept
    assert 0 < len(kept) < MANY


@COSTLY
def test_tags_on_persona_are_words_and_all_of_them_are_meant(persona):
    two = next(tags for tags in persona.truth["tags"] if len(tags) >= 2)[:2]
    kept = [row["case_id"] for row in persona.rows if {*two} <= {*row["tags"]}]
    assert ids(persona.read(tags=two, columns=["case_id"])) == kept
    assert 0 < len(kept) < MANY


def test_search_finds_words_on_connect(connect):
    found = connect.read(search="Berlin", columns=["case_id", "title"])
    texts = connect.truth.select_dtypes("str").fillna("").agg(" ".join, axis=1).str.lower()
    assert set(ids(found)) == set(ids(connect.truth[texts.str.contains("berlin")]))
    assert 0 < len(found) < MANY


# --- columns -----------------------------------------------------------------------------------


def test_columns_come_as_they_are_asked(asked):
    frame = asked.read(columns=["updated_at", "case_id", "priority", "updated_at"], limit=3)
    assert list(frame.columns) == ["updated_at", "case_id", "priority"]
    assert list(asked.read(columns="status", limit=3).columns) == ["status"]


def test_a_frame_need_not_show_its_ids(asked):
    frame = asked.read(columns=["status"])
    assert frame["status"].tolist() == asked.truth["status"].tolist()


def test_ids_and_aliases_of_the_services_are_names_too(connect, persona):
    custom = connect.source.schema.resolve("priority").id
    frame = connect.read(columns=["created_datetime", "assigned_queue", custom], limit=2)
    assert list(frame.columns) == ["created_at", "queue", "priority"]
    frame = persona.read(
        columns=["id", "sla-expires-at", "resolved_at", "fields.priority"], limit=2
    )
    assert list(frame.columns) == ["case_id", "sla_at", "closed_at", "priority"]


def test_a_column_that_is_only_filtered_by_is_not_shown(asked):
    frame = asked.read(status="open", columns=["title"])
    assert list(frame.columns) == ["title"]
    assert len(frame) == (asked.truth["status"] == "open").sum()


def test_more_fields_than_a_request_holds_are_read_in_passes(connect):
    """A request names 25 fields at most (Connect's service model); the passes are joined."""
    before = len(connect.searches())
    frame = connect.read()
    sent = connect.searches()[before:]
    assert len(frame.columns) > 25
    assert max(len(one.body["fields"]) for one in sent) <= 25
    # Two passes, and one look at what was updated meanwhile.
    assert len(sent) == ceil(MANY / 100) * 2 + 1 == frame.cases.provenance["requests"]
    assert frame.cases.provenance["passes"] == 2


@pytest.mark.parametrize("size", [1, 25, 99, 100])
def test_the_size_of_a_page_changes_no_row(connect, size):
    source = connect.local.connect_cases(page_size=size, schema=connect.source.schema)
    before = len(connect.searches())
    found = cs.read_cases(source, created_at__gte="2026-03", columns=["case_id", "queue"])
    expected = connect.read(created_at__gte="2026-03", columns=["case_id", "queue"])
    pd.testing.assert_frame_equal(found, expected)
    sent = len(connect.searches()) - before - ceil(len(found) / 100)
    assert sent == max(1, ceil(len(found) / size))


def test_the_number_of_requests_is_the_number_of_pages(asked):
    before = len(asked.searches())
    frame = asked.read(columns=["case_id", "status"])
    assert len(asked.searches()) - before == ceil(MANY / 100)
    assert frame.cases.provenance["requests"] == ceil(MANY / 100)


def test_an_unknown_field_of_an_open_schema_is_read_by_its_key(persona):
    """Persona does not tell all its fields; one that was named must come home filled."""
    known = persona.source.schema
    bare = Schema(tuple(f for f in known.fields if f.namespace == "system"), open=True)
    source = persona.local.persona_cases(schema=bare)
    frame = cs.read_cases(source, columns=["case_id", "fields.contacts", "fields.status"])
    assert list(frame.columns) == ["case_id", "contacts", "fields_status"]
    assert same(frame["contacts"], persona.truth["contacts"])
    assert same(frame["fields_status"], persona.truth["fields_status"])
    some = cs.read_cases(source, {"fields.contacts__gte": 3}, columns=["case_id"])
    assert ids(some) == [r["case_id"] for r in persona.rows if meets(r["contacts"], "gte", 3)]


# --- order and limit ---------------------------------------------------------------------------

SORTS = [
    None,
    "created_at",
    "-created_at",
    "closed_at",
    "-closed_at",
    "-updated_at",
    "refund_amount_eur",
    "-vip_customer",
    "title",
    "case_id",
    ["status", "-created_at"],
    ["-priority", "refund_amount_eur"],
    ["queue", "-status", "-case_id"],
]


def in_order(rows, sort):
    """Sort in plain Python: missing last in both directions, ties by case_id."""
    keys = [sort] if isinstance(sort, str) else list(sort or ["created_at"])
    for key in reversed([*keys, "case_id"] if "-case_id" not in keys else keys):
        name = key.removeprefix("-")
        known = [row for row in rows if row[name] is not None]
        known.sort(key=operator.itemgetter(name))
        if key.startswith("-"):
            known = _backwards(known, name)
        rows = known + [row for row in rows if row[name] is None]
    return [row["case_id"] for row in rows]


def _backwards(known, name):
    values = sorted({row[name] for row in known}, reverse=True)
    return [row for value in values for row in known if row[name] == value]


@pytest.mark.parametrize("sort", SORTS, ids=str)
def test_rows_come_in_the_order_asked(asked, sort):
    """Missing last, ties by case_id, whether the service can sort so or not."""
    assert ids(asked.read(sort=sort, columns=["case_id"])) == in_order(asked.rows, sort)


@pytest.mark.parametrize("limit", [0, 1, 7, 100, 101, MANY, MANY + 5])
@pytest.mark.parametrize("sort", SORTS, ids=str)
def test_a_limit_is_the_head_of_the_order(asked, sort, limit):
    """The first rows of another order would be other cases, and nobody would see it."""
    found = asked.read(sort=sort, limit=limit, columns=["case_id"])
    assert ids(found) == in_order(asked.rows, sort)[:limit]


def test_a_limit_holds_after_what_is_checked_here(asked):
    kept = [row["case_id"] for row in asked.rows if meets(row["title"], "contains", "app")]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = asked.read(title__contains="app", queue__isna=False, limit=2, columns=["case_id"])
    assert (
        ids(found)
        == [row["case_id"] for row in asked.rows if row["case_id"] in kept and row["queue"]][:2]
    )


def test_a_small_limit_asks_for_few_pages(asked):
    """The newest ten of a million cases must not cost ten thousand requests."""
    before = len(asked.searches())
    assert len(asked.read(sort="-created_at", limit=10, columns=["case_id"])) == 10
    assert len(asked.searches()) - before == 1


# --- looks -------------------------------------------------------------------------------------


@pytest.mark.parametrize("backend", ["numpy_nullable", "pyarrow"])
def test_backends_differ_in_dtypes_only(asked, backend):
    frame, other = asked.read(), asked.read(dtype_backend=backend)
    assert not frame.dtypes.equals(other.dtypes)
    assert [name for name in frame if not same(frame[name], other[name])] == []


def test_zones_differ_in_the_clock_only(asked):
    utc, there = asked.read(), asked.read(tz="Asia/Tokyo")
    assert (utc["created_at"] == there["created_at"]).all()
    assert str(there["created_at"].dt.tz) == "Asia/Tokyo"


@pytest.mark.parametrize(
    "nothing", [{"status": []}, {"case_id__in": ()}, {"limit": 0}, {"status": set(), "limit": 3}]
)
@pytest.mark.parametrize("backend", [None, "pyarrow"])
def test_what_no_case_can_match_is_not_asked(asked, nothing, backend):
    """An empty any-of is no rows and no request, in the dtypes of all rows."""
    full = asked.read(dtype_backend=backend)
    before = len(asked.local.requests)
    frame = asked.read(**nothing, dtype_backend=backend)
    assert len(asked.local.requests) == before
    assert len(frame) == 0
    pd.testing.assert_series_equal(frame.dtypes, full.dtypes)
    assert frame.cases.provenance["complete"] is True


def test_nothing_found_has_the_dtypes_of_everything(asked):
    frame = asked.read(created_at__gt="9999-12-31")
    assert len(frame) == 0
    pd.testing.assert_series_equal(frame.dtypes, asked.read().dtypes)


def test_frames_travel(asked, tmp_path):
    """Cells and provenance survive files; hashes have no place in Parquet."""
    frame = asked.read(columns=["case_id", "status", "created_at", "vip_customer", "tags"])
    frame.to_parquet(tmp_path / "cases.parquet")
    back = pd.read_parquet(tmp_path / "cases.parquet")
    for other in (back, pickle.loads(pickle.dumps(frame))):
        assert other.cases.provenance == frame.cases.provenance
        assert other.drop(columns="tags").equals(frame.drop(columns="tags"))
    assert [list(tags) for tags in back["tags"]] == frame["tags"].tolist()


# --- counting and listing ----------------------------------------------------------------------


@COSTLY
@pytest.mark.parametrize(
    "filters",
    [{}, {"status": "open"}, {"status__ne": "closed"}, {"priority": ["high", None]},
     {"created_at__gte": "2026-03"}, {"title__contains": "app"}, {"status": []},
     {"title": "no such title"}],
)  # fmt: skip
def test_the_count_is_the_number_of_rows(asked, filters):
    assert cs.count_cases(asked.source, **filters) == len(asked.read(**filters))


def test_counting_on_connect_costs_one_request(connect):
    before = len(connect.local.requests)
    cs.count_cases(connect.source, status="open", created_at__gte="2026-03")
    (sent,) = connect.local.requests[before:]
    assert sent.body["maxResults"] == 1


def test_fields_are_listed_with_what_can_be_asked_of_them(asked):
    listed = cs.list_fields(asked.source).set_index("column")
    assert list(cs.list_fields(asked.source).columns) == [
        "column", "id", "label", "type", "namespace", "operators", "options",
    ]  # fmt: skip
    assert listed.loc["priority", "options"] == ["low", "normal", "high", "urgent"]
    assert listed.loc["created_at", "operators"] == list(lookups("datetime"))
    assert listed.loc["priority", "namespace"] == "custom"
    assert listed.index.is_unique


def test_discovery_is_asked_once_a_source(local):
    for source in (local.connect_cases(), local.persona_cases()):
        cs.list_fields(source)
        before = len(local.requests)
        cs.list_fields(source)
        cs.read_cases(source, limit=1, columns=["case_id"])
        assert len(local.requests) == before + 1


# --- refusals ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("question", "said"),
    [
        ({"statsu": "open"}, "unknown field 'statsu'; did you mean 'status'"),
        ({"status__like": "o"}, "unknown lookup '__like'"),
        ({"created_at__contains": "2026"}, "__contains does not fit"),
        ({"created_at": "yesterday"}, "a time such as"),
        ({"vip_customer": "yes"}, "True or False"),
        ({"refund_amount_eur__gt": "much"}, "a number such as"),
        ({"refund_amount_eur__between": (3, 1)}, "reversed"),
        ({"where": "status = open"}, "is no filter"),
        ({"where": {"statsu": "open"}}, "did you mean 'status'"),
        ({"columns": ["statsu"]}, "did you mean 'status'"),
        ({"columns": []}, "asks for nothing"),
        ({"columns": [3]}, "takes a name or a list of names"),
        ({"sort": "-statsu"}, "did you mean 'status'"),
        ({"sort": "tags"}, "no order to sort by"),
        ({"limit": -1}, "no number of rows"),
        ({"limit": 2.5}, "no number of rows"),
        ({"limit": True}, "no number of rows"),
        ({"tz": "Berlin"}, "is no time zone"),
        ({"on_error": "ignore"}, "neither 'raise' nor 'partial'"),
        ({"timeout": 0}, "over before it begins"),
        ({"dtype_backend": "polars"}, "none of None, 'numpy_nullable', 'pyarrow'"),
    ],
)
def test_what_cannot_be_asked_is_refused_before_any_search(asked, question, said):
    """A wrong question costs no request of a quota that production shares."""
    cs.list_fields(asked.source)
    before = len(asked.local.requests)
    with pytest.raises(cs.FilterError, match=said):
        asked.read(**question)
    assert len(asked.local.requests) == before


def test_what_one_service_cannot_be_asked_is_refused(connect, persona):
    before = len(connect.local.requests)
    with pytest.raises(cs.FilterError, match="full-text search"):
        persona.read(search="Berlin")
    with pytest.raises(cs.FilterError, match="1 to 255"):
        connect.read(search="")
    with pytest.raises(cs.FilterError, match=r"no profile ARN.*arn:aws:profile"):
        connect.read(customer_id="ann@example.com")
    with pytest.raises(cs.FilterError, match="never shown"):
        persona.read(columns=["state"])
    with pytest.raises(cs.FilterError, match="tags are plain text here"):
        persona.read(tags={"team": "red"})
    with pytest.raises(cs.FilterError, match="tags have a key and a value"):
        connect.read(tags=["urgent"])
    assert len(connect.local.requests) == before


def test_an_unknown_option_warns_and_finds_nothing(connect):
    with pytest.warns(UserWarning, match="'opne' is not an option of 'status'; the nearest is"):
        assert len(connect.read(status="opne")) == 0


# --- how it goes -------------------------------------------------------------------------------


def test_progress_is_shown_where_it_is_wanted(asked, capsys):
    cs.read_cases(asked.source, columns=["case_id"], progress=True)
    assert f"reading {asked.source.name}" in capsys.readouterr().err
    cs.read_cases(asked.source, columns=["case_id"], progress=False)
    cs.read_cases(asked.source, columns=["case_id"])  # nobody sees a captured stream
    assert capsys.readouterr() == ("", "")


def test_progress_knows_the_total_where_the_service_counts(connect, capsys):
    cs.read_cases(connect.source, columns=["case_id"], progress=True)
    assert f"{MANY}/{MANY}" in capsys.readouterr().err


def test_a_deadline_ends_a_read_with_what_there_is(connect):
    """A rate that lets one page pass in a minute; the deadline is half a second."""
    slow = connect.local.connect_cases(rate=1 / 60, burst=1, schema=connect.source.schema)
    with pytest.raises(cs.IncompleteReadError, match="timeout") as broken:
        cs.read_cases(slow, columns=["case_id"], timeout=0.5)
    assert ids(broken.value.partial) == ids(connect.truth)[:100]
    assert broken.value.missing
    assert isinstance(broken.value.__cause__, cs.ThrottledError)


def test_a_read_within_its_deadline_is_whole(asked):
    assert len(asked.read(columns=["case_id"], timeout=30)) == MANY


def test_reads_are_repeatable(asked):
    """The same question, the same frame: what changes between two reads changed on the service."""
    pd.testing.assert_frame_equal(asked.read(status="open"), asked.read(status="open"))


# --- a frame of your own -----------------------------------------------------------------------


@pytest.fixture(scope="module")
def own():
    """Serve a frame with what trips: other scripts, quotes, odd labels, missing values."""
    size = 120
    rng = np.random.default_rng(5)
    frame = pd.DataFrame(
        {
            "case_id": [f"case_{number:04d}" for number in range(size)],
            "title": rng.choice(["Straße", "日本", 'it\'s "q"', " 50%_ "], size),
            "status": rng.choice(["open", "closed", "on hold"], size),
            "created_at": pd.Timestamp("2026-01-01", tz="UTC")
            + pd.to_timedelta(rng.integers(0, 50, size), unit="h"),
            "Weight [kg]": rng.normal(size=size).round(3),
            "count": pd.array(rng.integers(0, 5, size), dtype="Int64"),
            "flag": pd.array(rng.choice([True, False], size), dtype="boolean"),
            "due": pd.Timestamp("2026-02-01", tz="UTC") + pd.to_timedelta(range(size), unit="D"),
        }
    )
    frame.loc[::7, ["title", "count", "flag", "due", "Weight [kg]"]] = None
    with cs.LocalCases(frame, now=NOW) as running:
        yield running, frame


@pytest.mark.parametrize("service", ["connect", "persona"])
def test_a_frame_of_your_own_comes_back(own, service):
    running, frame = own
    source = getattr(running, f"{service}_cases")()
    back = cs.read_cases(source, sort="case_id")
    for name in frame:
        column = source.schema.resolve(_as_typed(source, name)).column
        assert same(back[column], frame[name]), name


def _as_typed(source, name):
    return name if source.schema.find(name) else "weight_kg"


@COSTLY
@pytest.mark.parametrize("service", ["connect", "persona"])
@pytest.mark.parametrize(
    ("name", "op", "value"),
    [("title", "eq", "Straße"), ("title", "eq", "strasse"), ("title", "eq", " 50%_ "),
     ("title", "contains", '"Q"'), ("weight_kg", "between", (-0.5, 0.5)), ("count", "in", [0, 4]),
     ("flag", "ne", True), ("due", "lte", "2026-03"), ("status", "eq", "on hold"),
     ("created_at", "eq", "2026-01-02")],
)  # fmt: skip
def test_a_frame_of_your_own_can_be_asked(own, service, name, op, value):
    running, frame = own
    source = getattr(running, f"{service}_cases")()
    found = cs.read_cases(source, {f"{name}__{op}": value}, columns=["case_id"], sort="case_id")
    held = frame["Weight [kg]" if name == "weight_kg" else name]
    held = held.astype(object).where(held.notna(), None)
    kept = [_in_period(cell, op, value) for cell in held]
    assert ids(found) == frame["case_id"][kept].tolist()
    assert any(kept) or value == "strasse"


def _in_period(cell, op, value):
    if isinstance(value, str) and value.startswith("2026"):
        start, end = pd.Period(value).start_time, (pd.Period(value) + 1).start_time
        cell = cell if cell is None else cell.tz_convert(None)
        return cell is not None and cell < end and (op == "lte" or cell >= start)
    return meets(cell, op, value)
