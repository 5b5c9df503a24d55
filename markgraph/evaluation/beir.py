"""Reads retrieval data sets in the layout of BEIR (Thakur et al. 2021).

    corpus.jsonl      {"_id": "d1", "title": "Terms", "text": "Payment is due ..."}
    queries.jsonl     {"_id": "q1", "text": "When is payment due?"}
    qrels/test.tsv    query-id, corpus-id, score, between tabs, with a header row or without; or qrels.tsv

The files may share a prefix (`squad_corpus.jsonl`, ...), ids may be called `id`, and judgements may have the
four columns of TREC. Further fields are ignored.
"""

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any, NamedTuple

from markgraph.documents.text import mend
from markgraph.errors import UsageError

LAYOUT = "Expected corpus.jsonl, queries.jsonl, and qrels.tsv or qrels/test.tsv, as BEIR has them."
_WHOLE = re.compile(r"-?\d+(?:\.0+)?")
HEADERS = {"query-id", "query_id", "qid", "query"}
"""How the first column of a header row is called."""


class Text(NamedTuple):
    """A document or a query."""

    id: str
    title: str
    text: str


@dataclass(frozen=True)
class Dataset:
    """Documents, the queries that were judged, and which documents are relevant to which query."""

    name: str
    corpus: list[Text]
    queries: list[Text]
    qrels: dict[str, dict[str, int]]
    """Grades by document, by query; each query has a relevant document."""
    fingerprint: str
    """Changes with the documents, and with nothing else."""
    missing: int
    """Judged documents that the corpus lacks: nothing can find them."""
    unasked: int
    """Judged queries that the queries file lacks: their judgements are passed over."""


def load_dataset(path: Path) -> Dataset:
    """Read the data set in the folder `path`.

    Raises:
        UsageError: a file is missing or malformed; with its line, and what is expected there.
    """
    path = path.expanduser()
    corpus_file, queries_file = _files(path)
    prefix = corpus_file.name.removesuffix("corpus.jsonl")
    qrels_file = _find(path, f"{prefix}qrels.tsv", "qrels/test.tsv")
    corpus = list(_texts(corpus_file))
    queries = {query.id: query for query in _texts(queries_file)}
    qrels, unasked = _qrels(qrels_file, queries)
    known = {document.id for document in corpus}
    judged = {document for grades in qrels.values() for document in grades}
    return Dataset(
        name=prefix.rstrip("_-.") or path.resolve().name,
        corpus=corpus,
        queries=[query for query in queries.values() if query.id in qrels],
        qrels=qrels,
        fingerprint=sha256(corpus_file.read_bytes()).hexdigest(),
        missing=len(judged - known),
        unasked=unasked,
    )


def answers_of(path: Path) -> dict[str, tuple[str, ...]]:
    """Return the answers that are right, by query, as the field `answers` of the queries lists them.

    Raises:
        UsageError: no query has any.
    """
    if right := known_answers(path):
        return right
    _, file = _files(path.expanduser())
    raise UsageError(f'{file} has no answers. Expected "answers": ["...", ...] in its rows.')


def known_answers(path: Path) -> dict[str, tuple[str, ...]]:
    """Return the same, and nothing where no query has any.

    Raises:
        UsageError: what stands in that field is no list of texts.
    """
    _, file = _files(path.expanduser())
    right: dict[str, tuple[str, ...]] = {}
    for number, row in read_rows(file):
        answers = row.get("answers", [])
        if not isinstance(answers, list) or not all(isinstance(each, str) for each in answers):
            raise UsageError(f"{file}, line {number}: expected a list of texts as answers; got {answers!r}.")
        if answers:
            right[str(row.get("_id", row.get("id")))] = tuple(answers)
    return right


def _files(folder: Path) -> tuple[Path, Path]:
    """Return the files of documents and of queries; they share a prefix."""
    corpus = _find(folder, "corpus.jsonl")
    return corpus, _find(folder, f"{corpus.name.removesuffix('corpus.jsonl')}queries.jsonl")


