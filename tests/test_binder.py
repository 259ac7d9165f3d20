"""The recipe in binder/, as repo2docker reads it.

Tests marked ``recipe`` follow the recipe in a fresh environment, with the versions that repo2docker
starts from, and run the notebooks there. The image itself, its Ubuntu packages and the limits of
mybinder.org are not covered.
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
DEMONSTRATED = ("dask", "excel", "mirror", "widgets")  # extras that the notebooks use
FLOORS = ("ipykernel>=7.4", "ipywidgets>=8.1.9")  # the form was tried with these


def lines():
    text = (BINDER / "requirements.txt").read_text("utf-8")
    return [line for line in text.splitlines() if line and not line.startswith("#")]


def pins():
    """Every pinned package by its canonical name."""
    matches = [re.fullmatch(r"([\w.-]+)==([\d.]+)", line) for line in lines()]
    return {canonicalize_name(pin[1]): pin[2] for pin in matches if pin}


def python_version():
    return (BINDER / "runtime.txt").read_text("utf-8").strip().removeprefix("python-")


def unmet(texts):
    """Return the requirements that no pin meets."""
    requirements = [Requirement(text) for text in texts]
    return [str(item) for item in requirements if not meets(item)]


def meets(requirement):
    pin = pins().get(canonicalize_name(requirement.name))
    return pin is not None and requirement.specifier.contains(pin)


# --- the files -------------------------------------------------------------------------------


def test_every_line_pins_a_package_of_the_registry():
    """A path or an address would move the whole install behind the copy of the sources."""
    assert len(pins()) == len(lines()) > 0


def test_the_pins_are_all_that_the_package_needs():
    """What is installed without its dependencies fails at the first import of a missing one."""
    requirements = PROJECT["dependencies"] + [
        text for extra in DEMONSTRATED for text in EXTRAS[extra]
    ]
    assert unmet(requirements) == []


def test_a_requirement_without_a_pin_is_found():
    assert unmet(["pandas>=1000", "no-such-package", "pandas>=3"]) == [
        "pandas>=1000",
        "no-such-package",
    ]


def test_the_pins_are_of_tested_versions():
    """A pin below the version that the tests require would never have been tried."""
    requirements = [Requirement(text) for texts in EXTRAS.values() for text in texts]
    pinned = [str(item) for item in requirements if canonicalize_name(item.name) in pins()]
    assert pinned
    assert unmet(pinned) == []


def test_the_form_has_a_kernel_and_widgets_that_work():
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
def test_the_imports_of_a_notebook_are_pinned(path):
    """More is installed here than on Binder, so running the notebook here proves nothing."""
    modules = {name.partition(".")[0] for name in imported(path)}
    foreign = modules - sys.stdlib_module_names - {PROJECT["name"]}
    owners = packages_distributions()
    missing = {
        name
        for name in foreign
        if not {canonicalize_name(owner) for owner in owners.get(name, [])} & pins().keys()
    }
    assert not missing


def test_the_python_version_is_supported():
    """With a binder/ folder, repo2docker ignores pyproject.toml and would use Python 3.10."""
    assert SpecifierSet(PROJECT["requires-python"]).contains(python_version())


def fake_python(folder, code):
    """Replace Python by a program that prints its arguments."""
    program = folder / "python"
    program.write_text(f'#!/bin/bash\necho "$@"\nexit {code}\n', "utf-8")
    program.chmod(0o755)
    return {"PATH": f"{folder}{os.pathsep}{os.environ['PATH']}"}


@pytest.mark.parametrize("code", [0, 3])
def test_only_the_package_is_installed_last_and_a_failure_ends_the_build(tmp_path, code):
    """With dependencies each commit would install all of them again."""
    process = subprocess.run(
        [BINDER / "postBuild"],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env=fake_python(tmp_path, code),
    )
    assert process.returncode == code
    assert process.stdout.splitlines() == ["-m pip install --no-cache-dir --no-deps ."]


# --- the Dockerfile that repo2docker prints --------------------


@pytest.fixture(scope="module")
def build():
    """Return the whole Dockerfile, which needs neither Docker nor a network."""
    pytest.importorskip("repo2docker", reason="jupyter-repo2docker is not installed")
    arguments = ["--no-build", "--debug", "--user-id", "1000", "--user-name", "jovyan", "."]
    process = subprocess.run(
        [sys.executable, "-m", "repo2docker", *arguments],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
        cwd=ROOT,
    )
    return process.stdout + process.stderr


LAYERS = (
    "src/binder/requirements.txt ${REPO_DIR}/binder/requirements.txt",
    'pip install --no-cache-dir -r "binder/requirements.txt"',
    "src/ ${REPO_DIR}/\n",
    "RUN ./binder/postBuild",
)


def test_the_pins_are_installed_before_the_sources_are_copied(build):
    """Otherwise a changed word in a notebook would install everything again."""
    positions = [
        [match.start() for match in re.finditer(re.escape(layer), build)] for layer in LAYERS
    ]
    assert [len(item) for item in positions] == [1] * len(LAYERS)
    assert positions == sorted(positions)


def test_nothing_else_is_installed(build):
    """A second install, such as one of pyproject.toml, would bring packages without a pin."""
    assert len(re.findall(r"^RUN .*\bpip3? install", build, re.MULTILINE)) == 1


def test_the_image_has_the_python_of_runtime_txt(build):
    assert re.findall(r"conda environment for python=(\S+)", build) == [python_version()]


def test_nothing_is_run_as_root_after_the_sources(build):
    """The code of a commit must not run as root."""
    after = build[build.index(LAYERS[2]) :]
    assert re.findall(r"^USER (\S+)", after, re.MULTILINE) == ["${NB_USER}"]


# --- the recipe in a fresh environment --------------------

# Names in conda and in the registry of the packages that Binder starts from.
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
# Settings that would lead a process elsewhere, or to an account.
SETTINGS = ("AWS_", "COV", "JUPYTER", "PERSONA_", "PYTEST", "PYTHON")
EXCLUDED = shutil.ignore_patterns(".*", "__pycache__", "*.egg-info", "build", "dist")


def base():
    """Return the versions that repo2docker installs before the pins."""
    package = pytest.importorskip("repo2docker", reason="jupyter-repo2docker is not installed")
    name = f"environment.py-{python_version()}-linux-64.lock"
    lock = (Path(package.__file__).parent / "buildpacks" / "conda" / name).read_text("utf-8")
    versions = dict(re.findall(r"/([\w-]+?)-([\d.]+)-[^/-]+\.conda", lock))
    return [f"{name}=={versions[conda]}" for conda, name in BASE.items()]


def interpreter():
    if f"{sys.version_info.major}.{sys.version_info.minor}" == python_version():
        return sys.executable
    program = shutil.which(f"python{python_version()}")
    return program or pytest.skip(f"Python {python_version()}, which Binder uses, is not installed")


def build_environment(folder):
    """Follow the steps of the image; return a function that runs a command in it."""
    environment, sources = folder / "environment", folder / "sources"
    shutil.copytree(ROOT, sources, ignore=EXCLUDED)
    settings = {name: text for name, text in os.environ.items() if not name.startswith(SETTINGS)}
    settings["PATH"] = f"{environment / 'bin'}{os.pathsep}{settings['PATH']}"

    def run(*command, **variables):
        process = subprocess.run(
            [*command],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=600,
            check=False,
            cwd=sources,
            env=settings | variables,
        )
        assert process.returncode == 0, process.stdout[-4000:]
        return process.stdout

    run(interpreter(), "-m", "venv", environment)
    run("pip", "install", *base())
    run("pip", "install", "-r", "binder/requirements.txt")
    run("binder/postBuild")
    return run


@pytest.fixture(scope="module")
def run_in_image(tmp_path_factory):
    return build_environment(tmp_path_factory.mktemp("binder"))


@pytest.mark.recipe
def test_the_installed_packages_are_compatible(run_in_image):
    """The pins replace some packages that Binder starts from; the others must still work."""
    assert "No broken requirements" in run_in_image("pip", "check")


@pytest.mark.recipe
def test_the_pins_are_installed(run_in_image):
    installed = {
        canonicalize_name(one["name"]): one["version"]
        for one in json.loads(
            run_in_image("pip", "list", "--format=json", "--disable-pip-version-check")
        )
    }
    assert pins().items() <= installed.items()
    assert canonicalize_name(PROJECT["name"]) in installed


@pytest.mark.recipe
def test_jupyterlab_and_voila_are_enabled(run_in_image, tmp_path):
    """A link to an app fails where Voila is not an extension of the server."""
    listing = run_in_image("jupyter", "server", "extension", "list", HOME=str(tmp_path))
    states = re.findall(
        r"^ +(\S+)(?: [\d.]+)? +(\w+)$", re.sub(r"\x1b\[\d*m", "", listing), re.MULTILINE
    )
    for name in ("jupyterlab", "notebook", "voila.server_extension"):
        assert {state for one, state in states if one == name} == {"enabled", "OK"}, listing


DEMO_SCRIPT = """
import resource, time
started = time.perf_counter()
import casesearch_pd as cs
assert cs.count_cases(cs.open_source("demo://connect")) == 1000
print(time.perf_counter() - started, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""


@pytest.mark.recipe
def test_the_emulator_starts_within_the_limits(run_in_image, tmp_path):
    """A visitor waits no longer than ten seconds, and Binder gives little more than 1 GB."""
    seconds, kilobytes = run_in_image("python", "-c", DEMO_SCRIPT, HOME=str(tmp_path)).split()
    assert float(seconds) < 10
    assert int(kilobytes) < 1_000_000


@pytest.mark.recipe
def test_the_notebooks_run(run_in_image, tmp_path):
    """Each runs from top to bottom with its checked outputs and without an account."""
    runner = [text for text in EXTRAS["test"] if Requirement(text).name in {"nbval", "pytest"}]
    run_in_image("pip", "install", *runner)
    options = (
        "--nbval-lax",
        "--nbval-current-env",
        "--nbval-cell-timeout=60",
        "-p",
        "no:cacheprovider",
    )
    (tmp_path / "pytest.ini").write_text(
        "[pytest]\n", "utf-8"
    )  # the project's own needs other plugins
    output = run_in_image(
        "python", "-m", "pytest", "-q", "-c", str(tmp_path / "pytest.ini"), *options, "notebooks",
        HOME=str(tmp_path),
    )  # fmt: skip
    assert re.search(r"\d+ passed", output)
    assert "failed" not in output
