"""Read-only SQL: one SELECT over the tables of the file, in bounded memory, time and size."""

import math
import time
from pathlib import Path

import duckdb
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from markgraph.errors import ConfigError, SandboxError
from markgraph.sandbox.sql import ReadOnlySql
from markgraph.sandbox.sql_worker import _answer, _RefusedError

SECRET = "canary"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("sql")
    (folder / "secret.csv").write_text(f"a\n{SECRET}\n")
    with duckdb.connect(str(folder / "other.duckdb")) as other:
        other.execute(f"CREATE TABLE secret AS SELECT '{SECRET}' AS a")
    with duckdb.connect(str(folder / "data.duckdb")) as base:
        base.execute("CREATE TABLE invoices AS SELECT i AS id, i * 1.5 AS amount FROM range(1000) t(i)")
        base.execute("CREATE SEQUENCE numbers")
        base.execute("CREATE SCHEMA more; CREATE TABLE more.notes AS SELECT 'note' AS text")
        base.execute("CREATE MACRO settings() AS TABLE SELECT * FROM duckdb_settings()")
    return folder


@pytest.fixture
def base(folder: Path) -> ReadOnlySql:
    return ReadOnlySql(folder / "data.duckdb")


def test_answers_a_select(base: ReadOnlySql) -> None:
    table = base.query("SELECT id, amount FROM invoices WHERE id > ? ORDER BY id LIMIT 2", [10])
    assert table == (["id", "amount"], [[11, "16.5"], [12, "18.0"]], False)
    assert base.query("FROM more.notes").rows == [["note"]]
    assert base.query("WITH x AS (SELECT 1 AS a) SELECT sum(a + range) FROM x, range(3)").rows == [[6]]


def test_gives_values_that_json_has_no_form_for_as_text(base: ReadOnlySql) -> None:
    [row] = base.query("SELECT DATE '2020-01-31', [1, 2], NULL, true, 'nan'::DOUBLE, 2::HUGEINT").rows
    assert row[:4] == ["2020-01-31", "[1, 2]", None, True]
    assert math.isnan(row[4])
    assert row[5] == 2


def test_says_that_there_is_more(base: ReadOnlySql) -> None:
    few = ReadOnlySql(base.path, max_rows=3)
    assert few.query("SELECT id FROM invoices ORDER BY id") == (["id"], [[0], [1], [2]], True)
    assert few.query("SELECT id FROM invoices ORDER BY id LIMIT 3").is_cut is False


def test_half_a_character_is_refused_like_any_wrong_statement(base: ReadOnlySql) -> None:
    with pytest.raises(SandboxError, match="refused"):
        base.query("SELECT '\ud800'")
    with pytest.raises(SandboxError, match="refused"):
        base.query("SELECT ?", ["\ud800"])


ATTACKS = [
    "SELECT * FROM read_csv('{folder}/secret.csv')",
    "SELECT * FROM '{folder}/secret.csv'",
    "SELECT * FROM read_text('{folder}/secret.csv')",
    "SELECT content FROM read_blob('/etc/passwd')",
    "SELECT * FROM glob('/*')",
    "SELECT * FROM parquet_scan('http://127.0.0.1:9/x.parquet')",
    "SELECT * FROM 'http://127.0.0.1:9/x.parquet'",
    "SELECT * FROM sniff_csv('{folder}/secret.csv')",
    "COPY invoices TO '{folder}/copied.csv'",
    "COPY (SELECT 1) TO '{folder}/copied.csv'",
    "ATTACH '{folder}/other.duckdb' AS other",
    "ATTACH '{folder}/other.duckdb' AS other; SELECT * FROM other.secret",
    "INSTALL httpfs",
    "LOAD httpfs",
    "SET enable_external_access = true",
    "SET memory_limit = '100GB'",
    "RESET lock_configuration",
    "EXPORT DATABASE '{folder}/exported'",
    "IMPORT DATABASE '{folder}'",
    "INSERT INTO invoices VALUES (1, 1)",
    "UPDATE invoices SET amount = 0",
    "DELETE FROM invoices",
    "DROP TABLE invoices",
    "CREATE TABLE x AS SELECT 1",
    "CREATE TEMP TABLE x AS SELECT 1",
    "CREATE MACRO f(x) AS x",
    "WITH x AS (INSERT INTO invoices VALUES (1, 1) RETURNING *) SELECT * FROM x",
    "SELECT nextval('numbers')",
    "PRAGMA database_list",
    "SELECT * FROM pragma_database_list",
    "SELECT * FROM pragma_database_list()",
    "SELECT path FROM duckdb_databases()",
    "SELECT * FROM duckdb_databases",
    "SELECT 1 WHERE EXISTS (SELECT 1 FROM duckdb_settings())",
    "SELECT id FROM invoices UNION ALL SELECT oid FROM duckdb_databases()",
    "SELECT * FROM settings()",
    "SELECT * FROM system.main.duckdb_tables",
    "SELECT * FROM information_schema.tables",
    "SELECT * FROM sqlite_master",
    "SHOW DATABASES",
    "SELECT * FROM (SHOW ALL TABLES)",
    "DESCRIBE SELECT * FROM duckdb_databases()",
    "SELECT * FROM query('SELECT 1')",
    "SELECT * FROM query_table('invoices')",
    "SELECT current_setting('home_directory')",
    "SELECT getenv('HOME')",
    "CALL duckdb_databases()",
    "PREPARE x AS SELECT 1",
    "EXECUTE x",
    "EXPLAIN ANALYZE SELECT 1",
    "VACUUM",
    "CHECKPOINT",
    "USE main",
    "BEGIN",
    "SELECT 1; SELECT 2",
    "SELECT 1; DROP TABLE invoices",
    "",
    "-- nothing",
    "not SQL",
    "SELECT /*",
    "SELECT * FROM base",
    "SELECT * FROM request",
    "PIVOT invoices ON id USING count(*)",
]


