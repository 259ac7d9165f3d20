"""`read_cases` end to end: the real clients and the emulator, compared with its own cases."""

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
from casesearch_pd.query.schema import Schema, lookups_for

NOW = datetime(2026, 3, 14, 12, tzinfo=UTC)
COSTLY = pytest.mark.filterwarnings("ignore:.*cannot evaluate this filter:UserWarning")
CASES = 230  # cases; three pages


@dataclass
class Target:
    """A source, and the cases that its emulator serves."""

    local: cs.LocalCases
    source: object
    truth: pd.DataFrame
    rows: list

    def read(self, *args, **named):
        """Read without a progress bar."""
        return cs.read_cases(self.source, *args, progress=False, **named)

    def searches(self):
        """Return the search requests so far."""
        return [one for one in self.local.requests if "search" in one.path]


@pytest.fixture(scope="module")
def local():
    with cs.LocalCases(cases=CASES, seed=7, now=NOW) as emulator:
        yield emulator


@pytest.fixture(scope="module")
def connect(local):
    return _open_target(local, local.connect_cases())


@pytest.fixture(scope="module")
def persona(local):
    return _open_target(local, local.persona_cases())


@pytest.fixture(scope="module", params=["connect", "persona"])
def target(request):
    return request.getfixturevalue(request.param)


def _open_target(local, source):
    truth = local.frame(source.name).sort_values(["created_at", "case_id"], ignore_index=True)
    # Of two fields with the label "Status" the custom one has its id in its name.
    custom = next((f.column for f in source.schema.fields if f.column.startswith("status_")), "")
    truth = truth.rename(columns={"shipment_status": custom})
    rows = truth.astype(object).where(truth.notna(), None).to_dict("records")
    return Target(local, source, truth, rows)


def ids(frame):
    return frame["case_id"].tolist()


def equal_cells(result, truth):
    """Return whether two columns are equal: missing equals missing, numbers by value."""
    return all(_equal(a, b) for a, b in zip(result.tolist(), truth.tolist(), strict=True))


def _equal(one, other):
    if isinstance(one, (list, dict)) or isinstance(other, (list, dict)):
        return one == other
    return bool(pd.isna(one) and pd.isna(other)) or bool(one == other)


# --- everything -----------------------------------------------------------------------------------


def test_every_cell_is_read(target):
    """All cases, all columns, in the order of creation."""
    frame = target.read()
    assert ids(frame) == ids(target.truth)
    shared = [name for name in frame if name in target.truth and name not in DIFFERENT]
    assert len(shared) >= 30
    assert [name for name in shared if not equal_cells(frame[name], target.truth[name])] == []


# Attachments are returned without their address; Connect's template by its name.
DIFFERENT = {"attachments", "template"}


def test_the_columns_are_the_active_fields_in_their_order(target):
    assert list(target.read().columns) == [item.column for item in target.source.schema.active]


def test_types_follow_the_schema(target):
    dtypes = target.read().dtypes.astype(str)
    kinds = {item.column: item.type for item in target.source.schema.active}
    named = {"number": "Float64", "integer": "Int64", "boolean": "boolean",
             "datetime": "datetime64[us, UTC]", "list": "object", "tags": "object",
             "json": "object"}  # fmt: skip
    assert {name: dtypes[name] for name in kinds} == {
        name: named.get(kind, "str") for name, kind in kinds.items()
    }


# --- filters --------------------------------------------------------------------------------------

COMPARE = {"eq": "eq", "lt": "lt", "lte": "le", "gt": "gt", "gte": "ge"}


