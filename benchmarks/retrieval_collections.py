"""Builds small retrieval collections in BEIR's layout out of the development data.

    python benchmarks/retrieval_collections.py DATA_FOLDER TARGET_FOLDER
    for c in TARGET_FOLDER/*; do markgraph evaluate suite=retrieval dataset=$c output=json; done

Each collection is a folder with corpus.jsonl, queries.jsonl and qrels.tsv. What is a question in one is cut
out of its documents: a heading asks for its section, a label for its clauses, a claim for its evidence.
"""

import argparse
import json
import random
import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

QUERIES = 400
"""At most so many questions a collection; which ones is drawn once and for all."""
LAW = Path(__file__).with_name("law_questions.json")


class Collection(NamedTuple):
    """Documents, questions, and which documents answer which question."""

    corpus: Mapping[str, str]
    queries: Mapping[str, str]
    qrels: Mapping[str, Sequence[str]]


def read(file: Path) -> list[dict[str, Any]]:
    """Return the rows of a JSONL file."""
    with file.open(encoding="utf-8") as lines:  # `str.splitlines` would also cut at U+2028
        return [json.loads(line) for line in lines if line.strip()]


def pubmedqa(data: Path) -> Collection:
    """Ask 1,000 biomedical questions for the abstract that each was made from."""
    return beir(data / "retrieval/pubmedqa", "")


def squad(data: Path) -> Collection:
    """Ask questions for the paragraph of Wikipedia that answers them."""
    return beir(data / "qa", "squad_")


def beir(folder: Path, prefix: str) -> Collection:
    """Return what is in BEIR's layout already."""
    corpus = {row["_id"]: row["text"] for row in read(folder / f"{prefix}corpus.jsonl")}
    queries = {row["_id"]: row["text"] for row in read(folder / f"{prefix}queries.jsonl")}
    lines = (folder / f"{prefix}qrels.tsv").read_text("utf-8").splitlines()[1:]
    pairs = [line.split("\t") for line in lines]
    return Collection(corpus, queries, grouped((query, document) for query, document, _ in pairs))


def law_questions(data: Path) -> Collection:
    """Ask people's questions for the articles that hold the answer's words."""
    articles = {key(row, "regulation", "article"): row["text"] for row in eu_articles(data)}
    asked = [(question, answer) for question, answer in json.loads(LAW.read_text("utf-8"))["law"] if answer]
    matching = {
        question: [id_ for id_, text in articles.items() if re.search(answer, text)]
        for question, answer in asked
    }
    found = {question: ids for question, ids in matching.items() if 0 < len(ids) <= 20}
    return Collection(articles, {question: question for question in found}, found)


def eu_titles(data: Path) -> Collection:
    """Ask an article's title for the body."""
    rows = []
    for row in eu_articles(data):
        title, numbered, body = row["text"].partition(" 1. ")
        if numbered and len(title) < 200:
            rows.append((key(row, "regulation", "article"), title, body))
    return titled(rows)


def dc_headings(data: Path) -> Collection:
    """Ask a section's heading for its text."""
    files = sorted((data / "legal/dc_code").glob("*.jsonl"))
    rows = [(row["id"], row["heading"], row["text"]) for file in files for row in read(file)]
    return titled([row for row in rows if len(row[2]) > 100])


def github_policies(data: Path) -> Collection:
    """Ask the heading of a policy's section for the section."""
    rows = []
    for file in sorted((data / "legal/github_site_policy").rglob("*.md")):
        parts = re.split(r"^#{1,4} (.+)$", file.read_text("utf-8"), flags=re.MULTILINE)
        pairs = zip(parts[1::2], parts[2::2], strict=True)
        rows += [
            (f"{file.stem}-{at}", heading.strip("# *"), body.strip())
            for at, (heading, body) in enumerate(pairs)
        ]
    return titled([row for row in rows if len(row[2]) > 100])


def cuad_labels(data: Path) -> Collection:
    """Ask the name of a clause type for its clauses; those that a lawyer said no to are in the way."""
    rows = read(data / "legal/cuad_fewshot_228.jsonl")
    pairs = [(row["task"], str(at)) for at, row in enumerate(rows) if row["label"] == "Yes"]
    names = {task: task.removeprefix("CUAD_") for task, _ in pairs}
    return Collection({str(at): row["text"] for at, row in enumerate(rows)}, names, grouped(pairs))


def cuad_clauses(data: Path) -> Collection:
    """Ask a clause for the others of its type."""
    rows = read(data / "legal/cuad_fewshot_228.jsonl")
    return siblings([(row["text"], row["task"] if row["label"] == "Yes" else None) for row in rows], 0.34)


def fever_claims(data: Path) -> Collection:
    """Ask a claim for the sentence of Wikipedia that supports it."""
    return claims(data, "fever_symmetric_dev")


def snli_captions(data: Path) -> Collection:
    """Ask what follows from a caption for the caption."""
    return claims(data, "snli_dev")


