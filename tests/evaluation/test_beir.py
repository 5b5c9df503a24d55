"""Data sets as they come: layouts that are read, and what is said of those that can't be."""

from pathlib import Path

import pytest

from markgraph.errors import UsageError
from markgraph.evaluation.beir import answers_of, known_answers, load_dataset
from tests.evaluation.conftest import QRELS, QUERIES, write_lines


def test_reads_documents_and_the_queries_that_were_judged(dataset: Path) -> None:
    found = load_dataset(dataset)
    assert found.name == "terms"
    assert [document.id for document in found.corpus] == ["pay", "liability", "notice", "breach"]
    assert found.corpus[0].title == "Terms"
    assert [query.id for query in found.queries] == ["q1", "q2"]
    assert found.qrels == {"q1": {"pay": 1}, "q2": {"breach": 2, "notice": 0}}
    assert found.missing == 0


@pytest.mark.parametrize(
    "qrels",
    [
        QRELS.partition("\n")[2],
        "q1\t0\tpay\t1\nq2\t0\tbreach\t2\nq2\t0\tnotice\t0\n",
        "q1 Q0 pay 1\r\nq2 Q0 breach 2\r\nq2 Q0 notice 0\r\n",
        "query-id\tcorpus-id\tscore\nq1\tpay\t1.0\n\nq2\tbreach\t2\nq2\tnotice\t0\n",
    ],
    ids=["no header", "TREC", "spaces and CRLF", "a decimal point and an empty line"],
)
def test_reads_judgements_in_each_usual_form(dataset: Path, qrels: str) -> None:
    expected = load_dataset(dataset).qrels
    (dataset / "qrels.tsv").write_text(qrels, "utf-8")
    assert load_dataset(dataset).qrels == expected


def test_reads_judgements_of_the_test_split(dataset: Path) -> None:
    expected = load_dataset(dataset)
    (dataset / "qrels").mkdir()
    (dataset / "qrels.tsv").rename(dataset / "qrels/test.tsv")
    assert load_dataset(dataset) == expected


def test_reads_files_with_a_prefix_and_names_the_set_after_it(dataset: Path) -> None:
    for name in ("corpus.jsonl", "queries.jsonl", "qrels.tsv"):
        (dataset / name).rename(dataset / f"squad_{name}")
    found = load_dataset(dataset)
    assert (found.name, len(found.corpus), len(found.queries)) == ("squad", 4, 2)


def test_answers_are_asked_for_only_where_they_are_needed(dataset: Path) -> None:
    assert known_answers(dataset) == {}
    with pytest.raises(UsageError, match=r"queries\.jsonl has no answers\. Expected"):
        answers_of(dataset)
    write_lines(dataset / "queries.jsonl", [{"_id": "q1", "text": "When?", "answers": ["30 days"]}])
    assert known_answers(dataset) == answers_of(dataset) == {"q1": ("30 days",)}


def test_only_a_newline_ends_a_line(dataset: Path) -> None:
    write_lines(
        dataset / "corpus.jsonl", [{"_id": "pay", "text": "one\u2028two\u0085three"}, {"id": 7, "text": "b"}]
    )
    found = load_dataset(dataset)
    assert [(document.id, document.text) for document in found.corpus] == [
        ("pay", "one\u2028two\u0085three"),
        ("7", "b"),
    ]
    assert found.missing == 2, "breach and notice are judged, and not there"


def test_half_a_character_is_replaced_wherever_it_stands(dataset: Path) -> None:
    half = r"\ud83d"
    (dataset / "corpus.jsonl").write_text(
        f'{{"_id": "pay{half}", "title": "T{half}", "text": "a {half} b {half}\\uDE00"}}\n'
    )
    (dataset / "queries.jsonl").write_text(f'{{"_id": "q1", "text": "w{half}?", "answers": ["{half}"]}}\n')
    (dataset / "qrels.tsv").write_text("q1\tpay\ufffd\t1\n", "utf-8")
    found = load_dataset(dataset)
    assert found.corpus == [("pay\ufffd", "T\ufffd", "a \ufffd b \U0001f600")]
    assert [query.text for query in found.queries] == ["w\ufffd?"]
    assert found.missing == 0
    assert answers_of(dataset) == {"q1": ("\ufffd",)}


def test_judgements_of_queries_that_are_not_there_are_counted_and_passed_over(dataset: Path) -> None:
    whole = load_dataset(dataset)
    assert whole.unasked == 0
    (dataset / "qrels.tsv").write_text(QRELS + "q8\tpay\t1\nq9\tgone\t1\nq9\tpay\t0\n", "utf-8")
    found = load_dataset(dataset)
    assert (found.qrels, found.queries) == (whole.qrels, whole.queries)
    assert (found.unasked, found.missing) == (2, 0)


def test_the_fingerprint_changes_with_the_documents_only(dataset: Path) -> None:
    before = load_dataset(dataset).fingerprint
    write_lines(
        dataset / "queries.jsonl", [{"_id": id_, "text": text + "?"} for id_, text in QUERIES.items()]
    )
    assert load_dataset(dataset).fingerprint == before
    (dataset / "corpus.jsonl").write_text('{"_id": "pay", "text": "other"}', "utf-8")
    assert load_dataset(dataset).fingerprint != before


WRONG = {
    "not JSON": ("corpus.jsonl", '{"_id": "a", "text": "x"}\n{"_id": ', "line 2: expected a JSON object"),
    "no object": ("corpus.jsonl", "[1]\n", r"line 1: expected a JSON object; got \[1\]"),
    "no text": (
        "queries.jsonl",
        '{"_id": "q1", "body": "x"}\n',
        "line 1: expected the fields _id and text; got _id, body",
    ),
    "twice": ("corpus.jsonl", '{"_id": "a", "text": "x"}\n' * 2, "line 2: the _id 'a' is there twice"),
    "empty": ("corpus.jsonl", "\n", "corpus.jsonl is empty"),
    "columns": ("qrels.tsv", "q1\tpay\n", r"line 1: expected query-id, corpus-id and a whole number"),
    "grade": ("qrels.tsv", QRELS + "q1\tpay\tyes\n", "line 5: expected query-id"),
    "query": ("qrels.tsv", "q9\tpay\t1\n", "judges none of the queries .* it judges 'q9', which isn't there"),
    "nothing relevant": ("qrels.tsv", "q1\tpay\t0\n", "judges no document relevant"),
}


@pytest.mark.parametrize("case", WRONG)
def test_says_which_line_is_wrong_and_what_is_expected(dataset: Path, case: str) -> None:
    name, text, message = WRONG[case]
    (dataset / name).write_text(text, "utf-8")
    with pytest.raises(UsageError, match=message):
        load_dataset(dataset)


def test_says_what_a_folder_lacks(dataset: Path, tmp_path: Path) -> None:
    (dataset / "qrels.tsv").unlink()
    with pytest.raises(UsageError, match=r"has no qrels.tsv or qrels/test.tsv; it has corpus.jsonl, queries"):
        load_dataset(dataset)
    with pytest.raises(UsageError, match="No such folder"):
        load_dataset(tmp_path / "nowhere")


def test_bytes_that_are_no_text_are_an_error(dataset: Path) -> None:
    (dataset / "corpus.jsonl").write_bytes(b"\xff\xfe{}")
    with pytest.raises(UsageError, match="Expected text in UTF-8"):
        load_dataset(dataset)