def matches(cell, op, value):
    """Evaluate one comparison in plain Python: two-valued, missing matches nothing."""
    match op:
        case "ne":
            return not matches(cell, "eq", value)
        case "in":
            return any(matches(cell, "eq", item) for item in value)
        case "isna":
            return (cell is None) == value
        case "between":
            return matches(cell, "gte", value[0]) and matches(cell, "lte", value[1])
        case "eq" if value is None:
            return cell is None
        case _ if cell is None:
            return False
        case "contains":
            return value in cell if isinstance(cell, list) else value.casefold() in cell.casefold()
        case _:
            return bool(getattr(operator, COMPARE[op])(cell, value))


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
    """System and custom fields of every type, compared with a loop over the cases."""
    target = request.getfixturevalue(service)
    columns = {"system": SYSTEM, "custom": CUSTOM, "only": ONLY[service]}[part]
    wrong = {}
    for column in columns:
        field = target.source.schema.resolve(column)
        cells = [row[column] for row in target.rows]
        for op, value in _lookups(field, cells):
            result = target.read({f"{column}__{op}": value}, columns=["case_id"])
            expected = [
                row["case_id"] for row in target.rows if matches(row[column], op, value)
            ]  # fmt: skip
            if ids(result) != expected:
                wrong[f"{column}__{op}={value!r}"] = set(ids(result)) ^ set(expected)
    assert wrong == {}


