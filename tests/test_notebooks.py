"""Saved notebooks: complete, small, and without traces of the machine that ran them.

nbval checks that they run and that their marked outputs are still true.
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


NOTEBOOK_NAMES = [
    "01-first-look.ipynb",
    "02-analysis.ipynb",
    "03-weekly-report.ipynb",
    "04-filter-form.ipynb",
    "05-your-own-account.ipynb",
    "06-mirror-and-cluster.ipynb",
]
BADGE = re.compile(r"urlpath=(?:lab/tree|voila/render)/(\S+?)\)")


def test_all_notebooks_exist():
    """Without them the checks below would check nothing."""
    assert {path.name for path in NOTEBOOKS} >= set(NOTEBOOK_NAMES)


def test_the_badges_open_existing_notebooks():
    """A badge of a renamed notebook opens an error page, minutes later."""
    paths = BADGE.findall((FOLDER.parent / "README.md").read_text("utf-8"))
    assert paths == ["notebooks/01-first-look.ipynb", "notebooks/04-filter-form.ipynb"]
    assert all((FOLDER.parent / path).is_file() for path in paths)


each = pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.name)


@each
def test_the_first_cell_describes_the_notebook(path):
    """A reader decides by the first cell."""
    first = read(path)["cells"][0]
    assert first["cell_type"] == "markdown"
    heading, _, summary = source(first).partition("\n")
    assert heading.startswith("# ")
    assert len(summary.split()) >= FEW, "a sentence says what the notebook shows"


@each
def test_it_was_run_from_top_to_bottom(path):
    """No reader could repeat outputs of another order."""
    counts = [cell["execution_count"] for cell in cells(path)]
    assert counts == list(range(1, len(counts) + 1))


@each
def test_its_outputs_are_stored(path):
    """It is read where it cannot run; cells without output on purpose have a tag."""
    silent = [source(cell) for cell in cells(path) if not cell["outputs"]]
    tagged = [source(cell) for cell in cells(path) if "no-output" in tags(cell)]
    assert silent == tagged


@each
def test_no_cell_failed(path):
    kinds = {out["output_type"] for cell in cells(path) for out in cell["outputs"]}
    assert kinds <= {"execute_result", "display_data", "stream"}


@each
def test_it_has_no_widget_state(path):
    """A saved widget keeps whatever it contained."""
    assert "widgets" not in read(path)["metadata"]
    outputs = [out.get("data", {}) for cell in cells(path) for out in cell["outputs"]]
    assert not any(WIDGETS in data for data in outputs)


@each
def test_it_has_no_path_of_a_machine(path):
    assert not MACHINE.search(path.read_text("utf-8"))


@each
def test_it_has_no_token(path):
    """Not even the token of the emulator."""
    assert not re.search(
        r"persona_(sandbox|production|live)_\w|AKIA\w{16}", path.read_text("utf-8")
    )


@each
def test_it_uses_the_default_kernel(path):
    assert read(path)["metadata"]["kernelspec"]["name"] == "python3"


@each
def test_it_is_small(path):
    assert path.stat().st_size < LARGEST


@each
def test_some_of_its_outputs_are_checked(path):
    """Without this its outputs could become wrong without notice."""
    marked_cells = [cell for cell in cells(path) if source(cell).startswith("# NBVAL_CHECK_OUTPUT")]
    assert len(marked_cells) >= 2


# How papermill finds the parameters: it skips a line with a second "=", in a comment too.
PARAMETER = re.compile(r"(\w+)\s*(:[^=]*)?=[^=]*$")


@each
def test_papermill_sees_its_parameters(path):
    """A parameter that it does not see is refused as unknown."""
    texts = [source(cell) for cell in cells(path) if "parameters" in tags(cell)]
    lines = [line for text in texts for line in text.splitlines() if "=" in line]
    assert [line for line in lines if not PARAMETER.match(line)] == []
    names = {line.split("=")[0].partition(":")[0].strip() for line in lines}
    papermill = pytest.importorskip("papermill")
    assert set(papermill.inspect_notebook(str(path))) == names
