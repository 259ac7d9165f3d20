"""Saved notebooks: whole, small, and with nothing in them of the machine they were made on.

That they run, and that their marked outputs stay true, nbval checks beside this.
"""

import json
import re
from pathlib import Path

import pytest

FOLDER = Path(__file__).parents[1] / "notebooks"
NOTEBOOKS = sorted(FOLDER.glob("*.ipynb"))
# Spelt so that no pattern matches its own spelling.
MACHINE = re.compile(r"(?<![\w.~])/(home|root|Users|work|tmp|private)/\w|site-[p]ackages")
WIDGETS = "application/vnd.jupyter.widget-view+json"
FEW = 10  # words
LARGEST = 250_000  # bytes; a notebook is read in a browser, and kept in the history


def read(path):
    return json.loads(path.read_text("utf-8"))


def cells(path):
    return [cell for cell in read(path)["cells"] if cell["cell_type"] == "code"]


def source(cell):
    return "".join(cell["source"])


def tags(cell):
    return cell["metadata"].get("tags", [])


PROMISED = [
    "01-first-look.ipynb",
    "02-analysis.ipynb",
    "03-weekly-report.ipynb",
    "04-filter-form.ipynb",
    "05-your-own-account.ipynb",
    "06-mirror-and-cluster.ipynb",
]
BADGE = re.compile(r"urlpath=(?:lab/tree|voila/render)/(\S+?)\)")


def test_the_notebooks_are_all_there():
    """Without one all the checks below would check nothing."""
    assert {path.name for path in NOTEBOOKS} >= set(PROMISED)


def test_the_badges_open_what_is_there():
    """A badge to a notebook that was renamed opens an error, minutes later."""
    opened = BADGE.findall((FOLDER.parent / "README.md").read_text("utf-8"))
    assert opened == ["notebooks/01-first-look.ipynb", "notebooks/04-filter-form.ipynb"]
    assert all((FOLDER.parent / path).is_file() for path in opened)


each = pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.name)


@each
def test_it_opens_with_what_it_shows(path):
    """A reader decides by the first cell."""
    first = read(path)["cells"][0]
    assert first["cell_type"] == "markdown"
    heading, _, shows = source(first).partition("\n")
    assert heading.startswith("# ")
    assert len(shows.split()) >= FEW, "a sentence says what is shown"


@each
def test_it_was_run_from_top_to_bottom(path):
    """Outputs of another order are outputs that no reader can repeat."""
    counts = [cell["execution_count"] for cell in cells(path)]
    assert counts == list(range(1, len(counts) + 1))


@each
def test_its_outputs_are_there(path):
    """It is read where it cannot be run; what shows nothing on purpose is tagged so."""
    silent = [source(cell) for cell in cells(path) if not cell["outputs"]]
    tagged = [source(cell) for cell in cells(path) if "no-output" in tags(cell)]
    assert silent == tagged


@each
def test_no_cell_failed(path):
    kinds = {out["output_type"] for cell in cells(path) for out in cell["outputs"]}
    assert kinds <= {"execute_result", "display_data", "stream"}


@each
def test_it_holds_no_widget_state(path):
    """A saved widget shows the past, and holds whatever stood in it."""
    assert "widgets" not in read(path)["metadata"]
    shown = [out.get("data", {}) for cell in cells(path) for out in cell["outputs"]]
    assert not any(WIDGETS in data for data in shown)


@each
def test_it_names_no_place_of_a_machine(path):
    assert not MACHINE.search(path.read_text("utf-8"))


@each
def test_it_holds_no_token(path):
    """The embedded service has one too: the habit is what matters."""
    assert not re.search(
        r"persona_(sandbox|production|live)_\w|AKIA\w{16}", path.read_text("utf-8")
    )


@each
def test_it_runs_on_the_kernel_that_everybody_has(path):
    assert read(path)["metadata"]["kernelspec"]["name"] == "python3"


@each
def test_it_is_small(path):
    assert path.stat().st_size < LARGEST


@each
def test_some_of_its_outputs_are_held_to(path):
    """Else its outputs could grow untrue, and nothing would tell."""
    checked = [cell for cell in cells(path) if source(cell).startswith("# NBVAL_CHECK_OUTPUT")]
    assert len(checked) >= 2
