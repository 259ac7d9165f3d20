"""The filter form in JupyterLab, on a service that runs in the notebook's own kernel."""

import re

import pytest

from tests.browser.harness import clipboard, expect, notebook, run_cell

SERVICE = """
import casesearch_pd as cs
local = cs.LocalCases(cases=300, seed=3).start()
source = local.connect_cases(page_size=25)
columns = ["case_id", "status", "title"]
"""
FORM = "form = cs.CaseForm(source, columns=columns)\nform"
SLOW = "local.faults.append(cs.Fault('latency', 0.2))"  # searches only
FAST = "local.faults.clear()"
UNDER_WAY = re.compile(r"[1-9]\d* of 300 rows")


@pytest.fixture
def lab_with(folder, open_lab):
    """Show a notebook that starts the service and runs these cells."""
    return lambda *cells: open_lab(notebook(folder, "form", SERVICE, *cells))


def choose_high(page):
    """Ask for cases of high priority as a user does."""
    page.locator(".cs-add-row").click()
    page.locator(".cs-field input").press_sequentially("Priority")
    # The operators of a choice come from the kernel, "is any of" as the first; what is chosen of
    # a list that is just being replaced would be another entry of the next.
    expect(page.locator(".cs-operator option")).to_have_count(4)
    page.locator(".cs-options select").select_option(label="High")


def search(page):
    """Search to the end."""
    page.locator(".cs-search").click()
    expect(page.locator(".cs-status")).to_contain_text("read:")


def test_a_filter_is_built_counted_and_searched(lab_with):
    page = lab_with(FORM)
    choose_high(page)
    number = run_cell(page, "cs.count_cases(source, priority=['high'])")
    assert 0 < int(number) < 300
    expect(page.locator(".cs-sentence")).to_contain_text(f"{number} cases match")
    search(page)
    expect(page.locator(".cs-status")).to_contain_text(f"{number} cases read")
    found = run_cell(page, "print(form.frame['case_id'].iloc[0])")
    expect(page.locator(".cs-table")).to_contain_text(found)


def test_cancel_works_twice_and_the_next_search_is_whole(lab_with):
    page = lab_with(FORM, SLOW)
    for _ in range(2):
        page.locator(".cs-search").click()
        expect(page.locator(".cs-status")).to_contain_text(UNDER_WAY)
        page.locator(".cs-cancel").click()
        expect(page.locator(".cs-problem")).to_contain_text("Cancelled after")
        assert 0 < int(run_cell(page, "len(form.frame)")) < 300
    search(page)
    expect(page.locator(".cs-problem")).to_have_text("")
    whole = "set(form.frame['case_id']) == set(local.frame()['case_id']), len(form.frame)"
    assert run_cell(page, whole) == "(True, 300)"


def test_the_kernel_answers_while_a_search_runs(lab_with):
    page = lab_with(FORM, SLOW.replace("0.2", "1"))
    page.locator(".cs-search").click()
    expect(page.locator(".cs-status")).to_contain_text(UNDER_WAY)
    assert run_cell(page, "form.wait(0)") == "False"
    page.locator(".cs-cancel").click()
    expect(page.locator(".cs-problem")).to_contain_text("Cancelled after")


def test_the_copied_code_reads_the_same_frame(lab_with):
    page = lab_with(FORM)
    choose_high(page)
    search(page)
    page.locator(".cs-results-tabs").get_by_role("tab", name="Code").click()
    page.locator(".cs-code-copy button").click()
    expect(page.locator(".cs-code-copy")).to_contain_text("copied")
    run_cell(page, clipboard(page))
    assert run_cell(page, "len(df) > 0, df.equals(form.frame)") == "(True, True)"


def test_a_run_from_a_cell_is_shown_in_the_form(lab_with):
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
    held = "[*one.frame['status'].unique(), *two.frame['status'].unique()]"
    assert run_cell(page, held) == "['open', 'closed']"


def test_an_expired_token_is_told_in_words(lab_with):
    expired = "local.faults.append(cs.Fault('error', status=401, wire='persona'))"
    page = lab_with("form = cs.CaseForm(local.persona_cases(), limit=5)\nform", expired)
    page.locator(".cs-search").click()
    expect(page.locator(".cs-problem")).to_contain_text("PERSONA_API_KEY")
    run_cell(page, FAST)
    search(page)
    expect(page.locator(".cs-problem")).to_have_text("")
