import pytest

from markgraph.build import compose, make
from markgraph.documents.xml_mapping import XmlMapping
from markgraph.errors import DocumentError, EmptyCorpusError
from markgraph.ingestion.corpora import Corpus, Item
from markgraph.ingestion.xml_files import XmlFiles


@pytest.fixture
def folder(tmp_path):
    root = tmp_path / "law"
    root.mkdir()
    (root / "1.xml").write_text("<s><num>1</num><heading>Scope</heading><text>All.</text></s>")
    (root / "2.XML").write_text("<s><num>2</num><text>Some.</text></s>")
    (root / "a.txt").write_text("text")
    return root


def test_the_xml_files_of_a_folder_are_read_by_the_mapping(folder):
    corpus: Corpus = XmlFiles(folder, XmlMapping(number="num", title="heading"))
    documents = [item.load() for item in corpus.items()]
    assert [document.source for document in documents] == [f"{folder}/1.xml", f"{folder}/2.XML"]
    assert [document.text for document in documents] == ["1 Scope\n\nAll.", "2\n\nSome."]
    assert list(corpus.skipped()) == [f"{folder}/a.txt"]


def test_another_mapping_reads_the_files_again(folder):
    def marks(**settings):
        return [(item.path, item.settings) for item in XmlFiles(folder, XmlMapping(**settings)).items()]

    before = marks()
    assert before == marks()
    assert [path.name for path, _ in before] == ["1.xml", "2.XML"]
    assert not set(before) & set(marks(number="num"))


def test_a_file_that_is_damaged_or_without_text_says_so_when_it_is_loaded(folder):
    (folder / "1.xml").write_text("<s>")
    (folder / "2.XML").write_text("<s/>")
    damaged, empty = XmlFiles(folder).items()
    with pytest.raises(DocumentError, match=r"Cannot read .*1\.xml as XML"):
        damaged.load()
    with pytest.raises(DocumentError, match=r"2\.XML holds no text"):
        empty.load()


def test_a_folder_without_xml_is_refused(tmp_path):
    (tmp_path / "a.txt").write_text("text")
    with pytest.raises(EmptyCorpusError, match=r"it holds 1 \.txt\.\nExpected some of: \.xml\."):
        XmlFiles(tmp_path).items()


def test_the_config_spells_out_the_defaults(folder):
    corpus = make(compose("ingest", ["corpus=xml", f"path={folder}"]), "corpus")
    default = XmlFiles(folder)
    assert list(map(fingerprint, corpus.items())) == list(map(fingerprint, default.items()))


def fingerprint(item: Item) -> str:
    return item.fingerprint
