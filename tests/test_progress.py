"""The progress bar of a read: its rows, its passes, and its total."""

import io
import sys
import types
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from tqdm.notebook import tqdm_notebook

import casesearch_pd as cs
from casesearch_pd.emulator import Fault
from casesearch_pd.query.binding import bind
from casesearch_pd.reading import progress
from casesearch_pd.reading.fetch.pipeline import read_frame
from casesearch_pd.reading.options import Query, ReadOptions, binding_context
from casesearch_pd.reading.plan import plan_read
from casesearch_pd.reading.progress import progress_bar
from casesearch_pd.sources.transport.context import ReadContext
from tests.numbered_cases import CASES, PLAIN, SERVICES, serve_cases

ALL = len(CASES)


@pytest.fixture(scope="module")
def service():
    with serve_cases(25, pages_before_workers=3, min_split_pages=2) as service:
        yield service


class RecordingBar:
    """A bar that records its calls."""

    def __init__(self):
        self.total, self.passes, self.rows, self.totals = None, [], 0, []

    def begin(self, number, passes):
        """Record a pass."""
        self.passes.append((number, passes))
        self.rows = 0 if number == 1 else self.rows

    def update(self, rows):
        """Record a page, and what the total was."""
        self.rows += rows
        self.totals.append(self.total)


def read_with_bar(source, *, parts=None, columns=None, limit=None, max_workers=1, lookback=None):
    """Read with a bar, and return it with the frame; the filter may be split by hand."""
    bar = RecordingBar()
    plan = plan_read(source, Query(columns=columns, limit=limit))
    if parts is not None:
        where = tuple(bind(part, binding_context(source.schema, "UTC")) for part in parts)
        plan = replace(plan, pushdown=replace(plan.pushdown, parts=where))
    options = ReadOptions(progress=bar, max_workers=max_workers, lookback=lookback)
    return bar, read_frame(plan, ReadContext(), options)


# --- a bar of the caller's --------------------------------------------------------------------


@pytest.mark.parametrize("name", SERVICES)
def test_all_rows_are_counted_once(local, name):
    bar, frame = read_with_bar(local.sources[name], columns=PLAIN)
    assert bar.passes == [(1, 1)]
    assert set(bar.totals) == {ALL if name == "connect" else None}
    assert bar.rows == len(frame) == ALL


def test_several_workers_share_one_bar(local):
    """Where windows meet, a page is cut; no row is counted twice."""
    bar, _ = read_with_bar(local.sources["connect"], columns=PLAIN, max_workers=4)
    assert set(bar.totals) == {ALL}
    assert bar.rows == ALL


def test_the_total_is_that_of_all_passes(local):
    """With the count of one pass, the second would exceed the end of the bar."""
    bar, frame = read_with_bar(local.sources["connect"])
    assert bar.passes == [(1, 2), (2, 2)]
    assert set(bar.totals) == {2 * ALL}
    assert bar.rows == 2 * len(frame)


def test_the_total_is_known_when_all_parts_are_counted(local):
    """The count of one part would fill the bar too early."""
    halves = [cs.field("count") < 500, cs.field("count") >= 500]
    bar, frame = read_with_bar(local.sources["connect"], columns=PLAIN, parts=halves)
    assert len(frame) == bar.rows == ALL
    assert bar.totals[:46] == [None] * 20 + [ALL] * 26  # then what changed is read again


@pytest.mark.parametrize("wide", [False, True])
@pytest.mark.parametrize(("limit", "rows"), [(40, 40), (99, 99), (5000, ALL)])
def test_the_total_of_a_limited_read_is_its_limit(local, limit, rows, wide):
    """Or what there is, if that is less."""
    columns = None if wide else PLAIN
    bar, frame = read_with_bar(local.sources["connect"], columns=columns, limit=limit)
    assert len(frame) == rows
    assert bar.totals[-1] == bar.rows == rows * (2 if wide else 1)


def test_the_limit_is_the_total_without_a_count(local):
    bar, frame = read_with_bar(local.sources["persona"], columns=PLAIN, limit=130)
    assert (bar.totals, bar.rows, len(frame)) == ([130, 130], 130, 130)


def test_a_result_that_is_read_again_starts_at_zero(local):
    local.faults.append(Fault("total", 3))
    bar = RecordingBar()
    plan = plan_read(local.sources["connect"], Query(columns=PLAIN))
    with pytest.raises(cs.IncompleteReadError):
        read_frame(plan, ReadContext(), ReadOptions(progress=bar, max_workers=1))
    assert bar.passes == [(1, 1), (1, 1)]
    assert (bar.rows, set(bar.totals)) == (ALL, {ALL + 3})


def test_changes_that_are_read_again_add_pages_and_no_rows(local):
    """Otherwise the bar would start over, or exceed its end."""
    local.update(CASES["case_id"][0], title="Case 0")
    bar, _ = read_with_bar(local.sources["connect"], lookback="1000 days")
    assert bar.rows == 2 * ALL
    assert bar.passes == [(1, 2), (2, 2)]
    assert len(bar.totals) > 2 * 46
    assert set(bar.totals) == {2 * ALL}


# --- the bar of tqdm --------------------------------------------------------------------------


