"""Measures how long a search takes among many chunks that not everybody may read.

    python benchmarks/search.py                          100,000 chunks of 200 groups, a caller in 10
    python benchmarks/search.py --chunks 20000 --rows chroma,hybrid
    python benchmarks/search.py --clustered              chunks of a group lie near each other
    python benchmarks/search.py --folder /tmp/bench      keep the indexes, and use them again

Each row is one way to ask. All are asked the same questions in turns, so that a busy machine is busy for
all of them. Vectors are computed beforehand: what an embedder takes is not part of it. `direct` is what the
library under an index takes for the same question, without permissions, to give back as many chunks.
"""

import argparse
import random
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from markgraph.retrieval.bm25s import Bm25sIndex
from markgraph.retrieval.chroma import ChromaIndex
from markgraph.retrieval.hybrid import HybridIndex
from markgraph.retrieval.pgvector import PgVectorIndex
from markgraph.retrieval.types import Chunk, Index
from markgraph.security.caller import Caller

DIMENSIONS = 384
VOCABULARY = 20_000
WORDS = 60
"""Of a chunk; their frequencies fall as those of a language do (Zipf)."""
Ask = Callable[[str], int]
"""Asks a question, and returns how much was found."""


@dataclass
class Precomputed:
    """An embedder that makes the vector of a text from the seed and the group that the text begins with."""

    clustered: bool
    name: str = "precomputed"
    _centres: np.ndarray = field(default_factory=lambda: _normal(0, (1000, DIMENSIONS)), repr=False)

    @property
    def context_tokens(self) -> int:
        """Return as many as any text has here."""
        return 512

    def count_tokens(self, texts: list[str]) -> list[int]:
        """Return how many words each text has."""
        return [len(text.split()) for text in texts]

    def embed_query(self, text: str) -> list[float]:
        """Return a vector of length 1."""
        seed, group = (int(number) for number in text.split("\n")[-1].split()[:2])
        vector = _normal(seed + 1, (DIMENSIONS,)) + (2.0 * self._centres[group] if self.clustered else 0.0)
        return [float(each) for each in vector / np.linalg.norm(vector)]

    def embed_documents(self, texts: list[str]) -> list[list[float]]:
        """Return a vector for each text."""
        return [self.embed_query(text) for text in texts]


@dataclass
class Bench:
    """What all rows share."""

    folder: Path
    chunks: int
    groups: int
    embedder: Precomputed
    k: int

    def corpus(self) -> Iterator[list[Chunk]]:
        """Yield the chunks in batches, the same each time."""
        for begin in range(0, self.chunks, 2000):
            yield [self.chunk(number) for number in range(begin, min(begin + 2000, self.chunks))]

    def chunk(self, number: int) -> Chunk:
        """Return one chunk; its text begins with its seed and its group."""
        group = number % self.groups
        text = f"{number} {group} {_words(number, WORDS)}"
        return Chunk(text, f"doc{number}", "", 0, len(text), readers=(f"g:{group}",))

    def question(self, number: int) -> str:
        """Return a question; it is near a group that the callers are in."""
        return f"{10**6 + number} {number % 10} {_words(10**6 + number, 4)}"

    def filled(self, name: str, index: Index) -> Index:
        """Return `index` with the corpus in it."""
        begun = time.perf_counter()
        if len(index) != self.chunks:
            for batch in self.corpus():
                index.add(batch)
            print(f"{name}: filled in {time.perf_counter() - begun:.0f} s", flush=True)
        return index


def chroma_rows(bench: Bench) -> dict[str, Ask]:
    """Return the rows of the embedded Chroma."""
    index = bench.filled("chroma", ChromaIndex(bench.folder / "chroma", bench.embedder))
    index.search(bench.question(0), _member(1), 1)
    collection: Any = index._opened  # type: ignore[attr-defined]  # what Chroma itself has

    def direct(question: str) -> int:
        vector = np.asarray(bench.embedder.embed_query(question), np.float32)
        include = ["documents", "metadatas", "distances"]
        return len(collection.query(query_embeddings=[vector], n_results=bench.k, include=include)["ids"][0])

    return {"chroma direct": direct} | _asked(bench, "chroma", index)


