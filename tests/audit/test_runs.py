"""What graphs leave in the audit log, and that they do nothing that isn't in it."""

import asyncio
from pathlib import Path
from typing import Any

import pytest
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.types import Command

from markgraph.audit.configs import composed
from markgraph.audit.file import FileAudit
from markgraph.audit.verify import records, verify
from markgraph.build import compose, load_graph, make_service
from markgraph.errors import DeniedError, MarkError, StorageError
from markgraph.models.fake import FakeChatModel
from markgraph.retrieval.words import WordsIndex
from markgraph.security.caller import Caller
from markgraph.security.policy import Policy
from tests.audit.conftest import Build
from tests.graphs.conftest import LIABILITY, PAYMENT
from tests.graphs.ingesting import WRITER, ingest

PAY = "Within how many days must the customer pay an invoice?"
NOTE = {"tool": "save_note", "args": {"text": "hello"}}
CALCULATE = {"tool": "calculate", "args": {"expression": "72 / 24"}}
THREAD: Any = {"configurable": {"thread_id": "my own words"}}


def lines(log: FileAudit) -> list[tuple[str, str, str]]:
    """Return what was taken down, with the reasons left out."""
    return [(record["action"], record["resource"], record["outcome"]) for record in records(log.folder)]


def text_of(log: FileAudit) -> str:
    return "".join(file.read_text() for file in log.folder.rglob("*.json*"))


QA = [
    ("graph:run", "graph:qa", "allowed"),
    ("documents:read", "index:hybrid", "allowed"),
    ("documents:read", "documents:*", "done"),
    ("models:use", "model:fake", "allowed"),
    ("graph:run", "graph:qa", "done"),
]


def test_a_question_leaves_who_what_and_which_documents_and_no_words(
    build: Build, log: FileAudit, reader: Caller
) -> None:
    answer = build("qa").invoke({"question": PAY}, context=reader)
    assert lines(log) == QA
    *_, end = records(log.folder)
    assert (end["actor"], end["tenant"], end["model"]) == ("rita", "default", "fake")
    assert end["question"] == log.sealed(PAY)
    assert end["answer"] == log.sealed(answer["answer"])
    assert list(end["documents"]) == ["terms.md"]
    assert end["cited"] == ["terms.md"]
    assert len({record["run"] for record in records(log.folder)}) == 1
    for words in (PAY, PAYMENT, LIABILITY, answer["answer"]):
        assert words not in text_of(log)
    log.close()
    assert verify(log.folder, log.keys).problems == []


def test_an_async_run_leaves_the_same(build: Build, log: FileAudit, reader: Caller) -> None:
    asyncio.run(build("qa").ainvoke({"question": PAY}, context=reader))
    assert lines(log) == QA


@pytest.mark.parametrize("caller", [Caller("mallory"), Caller("m", ["reader"], scopes=["keys:manage"]), None])
def test_a_denied_run_leaves_who_was_denied_and_by_which_rule(
    build: Build, log: FileAudit, caller: Caller | None
) -> None:
    with pytest.raises(DeniedError):
        build("qa").invoke({"question": PAY}, context=caller)
    decision, end = records(log.folder)
    assert (decision["outcome"], end["outcome"]) == ("denied", "denied")
    assert decision["actor"] == (caller.subject if caller else "")
    assert decision["rule"] in ("default: deny", "scopes", "default: deny nobody")


class Failing(FakeChatModel):
    """Can't answer."""

    def _next(self, messages: Any) -> Any:
        raise RuntimeError("the words of a prompt")


def test_a_failed_run_leaves_that_it_failed(build: Build, log: FileAudit, reader: Caller) -> None:
    graph = build("qa", model=Failing())
    for run in (graph.invoke, lambda *given, **kw: asyncio.run(graph.ainvoke(*given, **kw))):
        with pytest.raises(RuntimeError):
            run({"question": PAY}, context=reader)
        *_, end = records(log.folder)
        assert (end["outcome"], end["error"]) == ("failed", "RuntimeError")
    assert "words of a prompt" not in text_of(log)


