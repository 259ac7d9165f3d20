"""The report: one HTML file for screen, dark or light, and paper."""

from __future__ import annotations

import io
import warnings
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from casesearch_pd.analysis.display_names import plural
from casesearch_pd.analysis.lifecycle import case_count, service_traits
from casesearch_pd.analysis.metrics import sla_attainment, unknown_attainment
from casesearch_pd.reading.atomic import atomic_write
from casesearch_pd.reading.frames.frame import require_distinct_columns
from casesearch_pd.render.html import document, element, image
from casesearch_pd.report.sections import (
    MissingColumnError,
    ReportContext,
    Section,
    case_table,
    figures,
    group_tables,
    note,
    omission_notes,
    provenance_facts,
    section,
)

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Iterator
    from pathlib import Path
    from xml.etree.ElementTree import Element

    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.path import Path as PlotPath

    from casesearch_pd.analysis.display_names import DisplayNames
    from casesearch_pd.plots.accessor import CasePlots

__all__ = ["report"]

_STYLE = """
:root { color-scheme: light dark; --ink: #1b1f24; --paper: #fff; --quiet: #5b6470;
  --line: #d7dce1; --soft: #f4f6f8; --warn: #8a5300; --warned: #fff5e0; }
@media (prefers-color-scheme: dark) {
  :root { --ink: #e6e9ec; --paper: #15181c; --quiet: #9aa5b1; --line: #353c44;
    --soft: #1e2329; --warn: #ffc766; --warned: #2d2415; } }
* { box-sizing: border-box; }
body { margin: 0; background: var(--paper); color: var(--ink);
  font: 16px/1.5 system-ui, "Segoe UI", Roboto, "Helvetica Neue", Arial, sans-serif; }
main { max-width: 68rem; margin: 0 auto; padding: 2rem 1.25rem 4rem; }
h1 { font-size: 1.9rem; line-height: 1.2; margin: 0 0 .3rem; overflow-wrap: anywhere; }
h2 { font-size: 1.25rem; margin: 2.6rem 0 .8rem; padding-bottom: .3rem;
  border-bottom: 1px solid var(--line); }
h3 { font-size: 1rem; margin: 1.4rem 0 .4rem; }
p { margin: .4rem 0; }
ul { margin: .3rem 0; padding-left: 1.3rem; }
.quiet, figcaption, caption { color: var(--quiet); }
.note { background: var(--warned); color: var(--warn); border-left: 4px solid currentColor;
  padding: .5rem .8rem; margin: .7rem 0; overflow-wrap: anywhere; }
.figures { display: grid; gap: .8rem; margin: 1.2rem 0 0;
  grid-template-columns: repeat(auto-fill, minmax(11rem, 1fr)); }
.figures div { background: var(--soft); border: 1px solid var(--line); border-radius: .5rem;
  padding: .7rem .9rem; }
.figures dt { color: var(--quiet); font-size: .85rem; }
.figures dd { margin: 0; font-size: 1.5rem; font-weight: 600; font-variant-numeric: tabular-nums; }
.figures dd small { display: block; font-size: .8rem; font-weight: 400; color: var(--quiet); }
.pictures { display: grid; gap: 1.2rem;
  grid-template-columns: repeat(auto-fill, minmax(min(30rem, 100%), 1fr)); }
figure { margin: 0; break-inside: avoid; }
figure img { display: block; width: 100%; height: auto; background: #fff;
  border: 1px solid var(--line); border-radius: .5rem; padding: .5rem; }
figcaption { font-size: .85rem; margin-top: .3rem; overflow-wrap: anywhere; }
.wide { overflow-x: auto; margin: 1rem 0; }
table { border-collapse: collapse; min-width: 100%; font-size: .875rem; }
caption { text-align: left; padding: .2rem 0 .4rem; }
th, td { text-align: left; vertical-align: top; padding: .35rem .6rem;
  border-bottom: 1px solid var(--line); max-width: 22rem;
  overflow-wrap: break-word; }
thead th { background: var(--soft); white-space: nowrap; }
tbody th { font-weight: 400; }
.number { text-align: right; font-variant-numeric: tabular-nums; }
.time { white-space: nowrap; }
.long { min-width: 14rem; }
pre { background: var(--soft); border: 1px solid var(--line); border-radius: .5rem;
  padding: .7rem .9rem; white-space: pre-wrap; overflow-wrap: anywhere; font-size: .85rem; }
dl.facts { display: grid; grid-template-columns: max-content 1fr; gap: .2rem 1.2rem;
  margin: .5rem 0; }
summary { cursor: pointer; color: var(--quiet); margin: 1rem 0 .3rem; }
dl.facts dt { color: var(--quiet); }
dl.facts dd { margin: 0; overflow-wrap: anywhere; }
@media print {
  :root { --ink: #000; --paper: #fff; --quiet: #444; --line: #bbb; --soft: #fff; --warn: #000;
    --warned: #fff; }
  main { max-width: none; padding: 0; }
  body { font-size: 11px; }
  table { font-size: 9px; }
  .wide { overflow: visible; }
  th, td { overflow-wrap: anywhere; padding: .2rem .3rem; }
  thead th, .time { white-space: normal; }
  .long { min-width: 0; }
  .pictures { grid-template-columns: 1fr 1fr; }
  thead { display: table-header-group; }
  tr { break-inside: avoid; } }
"""

