"""Mirrors made by somebody else: nothing in the file makes this machine read other files."""

import shutil

import duckdb
import pytest

import casesearch_pd as cs
from casesearch_pd.mirror import storage

SERVICE = {"cases": 20, "seed": 4}


@pytest.fixture(scope="module")
def connect(service):
    return service.sources["connect"]


@pytest.fixture(scope="module")
def original(connect, tmp_path_factory):
    path = tmp_path_factory.mktemp("original") / "cases.duckdb"
    cs.Mirror(path).sync(connect, progress=False)
    return path


def replace_by_view(table):
    return f"""
        ALTER TABLE {table} RENAME TO {table}_rows;
        CREATE VIEW {table} AS SELECT * FROM {table}_rows WHERE ({{secret}}) = 'yes'"""


# What somebody adds to a file; {secret} is an expression that reads a private file.
PLANTED = {
    "metadata": replace_by_view("metadata"),
    "cases": replace_by_view("cases"),
    "fields": "CREATE VIEW fields AS SELECT ({secret}) AS name, ({secret}) AS id",
    "options": "CREATE VIEW options AS SELECT ({secret}) AS field",
    "syncs": "CREATE VIEW syncs AS SELECT ({secret}) AS number",
    "unused view": "CREATE VIEW another AS {secret}",
    "lower": "CREATE MACRO lower(x) AS ({secret})",
    "contains": "CREATE MACRO contains(x, y) AS (({secret}) = 'yes')",
    "casefold": "CREATE MACRO casefold(x) AS ({secret})",
    "unnest": "CREATE MACRO strlen(x) AS (SELECT count(*) FROM ({secret}) WHERE content = 'yes')",
    "table macro": "CREATE MACRO ranges() AS TABLE ({secret})",
    "schema": "CREATE SCHEMA memory; CREATE VIEW memory.cases AS {secret}",
    "table": "CREATE TABLE other AS SELECT 1 AS x",
    "default": "ALTER TABLE cases ADD COLUMN extra VARCHAR DEFAULT (lower('A'))",
}
ACTIONS = {
    "read": lambda mirror, _: len(cs.read_cases(mirror, title__contains="É")),
    "count": lambda mirror, _: cs.count_cases(mirror, title__contains="a"),
    "schema": lambda mirror, _: len(mirror.schema.fields),
    "history": lambda mirror, _: len(mirror.history()),
    "sql": lambda mirror, _: mirror.sql("SELECT * FROM syncs, fields, options LIMIT 3").shape,
    "lower": lambda mirror, _: mirror.sql("SELECT lower(case_id) AS x FROM cases").x.nunique(),
    "open": lambda mirror, _: len(cs.read_cases(cs.open_source(str(mirror.path)))),
    "sync": lambda mirror, source: mirror.sync(source, progress=False).rows,
}


def plant(original, path, sql, secret):
    """Copy a mirror and run SQL in the copy, whose {secret} reads a file with this content."""
    shutil.copy(original, path)
    private = path.with_suffix(".txt")
    private.write_text(secret)
    with duckdb.connect(str(path)) as connection:
        connection.execute(sql.format(secret=f"SELECT content FROM read_text('{private}')"))


def result_of(action, path, source):
    try:
        return ACTIONS[action](cs.Mirror(path), source)
    except (cs.CaseSearchError, duckdb.Error) as error:
        return type(error), str(error).replace(path.stem, "NAME")


@pytest.mark.parametrize("name", PLANTED)
def test_a_private_file_makes_no_difference(name, original, connect, tmp_path):
    """Whoever gets the result of a read would learn what the file holds."""
    for action in ACTIONS:
        results = []
        for secret in ("yes", "no"):
            path = tmp_path / f"{secret}-{action}.duckdb"
            plant(original, path, PLANTED[name], secret)
            results.append(result_of(action, path, connect))
        assert results[0] == results[1], action
        assert name == "default" or isinstance(results[0], tuple), action


@pytest.mark.parametrize("name", ["fields", "lower", "table", "schema"])
def test_what_no_sync_makes_is_refused(name, original, tmp_path):
    path = tmp_path / "planted.duckdb"
    plant(original, path, PLANTED[name], "yes")
    with pytest.raises(cs.CaseSearchError, match="that no sync makes") as caught:
        cs.read_cases(cs.Mirror(path))
    assert "yes" not in str(caught.value)


def test_views_in_the_log_of_a_file_are_refused(original, tmp_path):
    """DuckDB reads a file together with the log of what was not yet written into it."""
    path = tmp_path / "planted.duckdb"
    shutil.copy(original, path)
    with duckdb.connect(str(path)) as connection:
        connection.execute(
            "SET checkpoint_threshold = '1GB'; PRAGMA disable_checkpoint_on_shutdown"
        )
        connection.execute("CREATE VIEW fields AS FROM read_text('/etc/hostname')")
    assert path.with_name("planted.duckdb.wal").exists()
    with pytest.raises(cs.CaseSearchError, match="that no sync makes"):
        cs.count_cases(cs.Mirror(path))