@pytest.mark.slow
@pytest.mark.parametrize("sql", ATTACKS)
def test_refuses_what_is_not_one_select_over_its_tables(base: ReadOnlySql, folder: Path, sql: str) -> None:
    before = base.path.read_bytes()
    with pytest.raises(SandboxError) as caught:
        base.query(sql.format(folder=folder))
    assert SECRET not in str(caught.value)
    assert base.path.read_bytes() == before
    assert sorted(file.name for file in folder.iterdir()) == ["data.duckdb", "other.duckdb", "secret.csv"]


BOMBS = {
    "time": "SELECT count(*) FROM range(9999999) a, range(9999999) b WHERE a.range % 7 > b.range % 5",
    "buffers": "SELECT array_agg(i) FROM range(90000000) t(i)",
    "strings": "SELECT repeat('x', 1000000000) FROM range(3)",
    "columns": "SELECT repeat('x', 3000000)",
    "rows": "SELECT string_agg(repeat('x', 1000000), '') FROM range(10000)",
    "depth": f"SELECT {'(' * 1900}1{')' * 1900}",
    "length": f"SELECT '{'x' * 5000}'",
    "recursion": "WITH RECURSIVE t(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM t) SELECT count(*) FROM t",
}  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("kind", BOMBS)
def test_a_bomb_ends_in_bounded_time_and_harms_nobody(base: ReadOnlySql, kind: str) -> None:
    began = time.monotonic()
    with pytest.raises(SandboxError):
        base.query(BOMBS[kind])
    assert time.monotonic() - began < 15
    assert base.query("SELECT 1").rows == [[1]]


def test_no_database_is_an_error_of_the_config(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="There is no database"):
        ReadOnlySql(tmp_path / "none.duckdb").query("SELECT 1")


def test_hides_the_place_of_the_file_and_the_environment(
    base: ReadOnlySql, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MARKGRAPH_KEY", SECRET)
    with pytest.raises(SandboxError) as caught:
        base.query("SELECT * FROM nowhere")
    assert str(base.path) not in str(caught.value)


WORDS = st.sampled_from(
    ["SELECT", "*", "FROM", "invoices", "WHERE", "id", "1", "(", ")", ",", "UNION", "ALL", "WITH", "x",
     "AS", "read_csv('/etc/passwd')", "duckdb_settings()", "LATERAL", "JOIN", "ON", "true", "EXISTS", "IN",
     "range(3)", "INSERT INTO", "VALUES", "RETURNING", ";", "SHOW", "DESCRIBE", "'/etc/passwd'",
     "settings()", "duckdb_databases()", "query('SELECT 1')"]
)  # fmt: skip


@settings(max_examples=300)
@given(st.lists(WORDS, max_size=12).map(lambda words: " ".join(["SELECT", "*", "FROM", *words])))
@example("SELECT * FROM invoices")
def test_no_statement_however_put_together_reads_or_tells_what_it_should_not(folder: Path, sql: str) -> None:
    path = str(folder / "data.duckdb")
    request = {"sql": sql, "parameters": [], "path": path, "max_rows": 9, "seconds": 1, "memory": 1024}
    try:
        told = str(_answer(request))
    except (_RefusedError, duckdb.Error) as error:
        told = str(error).replace(path, "")
    assert not any(secret in told for secret in (SECRET, "root:", path, "lock_configuration"))