def _lookups(field, cells):
    """Return each lookup with values that some cases have and others have not."""
    if field.type in {"list", "tags"}:
        members = sorted({member for cell in cells for member in cell or ()})
        return [("contains", members[0]), ("isna", True)]
    values = sorted({cell for cell in cells if cell is not None})
    low, middle, high = values[0], values[len(values) // 2], values[-1]
    values_of = {
        "eq": [middle, None],
        "ne": [middle, None],
        "in": [[low, high], [middle, None], {low, middle}],
        "isna": [True, False],
        "between": [(low, middle)],
        "contains": [str(middle)[1:-1] or middle],
    }
    return [
        (op, value)
        for op in lookups_for(field.type)
        for value in values_of.get(op, [middle])
        if op != "contains" or isinstance(middle, str)
    ]


@COSTLY
def test_filters_are_combined_by_and(target):
    result = target.read({"priority": "high"}, status=["open", "pending"], created_at__lt="2026-03")
    expected = [
        row["case_id"]
        for row in target.rows
        if row["priority"] == "high"
        and row["status"] in {"open", "pending"}
        and row["created_at"] < pd.Timestamp("2026-03-01", tz="UTC")
    ]
    assert ids(result) == expected


def test_select_values_may_be_given_as_labels(connect):
    by_label = connect.read(status="In progress", columns=["case_id"])
    assert ids(by_label) == ids(connect.read(status="in_progress", columns=["case_id"]))
    assert len(by_label) > 0


def test_periods_are_in_the_time_zone(target):
    """March begins in Berlin an hour before it does in London."""
    result = target.read(
        created_at="2026-03", columns=["case_id", "created_at"], tz="Europe/Berlin"
    )
    start = pd.Timestamp("2026-03-01", tz="Europe/Berlin")
    assert ids(result) == ids(target.truth[target.truth["created_at"] >= start])
    assert str(result["created_at"].dtype) == "datetime64[us, Europe/Berlin]"


def test_relative_times_count_from_now(target):
    week = target.read(created_at__gte=-timedelta(days=7), columns=["case_id"])
    assert len(week) == (target.truth["created_at"] >= pd.Timestamp.now("UTC") - timedelta(7)).sum()


def test_tags_on_connect_are_key_and_value(connect):
    tag = next(tag for tags in connect.truth["tags"] for tag in tags)
    key, _, value = tag.partition("=")
    expected = [row["case_id"] for row in connect.rows if tag in row["tags"]]
    assert ids(connect.read(tags={key: value}, columns=["case_id"])) == expected
    assert ids(connect.read(tags=[tag], columns=["case_id"])) == expected
    assert 0 < len(expected) < CASES


@COSTLY
def test_all_given_tags_are_required_on_persona(persona):
    two = next(tags for tags in persona.truth["tags"] if len(tags) >= 2)[:2]
    expected = [row["case_id"] for row in persona.rows if {*two} <= {*row["tags"]}]
    assert ids(persona.read(tags=two, columns=["case_id"])) == expected
    assert 0 < len(expected) < CASES


def test_search_finds_words_on_connect(connect):
    result = connect.read(search="Berlin", columns=["case_id", "title"])
    texts = connect.truth.select_dtypes("str").fillna("").agg(" ".join, axis=1).str.lower()
    assert set(ids(result)) == set(ids(connect.truth[texts.str.contains("berlin")]))
    assert 0 < len(result) < CASES


# --- columns --------------------------------------------------------------------------------------


def test_columns_come_in_the_requested_order(target):
    frame = target.read(columns=["updated_at", "case_id", "priority", "updated_at"], limit=3)
    assert list(frame.columns) == ["updated_at", "case_id", "priority"]
    assert list(target.read(columns="status", limit=3).columns) == ["status"]


def test_a_frame_need_not_contain_ids(target):
    frame = target.read(columns=["status"])
    assert frame["status"].tolist() == target.truth["status"].tolist()


def test_ids_and_aliases_of_the_services_are_accepted_as_names(connect, persona):
    custom = connect.source.schema.resolve("priority").id
    frame = connect.read(columns=["created_datetime", "assigned_queue", custom], limit=2)
    assert list(frame.columns) == ["created_at", "queue", "priority"]
    frame = persona.read(
        columns=["id", "sla-expires-at", "resolved_at", "fields.priority"], limit=2
    )
    assert list(frame.columns) == ["case_id", "sla_at", "closed_at", "priority"]


def test_a_column_that_is_only_filtered_by_is_not_returned(target):
    frame = target.read(status="open", columns=["title"])
    assert list(frame.columns) == ["title"]
    assert len(frame) == (target.truth["status"] == "open").sum()


def test_more_fields_than_fit_in_a_request_are_read_in_passes(connect):
    """A request has at most 25 fields (Connect's service model); the passes are joined."""
    before = len(connect.searches())
    frame = connect.read()
    requests = connect.searches()[before:]
    assert len(frame.columns) > 25
    assert max(len(one.body["fields"]) for one in requests) <= 25
    # Two passes, and one request for what was updated during the read.
    assert len(requests) == ceil(CASES / 100) * 2 + 1 == frame.cases.provenance["requests"]
    assert frame.cases.provenance["passes"] == 2


@pytest.mark.parametrize("size", [1, 25, 99, 100])
def test_the_size_of_a_page_changes_no_row(connect, size):
    source = connect.local.connect_cases(page_size=size, schema=connect.source.schema)
    before = len(connect.searches())
    result = cs.read_cases(source, created_at__gte="2026-03", columns=["case_id", "queue"])
    expected = connect.read(created_at__gte="2026-03", columns=["case_id", "queue"])
    pd.testing.assert_frame_equal(result, expected)
    requests = len(connect.searches()) - before - ceil(len(result) / 100)
    assert requests == max(1, ceil(len(result) / size))


def test_the_number_of_requests_is_the_number_of_pages(target):
    before = len(target.searches())
    frame = target.read(columns=["case_id", "status"])
    assert len(target.searches()) - before == ceil(CASES / 100)
    assert frame.cases.provenance["requests"] == ceil(CASES / 100)


def test_an_unknown_field_of_an_open_schema_is_read_by_its_key(persona):
    """Persona does not list all its fields; a requested one must have its values."""
    known = persona.source.schema
    bare = Schema(tuple(f for f in known.fields if f.namespace == "system"), open=True)
    source = persona.local.persona_cases(schema=bare)
    frame = cs.read_cases(source, columns=["case_id", "fields.contacts", "fields.status"])
    assert list(frame.columns) == ["case_id", "contacts", "fields_status"]
    assert equal_cells(frame["contacts"], persona.truth["contacts"])
    assert equal_cells(frame["fields_status"], persona.truth["fields_status"])
    some = cs.read_cases(source, {"fields.contacts__gte": 3}, columns=["case_id"])
    assert ids(some) == [r["case_id"] for r in persona.rows if matches(r["contacts"], "gte", 3)]


# --- order and limit ------------------------------------------------------------------------------

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


def sorted_ids(rows, sort):
    """Sort in plain Python: missing last in both directions, ties by case_id."""
    keys = [sort] if isinstance(sort, str) else list(sort or ["created_at"])
    for key in reversed([*keys, "case_id"] if "-case_id" not in keys else keys):
        name = key.removeprefix("-")
        known = [row for row in rows if row[name] is not None]
        known.sort(key=operator.itemgetter(name))
        if key.startswith("-"):
            known = _descending(known, name)
        rows = known + [row for row in rows if row[name] is None]
    return [row["case_id"] for row in rows]


def _descending(known, name):
    values = sorted({row[name] for row in known}, reverse=True)
    return [row for value in values for row in known if row[name] == value]


@pytest.mark.parametrize("sort", SORTS, ids=str)
def test_rows_come_in_the_requested_order(target, sort):
    """Missing last, ties by case_id, whether the service can sort so or not."""
    assert ids(target.read(sort=sort, columns=["case_id"])) == sorted_ids(target.rows, sort)


@pytest.mark.parametrize("limit", [0, 1, 7, 100, 101, CASES, CASES + 5])
@pytest.mark.parametrize("sort", SORTS, ids=str)
def test_a_limit_takes_the_first_rows_of_the_order(target, sort, limit):
    """The first rows of another order would silently be other cases."""
    result = target.read(sort=sort, limit=limit, columns=["case_id"])
    assert ids(result) == sorted_ids(target.rows, sort)[:limit]


def test_a_limit_applies_after_the_residual(target):
    expected = [row["case_id"] for row in target.rows if matches(row["title"], "contains", "app")]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        result = target.read(title__contains="app", queue__isna=False, limit=2, columns=["case_id"])
    assert (
        ids(result)
        == [row["case_id"] for row in target.rows if row["case_id"] in expected and row["queue"]][
            :2
        ]
    )


def test_a_small_limit_requests_few_pages(target):
    """The newest ten of a million cases must not need ten thousand requests."""
    before = len(target.searches())
    assert len(target.read(sort="-created_at", limit=10, columns=["case_id"])) == 10
    assert len(target.searches()) - before == 1


# --- frame formats --------------------------------------------------------------------------------


@pytest.mark.parametrize("backend", ["numpy_nullable", "pyarrow"])
def test_backends_differ_in_dtypes_only(target, backend):
    frame, other = target.read(), target.read(dtype_backend=backend)
    assert not frame.dtypes.equals(other.dtypes)
    assert [name for name in frame if not equal_cells(frame[name], other[name])] == []


def test_time_zones_change_only_how_times_are_shown(target):
    utc, tokyo = target.read(), target.read(tz="Asia/Tokyo")
    assert (utc["created_at"] == tokyo["created_at"]).all()
    assert str(tokyo["created_at"].dt.tz) == "Asia/Tokyo"


@pytest.mark.parametrize(
    "filters", [{"status": []}, {"case_id__in": ()}, {"limit": 0}, {"status": set(), "limit": 3}]
)
@pytest.mark.parametrize("backend", [None, "pyarrow"])
def test_a_filter_that_no_case_can_match_sends_no_request(target, filters, backend):
    """An empty list of values gives no rows without a request, in the dtypes of all rows."""
    full = target.read(dtype_backend=backend)
    before = len(target.local.requests)
    frame = target.read(**filters, dtype_backend=backend)
    assert len(target.local.requests) == before
    assert len(frame) == 0
    pd.testing.assert_series_equal(frame.dtypes, full.dtypes)
    assert frame.cases.provenance["complete"] is True


def test_an_empty_result_has_the_dtypes_of_a_full_one(target):
    frame = target.read(created_at__gt="9999-12-31")
    assert len(frame) == 0
    pd.testing.assert_series_equal(frame.dtypes, target.read().dtypes)


def test_cells_and_provenance_survive_files(target, tmp_path):
    """A frame can be saved and loaded; lists are compared by their members."""
    frame = target.read(columns=["case_id", "status", "created_at", "vip_customer", "tags"])
    frame.to_parquet(tmp_path / "cases.parquet")
    result = pd.read_parquet(tmp_path / "cases.parquet")
    for other in (result, pickle.loads(pickle.dumps(frame))):
        assert other.cases.provenance == frame.cases.provenance
        assert other.drop(columns="tags").equals(frame.drop(columns="tags"))
    assert [list(tags) for tags in result["tags"]] == frame["tags"].tolist()


# --- counting and listing -------------------------------------------------------------------------


@COSTLY
@pytest.mark.parametrize(
    "filters",
    [{}, {"status": "open"}, {"status__ne": "pending"}, {"priority": ["high", None]},
     {"created_at__gte": "2026-03"}, {"title__contains": "app"}, {"status": []},
     {"title": "no such title"}],
)  # fmt: skip
def test_the_count_is_the_number_of_rows(target, filters):
    assert cs.count_cases(target.source, **filters) == len(target.read(**filters))


def test_counting_on_connect_sends_one_request(connect):
    before = len(connect.local.requests)
    cs.count_cases(connect.source, status="open", created_at__gte="2026-03")
    (requests,) = connect.local.requests[before:]
    assert requests.body["maxResults"] == 1


def test_fields_are_listed_with_operators_and_options(target):
    fields = cs.list_fields(target.source).set_index("column")
    assert list(cs.list_fields(target.source).columns) == [
        "column", "id", "label", "type", "namespace", "operators", "options",
    ]  # fmt: skip
    assert fields.loc["priority", "options"] == ["low", "normal", "high", "urgent"]
    assert fields.loc["created_at", "operators"] == list(lookups_for("datetime"))
    assert fields.loc["priority", "namespace"] == "custom"
    assert fields.index.is_unique


def test_a_source_discovers_its_fields_once(local):
    for source in (local.connect_cases(), local.persona_cases()):
        cs.list_fields(source)
        before = len(local.requests)
        cs.list_fields(source)
        cs.read_cases(source, limit=1, columns=["case_id"])
        assert len(local.requests) == before + 1


# --- errors ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"statsu": "open"}, "unknown field 'statsu'; did you mean 'status'"),
        ({"status__like": "o"}, "unknown lookup '__like'"),
        ({"created_at__contains": "2026"}, "__contains does not fit"),
        ({"created_at": "yesterday"}, "a time such as"),
        ({"vip_customer": "yes"}, "True or False"),
        ({"refund_amount_eur__gt": "much"}, "a number such as"),
        ({"refund_amount_eur__between": (3, 1)}, "reversed"),
        ({"where": "status = open"}, "where must be an expression or a mapping"),
        ({"where": {"statsu": "open"}}, "did you mean 'status'"),
        ({"columns": ["statsu"]}, "did you mean 'status'"),
        ({"columns": []}, "columns must name at least one column"),
        ({"columns": [3]}, "columns must be a name or a list of names"),
        ({"sort": "-statsu"}, "did you mean 'status'"),
        ({"sort": "tags"}, "cannot sort by 'tags'"),
        ({"limit": -1}, "limit must be a non-negative integer or None, got -1"),
        ({"limit": 2.5}, "limit must be a non-negative integer"),
        ({"limit": True}, "limit must be a non-negative integer"),
        ({"tz": "Berlin"}, "unknown time zone 'Berlin'"),
        ({"on_error": "ignore"}, "on_error must be 'raise' or 'partial', got 'ignore'"),
        ({"timeout": 0}, "timeout must be a positive number of seconds"),
        ({"max_workers": 0}, "max_workers must be a positive integer or None, got 0"),
        ({"lookback": "soon"}, "lookback must be a duration"),
        ({"nrows": 3}, "use limit="),
        ({"usecols": ["status"]}, "use columns="),
        ({"chunksize": 3}, "chunksize= is an option that this function does not take"),
        (
            {"dtype_backend": "polars"},
            "dtype_backend must be None, 'numpy_nullable' or 'pyarrow', got 'polars'",
        ),
    ],
)
def test_a_wrong_argument_is_refused_before_any_search(target, arguments, message):
    """A wrong argument must not use up a quota that production shares."""
    cs.list_fields(target.source)
    before = len(target.local.requests)
    with pytest.raises(cs.FilterError, match=message):
        target.read(**arguments)
    assert len(target.local.requests) == before


