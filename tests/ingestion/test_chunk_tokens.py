"""No chunk is longer than the embedder reads."""

from dataclasses import dataclass
from typing import Any

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from markgraph.build import compose
from markgraph.documents.types import Document, Heading
from markgraph.errors import ConfigError
from markgraph.ingestion.chunk import Chunker
from markgraph.ingestion.tokens import TokenCounts, count_inner
from markgraph.models.embed import HashEmbeddings, TransformerEmbeddings
from markgraph.retrieval.types import Chunk
from tests.ingestion.test_chunk import ODD, UNICODE, documents


def minilm() -> TransformerEmbeddings:
    described: Any = compose("embed", ["embedder=minilm"]).embedder
    return TransformerEmbeddings(described.source, described.sha256)


@dataclass
class Letters(HashEmbeddings):
    """Counts letters, and one token at each end."""

    def count_tokens(self, texts: list[str]) -> list[int]:
        return [2 + len("".join(text.split())) for text in texts]


@pytest.fixture(scope="module", params=["letters", pytest.param("minilm", marks=pytest.mark.weights)])
def embedder(request: pytest.FixtureRequest) -> Any:
    return minilm() if request.param == "minilm" else Letters(max_tokens=60)


def read(chunk: Chunk) -> str:
    """Return what an index embeds."""
    return "\n".join((*(chunk.heading or (chunk.title,)), chunk.text))


@settings(deadline=None)
@given(document=documents())
def test_no_chunk_with_its_headings_is_longer_than_the_embedder_reads(
    embedder: Any, document: Document
) -> None:
    chunks = Chunker(embedder=embedder)(document)
    assert "".join("".join(chunk.text.split()) for chunk in chunks) == "".join(document.text.split())
    counts = embedder.count_tokens([read(chunk) for chunk in chunks])
    assert all(count <= embedder.context_tokens for count in counts)


@settings(deadline=None)
@given(
    text=st.lists(st.one_of(ODD, st.text(UNICODE, max_size=80))).map("".join),
    data=st.data(),
)
def test_a_stretch_takes_no_more_tokens_than_are_counted(
    embedder: Any, text: str, data: st.DataObject
) -> None:
    counts = TokenCounts.of(text, embedder)
    assume(counts.starts)
    start, room = data.draw(st.sampled_from(counts.starts)), data.draw(st.integers(0, 40))
    end = counts.reach(start, room)
    assert count_inner([text[start:end]], embedder)[0] <= counts.between(start, end) <= room


def test_a_limit_of_its_own_counts_before_that_of_the_embedder() -> None:
    text = "".join(f"It is sentence {number}. " for number in range(100))
    document = Document(source="s", text=text, title="two words")
    sizes = [len(each.text.split()) for each in Chunker(embedder=HashEmbeddings(), max_tokens=30)(document)]
    assert max(sizes) <= 28
    assert min(sizes) >= 15


def test_long_headings_leave_an_eighth() -> None:
    embedder = HashEmbeddings(max_tokens=80)
    text = "one two three four five six. " * 30
    document = Document("s", text, "t", headings=(Heading(0, 1, "long " * 100),))
    sizes = [len(each.text.split()) for each in Chunker(200, 10, embedder)(document)]
    assert 6 <= max(sizes) <= 10


def test_the_title_takes_room_where_there_is_no_heading() -> None:
    embedder = Letters(max_tokens=62)
    chunks = Chunker(200, 10, embedder)(Document("s", "word " * 60, "t" * 20))
    assert max(len(each.text.replace(" ", "")) for each in chunks) == 40


def test_a_ledger_sees_another_embedder() -> None:
    assert repr(Chunker(embedder=HashEmbeddings(64))) == "Chunker(900, 120, 'hash-64', None)"


@pytest.mark.parametrize("options", [{"max_tokens": 8}, {"max_tokens": 0, "embedder": HashEmbeddings()}])
def test_refuses_limits_that_cannot_be_kept(options: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match="Expected: 1 or more, and an embedder"):
        Chunker(**options)


@pytest.mark.weights
def test_dense_text_gets_shorter_chunks() -> None:
    table = "\n".join(f"{number} | {number * 7919} | {number * 104729}" for number in range(200))
    embedder = minilm()
    counted = Chunker(embedder=embedder)(Document("s", table, "t"))
    plain = Chunker()(Document("s", table, "t"))
    assert max(embedder.count_tokens([read(each) for each in plain])) > 256
    assert max(embedder.count_tokens([read(each) for each in counted])) <= 256
    assert all(each.text.count(" | ") % 2 == 0 for each in counted)
