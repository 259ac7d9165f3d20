"""`docs/scale.md` says what `bench/scale.py` prints, and what follows from it."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

import casesearch_pd as cs

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs" / "scale.md").read_text("utf-8")


def tables_of(text):
    """Find the Markdown tables of a text: by the first row, the others."""
    found = re.findall(r"(?:^\|.*\n)+", text, re.MULTILINE)
    rows = [[_cells(line) for line in one.splitlines()] for one in found]
    return {tuple(head): rest for head, _, *rest in rows}


def _cells(line):
    return [cell.strip() for cell in line.strip("|").split("|")]


@pytest.fixture(scope="module")
def printed():
    done = subprocess.run(
        [sys.executable, ROOT / "bench" / "scale.py"],
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
        cwd=ROOT,
    )
    return tables_of(done.stdout)


WALKED = ("cases", "pages", "windows of 8 readers", "requests beside the pages")


def test_every_table_of_the_page_is_what_the_script_prints(printed):
    """A figure that nobody works out again is wrong sooner or later."""
    told = tables_of(PAGE)
    assert told.keys() == printed.keys()
    assert len(told) == 7
    for head in told.keys() - {WALKED}:
        assert told[head] == printed[head]


def test_readers_cut_about_as_often_as_the_page_says(printed):
    """Who overtakes whom differs from run to run; the order of magnitude does not."""
    for told, found in zip(tables_of(PAGE)[WALKED], printed[WALKED], strict=True):
        assert told[:2] == found[:2]
        for one, other in zip(told[2:], found[2:], strict=True):
            assert 1 / 3 <= int(one) / int(other) <= 3


def figure(sentence, table, *row):
    """Find a number in a sentence of the page, and the one it comes from."""
    found = re.search(sentence.replace(" ", r"\s+"), PAGE)
    assert found, f"no sentence says {sentence}"
    return _number(found[1]), cell(table, *row)


def cell(table, row, size, name):
    """Find one cell: by the table's place on the page, the beginning of its row, its column."""
    head, rows = [*tables_of(PAGE).items()][table]
    line = next(one for one in rows if one[0].endswith(row) and size in (None, one[1]))
    return _number(line[head.index(name) if isinstance(name, str) else name])


def _number(text):
    return float(re.sub(r"[^0-9.]", "", text))


COSTS, REACH, PLANS, INCREMENTS = 1, 2, 3, 6
CONNECT, PERSONA = 1.6, 4.0  # requests a second
MANY = "100,000,000"


def test_the_rates_are_those_that_the_sources_keep_to():
    assert cs.ConnectCases("domain", region_name="us-east-1").rate == CONNECT
    assert cs.PersonaCases(token="none").rate == PERSONA
    assert re.search(rf"{CONNECT}\s+and\s+{PERSONA:g}\s+requests\s+a\s+second", PAGE)


def test_the_sentences_say_what_the_tables_say():
    """Figures in words are forgotten first."""
    minutes, requests = figure(r"takes (\d+) minutes on Amazon Connect", PLANS, MANY, None, 2)
    assert minutes == round(requests / CONNECT / 60)
    seconds, requests = figure(r"(\d+) seconds on Persona", PLANS, MANY, None, 6)
    assert seconds == round(requests / PERSONA)
    for sentence, row in (
        (r"beyond some ([\d.]+) million cases in one pass", "25 columns"),
        (r"([\d.]+) million in three", "60 columns"),
    ):
        said, night = figure(sentence, REACH, row, None, 1)
        assert said == night
    hours, usual = figure(
        r"ten million cases are ([\d.]+) hours", COSTS, "25 columns", None, "hours"
    )
    assert hours == round(usual / 10, 1)
    megabits, kilobytes = figure(r"a second are ([\d.]+) Mbit", 0, "25 columns", None, 2)
    assert megabits == pytest.approx(kilobytes * 8 / 1000 * CONNECT, abs=0.1)
    assert cell(COSTS, "25 columns", MANY, "hours") / 24 == pytest.approx(7, abs=0.5)  # a week
    assert cell(INCREMENTS, "25 columns", MANY, "minutes") < 120  # two hours
