"""How quick the filter form is in JupyterLab, measured in the page: `python bench/form.py`.

It shows the form on the demo source, counts how often the bar or its words change while pages
arrive, cancels, and edits a form of 500 fields with 500 options each. Medians of five, but for
the bar. It needs what the browser tests need. Ends with status 1 where a limit is missed.
"""

import shutil
import statistics
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

sys.path.insert(0, str(Path(__file__).parents[1]))  # the browser tests know how Lab is driven

from playwright.sync_api import sync_playwright

from tests.browser import servers
from tests.browser.conftest import CHROMIUM, HAS_STARTED, OPTIONS, READY
from tests.browser.harness import in_lab, notebook, run_cell
from tests.browser.watch import watch_context

if TYPE_CHECKING:
    from playwright.sync_api import Page

SHOWN, CHANGES, CANCELLED = 1.0, 2.0, 0.5  # seconds, a second, seconds
_TIMES = 5
_SERVED = """
import casesearch_pd as cs
import pandas as pd
from IPython.display import display
cs.CaseForm(cs.open_source("demo://connect"))  # what a first form imports
local = cs.LocalCases(cases=5000, latency=0.05).start()
slow = local.connect_cases(page_size=25)
choices = pd.Categorical(["option 1"], [f"option {at}" for at in range(500)])
fields = {f"Field {at}": choices for at in range(499)}
frame = pd.DataFrame({"created_at": [pd.Timestamp("2026-01-01", tz="UTC")], **fields})
crowd = cs.LocalCases(frame).start().connect_cases()
"""
_DEMO = "display(cs.CaseForm(cs.open_source('demo://connect')))"
_SLOW = "form = cs.CaseForm(slow, columns=['case_id', 'title'])\ndisplay(form)"
_CROWD = "len(crowd.schema.fields), len(crowd.schema.fields[-1].options)"
# How long it takes from doing something until it is seen, in seconds.
_TIMED = """async () => {
    const every = css => [...document.querySelectorAll(css)];
    const last = css => every(css).at(-1);
    const say = css => last(css)?.textContent ?? '';
    const type = (css, text) => {
        const box = last(css);
        box.value = text;
        box.dispatchEvent(new Event('input', {bubbles: true}));
    };
    const run = async source => {
        const cells = jupyterapp.shell.currentWidget.content;
        cells.activeCellIndex = cells.widgets.length - 1;
        await jupyterapp.commands.execute('notebook:insert-cell-below');
        cells.activeCell.model.sharedModel.setSource(source);
        start = performance.now();
        jupyterapp.commands.execute('notebook:run-cell');
    };
    const rows = every('.cs-row').length, forms = every('.cs-search').length;
    const before = say('.cs-row .cs-message');
    let start = performance.now();
    await (%s);
    while (!(%s)) await new Promise(requestAnimationFrame);
    return (performance.now() - start) / 1000;
}"""
_IS_SHOWN = "every('.cs-search').length > forms && last('.cs-search').offsetHeight"
_OFFERED = "last('.cs-row .cs-options select')?.options.length"
# How often the bar or its words change, from the first page to the end.
_COUNTED = """async () => {
    const line = [...document.querySelectorAll('.cs-line')].at(-1);
    const look = () => line.querySelector('.cs-status').textContent
        + line.querySelector('.progress-bar, .cs-bar [style*=width]')?.style.width;
    const times = [];
    let seen = look();
    const observer = new MutationObserver(() => {
        if (look() !== seen) { seen = look(); times.push(performance.now()); }
    });
    observer.observe(line, {attributes: true, characterData: true, childList: true, subtree: true});
    line.querySelector('.cs-search').click();
    while (!line.textContent.includes(' read:')) await new Promise(requestAnimationFrame);
    observer.disconnect();
    return [times.length, (times.at(-1) - times[0]) / 1000];
}"""


