"""The filter form as a page without code, in a real browser."""

import re

import pytest

import casesearch_pd as cs
from tests.browser.harness import clipboard, expect, notebook, screenshot

SEED = {"cases": 300, "seed": 3}
START = f"""
from datetime import UTC, datetime
import pandas as pd
import casesearch_pd as cs
local = cs.LocalCases(**{SEED}, now=datetime(2026, 3, 14, 12, tzinfo=UTC)).start()
source = local.connect_cases(page_size=25)
"""
EMPTY = "form = cs.CaseForm(source, columns=['case_id', 'title', 'status', 'created_at'])\nform"
SLOW = START.replace("**{", "latency=0.2, **{", 1)


@pytest.fixture(scope="module")
def source():
    """Return a source with the cases of the notebooks, for the expected results."""
    from datetime import UTC, datetime  # noqa: PLC0415 - as the notebooks do

    with cs.LocalCases(**SEED, now=datetime(2026, 3, 14, 12, tzinfo=UTC)) as local:
        yield local.connect_cases()


def select_field(row, name, operators):
    """Type the name of a field, and wait for its operators."""
    box = row.locator(".cs-field input")
    box.fill(name)
    box.press("Tab")
    expect(row.locator(".cs-operator option")).to_have_count(operators)


SELECT_OPERATORS, TIME_OPERATORS, TEXT_OPERATORS = 4, 11, 13


def select_operator(row, operator):
    row.locator(".cs-operator select").select_option(label=operator)


def rows_of(page):
    return page.locator(".cs-row")


def search(page):
    """Search, wait until the search is done, and return the number of cases."""
    page.locator(".cs-search").click()
    status = page.locator(".cs-status")
    expect(status).to_have_text(re.compile(r"cases? read"))
    return int(status.inner_text().split()[0].replace(",", ""))


def tab(page, name):
    page.get_by_role("tab", name=name).click()


# --- a filter ---------------------------------------------------------------------------------


def test_a_nested_filter_is_built_counted_and_read(folder, open_voila, source):
    page = open_voila(notebook(folder, "form", START, EMPTY))
    expect(page.locator(".cs-sentence")).to_contain_text("300 cases match")

    page.locator(".cs-add-row").first.click()
    first = rows_of(page).first
    select_field(first, "Priority", SELECT_OPERATORS)
    select_operator(first, "is any of")
    first.locator(".cs-options select").select_option(["High", "Low"])
    where = cs.field("priority").isin(["high", "low"])
    expect(page.locator(".cs-sentence")).to_contain_text(f"{cs.count_cases(source, where)} cases")

    page.locator(".cs-add-group").first.click()
    group = page.locator(".cs-group .cs-group").first
    group.locator(".cs-not input").check()
    second = rows_of(page).nth(1)
    select_field(second, "created_at", TIME_OPERATORS)
    select_operator(second, "is before")
    second.locator(".cs-value input").first.fill("2026-01")
    where &= ~(cs.field("created_at") < "2026-01")
    number = cs.count_cases(source, where)
    expect(page.locator(".cs-sentence")).to_contain_text(f"{number} cases match")
    screenshot(page, "voila-nested")
    assert search(page) == number

    tab(page, "Code")
    page.locator(".cs-code-copy button").click()
    code = clipboard(page)
    names = {"cs": cs, "source": source}
    exec(code, names)
    assert len(names["df"]) == number
    screenshot(page, "voila-code")

    tab(page, "Request")
    expect(page.locator(".cs-request")).to_contain_text('"filter"')
    tab(page, "Chart")
    picture = page.locator(".cs-chart-picture img")
    expect(picture).to_be_visible()
    assert "cases" in picture.get_attribute("alt")
    screenshot(page, "voila-chart")


def test_a_preset_sets_a_time_range(folder, open_voila):
    page = open_voila(notebook(folder, "form", START, EMPTY))
    page.locator(".cs-add-row").first.click()
    row = rows_of(page).first
    select_field(row, "created_at", TIME_OPERATORS)
    row.locator(".cs-preset select").select_option(label="last 7 days")
    expect(row.locator(".cs-value input").first).to_have_value("7 days ago")
    expect(page.locator(".cs-sentence")).to_contain_text("within the last 7 days")


