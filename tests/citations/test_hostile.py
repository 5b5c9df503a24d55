"""A text that was made to be slow is read in linear time."""

import time

import pytest

from markgraph.citations.cases import cases
from markgraph.citations.definitions import definitions
from markgraph.citations.find import references
from markgraph.citations.labels import labels
from markgraph.citations.link import nodes_of
from markgraph.retrieval.types import Chunk

PIECES = [
    " ",
    "\n",
    "Article 1" + " " * 500,
    "Articles 1, ",
    "§ 1 , ",
    "(a) ",
    "\n(a) (1) ",
    "point (a) of ",
    "Article 5 of that Regulation (EU) 2016/679 ",
    "“Word ",
    "“a” or “b” and ",
    "Article 5 of the " + "Great And " * 50,
    "(the “",
    "1. ",
    "123 F. ",
]


@pytest.mark.parametrize("piece", PIECES, ids=range(len(PIECES)))
def test_time_grows_with_length_and_no_faster(piece: str) -> None:
    def seconds(length: int) -> float:
        text = (piece * (length // len(piece) + 1))[:length]
        began = time.process_time()
        references(text)
        list(definitions(text))
        labels(text)
        return time.process_time() - began

    short, long = seconds(20_000), seconds(160_000)
    assert long < 30 * short + 1.0  # 8 times the length; quadratic would be 64 times


def test_a_document_of_many_passages_is_read_in_linear_time() -> None:
    def seconds(count: int) -> float:
        text = "1. See Article 5(1), point (a). "
        chunks = [Chunk(text, "d", "D", n * 40, n * 40 + len(text)) for n in range(count)]
        began = time.process_time()
        nodes_of(chunks)
        return time.process_time() - began

    short, long = seconds(500), seconds(4000)
    assert long < 30 * short + 1.0


def test_no_log_quotes_a_document(caplog: pytest.LogCaptureFixture) -> None:
    text = "Roe v. Wade, 410 U.S. 113. See Compact §§5.01(a), 1 App. 22, §5.05(a), 1 App. 24."
    assert list(cases(text))
    assert not caplog.records