def test_what_one_service_does_not_support_is_refused(connect, persona):
    before = len(connect.local.requests)
    with pytest.raises(cs.FilterError, match="full-text search"):
        persona.read(search="Berlin")
    with pytest.raises(cs.FilterError, match="1 to 255"):
        connect.read(search="")
    with pytest.raises(cs.FilterError, match=r"customer_id must be a profile ARN.*arn:aws:profile"):
        connect.read(customer_id="ann@example.com")
    with pytest.raises(cs.FilterError, match="never returns it"):
        persona.read(columns=["state"])
    with pytest.raises(cs.FilterError, match="tags of this service have no keys"):
        persona.read(tags={"team": "red"})
    with pytest.raises(cs.FilterError, match="tags of this service have a key and a value"):
        connect.read(tags=["urgent"])
    assert len(connect.local.requests) == before


def test_an_unknown_option_value_warns_and_matches_nothing(connect):
    with pytest.warns(UserWarning, match="'opne' is not an option of 'status'; the nearest is"):
        assert len(connect.read(status="opne")) == 0


# --- progress and timeout -------------------------------------------------------------------------


def test_progress_is_shown_where_requested(target, capsys):
    cs.read_cases(target.source, columns=["case_id"], progress=True)
    assert f"reading {target.source.name}" in capsys.readouterr().err
    cs.read_cases(target.source, columns=["case_id"], progress=False)
    cs.read_cases(target.source, columns=["case_id"])  # a captured stream is no terminal
    assert capsys.readouterr() == ("", "")