def test_an_invalid_value_is_explained_in_its_row_and_not_searched_for(folder, open_voila):
    page = open_voila(notebook(folder, "form", START, EMPTY))
    page.locator(".cs-add-row").first.click()
    row = rows_of(page).first
    select_field(row, "created_at", TIME_OPERATORS)
    select_operator(row, "is after")
    row.locator(".cs-value input").first.fill("2026-13")
    expect(row.locator(".cs-message")).to_contain_text("of the calendar")
    page.locator(".cs-search").click()
    expect(page.locator(".cs-problem")).to_contain_text("Row 1")
    screenshot(page, "voila-wrong")


# --- a search ---------------------------------------------------------------------------------


def test_two_searches_are_cancelled_and_a_third_one_is_complete(folder, open_voila):
    page = open_voila(notebook(folder, "form", SLOW, EMPTY))
    for _ in range(2):
        page.locator(".cs-search").click()
        expect(page.locator(".cs-status")).to_contain_text(re.compile(r"[1-9]\d* of 300 rows"))
        expect(page.locator(".cs-search")).to_be_disabled()
        page.locator(".cs-cancel").click()
        expect(page.locator(".cs-problem")).to_contain_text("Cancelled after")
        expect(page.locator(".cs-search")).to_be_enabled()
    screenshot(page, "voila-cancelled")
    assert search(page) == 300
    expect(page.locator(".cs-problem")).to_be_empty()


EXPIRED = "from casesearch_pd import Fault\nlocal.faults.append(Fault('error', status=403))\nform"


def test_a_refused_request_is_explained(folder, open_voila):
    page = open_voila(notebook(folder, "form", START, EMPTY.removesuffix("\nform"), EXPIRED))
    page.locator(".cs-search").click()
    expect(page.locator(".cs-problem")).to_contain_text("cases:SearchCases")
    expect(page.locator(".cs-search")).to_be_enabled()
    screenshot(page, "voila-refused")


THROTTLED = """
form = cs.CaseForm(local.connect_cases(page_size=25, rate=0.5, burst=1), columns=["case_id"])
form
"""


def test_waiting_for_the_rate_limit_is_shown_and_can_be_cancelled(folder, open_voila):
    page = open_voila(notebook(folder, "form", START, THROTTLED))
    page.locator(".cs-search").click()
    expect(page.locator(".cs-status")).to_contain_text("for the rate limit")
    screenshot(page, "voila-waiting")
    page.locator(".cs-cancel").click()
    expect(page.locator(".cs-problem")).to_contain_text("Cancelled")


# --- the results ------------------------------------------------------------------------------


def test_a_click_on_a_heading_sorts_the_table(folder, open_voila):
    pytest.importorskip("itables")
    page = open_voila(notebook(folder, "form", START, EMPTY))
    search(page)
    heading = page.locator(".cs-grid-place thead th", has_text="title")
    heading.click()
    first = page.locator(".cs-grid-place tbody tr").first
    text = first.inner_text()
    heading.click()
    expect(first).not_to_have_text(text)
    screenshot(page, "voila-sorted")


MANY = """
import pandas as pd
import casesearch_pd as cs
frame = pd.DataFrame({"case_id": [f"c{n:05}" for n in range(3000)],
    "created_at": pd.Timestamp("2026-03-01", tz="UTC"), "amount": range(3000)})
local = cs.LocalCases(frame).start()
form = cs.CaseForm(local.connect_cases(), columns=["case_id", "amount"])
form
"""