def pgvector_rows(bench: Bench) -> dict[str, Ask]:
    """Return the rows of Postgres; MARKGRAPH_POSTGRES or PGHOST, ... say where it is."""
    import os

    index = PgVectorIndex(bench.embedder, "bench", os.environ.get("MARKGRAPH_POSTGRES", ""))
    return _asked(bench, "pgvector", bench.filled("pgvector", index))


def bm25s_rows(bench: Bench) -> dict[str, Ask]:
    """Return the rows of the index by words; `search_words.py` has more of them."""
    return _asked(bench, "bm25s", bench.filled("bm25s", Bm25sIndex(bench.folder / "words.sqlite")))


def hybrid_rows(bench: Bench) -> dict[str, Ask]:
    """Return the rows of both together."""
    chroma = ChromaIndex(bench.folder / "chroma", bench.embedder)
    index = HybridIndex([chroma, Bm25sIndex(bench.folder / "words.sqlite")])
    for part in index.parts:
        bench.filled(part.name, part)
    return _asked(bench, "hybrid", index)


ROWS: dict[str, Callable[[Bench], dict[str, Ask]]] = {
    "chroma": chroma_rows,
    "pgvector": pgvector_rows,
    "bm25s": bm25s_rows,
    "hybrid": hybrid_rows,
}


def _asked(bench: Bench, name: str, index: Index) -> dict[str, Ask]:
    """Return a row for a caller in every group, and one for a caller in ten."""
    everybody, member = _member(bench.groups), _member(10)
    return {
        f"{name}, all permitted": lambda question: len(index.search(question, everybody, bench.k)),
        f"{name}, 10 groups": lambda question: len(index.search(question, member, bench.k)),
    }


def _member(groups: int) -> Caller:
    return Caller(f"in{groups}", groups=[f"{group}" for group in range(groups)])


def _words(seed: int, count: int) -> str:
    chance = random.Random(seed)  # noqa: S311
    return " ".join(f"w{int(VOCABULARY ** chance.random())}" for _ in range(count))


def _normal(seed: int, shape: tuple[int, ...]) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def measure(bench: Bench, rows: dict[str, Ask], questions: int) -> None:
    """Ask all rows the same questions in turns, and print their times."""
    times: dict[str, list[float]] = {name: [] for name in rows}
    found = dict.fromkeys(rows, 0)
    for number in range(-5, questions):  # the first ones only warm up
        question = bench.question(number + 5)
        for name, ask in rows.items():
            begun = time.perf_counter()
            count = ask(question)
            if number >= 0:
                times[name].append(1000 * (time.perf_counter() - begun))
                found[name] += count
    print(f"{'':28}{'p50 ms':>8}{'p95 ms':>8}{'found':>8}")
    for name, taken in times.items():
        p50, p95 = np.percentile(taken, (50, 95))
        print(f"{name:28}{p50:8.1f}{p95:8.1f}{found[name] / questions:8.1f}")


def main() -> None:
    """Fill the indexes, and measure."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--chunks", type=int, default=100_000)
    parser.add_argument("--groups", type=int, default=200)
    parser.add_argument("--questions", type=int, default=200)
    parser.add_argument("-k", type=int, default=10)
    parser.add_argument("--clustered", action="store_true")
    parser.add_argument("--rows", default="chroma", help=f"comma-separated: {', '.join(ROWS)}")
    parser.add_argument("--folder", type=Path)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = options.folder or Path(temporary)
        embedder = Precomputed(options.clustered)
        bench = Bench(folder, options.chunks, options.groups, embedder, options.k)
        rows: dict[str, Ask] = {}
        for name in options.rows.split(","):
            rows |= ROWS[name](bench)
        measure(bench, rows, options.questions)


if __name__ == "__main__":
    main()
