"""Plots: what they show with none, one and many cases, and what they leave unchanged."""

import json
import re
import runpy
from pathlib import Path

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from matplotlib import dates as mdates
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.text import Text

import casesearch_pd as cs
from casesearch_pd.analysis.display_names import distinct_labels
from casesearch_pd.plots import common
from casesearch_pd.sources.traits import AMAZON_CONNECT

mpl.use("agg")
plt = pytest.importorskip("matplotlib.pyplot")

NOW = pd.Timestamp("2026-03-14T12:00Z")
DOCS = Path(__file__).parents[1] / "docs"
BACKENDS = [None, "numpy_nullable", "pyarrow"]
# The call of every plot.
PLOTS = {
    "backlog": lambda df, ax: df.cases.plot.backlog(ax=ax),
    "flow": lambda df, ax: df.cases.plot.flow(ax=ax),
    "ages": lambda df, ax: df.cases.plot.ages(ax=ax),
    "time_to_close": lambda df, ax: df.cases.plot.time_to_close(ax=ax),
    "time_to_close_by": lambda df, ax: df.cases.plot.time_to_close("queue", ax=ax),
    "heatmap": lambda df, ax: df.cases.plot.heatmap(ax=ax),
    "breakdown": lambda df, ax: df.cases.plot.breakdown("queue", ax=ax),
    "sla": lambda df, ax: df.cases.plot.sla(ax=ax),
    "sla_by": lambda df, ax: df.cases.plot.sla("queue", ax=ax),
}


@pytest.fixture(autouse=True)
def _close_all_figures():
    yield
    plt.close("all")


def as_of(frame, now=NOW):
    frame.attrs["casesearch"] = json.dumps({"as_of": now.isoformat()})
    return frame


def cases(number, zone="UTC"):
    """Return cases made by arithmetic, so that every numpy version draws the same plots.

    The last one was created a day before the read; one in six is open; of 15 queues the last is
    the largest.
    """
    at = np.arange(number)
    created = NOW - pd.to_timedelta(1 + at[::-1] * 0.31, unit="D")
    closed = created + pd.to_timedelta(0.2 + at * 37 % 23 / 4, unit="D")
    is_open = (at % 6 == 0) | (closed > NOW)
    frame = pd.DataFrame(
        {
            "case_id": [f"c{number:04}" for number in at],
            "status": np.where(is_open, "open", "closed"),
            "created_at": created.as_unit("us"),
            "closed_at": closed.where(~is_open).as_unit("us"),
            "sla_at": (created + pd.to_timedelta(1 + at % 5, unit="D")).as_unit("us"),
            "last_reopened_datetime": (created + pd.Timedelta("6h")).where(at % 29 == 1),
            "queue": [f"queue {min(number % 29, 14)}" for number in at],
        }
    )
    times = ["created_at", "closed_at", "sla_at", "last_reopened_datetime"]
    frame[times] = frame[times].apply(lambda column: column.dt.tz_convert(zone))
    return as_of(frame)


def open_cases(*days):
    """Return open cases of these ages."""
    created = NOW - pd.to_timedelta(list(days), unit="D")
    return as_of(
        pd.DataFrame(
            {
                "case_id": [f"c{at}" for at in range(len(days))],
                "status": "open",
                "created_at": created.astype("datetime64[us, UTC]"),
                "closed_at": pd.Series(pd.NaT, range(len(days)), "datetime64[us, UTC]"),
            }
        )
    )


def render(draw):
    """Draw on a new figure and render it: some errors occur only then."""
    figure = Figure(figsize=(8, 4.5), layout="constrained")
    canvas = FigureCanvasAgg(figure)
    ax = draw(figure.add_subplot())
    canvas.draw()
    return ax


def title(ax):
    return ax.get_title().splitlines()


def labels(axis):
    return [tick.get_text() for tick in axis.get_ticklabels()]


def ages(frame):
    ax = render(frame.cases.plot.ages)
    counts = [int(bar.get_height()) for bar in ax.patches]
    return dict(zip(labels(ax.xaxis), counts, strict=True))


def widths(container):
    return [float(bar.get_width()) for bar in container]


# --- all plots -------------------------------------------------------------------------------


