"""Serves one engine to the bench: a program of its own, so that its memory, threads and crashes are its own.

`python -P worker.py MODULE.py` reads JSON lines on stdin, writes JSON lines on stdout. The first line in is
the settings for `load` in MODULE.py, which returns the calls that may be made; each further line is
`{"call": name, "arguments": {...}}`. What comes back is `{"result": ...}` or `{"error": "..."}`.

Runs in any Python, without markgraph: MODULE.py needs its engine's library only.
"""

import importlib.util
import json
import os
import resource
import sys
import time
from collections.abc import Callable
from functools import partial
from typing import Any, TextIO

Calls = dict[str, Callable[..., Any]]


def serve(module: str, lines: TextIO, out: TextIO) -> None:
    """Answer one line after another until there are no more."""
    calls: Calls = {"memory": memory, "cpu": time.process_time}
    _answer(out, lambda: calls.update(_load(module, json.loads(lines.readline()))))
    for line in lines:
        asked = json.loads(line)
        _answer(out, partial(calls[asked["call"]], **asked["arguments"]))


def memory() -> dict[str, int]:
    """Return this process's resident memory in bytes: now, and at its highest."""
    with open("/proc/self/statm", encoding="ascii") as statm:
        now = int(statm.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    return {"now": now, "peak": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024}


def _load(module: str, settings: dict[str, Any]) -> Calls:
    spec = importlib.util.spec_from_file_location("engine_under_test", module)
    assert spec is not None
    assert spec.loader is not None
    loaded = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(loaded)
    calls: Calls = loaded.load(**settings)
    return calls


def _answer(out: TextIO, work: Callable[[], Any]) -> None:
    try:
        reply = {"result": work()}
    except Exception as error:
        reply = {"error": f"{type(error).__name__}: {error}"}
    out.write(json.dumps(reply) + "\n")
    out.flush()


def main() -> None:
    """Keep stdout for replies: what libraries print there goes to stderr."""
    with os.fdopen(os.dup(1), "w", encoding="utf-8") as out:
        os.dup2(2, 1)
        serve(sys.argv[1], sys.stdin, out)


if __name__ == "__main__":
    main()
