"""How a test shows a notebook in a real browser, and what it may use to look at it.

A test asks for the fixture ``folder`` and for ``open_voila`` or ``open_lab``::

    from tests.browser.harness import expect, notebook, run_cell


    def test_a_click_counts(folder, open_lab):
        page = open_lab(notebook(folder, "counter", "import counter", "counter.show()"))
        page.locator(".counter-more").click()
        expect(page.locator(".counter-shown")).to_have_text("1")
        assert run_cell(page, "counter.total") == "1"

``open_voila(path, dark=False)`` and ``open_lab(path, dark=False)`` return Playwright's page once
every cell was run, and fail with the traceback if one of them failed. ``run_cell(page, code)``
appends a cell in Lab and returns its text, ``clipboard(page)`` is what was copied, and
``screenshot(page, name)`` writes to the folder that CASESEARCH_SCREENSHOTS names, if it does; so
does the end of each test, for every page.

Each test has a browser context of its own, and fails at its end if a page asked for anything
outside this machine (which was blocked, too) or if a script or the console told an error. Both
stand in the fixture ``watch``, from which a test takes what it provoked.

Where Playwright or Chromium is missing the tests are skipped; with CASESEARCH_REQUIRE_BROWSER=1
they fail. Tests on Voila and on Lab belong into modules of their own: a module is what one
worker runs, and each worker starts only the servers that its modules ask for.
"""

import os
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import nbformat

if TYPE_CHECKING:
    from playwright.sync_api import LocatorAssertions, Page

PATIENCE = 30_000  # milliseconds, on a machine that is busy
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
    """Write a notebook of code cells into a folder that is shown."""
    made = nbformat.v4.new_notebook(
        cells=[nbformat.v4.new_code_cell(source) for source in cells],
        metadata={"kernelspec": KERNEL},  # without one Lab asks for it, and waits
    )
    path = folder / f"{name}.ipynb"
    nbformat.write(made, path)
    return path


def expect(actual: Any) -> "LocatorAssertions":
    """Give Playwright's own assertions, which try again until they hold."""
    from playwright import sync_api  # noqa: PLC0415 - tests are collected where it is missing

    return sync_api.expect(actual)


def run_cell(page: "Page", code: str) -> str:
    """Run code in a new cell at the end of the notebook in Lab; fail if the cell fails."""
    return text_of(in_lab(page, RUN_CELL, code))


def in_lab(page: "Page", script: str, *given: Any) -> Any:
    """Call an asynchronous function in Lab's page; a kernel that never answers is given up."""
    return page.evaluate(
        f"""([given, patience]) => Promise.race([
            ({script})(...given),
            new Promise((_, fail) => setTimeout(() => fail(new Error('no answer')), patience)),
        ])""",
        [given, PATIENCE],
    )


def text_of(outputs: list[dict[str, Any]]) -> str:
    """Join what a reader reads of a cell's outputs, pictures and widgets apart."""
    failed = ["\n".join(out["traceback"]) for out in outputs if out["output_type"] == "error"]
    assert not failed, COLOURS.sub("", failed[0])
    told = [out.get("text") or out.get("data", {}).get("text/plain", "") for out in outputs]
    return "\n".join("".join(lines).rstrip("\n") for lines in told)


def clipboard(page: "Page") -> str:
    """Read what the page, or its user, copied."""
    return page.evaluate("navigator.clipboard.readText()")


def screenshot(page: "Page", name: str) -> None:
    """Keep how a page looks as ``name``.png, if CASESEARCH_SCREENSHOTS names a folder."""
    if folder := os.environ.get("CASESEARCH_SCREENSHOTS"):
        page.screenshot(path=Path(folder) / f"{name}.png", full_page=True)
