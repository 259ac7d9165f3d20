"""A browser and two servers for the tests of this folder, ended with the last of them."""

import os
import re
import shutil
from pathlib import Path

import pytest

from tests.browser import servers
from tests.browser.harness import PATIENCE, in_lab, screenshot, text_of
from tests.browser.watch import watched

CHROMIUM = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
OPTIONS = (
    "--no-sandbox",  # root, in a container, has none
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--no-proxy-server",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    # What the tests do not see of a browser leaves this machine no more than what they see.
    "--host-resolver-rules=MAP * ~NOTFOUND , EXCLUDE 127.0.0.1",
)
HAS_STARTED = "window.jupyterapp?.shell?.currentWidget?.sessionContext"
READY = """async theme => {
    await jupyterapp.restored;
    const {context, sessionContext} = jupyterapp.shell.currentWidget;
    await context.ready;
    await sessionContext.ready;
    await jupyterapp.commands.execute('apputils:change-theme', {theme});
    return sessionContext.session.kernel.id;
}"""
RUN_ALL = """async () => {
    await jupyterapp.commands.execute('notebook:run-all-cells');
    const {widgets} = jupyterapp.shell.currentWidget.content;
    return widgets.flatMap(cell => cell.model.outputs?.toJSON() ?? []);
}"""
VOILAS_KERNEL = "JSON.parse(document.getElementById('jupyter-config-data').textContent).kernelId"


def pytest_collection_modifyitems(items):
    """Mark every test of this folder."""
    here = Path(__file__).parent
    for item in items:
        if here in item.path.parents:
            item.add_marker(pytest.mark.browser)


def missing(what):
    """Skip the test, or fail where a browser is promised."""
    if os.environ.get("CASESEARCH_REQUIRE_BROWSER") == "1":
        pytest.fail(f"{what}, and CASESEARCH_REQUIRE_BROWSER asks for it", pytrace=False)
    pytest.skip(what)


@pytest.fixture(scope="package")
def chromium():
    """Start one browser, in which each test has a context of its own."""
    try:
        from playwright.sync_api import expect as assertions  # noqa: PLC0415 - it may be missing
        from playwright.sync_api import sync_playwright  # noqa: PLC0415 - it may be missing
    except ImportError:
        missing("Playwright is not installed (pip install playwright)")
    path = next(filter(None, map(shutil.which, CHROMIUM)), None)
    if path is None:
        missing("there is no Chromium (apt-get install chromium)")
    assertions.set_options(timeout=PATIENCE)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=OPTIONS)
        yield browser
        browser.close()


@pytest.fixture(scope="package")
def shown(tmp_path_factory):
    """Make the folder that both servers show."""
    return tmp_path_factory.mktemp("shown")


@pytest.fixture(scope="package")
def voila(shown, tmp_path_factory, chromium):  # noqa: ARG001 - without a browser not started
    """Start Voila."""
    with servers.voila(shown, tmp_path_factory.mktemp("voila")) as server:
        yield server


@pytest.fixture(scope="package")
def lab(shown, tmp_path_factory, chromium):  # noqa: ARG001 - without a browser not started
    """Start JupyterLab."""
    with servers.lab(shown, tmp_path_factory.mktemp("lab")) as server:
        yield server


@pytest.fixture
def folder(shown, name):
    """Make a folder of this test alone, where both servers show it."""
    made = shown / name
    made.mkdir()
    return made


@pytest.fixture
def name(request):
    """Join the test's module and name, as a file may be called."""
    return re.sub(r"\W+", "-", f"{request.path.stem}-{request.node.name}").strip("-")


@pytest.fixture
def kernels():
    """Note kernels by server and id, to end them after the pages that would miss them."""
    started = set()
    yield started
    for server, kernel in started:
        servers.end_kernel(server, kernel)


@pytest.fixture
def context(chromium, kernels):  # noqa: ARG001 - ended before its kernels are
    """Open a browser that nobody used before, and that may copy and paste."""
    context = chromium.new_context(
        viewport={"width": 1280, "height": 900},
        permissions=["clipboard-read", "clipboard-write"],
        service_workers="block",  # their requests would pass the watch by
    )
    context.set_default_timeout(PATIENCE)
    yield context
    context.close()


@pytest.fixture
def watch(context, name):
    """Note what would have left this machine, and what went wrong: nothing, at the end."""
    watch = watched(context)
    yield watch
    for number, page in enumerate(context.pages):
        screenshot(page, f"{name}-{number}" if number else name)
    assert watch.unexpected() == []


@pytest.fixture
def open_voila(voila, context, watch, kernels):  # noqa: ARG001 - no page is unwatched
    """Show a notebook as an app."""

    def opened(path, *, dark=False):
        page = context.new_page()
        address = f"{voila.url}/voila/render/{path.relative_to(voila.shown).as_posix()}"
        page.goto(f"{address}?theme={'dark' if dark else 'light'}")
        kernels.add((voila, page.evaluate(VOILAS_KERNEL)))
        page.locator("#rendered_cells").wait_for()
        failed = page.get_by_text("Traceback (most recent call last)")
        assert not failed.count(), failed.first.inner_text()
        return page

    return opened


@pytest.fixture
def open_lab(lab, context, watch, kernels):  # noqa: ARG001 - no page is unwatched
    """Show a notebook in JupyterLab, run from top to bottom."""

    def opened(path, *, dark=False):
        page = context.new_page()
        place = path.relative_to(lab.shown).as_posix()
        page.goto(f"{lab.url}/lab/tree/{place}?token={lab.token}&reset")
        page.wait_for_function(HAS_STARTED)
        theme = f"JupyterLab {'Dark' if dark else 'Light'}"
        kernels.add((lab, in_lab(page, READY, theme)))
        text_of(in_lab(page, RUN_ALL))
        return page

    return opened