@pytest.mark.parametrize("number", [0, 1, 2, 400])
@pytest.mark.parametrize("name", PLOTS)
def test_any_number_of_cases_has_a_plot(name, number):
    """Warnings are errors: no empty axis limits, no log of 0, no missing glyph."""
    ax = render(lambda ax: PLOTS[name](cases(number), ax))
    assert title(ax)[-1] == "as of 2026-03-14 12:00 UTC"


@pytest.mark.parametrize("name", PLOTS)
def test_the_axes_argument_is_drawn_on_and_returned(name):
    """A second figure would stay open, and be shown twice in a notebook."""
    ax = Figure().add_subplot()
    assert PLOTS[name](cases(20), ax) is ax
    assert plt.get_fignums() == []


@pytest.mark.parametrize("name", PLOTS)
def test_without_axes_there_is_one_new_figure(name, monkeypatch):
    monkeypatch.setattr(plt, "show", lambda *_, **__: pytest.fail("a library never shows"))
    ax = PLOTS[name](cases(20), None)
    assert plt.get_fignums() == [ax.figure.number]


@pytest.mark.parametrize("name", PLOTS)
@pytest.mark.parametrize("backend", BACKENDS)
def test_every_backend_draws_the_same(name, backend):
    frame = cases(60, "Europe/Berlin")
    other = frame if backend is None else frame.convert_dtypes(dtype_backend=backend)
    one, two = (render(lambda ax, df=df: PLOTS[name](df, ax)) for df in (frame, other))
    pixels = [np.asarray(ax.figure.canvas.buffer_rgba()) for ax in (one, two)]
    assert (pixels[0] == pixels[1]).all()


@pytest.mark.parametrize("name", PLOTS)
def test_the_frame_is_not_modified(name):
    frame = cases(30)
    before = frame.copy(deep=True)
    PLOTS[name](frame, Figure().add_subplot())
    pd.testing.assert_frame_equal(frame, before)
    assert frame.attrs == before.attrs


@pytest.mark.parametrize("name", PLOTS)
def test_a_legend_covers_no_data(name):
    ax = render(lambda ax: PLOTS[name](cases(400), ax))
    legend = ax.get_legend()
    if legend is not None:
        # Rounding to pixels may make them overlap a little.
        assert not legend.get_window_extent().padded(-2).overlaps(ax.get_window_extent())
        assert not legend.get_window_extent().overlaps(ax.title.get_window_extent())


def test_plots_of_several_series_have_a_legend():
    """Without one the colours have no meaning."""
    legends = {
        name: render(lambda ax, draw=draw: draw(cases(400), ax)).get_legend()
        for name, draw in PLOTS.items()
    }
    assert {name for name, legend in legends.items() if legend} == {
        "flow",
        "time_to_close_by",
        "breakdown",
    }


@pytest.mark.parametrize("name", PLOTS)
@pytest.mark.parametrize("style", ["dark_background", "ggplot"])
def test_the_user_s_style_applies(name, style):
    """Black text on a black background would be invisible."""
    with plt.style.context(style):
        ax = render(lambda ax: PLOTS[name](cases(60), ax))
        texts = [text for text in ax.findobj(Text) if text.get_text()]
        allowed = {mpl.colors.to_hex(mpl.rcParams[key]) for key in _TEXT_COLOURS}
    assert {mpl.colors.to_hex(text.get_color()) for text in texts} <= allowed


_TEXT_COLOURS = ("text.color", "axes.labelcolor", "xtick.color", "ytick.color")


@pytest.mark.parametrize(
    ("draw", "column"),
    [
        ("backlog", "created_at"),
        ("flow", "closed_at"),
        ("ages", "created_at"),
        ("time_to_close", "closed_at"),
        ("heatmap", "created_at"),
        ("sla", "sla_at"),
    ],
)
def test_a_missing_column_is_named_in_the_error(draw, column):
    frame = cases(5).drop(columns=column)
    with pytest.raises(KeyError, match=rf"columns=.*{column}"):
        getattr(frame.cases.plot, draw)()


def test_a_missing_group_column_is_named_in_the_error():
    with pytest.raises(KeyError, match=r"columns=.*'team'"):
        cases(5).cases.plot.breakdown("team")