@contextmanager
def lab(folder: Path) -> Iterator["Page"]:
    """Open a notebook in Lab, in a browser that reaches this machine only."""
    shown = folder / "shown"
    shown.mkdir()
    path = notebook(shown, "form", "0")
    chromium = next(filter(None, map(shutil.which, CHROMIUM)), None)
    if chromium is None:
        sys.exit("there is no Chromium to measure the form in; install it")
    with servers.lab(shown, folder / "home") as server, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=OPTIONS)
        context = browser.new_context(viewport={"width": 1280, "height": 900})
        watch_context(context)
        page = context.new_page()
        page.goto(f"{server.url}/lab/tree/{path.name}?token={server.token}&reset")
        page.wait_for_function(HAS_STARTED)
        in_lab(page, READY, "JupyterLab Light")
        yield page
        browser.close()


def seconds(page: "Page", act: str, until: str) -> float:
    """Do something in the page; tell how long it takes until it is seen."""
    return in_lab(page, _TIMED % (act, until))


def show(what: str, value: float, unit: str, limit: float | None = None) -> bool:
    """Print one line of the table; tell whether the limit is kept."""
    kept = limit is None or (value >= limit if unit == "/s" else value <= limit)
    told = "" if limit is None else f"  of {limit:g}{'' if kept else '   MISSED'}"
    print(f"{what:<52}{value:>8.2f} {unit}{told}", flush=True)
    return kept


def measure_demo(page: "Page") -> Iterator[bool]:
    """Show the form on the demo source, discovery included."""
    taken = [seconds(page, f"run({_DEMO!r})", _IS_SHOWN) for _ in range(_TIMES)]
    yield show("the form on the demo source", statistics.median(taken), "s", SHOWN)


def measure_run(page: "Page") -> Iterator[bool]:
    """Search and cancel on a service whose pages take 50 ms."""
    seconds(page, f"run({_SLOW!r})", _IS_SHOWN)
    changes, wall = in_lab(page, _COUNTED)
    yield show(f"changes while pages arrive, in {wall:.1f} s", changes / wall, "/s", CHANGES)
    taken = []
    for _ in range(_TIMES):
        seconds(page, "last('.cs-search').click()", "/[1-9]\\d* of 5,000/.test(say('.cs-status'))")
        ended = "say('.cs-problem').includes('Cancelled')"
        taken.append(seconds(page, "last('.cs-cancel').click()", ended))
    yield show("cancel, from the click to the word", statistics.median(taken), "s", CANCELLED)


def measure_crowd(page: "Page") -> Iterator[bool]:
    """Edit a form of 500 fields with 500 options each."""
    print(f"fields, and options of one: {run_cell(page, _CROWD)}")
    run = "run('display(cs.CaseForm(crowd))')"
    steps = {
        "the form on 500 fields of 500 options": (run, _IS_SHOWN),
        "…, add a row": ("last('.cs-add-row').click()", "every('.cs-row').length > rows"),
        "…, choose a field": ("type('.cs-field input', 'Field 250')", f"{_OFFERED} === 500"),
        "…, find an option": ("type('.cs-row .cs-find input', 'option 499')", f"{_OFFERED} === 1"),
        "…, a key until its message": (
            "type('.cs-field input', 'Field 250q')",
            "say('.cs-row .cs-message') !== before",
        ),
    }
    taken: dict[str, list[float]] = {name: [] for name in steps}
    for _ in range(_TIMES):
        for name, step in steps.items():
            taken[name].append(seconds(page, *step))
        in_lab(page, "async () => jupyterapp.commands.execute('notebook:clear-all-cell-outputs')")
    for name, times in taken.items():
        yield show(name, statistics.median(times), "s", SHOWN)


def main() -> int:
    """Print the table."""
    with tempfile.TemporaryDirectory() as folder, lab(Path(folder)) as page:
        run_cell(page, _SERVED)
        kept = [*measure_demo(page), *measure_run(page), *measure_crowd(page)]
    return 0 if all(kept) else 1


if __name__ == "__main__":
    sys.exit(main())
