"""What a run leaves in the audit log: decisions, the documents that were read, and how it ended."""

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from dataclasses import dataclass
from functools import cache, cached_property
from importlib.metadata import version
from typing import Any

from markgraph.errors import DeniedError, StorageError
from markgraph.security.caller import Caller
from markgraph.security.guard import Guard
from markgraph.security.policy import Need, Resource, calling, writing

COUNTS = ("added", "changed", "removed", "permitted", "failed", "unchanged")
_ACTING: ContextVar["Journal | None"] = ContextVar("whose node is running", default=None)


@dataclass(frozen=True)
class Journal:
    """Takes down what one run does, for one caller."""

    guard: Guard
    graph: str
    """What the log calls the graph, or the command."""
    caller: Caller
    run_id: str

    def require(self, need: Need) -> None:
        """Go on only where the policy allows it; see `Guard.require`."""
        self.guard.require(self.caller, need, **self._about)

    def read(self, passages: Iterable[Mapping[str, Any]]) -> None:
        """Take down which documents the caller was shown parts of."""
        if documents := documents_of(passages):
            need = Need("documents:read", Resource("documents"))
            self.guard.note(self.caller, need, "done", self._about | {"documents": documents})

    def wrote(self, corpus: str, what: str, documents: Mapping[str, str]) -> None:
        """Take down which documents are about to be changed, and come back when that is safe.

        Args:
            corpus: whose documents they are.
            what: `write`, `permit` or `remove`.
            documents: by name, a fingerprint of what each holds then, or who may read it; empty for one that
                goes.
        """
        about = self._about | {"what": what, "documents": documents}
        self.guard.note(self.caller, writing(corpus), "done", about, "safe")

    def decided(self, tools: Iterable[str], outcome: str) -> None:
        """Take down what a person said of calls of these tools, before anything follows from it.

        Args:
            tools: the tool of each call.
            outcome: `approved` or `declined`.

        Raises:
            StorageError: it can't be taken down, so no tool may run.
        """
        for tool in tools:
            self.guard.note(self.caller, calling(tool), outcome, self._about, "written")

    def ended(self, state: Mapping[str, Any], update: Mapping[str, Any]) -> None:
        """Take down how the run ended.

        Args:
            state: what its last node was given.
            update: what that returned.

        Raises:
            StorageError: it can't be taken down, so the answer must not be given.
        """
        if self.guard.audit is None:
            return
        about = self._about | self._outcome({**state, **update}) | {"versions": _versions()}
        if self.guard.audit.config:
            about |= self.guard.audit.config.facts
        if "question" in state:
            about |= {"turns": len(state.get("history") or [])}
        outcome = "refused" if update.get("refused") else "done"
        self.guard.note(self.caller, self._whole, outcome, about, "written")

    def failed(self, error: BaseException) -> None:
        """Take down that the run failed, or was refused to go on."""
        outcome = "denied" if isinstance(error, DeniedError) else "failed"
        about = self._about | {"error": type(error).__name__}
        with suppress(StorageError):  # nothing is given out, and the run's own error says more
            self.guard.note(self.caller, self._whole, outcome, about, "written")

    @contextmanager
    def acting(self) -> Iterator[None]:
        """Let what runs within ask `acting` whose run it is."""
        token = _ACTING.set(self)
        try:
            yield
        finally:
            _ACTING.reset(token)

    @cached_property
    def _about(self) -> dict[str, Any]:
        return {"graph": self.graph, "run": self.run_id}

    @property
    def _whole(self) -> Need:
        return Need("graph:run", Resource("graph", self.graph))

    def _outcome(self, state: Mapping[str, Any]) -> dict[str, Any]:
        """Return what a run came to: an answer, or counts of documents."""
        audit = self.guard.audit
        if audit is None or "question" not in state:
            return {"counts": {name: state[name] for name in COUNTS if name in state}}
        return {
            "question": audit.sealed(state["question"]),
            "answer": audit.sealed(state["answer"]),
            "documents": documents_of(state["passages"]),
            "cited": cited_in(state["citations"]),
            "grants": state["grants"],
            "model": state["model"],
            "usage": state["usage"],
        }


@cache
def _versions() -> dict[str, str]:
    """Return the versions that an answer may depend on."""
    return {name: version(name) for name in ("markgraph", "langgraph")}


def acting() -> Journal | None:
    """Return the journal of the run whose node is running, if one is."""
    return _ACTING.get()


def documents_of(passages: Iterable[Mapping[str, Any]]) -> dict[str, list[str]]:
    """Return the chunks that passages were made of, by document; the id of a chunk is a hash of its text."""
    documents: dict[str, list[str]] = {}
    for passage in passages:
        if passage["ids"]:
            known = documents.setdefault(passage["source"], [])
            known += [id_ for id_ in passage["ids"] if id_ not in known]
    return documents


def cited_in(citations: Iterable[Mapping[str, Any]]) -> list[str]:
    """Return the sources that an answer cites; of a tool its name, for each call has an id of its own."""
    sources = {citation["source"] for citation in citations}
    return sorted({each.rpartition(":")[0] if each.startswith("tool:") else each for each in sources})