@pytest.mark.parametrize("service", ["connect", "persona"])
def test_cases_of_both_services_have_plots(service):
    with cs.LocalCases(cases=200, seed=3, now=NOW.to_pydatetime()) as local:
        frame = cs.read_cases(getattr(local, f"{service}_cases")(), tz="Asia/Tokyo", progress=False)
    for draw in PLOTS.values():
        ax = render(lambda ax, draw=draw: draw(frame, ax))
        assert title(ax)[-1] == "as of 2026-03-14 21:00 JST"


# --- text ------------------------------------------------------------------------------------


def texts_beyond(figure):
    """Return the texts that are not completely within a figure."""
    figure.canvas.draw()
    edges = figure.bbox.padded(0.5)
    boxes = {
        text.get_text(): text.get_window_extent()
        for text in figure.findobj(Text)
        if text.get_text() and text.get_visible()
    }
    return [
        text
        for text, box in boxes.items()
        if box.x0 < edges.x0 or box.x1 > edges.x1 or box.y0 < edges.y0 or box.y1 > edges.y1
    ]


def axes_in_a_subfigure():
    return plt.figure(figsize=(10, 4)).subfigures(1, 2)[1].add_subplot()


FIGURES = {
    "usual": lambda: plt.subplots()[1],
    "small": lambda: plt.subplots(figsize=(3, 2))[1],
    "small and constrained": lambda: plt.subplots(figsize=(3, 2), layout="constrained")[1],
    "fine": lambda: plt.subplots(figsize=(4, 3), dpi=200)[1],
    "without a margin": lambda: plt.figure().add_axes((0, 0, 1, 1)),
    "one of four": lambda: plt.subplots(2, 2)[1][0, 1],
    "in a subfigure": axes_in_a_subfigure,
}


@pytest.mark.parametrize("make", FIGURES.values(), ids=FIGURES)
@pytest.mark.parametrize("name", PLOTS)
def test_all_text_is_within_the_figure(name, make):
    """Titles and legends were cut off in every figure but the package's own."""
    frame = cases(400)
    frame["queue"] = "customer care of the region, " + frame["queue"]
    ax = PLOTS[name](frame, make())
    assert texts_beyond(ax.figure.canvas.figure) == []
    assert min(ax.bbox.size / ax.figure.bbox.size) > 0.05, "something is left of the plot"


def test_a_layout_may_be_asked_for_afterwards():
    figure, axes = plt.subplots(1, 2, figsize=(10, 4))
    for ax in axes:
        cases(30).cases.plot.breakdown("queue", ax=ax)
        assert ax.get_in_layout()
    figure.tight_layout()
    titles = [ax.title.get_window_extent() for ax in axes]
    assert not titles[0].overlaps(titles[1])


EMPTY = {
    "no cases": lambda frame: frame.iloc[:0],
    "no open cases": lambda frame: frame[frame["status"] == "closed"],
    "no case has a known creation time": lambda frame: frame.assign(
        created_at=pd.Series(pd.NaT, frame.index, "datetime64[us, UTC]")
    ),
    "no closed case has a value in sla_at": lambda frame: frame.assign(
        sla_at=pd.Series(pd.NaT, frame.index, "datetime64[us, UTC]")
    ),
}
SAY_NOTHING_ELSE = {
    "no open cases": {"ages"},
    "no case has a known creation time": set(PLOTS) - {"breakdown", "sla", "sla_by"},
    "no closed case has a value in sla_at": {"sla", "sla_by"},
}


@pytest.mark.parametrize("reason", EMPTY)
@pytest.mark.parametrize("name", PLOTS)
def test_an_empty_plot_says_why(name, reason):
    """An empty scale, or a dark field, looks like a measurement."""
    empty = as_of(EMPTY[reason](cases(60)))
    ax = render(lambda ax: PLOTS[name](empty, ax))
    messages = [" ".join(text.get_text().split()) for text in ax.texts]
    if name in SAY_NOTHING_ELSE.get(reason, set(PLOTS)):
        assert messages[0].startswith(reason)
        assert ax.get_legend() is None
        assert ax.images[:] == []
        assert len(ax.figure.axes) == 1
        assert [*ax.get_xticks(), *ax.get_yticks()] == []
    else:
        assert not any(message.startswith("no ") for message in messages)


