"""A move to another embedder that is killed leaves the old one serving, and the next run finishes it."""

import subprocess
import sys
from pathlib import Path

import pytest

from markgraph.build import make_embedder
from markgraph.models.embed import HashEmbeddings
from markgraph.retrieval.chroma import ChromaIndex
from markgraph.retrieval.generations import Store, SwitchableIndex, generation_name
from markgraph.retrieval.pgvector import PgVectorIndex
from tests.retrieval.index_suite import ANNA, BEN, chunk, found

ROOT = Path(__file__).parents[2]
CHUNKS = 300
MOMENTS = {
    "chroma": [("page", 1), ("switch", 1), ("switched", 1)],
    "pgvector": [("page", 1), ("switched", 1)],
}
"""After which line of `moving.py`, and which time that it is said, it is killed."""


def kill_at(moment: str, times: int, place: list[str]) -> bool:
    """Run a move until it says `moment`, kill it, and tell whether it got that far."""
    command = [sys.executable, "-m", "tests.retrieval.moving", *place]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as moving:
        assert moving.stdout
        for line in moving.stdout:
            times -= line.strip() == moment
            if not times:
                moving.kill()
                return True
    return False


@pytest.mark.slow
@pytest.mark.parametrize("kind", MOMENTS)
def test_the_old_one_serves_until_the_new_one_does(
    kind: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    place = [str(tmp_path / "chroma")]
    if kind == "pgvector":
        place = ["killed", request.getfixturevalue("postgres")]

    def store() -> Store:
        if kind == "chroma":
            return ChromaIndex(Path(place[0]), HashEmbeddings())
        return PgVectorIndex(HashEmbeddings(), *place)

    running = SwitchableIndex(store(), make_embedder)
    running.add([chunk(f"payment {n}", ("g:legal", "u:ben")[n % 2], source=f"s{n}") for n in range(CHUNKS)])
    everything = {f"payment {n}" for n in range(CHUNKS)}
    for moment, times in MOMENTS[kind]:
        assert kill_at(moment, times, [kind, *place]), moment
        for index in (running, SwitchableIndex(store(), make_embedder)):
            seen = [found(index, "payment", caller, k=CHUNKS) for caller in (ANNA, BEN)]
            assert seen[0].isdisjoint(seen[1])
            assert set.union(*seen) == everything, moment
    assert not kill_at("never", 1, [kind, *place])
    assert store().generations() == {generation_name(HashEmbeddings(64)): "hash-64"}
    assert found(running, "payment", ANNA, k=CHUNKS) == {f"payment {n}" for n in range(0, CHUNKS, 2)}
    if kind == "chroma":
        assert len([path for path in Path(place[0]).iterdir() if path.is_dir()]) == 1
