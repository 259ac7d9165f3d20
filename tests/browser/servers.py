"""Voila and JupyterLab, each on a free port of this machine and in a home of its own."""

import json
import os
import secrets
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from time import monotonic, sleep

import matplotlib as mpl
import psutil
import requests

ROOT = Path(__file__).parents[2]
STARTS_IN, ENDS_IN = 60, 20  # seconds, on a machine that is busy
# What would lead a server or a kernel elsewhere, or to an account.
OURS = ("AWS_", "COV", "JPY_", "JUPYTER", "PERSONA_", "PYTEST", "PYTHON", "VOILA")
PLACES = ("IPYTHONDIR", "JUPYTER_CONFIG_DIR", "JUPYTER_DATA_DIR", "JUPYTER_RUNTIME_DIR")
SETTINGS = {
    # Lab asks on its first start whether it may fetch the project's news.
    "page_config.json": {
        "disabledExtensions": {"@jupyterlab/apputils-extension:announcements": True}
    },
    # Every cell stands in the page, and not only those in sight.
    "default_setting_overrides.json": {
        "@jupyterlab/notebook-extension:tracker": {"windowingMode": "none"}
    },
}


@dataclass(frozen=True)
class Server:
    """Where a server answers, its token (Voila has none), and the folder that it shows."""

    url: str
    token: str
    shown: Path


@contextmanager
def voila(shown: Path, home: Path) -> Iterator[Server]:
    """Show the notebooks of a folder as apps."""
    server = Server(f"http://127.0.0.1:{_free_port()}", "", shown)
    options = ("--no-browser", "--Voila.ip=127.0.0.1", "--show_tracebacks=True")
    with running(server, home, "voila", *options, ready="/voila/static/voila.js"):
        yield server


@contextmanager
def lab(shown: Path, home: Path) -> Iterator[Server]:
    """Show a folder in JupyterLab; a script in its page reaches the application itself."""
    server = Server(f"http://127.0.0.1:{_free_port()}", secrets.token_hex(16), shown)
    options = (
        "--no-browser",
        "--allow-root",
        "--expose-app-in-browser",
        "--ip=127.0.0.1",
        "--LanguageServerManager.autodetect=False",
        "--ServerApp.port_retries=0",
        "--ServerApp.terminals_enabled=False",
        f"--IdentityProvider.token={server.token}",
    )
    with running(server, home, "jupyterlab", *options, ready="/api/status"):
        yield server


def _free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


@contextmanager
def running(server: Server, home: Path, *command: str, ready: str) -> Iterator[None]:
    home.mkdir(exist_ok=True)
    with (home / "log").open("wb") as log:
        process = _started(server, home, command, log)
        try:
            _wait_until_ready(server, process, ready, home / "log")
            yield
        finally:
            end(process)


def _started(server, home, command, log) -> psutil.Popen:
    # -P: the modules of this folder are none of the server's.
    launcher = [sys.executable, "-P", Path(__file__).with_name("serve.py")]
    return psutil.Popen(
        [*launcher, *command, f"--port={server.url.rpartition(':')[2]}", "."],
        stdin=subprocess.PIPE,
        stdout=log,
        stderr=subprocess.STDOUT,
        cwd=server.shown,
        env=_environment(home),
    )


def _environment(home: Path) -> dict[str, str]:
    """Leave this user's settings out, and let kernels import the package as it stands here."""
    _write_settings(home / "JUPYTER_CONFIG_DIR" / "labconfig")
    kept = {name: text for name, text in os.environ.items() if not name.startswith(OURS)}
    ours = {"HOME": str(home), "PYTHONPATH": str(ROOT)}
    fonts = {"MPLCONFIGDIR": mpl.get_cachedir()}  # their list takes seconds to make
    return kept | ours | fonts | {name: str(home / name) for name in PLACES}


def _write_settings(folder: Path) -> None:
    folder.mkdir(parents=True)
    for name, settings in SETTINGS.items():
        (folder / name).write_text(json.dumps(settings), "utf-8")


def _wait_until_ready(server, process, path, log) -> None:
    ends = monotonic() + STARTS_IN
    while not _answers(server, path):
        told = log.read_text("utf-8", "replace")[-2000:]
        assert process.poll() is None, f"the server ended by itself: {told}"
        assert monotonic() < ends, f"no answer within {STARTS_IN} s: {told}"
        sleep(0.1)


def end_kernel(server: Server, kernel: str) -> None:
    """End a kernel by its id."""
    same = "00"  # a browser's proof of where it comes from: one text in two places
    requests.delete(
        f"{server.url}/api/kernels/{kernel}",
        headers={"Authorization": f"token {server.token}", "X-XSRFToken": same},
        cookies={"_xsrf": same},
        timeout=10,
    ).raise_for_status()


def _answers(server: Server, path: str) -> bool:
    headers = {"Authorization": f"token {server.token}"}
    try:
        return requests.get(server.url + path, headers=headers, timeout=5).ok
    except requests.ConnectionError:
        return False


def end(process: psutil.Popen) -> None:
    """Close a server's pipe, and kill what of it and its kernels outlives that."""
    family = [process, *(process.children(recursive=True) if process.is_running() else [])]
    process.stdin.close()
    _, left = psutil.wait_procs(family, timeout=ENDS_IN)
    for one in left:
        one.kill()
    psutil.wait_procs(left, timeout=ENDS_IN)
