"""What Binder makes of this repository: the recipe in binder/, read as repo2docker reads it.

Those marked recipe follow the recipe in a fresh environment, on top of the very versions that
repo2docker begins with, and run the notebooks there. The image itself, its Ubuntu packages and
the limits of mybinder.org are beyond them.
"""

import ast
import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[1]
BINDER = ROOT / "binder"
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
EXTRAS = PROJECT["optional-dependencies"]
SHOWN = ("dask", "excel", "mirror", "widgets")  # extras that a visitor is shown
FLOORS = ("ipykernel>=7.4", "ipywidgets>=8.1.9")  # with these the form was seen to work


def lines():
    text = (BINDER / "requirements.txt").read_text("utf-8")
    return [line for line in text.splitlines() if line and not line.startswith("#")]


def pins():
    """Every pinned package by its canonical name."""
    found = [re.fullmatch(r"([\w.-]+)==([\d.]+)", line) for line in lines()]
    return {canonicalize_name(pin[1]): pin[2] for pin in found if pin}


def python_version():
    return (BINDER / "runtime.txt").read_text("utf-8").strip().removeprefix("python-")


def unmet(wanted):
    """Which requirements no pin meets."""
    asked = [Requirement(text) for text in wanted]
    return [str(one) for one in asked if not meets(one)]


def meets(requirement):
    pin = pins().get(canonicalize_name(requirement.name))
    return pin is not None and requirement.specifier.contains(pin)


# --- the files -------------------------------------------------------------------------------


def test_every_line_pins_a_package_of_the_registry():
    """A path or an address would move the whole install behind the copy of the sources."""
    assert len(pins()) == len(lines()) > 0


def test_the_pins_are_all_that_the_package_needs():
    """What is installed without its dependencies fails at the first import of a missing one."""
    wanted = PROJECT["dependencies"] + [text for extra in SHOWN for text in EXTRAS[extra]]
    assert unmet(wanted) == []


def test_a_need_that_no_pin_meets_is_seen():
    assert unmet(["pandas>=1000", "no-such-package", "pandas>=3"]) == [
        "pandas>=1000",
        "no-such-package",
    ]


def test_the_pins_are_of_what_is_tested():
    """A pin below what the tests ask for would be shown without having been tried."""
    asked = [Requirement(text) for texts in EXTRAS.values() for text in texts]
    tried = [str(one) for one in asked if canonicalize_name(one.name) in pins()]
    assert tried
    assert unmet(tried) == []


def test_the_form_gets_a_kernel_and_widgets_that_it_works_with():
    assert unmet(FLOORS) == []


def imported(path):
    cells = json.loads(path.read_text("utf-8"))["cells"]
    for cell in (cell for cell in cells if cell["cell_type"] == "code"):
        nodes = list(ast.walk(ast.parse("".join(cell["source"]))))
        yield from (
            item.name for node in nodes if isinstance(node, ast.Import) for item in node.names
        )
        yield from (node.module for node in nodes if isinstance(node, ast.ImportFrom))


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.name)
def test_what_a_notebook_imports_is_there(path):
    """Here more is installed than there, so that running it here shows nothing."""
    modules = {name.partition(".")[0] for name in imported(path)}
    foreign = modules - sys.stdlib_module_names - {PROJECT["name"]}
    owners = packages_distributions()
    missing = {
        name
        for name in foreign
        if not {canonicalize_name(owner) for owner in owners.get(name, [])} & pins().keys()
    }
    assert not missing


def test_python_is_one_that_the_package_runs_on():
    """Beside a binder/ folder pyproject's own word is not heard: 3.10 would be taken."""
    assert SpecifierSet(PROJECT["requires-python"]).contains(python_version())


def stand_in(folder, code):
    """Put a program in the place of Python that writes down its arguments."""
    program = folder / "python"
    program.write_text(f'#!/bin/bash\necho "$@"\nexit {code}\n', "utf-8")
    program.chmod(0o755)
    return {"PATH": f"{folder}{os.pathsep}{os.environ['PATH']}"}


@pytest.mark.parametrize("code", [0, 3])
def test_the_package_alone_is_installed_last_and_a_failure_ends_the_build(tmp_path, code):
    """With dependencies each commit would install them all; unseen, a failure makes an image."""
    done = subprocess.run(
        [BINDER / "postBuild"],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env=stand_in(tmp_path, code),
    )
    assert done.returncode == code
    assert done.stdout.splitlines() == ["-m pip install --no-cache-dir --no-deps ."]


# --- what repo2docker makes of them ----------------------------------------------------------


@pytest.fixture(scope="module")
def build():
    """Ask for the whole Dockerfile; no Docker and no network is needed for that."""
    pytest.importorskip("repo2docker", reason="jupyter-repo2docker is not installed")
    asked = ["--no-build", "--debug", "--user-id", "1000", "--user-name", "jovyan", "."]
    done = subprocess.run(
        [sys.executable, "-m", "repo2docker", *asked],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
        cwd=ROOT,
    )
    return done.stdout + done.stderr


LAYERS = (
    "src/binder/requirements.txt ${REPO_DIR}/binder/requirements.txt",
    'pip install --no-cache-dir -r "binder/requirements.txt"',
    "src/ ${REPO_DIR}/\n",
    "RUN ./binder/postBuild",
)


def test_the_pins_make_a_layer_before_the_sources(build):
    """After them, a changed word in a notebook would install everything again."""
    places = [[found.start() for found in re.finditer(re.escape(one), build)] for one in LAYERS]
    assert [len(found) for found in places] == [1] * len(LAYERS)
    assert places == sorted(places)


