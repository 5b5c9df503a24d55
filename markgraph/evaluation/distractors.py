"""Finds documents that look as if they answered a question."""

from collections.abc import Collection, Iterator, Sequence
from functools import cached_property
from typing import Any

from markgraph.evaluation.beir import Text
from markgraph.text import words

NEAREST = 50


class Distractors:
    """Ranks the documents of a corpus by BM25 (Lucene's variant)."""

    def __init__(self, corpus: Sequence[Text]) -> None:
        """Take the documents to choose from."""
        self.corpus = corpus

    def __call__(self, question: str, but: Collection[str]) -> Iterator[Text]:
        """Yield the documents that share most words with `question`, best first, without those in `but`."""
        said = words(question)
        if not said or not self.corpus:
            return
        places, _ = self._ranking.retrieve([said], k=min(NEAREST, len(self.corpus)), show_progress=False)
        yield from (self.corpus[at] for at in places[0].tolist() if self.corpus[at].id not in but)

    @cached_property
    def _ranking(self) -> Any:
        import bm25s

        import markgraph.retrieval.frequencies  # noqa: F401 -- without it bm25s logs all that it does

        ranking = bm25s.BM25(method="lucene")
        ranking.index([words(f"{each.title} {each.text}") for each in self.corpus], show_progress=False)
        return ranking
