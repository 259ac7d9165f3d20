"""Draw the picture of the filter form in the README: ``python docs/form_picture.py``.

It opens the form with a filter and the results of a search in Voila and a headless Chromium;
nothing is loaded from another machine. It needs the extra ``test`` and Chromium.
"""

import shutil
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from urllib.error import URLError
from urllib.request import urlopen

import nbformat
from playwright.sync_api import sync_playwright

OUT = Path(__file__).parent / "filter-form.png"
WIDTH, HEIGHT = 1000, 900
CODE = """
import casesearch_pd as cs
from datetime import UTC, datetime
local = cs.LocalCases(cases=3000, seed=7, now=datetime(2026, 3, 14, 12, tzinfo=UTC)).start()
urgent = cs.field("priority").isin(["high", "urgent"])
old = cs.field("created_at") < "2026-01"
form = cs.CaseForm(
    local.connect_cases(),
    (cs.field("status") == "open") & (urgent | old),
    columns=["title", "status", "priority", "queue", "created_at"],
    sort="-created_at",
)
form.run()
form.wait(30)
form
"""


def main() -> None:
    """Draw the picture."""
    chromium = next(filter(None, map(shutil.which, ("chromium", "chromium-browser"))), None)
    if chromium is None:
        sys.exit("Chromium is not installed; install it to draw the picture")
    with tempfile.TemporaryDirectory() as folder:
        cells = [nbformat.v4.new_code_cell(CODE)]
        kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
        document = nbformat.v4.new_notebook(cells=cells, metadata={"kernelspec": kernel})
        nbformat.write(document, Path(folder) / "form.ipynb")
        with socket.socket() as listener:
            listener.bind(("127.0.0.1", 0))
            port = listener.getsockname()[1]
        server = [sys.executable, "-m", "voila", "--no-browser", "--Voila.ip=127.0.0.1"]
        with subprocess.Popen([*server, f"--port={port}", folder]) as voila:
            try:
                draw(chromium, f"http://127.0.0.1:{port}/voila")
            finally:
                voila.terminate()


def draw(chromium: str, url: str) -> None:
    """Open the form, and save a screenshot of it."""
    deadline = time.monotonic() + 60
    while not responds(f"{url}/static/voila.js") and time.monotonic() < deadline:
        time.sleep(0.2)
    with sync_playwright() as playwright:
        arguments = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]
        browser = playwright.chromium.launch(executable_path=chromium, args=arguments)
        page = browser.new_page(viewport={"width": WIDTH, "height": 2 * HEIGHT})
        page.route(lambda address: "127.0.0.1" not in address, lambda route: route.abort())
        page.goto(f"{url}/render/form.ipynb")
        page.get_by_text("cases match").wait_for(timeout=60_000)
        page.locator(".cs-results table tbody tr").first.wait_for()
        box = page.locator(".cs-form").bounding_box()
        assert box is not None, "the form is on the page"
        page.screenshot(path=OUT, clip=box | {"height": HEIGHT})
        browser.close()


def responds(url: str) -> bool:
    """Return whether a server responds."""
    try:
        with urlopen(url, timeout=5):  # loopback
            return True
    except URLError:
        return False


if __name__ == "__main__":
    main()