def test_time_to_close_by_an_outcome_is_not_drawn():
    """Of the status "closed" all are closed, and of "open" none: both curves would mislead."""
    for by in ("status", "closed_at"):
        ax = render(lambda ax, by=by: cases(60).cases.plot.time_to_close(by, ax=ax))
        message = " ".join(ax.texts[0].get_text().split())
        assert message.startswith(f"no time to close by '{by}': it changes when a case is closed")
        assert ax.lines[:] == []


def test_open_cases_without_a_known_creation_are_in_the_title():
    """A case from the future would be in the title of one plot and not of another."""
    frame = open_cases(1, 2, -3, 4)
    frame.loc[3, "created_at"] = pd.NaT
    note = "(2 without a known creation time)"
    assert title(frame.cases.plot.ages())[0] == f"4 open cases by age {note}"
    assert title(frame.cases.plot.backlog())[0] == f"Backlog: 4 open cases {note}"
    assert title(frame.cases.plot.flow())[0] == f"2 cases opened, 0 closed {note}"
    heatmap_title = " ".join(title(frame.cases.plot.heatmap()))
    assert heatmap_title.startswith(f"2 cases by weekday and hour {note} as of")
    assert title(frame.assign(queue="a").cases.plot.breakdown("queue"))[0] == (
        "4 cases (4 open) by queue"
    )


ALIKE = [
    ["customer care of the region north, level 1", "customer care of the region north, level 2"],
    ["a" * 40 + "x" + "b" * 40, "a" * 40 + "y" + "b" * 40, "a" * 40 + "z" + "b" * 40],
    [1234567.1, 1234567.2],
    ["_hidden", "hidden"],
    ["a b", "a\tb", "a\nb"],
    [None, "(missing)", ""],
    ["(empty)", "", "  "],
    ["other (3)", *(f"q{at}" for at in range(14))],
    ["same", "same (2)", "sa\u200bme", "same\x07"],
]


@pytest.mark.parametrize("values", ALIKE)
@pytest.mark.parametrize("draw", ["breakdown", "time_to_close"])
def test_groups_have_different_labels(draw, values):
    """Names that differ only in the middle became one label, of two bars."""
    frame = open_cases(*range(1, len(values) + 1)).assign(queue=pd.Series(values, dtype=object))
    ax = render(lambda ax: getattr(frame.cases.plot, draw)("queue", ax=ax))
    legend = ax.get_legend()
    entries = [text.get_text().rpartition(":")[0] for text in legend.get_texts()]
    drawn = labels(ax.yaxis) if draw == "breakdown" else entries
    assert len(drawn) == min(len(values), 12 if draw == "breakdown" else 7)
    assert len(set(drawn)) == len(drawn)
    assert all(len(label) <= 32 for label in drawn)


@given(st.lists(st.text(st.sampled_from("ab \x00_"), max_size=60), unique=True, max_size=8))
@settings(deadline=None)
def test_labels_of_different_texts_are_different(texts):
    result = distinct_labels(texts)
    assert len(set(result)) == len(texts)
    assert all(len(label) <= 36 for label in result)


# --- ages ------------------------------------------------------------------------------------


def test_no_open_case_has_a_plot():
    assert sum(ages(open_cases()).values()) == 0


def test_one_open_case():
    assert ages(open_cases(3)) == {"<1": 0, "1–2": 0, "2–4": 1}  # noqa: RUF001 - a dash
    assert title(open_cases(3).cases.plot.ages())[0] == "1 open case by age"


def test_many_open_cases_are_in_ranges_of_growing_width():
    counts = ages(open_cases(*range(400)))
    assert counts["<1"] == 1
    assert counts["7–14"] == 7  # noqa: RUF001 - a dash
    assert counts["365+"] == 35
    assert sum(counts.values()) == 400


@pytest.mark.parametrize("days", [0, 1, 2, 364.9, 365, 366, 4000])
def test_every_case_is_in_a_bar(days):
    """A case at the edge of a range must not fall between two."""
    assert sum(ages(open_cases(days)).values()) == 1


