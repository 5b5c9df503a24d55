"""Which collections of a judged data set are kept apart, and who may fill them."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from markgraph.build import compose
from markgraph.commands.judged import _kinds
from tests.commands.conftest import Ran
from tests.evaluation.conftest import dataset

__all__ = ["dataset"]


@pytest.mark.parametrize(("one", "other"), [("dense", "chroma_server"), ("dense", "pgvector")])
def test_stores_of_another_kind_have_collections_of_their_own(one: str, other: str) -> None:
    mine, theirs = (_kinds(compose("tune", [f"index={name}"])) for name in (one, other))
    assert mine != theirs


@pytest.mark.parametrize("verb", [["evaluate"], ["tune", "retriever"]])
def test_who_may_only_read_leaves_nothing_that_others_use_and_the_verb_in_the_log(
    markgraph: Callable[..., Ran], dataset: Path, home: Path, verb: list[str]
) -> None:
    words = [*verb, f"dataset={dataset}", "experiment=no_weights", "audit=file"]
    denied = markgraph(*words, "auth.caller.roles=[reader]")
    assert (denied.code, "needs permission 'documents:write'" in denied.err) == (4, True)
    assert [entry.name for entry in home.iterdir()] == ["audit"]
    listed = markgraph("audit", "list", "output=json").out.splitlines()
    said = [(record["graph"], record["action"], record["outcome"]) for record in map(json.loads, listed)]
    assert said[:2] == [
        (verb[0], "documents:read", "allowed"),
        (verb[0], "documents:write", "denied"),
    ]
