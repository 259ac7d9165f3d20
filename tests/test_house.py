"""The house: who may import whom, what each module shows, and what no file may name.

Everything is read from the code's own imports. A module that stands in no row of the table is
an error, so that a new room is given its place before it is used.
"""

import ast
import importlib
import json
import re
import subprocess
import sys
from fnmatch import fnmatchcase
from functools import cache
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

PACKAGE = "casesearch_pd"
ROOT = Path(__file__).parents[1]
HOME = ROOT / PACKAGE

# The rooms in the order of the flow: each may import from the rows above its own, and modules
# of one row from each other, without circles. `expr` names the type of a field, so `schema`,
# which needs no expression, stands above it.
ORDER = (
    "errors",
    "query", "query.schema", "query.expr", "query.values", "query.names", "query.filters",
    "query.shape", "query.pushdown", "query.stored",
    "sources", "sources.run", "sources.rate_estimate", "sources.pace", "sources.patience",
    "sources.contract", "sources.moments",
    "sources.origin", "sources.failures",
    "sources.connect*",
    "sources.persona*",
    "sources.again",
    "reading", "reading.columns", "reading.frame", "reading.plan", "reading.provenance",
    "reading.where", "reading.overlay", "reading.touched",
    "reading.checkpoint", "reading.trail", "reading.walk", "reading.progress", "reading.merge",
    "reading.windows", "reading.hands", "reading.crew", "reading.resume", "reading.passes",
    "reading.sweep", "reading.direct", "reading.exhaust", "reading.changes", "reading.refresh",
    "reading.batch", "reading.stream",
    "reading.place", "reading.tables", "reading.parquet", "reading.explain", "reading.read",
    "reading.background", "reading.partitions", "reading.cluster", "reading.chosen",
    "reading.rounds", "reading.per_case", "reading.relationships", "reading.related",
    "mirror", "mirror.about", "mirror.lock", "mirror.text", "mirror.engine", "mirror.ask",
    "mirror.answer", "mirror.stage", "mirror.history", "mirror.merge", "mirror.audit",
    "mirror.beside", "mirror.question", "mirror.sync", "mirror.sql", "mirror.mirror",
    "notebook", "notebook.cases", "notebook.periods", "notebook.survival", "notebook.names",
    "notebook.survivors", "notebook.lives", "notebook.tags", "notebook.statuses",
    "notebook.numbers", "notebook.plots*", "notebook.words",
    "notebook.cells", "notebook.export", "notebook.excel", "notebook.lines", "notebook.markup",
    "notebook.report*",
    "notebook.form", "notebook.form.model*", "notebook.form.looks*", "notebook.form.editing*",
    "notebook.form.running*", "notebook.form.results*", "notebook.form.form", "notebook.accessor",
    "demo", "__main__", "__init__",
)  # fmt: skip
APART = "local*"  # the embedded service imports nothing of the rooms above
DOORS = ("demo", "__main__", "__init__")  # they see the rooms of both services

# Of the rows above, what a room may see all the same; rooms that stand here see nothing else.
_ASKED = ("errors", "query.*")
_SERVED = (
    "sources.run", "sources.pace", "sources.patience", "sources.contract", "sources.moments",
    "sources.origin", "sources.failures",
)  # fmt: skip
SIGHT = {
    "sources.connect*": (*_ASKED, *_SERVED),
    "sources.persona*": (*_ASKED, *_SERVED),
    "reading.*": (*_ASKED, "sources.run", "sources.contract", "sources.again", "reading.*"),
    "mirror.*": (
        *_ASKED,
        "sources.run",
        "sources.contract",
        "sources.again",
        "reading.*",
        "mirror.*",
    ),
    "notebook.*": (*_ASKED, "sources.contract", "reading.*", "notebook.*"),
}

# Where a library is known, and nowhere else.
LIBRARIES = {
    "boto3": ("sources.connect*", "demo"),
    "botocore": ("sources.connect*",),
    "requests": ("sources.persona*",),
    "sqlite3": ("local.*",),
    "time": ("sources.run", "local.*"),  # the only clock, and the only wait
    "sched": (),
    "asyncio": (),
    "matplotlib": ("notebook.*", "demo"),
    "scipy": ("notebook.survival",),
    "anywidget": ("notebook.*",),
    "ipywidgets": ("notebook.*",),
    "itables": ("notebook.*",),
    "tqdm": ("reading.progress",),
    "traitlets": ("notebook.*",),
    "pyarrow": ("reading.*", "mirror.*"),
    "dask": ("reading.cluster",),
    "distributed": ("reading.cluster",),
    "duckdb": ("mirror.*",),
}