def test_the_bar_shows_the_pass(local, capsys):
    read_with_tqdm(local.sources["connect"])
    text = capsys.readouterr().err
    assert f"{2 * ALL}/{2 * ALL}" in text
    assert "pass 2 of 2" in text


def test_a_single_pass_is_not_shown(local, capsys):
    read_with_tqdm(local.sources["connect"], columns=PLAIN)
    text = capsys.readouterr().err
    assert f"{ALL}/{ALL}" in text
    assert "pass" not in text


def read_with_tqdm(source, **options):
    return cs.read_cases(source, progress=True, **options)


def test_a_notebook_bar_gets_its_length(local, monkeypatch):
    """Without a total, it is 20 pixels wide and full from the beginning."""
    bars = []

    def notebook_bar(**options):
        bars.append(tqdm_notebook(display=False, **options))
        return bars[0]

    monkeypatch.setattr(progress, "_Drawing", notebook_bar)
    with progress_bar(progress=True, source=local.sources["connect"]) as bar:
        (drawing,) = bars
        widget = drawing.container.children[1]
        bar.begin(1, 1)
        assert (widget.max, widget.bar_style) == (1, "info")
        bar.total = ALL
        bar.update(ALL)
        drawing.refresh()
        assert (widget.max, widget.value, widget.bar_style) == (ALL, ALL, "")
        assert widget.layout.width is None


@pytest.mark.parametrize("wrong", ["yes", 1, None, [], object(), np.array([True, False])])
def test_an_invalid_progress_is_refused(local, wrong):
    with pytest.raises(cs.FilterError, match="progress must be True, False or 'auto'"):
        cs.read_cases(local.sources["connect"], progress=wrong)


# --- bars that cannot be drawn ----------------------------------------------------------------


class FailingStream(io.StringIO):
    """A terminal that raises an error in one of its methods; an interrupt only once."""

    def __init__(self, method, error):
        super().__init__()
        self.failures = 0
        self._method, self._error = method, error

    def _fail_in(self, method):
        if method == self._method and (isinstance(self._error, Exception) or not self.failures):
            self.failures += 1
            raise self._error

    def write(self, text):
        """Write, or fail."""
        self._fail_in("write")
        return super().write(text)

    def flush(self):
        """Flush, or fail."""
        self._fail_in("flush")

    def isatty(self):
        """Be a terminal, or fail."""
        self._fail_in("isatty")
        return True


def closed_stream():
    stream = io.StringIO()
    stream.close()
    return stream


STREAMS = {
    "none": lambda: None,
    "closed": closed_stream,
    "no stream": object,
    "broken pipe": lambda: FailingStream("write", BrokenPipeError(32, "broken pipe")),
    "full disk": lambda: FailingStream("flush", OSError(28, "no space left")),
    "encoding": lambda: FailingStream("write", UnicodeEncodeError("ascii", "é", 0, 1, "no")),
    "own class": lambda: FailingStream("write", RuntimeError("lost")),
    "isatty": lambda: FailingStream("isatty", ValueError("I/O operation on closed file")),
}


def rows_of_iter_cases(source, **options):
    with cs.iter_cases(source, **options) as chunks:
        return sum(map(len, chunks))


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("mode", [True, np.True_, "auto"])
@pytest.mark.parametrize("name", STREAMS)
def test_a_bar_that_cannot_be_drawn_is_left_out(local, monkeypatch, tmp_path, name, mode):
    """A progress bar is an accessory: the rows come without it."""
    monkeypatch.setattr(progress, "_DELAY", 0)
    monkeypatch.setattr(sys, "stderr", STREAMS[name]())
    source, path = local.sources["connect"], tmp_path / "cases.parquet"
    assert len(cs.read_cases(source, progress=mode)) == ALL
    assert rows_of_iter_cases(source, progress=mode) == ALL
    assert len(pd.read_parquet(cs.to_parquet(source, path, progress=mode))) == ALL
    case_id = CASES["case_id"][0]
    assert len(cs.read_related(source, [case_id], kinds="comment", progress=mode)) == 0


def test_a_stream_that_fails_once_is_not_written_again(local, monkeypatch):
    stream = FailingStream("write", BrokenPipeError(32, "broken pipe"))
    monkeypatch.setattr(sys, "stderr", stream)
    assert len(cs.read_cases(local.sources["persona"], progress=True)) == ALL
    assert stream.failures == 1


@pytest.mark.parametrize(
    "module",
    [
        {},
        {"get_ipython": None},
        {"get_ipython": lambda: None},
        {"get_ipython": lambda: 1 / 0},
    ],
)
def test_ipython_may_be_half_imported(local, monkeypatch, module):
    """While another thread imports IPython, the module lacks some of its names."""
    ipython = types.ModuleType("IPython")
    vars(ipython).update(module)
    monkeypatch.setitem(sys.modules, "IPython", ipython)
    assert len(cs.read_cases(local.sources["connect"])) == ALL


def test_an_interrupt_while_a_bar_is_drawn_ends_the_read(local, monkeypatch):
    """Only errors of the drawing are ignored, not the user's."""
    monkeypatch.setattr(sys, "stderr", FailingStream("write", KeyboardInterrupt()))
    with pytest.raises(KeyboardInterrupt):
        cs.read_cases(local.sources["connect"], progress=True)
