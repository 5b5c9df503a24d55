import os
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from markgraph.errors import DocumentError, UsageError
from markgraph.ingestion.corpora import Corpus, EuLaw, Folder

ARTICLES = [
    (33, "Notification of a personal data breach 1. In the case of a breach, the controller shall notify."),
    (4, "Definitions For the purposes of this Regulation: (1) “data” means any information."),
    (16, "Right to rectification The data subject shall have the right."),
    (36, "Penalties Member States shall lay down rules."),
    (10, "Processing of data on offences Processing of data on offences shall be carried out."),
    (
        61,
        "Article 61 Amendments to Regulation (EU) No 909/2014 Article 45 of Regulation (EU) X",
    ),
    (
        62,
        "Amendments to Regulation (EU) No 600/2014 Regulation (EU) No 600/2014 is amended as follows: (1) x",
    ),
    (1, "Subject matter` 1. The purpose is."),
    (25, "d Irregularities Article 7 of Regulation (EU) No 537/2014 shall apply."),
    (99, "nothing that tells a title"),
]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    root = tmp_path / "docs"
    for name in ["b.txt", "sub/a.md", "a.html", "x.zip", ".hidden.txt", ".git/c.txt", "README"]:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(f"{name} text")
    return root


@pytest.fixture
def database(tmp_path: Path) -> Path:
    path = tmp_path / "regulations.db"
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("CREATE TABLE regulations (celex, name, short_name, eli, title)")
        connection.execute(
            "CREATE TABLE articles (celex, article_number, article_id, content, content_length, id)"
        )
        connection.executemany(
            "INSERT INTO regulations VALUES (?, ?, ?, ?, '')",
            [
                ("1", "GDPR", "gdpr", "http://data.europa.eu/eli/reg/2016/679/oj"),
                ("2", "EU AI Act", "eu-ai-act", "http://data.europa.eu/eli/reg/2024/1689/oj"),
                ("3", "Cyber Resilience Act", "cra", "http://data.europa.eu/eli/reg/2024/2847/oj"),
            ],
        )
        rows = [("1", number, f"art_{number}", text, len(text)) for number, text in ARTICLES]
        rows += [("2", 1, "art_1", "Scope 1. X", 10), ("3", 2, "art_2", "Scope 1. X", 73_825)]
        connection.executemany("INSERT INTO articles VALUES (?, ?, ?, ?, ?, NULL)", rows)
    return path


def names(folder: Path, paths: list[str]) -> list[str]:
    return [Path(path).relative_to(folder).as_posix() for path in paths]


def test_a_folder_lists_what_can_be_read_in_order_and_hidden_files_not(folder):
    corpus: Corpus = Folder(folder)
    items = list(corpus.items())
    assert corpus.name == folder.as_posix()
    assert names(folder, [item.source for item in items]) == ["a.html", "b.txt", "sub/a.md"]
    assert (items[1].path, items[1].fingerprint) == (folder / "b.txt", "")
    assert items[1].load().text == "b.txt text"
    assert items[1].load().source == items[1].source


def test_a_folder_names_what_it_left_out(folder):
    assert names(folder, Folder(folder).skipped()) == ["README", "x.zip"]


def test_a_relative_path_gets_the_same_sources_and_scope(folder, monkeypatch):
    monkeypatch.chdir(folder.parent)
    corpus = Folder("docs/../docs")
    assert corpus.name == Folder(folder).name
    assert list(map(str, corpus.skipped())) == list(map(str, Folder(folder).skipped()))


def test_one_file_is_a_corpus_even_when_hidden(folder):
    corpus = Folder(folder / ".hidden.txt")
    assert [item.source for item in corpus.items()] == [corpus.name]
    assert corpus.name.endswith("/docs/.hidden.txt")


def test_links_are_skipped_and_read_nothing_where_one_takes_the_place_of_a_file(folder, tmp_path):
    (tmp_path / "secret.txt").write_text("secret")
    (folder / "out.txt").symlink_to(tmp_path / "secret.txt")
    (folder / "up").symlink_to(tmp_path)
    (folder / "in.txt").symlink_to(folder / "b.txt")
    corpus = Folder(folder)
    items = list(corpus.items())
    assert names(folder, [item.source for item in items]) == ["a.html", "b.txt", "sub/a.md"]
    assert names(folder, corpus.skipped()) == ["README", "in.txt", "out.txt", "x.zip"]
    (folder / "b.txt").unlink()
    (folder / "b.txt").symlink_to(tmp_path / "secret.txt")
    with pytest.raises(DocumentError, match="Cannot open"):
        items[1].load()


def test_a_link_that_is_named_itself_is_what_it_leads_to(folder):
    (folder / "in.txt").symlink_to(folder / "b.txt")
    corpus = Folder(folder / "in.txt")
    assert [item.source for item in corpus.items()] == [corpus.name] == [f"{folder}/b.txt"]


