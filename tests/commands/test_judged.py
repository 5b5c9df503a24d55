"""Which collections of a judged data set are kept apart."""

import pytest

from markgraph.build import compose
from markgraph.commands.judged import _kinds


@pytest.mark.parametrize(("one", "other"), [("dense", "chroma_server"), ("dense", "pgvector")])
def test_stores_of_another_kind_have_collections_of_their_own(one: str, other: str) -> None:
    mine, theirs = (_kinds(compose("tune", [f"index={name}"])) for name in (one, other))
    assert mine != theirs