def _find(folder: Path, *names: str) -> Path:
    """Return the one file that is called like one of `names`, or ends like the first after a prefix."""
    if not folder.is_dir():
        raise UsageError(f"No such folder: dataset={folder}. {LAYOUT}")
    for name in names:
        if (folder / name).is_file():
            return folder / name
    prefixed = sorted(folder.glob(f"*{names[0]}"))
    if len(prefixed) == 1:
        return prefixed[0]
    there = ", ".join(sorted(entry.name for entry in folder.iterdir())[:8]) or "nothing"
    raise UsageError(f"{folder} has no {' or '.join(names)}; it has {there}. {LAYOUT}")


def _texts(file: Path) -> Iterator[Text]:
    """Yield the rows of a JSONL file."""
    seen: set[str] = set()
    for number, row in read_rows(file):
        id_, text = row.get("_id", row.get("id")), row.get("text", row.get("query"))
        if not isinstance(id_, str | int) or not isinstance(text, str):
            raise UsageError(
                f"{file}, line {number}: expected the fields _id and text; got {', '.join(row) or 'none'}."
            )
        if str(id_) in seen:
            raise UsageError(f"{file}, line {number}: the _id {str(id_)!r} is there twice. Make ids unique.")
        seen.add(str(id_))
        yield Text(str(id_), str(row.get("title") or ""), text)
    if not seen:
        raise UsageError(f"{file} is empty. {LAYOUT}")


def read_rows(file: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield the objects of a JSONL file, each with the number of its line; half characters are mended."""
    for number, line in _lines(file):
        try:
            row = json.loads(line)
            if "\\ud" in line.lower():  # JSON can escape half a character, which UTF-8 has no bytes for
                row = json.loads(mend(json.dumps(row, ensure_ascii=False)))
        except ValueError as error:
            raise UsageError(f"{file}, line {number}: expected a JSON object; {error}.") from error
        if not isinstance(row, dict):
            raise UsageError(f"{file}, line {number}: expected a JSON object; got {line[:60].strip()}.")
        yield number, row


def _lines(file: Path) -> Iterator[tuple[int, str]]:
    """Yield the lines that hold something, counted from 1; only a newline ends a line."""
    try:
        with file.open(encoding="utf-8-sig", newline="\n") as lines:
            yield from ((number, line) for number, line in enumerate(lines, start=1) if line.strip())
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"Could not read {file}: {error}. Expected text in UTF-8.") from error


def _qrels(file: Path, queries: Mapping[str, Text]) -> tuple[dict[str, dict[str, int]], int]:
    """Return the judgements of each query that has a relevant document, and how many queries are unknown."""
    grades: dict[str, dict[str, int]] = {}
    for number, line in _lines(file):
        columns = line.strip().split("\t" if "\t" in line else None)
        if number == 1 and columns[0].lower() in HEADERS and columns[0] not in queries:
            continue
        if len(columns) == 4:  # TREC's: query, iteration, document, grade
            del columns[1]
        if len(columns) != 3 or not _WHOLE.fullmatch(columns[2]):
            raise UsageError(
                f"{file}, line {number}: expected query-id, corpus-id and a whole number, between tabs; "
                f"got {line.strip()[:80]!r}."
            )
        query, document, grade = columns
        grades.setdefault(query, {})[document] = int(float(grade))
    known = {query: judged for query, judged in grades.items() if query in queries}
    if grades and not known:
        raise UsageError(
            f"{file} judges none of the queries in the queries file; it judges {next(iter(grades))!r}, which "
            f"isn't there. Give both files the same ids. {LAYOUT}"
        )
    relevant = {query: judged for query, judged in known.items() if max(judged.values()) > 0}
    if not relevant:
        raise UsageError(f"{file} judges no document relevant to a query that is there. {LAYOUT}")
    return relevant, len(grades) - len(known)