def banking_intents(data: Path) -> Collection:
    """Ask an utterance for others with its intent."""
    rows = random.Random(0).sample(read(data / "routing/banking77_train.jsonl"), 2000)  # noqa: S311
    return siblings([(row["text"], row["intent"]) for row in rows], 0.15)


def clinc_intents(data: Path) -> Collection:
    """Ask an utterance for others with its intent."""
    rows = random.Random(0).sample(read(data / "routing/clinc150_train.jsonl"), 2000)  # noqa: S311
    return siblings([(row["text"], row["intent"] if row["intent"] != "oos" else None) for row in rows], 0.15)


COLLECTIONS: tuple[Callable[[Path], Collection], ...] = (
    pubmedqa,
    squad,
    law_questions,
    eu_titles,
    dc_headings,
    github_policies,
    cuad_labels,
    cuad_clauses,
    fever_claims,
    snli_captions,
    banking_intents,
    clinc_intents,
)


def titled(rows: Iterable[tuple[str, str, str]]) -> Collection:
    """Ask each title for the texts under it; `rows` are (id, title, text)."""
    rows = list(rows)
    by_title = grouped((title, id_) for id_, title, _ in rows if len(title) > 3)
    return Collection({id_: text for id_, _, text in rows}, {title: title for title in by_title}, by_title)


def siblings(rows: Sequence[tuple[str, str | None]], asked: float) -> Collection:
    """Ask a share of the texts for the others of the same kind; `rows` are (text, kind)."""
    drawn = random.Random(0).sample(range(len(rows)), int(len(rows) * asked))  # noqa: S311
    queries = {str(at): rows[at][0] for at in sorted(drawn) if rows[at][1]}
    corpus = {str(at): text for at, (text, _) in enumerate(rows) if str(at) not in queries}
    kinds = grouped((kind, str(at)) for at, (_, kind) in enumerate(rows) if kind and str(at) in corpus)
    qrels = {id_: kinds[kind] for id_ in queries if (kind := rows[int(id_)][1]) in kinds}
    return Collection(corpus, {id_: queries[id_] for id_ in qrels}, qrels)


def claims(data: Path, source: str) -> Collection:
    """Ask the hypotheses of a source for their premises."""
    rows = [row for row in read(data / "groundedness/dev.jsonl") if row["source"] == source]
    texts = list(dict.fromkeys(row["premise"] for row in rows))
    ids = {text: str(at) for at, text in enumerate(texts)}
    pairs = [(row["hypothesis"], ids[row["premise"]]) for row in rows if row["label"] == 1]
    qrels = grouped(pairs)
    return Collection({id_: text for text, id_ in ids.items()}, {text: text for text in qrels}, qrels)


def eu_articles(data: Path) -> list[dict[str, str]]:
    """Return the articles of European law."""
    return read(data / "legal/eu_regulations/articles.jsonl")


def key(row: Mapping[str, str], *names: str) -> str:
    """Return some fields as an id."""
    return "-".join(str(row[name]).replace(" ", "_") for name in names)


def grouped(pairs: Iterable[tuple[str, str]]) -> dict[str, list[str]]:
    """Return the second of each pair by the first."""
    found: defaultdict[str, list[str]] = defaultdict(list)
    for first, second in pairs:
        found[first].append(second)
    return dict(found)


def write(collection: Collection, folder: Path) -> None:
    """Write a collection in BEIR's layout, with at most `QUERIES` questions under new ids."""
    folder.mkdir(parents=True, exist_ok=True)
    asked = sorted(collection.qrels)
    asked = random.Random(0).sample(asked, min(QUERIES, len(asked)))  # noqa: S311
    documents = ({"_id": id_, "title": "", "text": text} for id_, text in collection.corpus.items())
    questions = ({"_id": f"q{at}", "text": collection.queries[id_]} for at, id_ in enumerate(asked))
    lines = [f"q{at}\t{document}\t1" for at, id_ in enumerate(asked) for document in collection.qrels[id_]]
    (folder / "corpus.jsonl").write_text("\n".join(as_lines(documents)) + "\n", "utf-8")
    (folder / "queries.jsonl").write_text("\n".join(as_lines(questions)) + "\n", "utf-8")
    (folder / "qrels.tsv").write_text("\n".join(["query-id\tcorpus-id\tscore", *lines]) + "\n", "utf-8")


def as_lines(rows: Iterable[Mapping[str, str]]) -> Iterator[str]:
    """Yield each row as JSON."""
    return (json.dumps(row, ensure_ascii=False) for row in rows)


def main() -> None:
    """Build every collection."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("target", type=Path)
    given = parser.parse_args()
    for build in COLLECTIONS:
        collection = build(given.data)
        write(collection, given.target / build.__name__)
        print(f"{build.__name__}: {len(collection.corpus)} documents, {len(collection.qrels)} questions")


if __name__ == "__main__":
    main()
