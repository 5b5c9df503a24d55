"""A record is enough to run a question again; what would change something is not run again."""

from pathlib import Path
from typing import Any

import pytest
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.types import Command
from omegaconf import OmegaConf

from markgraph.audit.file import FileAudit
from markgraph.audit.replay import caller_of_record, config_of, find, replay
from markgraph.audit.verify import records
from markgraph.build import load_graph
from markgraph.errors import ApprovalNeededError, StorageError, UsageError
from markgraph.retrieval.types import Index
from markgraph.security.caller import Caller, grants_of

CONFIG = ["embedder=hash", "model=fake", "index=words", "domain=none", "citations=none"]
ADA = Caller("ada", ["reader"], groups=["legal"], clearance=1)
ASKED = "How many days are 72 hours?"
CALCULATE = "model.responses=[{tool:calculate,args:{expression:'72 / 24'}},'The value of 72 / 24 is 3.']"
NOTE = "model.responses=[{tool:save_note,args:{text:hello}},Done.]"


@pytest.fixture
def log(tmp_path: Path) -> FileAudit:
    return FileAudit(str(tmp_path / "audit"), str(tmp_path / "keys"))


def test_an_agents_calculation_is_run_again_as_whoever_asked_then(log: FileAudit) -> None:
    graph = load_graph("agent", [*CONFIG, CALCULATE], audit=log)
    answer = graph.invoke({"question": ASKED}, context=ADA)
    assert "is 3" in answer["answer"]
    record = the_run(log)
    assert replay(log, record, ASKED) == []
    caller, policy = caller_of_record(record)
    assert (caller.subject, caller.groups, caller.clearance) == ("ada", ("legal",), 1)
    assert grants_of(caller, policy.held_by(caller)) == record["grants"]


def test_a_tool_with_side_effects_is_not_called_again(log: FileAudit, home: Path) -> None:
    thread = {"configurable": {"thread_id": "t"}}
    graph = load_graph("agent", [*CONFIG, NOTE], audit=log, checkpoint=InMemorySaver())
    graph.invoke({"question": "Save a note."}, thread, context=ADA)  # type: ignore[arg-type]
    graph.invoke(Command(resume=True), thread, context=ADA)  # type: ignore[arg-type]
    (note,) = (home / "notes").rglob("*.txt")
    note.unlink()
    with pytest.raises(ApprovalNeededError, match="side effects"):
        replay(log, the_run(log), "Save a note.")
    assert not note.exists()


def the_run(log: FileAudit) -> dict[str, Any]:
    """Return the one question that was answered, found by the id of its run."""
    (end,) = (record for record in records(log.folder) if "question" in record)
    return find(log, str(end["run"])[:8])


def test_what_an_app_passed_in_cant_be_replayed(log: FileAudit, index: Index) -> None:
    load_graph("qa", CONFIG, audit=log, index=index).invoke({"question": ASKED}, context=ADA)
    with pytest.raises(UsageError, match=r"passed in its own index, which"):
        the_run(log)


def test_a_record_that_is_not_there_is_named(log: FileAudit) -> None:
    load_graph("agent", [*CONFIG, CALCULATE], audit=log).invoke({"question": ASKED}, context=ADA)
    with pytest.raises(UsageError, match=r"^No finished question has the number or id '1600'\. Allowed"):
        find(log, "1600")


def test_a_config_that_was_changed_since_is_not_used(log: FileAudit) -> None:
    load_graph("agent", [*CONFIG, CALCULATE], audit=log).invoke({"question": ASKED}, context=ADA)
    record = the_run(log)
    assert config_of(log, record).graph.generate.max_steps == 6
    (kept,) = (log.folder / "configs").iterdir()
    changed = OmegaConf.create(kept.read_text())
    changed.graph.generate.max_steps = 7
    kept.write_text(str(OmegaConf.to_container(changed)))
    with pytest.raises(StorageError, match="is not the config"):
        config_of(log, record)
