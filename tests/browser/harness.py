"""Helpers of tests that show a notebook in a real browser.

A test uses the fixture ``folder`` and for ``open_voila`` or ``open_lab``::

    from tests.browser.harness import expect, notebook, run_cell


    def test_a_click_counts(folder, open_lab):
        page = open_lab(notebook(folder, "counter", "import counter", "counter.show()"))
        page.locator(".counter-more").click()
        expect(page.locator(".counter-shown")).to_have_text("1")
        assert run_cell(page, "counter.total") == "1"

``open_voila(path, dark=False)`` and ``open_lab(path, dark=False)`` return the page of Playwright
after every cell was run, and fail with the traceback of a cell that failed.
``run_cell(page, code)`` appends a cell in Lab and returns its text, ``clipboard(page)`` returns
the copied text, and ``screenshot(page, name)`` writes to the folder of CASESEARCH_SCREENSHOTS, if
it is set. The end of each test takes a screenshot of every page.

Each test has a browser context of its own. It fails at its end if a page requested anything from
another machine (which is blocked) or if a script or the console reported an error. Both are
recorded by the fixture ``watch``, from which a test removes what it expects.

Where Playwright or Chromium is missing the tests are skipped; with CASESEARCH_REQUIRE_BROWSER=1
they fail. Tests with Voila and with Lab belong in separate modules: a worker runs whole modules,
and starts only the servers that these use.
"""

import os
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import nbformat

if TYPE_CHECKING:
    from playwright.sync_api import LocatorAssertions, Page

TIMEOUT = 30_000  # milliseconds, for a busy machine
KERNEL = {"name": "python3", "display_name": "Python 3", "language": "python"}
COLOURS = re.compile(r"\x1b\[[\d;]*m")
RUN_CELL = """async source => {
    const cells = jupyterapp.shell.currentWidget.content;
    cells.activeCellIndex = cells.widgets.length - 1;
    await jupyterapp.commands.execute('notebook:insert-cell-below');
    const cell = cells.activeCell;
    cell.model.sharedModel.setSource(source);
    await jupyterapp.commands.execute('notebook:run-cell');
    return cell.model.outputs.toJSON();
}"""


def notebook(folder: Path, name: str, *cells: str) -> Path:
    """Write a notebook of code cells into a folder of the servers."""
    document = nbformat.v4.new_notebook(
        cells=[nbformat.v4.new_code_cell(source) for source in cells],
        metadata={"kernelspec": KERNEL},  # without one Lab asks the user
    )
    path = folder / f"{name}.ipynb"
    nbformat.write(document, path)
    return path


def expect(actual: Any) -> "LocatorAssertions":
    """Return the assertions of Playwright, which are retried until they hold."""
    from playwright import sync_api  # noqa: PLC0415 - tests are collected where it is missing

    return sync_api.expect(actual)


def run_cell(page: "Page", code: str) -> str:
    """Run code in a new cell at the end of the notebook in Lab; fail if the cell fails."""
    return text_of(in_lab(page, RUN_CELL, code))


def in_lab(page: "Page", script: str, *arguments: Any) -> Any:
    """Call an asynchronous function in the page of Lab; fail if the kernel does not respond."""
    return page.evaluate(
        f"""([values, timeout]) => Promise.race([
            ({script})(...values),
            new Promise((_, fail) => setTimeout(() => fail(new Error('no response')), timeout)),
        ])""",
        [arguments, TIMEOUT],
    )


def text_of(outputs: list[dict[str, Any]]) -> str:
    """Return the text of the outputs of a cell, without pictures and widgets."""
    failed = ["\n".join(out["traceback"]) for out in outputs if out["output_type"] == "error"]
    assert not failed, COLOURS.sub("", failed[0])
    texts = [out.get("text") or out.get("data", {}).get("text/plain", "") for out in outputs]
    return "\n".join("".join(lines).rstrip("\n") for lines in texts)


def clipboard(page: "Page") -> str:
    """Return the text that the page or its user copied."""
    return page.evaluate("navigator.clipboard.readText()")


def screenshot(page: "Page", name: str) -> None:
    """Save a picture of a page as ``name``.png, if CASESEARCH_SCREENSHOTS names a folder."""
    if folder := os.environ.get("CASESEARCH_SCREENSHOTS"):
        page.screenshot(path=Path(folder) / f"{name}.png", full_page=True)
