"""Measures ingestion: how much faster a second run is, and whether memory stays bounded.

    python benchmarks/ingest.py unchanged              10,000 Markdown files, ingested twice
    python benchmarks/ingest.py memory                 100,000 chunks against 1,000,000
    python benchmarks/ingest.py unchanged --files 500 --json

Every run is a process of its own, started anew, with embedder=hash. `unchanged` uses the real hybrid index
(Chroma and words), and counts how often a document is read. `memory` measures the pipeline alone: Chroma
keeps its vectors in memory, about in step with their number, so an index stands in that only counts, and
no citations are kept.
Nothing is downloaded. Peak memory is VmHWM of /proc, so this needs Linux.
"""

import argparse
import json
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from functools import partial
from hashlib import sha256
from pathlib import Path
from typing import Any

from markgraph.build import build_graph, compose, make
from markgraph.documents.types import Document, Heading
from markgraph.ingestion.corpora import Folder, Item
from markgraph.retrieval.types import Chunk, Vectors
from markgraph.security.caller import Caller

WORDS = "payment notice term party invoice liability breach supplier customer agreement delivery law".split()
CHUNKS = 20  # of each synthetic document
OVERRIDES = ("embedder=hash", "auth.caller.subject=bench")


def paragraph(numbers: random.Random, words: int) -> str:
    """Return a paragraph of plain sentences."""
    sentences = (" ".join(numbers.choices(WORDS, k=12)).capitalize() for _ in range(words // 12))
    return ". ".join(sentences) + "."


class CountedFolder(Folder):
    """A folder that counts how often one of its documents is read."""

    reads = 0

    def items(self) -> Iterator[Item]:
        """List the documents."""
        return (Item(each.source, "", partial(self._load, each), each.path) for each in super().items())

    def _load(self, item: Item) -> Document:
        self.reads += 1
        return item.load()


class Synthetic:
    """Documents of 20 sections each, made as they are read."""

    name = "synthetic"

    def __init__(self, documents: int) -> None:
        self._documents = documents
        self.reads = 0

    def items(self) -> Iterator[Item]:
        """List the documents."""
        for at in range(self._documents):
            source = f"synthetic/{at // 1000:05}/document-{at:08}"
            yield Item(source, sha256(source.encode()).hexdigest(), partial(self._load, source, at))

    def skipped(self) -> list[str]:
        """List nothing."""
        return []

    def _load(self, source: str, seed: int) -> Document:
        self.reads += 1
        numbers = random.Random(seed)  # noqa: S311 -- the same text each time
        text, headings = "", []
        for section in range(CHUNKS):
            title = f"Section {section} of {seed}"
            headings.append(Heading(len(text), 1, title))
            text += f"{title}\n\n{paragraph(numbers, 48)}\n\n"
        return Document(source, text, source, tuple(headings), metadata={"kind": "synthetic"})


class CountingIndex:
    """Counts chunks and keeps none."""

    name = "counting"
    stores = ("counting:here",)
    embedder = None

    def __init__(self) -> None:
        self.chunks = 0

    def add(self, chunks: Sequence[Chunk], vectors: Vectors | None = None) -> None:  # noqa: ARG002
        """Count `chunks`."""
        self.chunks += len({chunk.id for chunk in chunks})

    def remove(self, ids: Sequence[str]) -> None:
        """Count `ids` off."""
        self.chunks -= len(ids)

    def __len__(self) -> int:
        return self.chunks


def run_here(kind: str, place: Path, documents: int) -> dict[str, Any]:
    """Ingest in this process, and return what was measured."""
    config = compose("ingest", [*OVERRIDES, f"data_dir='{place}/home'", f"path='{place}/files'"])
    caller: Caller = make(config, "auth").caller
    if kind == "files":
        folder = CountedFolder(place / "files")
        graph, corpus = build_graph(config, corpus=folder), folder
    else:
        synthetic: Any = Synthetic(documents)
        index: Any = CountingIndex()
        graph = build_graph(config, corpus=synthetic, index=index, citations=None)
        corpus = synthetic
    began = time.perf_counter()
    report = graph.invoke({"limit": None}, context=caller)
    seconds = time.perf_counter() - began
    counts = {name: report[name] for name in ("added", "unchanged", "failed", "chunks")}
    measured = {"graph_s": round(seconds, 3), "cpu_s": round(time.process_time(), 2), "peak_mib": peak_mib()}
    return {**counts, "reads": corpus.reads, **measured}


def peak_mib() -> float:
    """Return the largest resident size of this process; `ru_maxrss` would count the parent's, too."""
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if "VmHWM" in line)
    return round(int(line.split()[1]) / 1024, 1)


def run_fresh(kind: str, place: Path, documents: int) -> dict[str, Any]:
    """Ingest in a process of its own; `process_s` and `cpu_s` count its start and its imports, too."""
    began = time.perf_counter()
    command = [sys.executable, __file__, "run", kind, str(place), str(documents)]
    out = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout  # noqa: S603
    process_s = round(time.perf_counter() - began, 3)
    return {**json.loads(out.splitlines()[-1]), "process_s": process_s}


def measure_unchanged(place: Path, files: int) -> dict[str, Any]:
    """Ingest the same files twice."""
    numbers = random.Random(1)  # noqa: S311
    for at in range(files):
        file = place / "files" / f"{at % 100:02}" / f"{at:06}.md"
        file.parent.mkdir(parents=True, exist_ok=True)
        parts = (f"## Part {part}\n\n{paragraph(numbers, 96)}\n" for part in range(4))
        file.write_text(f"# Contract {at}\n\n" + "\n".join(parts), encoding="utf-8")
    first, second = (run_fresh("files", place, files) for _ in range(2))
    ratios = {name: round(first[name] / second[name], 1) for name in ("graph_s", "cpu_s", "process_s")}
    is_met = second["reads"] == 0 and second["unchanged"] == files and ratios["process_s"] >= 50
    return {
        "runs": {"first": first, "second": second},
        "ratios": ratios,
        "goal": "50x, 0 reads",
        "met": is_met,
    }


def measure_memory(place: Path, chunks: Sequence[int]) -> dict[str, Any]:
    """Ingest few and many synthetic chunks."""
    runs = {f"{count:,}": run_fresh("synthetic", place / str(count), count // CHUNKS) for count in chunks}
    for count, run in zip(chunks, runs.values(), strict=True):
        assert run["chunks"] == count // CHUNKS * CHUNKS, run
    peaks = [run["peak_mib"] for run in runs.values()]
    ratio = round(peaks[-1] / peaks[0], 2)
    return {"runs": runs, "ratios": {"peak_mib": ratio}, "goal": "at most 1.5x", "met": ratio <= 1.5}


def show(result: dict[str, Any]) -> None:
    """Print a table."""
    columns = list(next(iter(result["runs"].values())))
    print(" " * 10 + "".join(f"{column:>12}" for column in columns))
    for name, run in result["runs"].items():
        print(f"{name:>10}" + "".join(f"{run[column]:>12,}" for column in columns))
    print(f"ratios: {result['ratios']}; goal: {result['goal']}; {'met' if result['met'] else 'NOT met'}")


def main() -> None:
    """Parse the command line and measure."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "what", choices=("unchanged", "memory", "run"), help="`run` is what a fresh process does"
    )
    parser.add_argument("rest", nargs="*", help=argparse.SUPPRESS)
    parser.add_argument("--files", type=int, default=10_000, help="files for `unchanged`")
    parser.add_argument(
        "--chunks", type=int, nargs=2, default=(100_000, 1_000_000), help="sizes for `memory`"
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    given = parser.parse_args()
    if given.what == "run":
        kind, place, documents = given.rest
        print(json.dumps(run_here(kind, Path(place), int(documents))))
        return
    with tempfile.TemporaryDirectory() as name:
        place = Path(name)
        unchanged = given.what == "unchanged"
        result = measure_unchanged(place, given.files) if unchanged else measure_memory(place, given.chunks)
    print(json.dumps(result)) if given.json else show(result)


if __name__ == "__main__":
    main()
