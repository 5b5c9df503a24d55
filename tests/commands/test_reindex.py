"""`markgraph ingest reindex`: other vectors for the same documents, and nobody has to be told."""

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.commands.conftest import Ran

WORDS = "When shall an invoice be paid?"
NO_WEIGHTS = "experiment=no_weights"
SMALLER = ("reindex", NO_WEIGHTS, "embedder.dimensions=64")
Command = Callable[..., Ran]


@pytest.mark.usefixtures("collection")
def test_commands_that_name_the_old_embedder_go_on(markgraph: Command, documents: Path) -> None:
    before = markgraph("search", WORDS, NO_WEIGHTS, "output=json").json["hits"]
    report = markgraph("ingest", *SMALLER, "output=json").json
    assert report == {"embedder": "hash-64", "chunks": 3, "written": 3, "switched": True, "dropped": 1}
    after = markgraph("search", WORDS, NO_WEIGHTS, "output=json").json["hits"]
    assert [hit["text"] for hit in after] == [hit["text"] for hit in before]
    (documents / "more.md").write_text("# Interest\n\nLate payment bears interest.\n", "utf-8")
    assert markgraph("ingest", str(documents), NO_WEIGHTS).code == 0
    found = markgraph("search", "interest", NO_WEIGHTS, "index=dense", "k=1", "output=json").json["hits"]
    assert found[0]["heading"] == ["Interest"]


@pytest.mark.usefixtures("collection")
def test_says_what_it_did_for_people(markgraph: Command) -> None:
    assert markgraph(*SMALLER).out == "3 chunks are searched with hash-64 from now on.\n"
    assert markgraph(*SMALLER).out == "3 chunks were searched with hash-64 already.\n"


@pytest.mark.usefixtures("collection")
@pytest.mark.parametrize(
    ("override", "code", "message"),
    [
        ("auth.caller.roles=[reader]", 4, "needs permission 'documents:write'"),
        ("index=words", 2, "Only an index of vectors has an embedder"),
        ("output=xml", 2, "'output'"),
        ("embedder.dimensions=0", 2, "embedder.dimensions is 0; allowed: 1 or more"),
        ("sample=0", 2, "'sample'"),
        ("embedder._target_=markgraph.models.embed.TransformerEmbeddings", 2, "embedder"),
    ],
)
def test_what_does_not_fit_is_explained_and_changes_nothing(
    markgraph: Command, override: str, code: int, message: str
) -> None:
    done = markgraph(*SMALLER, override)
    assert (done.code, done.out) == (code, "")
    assert message in done.err
    assert markgraph("search", WORDS, NO_WEIGHTS).code == 0


def test_there_must_be_a_collection(markgraph: Command, home: Path) -> None:
    done = markgraph(*SMALLER, "collection=nothing")
    assert done.code == 2
    assert "markgraph ingest FOLDER collection=nothing" in done.err
    assert not (home / "nothing").exists()


@pytest.mark.usefixtures("collection")
def test_says_which_embedder_it_takes_where_none_is_named(markgraph: Command) -> None:
    assert (
        "No embedder=NAME is given: moving to the one that the config has, hash." in markgraph(*SMALLER).err
    )
    assert "No embedder" not in markgraph(*SMALLER, "embedder=hash").err