def test_many_cases_are_shown_in_sorted_pages(folder, open_voila):
    page = open_voila(notebook(folder, "form", MANY))
    assert search(page) == 3000
    table = page.locator(".cs-page table")
    expect(table.locator("tbody tr").first).to_contain_text("c00000")
    page.locator(".cs-page-next").click()
    expect(table.locator("tbody tr").first).to_contain_text("c00025")
    page.locator(".cs-table-sort select").select_option(label="amount")
    page.locator(".cs-table-descending input").check()
    expect(table.locator("tbody tr").first).to_contain_text("c02999")
    page.locator(".cs-page-last").click()
    expect(table.locator("tbody tr").last).to_contain_text("c00000")
    screenshot(page, "voila-pages")


def test_a_file_is_written_and_offered(folder, open_voila):
    page = open_voila(notebook(folder, "form", START, EMPTY))
    search(page)
    tab(page, "Export")
    page.locator(".cs-export-name input").fill("saved")
    page.locator(".cs-export-csv").click()
    with page.expect_download() as download:
        page.locator(".cs-export-link a").click()
    assert download.value.suggested_filename == "saved.csv"
    assert (folder / "saved.csv").read_text("utf-8").count("\n") >= 300
    page.locator(".cs-export-csv").click()
    expect(page.locator(".cs-export-said")).to_contain_text("replace")


# --- hostile cases ----------------------------------------------------------------------------

HOSTILE = """
import pandas as pd
import casesearch_pd as cs
EVIL = ["<img src=x onerror='window.pwned=1'>", "<script>window.pwned=1</script>",
        "<a href='javascript:window.pwned=1'>click</a>", "$\\\\href{javascript:window.pwned=1}{x}$"]
frame = pd.DataFrame({"case_id": list("abcd"), "created_at": pd.Timestamp("2026-03-01", tz="UTC"),
    "title": EVIL, "status": EVIL, EVIL[0]: EVIL})
local = cs.LocalCases(frame).start()
key = "<script>Object.assign(window, {pwned: 1})</script>"  # a key has no "="
form = cs.CaseForm(local.connect_cases(), title__contains=EVIL[0], tags={key: EVIL[0]})
plain = cs.CaseForm(local.connect_cases(), status__ne=[EVIL[1]])
"""


@pytest.mark.parametrize("name", ["form", "plain"])
def test_no_text_of_a_case_is_executed(folder, open_voila, name):
    page = open_voila(notebook(folder, "form", HOSTILE, name))
    dialogs = []
    page.on("dialog", lambda dialog: (dialogs.append(dialog.message), dialog.dismiss()))
    page.locator(".cs-search").click()
    expect(page.locator(".cs-status")).to_have_text(re.compile(r"cases? read"))
    for title in ("Chart", "Code", "Request", "Export", "Table"):
        tab(page, title)
    page.locator(".cs-add-row").first.click()
    select_field(rows_of(page).last, "<img src=x onerror='window.pwned=1'>", TEXT_OPERATORS)
    expect(page.locator(".cs-results-tabs")).to_be_visible()
    assert page.evaluate("window.pwned") is None
    assert dialogs == []
    assert (
        page.locator(".cs-form img[src='x'], .cs-form script, .cs-form a[href^=javascript]").count()
        == 0
    )
    screenshot(page, f"voila-hostile-{name}")


# --- accessibility ----------------------------------------------------------------------------


def test_a_search_by_keyboard_alone(folder, open_voila, source):
    page = open_voila(notebook(folder, "form", START, EMPTY))
    expect(page.locator(".cs-sentence")).to_contain_text("300 cases match")
    reach(page, "cs-add-row")
    page.keyboard.press("Enter")
    expect(rows_of(page).first.locator(".cs-field input")).to_be_focused()
    page.keyboard.type("Title")
    expect(page.locator(".cs-sentence")).to_contain_text("enter a value")  # the field is known
    reach(page, "cs-operator")
    page.keyboard.press("c")
    expect(page.locator(".cs-operator option:checked")).to_have_text(re.compile("^contains"))
    reach(page, "cs-value")
    page.keyboard.type("invoice")
    number = cs.count_cases(source, title__contains="invoice")
    expect(page.locator(".cs-sentence")).to_contain_text(f"{number} cases match")
    reach(page, "cs-search")
    page.keyboard.press("Space")
    expect(page.locator(".cs-status")).to_have_text(re.compile(rf"^{number} cases? read"))