def test_progress_knows_the_total_where_the_service_counts(connect, capsys):
    cs.read_cases(connect.source, columns=["case_id"], progress=True)
    assert f"{CASES}/{CASES}" in capsys.readouterr().err


def test_a_timeout_ends_a_read_with_a_partial_result(connect):
    """The rate permits one page per minute; the timeout is half a second."""
    slow = connect.local.connect_cases(rate=1 / 60, burst=1, schema=connect.source.schema)
    with pytest.raises(cs.IncompleteReadError, match="timeout") as failure:
        cs.read_cases(slow, columns=["case_id"], timeout=0.5)
    assert ids(failure.value.partial) == ids(connect.truth)[:100]
    assert failure.value.missing
    assert isinstance(failure.value.__cause__, cs.ThrottledError)


def test_a_read_within_its_timeout_is_complete(target):
    assert len(target.read(columns=["case_id"], timeout=30)) == CASES


def test_reads_are_repeatable(target):
    """The same query returns the same frame, unless the cases changed."""
    pd.testing.assert_frame_equal(target.read(status="open"), target.read(status="open"))


# --- a frame of your own --------------------------------------------------------------------------


@pytest.fixture(scope="module")
def own():
    """Serve a frame with difficult cells: other scripts, quotes, labels, missing values."""
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
    with cs.LocalCases(frame, now=NOW) as emulator:
        yield emulator, frame


