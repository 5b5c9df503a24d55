"""What is read of files whose text is known, word by word."""

import json
import os
import re
from collections import Counter
from pathlib import Path

import pytest

from markgraph.build import compose, make
from markgraph.documents.load import load

pytestmark = pytest.mark.skipif(
    "MARKGRAPH_DATA" not in os.environ, reason="set MARKGRAPH_DATA to a folder of documents"
)
ROOT = Path(os.environ.get("MARKGRAPH_DATA", "."))
MARKUP = re.compile(r"!\[[^\]]*\]\([^)]*\)|<!--.*?-->|(?<=\])\((?:[^()\s]|\([^()]*\))*\)|&amp;")


def words(text: str) -> Counter[str]:
    return Counter(re.findall(r"\w+", text))


@pytest.mark.parametrize(
    ("name", "recall", "precision"),
    [
        ("table_01.html", 1, 1),
        ("example_02.html", 1, 1),
        ("docx_lists.docx", 1, 1),
        ("word_sample.docx", 1, 1),
        # The ground truth repeats the text of a merged cell in each place that it covers.
        ("word_tables.docx", 0.82, 1),
        # It has the navigation too, which is not read.
        ("wiki_duck.html", 0.96, 0.98),
    ],
)
def test_words_are_those_of_the_ground_truth(name, recall, precision):
    path = ROOT / "documents/docling" / name
    found = words(load(path, name).text)
    truth = words(MARKUP.sub(" ", Path(f"{path}.md").read_text("utf-8")))
    common = (found & truth).total()
    assert common / truth.total() >= recall
    assert common / found.total() >= precision


@pytest.mark.parametrize("name", ["table_01.html", "word_sample.docx"])
def test_tables_have_the_rows_of_the_ground_truth(name):
    path = ROOT / "documents/docling" / name
    rows = [line.strip("| ") for line in Path(f"{path}.md").read_text("utf-8").split("\n") if line[:1] == "|"]
    truth = [row for row in rows if not set(row) <= set("-| ")]
    found = [line.strip("| ") for line in load(path, name).text.split("\n") if " | " in line]
    assert found == truth


def test_the_dc_code_is_the_same_out_of_xml_and_out_of_json_lines():
    folder = ROOT / "legal/dc_code"
    lines = [line for file in folder.glob("*.jsonl") for line in file.read_text("utf-8").splitlines()]
    sections = {section["id"]: section for section in map(json.loads, lines)}
    corpus = make(compose("ingest", ["corpus=dc_code_xml", f"path={folder / 'xml'}"]), "corpus")
    items = list(corpus.items())
    assert len(items) == len(list((folder / "xml").iterdir()))
    for item in items:
        document = item.load()
        section = sections[document.metadata["number"]]
        assert document.title == f"§ {section['id']}. {section['heading']}"
        body = document.text.removeprefix(document.title)
        # In the lines a space parts a citation from the sign behind it.
        assert "".join(body.split()) == "".join(section["text"].split())
        assert len(body.strip().split("\n")) == len(section["text"].split("\n"))
