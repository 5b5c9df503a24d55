import json
import os
from pathlib import Path

import pytest

from markgraph.errors import DocumentError, EmptyCorpusError, UsageError
from markgraph.ingestion.corpora import Corpus, Item
from markgraph.ingestion.jsonl import Fields, JsonLines


@pytest.fixture
def write(tmp_path: Path):
    """Return a function that writes lines, objects as JSON and bytes as they are, and returns the corpus."""

    def write(*lines: object, fields: Fields | None = None, **settings: int) -> JsonLines:
        path = tmp_path / "docs.jsonl"
        raw = [line if isinstance(line, bytes) else json.dumps(line).encode() for line in lines]
        path.write_bytes(b"\n".join(raw))
        return JsonLines(path, fields, **settings)

    return write


def names(corpus: JsonLines, items: list[Item]) -> list[str]:
    return [item.source.removeprefix(f"{corpus.name}#") for item in items]


def test_the_layout_of_beir_is_read_as_it_is(write):
    corpus: Corpus = write(
        {"_id": "d1", "title": "Notice", "text": "It is\u0007 given.", "metadata": {}},
        {"id": 2, "text": "Section 4.2 Term\n\nTwo years."},
    )
    first, second = (item.load() for item in corpus.items())
    assert (first.source, first.title, first.text) == (f"{corpus.name}#d1", "Notice", "It is given.")
    assert first.metadata == {}
    assert (second.title, second.headings[0].title) == ("2", "Section 4.2 Term")
    assert second.source == list(corpus.items())[1].source == f"{corpus.name}#2"
    assert corpus.skipped() == []


def test_a_file_has_one_name_through_whatever_links_it_is_named(write, tmp_path):
    corpus = write({"_id": "d1", "text": "It is given."})
    (tmp_path / "link").symlink_to(tmp_path)
    linked = JsonLines(tmp_path / "link" / "docs.jsonl")
    assert linked.name == corpus.name
    assert names(corpus, linked.items()) == ["d1"]


def test_fields_are_mapped_joined_and_kept_as_metadata(write):
    corpus = write(
        {
            "law": "GDPR", "number": 33, "heads": ["Breach", "Notice"], "body": "Text.", "note": None,
            "cites": ["§ 1", 2], "readers": "g:legal", "current": True,
        },
        fields=Fields(
            text=["heads", "note", "body"],
            title="{law} Article {number}",
            id=["law", "number"],
            metadata=["cites", "readers", "current", "note"],
        ),
    )  # fmt: skip
    document = next(corpus.items()).load()
    assert document.source == f"{corpus.name}#GDPR 33"
    assert document.title == "GDPR Article 33"
    assert document.text == "Breach\nNotice\n\nText."
    assert document.metadata == {"cites": "§ 1, 2", "readers": "g:legal", "current": "true"}


@pytest.mark.parametrize(
    ("line", "source", "reason"),
    [
        (b'{"_id": "x", "text"', "L2", r"line 2 of .*docs\.jsonl: it is no JSON \(.*one object a line"),
        (b"\xff\xfe{}", "L2", "it is no JSON .*UTF-8"),
        (b"[" * 100_000, "L2", "it is no JSON"),
        (["a"], "L2", "it is a list. Expected a JSON object"),
        (
            {"text": "a", "extra": 1},
            "L2",
            "it has no id: _id, id is missing or empty. Its fields: text, extra",
        ),
        ({"_id": " ", "text": "a"}, "L2", "it has no id"),
        (
            {"_id": {}, "text": "a"},
            "L2",
            "its field '_id' holds a dict. Expected a string, a number or a list",
        ),
        ({"_id": "x" * 301, "text": "a"}, "L2", "its id has 301 characters. Expected at most 300"),
        ({"_id": "a/../b", "text": "a"}, "L2", "its id, 'a/../b', leads through"),
        ({"_id": "x", "body": "a"}, "x", "it has no text: text is missing or empty. Its fields: _id, body"),
        ({"_id": "x", "text": " \n"}, "x", "it has no text"),
        ({"_id": "x", "text": 5}, "x", "its field 'text' holds a int. Expected a string or a list of them"),
        ({"_id": "x", "text": "a", "title": {"en": "b"}}, "x", "its field 'title' holds a dict"),
        (b'{"_id": "x", "text": "' + b"a" * 200 + b'"}', "L2", "it has more than 150 bytes. Split it"),
    ],
)
def test_a_line_that_cannot_be_read_is_a_failure_of_its_own(write, line, source, reason):
    good = [{"_id": "first", "text": "a"}, {"_id": "last", "text": "b"}]
    longest = 200_000 if line == b"[" * 100_000 else 500 if "301" in reason else 150
    corpus = write(good[0], line, good[1], longest=longest)
    items = list(corpus.items())
    assert names(corpus, items) == ["first", source, "last"]
    assert [items[at].load().text for at in (0, 2)] == ["a", "b"]
    with pytest.raises(DocumentError, match=f"(?s)^Cannot read .*{reason}"):
        items[1].load()


