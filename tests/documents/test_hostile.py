"""Files made to hurt: each one is read, or refused by name and in time, and the next one is read as ever."""

from contextlib import suppress

import pytest

from benchmarks.bombs import BOMBS
from markgraph.documents.sandbox import Sandbox
from markgraph.errors import DocumentError

READ = {"file.docx", "attributes.html", "brackets.md"}
"""Hard on a parser, and nothing else."""
EITHER = {"tables.html"}
"""Read, if the machine is fast enough for the limit."""


@pytest.fixture(scope="module")
def sandbox():
    with Sandbox(workers=1, seconds=6, page_seconds=6, memory=1024) as sandbox:
        yield sandbox


@pytest.mark.slow
@pytest.mark.parametrize("name", BOMBS)
def test_a_bomb_costs_itself_only(name, sandbox, tmp_path):
    bomb, good = tmp_path / name, tmp_path / "good.txt"
    bomb.write_bytes(BOMBS[name]())
    good.write_text("good")
    if name in READ:
        assert "root:" not in sandbox.read(bomb, f"docs/{name}").text
    elif name in EITHER:
        with suppress(DocumentError):
            assert sandbox.read(bomb, f"docs/{name}").text == "deep"
    else:
        with pytest.raises(DocumentError, match=f"docs/{name}") as caught:
            sandbox.read(bomb, f"docs/{name}")
        assert len(str(caught.value)) < 1500
    assert sandbox.read(good, "good").text == "good"
