"""The harness with JupyterLab: what a test sees, and that it fails when it must."""

import pytest

from tests.browser.harness import clipboard, expect, notebook, run_cell

COUNTER = """
import ipywidgets as widgets
more, count = widgets.Button(description="More"), widgets.Label("0")
more.add_class("counter-more")
count.add_class("counter-count")
more.on_click(lambda _: setattr(count, "value", str(int(count.value) + 1)))
"""
DISPLAY = "widgets.VBox([more, count])"


def test_a_click_reaches_the_kernel_and_a_cell_reads_it(folder, open_lab):
    page = open_lab(notebook(folder, "counter", COUNTER, DISPLAY))
    page.locator(".counter-more").click()
    expect(page.locator(".counter-count")).to_have_text("1")
    assert run_cell(page, "print('count')\ncount.value") == "count\n'1'"


def test_nothing_is_requested_from_another_machine(folder, open_lab, watch):
    open_lab(notebook(folder, "counter", COUNTER, DISPLAY))
    assert watch.outside == []


def test_a_cell_that_fails_fails_the_test(folder, open_lab):
    with pytest.raises(AssertionError, match="ZeroDivisionError"):
        open_lab(notebook(folder, "broken", "1 / 0", "2"))


def test_a_new_cell_that_fails_fails_the_test(folder, open_lab):
    page = open_lab(notebook(folder, "counter", COUNTER))
    with pytest.raises(AssertionError, match="NameError"):
        run_cell(page, "no_such_name")


def test_the_theme_is_that_of_this_test(folder, open_lab):
    """Lab stores the theme on its server, where the next test would find it."""
    path = notebook(folder, "counter", COUNTER, DISPLAY)
    for dark in (True, False):
        page = open_lab(path, dark=dark)
        is_light = str(not dark).lower()
        expect(page.locator("body")).to_have_attribute("data-jp-theme-light", is_light)


def test_the_copied_text_is_read(folder, open_lab):
    page = open_lab(notebook(folder, "counter", COUNTER))
    page.evaluate("navigator.clipboard.writeText('df = 1')")
    assert clipboard(page) == "df = 1"