def test_a_case_created_in_the_second_of_the_read_is_counted():
    """The service states its clock in whole seconds, so a new case may seem to be later."""
    assert ages(open_cases(-0.5 / 86_400)) == {"<1": 1}


def test_cases_without_a_creation_time_and_closed_ones_are_excluded():
    frame = open_cases(1, 1, 1)
    frame.loc[0, "created_at"] = pd.NaT
    frame.loc[1, "status"] = "Closed"
    assert sum(ages(frame).values()) == 1


def test_ages_need_no_closed_at():
    """A read of the open cases has no reason to include it."""
    assert ages(open_cases(3).drop(columns="closed_at"))["2–4"] == 1  # noqa: RUF001 - a dash


def test_ages_have_axis_and_bar_labels():
    ax = open_cases(1, 2).cases.plot.ages()
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("age (days)", "open cases")
    assert [text.get_text() for text in ax.texts] == ["", "1", "1"]


# --- backlog and flow ------------------------------------------------------------------------


def test_the_backlog_is_what_flow_counts():
    frame = cases(400)
    ax = frame.cases.plot.backlog("W")
    expected = frame.cases.flow("W")["open"]
    assert ax.lines[0].get_ydata().tolist() == [0, *expected]
    assert title(ax)[0] == f"Backlog: {expected.iloc[-1]} open cases"
    assert mdates.num2date(ax.lines[0].get_xdata()[-1]) == NOW


def test_flow_draws_what_flow_counts():
    frame = cases(400)
    ax = frame.cases.plot.flow("MS")
    counts = frame.cases.flow("MS")
    values = {patch.get_label(): list(patch.get_data()[0]) for patch in ax.patches}
    assert values == {name: counts[name].tolist() for name in ("opened", "closed", "reopened")}
    assert title(ax)[0] == f"400 cases opened, {counts['closed'].sum()} closed"
    assert ax.get_ylabel() == "cases per month"


def test_without_reopenings_there_is_no_line_for_them():
    ax = cases(40).drop(columns="last_reopened_datetime").cases.plot.flow()
    assert [text.get_text() for text in ax.get_legend().get_texts()] == ["opened", "closed"]


def test_an_unfinished_period_is_drawn_shorter():
    """Half a month of cases drawn as a full month would look like a fall."""
    edges = mdates.num2date(cases(400).cases.plot.flow("MS").patches[0].get_data().edges)
    assert edges[-2:] == [pd.Timestamp("2026-03-01", tz="UTC"), NOW]


@pytest.mark.parametrize(
    ("days", "unit"), [(0.5, "hour"), (30, "day"), (200, "week"), (1000, "month"), (9000, "year")]
)
def test_the_period_suits_the_time_span(days, unit):
    assert open_cases(days).cases.plot.flow().get_ylabel() == f"cases per {unit}"


def test_an_unknown_freq_is_rejected():
    with pytest.raises(ValueError, match="unknown freq 'fortnight'"):
        cases(5).cases.plot.flow("fortnight")


def test_dates_are_those_of_the_frame_s_zone():
    """Midnight in Auckland is about noon in UTC: the axis would show the day before."""
    frame = cases(100, "Pacific/Auckland")
    ax = render(lambda ax: frame.cases.plot.backlog("D", ax=ax))
    ticks = mdates.num2date(ax.get_xticks(), tz=frame["created_at"].dt.tz)
    assert {tick.hour for tick in ticks} == {0}


def test_survivorship_bias_is_warned_of():
    """A read of open cases has no closings, so its flow is not that of all cases."""
    with cs.LocalCases(cases=60, seed=1) as local:
        frame = cs.read_cases(local.connect_cases(), status="open", progress=False)
    for draw in ("backlog", "flow", "time_to_close"):
        with pytest.warns(UserWarning, match="survivorship bias"):
            getattr(frame.cases.plot, draw)()


