"""A browser and two servers for the tests of this folder."""

import os
import re
import shutil
from pathlib import Path

import pytest

from tests.browser import servers
from tests.browser.harness import TIMEOUT, in_lab, screenshot, text_of
from tests.browser.watch import watch_context

CHROMIUM = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
OPTIONS = (
    "--no-sandbox",  # root in a container cannot use it
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--no-proxy-server",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    # Requests of the browser itself, which the tests do not see, are blocked too.
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
VOILA_KERNEL = "JSON.parse(document.getElementById('jupyter-config-data').textContent).kernelId"


def pytest_collection_modifyitems(items):
    """Mark every test of this folder."""
    here = Path(__file__).parent
    for item in items:
        if here in item.path.parents:
            item.add_marker(pytest.mark.browser)


def skip_or_fail(reason):
    """Skip the test, or fail if a browser is required."""
    if os.environ.get("CASESEARCH_REQUIRE_BROWSER") == "1":
        pytest.fail(f"{reason}, and CASESEARCH_REQUIRE_BROWSER requires it", pytrace=False)
    pytest.skip(reason)


@pytest.fixture(scope="package")
def chromium():
    """Start one browser, in which each test has its own context."""
    try:
        from playwright.sync_api import expect as assertions  # noqa: PLC0415 - it may be missing
        from playwright.sync_api import sync_playwright  # noqa: PLC0415 - it may be missing
    except ImportError:
        skip_or_fail("Playwright is not installed (pip install playwright)")
    path = next(filter(None, map(shutil.which, CHROMIUM)), None)
    if path is None:
        skip_or_fail("there is no Chromium (apt-get install chromium)")
    assertions.set_options(timeout=TIMEOUT)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=OPTIONS)
        yield browser
        browser.close()


@pytest.fixture(scope="package")
def root(tmp_path_factory):
    """Return the folder that both servers serve."""
    return tmp_path_factory.mktemp("served")


@pytest.fixture(scope="package")
def voila(root, tmp_path_factory, chromium):  # noqa: ARG001 - without a browser not started
    """Start Voila."""
    with servers.voila(root, tmp_path_factory.mktemp("voila")) as server:
        yield server


@pytest.fixture(scope="package")
def lab(root, tmp_path_factory, chromium):  # noqa: ARG001 - without a browser not started
    """Start JupyterLab."""
    with servers.lab(root, tmp_path_factory.mktemp("lab")) as server:
        yield server


@pytest.fixture
def folder(root, name):
    """Return a folder for this test, which both servers serve."""
    folder = root / name
    folder.mkdir()
    return folder


@pytest.fixture
def name(request):
    """Return the module and name of the test as the name of a file."""
    return re.sub(r"\W+", "-", f"{request.path.stem}-{request.node.name}").strip("-")


@pytest.fixture
def kernels():
    """Collect kernels by server and id, to stop them after their pages are closed."""
    kernels = set()
    yield kernels
    for server, kernel in kernels:
        servers.stop_kernel(server, kernel)


@pytest.fixture
def context(chromium, kernels):  # noqa: ARG001 - closed before its kernels
    """Open a new browser context, which may copy and paste."""
    context = chromium.new_context(
        viewport={"width": 1280, "height": 900},
        permissions=["clipboard-read", "clipboard-write"],
        service_workers="block",  # their requests would not be recorded
    )
    context.set_default_timeout(TIMEOUT)
    yield context
    context.close()


@pytest.fixture
def watch(context, name):
    """Record requests to other machines and errors; at the end there must be none."""
    watch = watch_context(context)
    yield watch
    for number, page in enumerate(context.pages):
        screenshot(page, f"{name}-{number}" if number else name)
    assert watch.unexpected() == []


@pytest.fixture
def open_voila(voila, context, watch, kernels):  # noqa: ARG001 - every page is watched
    """Return a function that opens a notebook as an app."""

    def open_page(path, *, dark=False):
        page = context.new_page()
        address = f"{voila.url}/voila/render/{path.relative_to(voila.root).as_posix()}"
        page.goto(f"{address}?theme={'dark' if dark else 'light'}")
        kernels.add((voila, page.evaluate(VOILA_KERNEL)))
        page.locator("#rendered_cells").wait_for()
        tracebacks = page.get_by_text("Traceback (most recent call last)")
        assert not tracebacks.count(), tracebacks.first.inner_text()
        return page

    return open_page


@pytest.fixture
def open_lab(lab, context, watch, kernels):  # noqa: ARG001 - every page is watched
    """Return a function that opens a notebook in JupyterLab and runs all of its cells."""

    def open_page(path, *, dark=False):
        page = context.new_page()
        address = path.relative_to(lab.root).as_posix()
        page.goto(f"{lab.url}/lab/tree/{address}?token={lab.token}&reset")
        page.wait_for_function(HAS_STARTED)
        theme = f"JupyterLab {'Dark' if dark else 'Light'}"
        kernels.add((lab, in_lab(page, READY, theme)))
        text_of(in_lab(page, RUN_ALL))
        return page

    return open_page
