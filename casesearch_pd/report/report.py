"""How a report looks: on a screen, light or dark, and on paper."""

from __future__ import annotations

import io
import warnings
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from casesearch_pd.analysis import metrics as numbers
from casesearch_pd.analysis.display_names import labels
from casesearch_pd.analysis.lifecycle import service_of
from casesearch_pd.export.csv_excel import replace_file
from casesearch_pd.reading.frames.frame import require_distinct_columns
from casesearch_pd.render.cell_text import cell_format, cell_texts, heading
from casesearch_pd.render.html import document, element, image, table
from casesearch_pd.report.sections import (
    MissingColumnError,
    ReportContext,
    Section,
    figures,
    groups,
    note,
    omission_note,
    provenance_section,
    section,
    shorten_cell,
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
    from casesearch_pd.plots import CasePlots

__all__ = ["STYLE", "listing", "pictures", "report"]

STYLE = """
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

_ROWS = 200
_COLUMNS = 10
_WORDS = 24  # characters of a cell that would rather have a wide column
_FIRST = (
    "case_id", "reference", "title", "status", "priority", "queue", "assignee", "created_at",
    "closed_at", "sla_at",
)  # fmt: skip
_IDS = {"queue", "assignee", "template_id", "customer_id", "created_by"}  # `names` has words for


def listing(about: ReportContext) -> Iterator[Element]:
    """Make a table of the first cases, and say what is left out."""
    columns = _columns(about.cases)
    shown = about.cases.head(_ROWS)[columns]
    yield element("p", _left_out(about.cases, columns), class_="quiet")
    cells = {column: _cells(shown[column], about.names) for column in columns}
    looks = [cell_format(shown[column], texts, _WORDS) for column, texts in cells.items()]
    yield table(
        f"{len(shown):,} cases",
        [shorten_cell(heading(shown[column])) for column in columns],
        zip(*cells.values(), strict=True),
        looks=dict(enumerate(looks)),
    )


def _columns(cases: pd.DataFrame) -> list[Any]:
    """Choose columns that most want to see, then others; one name, one column."""
    once = cases.columns[~cases.columns.duplicated(keep=False)]
    filled = [name for name in once if name not in _FIRST and cases[name].notna().any()]
    return [*(name for name in _FIRST if name in once), *filled][:_COLUMNS]


def _left_out(cases: pd.DataFrame, columns: list[Any]) -> str:
    rows, others = len(cases) - _ROWS, cases.shape[1] - len(columns)
    said = [
        f"The first {_ROWS} cases in the order of the frame; {rows:,} more are left out."
        if rows > 0
        else "All cases, in the order of the frame.",
        f"{others} of {cases.shape[1]} columns are left out." if others else "",
    ]
    return " ".join(said).strip()


def _cells(column: pd.Series[Any], names: DisplayNames) -> list[str]:
    if names is not None and column.name in _IDS:
        known = column.dropna().unique()
        column = column.map(dict(zip(known, labels(known, names), strict=True)))
    return [shorten_cell(text) for text in cell_texts(column)]


_SIZE = (8, 4.5)  # inches
# Text stays text, so that the browser's fonts show what matplotlib's do not have; the same cases
# make the same bytes.
_DRAWN: dict[Any, Any] = {"svg.fonttype": "none", "svg.hashsalt": "cases"}
_POINTS = 5_000  # of a line or area: more than the width of a picture in pixels, by far
_DPI = 150  # of what is drawn in pixels
_GROUPED = ("queue", "assignee", "status")


def pictures(about: ReportContext) -> Iterator[Element]:
    """Draw what the columns of the frame allow, and say what they do not."""
    drawn: list[Element] = []
    parts: dict[str, Section] = {}
    for what, draw in _drawings(about).items():
        with section() as parts[what]:
            drawn.append(_figure(draw))
        if parts[what].notes:
            drawn[-1].append(element("figcaption", " ".join(parts[what].notes)))
    yield element("div", *drawn, class_="pictures")
    yield from omission_note(parts)


def _drawings(about: ReportContext) -> dict[str, Callable[[Axes], Axes]]:
    """Name what is drawn, in order."""
    from casesearch_pd.plots import CasePlots  # noqa: PLC0415 - matplotlib is dear

    plot = CasePlots(about.cases)
    grouped = [by for by in _GROUPED if by in about.cases and about.cases[by].notna().any()]
    return {
        "what came and was closed": lambda ax: plot.flow(ax=ax),
        "backlog": lambda ax: plot.backlog(ax=ax),
        "ages of open cases": lambda ax: plot.ages(ax=ax),
        "time to close": lambda ax: plot.time_to_close(ax=ax),
        **{f"cases by {by}": partial(_breakdown, plot, by, about.names) for by in grouped},
        "SLA": partial(_sla, plot, about.cases),
        "hours of the week": lambda ax: plot.heatmap(ax=ax),
    }


def _breakdown(plot: CasePlots, by: str, names: DisplayNames, ax: Axes) -> Axes:
    return plot.breakdown(by, names=names, ax=ax)


def _sla(plot: CasePlots, cases: pd.DataFrame, ax: Axes) -> Axes:
    """Draw what share was in time, unless only those are known that were not."""
    drawn = plot.sla(ax=ax)
    if not numbers.within_sla(cases)[~numbers.is_open(cases).to_numpy()].notna().any():
        raise MissingColumnError(
            "no closed case tells its SLA, so nobody knows which ones were in time"
        )
    return drawn


def _figure(draw: Callable[[Axes], Axes]) -> Element:
    """Draw on a figure of our own, whatever styles and figures the session has."""
    import matplotlib as mpl  # noqa: PLC0415 - dear
    from matplotlib import style  # noqa: PLC0415
    from matplotlib.figure import Figure  # noqa: PLC0415

    from casesearch_pd.plots.common import describe_plot  # noqa: PLC0415

    drawn = io.BytesIO()
    with warnings.catch_warnings(), style.context("default"), mpl.rc_context(_DRAWN):
        # Missing glyphs are missing in the measurements only: the browser draws the text.
        warnings.filterwarnings("ignore", message="Glyph")
        figure = Figure(figsize=_SIZE, layout="constrained")
        ax = draw(figure.add_subplot())
        _bound(ax)
        figure.savefig(drawn, format="svg", dpi=_DPI, metadata={"Date": None})
    return element("figure", image(drawn.getvalue(), describe_plot(ax)))


def _bound(ax: Axes) -> None:
    """Draw in pixels what has so many points that the file would be of the size of the cases."""
    lines: list[Any] = [*ax.lines, *ax.patches]
    for line in lines:
        line.set_rasterized(_points(line.get_path()) > _POINTS)
    for area in ax.collections:
        area.set_rasterized(sum(map(_points, area.get_paths())) > _POINTS)


def _points(path: PlotPath) -> int:
    return len(np.asarray(path.vertices))


_SERVICES = {"connect": "Amazon Connect cases", "persona": "Persona cases"}


def report(
    cases: pd.DataFrame,
    path: str | os.PathLike[str],
    *,
    names: DisplayNames = None,
    title: str | None = None,
) -> Path:
    """Write a report; see `CasesAccessor.report`."""
    require_distinct_columns(cases)
    title = title or _SERVICES.get(service_of(cases) or "", "Cases")
    about = ReportContext.of(cases, names)
    with replace_file(path) as (target, new):
        page = document(title, STYLE, _body(about, title))
        new.write_text(page, encoding="utf-8", errors="replace")
    return target


def _body(about: ReportContext, title: str) -> Iterator[Element]:
    yield element("header", element("h1", title), element("p", _subtitle(about), class_="quiet"))
    yield from _cautions(about)
    yield from figures(about)
    yield element("h2", "Pictures")
    yield from pictures(about)
    yield element("h2", "By group")
    yield from groups(about)
    yield element("h2", "Cases")
    yield from listing(about)
    yield element("h2", "How this was read")
    yield from provenance_section(about)


def _subtitle(about: ReportContext) -> str:
    count = len(about.cases)
    when = f"as of {about.now:%A, %d %B %Y, %H:%M %Z}".rstrip()
    return f"{count:,} {'case' if count == 1 else 'cases'}, {when}"


def _cautions(about: ReportContext) -> Iterator[Element]:
    """Say before all else what is not there."""
    if about.told.get("complete") is False:
        yield note("Incomplete: some cases could not be read, so every figure here is too low.")
    for said in about.told.get("notes", ()):
        yield note(str(said))
    read, here = about.told.get("rows"), len(about.cases)
    if read is not None and read != here:
        yield note(
            f"{read:,} cases were read, and {here:,} are in this report: the frame was changed "
            "afterwards, which the query below does not tell."
        )