def test_the_later_of_two_lines_with_one_id_is_refused(write):
    corpus = write({"id": 1, "text": "a"}, {"_id": "1", "text": "b"}, {"id": 2, "text": "c"})
    items = list(corpus.items())
    assert names(corpus, items) == ["1", "L2", "2"]
    assert items[0].load().text == "a"
    with pytest.raises(
        DocumentError, match=r"line 2 of .*: an earlier line has its id, '1'. Give each its own"
    ):
        items[1].load()


def test_a_changed_line_or_mapping_has_another_fingerprint_and_the_others_not(write):
    def marks(*texts: str, fields: Fields | None = None) -> list[str]:
        lines = [{"_id": f"d{number}", "text": text, "title": "t"} for number, text in enumerate(texts)]
        return [item.fingerprint for item in write(*lines, fields=fields).items()]

    before = marks("a", "b", "c")
    after = marks("a", "longer", "c")
    assert [old == new for old, new in zip(before, after, strict=True)] == [True, False, True]
    assert not set(before) & set(marks("a", "b", "c", fields=Fields(title="text")))


def test_a_line_is_read_again_by_its_place_and_only_if_it_is_the_same(write):
    corpus = write({"_id": "a", "text": "one"}, b"", b"  ", {"_id": "b", "text": "two"})
    items = list(corpus.items())
    assert names(corpus, items) == ["a", "b"]
    path = Path(corpus.name)
    path.write_bytes(b"broken".ljust(path.read_bytes().index(b"\n"), b"!") + path.read_bytes()[27:])
    with pytest.raises(DocumentError, match=r"line 1 of .*: the file has changed since it was listed\. Run"):
        items[0].load()
    os.remove(path)
    with pytest.raises(DocumentError, match="Cannot open"):
        items[1].load()


def test_lines_are_streamed_not_held(write):
    listed = iter(write({"_id": "a", "text": "x"}, {"_id": "b", "text": "x"}).items())
    assert next(listed).load().text == "x"
    assert next(listed).load().text == "x"


def test_a_byte_order_mark_and_windows_line_ends_are_no_matter(write):
    corpus = write(b'\xef\xbb\xbf{"_id": "a", "text": "x"}\r', b'{"_id": "b", "text": "y"}\r')
    assert [item.load().text for item in corpus.items()] == ["x", "y"]


def test_a_field_that_no_line_has_is_a_usage_error(write):
    corpus = write({"_id": "a", "text": "x", "heading": "H"}, fields=Fields(title="headnig"))
    with pytest.raises(
        UsageError, match=r"(?s)No line of .* has the field 'headnig'.*some of: _id, text, heading"
    ):
        list(corpus.items())


def test_refuses_what_is_no_file_of_lines(write, tmp_path):
    with pytest.raises(UsageError, match=r"Cannot open .*gone\.jsonl: No such file"):
        JsonLines(tmp_path / "gone.jsonl").items()
    for other in (tmp_path, None):
        with pytest.raises(UsageError, match="is no file"):
            JsonLines(other).items()
    with pytest.raises(EmptyCorpusError, match="holds no lines"):
        write(b"\n \n").items()


@pytest.mark.skipif("MARKGRAPH_DATA" not in os.environ, reason="set MARKGRAPH_DATA to a folder of documents")
@pytest.mark.parametrize(
    ("name", "fields", "count"),
    [
        ("legal/dc_code/title28_commercial", Fields(title="§ {id}. {heading}", metadata=["cites"]), 885),
        ("legal/dc_code/title42_real_property", Fields(title="§ {id}. {heading}"), 1013),
        (
            "legal/eu_regulations/articles",
            Fields(id="{celex}#{article_id}", title="{regulation} Article {article}", metadata=["eli"]),
            404,
        ),
        ("qa/squad_corpus", Fields(), 807),
    ],
)
def test_collections_are_read_to_their_last_line(name, fields, count):
    corpus = JsonLines(Path(os.environ["MARKGRAPH_DATA"], f"{name}.jsonl"), fields)
    items = list(corpus.items())
    assert len({item.source for item in items}) == count
    for item in items:
        document = item.load()
        assert document.text
        assert document.title
        assert document.source == item.source