def test_a_run_that_waits_for_a_word_has_not_failed_and_goes_on_under_its_name(
    build: Build, log: FileAudit, reader: Caller
) -> None:
    graph = build("agent", NOTE, "Done.", checkpoint=InMemorySaver())
    graph.invoke({"question": "Save a note."}, THREAD, context=reader)
    assert {outcome for *_, outcome in lines(log)} == {"allowed"}
    graph.invoke(Command(resume=True), THREAD, context=reader)
    assert ("tools:call", "tool:save_note", "allowed") in lines(log)
    assert len({record["run"] for record in records(log.folder)}) == 1
    assert "my own words" not in text_of(log)


@pytest.mark.parametrize("word", [True, False, "yes"])
@pytest.mark.parametrize("waits", [False, True])
def test_what_a_person_says_of_a_tool_call_is_taken_down_before_it_runs(
    build: Build, log: FileAudit, reader: Caller, word: object, waits: bool
) -> None:
    graph = build("agent", CALCULATE, NOTE, "Done.", checkpoint=InMemorySaver())
    graph.invoke({"question": "Save a note."}, THREAD, context=reader)
    resumed = graph.ainvoke if waits else graph.invoke
    done: Any = resumed(Command(resume=word), THREAD, context=reader)
    if waits:
        asyncio.run(done)
    said = [outcome for action, resource, outcome in lines(log) if resource == "tool:save_note"]
    assert said == (["approved", "allowed"] if word is True else ["declined"])
    (record,) = [each for each in records(log.folder) if each["outcome"] == said[0]]
    assert (record["actor"], record["action"]) == ("rita", "tools:call")
    assert "hello" not in text_of(log)


@pytest.mark.parametrize("word", [True, False])
def test_what_a_person_says_has_no_effect_without_its_record(
    build: Build, log: FileAudit, reader: Caller, home: Path, word: bool
) -> None:
    saver = InMemorySaver()
    build("agent", NOTE, "Done.", checkpoint=saver).invoke({"question": "?"}, THREAD, context=reader)
    log.close()
    (log.keys.folder / "chain.key").unlink()
    lax = FileAudit(str(log.folder), str(log.keys.folder), reads="best_effort")
    with pytest.raises(StorageError, match="key"):
        build("agent", "Done.", checkpoint=saver, audit=lax).invoke(
            Command(resume=word), THREAD, context=reader
        )
    assert not list(home.rglob("*.txt"))


def test_the_model_is_shown_the_tools_that_the_caller_may_call_and_a_call_of_another_is_denied(
    build: Build, log: FileAudit, reader: Caller
) -> None:
    clerk = Policy("p", {"reader": ["graph:run", "models:use", "documents:read", "tools:call:calculate"]})
    build("agent", CALCULATE, "The value of 72 / 24 is 3.", policy=clerk).invoke(
        {"question": "How many days are 72 hours?"}, context=reader
    )
    assert ("tools:call", "tool:calculate", "allowed") in lines(log)
    search = {"tool": "search_documents", "args": {"query": "invoice"}}
    with pytest.raises(DeniedError, match="'tools:call' for tool:search_documents"):
        build("agent", search, "?", policy=clerk).invoke({"question": PAY}, context=reader)


class Showing(FakeChatModel):
    """Remembers which tools it was shown."""

    shown: list[str] = []  # noqa: RUF012 -- a field of pydantic's

    def bind_tools(self, tools: Any, **kwargs: Any) -> Any:
        self.shown += [tool.name for tool in tools]
        return super().bind_tools(tools, **kwargs)


def test_a_tool_that_the_caller_may_not_call_is_not_shown_to_the_model(build: Build, reader: Caller) -> None:
    clerk = Policy("p", {"reader": ["graph:run", "models:use", "tools:call:calculate"]})
    model = Showing(responses=["I don't know."])
    build("agent", model=model, policy=clerk).invoke({"question": PAY}, context=reader)
    assert set(model.shown) == {"calculate"}


@pytest.mark.parametrize("missing", ["graph:run", "documents:read", "models:use"])
def test_each_permission_is_needed(build: Build, reader: Caller, missing: str) -> None:
    needed = {"graph:run", "documents:read", "models:use"}
    build("qa", policy=Policy("p", {"reader": sorted(needed)})).invoke({"question": PAY}, context=reader)
    with pytest.raises(DeniedError, match=missing):
        build("qa", policy=Policy("p", {"reader": sorted(needed - {missing})})).invoke(
            {"question": PAY}, context=reader
        )


