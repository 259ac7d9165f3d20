"""Law 6, once: reads while cases are inserted, updated, deleted and moved between statuses.

Between any two pages the service changes; a model says which cases matched all the time, and
which versions each had while it matched. Pages are made small, so that few cases have many.

Known limits, which the schedules here respect. Persona counts nothing, so on a cursor that is
an offset inside the service nobody can notice that a case before it went away, and that the
next page begins too late: there, only inserts and updates are drawn. (Persona documents the
id of a case as its cursor.)
"""

from contextlib import contextmanager
from datetime import UTC, datetime

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

import casesearch_pd as cs
from casesearch_pd.reading import crew
from casesearch_pd.sources import persona
from tests.moving_cases import WANTED, Moving, frame_of, mixed, schedules

NOW = datetime(2026, 3, 14, 12, tzinfo=UTC)
PAGE = 5
EVERYTHING = ("insert", "backdate", "update", "move", "delete")
WIDE = pytest.mark.filterwarnings("ignore:reading all:UserWarning")
usual = settings(
    deadline=None,
    max_examples=12,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)


@pytest.fixture(scope="module", autouse=True)
def _small_pages():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(persona, "_PAGE", PAGE)
        patch.setattr(persona.PersonaCases, "page_size", PAGE)
        patch.setattr(crew, "_ALONE", 2)
        patch.setattr(crew, "_WORTH", 8)
        yield


@pytest.fixture(scope="module", params=["keyset", "offset"])
def local(request):
    with cs.LocalCases(frame_of(30), now=NOW, cursor=request.param) as running:
        running.kind = request.param
        running.sources = {
            "connect": running.connect(page_size=PAGE),
            "persona": running.persona(),
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


def held(local, service, schedule, *, wanted=None, columns=("case_id", "version"), **named):
    """Read while the schedule runs, hold the frame to the model, and hand it on."""
    source = local.sources[service]
    moving = Moving(local, 40, schedule, wanted)
    filters = {} if wanted is None else {"status": list(wanted)}
    with changing(source, moving):
        frame = cs.read_cases(source, columns=columns, progress=False, **filters, **named)
    moving.check(frame)
    return frame


SOME = st.sampled_from([None, ("s00", "s05", "s10", "s15", "s20", "s23")])
PARTED = st.sampled_from([{}, {"created_at__gte": "2025"}])  # nested in one search, or two searches


SWAPPED = [[("delete", 0, "s00"), ("insert", 0, "s00")]]  # the count stands still
SWAPPED_TWICE = [*SWAPPED, [], [("delete", 38, "s00")]]


@usual
@example(schedule=SWAPPED, wanted=None, workers=1)
@example(schedule=SWAPPED, wanted=("s00",), workers=1)
@example(schedule=SWAPPED_TWICE, wanted=None, workers=1)
@example(schedule=SWAPPED_TWICE, wanted=None, workers=3)
@given(schedule=schedules(*EVERYTHING), wanted=SOME, workers=st.sampled_from([1, 3]))
def test_connect_loses_nothing_while_cases_change(local, schedule, wanted, workers):
    """One walk, or several windows; a cursor that is an offset skips what moves up before it."""
    held(local, "connect", schedule, wanted=wanted, max_workers=workers)


@usual
@given(schedule=schedules(*EVERYTHING), wanted=SOME)
def test_passes_over_changing_cases_agree(local, schedule, wanted):
    """Columns of one row come in two requests; they must be of one version."""
    frame = held(local, "connect", schedule, wanted=wanted, columns=None)
    if "two versions" not in str(frame.cases.provenance["notes"]):
        assert mixed(frame) == []


@usual
@given(schedule=schedules(*EVERYTHING), wanted=SOME, workers=st.sampled_from([1, 3]))
def test_persona_loses_nothing_while_cases_change(local, schedule, wanted, workers):
    if local.kind == "offset":
        schedule = still_there(schedule)
    held(local, "persona", schedule, wanted=wanted, max_workers=workers)


@usual
@given(schedule=schedules(*EVERYTHING), filters=PARTED, workers=st.sampled_from([1, 3]))
def test_cases_that_move_between_the_parts_of_a_filter_are_found(local, schedule, filters, workers):
    """More statuses than one search holds, in parts that are walked one after the other.

    Who moves from the second part to the first while the second is walked is in neither walk.
    """
    if local.kind == "offset":
        schedule = still_there(schedule)
    held(local, "persona", schedule, wanted=WANTED, max_workers=workers, **filters)


@pytest.mark.slow
@pytest.mark.parametrize(
    "law",
    [
        test_connect_loses_nothing_while_cases_change,
        test_passes_over_changing_cases_agree,
        test_persona_loses_nothing_while_cases_change,
        test_cases_that_move_between_the_parts_of_a_filter_are_found,
    ],
)
def test_the_laws_hold_for_many_schedules(local, law):
    """The same, drawn anew each time, and more of them."""
    many = settings(law._hypothesis_internal_use_settings, max_examples=400, derandomize=False)
    many(law)(local)


def still_there(schedule):
    """Leave out what takes a case away from its walk."""
    return [[one for one in changes if one[0] not in {"move", "delete"}] for changes in schedule]
