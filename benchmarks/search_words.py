"""Measures search by words in a large collection, beside plain bm25s and rank-bm25, in one run.

    python benchmarks/search_words.py                          100,000 chunks, 200 groups: about five minutes
    python benchmarks/search_words.py --chunks 10000           a quick look
    python benchmarks/search_words.py --okapi 0 --chunks 1000000 --folder FOLDER

The chunks are made of words that follow Zipf's law; each is for one of the groups, and "some" is a caller
in ten of them; "all" may read everything. Plain bm25s gets the words of the same chunks and queries, finds
numbers instead of chunks, knows no permissions, and takes turns with MARK, query by query. Each step runs in
a process of its own, so that its peak memory is its own.
"""

import argparse
import json
import multiprocessing
import resource
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

from markgraph.retrieval.bm25s import Bm25sIndex
from markgraph.retrieval.types import Chunk
from markgraph.retrieval.words import WordsIndex
from markgraph.security.caller import Caller
from markgraph.text import words

SEED, VOCABULARY, EXPONENT = 0, 50_000, 1.1
LENGTH = 120  # words a chunk, on average
GROUPS, MEMBERSHIPS = 200, 10
BATCH = 1000
K = 10
SOME = Caller("some", ("reader",), groups=tuple(f"group{n}" for n in range(MEMBERSHIPS)))
ALL = Caller("all", ("reader",), groups=("all",))


