"""The servers of the browser tests: they end, and their kernels with them."""

import psutil
import pytest
import requests

from tests.browser import servers


def started_kernel(server):
    """Start a kernel; return what runs below this test since then."""
    asked = {"headers": {"Authorization": f"token {server.token}"}, "timeout": 30}
    requests.post(f"{server.url}/api/kernels", json={"name": "python3"}, **asked).raise_for_status()
    found = psutil.Process().children(recursive=True)
    assert any("ipykernel_launcher" in one.cmdline() for one in found)
    return found


def test_nothing_is_left_of_a_server_whose_pipe_is_closed(tmp_path):
    """A tester who is killed closes it too; a server that stayed would hold port and memory."""
    before = {*psutil.Process().children(recursive=True)}
    with servers.lab(tmp_path, tmp_path / "home") as server:
        family = [one for one in started_kernel(server) if one not in before]
    assert len(family) >= 2
    assert [one for one in family if one.is_running()] == []


def test_a_server_that_cannot_start_says_why(tmp_path):
    """Else a test would wait a minute for nothing, and then tell nothing."""
    taken = servers.Server("http://127.0.0.1:1", "", tmp_path)
    with (
        pytest.raises(AssertionError, match="No module named no_such_server"),
        servers.running(taken, tmp_path / "home", "no_such_server", ready="/"),
    ):
        pass
