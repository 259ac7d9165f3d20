"""What test files share without importing it."""

import pytest

from tests.wire_clients import Clock


@pytest.fixture
def clock(monkeypatch):
    """Let waiting cost nothing, and tell how long it would have been."""
    return Clock.installed(monkeypatch)
