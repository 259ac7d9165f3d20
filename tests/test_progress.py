"""What a bar is told of a read: rows, the passes, and a total that is one."""

from dataclasses import replace

import pytest
from tqdm.notebook import tqdm_notebook

import casesearch_pd as cs
from casesearch_pd.emulator import Fault
from casesearch_pd.query.binding import bind
from casesearch_pd.reading.api import bind_arguments, read_routed, routed
from casesearch_pd.reading.fetch import progress
from casesearch_pd.reading.fetch.progress import progress_bar
from casesearch_pd.reading.options import binding_context
from casesearch_pd.sources.transport.context import ReadContext
from tests.numbered_cases import CASES, PLAIN, SERVICES, serve_cases, without_faults

ALL = len(CASES)


@pytest.fixture(scope="module")
def service():
    with serve_cases(25, pages_before_workers=3, min_split_pages=2) as running:
        yield running


@pytest.fixture
def local(service):
    yield from without_faults(service)


class Recorded:
    """A bar that writes down what it is told."""

    def __init__(self):
        self.total, self.passes, self.rows, self.totals = None, [], 0, []

    def begin(self, number, passes):
        """Note a pass."""
        self.passes.append((number, passes))
        self.rows = 0 if number == 1 else self.rows

    def update(self, rows):
        """Note a page, and what the total was."""
        self.rows += rows
        self.totals.append(self.total)


def watched(source, *, parts=None, **named):
    """Read with a bar, and hand it on; the filter may be split by hand."""
    bar, given = Recorded(), bind_arguments(source, {"max_workers": 1, **named})
    route = routed(given)
    if parts is not None:
        bound = tuple(bind(part, binding_context(source.schema, "UTC")) for part in parts)
        route = replace(route, pushdown=replace(route.pushdown, parts=bound))
    return bar, read_routed(route, given, ReadContext(), bar)


# --- a bar of one's own -----------------------------------------------------------------------


@pytest.mark.parametrize("name", SERVICES)
def test_all_rows_come_once(local, name):
    bar, frame = watched(local.sources[name], columns=PLAIN)
    assert bar.passes == [(1, 1)]
    assert set(bar.totals) == {ALL if name == "connect" else None}
    assert bar.rows == len(frame) == ALL


def test_several_readers_tell_one_bar(local):
    """Where windows meet, a page may be cut; no row is told twice."""
    bar, _ = watched(local.sources["connect"], columns=PLAIN, max_workers=4)
    assert set(bar.totals) == {ALL}
    assert bar.rows == ALL


def test_the_total_is_that_of_all_passes(local):
    """With the count of one pass the second would go beyond the end of the bar."""
    bar, frame = watched(local.sources["connect"])
    assert bar.passes == [(1, 2), (2, 2)]
    assert set(bar.totals) == {2 * ALL}
    assert bar.rows == 2 * len(frame)


def test_the_total_is_known_when_all_parts_are_counted(local):
    """The count of one part would show a bar that is full before the half of it came."""
    halves = [cs.field("count") < 500, cs.field("count") >= 500]
    bar, frame = watched(local.sources["connect"], columns=PLAIN, parts=halves)
    assert len(frame) == bar.rows == ALL
    assert bar.totals[:46] == [None] * 20 + [ALL] * 26  # then the look at what changed


@pytest.mark.parametrize("wide", [False, True])
@pytest.mark.parametrize(("limit", "rows"), [(40, 40), (99, 99), (5000, ALL)])
def test_the_total_of_a_limited_read_is_its_limit(local, limit, rows, wide):
    """Or what there is, if that is less."""
    columns = None if wide else PLAIN
    bar, frame = watched(local.sources["connect"], columns=columns, limit=limit)
    assert len(frame) == rows
    assert bar.totals[-1] == bar.rows == rows * (2 if wide else 1)


def test_the_limit_is_the_total_where_nobody_counts(local):
    bar, frame = watched(local.sources["persona"], columns=PLAIN, limit=130)
    assert (bar.totals, bar.rows, len(frame)) == ([130, 130], 130, 130)


def test_a_result_that_is_read_again_begins_again(local):
    local.faults.append(Fault("total", 3))
    bar = Recorded()
    given = bind_arguments(local.sources["connect"], {"columns": PLAIN, "max_workers": 1})
    with pytest.raises(cs.IncompleteReadError):
        read_routed(routed(given), given, ReadContext(), bar)
    assert bar.passes == [(1, 1), (1, 1)]
    assert (bar.rows, set(bar.totals)) == (ALL, {ALL + 3})


def test_what_is_looked_at_again_adds_pages_and_no_rows(local):
    """The look at what changed meanwhile would show a read that begins anew, or goes too far."""
    local.update(CASES["case_id"][0], title="Case 0")
    bar, _ = watched(local.sources["connect"], lookback="1000 days")
    assert bar.rows == 2 * ALL
    assert bar.passes == [(1, 2), (2, 2)]
    assert len(bar.totals) > 2 * 46
    assert set(bar.totals) == {2 * ALL}


# --- the bar of tqdm --------------------------------------------------------------------------


def test_the_bar_tells_the_pass(local, capsys):
    read_shown(local.sources["connect"])
    told = capsys.readouterr().err
    assert f"{2 * ALL}/{2 * ALL}" in told
    assert "pass 2 of 2" in told


def test_one_pass_needs_no_number(local, capsys):
    read_shown(local.sources["connect"], columns=PLAIN)
    told = capsys.readouterr().err
    assert f"{ALL}/{ALL}" in told
    assert "pass" not in told


def read_shown(source, **named):
    return cs.read_cases(source, progress=True, **named)


def test_a_bar_of_a_notebook_gets_its_length(local, monkeypatch):
    """Made without a total it is 20 pixels wide and full from the beginning."""
    made = []

    def kept(**named):
        made.append(tqdm_notebook(display=False, **named))
        return made[0]

    monkeypatch.setattr(progress, "tqdm", kept)
    with progress_bar(progress=True, source=local.sources["connect"]) as bar:
        (notebooks,) = made
        widget = notebooks.container.children[1]
        bar.begin(1, 1)
        assert (widget.max, widget.bar_style) == (1, "info")
        bar.total = ALL
        bar.update(ALL)
        notebooks.refresh()
        assert (widget.max, widget.value, widget.bar_style) == (ALL, ALL, "")
        assert widget.layout.width is None


@pytest.mark.parametrize("wrong", ["yes", 1, None, [], object()])
def test_what_is_no_bar_is_refused(local, wrong):
    with pytest.raises(cs.FilterError, match="progress="):
        cs.read_cases(local.sources["connect"], progress=wrong)
