"""The process in which `ReadOnlySql` runs one statement: `python -P -m markgraph.sandbox.sql_worker`.

Takes the statement and its limits as JSON from standard input, and writes the answer as JSON.
"""

import json
import resource
import sys
import threading
from collections.abc import Iterator
from math import ceil
from typing import Any

import duckdb

_SETTINGS: dict[str, str | bool | int | float | list[str]] = {
    "enable_external_access": "false",
    "python_enable_replacements": "false",
    "autoinstall_known_extensions": "false",
    "autoload_known_extensions": "false",
    "allow_community_extensions": "false",
    "threads": "1",
    "max_temp_directory_size": "0KB",
    "lock_configuration": "true",
}
_MAKES_ROWS = ("range", "generate_series", "unnest")
"""Functions that may stand where a table does. Others read files, settings, or a statement in a string."""
_INNER = ("duckdb_", "pragma_", "sqlite_", "pg_")
_CATALOGUES = ("information_schema", "pg_catalog", "system", "temp")
_TELLS_SETTINGS = ("current_setting", "getenv", "getvariable")


class _RefusedError(Exception):
    """The statement is none that may run."""


def main() -> None:
    """Run the statement on standard input."""
    request = json.load(sys.stdin)
    _limit(request)
    try:
        text = json.dumps(_answer(request), default=str)
    except _RefusedError as error:
        text = json.dumps({"error": str(error)})
    except (duckdb.Error, MemoryError, RecursionError, ValueError, OverflowError) as error:
        told = str(error).replace(request["path"], "the database")[:500]
        text = json.dumps({"error": f"The database refused. {type(error).__name__}: {told}"})
    if len(text) > request["max_bytes"]:
        limit = request["max_bytes"]
        text = json.dumps({"error": f"The answer is larger than {limit:,} bytes. Ask for fewer columns."})
    sys.stdout.write(text)


def _limit(request: dict[str, Any]) -> None:
    """Let the kernel end this process where it takes too much."""
    memory, seconds = request["memory"] << 20, ceil(request["seconds"]) + 2
    if sys.platform != "darwin":  # which has no such limit
        resource.setrlimit(resource.RLIMIT_AS, (memory, memory))
    resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds))
    resource.setrlimit(resource.RLIMIT_FSIZE, (request["max_bytes"] + 1024,) * 2)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def _answer(request: dict[str, Any]) -> dict[str, Any]:
    memory = f"{request['memory'] // 4}MB"
    with duckdb.connect(request["path"], read_only=True, config=_SETTINGS | {"memory_limit": memory}) as base:
        _check(base, request["sql"])
        timer = threading.Timer(request["seconds"], base.interrupt)
        timer.start()
        try:
            result = base.execute(request["sql"], request["parameters"])
            columns = [column[0] for column in result.description or ()]
            rows = result.fetchmany(request["max_rows"] + 1)
        except duckdb.InterruptException as error:
            raise _RefusedError(f"The statement took longer than {request['seconds']:g} s.") from error
        finally:
            timer.cancel()
    kept = [[_plain(value) for value in row] for row in rows[: request["max_rows"]]]
    return {"columns": columns, "rows": kept, "is_cut": len(rows) > request["max_rows"]}


def _check(base: duckdb.DuckDBPyConnection, sql: str) -> None:
    """Refuse what is not one SELECT over the tables of the file."""
    sql.encode()  # half a character is a ValueError here, and in DuckDB a TypeError
    statements = base.extract_statements(sql)
    if len(statements) != 1 or statements[0].type != duckdb.StatementType.SELECT:
        kinds = ", ".join(each.type.name for each in statements) or "none"
        raise _RefusedError(f"One SELECT is allowed; got {kinds}.")
    [parsed] = base.execute("SELECT json_serialize_sql(?)", [sql]).fetchall()[0]
    tree = json.loads(parsed)
    if tree["error"]:
        raise _RefusedError("One SELECT is allowed.")
    for node in _nodes(tree):
        _check_node(node)


def _check_node(node: dict[str, Any]) -> None:
    kind = node.get("type")
    if kind == "TABLE_FUNCTION" and node["function"]["function_name"].lower() not in _MAKES_ROWS:
        name = node["function"]["function_name"]
        raise _RefusedError(f"{name!r} can't be a table. Allowed: tables, and {', '.join(_MAKES_ROWS)}.")
    if kind == "BASE_TABLE":
        names = [str(node.get(key, "")).lower() for key in ("catalog_name", "schema_name", "table_name")]
        if names[2].startswith(_INNER) or set(names[:2]) & set(_CATALOGUES):
            raise _RefusedError(f"{names[2]!r} tells of the database itself. Allowed: its tables.")
    if kind == "FUNCTION" and node.get("function_name", "").lower() in _TELLS_SETTINGS:
        raise _RefusedError(f"{node['function_name']!r} is not allowed.")
    if kind == "SHOW_REF" and node.get("show_type") not in ("DESCRIBE", "SUMMARY"):
        raise _RefusedError("SHOW is not allowed; DESCRIBE TABLE is.")


def _nodes(tree: Any) -> Iterator[dict[str, Any]]:
    """Yield every object in the parsed statement."""
    waiting = [tree]
    while waiting:
        here = waiting.pop()
        if isinstance(here, dict):
            yield here
            waiting.extend(here.values())
        elif isinstance(here, list):
            waiting.extend(here)


def _plain(value: Any) -> Any:
    return value if isinstance(value, str | int | float | bool | None) else str(value)


if __name__ == "__main__":
    main()