def test_documents_have_one_name_through_whatever_links_their_folder_is_named(folder, tmp_path):
    (tmp_path / "link").symlink_to(folder)
    assert Folder(tmp_path / "link").name == Folder(folder).name
    for below in (".", "sub"):
        linked, real = (list(Folder(each / below).items()) for each in (tmp_path / "link", folder))
        assert [item.source for item in linked] == [item.source for item in real]


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_file_or_folder_without_permission_is_not_passed_over(folder):
    (folder / "b.txt").chmod(0)
    items = {item.source: item.fingerprint for item in Folder(folder).items()}
    assert items[(folder / "b.txt").as_posix()] == ""
    (folder / "sub").chmod(0)
    with pytest.raises(UsageError, match="Cannot list"):
        list(Folder(folder).items())


def test_a_pipe_is_passed_over(folder):
    os.mkfifo(folder / "pipe.txt")
    assert len(list(Folder(folder).items())) == 3


def test_a_path_that_does_not_exist_is_refused_with_the_nearest_name(folder):
    with pytest.raises(UsageError, match=r"No such file or folder: .*/dosc/sub\. Did you mean .*/docs\?"):
        Folder(folder.parent / "dosc" / "sub").items()


def test_a_folder_with_nothing_to_read_is_refused_with_what_is_there(tmp_path):
    for name in ["a.gif", "b.GIF", "c.zip", "d"]:
        (tmp_path / name).touch()
    with pytest.raises(
        UsageError, match=r"it holds 2 \.gif, 1 \.zip, 1 \(no suffix\)\.\nExpected some of: \.bmp, \.csv"
    ):
        Folder(tmp_path).items()


def test_an_empty_folder_is_refused(tmp_path):
    with pytest.raises(UsageError, match="it holds no files"):
        Folder(tmp_path).items()


def test_articles_are_titled_by_what_their_text_begins_with(database):
    assert [item.load().title for item in EuLaw(database).items()] == [
        "GDPR Article 1 — Subject matter",
        "GDPR Article 4 — Definitions",
        "GDPR Article 10 — Processing of data on offences",
        "GDPR Article 16 — Right to rectification",
        "GDPR Article 25d — Irregularities",
        "GDPR Article 33 — Notification of a personal data breach",
        "GDPR Article 36 — Penalties",
        "GDPR Article 61 — Amendments to Regulation (EU) No 909/2014",
        "GDPR Article 62 — Amendments to Regulation (EU) No 600/2014",
        "GDPR Article 99",
        "EU AI Act Article 1 — Scope",
        "CRA Article 2 — Scope",
    ]


def test_an_article_is_one_document_under_one_heading(database):
    item = next(item for item in EuLaw(database).items() if item.source.endswith("2016/679/oj#art_33"))
    document = item.load()
    assert item.source == document.source == "http://data.europa.eu/eli/reg/2016/679/oj#art_33"
    assert [(each.offset, each.level, each.title) for each in document.headings] == [(0, 1, document.title)]
    assert document.text == ARTICLES[0][1]
    assert document.metadata == {
        "regulation": "GDPR",
        "article": "33",
        "celex": "1",
        "eli": "http://data.europa.eu/eli/reg/2016/679/oj",
    }


def test_an_article_that_the_database_holds_in_part_says_so(database):
    assert (
        list(EuLaw(database).items())[-1].load().metadata["incomplete"] == "the first 10 of 73825 characters"
    )


def test_a_changed_article_has_another_fingerprint_and_the_others_not(database):
    before = {item.source: item.fingerprint for item in EuLaw(database).items()}
    with closing(sqlite3.connect(database)) as connection, connection:
        connection.execute("UPDATE articles SET content = content || ' More.' WHERE article_number = 33")
    after = {item.source: item.fingerprint for item in EuLaw(database).items()}
    assert [source for source in before if before[source] != after[source]] == [
        "http://data.europa.eu/eli/reg/2016/679/oj#art_33"
    ]
    assert EuLaw(database).name == "eu_law"


def test_refuses_what_is_no_database_of_european_law(tmp_path, database):
    with pytest.raises(
        UsageError, match=r"No such file: .*regulation\.db\. Did you mean .*/regulations\.db\?"
    ):
        EuLaw(tmp_path / "regulation.db").items()
    (tmp_path / "text.db").write_text("no database, but long enough to be looked at as one" * 20)
    with closing(sqlite3.connect(tmp_path / "bare.db")) as connection, connection:
        connection.execute("CREATE TABLE regulations (celex)")
    for name in ["text.db", "bare.db"]:
        with pytest.raises(DocumentError, match=r"Expected an SQLite file with the tables regulations"):
            EuLaw(tmp_path / name).items()
    with closing(sqlite3.connect(database)) as connection, connection:
        connection.execute("DELETE FROM articles")
    with pytest.raises(UsageError, match="holds no articles"):
        EuLaw(database).items()
