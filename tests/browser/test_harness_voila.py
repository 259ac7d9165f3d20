"""The harness with Voila: what a test sees, and that it fails when it must."""

import pytest

from tests.browser.harness import clipboard, expect, notebook, screenshot
from tests.browser.watch import VOILA_REQUESTS

COUNTER = """
import ipywidgets as widgets
more, count = widgets.Button(description="More"), widgets.Label("0")
more.add_class("counter-more")
count.add_class("counter-count")
more.on_click(lambda _: setattr(count, "value", str(int(count.value) + 1)))
widgets.VBox([more, count])
"""


def image_cell(address):
    return f"import ipywidgets\nipywidgets.HTML('<img src=\"{address}\">')"


def test_a_click_reaches_the_kernel(folder, open_voila):
    page = open_voila(notebook(folder, "counter", COUNTER))
    page.locator(".counter-more").click()
    expect(page.locator(".counter-count")).to_have_text("1")


def test_voila_itself_requests_only_its_icons(folder, open_voila, watch):
    """A longer list would let other requests pass."""
    open_voila(notebook(folder, "counter", COUNTER))
    assert set(watch.outside) == VOILA_REQUESTS


def test_a_request_to_another_machine_is_recorded(folder, open_voila, watch):
    """It comes from a widget of the kernel, as the text of a case would."""
    address = "https://elsewhere.example/picture.png"
    with_picture = notebook(folder, "picture", image_cell(address))
    page = open_voila(with_picture)
    expect(page.locator("img")).to_have_count(1)
    page.wait_for_function("document.querySelector('img').complete")
    assert watch.unexpected() == [address]
    watch.outside.remove(address)


def test_an_error_of_a_script_is_recorded(folder, open_voila, watch):
    page = open_voila(notebook(folder, "counter", COUNTER))
    page.evaluate("setTimeout(() => { throw new Error('it broke') })")
    page.evaluate("console.error('it complained')")
    page.wait_for_function("true")
    errors = " ".join(watch.unexpected())
    assert "it broke" in errors
    assert "it complained" in errors
    watch.errors.clear()


def test_a_cell_that_fails_fails_the_test(folder, open_voila):
    with pytest.raises(AssertionError, match="ZeroDivisionError"):
        open_voila(notebook(folder, "broken", "1 / 0"))


def test_the_theme_is_dark_on_request(folder, open_voila):
    page = open_voila(notebook(folder, "counter", COUNTER), dark=True)
    expect(page.locator("body")).to_have_attribute("data-jp-theme-light", "false")


def test_the_copied_text_is_read(folder, open_voila):
    page = open_voila(notebook(folder, "counter", COUNTER))
    page.evaluate("navigator.clipboard.writeText('df = 1')")
    assert clipboard(page) == "df = 1"


def test_screenshots_are_saved_to_the_folder_of_the_variable(
    folder, open_voila, tmp_path, monkeypatch
):
    page = open_voila(notebook(folder, "counter", COUNTER))
    monkeypatch.delenv("CASESEARCH_SCREENSHOTS", raising=False)
    screenshot(page, "nowhere")
    monkeypatch.setenv("CASESEARCH_SCREENSHOTS", str(tmp_path))
    screenshot(page, "counter")
    assert [path.name for path in tmp_path.iterdir()] == ["counter.png"]
