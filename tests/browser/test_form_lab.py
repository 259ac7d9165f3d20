"""The filter form in JupyterLab, with a service that runs in the kernel of the notebook."""

import re

import pytest

from tests.browser.harness import clipboard, expect, notebook, run_cell

SETUP = """
import casesearch_pd as cs
local = cs.LocalCases(cases=300, seed=3).start()
source = local.connect_cases(page_size=25)
columns = ["case_id", "status", "title"]
"""
FORM = "form = cs.CaseForm(source, columns=columns)\nform"
SLOW = "local.faults.append(cs.Fault('latency', 0.2))"  # searches only
FAST = "local.faults.clear()"
IN_PROGRESS = re.compile(r"[1-9]\d* of 300 rows")


@pytest.fixture
def lab_with(folder, open_lab):
    """Return a function that opens a notebook, which starts the service and runs some cells."""
    return lambda *cells: open_lab(notebook(folder, "form", SETUP, *cells))


def select_high_priority(page):
    """Search for cases of high priority as a user does."""
    page.locator(".cs-add-row").click()
    page.locator(".cs-field input").press_sequentially("Priority")
    # The kernel replaces the list of operators, and the first one is "is any of". An option that
    # is selected before that would be another one of the new list.
    expect(page.locator(".cs-operator option")).to_have_count(4)
    page.locator(".cs-options select").select_option(label="High")


def search(page):
    """Search, and wait until the search is done."""
    page.locator(".cs-search").click()
    expect(page.locator(".cs-status")).to_contain_text("read:")


def test_a_filter_is_built_counted_and_searched(lab_with):
    page = lab_with(FORM)
    select_high_priority(page)
    number = run_cell(page, "cs.count_cases(source, priority=['high'])")
    assert 0 < int(number) < 300
    expect(page.locator(".cs-sentence")).to_contain_text(f"{number} cases match")
    search(page)
    expect(page.locator(".cs-status")).to_contain_text(f"{number} cases read")
    case_id = run_cell(page, "print(form.frame['case_id'].iloc[0])")
    expect(page.locator(".cs-table")).to_contain_text(case_id)


def test_cancel_works_twice_and_the_next_search_is_complete(lab_with):
    page = lab_with(FORM, SLOW)
    for _ in range(2):
        page.locator(".cs-search").click()
        expect(page.locator(".cs-status")).to_contain_text(IN_PROGRESS)
        page.locator(".cs-cancel").click()
        expect(page.locator(".cs-problem")).to_contain_text("Cancelled after")
        assert 0 < int(run_cell(page, "len(form.frame)")) < 300
    search(page)
    expect(page.locator(".cs-problem")).to_have_text("")
    is_complete = "set(form.frame['case_id']) == set(local.frame()['case_id']), len(form.frame)"
    assert run_cell(page, is_complete) == "(True, 300)"


def test_the_kernel_responds_during_a_search(lab_with):
    page = lab_with(FORM, SLOW.replace("0.2", "1"))
    page.locator(".cs-search").click()
    expect(page.locator(".cs-status")).to_contain_text(IN_PROGRESS)
    assert run_cell(page, "form.wait(0)") == "False"
    page.locator(".cs-cancel").click()
    expect(page.locator(".cs-problem")).to_contain_text("Cancelled after")


def test_the_copied_code_reads_the_same_frame(lab_with):
    page = lab_with(FORM)
    select_high_priority(page)
    search(page)
    page.locator(".cs-results-tabs").get_by_role("tab", name="Code").click()
    page.locator(".cs-code-copy button").click()
    expect(page.locator(".cs-code-copy")).to_contain_text("copied")
    run_cell(page, clipboard(page))
    assert run_cell(page, "len(df) > 0, df.equals(form.frame)") == "(True, True)"


def test_a_search_from_a_cell_is_shown_in_the_form(lab_with):
    page = lab_with(FORM)
    assert run_cell(page, "form.run()\nform.wait(30)") == "True"
    expect(page.locator(".cs-status")).to_contain_text("300 cases read")
    expect(page.locator(".cs-table")).to_be_visible()


def test_two_forms_do_not_mix(lab_with):
    one = "one = cs.CaseForm(source, status='open', columns=columns)\none"
    page = lab_with(one, one.replace("one", "two").replace("open", "closed"))
    first, second = page.locator(".cs-form").all()
    search(first)
    expect(second.locator(".cs-status")).to_have_text("")
    assert run_cell(page, "two.frame is None") == "True"
    search(second)
    statuses = "[*one.frame['status'].unique(), *two.frame['status'].unique()]"
    assert run_cell(page, statuses) == "['open', 'closed']"


def test_an_expired_token_is_explained(lab_with):
    expired = "local.faults.append(cs.Fault('error', status=401, wire='persona'))"
    page = lab_with("form = cs.CaseForm(local.persona_cases(), limit=5)\nform", expired)
    page.locator(".cs-search").click()
    expect(page.locator(".cs-problem")).to_contain_text("PERSONA_API_KEY")
    run_cell(page, FAST)
    search(page)
    expect(page.locator(".cs-problem")).to_have_text("")
