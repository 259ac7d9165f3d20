"""A mirror means what its service means: open cases, option labels, spellings, and time limits."""

import time
import warnings
from types import SimpleNamespace

import pytest

import casesearch_pd as cs
from casesearch_pd.emulator import Fault
from casesearch_pd.mirror import sync
from tests.conftest import SERVICES

SERVICE = {"cases": 200, "seed": 4}
SOURCES = {name: {"rate": float("inf")} for name in SERVICES}
LIMIT = 0.3


@pytest.fixture(scope="module", params=SERVICES)
def both(request, service, tmp_path_factory):
    """Return a source, a mirror of it, and all cases."""
    source = service.sources[request.param]
    mirror = cs.Mirror(tmp_path_factory.mktemp("mirror") / "cases.duckdb")
    mirror.sync(source, progress=False)
    cases = cs.read_cases(source, progress=False)
    return SimpleNamespace(name=request.param, source=source, mirror=mirror, cases=cases)


# Open cases


@pytest.mark.parametrize("is_open", [True, False])
def test_open_cases_of_a_mirror_are_those_of_the_service(both, is_open):
    """On Amazon Connect the status says which cases are open, Persona by the time of closing."""
    expected = both.cases[both.cases.cases.is_open == is_open]["case_id"].tolist()
    assert expected
    frame = cs.read_cases(both.mirror, is_open=is_open)
    assert frame["case_id"].tolist() == expected
    assert (frame.cases.is_open == is_open).all()
    assert cs.count_cases(both.mirror, is_open__ne=not is_open) == len(expected)
    assert both.mirror.traits == both.source.traits


@pytest.mark.filterwarnings("ignore:.*cannot evaluate this filter")
def test_open_cases_of_a_mirror_of_open_cases(both, tmp_path):
    mirror = cs.Mirror(tmp_path / "open.duckdb")
    mirror.sync(both.source, is_open=True, progress=False)
    assert cs.count_cases(mirror, is_open=True) == mirror.history()["rows"].iloc[-1] > 0
    assert cs.count_cases(mirror, is_open=False) == 0
    assert mirror.sync(both.source, is_open=True, progress=False).number == 2


# Values


@pytest.mark.parametrize("spelling", ["value", "label", "upper", "lower"])
def test_labels_and_letter_cases_of_options_mean_the_same(both, spelling):
    fields = [item for item in both.source.schema.active if item.options]
    if not fields:
        pytest.skip("the service lists no options")
    for item in fields[:3]:
        option = item.options[0]
        text = {
            "value": option.value,
            "label": option.label,
            "upper": option.label.upper(),
            "lower": option.label.lower(),
        }[spelling]
        expected = (both.cases[item.column] == option.value).sum()
        assert cs.count_cases(both.mirror, **{item.column: text}) == expected, item.column


@pytest.mark.parametrize(
    ("status", "nearest"),
    [("approved", "Approved"), ("Aproved", "Approved"), ("PENDING", "pending")],
)
def test_a_misspelt_status_is_noticed_without_the_service(both, status, nearest):
    if both.name != "persona":
        pytest.skip("Amazon Connect lists the options of its status")
    with pytest.warns(UserWarning, match=repr(nearest)):
        assert cs.count_cases(both.mirror, status=status) == 0


def test_a_status_that_cases_have_warns_of_nothing(both):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for status in both.cases["status"].unique():
            expected = (both.cases["status"] == status).sum()
            assert cs.count_cases(both.mirror, status=status) == expected


def test_a_new_status_is_known_after_the_next_sync(tmp_path):
    with cs.LocalCases(cases=20, seed=4) as local:
        source, mirror = local.persona_cases(), cs.Mirror(tmp_path / "cases.duckdb")
        mirror.sync(source, progress=False)
        local.update(local.frame()["case_id"][0], status="Escalated")
        mirror.sync(source, progress=False)
        assert "Escalated" in mirror.schema.find("status").examples
        with pytest.warns(UserWarning, match="'Escalated'"):
            cs.count_cases(mirror, status="escalated")


def test_few_values_are_stored_as_examples(tmp_path):
    with cs.LocalCases(cases=80, seed=4) as local:
        for number, case_id in enumerate(local.frame()["case_id"]):
            local.update(case_id, status=f"status {number}")
        mirror = cs.Mirror(tmp_path / "cases.duckdb")
        mirror.sync(local.persona_cases(), progress=False)
        assert len(mirror.schema.find("status").examples) == 50
        assert mirror.schema.find("title").examples == ()


def test_the_provenance_of_a_mirror_has_the_types_and_options_of_the_service(both):
    expected, found = both.cases.cases.provenance, cs.read_cases(both.mirror).cases.provenance
    assert found["options"] == expected["options"]
    assert found["types"] == expected["types"]


# Time limits

FAULTS = {
    "silent": Fault("silence", 30, operation=None),
    "dripping": Fault("drip", 0.2, operation=None),
    "slow": Fault("latency", 0.4, operation=None),
    "throttled": Fault("throttle", 10, operation=None),
}


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("later", [False, True], ids=["first", "later"])
@pytest.mark.parametrize("name", SERVICES)
def test_a_sync_ends_at_its_time_limit(name, later, fault, local, tmp_path):
    """The fields are discovered within the limit too, because the source is new."""
    options = SOURCES[name]
    mirror = cs.Mirror(tmp_path / "cases.duckdb")
    if later:
        mirror.sync(local.sources[name], progress=False)
    local.faults.append(FAULTS[fault])
    source = getattr(local, f"{name}_cases")(**options)
    start = time.monotonic()
    with pytest.raises(cs.CaseSearchError, match=r"timeout=0.3 s"):
        mirror.sync(source, timeout=LIMIT, progress=False)
    assert time.monotonic() - start < LIMIT + 3  # on a loaded machine
    assert mirror.path.exists() == later


def test_no_merge_is_begun_after_the_time_limit(service, tmp_path, monkeypatch):
    original = sync._read

    def read_slowly(run, stage):
        original(run, stage)
        run.incremental.context.deadline = 0

    monkeypatch.setattr(sync, "_read", read_slowly)
    mirror = cs.Mirror(tmp_path / "cases.duckdb")
    with pytest.raises(cs.CaseSearchError, match="waiting for the new file of the mirror"):
        mirror.sync(service.sources["connect"], timeout=60, progress=False)
    assert not mirror.path.exists()
    monkeypatch.undo()
    assert mirror.sync(service.sources["connect"], progress=False).rows == 200
