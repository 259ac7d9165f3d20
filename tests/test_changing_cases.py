"""Law 6, exactly once: reads while cases are inserted, updated, moved and deleted.

Between any two pages the service changes; a model says which cases matched throughout, and which
versions each had while it matched. Pages are small, so that few cases have many.

Known limits, which the schedules respect:

- Persona has no count. If its cursor is an offset inside the service, nothing shows that a case
  before it disappeared and that the next page starts too late. There, only inserts and updates
  are drawn. (Persona documents the id of a case as its cursor.)
- A case that is inserted with a creation time in the past, as an import may do, can hide one that
  is deleted at the same time. Only its time of update shows it; so it is drawn where that time is
  read, or where the filter makes the reader ask for it.
"""

from contextlib import contextmanager
from datetime import UTC, datetime
from math import ceil

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import casesearch_pd as cs
from casesearch_pd.sources.transport.context import Tuning, use_tuning
from tests.changing_cases import (
    MANY_STATUSES,
    ChangingService,
    changing_frame,
    inconsistent_cases,
    schedules,
)

NOW = datetime(2026, 3, 14, 12, tzinfo=UTC)
PAGE = 5
CASES = 40
USUAL = settings(
    deadline=None,
    max_examples=15,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
SWEEP = settings(USUAL, max_examples=200, derandomize=False)
FEW_STATUSES = ("s00", "s05", "s10", "s15", "s20", "s23")
DATED = ["case_id", "version", "updated_at"]
PLAIN = ["case_id", "version"]


@pytest.fixture(scope="module", autouse=True)
def _small_pages():
    tuning = Tuning(pages_before_workers=2, min_split_pages=2)
    with pytest.MonkeyPatch.context() as patch, use_tuning(tuning):
        patch.setattr(cs.PersonaCases, "page_size", PAGE)
        yield


@pytest.fixture(scope="module", params=["keyset", "offset"])
def local(request):
    with cs.LocalCases(changing_frame(30), now=NOW, cursor=request.param) as service:
        service.kind = request.param
        service.sources = {
            "connect": service.connect_cases(page_size=PAGE),
            "persona": service.persona_cases(),
        }
        _ = [source.schema for source in service.sources.values()]
        yield service


@contextmanager
def changing(source, model):
    """Change the cases while a source is read."""
    source.read_page = model.change_before(source.read_page)
    try:
        yield
    finally:
        del source.read_page


def checked_read(local, service, schedule, *, statuses=None, columns=PLAIN, **options):
    """Read while the schedule runs, check the frame against the model, and return it."""
    source = local.sources[service]
    model = ChangingService(local, CASES, schedule, statuses)
    filters = {} if statuses is None else {"status": list(statuses)}
    with changing(source, model):
        frame = cs.read_cases(source, columns=columns, progress=False, **filters, **options)
    model.check(frame)
    return frame


# --- the laws ---------------------------------------------------------------------------------


def connect_loses_nothing(local, data):
    """One scan, or several windows; a cursor that is an offset skips rows that move up."""
    statuses = data.draw(st.sampled_from([None, FEW_STATUSES]), label="statuses")
    columns = data.draw(st.sampled_from([PLAIN, DATED]), label="columns")
    kinds = {"insert", "backdate", "update", "move", "delete"}
    if statuses is None and columns == PLAIN:
        kinds.remove("backdate")
    schedule = data.draw(schedules(*sorted(kinds)), label="schedule")
    workers = data.draw(st.sampled_from([1, 3]), label="workers")
    checked_read(
        local, "connect", schedule, statuses=statuses, columns=columns, max_workers=workers
    )


def passes_agree(local, data):
    """Read the columns of each row in two requests: they must be of one version."""
    schedule = data.draw(schedules("insert", "backdate", "update", "move", "delete"))
    statuses = data.draw(st.sampled_from([None, FEW_STATUSES]), label="statuses")
    frame = checked_read(local, "connect", schedule, statuses=statuses, columns=None)
    if "two versions" not in str(frame.cases.provenance["notes"]):
        assert inconsistent_cases(frame) == []


def persona_loses_nothing(local, data):
    """There is no count, and a cursor may be the id of a case that is deleted."""
    schedule = data.draw(schedules(*persona_changes(local)), label="schedule")
    statuses = data.draw(st.sampled_from([None, FEW_STATUSES]), label="statuses")
    workers = data.draw(st.sampled_from([1, 3]), label="workers")
    checked_read(local, "persona", schedule, statuses=statuses, max_workers=workers)


def parts_lose_nothing(local, data):
    """More statuses than one list of Persona holds: nested in one search, or in two searches.

    A case that moves from the second search to the first during the second is in neither.
    """
    schedule = data.draw(schedules(*persona_changes(local)), label="schedule")
    more = data.draw(st.sampled_from([{}, {"created_at__gte": "2025"}]), label="filters")
    workers = data.draw(st.sampled_from([1, 3]), label="workers")
    checked_read(local, "persona", schedule, statuses=MANY_STATUSES, max_workers=workers, **more)


def persona_changes(local):
    """Return the kinds of changes, without those that Persona gives no means to notice."""
    return ("insert", "backdate", "update", *(("move", "delete") if local.kind == "keyset" else ()))


LAWS = [connect_loses_nothing, passes_agree, persona_loses_nothing, parts_lose_nothing]


@pytest.mark.parametrize("law", LAWS)
@USUAL
@given(data=st.data())
def test_cases_that_match_throughout_are_read_once(local, law, data):
    law(local, data)


@pytest.mark.slow
@pytest.mark.parametrize("law", LAWS)
@SWEEP
@given(data=st.data())
def test_cases_that_match_throughout_are_read_once_in_many_schedules(local, law, data):
    law(local, data)


# --- the hardest schedules --------------------------------------------------------------------

DELETE, INSERT = ("delete", 0, "s00"), ("insert", 0, "s00")
LEAVE, ENTER = ("move", 0, "s29"), ("move", 21, "s00")
HIDDEN = {
    "one is deleted as one is inserted": [[DELETE, INSERT]],
    "and the inserted one is deleted again": [[DELETE, INSERT], [], [("delete", CASES - 1, "s00")]],
    "one leaves the filter as another enters it": [[LEAVE, ENTER]],
    "the last one read is deleted": [[], [("delete", 9, "s00"), INSERT]],
    "between the pages of other workers": [[], [], [], [], [DELETE], [INSERT]],
    "one by one": [[DELETE]] * 8,
}


@pytest.mark.parametrize("workers", [1, 3])
@pytest.mark.parametrize("statuses", [None, FEW_STATUSES])
@pytest.mark.parametrize("schedule", HIDDEN)
def test_a_stable_count_hides_no_lost_row(local, schedule, statuses, workers):
    """The count is the same but the offset is not: one row is between two pages."""
    checked_read(local, "connect", HIDDEN[schedule], statuses=statuses, max_workers=workers)


@pytest.mark.parametrize("last", [("delete", 0, "s00"), ("move", 0, "s29")])
def test_a_row_of_two_versions_is_dropped_if_its_case_is_gone(local, last):
    """Updated between two passes, then gone: it cannot be read again, so it is left out."""
    schedule = [[] for _ in range(14)]
    pages = ceil(
        len([one for one in changing_frame(CASES)["status"] if one in FEW_STATUSES]) / PAGE
    )
    schedule[pages - 1], schedule[2 * pages - 2] = [("update", 0, "s00")], [last]
    frame = checked_read(local, "connect", schedule, statuses=FEW_STATUSES, columns=None)
    assert inconsistent_cases(frame) == []
    assert "case_00000" not in frame["case_id"].tolist()