# Where the calendar is read, and why.
WHAT_DAY_IS_IT = {
    "reading.plan": "a timedelta counts from now, read once",
    "sources.moments": "stands in where an answer has no Date",
    "notebook.cases": "stands in where a frame has no provenance",
    "local.*": "the service has a clock of its own",
}


@cache
def modules():
    found = {}
    for path in sorted(HOME.rglob("*.py")):
        parts = path.relative_to(HOME).with_suffix("").parts
        parts = parts[:-1] if parts[-1] == "__init__" and len(parts) > 1 else parts
        found[".".join(parts)] = ast.parse(path.read_text("utf-8"))
    return found


def imported(tree):
    """Every imported module by its full name; of ``from x import y`` both ``x`` and ``x.y``."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (item.name for item in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, "imports are absolute, so that this test can read them"
            yield from _from(node)


def _from(node):
    inner = [f"{node.module}.{item.name}" for item in node.names]
    rooms = [name for name in inner if name.removeprefix(f"{PACKAGE}.") in modules()]
    return inner if len(rooms) == len(inner) else [node.module, *inner]


@cache
def rooms_seen(name):
    seen = {item.removeprefix(f"{PACKAGE}.") for item in imported(modules()[name])}
    return frozenset((seen & modules().keys()) - {name})


def fits(name, patterns):
    return any(fnmatchcase(name, pattern) for pattern in patterns)


def row_of(name):
    return next((at for at, pattern in enumerate(ORDER) if fnmatchcase(name, pattern)), None)


def is_apart(name):
    return fnmatchcase(name, APART)


MODULES = sorted(modules())
FLOW = [name for name in MODULES if not is_apart(name)]


@pytest.mark.parametrize("name", MODULES)
def test_every_room_has_its_place(name):
    """A room outside the table would be held to no rule."""
    assert is_apart(name) or row_of(name) is not None, f"put {name} into ORDER"


@pytest.mark.parametrize("pattern", ORDER)
def test_every_place_has_its_room(pattern):
    """A row without a module would be a rule about nothing."""
    assert any(fnmatchcase(name, pattern) for name in MODULES)


@pytest.mark.parametrize("name", FLOW)
def test_rooms_import_from_above_only(name):
    """An import upwards would make two rooms one."""
    seen = {room for room in rooms_seen(name) if not is_apart(room)}
    upwards = {room for room in seen if row_of(room) > row_of(name)}
    assert not upwards


@pytest.mark.parametrize("name", [name for name in FLOW if name not in DOORS])
def test_rooms_see_what_their_role_needs(name):
    """Reading that knew a wire, or a service that knew the other, would have to change with it."""
    sight = next((seen for pattern, seen in SIGHT.items() if fnmatchcase(name, pattern)), None)
    own = ORDER[row_of(name)]
    strange = {
        room
        for room in rooms_seen(name)
        if sight is not None and not fits(room, sight) and not fnmatchcase(room, own)
    }
    assert not strange


@pytest.mark.parametrize("name", MODULES)
def test_the_embedded_service_and_the_client_share_nothing(name):
    """Shared code would let both sides make the same mistake, and no test would see it."""
    if is_apart(name):
        assert all(is_apart(room) for room in rooms_seen(name))
    elif name != "demo":
        assert not any(is_apart(room) for room in rooms_seen(name))


def test_no_circles():
    """Modules of one row may import each other, but never in a circle."""
    order = TopologicalSorter({name: rooms_seen(name) for name in MODULES})
    assert set(order.static_order()) >= set(MODULES)  # raises CycleError, which names the circle


@pytest.mark.parametrize("name", MODULES)
def test_libraries_stay_in_their_rooms(name):
    """boto3 or requests in a second room would be a second way to the wire."""
    used = {item.partition(".")[0] for item in imported(modules()[name])}
    strange = {item for item in used & LIBRARIES.keys() if not fits(name, LIBRARIES[item])}
    assert not strange


@pytest.mark.parametrize("name", MODULES)
def test_the_calendar_is_read_in_few_places(name):
    """A second reading of "now" in one read would be another moment."""
    calls = [node for node in ast.walk(modules()[name]) if isinstance(node, ast.Call)]
    names = {node.func.attr for node in calls if isinstance(node.func, ast.Attribute)}
    if names & {"now", "today", "utcnow"}:
        assert fits(name, WHAT_DAY_IS_IT)


@pytest.mark.parametrize("name", MODULES)
def test_modules_say_what_they_are(name):
    assert ast.get_docstring(modules()[name])


def defines(tree):
    return any(isinstance(node, (ast.FunctionDef, ast.ClassDef)) for node in tree.body)


@pytest.mark.parametrize(
    "name",
    # Of the embedded service only the package is a door; its rooms are its own affair.
    [name for name in MODULES if defines(modules()[name]) and not name.startswith("local.")],
)
def test_modules_name_what_is_public(name):
    """Without `__all__` nobody knows what may be changed."""
    module = importlib.import_module(PACKAGE if name == "__init__" else f"{PACKAGE}.{name}")
    assert sorted(set(module.__all__)) == sorted(module.__all__)
    assert [item for item in module.__all__ if not hasattr(module, item)] == []
    public = {
        node.name
        for node in modules()[name].body
        if isinstance(node, (ast.FunctionDef, ast.ClassDef)) and not node.name.startswith("_")
    }
    assert public - set(module.__all__) == set(), "public by name, but not in __all__"


@pytest.mark.parametrize("name", [name for name in MODULES if name != "demo"])
def test_the_library_prints_nothing(name):
    """A print in a library ends up in somebody's pipe."""
    names = {node.id for node in ast.walk(modules()[name]) if isinstance(node, ast.Name)}
    assert not names & {"print", "pprint"}