def texts(count: int) -> Iterator[str]:
    """Yield the same texts in each process."""
    random = np.random.default_rng(SEED)
    letters = np.array(list("bcdfgklmnprstvz"))
    names = np.array(["".join(word) for word in random.choice(letters, (VOCABULARY, 7))])
    chances = 1.0 / np.arange(1, VOCABULARY + 1) ** EXPONENT
    total = np.cumsum(chances / chances.sum())
    for _ in range(count):
        length = int(random.integers(LENGTH // 2, LENGTH * 3 // 2))
        yield " ".join(names[np.searchsorted(total, random.random(length))])


def chunks(count: int) -> Iterator[Chunk]:
    """Yield what is indexed; chunk n is for group n modulo `GROUPS`."""
    for n, text in enumerate(texts(count)):
        yield Chunk(text, f"doc{n}", "", 0, len(text), readers=(f"g:group{n % GROUPS}", "g:all"))


def queries(count: int, number: int) -> list[str]:
    """Return queries of three to seven words, each query from one chunk: common words and rare ones."""
    random = np.random.default_rng(SEED + 1)
    sources = list(texts(min(count, 10 * number)))
    picked = (sources[int(random.integers(len(sources)))].split() for _ in range(number))
    return [" ".join(random.choice(source, int(random.integers(3, 8)))) for source in picked]


def add(folder: Path, count: int) -> dict[str, float]:
    index, batch = Bm25sIndex(folder / "words.sqlite"), []
    spent = 0.0
    for chunk in chunks(count):
        batch.append(chunk)
        if len(batch) == BATCH or chunk.source == f"doc{count - 1}":
            started = time.perf_counter()
            index.add(batch)
            spent += time.perf_counter() - started
            batch = []
    assert len(index) == count
    return {"seconds": spent}


def first(folder: Path, _: int) -> dict[str, float]:
    started = time.perf_counter()
    assert Bm25sIndex(folder / "words.sqlite").search(queries(1000, 1)[0], SOME, K)
    return {"ms": 1000 * (time.perf_counter() - started)}


def search(folder: Path, count: int, number: int, clock: Callable[[], float]) -> dict[str, Any]:
    import bm25s

    index, plain = Bm25sIndex(folder / "words.sqlite"), bm25s.BM25(method="lucene")
    corpus, began = list(texts(count)), time.perf_counter()
    plain.index([words(text) for text in corpus], show_progress=False)
    spent, asked = time.perf_counter() - began, queries(count, number)
    ways: dict[str, Callable[[str], object]] = {
        "some": lambda query: index.search(query, SOME, K),
        "all": lambda query: index.search(query, ALL, K),
        "plain": lambda query: plain.retrieve([words(query)], k=K, show_progress=False),
    }
    times: dict[str, list[float]] = {name: [] for name in ways}
    for query in (*asked[:5], *asked):
        for name, way in ways.items():
            started = clock()
            way(query)
            times[name].append(1000 * (clock() - started))
    check(index, plain, asked)
    return {"times": {name: each[5:] for name, each in times.items()}, "plain_index_s": spent}


def check(index: Bm25sIndex, plain: Any, asked: list[str]) -> None:
    """See that MARK and plain bm25s found the same for whoever may read everything."""
    for query in asked[:50]:
        ours = [hit.score for hit in index.search(query, ALL, K)]
        theirs = plain.retrieve([words(query)], k=K, show_progress=False).scores[0][: len(ours)]
        assert np.allclose(ours, theirs, rtol=1e-3), (query, ours, theirs)


def write(folder: Path, count: int) -> dict[str, float]:
    """Time a search right after a small write, which is when statistics change."""
    index, asked, times, added = Bm25sIndex(folder / "words.sqlite"), queries(count, 20), [], []
    for query in asked:
        added.append(Chunk(query, "new", "", 0, len(query), readers=("g:group1", "g:all")))
        index.add(added[-1:])
        started = time.perf_counter()
        index.search(query, SOME, K)
        times.append(1000 * (time.perf_counter() - started))
    index.remove([chunk.id for chunk in added])
    return {"p50": float(np.median(times[1:]))}


def okapi(folder: Path, count: int, number: int) -> dict[str, Any]:
    index, asked = WordsIndex(folder / "words.sqlite"), queries(count, number)
    started = time.perf_counter()
    index.search(asked[0], ALL, K)
    spent, times = time.perf_counter() - started, []
    for query in asked:
        started = time.perf_counter()
        index.search(query, ALL, K)
        times.append(1000 * (time.perf_counter() - started))
    return {"first_s": spent, "times": times}


def measured(step: Callable[..., Any], *arguments: Any) -> tuple[Any, float]:
    """Run a step in a new process; return its result, and its peak memory in MB."""
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        return pool.submit(_with_memory, step, arguments).result()


def _with_memory(step: Callable[..., Any], arguments: tuple[Any, ...]) -> tuple[Any, float]:
    result = step(*arguments)
    return result, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def run(folder: Path, options: argparse.Namespace) -> dict[str, float]:
    figures: dict[str, float] = {"chunks": options.chunks}
    added, memory = measured(add, folder, options.chunks)
    figures |= {"add_s": added["seconds"], "add_peak_mb": memory}
    opened, memory = measured(first, folder, options.chunks)
    figures |= {"first_search_ms": opened["ms"], "first_search_peak_mb": memory}
    clock = time.thread_time if options.cpu else time.perf_counter
    searched, _ = measured(search, folder, options.chunks, options.queries, clock)
    times, figures["plain_index_s"] = searched["times"], searched["plain_index_s"]
    for name, each in times.items():
        figures[f"{name}_p50_ms"], figures[f"{name}_p95_ms"] = map(float, np.percentile(each, [50, 95]))
    figures["some_to_all_p95"] = figures["some_p95_ms"] / figures["all_p95_ms"]
    figures["all_to_plain_p50"] = float(np.median(np.divide(times["all"], times["plain"])))
    figures["all_to_plain_sum"] = sum(times["all"]) / sum(times["plain"])
    if options.okapi:
        slow, memory = measured(okapi, folder, options.chunks, options.okapi)
        figures |= {"okapi_first_s": slow["first_s"], "okapi_p50_ms": float(np.median(slow["times"]))}
        figures["okapi_peak_mb"] = memory
    figures["after_write_p50_ms"] = measured(write, folder, options.chunks)[0]["p50"]
    figures["disk_mb"] = sum(file.stat().st_size for file in folder.rglob("*") if file.is_file()) / 2**20
    return figures


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--chunks", type=int, default=100_000)
    parser.add_argument("--queries", type=int, default=500)
    parser.add_argument("--okapi", type=int, default=10, help="queries for rank-bm25; 0 leaves it out")
    parser.add_argument("--cpu", action="store_true", help="time searches by processor, on a busy machine")
    parser.add_argument("--folder", type=Path, help="where to keep the index; a temporary folder otherwise")
    options = parser.parse_args()
    folder = options.folder or Path(tempfile.mkdtemp())
    try:
        print(json.dumps({name: round(value, 3) for name, value in run(folder, options).items()}, indent=2))
    finally:
        if not options.folder:
            shutil.rmtree(folder)


if __name__ == "__main__":
    main()
