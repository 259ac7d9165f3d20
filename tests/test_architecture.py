"""The structure of the package: layers, libraries, public names, and what no file may contain.

The import rules stand in ``pyproject.toml`` and are checked by import-linter.
"""

import ast
import importlib
import inspect
import json
import re
import subprocess
import sys
from fnmatch import fnmatchcase
from functools import cache
from pathlib import Path

import pytest
from importlinter.cli import lint_imports

PACKAGE = "casesearch_pd"
ROOT = Path(__file__).parents[1]


@cache
def modules():
    """Return the syntax tree of each module by its name below the package."""
    trees = {}
    for path in sorted((ROOT / PACKAGE).rglob("*.py")):
        parts = path.relative_to(ROOT / PACKAGE).with_suffix("").parts
        name = ".".join(parts[:-1] if parts[-1] == "__init__" and len(parts) > 1 else parts)
        trees[name] = ast.parse(path.read_text("utf-8"))
    return trees


def matches(name, patterns):
    return any(fnmatchcase(name, pattern) for pattern in patterns)


def test_imports_follow_the_layers(capsys, monkeypatch):
    """An import against the direction would make two packages one."""
    monkeypatch.chdir(ROOT)
    exit_status = lint_imports(config_filename="pyproject.toml", no_cache=True)
    assert exit_status == 0, capsys.readouterr().out


def test_imports_are_absolute():
    """Relative imports would be read by neither the linter nor a search."""
    relative = [
        f"{name}:{node.lineno}"
        for name, tree in modules().items()
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and node.level
    ]
    assert relative == []


# Where a library is used, and nowhere else.
LIBRARIES = {
    "boto3": ("sources.amazon_connect*", "demo"),
    "botocore": ("sources.amazon_connect*", "demo"),
    "requests": ("sources.persona*", "sources.transport*"),
    "sqlite3": ("emulator.*",),
    "time": ("sources.transport.context", "emulator.*"),  # the only clock, and the only wait
    "sched": (),
    "asyncio": (),
    "matplotlib": ("plots*", "report.*", "form.*", "demo"),
    "scipy": ("analysis.survival",),
    "anywidget": ("form.*",),
    "ipywidgets": ("form.*",),
    "itables": ("form.*",),
    "tqdm": ("reading.progress",),
    "traitlets": ("form.*",),
    "pyarrow": ("reading.*", "mirror.*"),
    "dask": ("reading.distributed.dask",),
    "distributed": ("reading.distributed.dask",),
    "duckdb": ("mirror*",),
}


def imported_libraries(tree):
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (item.name.partition(".")[0] for item in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node.module.partition(".")[0]


def test_a_library_is_used_in_one_place():
    """boto3 or requests in a second place would be a second way to the wire."""
    misplaced = [
        f"{name} imports {library}"
        for name, tree in modules().items()
        for library in {*imported_libraries(tree)} & LIBRARIES.keys()
        if not matches(name, LIBRARIES[library])
    ]
    assert misplaced == []


# Where the calendar is read, and why.
CALENDAR_READERS = {
    "reading.options": "a relative time counts from now, read once",
    "reading.plan": "a relative time counts from now, read once",
    "sources.base": "replaces a missing Date header",
    "sources.transport.timestamps": "replaces a missing Date header",
    "analysis.lifecycle": "replaces a missing provenance",
    "emulator.*": "the service has a clock of its own",
}


def test_the_calendar_is_read_in_few_places():
    """A second reading of "now" in one read would be another instant."""
    readers = [
        name
        for name, tree in modules().items()
        for node in ast.walk(tree)
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and node.func.attr in {"now", "today", "utcnow"}
    ]
    assert [name for name in readers if not matches(name, CALENDAR_READERS)] == []


def test_modules_have_a_docstring():
    assert [name for name, tree in modules().items() if not ast.get_docstring(tree)] == []


def public_definitions(tree):
    return {
        node.name
        for node in tree.body
        if isinstance(node, (ast.FunctionDef, ast.ClassDef)) and not node.name.startswith("_")
    }


def test_modules_list_their_public_names():
    """Without `__all__` nobody knows what may be changed. The emulator's modules are internal."""
    unlisted = []
    for name, tree in modules().items():
        if name.startswith("emulator.") or not any(
            isinstance(node, (ast.FunctionDef, ast.ClassDef)) for node in tree.body
        ):
            continue
        module = importlib.import_module(PACKAGE if name == "__init__" else f"{PACKAGE}.{name}")
        names = getattr(module, "__all__", [])
        missing = public_definitions(tree) - {*names}
        absent = [item for item in names if not hasattr(module, item)]
        if missing or absent or len(names) != len({*names}):
            unlisted.append((name, missing, absent))
    assert unlisted == []


def test_the_library_prints_nothing():
    """A print in a library ends up in the output of somebody's command."""
    printing = [
        name
        for name, tree in modules().items()
        for node in ast.walk(tree)
        if isinstance(node, ast.Name) and node.id in {"print", "pprint"}
    ]
    assert {*printing} <= {"demo"}


def test_no_arguments_are_read_by_name():
    """`locals()` would hide a parameter from editors and from mypy."""
    calls = [
        f"{name}:{node.lineno}"
        for name, tree in modules().items()
        for node in ast.walk(tree)
        if isinstance(node, ast.Name) and node.id in {"locals", "globals"}
    ]
    # The package's own `__dir__` and lazy attributes look names up in its namespace.
    assert [call for call in calls if not call.startswith("__init__:")] == []


EXPENSIVE = (
    "boto3", "botocore", "requests", "matplotlib", "scipy", "ipywidgets", "anywidget",
    "itables", "tqdm.notebook", "sqlite3", "duckdb", "casesearch_pd.emulator",
)  # fmt: skip


def test_the_import_is_cheap():
    """`import casesearch_pd` must not pay for a service or a picture that is not used."""
    code = f"import sys, json, {PACKAGE}; print(json.dumps([*sys.modules]))"
    process = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
        cwd=ROOT,
    )
    assert sorted({*EXPENSIVE} & {*json.loads(process.stdout)}) == []


