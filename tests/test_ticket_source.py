"""A source of one's own, of four methods, with every public function."""

import os
import pickle
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pandas as pd
import pytest

import casesearch_pd as cs
from tests.ticket_service import NOW, TOKEN, TicketService, generate_tickets
from tests.ticket_source import TicketCases

COUNT = 430
PLAIN = ["case_id", "created_at", "status", "subject", "hours"]


@pytest.fixture(scope="module", autouse=True)
def token():
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TICKETS_TOKEN", TOKEN)
        yield


@pytest.fixture
def service():
    with TicketService(generate_tickets(COUNT)) as service:
        yield service


@pytest.fixture
def source(service):
    cs.register_source("tickets", TicketCases, hosts=["127.0.0.1"])
    source = TicketCases(service.address, rate=1000)
    assert source.schema.resolve("status").id == "state"
    service.requests.clear()
    return source


def expected(service, **filters):
    """Return the ids of the tickets with these values."""
    tickets = service.tickets
    return sorted(
        one["key"] for one in tickets if all(one[name] == value for name, value in filters.items())
    )


def test_read_cases_returns_typed_columns(service, source):
    frame = cs.read_cases(source, progress=False)
    assert frame["case_id"].tolist() == expected(service)
    assert frame.dtypes.astype(str)[["created_at", "hours"]].tolist() == [
        "datetime64[us, UTC]",
        "Float64",
    ]
    assert frame["tags"].iloc[0] == ["urgent"]
    assert frame["subject"].isna().sum() == COUNT // 5
    assert frame.cases.provenance["complete"]


def test_a_filter_is_pushed_where_the_service_has_a_parameter(service, source):
    frame = cs.read_cases(source, status="new", created_at__gte="2026-03-01", progress=False)
    assert all("state=new" in path and "opened_from=" in path for path in service.requests)
    recent = frame["created_at"] >= pd.Timestamp("2026-03-01", tz="UTC")
    assert recent.all()
    assert (frame["status"] == "new").all()


@pytest.mark.parametrize(
    "filters",
    [
        {"status": ["new", "waiting"]},
        {"status__ne": "done", "hours__lt": 60},
        {"subject__contains": "ticket 4", "status": "new"},
        {"created_at": "2026-02-28"},
        {"subject": None},
    ],
)
@pytest.mark.filterwarnings("ignore:.*fetched and filtered locally:UserWarning")
def test_other_filters_are_evaluated_locally(source, filters):
    """A mask on the whole result is the reference."""
    whole = cs.read_cases(source, progress=False)
    frame = cs.read_cases(source, progress=False, **filters)
    reference = whole.cases.where(**filters)
    assert 0 < len(reference) < COUNT
    assert frame["case_id"].tolist() == reference["case_id"].tolist()


def test_several_workers_read_the_same_rows(service, source):
    frame = cs.read_cases(source, max_workers=4, progress=False)
    assert frame["case_id"].tolist() == expected(service)


def test_throttled_requests_are_sent_again(service, source):
    service.throttle_every = 5
    assert cs.count_cases(source) == COUNT
    assert len(cs.read_cases(source, progress=False)) == COUNT


def test_iter_cases_yields_the_same_rows(service, source):
    with cs.iter_cases(source, columns=PLAIN, chunksize=100, progress=False) as chunks:
        ids = [case for chunk in chunks for case in chunk["case_id"]]
    assert sorted(ids) == expected(service)


def test_count_cases_sends_one_request(service, source):
    assert cs.count_cases(source, status="done") == len(expected(service, state="done"))
    assert len(service.requests) == 1


def test_explain_cases_shows_the_requests(service, source):
    plan = cs.explain_cases(source, status="new", hours__gt=3)
    assert not service.requests
    assert "tickets" in repr(plan)
    assert "/api/tickets" in plan._repr_html_()
    assert TOKEN not in plan._repr_html_()
    assert plan.count().cases == len(expected(service, state="new"))