def test_a_file_without_some_columns_is_refused(original, tmp_path):
    path = tmp_path / "planted.duckdb"
    plant(original, path, "ALTER TABLE cases DROP COLUMN title", "yes")
    with pytest.raises(cs.CaseSearchError, match="damaged"):
        cs.read_cases(cs.Mirror(path))


@pytest.mark.parametrize(
    "statement",
    [
        "EXPLAIN ANALYZE DROP VIEW cases", "explain analyze CREATE TABLE x AS SELECT 1",
        "/* EXPLAIN */ EXPLAIN ANALYZE DROP VIEW cases", "EXPLAIN DROP VIEW cases",
        "EXPLAIN (ANALYZE) CREATE TABLE x AS SELECT 1", "EXPLAIN ATTACH 'x.duckdb'",
        "FROM read_text('{path}.txt')", "FROM glob('*')", "SELECT * FROM '{path}.txt'",
        "SET lock_configuration = false", "PRAGMA enable_external_access = true",
    ],
)  # fmt: skip
def test_sql_changes_nothing_and_reads_no_file(statement, original, tmp_path):
    path = tmp_path / "cases.duckdb"
    shutil.copy(original, path)
    (tmp_path / "cases.txt").write_text("private")
    mirror = cs.Mirror(path)
    with pytest.raises(cs.FilterError):
        mirror.sql(statement.format(path=path.with_suffix("")))
    assert len(mirror.sql("SELECT * FROM cases")) == 20


def test_a_statement_can_be_explained(original):
    mirror = cs.Mirror(original)
    for statement in (
        "EXPLAIN SELECT * FROM cases",
        "EXPLAIN ANALYZE FROM cases",
        "DESCRIBE cases",
    ):
        assert len(mirror.sql(statement))


def test_what_does_not_fit_into_memory_is_spilled_to_a_private_folder(tmp_path):
    spill_folder = tmp_path / "spill"
    spill_folder.mkdir(mode=0o700)
    connection = storage._connect([], spill_folder, "60MB")
    rows = "SELECT hash(range)::VARCHAR || hash(range + 1)::VARCHAR AS x FROM range(3000000)"
    connection.execute(f"{rows} ORDER BY x").fetchone()
    assert [*(spill_folder / "spilled").iterdir()]
    connection.close()


def test_the_folder_for_spilled_rows_is_removed_with_its_file(original, tmp_path, monkeypatch):
    monkeypatch.setattr(storage.tempfile, "tempdir", str(tmp_path))
    path = tmp_path / "cases.duckdb"
    shutil.copy(original, path)
    cs.count_cases(cs.Mirror(path))
    (folder,) = tmp_path.glob("casesearch-*")
    assert folder.stat().st_mode & 0o777 == 0o700
    storage.close_mirror_file(path)
    assert not folder.exists()


def test_a_mirror_is_read_without_a_folder_for_temporary_files(original, tmp_path, monkeypatch):
    path = tmp_path / "cases.duckdb"
    shutil.copy(original, path)

    def refuse(**_):
        raise FileNotFoundError

    monkeypatch.setattr(storage.tempfile, "mkdtemp", refuse)
    assert cs.count_cases(cs.Mirror(path)) == 20


@pytest.mark.parametrize("make", ["symlink", "hard link", "pipe"])
def test_a_link_in_place_of_the_lock_is_refused(make, connect, tmp_path):
    precious, lock = tmp_path / "precious", tmp_path / ".cases.duckdb.lock"
    precious.write_text("precious")
    match make:
        case "symlink":
            lock.symlink_to(precious)
        case "hard link":
            lock.hardlink_to(precious)
        case _:
            storage.os.mkfifo(lock)
    with pytest.raises(cs.FilterError, match="cannot write the mirror"):
        cs.Mirror(tmp_path / "cases.duckdb").sync(connect, progress=False)
    assert precious.read_text() == "precious"


def test_a_link_in_place_of_the_checkpoint_is_refused(connect, tmp_path, monkeypatch):
    folders = []
    original = storage.checkpoint_folder
    monkeypatch.setattr(
        "casesearch_pd.mirror.sync.checkpoint_folder",
        lambda *args: folders.append(original(*args)) or folders[-1],
    )
    mirror = cs.Mirror(tmp_path / "cases.duckdb")
    mirror.sync(connect, progress=False)
    mirror.path.unlink()
    (tmp_path / "precious").mkdir()
    folders[0].symlink_to(tmp_path / "precious")
    with pytest.raises(cs.CaseSearchError, match="symbolic link"):
        mirror.sync(connect, progress=False)
    assert not [*(tmp_path / "precious").iterdir()]


def test_a_folder_is_no_mirror(connect, tmp_path):
    with pytest.raises(cs.FilterError, match="is a folder"):
        cs.Mirror(tmp_path).sync(connect, progress=False)
