"""Reads documents in child processes with limits: what a file does to its reader, it does to nothing else."""

import json
import threading
import weakref
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from functools import cache
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter

from markgraph.documents.child import Child, Limits, LostError
from markgraph.documents.load import read_bytes, takes_options
from markgraph.documents.ocr import engine_name
from markgraph.documents.options import EngineName, ReadOptions
from markgraph.documents.types import Document
from markgraph.errors import ConfigError, DocumentError, MarkError
from markgraph.models.machine import memory, processor

_MIB = 2**20
_DOCUMENT = TypeAdapter(Document)
_SANDBOXES: "weakref.WeakSet[Sandbox]" = weakref.WeakSet()


@dataclass(eq=False)
class Sandbox:
    """Reads documents in child processes, which several threads may ask at once.

    A child that a document ends, or that does not end in time, is replaced, and the document has failed. So
    has one that needs too much memory. The others know nothing of it.

    Raises:
        ConfigError: when a limit is not above zero.
    """

    seconds: float = 120
    """How long a document may take, on the clock and of processor time; ..."""
    page_seconds: float = 60
    """... so much longer for each page that was read by OCR."""
    memory: int = 2048
    """MiB of address space that a child may have."""
    file_size: int = 512
    """MiB that a document may have, ..."""
    text_size: int = 64
    """... and MiB of what is read from it."""
    pages: int = 5000
    """Pages a document may have, ..."""
    ocr_pages: int = 1000
    """... of which so many may need OCR."""
    workers: int | None = None
    """How many children read at once; None for one a core, as far as memory reaches."""
    documents: int = 500
    """A child is replaced after so many."""
    ocr: EngineName = "auto"
    """What reads pictures: auto, tesseract, rapidocr, none."""
    languages: Sequence[str] = ("eng",)
    """What tesseract expects, by its own codes."""
    xml: Mapping[str, Any] | None = None
    """How the XML of this corpus is laid out."""

    _idle: list[Child] = field(default_factory=list, init=False, repr=False)
    _all: set[Child] = field(default_factory=set, init=False, repr=False)
    _is_closed: bool = field(default=False, init=False, repr=False)
    _lock: threading.Lock = field(default_factory=threading.Lock, init=False, repr=False)
    _turns: threading.Semaphore = field(init=False, repr=False)

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            if isinstance(value, (int, float)) and not name.startswith("_") and value <= 0:
                raise ConfigError(f"Sandbox has {name} {value}. Expected a number above 0.")
        self._turns = threading.Semaphore(self.workers or _room(self.memory * _MIB))
        weakref.finalize(self, _end, self._all)
        _SANDBOXES.add(self)

    @property
    def options(self) -> ReadOptions:
        """Return what the readers are told: whatever of the settings decides what is read."""
        return ReadOptions(self.ocr, tuple(self.languages), self.pages, self.ocr_pages, self.xml)

    def read(self, path: Path, source: str) -> Document:
        """Read the file at `path` as `load` does.

        Raises:
            DocumentError: whatever goes wrong with the file.
            MarkError: when no child can be started.
        """
        with self._turns:
            data = read_bytes(path, source, self.file_size * _MIB)
            try:
                reply = self._ask(path.suffix, source, data)
            except LostError as loss:
                raise DocumentError(f"{source} {loss}") from loss
        return _document(reply, source)

    def settings(self, suffix: str) -> str:
        """Return what, besides its bytes, decides what is read from a file with this suffix.

        Scans are read again when an OCR engine has come or gone, Markdown is not.
        """
        return f"{self.options} {engine_name(self.options)}" if takes_options(suffix) else ""

    def close(self) -> None:
        """End the children; what is being read fails, and so does what is read later."""
        with self._lock:
            self._is_closed = True
            self._idle.clear()
            _end(self._all)

    def __reduce__(self) -> tuple[Any, ...]:
        """Return how another process makes one: of the settings. Children are started where they are used."""
        settings = {each.name: getattr(self, each.name) for each in fields(self) if each.init}
        return _sandbox, (json.dumps(settings),)

    def __enter__(self) -> "Sandbox":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _ask(self, suffix: str, source: str, data: bytes) -> dict[str, Any]:
        child = self._take()
        try:
            reply = child.ask(suffix, source, data, self.options)
        except LostError as loss:
            self._drop(child)
            if loss.is_final or self._is_closed:
                raise
        except BaseException:  # Ctrl-C: what this child says next is no answer to the next question
            self._drop(child)
            raise
        else:
            self._give_back(child)
            return reply
        # What earlier documents left behind may have been too much for this one: once more in a new child.
        child = self._start()
        try:
            return child.ask(suffix, source, data, self.options)
        finally:
            self._drop(child)

    def _take(self) -> Child:
        with self._lock:
            if self._idle:
                return self._idle.pop()
        return self._start()

    def _start(self) -> Child:
        child = Child(Limits(self.memory, self.seconds, self.page_seconds, self.text_size))
        with self._lock:
            self._all.add(child)
            is_late = self._is_closed
        if is_late:
            self._drop(child)
            raise MarkError("This sandbox is closed. Make another to read more.")
        return child

    def _give_back(self, child: Child) -> None:
        if child.served >= self.documents:
            self._drop(child)
            return
        with self._lock:
            self._idle.append(child)

    def _drop(self, child: Child) -> None:
        child.end()
        with self._lock:
            self._all.discard(child)


def close_sandboxes() -> None:
    """Close every sandbox of this process, which is about to end: Python waits for threads that read."""
    for sandbox in list(_SANDBOXES):
        sandbox.close()


@cache
def _sandbox(settings: str) -> Sandbox:
    """Return the sandbox for all that has come into this process with the same settings."""
    return Sandbox(**json.loads(settings))


def _end(children: set[Child]) -> None:
    while children:
        children.pop().end()


def _room(memory_each: int) -> int:
    """Return how many children this machine has cores and memory for, at least one."""
    return max(1, min(processor().threads, memory().room // memory_each))


def _document(reply: dict[str, Any], source: str) -> Document:
    """Return the document in a reply, of which only the form is believed."""
    if "error" in reply:
        raise DocumentError(str(reply["error"]))
    try:
        document = replace(_DOCUMENT.validate_python(reply.get("document")), source=source)
        offsets = [*document.pages, *(heading.offset for heading in document.headings)]
        if not all(0 <= offset <= len(document.text) for offset in offsets):
            raise ValueError("an offset lies outside the text")
    except ValueError as error:  # ValidationError is one
        raise DocumentError(
            f"Cannot read {source}: its reader gave no sensible document. Leave it out."
        ) from error
    return document
