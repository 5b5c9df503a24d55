"""The index over bm25s: several processes at once, some of which are killed."""

import subprocess
import sys
from pathlib import Path

import pytest

from markgraph.retrieval.bm25s import Bm25sIndex
from tests.retrieval.index_suite import ANNA, chunk, found

ROOT = Path(__file__).parents[2]
START = """
import os, random, signal, sys, time
from pathlib import Path
from markgraph.retrieval import ranking
from markgraph.retrieval.bm25s import Bm25sIndex
from tests.retrieval.index_suite import chunk
folder, name = Path(sys.argv[1]), sys.argv[2]
"""
# A kill finds it in the middle of a compaction most of the time: every third write makes a new base.
KILLED = f"""{START}
dice = random.Random(name)
for life in range(8):
    pid = os.fork()
    if not pid:
        index = Bm25sIndex(folder / "words.sqlite", share=0, tail=2)
        with (folder / "done").open("a") as done:
            for n in range(10000):
                index.add([chunk(f"payment {{life}} {{n}}", source=f"{{life}} {{n}}")])
                print(f"payment {{life}} {{n}}", file=done, flush=True)
    time.sleep(dice.uniform(0.02, 0.5))
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
"""
WRITER = f"""{START}
index = Bm25sIndex(folder / "words.sqlite", share=0, tail=0)
for n in range(12):
    added = chunk(f"payment {{name}} {{n}}", source=f"{{name}} {{n}}")
    index.add([added])
    if n % 3 == 2:
        index.remove([added.id])
"""


def start(script: str, folder: Path, name: str) -> "subprocess.Popen[bytes]":
    return subprocess.Popen([sys.executable, "-c", script, str(folder), name], cwd=ROOT)


@pytest.mark.slow
def test_a_kill_at_any_moment_loses_nothing_and_leaves_a_sound_index(tmp_path: Path) -> None:
    watching, seen = Bm25sIndex(tmp_path / "words.sqlite", share=0, tail=2), 0
    with start(KILLED, tmp_path, "seed") as process:
        while process.poll() is None:
            finds = len(watching.search("payment", ANNA, 100_000))
            assert finds >= seen, "what was there is there"
            seen = finds
    assert process.returncode == 0
    done = set((tmp_path / "done").read_text("utf-8").splitlines())
    opened = Bm25sIndex(tmp_path / "words.sqlite", share=0, tail=2)
    texts = found(opened, "payment", ANNA, k=100_000)
    assert len(done) > 8
    assert done <= texts
    assert len(texts - done) <= 8, "each kill may come between a write and the note of it"
    assert len(opened) == len(texts)
    anew = Bm25sIndex(tmp_path / "anew.sqlite")
    anew.add([chunk(text, source=text.removeprefix("payment ")) for text in sorted(texts)])
    expected = {hit.chunk.id: hit.score for hit in anew.search("payment", ANNA, 100_000)}
    assert {hit.chunk.id: hit.score for hit in opened.search("payment", ANNA, 100_000)} == expected
    opened.compact("default")
    assert len(list(opened.folder.rglob("positions.npy"))) == 1, "what killed compactions left is gone"
    assert found(watching, "payment", ANNA, k=100_000) == texts


def test_two_writers_and_a_reader_at_once(tmp_path: Path) -> None:
    reader = Bm25sIndex(tmp_path / "words.sqlite", share=0, tail=0)
    with start(WRITER, tmp_path, "a") as one, start(WRITER, tmp_path, "b") as two:
        while one.poll() is None or two.poll() is None:
            for hit in reader.search("payment", ANNA, 5):
                assert hit.chunk.text.startswith("payment")
    assert (one.returncode, two.returncode) == (0, 0)
    left = {f"payment {name} {n}" for name in "ab" for n in range(12) if n % 3 != 2}
    assert found(reader, "payment", ANNA, k=100) == left
