"""Fixtures that several test files use.

A test module chooses its emulator by a constant ``SERVICE``: the keywords of `LocalCases`, such as
``SERVICE = {"cases": 430, "seed": 3}``, and the keywords of its sources in ``SOURCES``, by service.
"""

import threading
from datetime import UTC, datetime
from pathlib import Path

import pytest

import casesearch_pd as cs
from casesearch_pd.reading.recent_reads import forget_reads
from tests.wire_clients import Clock

NOW = datetime(2026, 3, 14, 12, tzinfo=UTC)
SERVICES = ("connect", "persona")

# Test files that are not part of `make fast`, because each takes several seconds.
SLOWER_FILES = frozenset(
    (
        "test_background",
        "test_binder",
        "test_changing_cases",
        "test_checkpoint",
        "test_chunks",
        "test_codecs",
        "test_dask",
        "test_demo",
        "test_emulator_connect",
        "test_emulator_faults",
        "test_emulator_frame",
        "test_emulator_options",
        "test_emulator_persona",
        "test_errors",
        "test_explain",
        "test_filter_laws",
        "test_form",
        "test_form_editor",
        "test_form_model",
        "test_frame",
        "test_iter_cases",
        "test_lifecycle",
        "test_limit_laws",
        "test_limits",
        "test_local_filter",
        "test_local_values",
        "test_masks",
        "test_metrics",
        "test_mirror",
        "test_mirror_files",
        "test_mirror_laws",
        "test_mirror_meaning",
        "test_mirror_planted",
        "test_mirror_replay",
        "test_notebooks",
        "test_output_paths",
        "test_parquet",
        "test_plots",
        "test_progress",
        "test_pushdown",
        "test_provenance",
        "test_read",
        "test_read_faults",
        "test_real_incidents",
        "test_refresh",
        "test_related",
        "test_report",
        "test_response_bodies",
        "test_time_limits",
        "test_workers",
    )
)


def pytest_collection_modifyitems(items):
    """Mark as fast what is quick and needs no browser, no fresh environment and no sweep."""
    for item in items:
        is_test_file = item.path.parent == Path(__file__).parent
        excluded = any(map(item.get_closest_marker, ("browser", "recipe", "slow")))
        if is_test_file and item.path.stem not in SLOWER_FILES and not excluded:
            item.add_marker("fast")


@pytest.fixture(autouse=True)
def _no_recent_reads():
    """Let no test recognize the cases that another one read: emulators may have the same ids."""
    forget_reads()


@pytest.fixture
def clock(monkeypatch):
    """Return a clock on which waiting takes no time and is recorded."""
    return Clock.installed(monkeypatch)


@pytest.fixture(scope="module")
def service(request):
    """Return a running emulator with a source of each service, fields discovered."""
    options = {"cases": 300, "seed": 4, "now": NOW} | getattr(request.module, "SERVICE", {})
    source_options = getattr(request.module, "SOURCES", {})
    with cs.LocalCases(**options) as service:
        service.sources = {
            name: getattr(service, f"{name}_cases")(**source_options.get(name, {}))
            for name in SERVICES
        }
        for source in service.sources.values():
            assert source.schema.fields
        yield service


@pytest.fixture
def local(service):
    """Return the module's emulator without faults; those that a test adds end with it."""
    service.faults.clear()
    yield service
    service.faults.clear()


@pytest.fixture(scope="module", params=SERVICES)
def source(request, service):
    """Return the source of each service in turn."""
    return service.sources[request.param]


@pytest.fixture
def until():
    """Return a function that waits until a condition holds, for at most a minute."""

    def wait(condition):
        pause = threading.Event()
        for _ in range(6000):
            if condition():
                return
            pause.wait(0.01)
        raise AssertionError("the condition did not come true within a minute")

    return wait