@pytest.mark.parametrize("service", ["connect", "persona"])
def test_every_cell_of_your_own_frame_is_read(own, service):
    emulator, frame = own
    source = getattr(emulator, f"{service}_cases")()
    result = cs.read_cases(source, sort="case_id")
    for name in frame:
        column = source.schema.resolve(_column_name(source, name)).column
        assert equal_cells(result[column], frame[name]), name


def _column_name(source, name):
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
def test_your_own_frame_can_be_filtered(own, service, name, op, value):
    emulator, frame = own
    source = getattr(emulator, f"{service}_cases")()
    result = cs.read_cases(source, {f"{name}__{op}": value}, columns=["case_id"], sort="case_id")
    column = frame["Weight [kg]" if name == "weight_kg" else name]
    column = column.astype(object).where(column.notna(), None)
    expected = [_in_period(cell, op, value) for cell in column]
    assert ids(result) == frame["case_id"][expected].tolist()
    assert any(expected) or value == "strasse"


def _in_period(cell, op, value):
    if isinstance(value, str) and value.startswith("2026"):
        start, end = pd.Period(value).start_time, (pd.Period(value) + 1).start_time
        cell = cell if cell is None else cell.tz_convert(None)
        return cell is not None and cell < end and (op == "lte" or cell >= start)
    return matches(cell, op, value)
