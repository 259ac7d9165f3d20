"""`docs/scale.md` contains the tables that `bench/scale.py` prints, and what follows from them."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

import casesearch_pd as cs

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs" / "scale.md").read_text("utf-8")


def tables_of(text):
    """Return the Markdown tables of a text: header to rows."""
    tables = re.findall(r"(?:^\|.*\n)+", text, re.MULTILINE)
    rows = [[_cells(line) for line in table.splitlines()] for table in tables]
    return {tuple(header): rest for header, _, *rest in rows}


def _cells(line):
    return [cell.strip() for cell in line.strip("|").split("|")]


@pytest.fixture(scope="module")
def printed():
    process = subprocess.run(
        [sys.executable, ROOT / "bench" / "scale.py"],
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
        cwd=ROOT,
    )
    return tables_of(process.stdout)


WINDOWS = ("cases", "pages", "windows of 8 workers", "requests in addition")


def test_every_table_of_the_page_is_printed_by_the_script(printed):
    """A figure that is not computed again is wrong sooner or later."""
    tables = tables_of(PAGE)
    assert tables.keys() == printed.keys()
    assert len(tables) == 7
    for header in tables.keys() - {WINDOWS}:
        assert tables[header] == printed[header]


def test_workers_split_windows_about_as_often_as_the_page_says(printed):
    """Their timing differs from run to run; the order of magnitude does not."""
    for row, other in zip(tables_of(PAGE)[WINDOWS], printed[WINDOWS], strict=True):
        assert row[:2] == other[:2]
        for count, other_count in zip(row[2:], other[2:], strict=True):
            assert 1 / 3 <= int(count) / int(other_count) <= 3


def figure(sentence, table, *row):
    """Return a number in a sentence of the page, and the one in a table that it repeats."""
    match = re.search(sentence.replace(" ", r"\s+"), PAGE)
    assert match, f"the page has no sentence {sentence}"
    return _number(match[1]), cell(table, *row)


def cell(table, row, size, name):
    """Return one cell, by the table's position, the start of its row, and its column."""
    header, rows = [*tables_of(PAGE).items()][table]
    cells = next(item for item in rows if item[0].endswith(row) and size in (None, item[1]))
    return _number(cells[header.index(name) if isinstance(name, str) else name])


def _number(text):
    return float(re.sub(r"[^0-9.]", "", text))


COSTS, REACH, PLANS, INCREMENTS = 1, 2, 3, 6
CONNECT, PERSONA = 1.6, 4.0  # requests per second
LARGEST = "100,000,000"


def test_the_rates_are_those_of_the_sources():
    assert cs.ConnectCases("domain", region_name="us-east-1").rate == CONNECT
    assert cs.PersonaCases(token="none").rate == PERSONA
    assert re.search(rf"{CONNECT}\s+and\s+{PERSONA:g}\s+requests\s+per\s+second", PAGE)


def test_the_sentences_agree_with_the_tables():
    """Figures in sentences are forgotten first."""
    minutes, requests = figure(r"takes (\d+) minutes on Amazon Connect", PLANS, LARGEST, None, 2)
    assert minutes == round(requests / CONNECT / 60)
    seconds, requests = figure(r"(\d+) seconds on Persona", PLANS, LARGEST, None, 6)
    assert seconds == round(requests / PERSONA)
    for sentence, row in (
        (r"beyond some ([\d.]+) million cases in one pass", "25 columns"),
        (r"([\d.]+) million in three", "60 columns"),
    ):
        millions, night = figure(sentence, REACH, row, None, 1)
        assert millions == night
    hours, default = figure(
        r"ten million cases take ([\d.]+) hours", COSTS, "25 columns", None, "hours"
    )
    assert hours == round(default / 10, 1)
    megabits, kilobytes = figure(r"per second are ([\d.]+) Mbit", 0, "25 columns", None, 2)
    assert megabits == pytest.approx(kilobytes * 8 / 1000 * CONNECT, abs=0.1)
    assert cell(COSTS, "25 columns", LARGEST, "hours") / 24 == pytest.approx(7, abs=0.5)  # a week
    assert cell(INCREMENTS, "25 columns", LARGEST, "minutes") < 120  # two hours