def test_public_names_have_a_docstring():
    package = importlib.import_module(PACKAGE)
    assert [name for name in package.__all__ if not inspect.getdoc(getattr(package, name))] == []


# --- what no file may contain ---------------------------------------------------------------

FOLDERS = (".ci", "bench", "binder", "docs", PACKAGE, "notebooks", "tests")
# Spelt so that no pattern matches its own spelling.
PACKAGE_HOSTS = re.compile(
    r"pypi\.org|python[h]osted|anaconda\.(org|com)|npm[j]s|extra-[i]ndex-url"
)
MACHINE_PATHS = re.compile(r"(?<![\w.~$}-])/(home|root|Users|work|tmp|mnt)/\w|\b[A-Z]:\\\w")
LOCK_FILES = ("*.lock", "*[-.]lock.*", "pylock*", "*lock.json")


def text_files():
    """Yield every text file of the project, with its lines."""
    top = [path for path in ROOT.iterdir() if path.is_file()]
    for path in [*top, *(item for name in FOLDERS for item in (ROOT / name).rglob("*"))]:
        temporary = {"__pycache__", ".ipynb_checkpoints"} & {*path.parts}
        if path.is_file() and not temporary and not path.name.startswith(".coverage"):
            try:
                yield path.relative_to(ROOT), path.read_text("utf-8").splitlines()
            except UnicodeDecodeError:
                continue  # a picture


def lines_that_match(pattern):
    return [
        f"{path}:{number}: {line.strip()[:120]}"
        for path, lines in text_files()
        for number, line in enumerate(lines, 1)
        if pattern.search(line)
    ]


def test_no_file_names_a_package_host():
    """The installer knows where packages come from; a host in a file binds every user to it."""
    assert lines_that_match(PACKAGE_HOSTS) == []


def test_no_file_names_a_path_of_one_machine():
    """An absolute path is true on one machine only."""
    assert lines_that_match(MACHINE_PATHS) == []


def test_there_is_no_lock_file():
    """A lock file names package hosts and freezes what users have to combine with their own."""
    assert [str(path) for path, _ in text_files() if matches(path.name, LOCK_FILES)] == []


@pytest.mark.parametrize(
    ("line", "pattern"),
    [
        ("see https://" + "pypi" + ".org/simple", PACKAGE_HOSTS),
        ("path = '" + "/" + "home/ann/cases'", MACHINE_PATHS),
        ("open(r'C:" + "\\" + "cases')", MACHINE_PATHS),
    ],
)
def test_the_patterns_match_their_examples(line, pattern):
    assert pattern.search(line)


@pytest.mark.parametrize("line", ["https://example.com/home/page", "~/.aws/config", "cases/tmp/x"])
def test_the_patterns_ignore_addresses(line):
    assert not MACHINE_PATHS.search(line)
