"""The harness on Voila: what a test is shown, and that it fails where it must."""

import pytest

from tests.browser.harness import clipboard, expect, notebook, screenshot
from tests.browser.watch import VOILAS_OWN

COUNTER = """
import ipywidgets as widgets
more, count = widgets.Button(description="More"), widgets.Label("0")
more.add_class("counter-more")
count.add_class("counter-count")
more.on_click(lambda _: setattr(count, "value", str(int(count.value) + 1)))
widgets.VBox([more, count])
"""


def asks(address):
    return f"import ipywidgets\nipywidgets.HTML('<img src=\"{address}\">')"


def test_a_click_reaches_the_kernel(folder, open_voila):
    page = open_voila(notebook(folder, "counter", COUNTER))
    page.locator(".counter-more").click()
    expect(page.locator(".counter-count")).to_have_text("1")


def test_voila_itself_asks_for_its_icons_alone(folder, open_voila, watch):
    """What the list names must be what is asked for, else it lets pass what nobody looked at."""
    open_voila(notebook(folder, "counter", COUNTER))
    assert set(watch.outside) == VOILAS_OWN


def test_a_request_to_another_machine_is_seen(folder, open_voila, watch):
    """Seen through a widget of the kernel, which is how a case's text would come there."""
    address = "https://elsewhere.example/picture.png"
    with_picture = notebook(folder, "picture", asks(address))
    page = open_voila(with_picture)
    expect(page.locator("img")).to_have_count(1)
    page.wait_for_function("document.querySelector('img').complete")
    assert watch.unexpected() == [address]
    watch.outside.remove(address)


def test_an_error_of_a_script_is_seen(folder, open_voila, watch):
    page = open_voila(notebook(folder, "counter", COUNTER))
    page.evaluate("setTimeout(() => { throw new Error('it broke') })")
    page.evaluate("console.error('it complained')")
    page.wait_for_function("true")
    told = " ".join(watch.unexpected())
    assert "it broke" in told
    assert "it complained" in told
    watch.complaints.clear()


def test_a_cell_that_fails_fails_the_test(folder, open_voila):
    with pytest.raises(AssertionError, match="ZeroDivisionError"):
        open_voila(notebook(folder, "broken", "1 / 0"))


def test_the_theme_is_dark_where_asked_for(folder, open_voila):
    page = open_voila(notebook(folder, "counter", COUNTER), dark=True)
    expect(page.locator("body")).to_have_attribute("data-jp-theme-light", "false")


def test_what_is_copied_can_be_read(folder, open_voila):
    page = open_voila(notebook(folder, "counter", COUNTER))
    page.evaluate("navigator.clipboard.writeText('df = 1')")
    assert clipboard(page) == "df = 1"


def test_screenshots_go_where_the_variable_says(folder, open_voila, tmp_path, monkeypatch):
    page = open_voila(notebook(folder, "counter", COUNTER))
    monkeypatch.delenv("CASESEARCH_SCREENSHOTS", raising=False)
    screenshot(page, "nowhere")
    monkeypatch.setenv("CASESEARCH_SCREENSHOTS", str(tmp_path))
    screenshot(page, "counter")
    assert [path.name for path in tmp_path.iterdir()] == ["counter.png"]
