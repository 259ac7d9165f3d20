"""Servers of Voila and JupyterLab, each with a free port and a home directory of its own."""

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
START_TIMEOUT, STOP_TIMEOUT = 60, 20  # seconds, for a busy machine
# Variables that would lead a server or a kernel to other settings, or to an account.
REMOVED_VARIABLES = ("AWS_", "COV", "JPY_", "JUPYTER", "PERSONA_", "PYTEST", "PYTHON", "VOILA")
DIRECTORY_VARIABLES = (
    "IPYTHONDIR",
    "JUPYTER_CONFIG_DIR",
    "JUPYTER_DATA_DIR",
    "JUPYTER_RUNTIME_DIR",
)
SETTINGS = {
    # On its first start Lab asks whether it may fetch the news of the project.
    "page_config.json": {
        "disabledExtensions": {"@jupyterlab/apputils-extension:announcements": True}
    },
    # The page has every cell, and not only the visible ones.
    "default_setting_overrides.json": {
        "@jupyterlab/notebook-extension:tracker": {"windowingMode": "none"}
    },
}


@dataclass(frozen=True)
class Server:
    """The address of a server, its token (Voila has none), and the folder that it serves."""

    url: str
    token: str
    root: Path


@contextmanager
def voila(root: Path, home: Path) -> Iterator[Server]:
    """Serve the notebooks of a folder as apps."""
    server = Server(f"http://127.0.0.1:{_free_port()}", "", root)
    options = ("--no-browser", "--Voila.ip=127.0.0.1", "--show_tracebacks=True")
    with run_server(server, home, "voila", *options, ready="/voila/static/voila.js"):
        yield server


@contextmanager
def lab(root: Path, home: Path) -> Iterator[Server]:
    """Serve a folder in JupyterLab; scripts in its page can use the application object."""
    server = Server(f"http://127.0.0.1:{_free_port()}", secrets.token_hex(16), root)
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
    with run_server(server, home, "jupyterlab", *options, ready="/api/status"):
        yield server


def _free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


@contextmanager
def run_server(server: Server, home: Path, *command: str, ready: str) -> Iterator[None]:
    home.mkdir(exist_ok=True)
    with (home / "log").open("wb") as log:
        process = _start(server, home, command, log)
        try:
            _wait_until_ready(server, process, ready, home / "log")
            yield
        finally:
            stop_server(process)


def _start(server, home, command, log) -> psutil.Popen:
    # -P keeps the modules of this folder from the server.
    launcher = [sys.executable, "-P", Path(__file__).with_name("serve.py")]
    return psutil.Popen(
        [*launcher, *command, f"--port={server.url.rpartition(':')[2]}", "."],
        stdin=subprocess.PIPE,
        stdout=log,
        stderr=subprocess.STDOUT,
        cwd=server.root,
        env=_environment(home),
    )


def _environment(home: Path) -> dict[str, str]:
    """Return an environment without this user's settings, in which kernels find the package."""
    _write_settings(home / "JUPYTER_CONFIG_DIR" / "labconfig")
    variables = os.environ.items()
    inherited = {name: text for name, text in variables if not name.startswith(REMOVED_VARIABLES)}
    paths = {"HOME": str(home), "PYTHONPATH": str(ROOT)}
    fonts = {"MPLCONFIGDIR": mpl.get_cachedir()}  # a new list of fonts takes seconds
    directories = {name: str(home / name) for name in DIRECTORY_VARIABLES}
    return inherited | paths | fonts | directories


def _write_settings(folder: Path) -> None:
    folder.mkdir(parents=True)
    for name, settings in SETTINGS.items():
        (folder / name).write_text(json.dumps(settings), "utf-8")


def _wait_until_ready(server, process, path, log) -> None:
    deadline = monotonic() + START_TIMEOUT
    while not _responds(server, path):
        output = log.read_text("utf-8", "replace")[-2000:]
        assert process.poll() is None, f"the server ended by itself: {output}"
        assert monotonic() < deadline, f"no response within {START_TIMEOUT} s: {output}"
        sleep(0.1)


def stop_kernel(server: Server, kernel: str) -> None:
    """Stop a kernel by its id."""
    token = "00"  # against cross-site requests: the same text in a header and a cookie
    requests.delete(
        f"{server.url}/api/kernels/{kernel}",
        headers={"Authorization": f"token {server.token}", "X-XSRFToken": token},
        cookies={"_xsrf": token},
        timeout=10,
    ).raise_for_status()


def _responds(server: Server, path: str) -> bool:
    headers = {"Authorization": f"token {server.token}"}
    try:
        return requests.get(server.url + path, headers=headers, timeout=5).ok
    except requests.ConnectionError:
        return False


def stop_server(process: psutil.Popen) -> None:
    """Close the pipe of a server, and kill the processes that do not end by that."""
    processes = [process, *(process.children(recursive=True) if process.is_running() else [])]
    process.stdin.close()
    _, alive = psutil.wait_procs(processes, timeout=STOP_TIMEOUT)
    for item in alive:
        item.kill()
    psutil.wait_procs(alive, timeout=STOP_TIMEOUT)
