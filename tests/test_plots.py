"""Pictures: what they say with none, one and many cases, and what they leave behind."""

import warnings

import matplotlib as mpl
import pandas as pd
import pytest
from matplotlib.figure import Figure

from casesearch_pd.notebook import plots

mpl.use("agg")
plt = pytest.importorskip("matplotlib.pyplot")

NOW = pd.Timestamp("2026-03-14T12:00Z")


@pytest.fixture(autouse=True)
def _no_figure_is_left():
    yield
    plt.close("all")


def created(*days):
    return pd.Series(NOW - pd.to_timedelta(list(days), unit="D"), dtype="datetime64[us, UTC]")


def drawn(series, now=NOW):
    ax = Figure().add_subplot()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        plots.ages(series, now, ax)
        ax.figure.canvas.draw()
    return ax


def bars(ax):
    names = [tick.get_text() for tick in ax.get_xticklabels()]
    return dict(zip(names, [int(bar.get_height()) for bar in ax.patches], strict=True))


def test_no_open_case_is_a_picture_too():
    ax = drawn(created())
    assert sum(bars(ax).values()) == 0
    assert ax.get_title().startswith("0 open cases")


def test_one_open_case():
    ax = drawn(created(3))
    assert bars(ax) == {"under 1": 0, "1 to 2": 0, "2 to 4": 1}
    assert ax.get_title() == "1 open cases by age, 2026-03-14 12:00 UTC"


def test_many_open_cases_fall_into_spans_that_grow():
    ax = drawn(created(*range(400)))
    counted = bars(ax)
    assert counted["under 1"] == 1
    assert counted["7 to 14"] == 7
    assert counted["over 365"] == 35
    assert sum(counted.values()) == 400
    assert ax.get_title().startswith("400 open cases")


@pytest.mark.parametrize("days", [0, 1, 2, 364.9, 365, 366, 4000])
def test_every_case_is_in_a_bar(days):
    """A case at the edge of a span must not fall between two."""
    assert sum(bars(drawn(created(days))).values()) == 1


def test_a_case_of_this_very_second_is_counted():
    """The service tells its clock in whole seconds, so a new case may seem to come from later."""
    assert bars(drawn(created(-0.5 / 86_400)))["under 1"] == 1


def test_cases_without_a_time_are_left_out():
    ax = drawn(pd.concat([created(1), pd.Series([pd.NaT], dtype="datetime64[us, UTC]")]))
    assert sum(bars(ax).values()) == 1
    assert ax.get_title().startswith("1 open")


@pytest.mark.parametrize(
    "dtype", ["datetime64[us, Europe/Berlin]", "timestamp[us, tz=UTC][pyarrow]"]
)
def test_every_backend_and_zone_is_drawn(dtype):
    assert bars(drawn(created(3, 3).astype(dtype)))["2 to 4"] == 2


def test_axes_say_what_they_show():
    ax = drawn(created(1, 2))
    assert ax.get_xlabel() == "age (days)"
    assert ax.get_ylabel() == "open cases"
    assert [text.get_text() for text in ax.texts] == ["", "1", "1"]


def test_the_given_axes_are_drawn_on_and_returned():
    """A figure of our own beside the user's would be left open, and shown twice in a notebook."""
    ax = Figure().add_subplot()
    assert plots.ages(created(1), NOW, ax) is ax
    assert plt.get_fignums() == []


def test_without_axes_there_is_one_new_figure(monkeypatch):
    monkeypatch.setattr(plt, "show", lambda *_, **__: pytest.fail("a library never shows"))
    ax = plots.ages(created(1), NOW)
    assert plt.get_fignums() == [ax.figure.number]
