"""Law 6, once: reads while cases are inserted, updated, deleted and moved between statuses.

Between any two pages the service changes; a model says which cases matched all the time, and
which versions each had while it matched. Pages are made small, so that few cases have many.

Known limits, which the schedules here respect:

- Persona counts nothing, so on a cursor that is an offset inside the service nobody can notice
  that a case before it went away, and that the next page begins too late. There, only inserts
  and updates are drawn. (Persona documents the id of a case as its cursor.)
- A case that is inserted with a creation time in the past, as an import may do, can make up for
  one that is deleted in the same moment. It is known by its time of update only; so it is drawn
  where that time is read, or where the filter makes the reader ask for it.
"""

from contextlib import contextmanager
from datetime import UTC, datetime
from math import ceil

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import casesearch_pd as cs
from casesearch_pd.reading.fetch import workers as crew
from casesearch_pd.sources.persona import source as persona
from tests.moving_cases import WANTED, Moving, frame_of, mixed, schedules

NOW = datetime(2026, 3, 14, 12, tzinfo=UTC)
PAGE = 5
CASES = 40
USUAL = settings(
    timeout=None,
    max_examples=15,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
SWEEP = settings(USUAL, max_examples=200, derandomize=False)
SOME = ("s00", "s05", "s10", "s15", "s20", "s23")
DATED = ["case_id", "version", "updated_at"]
PLAIN = ["case_id", "version"]


@pytest.fixture(scope="module", autouse=True)
def _small_pages():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(persona, "_PAGE", PAGE)
        patch.setattr(persona.PersonaCases, "page_size", PAGE)
        patch.setattr(crew, "_ALONE", 2)
        patch.setattr(crew, "_WORTH", 2)
        yield


@pytest.fixture(scope="module", params=["keyset", "offset"])
def local(request):
    with cs.LocalCases(frame_of(30), now=NOW, cursor=request.param) as running:
        running.kind = request.param
        running.sources = {
            "connect": running.connect_cases(page_size=PAGE),
            "persona": running.persona_cases(),
        }
        _ = [source.schema for source in running.sources.values()]
        yield running


@contextmanager
def changing(source, moving):
    """Let the cases change while a source is read."""
    source.page = moving.around(source.page)
    try:
        yield
    finally:
        del source.page


def held(local, service, schedule, *, wanted=None, columns=PLAIN, **named):
    """Read while the schedule runs, hold the frame to the model, and hand it on."""
    source = local.sources[service]
    moving = Moving(local, CASES, schedule, wanted)
    filters = {} if wanted is None else {"status": list(wanted)}
    with changing(source, moving):
        frame = cs.read_cases(source, columns=columns, progress=False, **filters, **named)
    moving.check(frame)
    return frame


# --- the laws ---------------------------------------------------------------------------------


def connect_loses_nothing(local, data):
    """One walk, or several windows; a cursor that is an offset skips what moves up before it."""
    wanted = data.draw(st.sampled_from([None, SOME]), label="wanted")
    columns = data.draw(st.sampled_from([PLAIN, DATED]), label="columns")
    kinds = {"insert", "backdate", "update", "move", "delete"}
    if wanted is None and columns == PLAIN:
        kinds.remove("backdate")
    schedule = data.draw(schedules(*sorted(kinds)), label="schedule")
    workers = data.draw(st.sampled_from([1, 3]), label="workers")
    held(local, "connect", schedule, wanted=wanted, columns=columns, max_workers=workers)


def passes_agree(local, data):
    """Columns of one row come in two requests; they must be of one version."""
    schedule = data.draw(schedules("insert", "backdate", "update", "move", "delete"))
    wanted = data.draw(st.sampled_from([None, SOME]), label="wanted")
    frame = held(local, "connect", schedule, wanted=wanted, columns=None)
    if "two versions" not in str(frame.cases.provenance["notes"]):
        assert mixed(frame) == []


def persona_loses_nothing(local, data):
    """Nothing is counted, and a cursor may be the id of a case that is deleted."""
    schedule = data.draw(schedules(*on_persona(local)), label="schedule")
    wanted = data.draw(st.sampled_from([None, SOME]), label="wanted")
    workers = data.draw(st.sampled_from([1, 3]), label="workers")
    held(local, "persona", schedule, wanted=wanted, max_workers=workers)


def parts_lose_nothing(local, data):
    """More statuses than one list of Persona holds: nested in one search, or in two searches.

    Who moves from the second search to the first while the second is walked is in neither.
    """
    schedule = data.draw(schedules(*on_persona(local)), label="schedule")
    more = data.draw(st.sampled_from([{}, {"created_at__gte": "2025"}]), label="filters")
    workers = data.draw(st.sampled_from([1, 3]), label="workers")
    held(local, "persona", schedule, wanted=WANTED, max_workers=workers, **more)


def on_persona(local):
    """Leave out what takes a case away from its walk, where nobody could notice."""
    return ("insert", "backdate", "update", *(("move", "delete") if local.kind == "keyset" else ()))


LAWS = [connect_loses_nothing, passes_agree, persona_loses_nothing, parts_lose_nothing]


@pytest.mark.parametrize("law", LAWS)
@USUAL
@given(data=st.data())
def test_what_matches_throughout_is_there_once(local, law, data):
    law(local, data)


@pytest.mark.slow
@pytest.mark.parametrize("law", LAWS)
@SWEEP
@given(data=st.data())
def test_what_matches_throughout_is_there_once_in_many_schedules(local, law, data):
    law(local, data)


# --- the worst that was found -----------------------------------------------------------------

GONE, COME = ("delete", 0, "s00"), ("insert", 0, "s00")
CLOSED, OPENED = ("move", 0, "s29"), ("move", 21, "s00")
HIDDEN = {
    "one goes as one comes": [[GONE, COME]],
    "and the one that came goes again": [[GONE, COME], [], [("delete", CASES - 1, "s00")]],
    "one leaves the filter as another enters it": [[CLOSED, OPENED]],
    "the last one read goes": [[], [("delete", 9, "s00"), COME]],
    "between the pages of other readers": [[], [], [], [], [GONE], [COME]],
    "one by one": [[GONE]] * 8,
}


@pytest.mark.parametrize("workers", [1, 3])
@pytest.mark.parametrize("wanted", [None, SOME])
@pytest.mark.parametrize("schedule", HIDDEN)
def test_a_count_that_stands_still_deceives_nobody(local, schedule, wanted, workers):
    """The count is the same, the offset is not: one row falls between two pages."""
    held(local, "connect", HIDDEN[schedule], wanted=wanted, max_workers=workers)


@pytest.mark.parametrize("last", [("delete", 0, "s00"), ("move", 0, "s29")])
def test_a_row_of_two_versions_goes_if_its_case_is_gone(local, last):
    """Updated between two passes, then gone: nobody can read it again, so it cannot be shown."""
    schedule = [[] for _ in range(14)]
    pages = ceil(len([one for one in frame_of(CASES)["status"] if one in SOME]) / PAGE)
    schedule[pages - 1], schedule[2 * pages - 2] = [("update", 0, "s00")], [last]
    frame = held(local, "connect", schedule, wanted=SOME, columns=None)
    assert mixed(frame) == []
    assert "case_00000" not in frame["case_id"].tolist()