_CHART_SIZE = (8, 4.5)  # inches
# Text stays text, so that the browser's fonts show what matplotlib's do not have; the salt makes
# the same cases give the same bytes.
_SVG_PARAMS: dict[Any, Any] = {"svg.fonttype": "none", "svg.hashsalt": "cases"}
_MAX_POINTS = 5_000  # of a line or area drawn as vectors
_DPI = 150  # of lines and areas drawn as pixels
_CHART_GROUPS = ("queue", "assignee", "status")


def report(
    cases: pd.DataFrame,
    path: str | os.PathLike[str],
    *,
    names: DisplayNames = None,
    title: str | None = None,
    labels: bool = False,
) -> Path:
    """Write a report; see `CasesAccessor.report`."""
    require_distinct_columns(cases)
    service = service_traits(cases).display_name
    title = title or (f"{service} cases" if service else "Cases")
    context = ReportContext.of(cases, names, labels=labels)
    with atomic_write(path) as (target, temporary):
        page = document(title, _STYLE, _body(context, title))
        # A title may contain half a surrogate pair, which UTF-8 cannot encode.
        temporary.write_text(page, encoding="utf-8", errors="replace")
    return target


def _body(context: ReportContext, title: str) -> Iterator[Element]:
    yield element("header", element("h1", title), element("p", _subtitle(context), class_="quiet"))
    yield from _cautions(context)
    yield from figures(context)
    yield element("h2", "Charts")
    yield from _charts(context)
    yield element("h2", "By group")
    yield from group_tables(context)
    yield element("h2", "Cases")
    yield from case_table(context)
    yield element("h2", "Provenance")
    yield from provenance_facts(context)


def _subtitle(context: ReportContext) -> str:
    time = f"as of {context.now:%A, %d %B %Y, %H:%M %Z}".rstrip()
    return f"{plural(case_count(context.cases), 'case')}, {time}"


def _cautions(context: ReportContext) -> Iterator[Element]:
    """Yield notes on what is missing, which stand before everything else."""
    provenance = context.provenance
    if provenance.complete is False:
        yield note(
            "Incomplete result: some cases could not be read, so every number here may be too low."
        )
    yield from (note(str(text)) for text in provenance.notes)
    read, here = provenance.rows, case_count(context.cases)
    if read is not None and read != here:
        yield note(
            f"{read:,} cases were read, and {here:,} are in this report: the DataFrame was "
            "changed after the read, which the query below does not show."
        )


def _charts(context: ReportContext) -> Iterator[Element]:
    """Yield the charts for which the frame has the columns, and notes on the others."""
    charts: list[Element] = []
    sections: dict[str, Section] = {}
    for name, draw in _drawings(context).items():
        with section() as sections[name]:
            charts.append(_chart(draw))
        if sections[name].warnings:
            charts[-1].append(element("figcaption", " ".join(sections[name].warnings)))
    yield element("div", *charts, class_="pictures")
    yield from omission_notes(sections)


def _drawings(context: ReportContext) -> dict[str, Callable[..., Axes]]:
    """Return the function that draws each chart, in order."""
    from casesearch_pd.plots.accessor import CasePlots  # noqa: PLC0415 - imports matplotlib

    plot = CasePlots(context.cases)
    columns = [
        by for by in _CHART_GROUPS if by in context.cases and context.cases[by].notna().any()
    ]
    return {
        "flow": plot.flow,
        "backlog": plot.backlog,
        "ages of open cases": plot.ages,
        "time to close": plot.time_to_close,
        **{
            f"cases by {by}": partial(plot.breakdown, by, names=context.names_of(by))
            for by in columns
        },
        "SLA": partial(_sla, plot, context.cases),
        "hours of the week": plot.heatmap,
    }


def _sla(plot: CasePlots, cases: pd.DataFrame, *, ax: Axes) -> Axes:
    plot.sla(ax=ax)  # raises first if columns are missing
    if sla_attainment(cases).isna().all():
        raise MissingColumnError(unknown_attainment(cases))
    return ax


def _chart(draw: Callable[..., Axes]) -> Element:
    """Return a chart on a figure of its own, whatever styles and figures the session has."""
    import matplotlib as mpl  # noqa: PLC0415 - slow to import
    from matplotlib import style  # noqa: PLC0415
    from matplotlib.figure import Figure  # noqa: PLC0415

    from casesearch_pd.plots.common import describe_plot  # noqa: PLC0415

    svg = io.BytesIO()
    with warnings.catch_warnings(), style.context("default"), mpl.rc_context(_SVG_PARAMS):
        # A missing glyph affects only the layout: the browser draws the text.
        warnings.filterwarnings("ignore", message="Glyph")
        figure = Figure(figsize=_CHART_SIZE, layout="constrained")
        ax = draw(ax=figure.add_subplot())
        _rasterize_large_artists(ax)
        figure.savefig(svg, format="svg", dpi=_DPI, metadata={"Date": None})
    return element("figure", image(svg.getvalue(), describe_plot(ax)))


def _rasterize_large_artists(ax: Axes) -> None:
    # As vectors, lines with a point per case would make the file as large as the cases.
    lines: list[Any] = [*ax.lines, *ax.patches]
    for line in lines:
        line.set_rasterized(_points(line.get_path()) > _MAX_POINTS)
    for area in ax.collections:
        area.set_rasterized(sum(map(_points, area.get_paths())) > _MAX_POINTS)


def _points(path: PlotPath) -> int:
    return len(np.asarray(path.vertices))
