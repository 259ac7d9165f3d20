"""Measure the response times of the filter form in JupyterLab, in the page itself.

It shows the form of the demo source, counts the updates of the progress bar or its text during a
read, cancels, and edits a form of 500 fields with 500 options each. Medians of five, except for the
updates. It needs what the browser tests need. The exit status is 1 if a limit is exceeded.
"""

import shutil
import statistics
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

sys.path.insert(0, str(Path(__file__).parents[1]))  # the browser tests control JupyterLab

from playwright.sync_api import sync_playwright

from tests.browser import servers
from tests.browser.conftest import CHROMIUM, HAS_STARTED, OPTIONS, READY
from tests.browser.harness import in_lab, notebook, run_cell
from tests.browser.watch import watch_context

if TYPE_CHECKING:
    from playwright.sync_api import Page

MAX_RESPONSE, MIN_UPDATES, MAX_CANCEL = 1.0, 2.0, 0.5  # seconds, per second, seconds
_TIMES = 5
_SETUP = """
import casesearch_pd as cs
import pandas as pd
from IPython.display import display
cs.CaseForm(cs.open_source("demo://connect"))  # imports what the first form needs
local = cs.LocalCases(cases=5000, latency=0.05).start()
slow = local.connect_cases(page_size=25)
choices = pd.Categorical(["option 1"], [f"option {at}" for at in range(500)])
fields = {f"Field {at}": choices for at in range(499)}
frame = pd.DataFrame({"created_at": [pd.Timestamp("2026-01-01", tz="UTC")], **fields})
large = cs.LocalCases(frame).start().connect_cases()
"""
_DEMO = "display(cs.CaseForm(cs.open_source('demo://connect')))"
_SLOW = "form = cs.CaseForm(slow, columns=['case_id', 'title'])\ndisplay(form)"
_LARGE = "len(large.schema.fields), len(large.schema.fields[-1].options)"
# The seconds from an action until its result is visible.
_MEASURE_TIME = """async () => {
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
_OPTION_COUNT = "last('.cs-row .cs-options select')?.options.length"
# The updates of the progress bar or its text, from the first page to the end.
_COUNT_UPDATES = """async () => {
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
    """Open a notebook in JupyterLab, in a browser that can reach this machine only."""
    root = folder / "notebooks"
    root.mkdir()
    path = notebook(root, "form", "0")
    chromium = next(filter(None, map(shutil.which, CHROMIUM)), None)
    if chromium is None:
        sys.exit("the form is measured in Chromium, which was not found; install it")
    with servers.lab(root, folder / "home") as server, sync_playwright() as playwright:
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
    """Return the time from an action in the page until a condition holds."""
    return in_lab(page, _MEASURE_TIME % (act, until))


def print_line(name: str, value: float, unit: str, limit: float | None = None) -> bool:
    """Print one line of the table; return whether the value is within the limit."""
    within = limit is None or (value >= limit if unit == "/s" else value <= limit)
    verdict = "" if limit is None else f"  of {limit:g}{'' if within else '   MISSED'}"
    print(f"{name:<52}{value:>8.2f} {unit}{verdict}", flush=True)
    return within


def measure_demo(page: "Page") -> Iterator[bool]:
    """Show the form of the demo source, including discovery."""
    times = [seconds(page, f"run({_DEMO!r})", _IS_SHOWN) for _ in range(_TIMES)]
    yield print_line("the form of the demo source", statistics.median(times), "s", MAX_RESPONSE)


def measure_run(page: "Page") -> Iterator[bool]:
    """Search and cancel with a service whose pages take 50 ms."""
    seconds(page, f"run({_SLOW!r})", _IS_SHOWN)
    updates, wall = in_lab(page, _COUNT_UPDATES)
    yield print_line(f"updates in a read of {wall:.1f} s", updates / wall, "/s", MIN_UPDATES)
    times = []
    for _ in range(_TIMES):
        seconds(page, "last('.cs-search').click()", "/[1-9]\\d* of 5,000/.test(say('.cs-status'))")
        ended = "say('.cs-problem').includes('Cancelled')"
        times.append(seconds(page, "last('.cs-cancel').click()", ended))
    yield print_line("cancel, from click to message", statistics.median(times), "s", MAX_CANCEL)


def measure_large(page: "Page") -> Iterator[bool]:
    """Edit a form of 500 fields with 500 options each."""
    print(f"fields, and options of the last one: {run_cell(page, _LARGE)}")
    run = "run('display(cs.CaseForm(large))')"
    steps = {
        "the form of 500 fields with 500 options": (run, _IS_SHOWN),
        "…, add a row": ("last('.cs-add-row').click()", "every('.cs-row').length > rows"),
        "…, choose a field": ("type('.cs-field input', 'Field 250')", f"{_OPTION_COUNT} === 500"),
        "…, find an option": (
            "type('.cs-row .cs-find input', 'option 499')",
            f"{_OPTION_COUNT} === 1",
        ),
        "…, a key until its message": (
            "type('.cs-field input', 'Field 250q')",
            "say('.cs-row .cs-message') !== before",
        ),
    }
    times: dict[str, list[float]] = {name: [] for name in steps}
    for _ in range(_TIMES):
        for name, step in steps.items():
            times[name].append(seconds(page, *step))
        in_lab(page, "async () => jupyterapp.commands.execute('notebook:clear-all-cell-outputs')")
    for name, values in times.items():
        yield print_line(name, statistics.median(values), "s", MAX_RESPONSE)


def main() -> int:
    """Print the table."""
    with tempfile.TemporaryDirectory() as folder, lab(Path(folder)) as page:
        run_cell(page, _SETUP)
        verdicts = [*measure_demo(page), *measure_run(page), *measure_large(page)]
    return 0 if all(verdicts) else 1


if __name__ == "__main__":
    sys.exit(main())