def reach(page, name):
    """Press Tab until a control of a class has the focus."""
    for _ in range(40):
        page.keyboard.press("Tab")
        if page.evaluate(f"Boolean(document.activeElement.closest('.{name}'))"):
            return
    raise AssertionError(f"Tab does not reach {name}")


UNLABELLED = """() => [...document.querySelectorAll(
    '.cs-form :is(input, select, textarea, button)')].filter(one => {
  const named = one.labels && [...one.labels].some(label => label.textContent.trim());
  return one.offsetParent && !named && !one.textContent.trim() && !one.title
    && !one.getAttribute('aria-label') && !one.getAttribute('aria-labelledby');
}).map(one => one.outerHTML.slice(0, 200))"""


def test_every_control_has_a_label(folder, open_voila):
    page = open_voila(notebook(folder, "form", START, FILLED))
    page.get_by_text("Search term, tags, columns").click()
    search(page)
    for title in ("Chart", "Code", "Request", "Export", "Table"):
        tab(page, title)
        unlabelled = [html for html in page.evaluate(UNLABELLED) if "dt-" not in html]
        assert unlabelled == []


FILLED = """
form = cs.CaseForm(
    source,
    cs.field("status").isin(["open", "pending"])
    | ((cs.field("created_at") >= "2026-02") & cs.field("title").contains("a")),
    columns=["case_id", "title", "status", "created_at"],
)
form
"""
OUTSIDE = """() => [...document.querySelectorAll('.cs-form :is(input, select, textarea, button)')]
  .filter(one => one.offsetParent && !one.closest('.cs-grid-place, .cs-page'))
  .filter(one => { const box = one.getBoundingClientRect();
                   return box.left < -1 || box.right > window.innerWidth + 1; })
  .map(one => one.outerHTML.slice(0, 200))"""


def test_nothing_is_cut_off_on_a_narrow_screen(folder, open_voila):
    page = open_voila(notebook(folder, "form", START, FILLED))
    page.set_viewport_size({"width": 700, "height": 900})
    page.get_by_text("Search term, tags, columns").click()
    search(page)
    assert page.evaluate(OUTSIDE) == []
    assert page.evaluate("document.scrollingElement.scrollWidth") <= 700
    screenshot(page, "voila-narrow")


CONTRAST = """() => {
  const light = rgb => rgb.slice(0, 3).map(v => v / 255)
    .map(v => v <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4)
    .reduce((sum, v, at) => sum + v * [0.2126, 0.7152, 0.0722][at], 0);
  const parts = text => (text.match(/[\\d.]+/g) || []).map(Number);
  const behind = one => {
    for (let at = one; at; at = at.parentElement) {
      const rgb = parts(getComputedStyle(at).backgroundColor);
      if (rgb.length === 3 || rgb[3] === 1) return rgb;
    }
    return [255, 255, 255];
  };
  const ratios = {};
  for (const one of document.querySelectorAll('.cs-form :is(input[type=text], select, button, '
      + 'textarea, .cs-plain, .cs-message span, .cs-row label)')) {
    if (!one.offsetParent || one.disabled || one.ariaDisabled === 'true') continue;
    if (!one.textContent.trim() && !one.value) continue;
    const a = light(parts(getComputedStyle(one).color)), b = light(behind(one));
    const ratio = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
    ratios[one.className + ' ' + one.outerHTML.slice(0, 120)] = ratio;
  }
  return ratios;
}"""


@pytest.mark.parametrize("dark", [False, True])
def test_the_contrast_is_sufficient_in_both_themes(folder, open_voila, dark):
    page = open_voila(notebook(folder, "form", START, FILLED), dark=dark)
    search(page)
    ratios = page.evaluate(CONTRAST)
    assert len(ratios) >= 12
    # WCAG 2 requires at least 4.5 for text ("Contrast (Minimum)").
    assert {name: ratio for name, ratio in ratios.items() if ratio < 4.5} == {}
    screenshot(page, f"voila-{'dark' if dark else 'light'}")