def test_a_resumed_run_is_held_to_what_its_caller_may_still_do(
    build: Build, log: FileAudit, reader: Caller
) -> None:
    graph = build("agent", NOTE, "Done.", checkpoint=InMemorySaver())
    graph.invoke({"question": "Save a note."}, THREAD, context=reader)
    narrowed = Caller(reader.subject, reader.roles, groups=reader.groups, scopes=["graph:run", "models:use"])
    with pytest.raises(DeniedError, match=r"no longer has: .*may:tools:call"):
        graph.invoke(Command(resume=True), THREAD, context=narrowed)
    assert list(records(log.folder))[-1]["outcome"] == "denied"


def unwritable(log: FileAudit) -> None:
    """Put a file where the log's folder would be: nobody, root neither, can write there then."""
    log.folder.write_text("no folder")


def test_what_is_not_in_the_log_is_not_answered(build: Build, log: FileAudit, reader: Caller) -> None:
    unwritable(log)
    with pytest.raises(StorageError, match="audit log"):
        build("qa").invoke({"question": PAY}, context=reader)


def test_with_best_effort_it_is(build: Build, log: FileAudit, reader: Caller) -> None:
    unwritable(log)
    lax = FileAudit(str(log.folder), str(log.keys.folder), reads="best_effort")
    assert "30 days" in build("qa", audit=lax).invoke({"question": PAY}, context=reader)["answer"]


def test_an_ingestion_leaves_which_documents_before_they_are_changed(
    folder: Path, tmp_path: Path, log: FileAudit
) -> None:
    ingest(folder, WordsIndex(tmp_path / "new.sqlite"), audit=log)
    (folder / "a.md").unlink()
    ingest(folder, WordsIndex(tmp_path / "new.sqlite"), audit=log)
    changes = {
        (record["what"], source) for record in records(log.folder) for source in record.get("documents", {})
    }
    names = {Path(source).name for what, source in changes if what == "write"}
    assert names == {"a.md", "b.md", "c.md"}
    assert {Path(source).name for what, source in changes if what == "remove"} == {"a.md"}
    assert [record["counts"]["added"] for record in records(log.folder) if "counts" in record] == [3, 0]
    assert {record["actor"] for record in records(log.folder)} == {WRITER.subject}


@pytest.mark.parametrize("reads", ["required", "best_effort"])
def test_no_document_is_changed_when_the_log_cant_be_written(
    folder: Path, tmp_path: Path, log: FileAudit, reads: str
) -> None:
    unwritable(log)
    index = WordsIndex(tmp_path / "new.sqlite")
    with pytest.raises(StorageError, match="audit log"):
        ingest(folder, index, audit=FileAudit(str(log.folder), str(log.keys.folder), reads=reads))
    assert len(index) == 0


def test_the_record_names_the_config_which_is_kept_without_secrets_and_without_the_question(
    build: Build, log: FileAudit, reader: Caller
) -> None:
    build("qa", overrides=("graph.retrieve.k=3",)).invoke({"question": PAY}, context=reader)
    *_, end = records(log.folder)
    kept = (log.folder / "configs" / f"{end['config']}.json").read_text()
    assert '"k": 3' in kept
    assert end["given"] == ["embedder", "index", "model"]
    assert PAY not in composed(compose("ask", [f"question='{PAY}'"])).text


def test_the_same_config_has_the_same_hash_whichever_verb_composed_it() -> None:
    hashes = {composed(compose(job, ["model=fake"])).hash for job in ("ask", "serve", "embed")}
    assert len(hashes) == 1
    assert composed(compose("ask", ["model=fake", "graph.retrieve.k=3"])).hash not in hashes


def test_building_makes_no_log(home: Path) -> None:
    assert load_graph("qa", ["model=fake", "embedder=hash", "audit=file"]).get_name() == "qa"
    assert isinstance(make_service(compose("serve"), "audit"), FileAudit)
    assert not home.exists()


def test_errors_of_the_log_are_errors_that_say_what_to_do(log: FileAudit) -> None:
    unwritable(log)
    with pytest.raises(MarkError, match="Make room, or give access"):
        log.write({"action": "graph:run"})