# --- heatmap ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("zone", "day", "hour"), [("UTC", 0, 23), ("Europe/Berlin", 1, 0), ("Asia/Kolkata", 1, 4)]
)
def test_a_case_is_in_its_local_hour(zone, day, hour):
    frame = open_cases(1, 1)
    frame["created_at"] = pd.to_datetime(["2026-03-09T23:10Z", None]).tz_convert(zone)
    ax = render(lambda ax: frame.cases.plot.heatmap(ax=ax))
    counts = np.asarray(ax.images[0].get_array())
    assert counts.shape == (7, 24)
    assert counts.sum() == counts[day, hour] == 1
    assert labels(ax.yaxis)[day] == ("Mon", "Tue")[day]
    assert ax.get_xlabel() == f"hour of creation ({zone})"
    assert title(ax)[0] == "1 case by weekday and hour (1 without a known creation time)"


# --- time to close ---------------------------------------------------------------------------


def test_open_cases_are_not_counted_as_closed():
    """Of four cases one was closed after a day, one after three; two are two days old."""
    frame = open_cases(9, 9, 2, 2)
    frame.loc[:1, "status"] = "closed"
    frame["closed_at"] = frame["created_at"] + pd.to_timedelta([1, 3, None, None], unit="D")
    ax = frame.cases.plot.time_to_close()
    days, shares = ax.lines[0].get_data()
    # After a day a quarter; then two are censored, and the last one is closed.
    assert dict(zip(days, shares, strict=True)) == {0: 0, 1: 0.25, 3: 1}
    assert title(ax)[0] == "Time to close of 4 cases: median 3.0 days"
    assert ax.get_xlabel() == "time since creation (days)"


def test_the_band_contains_the_curve():
    ax = cases(400).cases.plot.time_to_close()
    band = ax.collections[0].get_paths()[0].vertices[:, 1]
    shares = ax.lines[0].get_ydata()
    assert 0 <= np.nanmin(band) < shares[-1] < np.nanmax(band) <= 1


def test_without_closed_cases_the_median_is_not_reached():
    assert title(open_cases(1, 2).cases.plot.time_to_close())[0].endswith("median not reached")


def test_each_large_group_has_a_curve_and_the_others_share_one():
    ax = cases(400).cases.plot.time_to_close("queue")
    entries = [text.get_text() for text in ax.get_legend().get_texts()]
    assert len(ax.lines) == len(entries) == 7
    assert re.fullmatch(r"queue 14: [\d.]+ days", entries[0])
    assert re.fullmatch(r"other \(9\): [\d.]+ days", entries[-1])
    assert len({line.get_color() for line in ax.lines}) == 7
    assert len(ax.collections) == 0, "seven bands would hide each other"


def test_few_groups_keep_their_bands():
    frame = cases(400)
    frame["team"] = np.where(np.arange(400) % 2, "red", "blue")
    assert len(frame.cases.plot.time_to_close("team").collections) == 2


def test_a_long_tail_does_not_compress_the_curve():
    frame = cases(400)
    frame.loc[1, "created_at"] = NOW - pd.Timedelta(days=3000)
    assert frame.cases.plot.time_to_close().get_xlim()[1] < 30


def test_a_curve_of_many_steps_is_drawn_with_the_visible_ones():
    """A million steps would take seconds to draw, and megabytes in a report."""
    number = 50_000
    frame = open_cases(*np.linspace(100, 1000, number))
    frame["status"] = "closed"
    frame["closed_at"] = frame["created_at"] + pd.to_timedelta(np.linspace(1, 90, number), unit="D")
    ax = frame.cases.plot.time_to_close()
    days, shares = ax.lines[0].get_data()
    assert len(days) < 2_500
    assert np.interp(45.5, days, shares) == pytest.approx(0.5, abs=1e-3)


# --- breakdown -------------------------------------------------------------------------------


def test_bars_are_the_counts_of_open_and_closed():
    frame = open_cases(1, 1, 1, 1)
    frame["status"] = ["open", "closed", "closed", "pending"]
    frame["queue"] = ["b", "b", "a", "b"]
    ax = frame.cases.plot.breakdown("queue")
    assert labels(ax.yaxis) == ["b", "a"]
    assert {bars.get_label(): widths(bars) for bars in ax.containers} == {
        "open": [2, 0],
        "closed": [1, 1],
    }
    assert title(ax)[0] == "4 cases (2 open) by queue"
    assert ax.yaxis_inverted(), "the largest is on top"