def test_nothing_else_is_installed(build):
    """A second way in, such as pyproject's, would bring what no pin names."""
    assert len(re.findall(r"^RUN .*\bpip3? install", build, re.MULTILINE)) == 1


def test_the_python_of_the_image_is_ours(build):
    assert re.findall(r"conda environment for python=(\S+)", build) == [python_version()]


def test_nothing_is_run_as_root_after_the_sources(build):
    """What a stranger's commit brings must not run as root."""
    after = build[build.index(LAYERS[2]) :]
    assert re.findall(r"^USER (\S+)", after, re.MULTILINE) == ["${NB_USER}"]


# --- the recipe, tried -----------------------------------------------------------------------

# conda's name and the registry's, of what Binder starts from
BASE = {
    "ipykernel": "ipykernel",
    "ipywidgets": "ipywidgets",
    "jupyter-offlinenotebook": "jupyter-offlinenotebook",
    "jupyter-resource-usage": "jupyter-resource-usage",
    "jupyter_server": "jupyter-server",
    "jupyterhub-base": "jupyterhub",
    "jupyterlab": "jupyterlab",
    "notebook": "notebook",
}
# What would lead a process elsewhere, or to an account.
OURS = ("AWS_", "COV", "JUPYTER", "PERSONA_", "PYTEST", "PYTHON")
LEFT_OUT = shutil.ignore_patterns(".*", "__pycache__", "*.egg-info", "build", "dist")


def base():
    """Read from repo2docker which versions are there before our pins are."""
    package = pytest.importorskip("repo2docker", reason="jupyter-repo2docker is not installed")
    name = f"environment.py-{python_version()}-linux-64.lock"
    lock = (Path(package.__file__).parent / "buildpacks" / "conda" / name).read_text("utf-8")
    found = dict(re.findall(r"/([\w-]+?)-([\d.]+)-[^/-]+\.conda", lock))
    return [f"{ours}=={found[conda]}" for conda, ours in BASE.items()]


def interpreter():
    if f"{sys.version_info.major}.{sys.version_info.minor}" == python_version():
        return sys.executable
    found = shutil.which(f"python{python_version()}")
    return found or pytest.skip(f"there is no Python {python_version()}, which Binder will have")


def followed(folder):
    """Do what the image does, in its order; return how to run something there."""
    environment, sources = folder / "environment", folder / "sources"
    shutil.copytree(ROOT, sources, ignore=LEFT_OUT)
    there = {name: text for name, text in os.environ.items() if not name.startswith(OURS)}
    there["PATH"] = f"{environment / 'bin'}{os.pathsep}{there['PATH']}"

    def run(*command, **changed):
        done = subprocess.run(
            [*command],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=600,
            check=False,
            cwd=sources,
            env=there | changed,
        )
        assert done.returncode == 0, done.stdout[-4000:]
        return done.stdout

    run(interpreter(), "-m", "venv", environment)
    run("pip", "install", *base())
    run("pip", "install", "-r", "binder/requirements.txt")
    run("binder/postBuild")
    return run


@pytest.fixture(scope="module")
def there(tmp_path_factory):
    return followed(tmp_path_factory.mktemp("binder"))


@pytest.mark.recipe
def test_what_is_installed_fits_together(there):
    """The pins replace a part of what Binder starts from; the rest must go on working."""
    assert "No broken requirements" in there("pip", "check")


@pytest.mark.recipe
def test_the_pins_are_what_is_there(there):
    installed = {
        canonicalize_name(one["name"]): one["version"]
        for one in json.loads(there("pip", "list", "--format=json", "--disable-pip-version-check"))
    }
    assert pins().items() <= installed.items()
    assert canonicalize_name(PROJECT["name"]) in installed


@pytest.mark.recipe
def test_notebooks_are_shown_in_lab_and_as_apps(there, tmp_path):
    """A link that opens an app leads nowhere where Voila is no part of the server."""
    told = there("jupyter", "server", "extension", "list", HOME=str(tmp_path))
    states = re.findall(
        r"^ +(\S+)(?: [\d.]+)? +(\w+)$", re.sub(r"\x1b\[\d*m", "", told), re.MULTILINE
    )
    for name in ("jupyterlab", "notebook", "voila.server_extension"):
        assert {state for one, state in states if one == name} == {"enabled", "OK"}, told


SERVES = """
import resource, time
begun = time.perf_counter()
import casesearch_pd as cs
assert cs.count_cases(cs.open_source("demo://connect")) == 1000
print(time.perf_counter() - begun, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""


@pytest.mark.recipe
def test_the_embedded_service_starts_by_itself_within_the_limits(there, tmp_path):
    """A visitor waits no longer than ten seconds, and Binder gives little more than 1 GB."""
    seconds, kilobytes = there("python", "-c", SERVES, HOME=str(tmp_path)).split()
    assert float(seconds) < 10
    assert int(kilobytes) < 1_000_000


@pytest.mark.recipe
def test_the_notebooks_run_there(there, tmp_path):
    """Each from top to bottom, with the outputs that it is held to, and without an account."""
    runner = [text for text in EXTRAS["test"] if Requirement(text).name in {"nbval", "pytest"}]
    there("pip", "install", *runner)
    asked = (
        "--nbval-lax",
        "--nbval-current-env",
        "--nbval-cell-timeout=60",
        "-p",
        "no:cacheprovider",
    )
    (tmp_path / "pytest.ini").write_text("[pytest]\n", "utf-8")  # ours asks for what is not there
    told = there(
        "python", "-m", "pytest", "-q", "-c", str(tmp_path / "pytest.ini"), *asked, "notebooks",
        HOME=str(tmp_path),
    )  # fmt: skip
    assert re.search(r"\d+ passed", told)
    assert "failed" not in told
