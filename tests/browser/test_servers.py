"""The servers of the browser tests end, and their kernels with them."""

import psutil
import pytest
import requests

from tests.browser import servers


def start_kernel(server):
    """Start a kernel, and return the processes below this test."""
    options = {"headers": {"Authorization": f"token {server.token}"}, "timeout": 30}
    requests.post(
        f"{server.url}/api/kernels", json={"name": "python3"}, **options
    ).raise_for_status()
    processes = psutil.Process().children(recursive=True)
    assert any("ipykernel_launcher" in process.cmdline() for process in processes)
    return processes


def test_no_process_of_a_server_outlives_its_pipe(tmp_path):
    """The end of the tests closes it too; a server that stayed would occupy a port and memory."""
    before = {*psutil.Process().children(recursive=True)}
    with servers.lab(tmp_path, tmp_path / "home") as server:
        processes = [item for item in start_kernel(server) if item not in before]
    assert len(processes) >= 2
    assert [item for item in processes if item.is_running()] == []


def test_a_server_that_cannot_start_gives_the_reason(tmp_path):
    """A test would otherwise wait a minute and then fail without a reason."""
    server = servers.Server("http://127.0.0.1:1", "", tmp_path)
    with (
        pytest.raises(AssertionError, match="No module named no_such_server"),
        servers.run_server(server, tmp_path / "home", "no_such_server", ready="/"),
    ):
        pass
