"""A small data set in BEIR's layout."""

import json
from collections.abc import Iterable, Mapping
from pathlib import Path

import pytest

CORPUS = {
    "pay": ("Terms", "The customer shall pay each invoice within 30 days of receipt."),
    "liability": ("Terms", "The supplier's liability is capped at 150 % of the yearly fees."),
    "notice": ("", "Either party may terminate this agreement with three months' notice."),
    "breach": ("", "A personal data breach is notified to the authority within 72 hours."),
}
QUERIES = {"q1": "When must an invoice be paid?", "q2": "breach notified to the authority", "q3": "unjudged"}
QRELS = "query-id\tcorpus-id\tscore\nq1\tpay\t1\nq2\tbreach\t2\nq2\tnotice\t0\n"


def write_lines(file: Path, rows: Iterable[Mapping[str, object]]) -> None:
    """Write a JSONL file."""
    file.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), "utf-8")


@pytest.fixture
def dataset(tmp_path: Path) -> Path:
    """Return a folder with four documents and two judged queries."""
    folder = tmp_path / "terms"
    folder.mkdir()
    documents = [{"_id": id_, "title": title, "text": text} for id_, (title, text) in CORPUS.items()]
    write_lines(folder / "corpus.jsonl", documents)
    write_lines(folder / "queries.jsonl", [{"_id": id_, "text": text} for id_, text in QUERIES.items()])
    (folder / "qrels.tsv").write_text(QRELS, "utf-8")
    return folder