def test_the_form_searches(service, source):
    form = cs.CaseForm(source, status="new", columns=PLAIN)
    form.run()
    assert form.wait(30)
    assert form.frame["case_id"].tolist() == expected(service, state="new")
    assert "status='new'" in form.code or 'status="new"' in form.code
    form.close()


def test_a_mirror_syncs_and_finds_its_source_again(service, source, tmp_path):
    mirror = cs.Mirror(tmp_path / "tickets.duckdb")
    assert mirror.sync(source, progress=False).rows == COUNT
    service.tickets[0] |= {"state": "new", "updated": NOW.isoformat()}
    sync = mirror.sync(progress=False)
    assert (sync.kind, sync.changed) == ("increment", 1)
    assert cs.count_cases(mirror, status="done") == len(expected(service, state="done"))


def test_refresh_reads_the_changes(service, source):
    frame = cs.read_cases(source, progress=False)
    service.tickets[8] |= {"state": "waiting", "updated": NOW.isoformat()}
    service.requests.clear()
    refreshed = frame.cases.refresh()
    assert refreshed.set_index("case_id").loc["T-00008", "status"] == "waiting"
    assert all("updated_from=" in path for path in service.requests)


def test_a_frame_from_a_file_is_refreshed_by_the_registered_source(service, source, tmp_path):
    path = cs.to_parquet(source, tmp_path / "tickets.parquet", progress=False)
    frame = pd.read_parquet(path)
    address = source.address
    del source
    assert frame.cases.provenance["source"] == {"service": "tickets", "address": address}
    service.tickets[8] |= {"state": "waiting", "updated": NOW.isoformat()}
    refreshed = frame.cases.refresh()
    assert refreshed.set_index("case_id").loc["T-00008", "status"] == "waiting"


def test_to_dask_reads_the_same_rows(service, source):
    dask_frame = cs.to_dask(source, columns=PLAIN, npartitions=3)
    assert sorted(dask_frame.compute(scheduler="synchronous")["case_id"]) == expected(service)


@pytest.mark.usefixtures("source")  # registers the scheme
def test_open_source_takes_the_address(service):
    opened = cs.open_source(service.address)
    assert isinstance(opened, TicketCases)
    assert cs.count_cases(opened) == COUNT


def test_open_cases_follow_the_traits(service, source):
    frame = cs.read_cases(source, progress=False)
    assert frame.cases.is_open.sum() == COUNT - len(expected(service, state="done"))


def test_times_may_be_datetimes(service):
    """A service without JSON text, such as a database, returns Python datetimes."""

    class DatetimeCases(TicketCases):
        def page(self, response, scan):
            page = super().page(response, scan)
            zone = timezone(timedelta(hours=2))
            for name in ("created_at", "updated_at"):
                if name in page.columns:
                    page.columns[name] = [
                        datetime.fromisoformat(text).astimezone(zone) for text in page.columns[name]
                    ]
            return page

    frame = cs.read_cases(TicketCases(service.address, rate=1000), progress=False)
    other = cs.read_cases(DatetimeCases(service.address, rate=1000), progress=False)
    pd.testing.assert_frame_equal(frame, other)


def test_a_wrong_token_is_an_error_with_the_variable(service, monkeypatch):
    monkeypatch.setitem(os.environ, "TICKETS_TOKEN", "another-token")
    with pytest.raises(cs.AccessDeniedError, match="TICKETS_TOKEN") as error:
        cs.read_cases(TicketCases(service.address), progress=False)
    assert "another-token" not in str(error.value)


def test_it_is_pickled_without_its_token(source):
    content = pickle.dumps(source)
    assert TOKEN.encode() not in content
    assert pickle.loads(content).address == source.address


def test_the_guide_contains_this_source():
    """CONTRIBUTING explains the very file that these tests use."""
    root = Path(__file__).parents[1]
    code = (root / "tests" / "ticket_source.py").read_text("utf-8")
    assert code in (root / "CONTRIBUTING.md").read_text("utf-8")
    assert len(code.splitlines()) <= 80