DEAR = (
    "boto3", "botocore", "requests", "matplotlib", "scipy", "ipywidgets", "anywidget",
    "itables", "tqdm.notebook", "sqlite3", "duckdb", "casesearch_pd.emulator",
)  # fmt: skip


def test_the_door_is_light():
    """`import casesearch_pd` must not pay for the service that is not used."""
    code = f"import sys, json, {PACKAGE}; print(json.dumps([*sys.modules]))"
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
        cwd=ROOT,
    )
    assert sorted(set(DEAR) & set(json.loads(done.stdout))) == []


# --- what no file may name -------------------------------------------------------------------

FOLDERS = (".ci", "bench", "binder", PACKAGE, "notebooks", "tests")
# Spelt so that no pattern matches its own spelling.
PACKAGE_HOSTS = re.compile(
    r"pypi\.org|python[h]osted|anaconda\.(org|com)|npm[j]s|extra-[i]ndex-url"
)
MACHINE_PATHS = re.compile(r"(?<![\w.~$}-])/(home|root|Users|work|tmp|mnt)/\w|\b[A-Z]:\\\w")
LOCK_FILES = ("*.lock", "*[-.]lock.*", "pylock*", "*lock.json")


def written():
    """Every text file of the project, with its lines."""
    loose = [path for path in ROOT.iterdir() if path.is_file()]
    for path in [*loose, *(item for name in FOLDERS for item in (ROOT / name).rglob("*"))]:
        passing = {"__pycache__", ".ipynb_checkpoints"} & {*path.parts}
        if path.is_file() and not passing and not path.name.startswith(".coverage"):
            try:
                yield path.relative_to(ROOT), path.read_text("utf-8").splitlines()
            except UnicodeDecodeError:
                continue  # a picture


def lines_that_match(pattern):
    return [
        f"{path}:{number}: {line.strip()[:120]}"
        for path, lines in written()
        for number, line in enumerate(lines, 1)
        if pattern.search(line)
    ]


def test_no_file_names_a_package_host():
    """The installer knows where packages come from; a host in a file binds every user to it."""
    assert lines_that_match(PACKAGE_HOSTS) == []


def test_no_file_names_a_place_on_some_machine():
    """An absolute path is true on one machine only."""
    assert lines_that_match(MACHINE_PATHS) == []


def test_no_lock_file():
    """A lock file names package hosts and freezes what users have to combine with their own."""
    assert [str(path) for path, _ in written() if fits(path.name, LOCK_FILES)] == []


@pytest.mark.parametrize(
    ("line", "pattern"),
    [
        ("see https://" + "pypi" + ".org/simple", PACKAGE_HOSTS),
        ("path = '" + "/" + "home/ann/cases'", MACHINE_PATHS),
        ("open(r'C:" + "\\" + "cases')", MACHINE_PATHS),
    ],
)
def test_the_patterns_find_what_they_look_for(line, pattern):
    assert pattern.search(line)


@pytest.mark.parametrize("line", ["https://example.com/home/page", "~/.aws/config", "cases/tmp/x"])
def test_the_patterns_leave_addresses_alone(line):
    assert not MACHINE_PATHS.search(line)