def test_there_are_at_most_twelve_bars():
    frame = cases(400)
    ax = frame.cases.plot.breakdown("queue")
    bar_labels = labels(ax.yaxis)
    assert len(bar_labels) == 12
    assert bar_labels[-1] == "other (4)"
    assert sum(sum(widths(bars)) for bars in ax.containers) == len(frame)


def test_twelve_groups_need_no_other_group():
    frame = open_cases(*range(24)).assign(queue=[f"q{at % 12}" for at in range(24)])
    assert sorted(labels(frame.cases.plot.breakdown("queue").yaxis)) == sorted(
        f"q{at}" for at in range(12)
    )


def test_a_missing_value_is_a_group():
    frame = open_cases(1, 1, 1).assign(queue=["a", None, None])
    assert labels(frame.cases.plot.breakdown("queue").yaxis) == ["(missing)", "a"]


def test_a_case_is_in_the_bar_of_each_of_its_tags():
    tags = pd.Series([["red", "late"], ["red"], [], None], dtype=object)
    ax = open_cases(1, 1, 1, 1).assign(tags=tags).cases.plot.breakdown("tags")
    assert dict(zip(labels(ax.yaxis), widths(ax.containers[0]), strict=True)) == {
        "red": 2,
        "(missing)": 2,
        "late": 1,
    }


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([True, True, False], ["True", "False"]),
        ([1.0, 1.0, 2.5], ["1", "2.5"]),
        ([{"a": 1}, {"a": 1}, {"b": 2}], ["{'a': 1}", "{'b': 2}"]),
    ],
)
def test_any_column_makes_groups(values, expected):
    frame = open_cases(1, 1, 1).assign(group=pd.Series(values))
    assert labels(frame.cases.plot.breakdown("group").yaxis) == expected


@pytest.mark.parametrize(
    "names",
    [
        {"q-1": "Billing"},
        pd.Series({"q-1": "Billing"}),
        lambda queue: "Billing" if queue == "q-1" else None,
    ],
)
def test_names_replace_ids(names):
    frame = open_cases(1, 1, 1).assign(queue=["q-1", "q-1", "q-2"])
    assert labels(frame.cases.plot.breakdown("queue", names=names).yaxis) == ["Billing", "q-2"]
    frame["sla_at"] = NOW - pd.Timedelta(days=1)
    frame["status"], frame["closed_at"] = "closed", NOW
    assert labels(frame.cases.plot.sla("queue", names=names).yaxis) == ["Billing", "q-2"]
    legend = frame.cases.plot.time_to_close("queue", names=names).get_legend()
    assert legend.get_texts()[0].get_text().startswith("Billing: ")


HOSTILE = [
    "$x_{1}$ for $5",
    "\\frac{1}{2} $\\nothing",
    "a_b^c",
    "100%",
    "<img src=x onerror=alert(1)>",
    "line\nbreak\ttab",
    "bell\x07 \u202eback",
    "\ud800 alone",
    "",
    "   ",
    "x" * 10_000,
]


def test_text_is_drawn_literally():
    """Matplotlib would take text between $ signs for a formula, and draw it or raise."""
    column = "the $col_{umn}$\nname"
    frame = cases(len(HOSTILE) * 3)
    frame[column] = pd.Series(HOSTILE * 3, dtype=object)
    for draw in ("breakdown", "time_to_close", "sla"):
        ax = render(lambda ax, draw=draw: getattr(frame.cases.plot, draw)(column, ax=ax))
        legend = ax.get_legend()
        texts = [ax.title, *ax.get_yticklabels(), *(legend.get_texts() if legend else [])]
        with_dollar = [text for text in texts if "$" in text.get_text()]
        assert with_dollar
        assert not any(text.get_parse_math() for text in with_dollar)
        assert all(len(line) < 70 for text in texts for line in text.get_text().splitlines())


def test_long_labels_keep_both_ends():
    frame = open_cases(1, 1).assign(
        queue=["customer care of the region north", "customer care south"]
    )
    assert labels(frame.cases.plot.breakdown("queue").yaxis) == [
        "customer care of t…ion north",
        "customer care south",
    ]


# --- SLA -------------------------------------------------------------------------------------


def cases_with_sla():
    """Return five cases: two met their SLA, two missed it (one is open), one still has time."""
    frame = open_cases(9, 9, 9, 9, 9).assign(queue=["a", "a", "b", "b", "b"])
    frame["sla_at"] = NOW - pd.to_timedelta([8, 1, 1, 1, -1], unit="D")
    frame["closed_at"] = NOW - pd.to_timedelta([8, 2, 0.5, None, None], unit="D")
    frame.loc[:2, "status"] = "closed"
    return frame


def test_attainment_is_the_share_of_known_outcomes():
    ax = cases_with_sla().cases.plot.sla("queue")
    assert labels(ax.yaxis) == ["a", "b"]
    assert widths(ax.containers[0]) == [1, 0]
    assert [text.get_text() for text in ax.texts] == ["100% of 2", "0% of 2"]
    assert title(ax)[0] == "Within SLA: 50% (2 of 4 cases) by queue"


def test_over_time_a_case_counts_when_its_sla_expired():
    """By creation, only the fastest cases of the latest periods would be known."""
    ax = cases_with_sla().cases.plot.sla(freq="D")
    shares = ax.patches[0].get_data()
    days = mdates.num2date(shares.edges[:-1])
    by_day = {day.day: share for day, share in zip(days, shares.values, strict=True) if share >= 0}
    assert by_day == {6: 1, 13: pytest.approx(1 / 3)}
    assert ax.get_xlabel() == "day in which the SLA expired (UTC)"


@pytest.mark.parametrize("traits", [{}, {"traits": AMAZON_CONNECT.to_json()}])
def test_no_attainment_where_closed_cases_have_no_sla(traits):
    """Amazon Connect states only the next breach: a share of the rest would always be 0."""
    frame = cases_with_sla()
    source = {"source": {"service": "connect"}} if traits else {}
    frame.attrs["casesearch"] = json.dumps({"as_of": NOW.isoformat()} | traits | source)
    frame.loc[frame["status"] == "closed", "sla_at"] = pd.NaT
    for ax in (frame.cases.plot.sla(), frame.cases.plot.sla("queue")):
        message = " ".join(ax.texts[0].get_text().split())
        assert message.startswith("no closed case has a value in sla_at, so SLA attainment is")
        assert ("cs.read_related(source, df, kinds='sla')" in message) == bool(traits)
        assert ("Amazon Connect states only the next breach" in message) == bool(traits)
        assert ax.patches[:] == []


def test_groups_and_periods_exclude_each_other():
    with pytest.raises(ValueError, match=r"by=.*freq="):
        cases_with_sla().cases.plot.sla("queue", freq="D")


# --- baseline images -------------------------------------------------------------------------


@pytest.mark.mpl_image_compare(
    style="default",
    tolerance=5,  # of 255: other versions round the edges of lines differently
    savefig_kwargs={"dpi": 60},
)
@pytest.mark.parametrize("name", PLOTS)
def test_plots_match_their_baseline_images(name, monkeypatch):
    """Text is hidden: it is tested above, and fonts differ from version to version."""
    monkeypatch.setattr(common, "_fit", lambda *_: None)
    figure = Figure(figsize=(4, 3))
    canvas = FigureCanvasAgg(figure)
    ax = PLOTS[name](cases(400, "Europe/Berlin"), figure.add_axes((0.1, 0.1, 0.8, 0.8)))
    if ax.get_legend() is not None:
        ax.get_legend().remove()
    for text in figure.findobj(Text):
        text.set_visible(False)
    canvas.draw()  # creates the tick labels
    for text in figure.findobj(Text):
        text.set_visible(False)
    return figure


def test_the_gallery_of_the_readme_is_up_to_date(tmp_path):
    """An outdated image would show what the package no longer draws."""
    paths = runpy.run_path(str(DOCS / "gallery.py"))["draw"](tmp_path)
    assert len(paths) == 4
    for path in paths:
        image = plt.imread(DOCS / path.name)
        assert plt.imread(path).shape == image.shape
        assert abs(plt.imread(path) - image).mean() < 0.05, "draw it again: python docs/gallery.py"
