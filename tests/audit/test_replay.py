"""A record is enough to run a question again; what would change something is not run again."""

import json
from collections.abc import Callable
from hashlib import sha256
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
    return find(log, str(end["run"])[:8], ADA.tenant)


def test_what_an_app_passed_in_cant_be_replayed(log: FileAudit, index: Index) -> None:
    load_graph("qa", CONFIG, audit=log, index=index).invoke({"question": ASKED}, context=ADA)
    with pytest.raises(UsageError, match=r"passed in its own index, which"):
        the_run(log)


def test_a_record_that_is_not_there_is_named(log: FileAudit) -> None:
    load_graph("agent", [*CONFIG, CALCULATE], audit=log).invoke({"question": ASKED}, context=ADA)
    with pytest.raises(UsageError, match=r"^No finished question has the number or id '1600'\. Allowed"):
        find(log, "1600", ADA.tenant)


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


def other_config(log: FileAudit) -> None:
    """Make the record name a config that calls something else, which is kept under its own hash."""
    (kept,) = (log.folder / "configs").iterdir()
    config = json.loads(kept.read_text())
    config["index"] = {"_target_": "pathlib.Path.touch", "self": str(log.folder / "called")}
    text = json.dumps(config)
    digest = sha256(text.encode()).hexdigest()
    kept.with_stem(digest).write_text(text)
    rewrite(log, lambda lines: [line.replace(kept.stem, digest) for line in lines])


def other_grants(log: FileAudit) -> None:
    """Make the record say that its caller might read more."""
    rewrite(log, lambda lines: [line.replace("g:legal", "g:board") for line in lines])


def without_what_was_before(log: FileAudit) -> None:
    """Take the record out that stands before the run's end."""
    rewrite(log, lambda lines: [*lines[:-2], lines[-1]])


def twice(log: FileAudit) -> None:
    """Put the run's end into the log once more."""
    rewrite(log, lambda lines: [*lines, lines[-1]])


def without_keys(log: FileAudit) -> None:
    """Lose the key that records are chained with."""
    (log.keys.folder / "chain.key").unlink()


def rewrite(log: FileAudit, change: Callable[[list[str]], list[str]]) -> None:
    file = log.folder / "log.jsonl"
    file.write_text("".join(change(file.read_text().splitlines(keepends=True))))


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        (other_config, r"was edited.*audit verify"),
        (other_grants, r"was edited.*audit verify"),
        (without_what_was_before, r"does not follow.*audit verify"),
        (twice, r"does not follow.*audit verify"),
        (without_keys, r"key .* can't be read"),
    ],
)
def test_a_record_that_was_changed_since_is_not_replayed(
    log: FileAudit, changed: Callable[[FileAudit], None], message: str
) -> None:
    load_graph("agent", [*CONFIG, CALCULATE], audit=log).invoke({"question": ASKED}, context=ADA)
    assert the_run(log)["actor"] == "ada"
    run, *_ = {str(record["run"]) for record in records(log.folder)}
    changed(log)
    with pytest.raises(StorageError, match=message):
        find(log, run, ADA.tenant)


def test_what_a_changed_record_names_is_not_called(log: FileAudit) -> None:
    load_graph("agent", [*CONFIG, CALCULATE], audit=log).invoke({"question": ASKED}, context=ADA)
    before = the_run(log)
    other_config(log)
    *_, record = records(log.folder)
    assert record["config"] != before["config"]
    assert config_of(log, record).index.self == str(log.folder / "called"), "nothing else is in its way"
    with pytest.raises(StorageError):
        replay(log, the_run(log), ASKED)
    assert not (log.folder / "called").exists()


def test_a_run_of_another_tenant_is_as_if_there_were_none(log: FileAudit) -> None:
    load_graph("agent", [*CONFIG, CALCULATE], audit=log).invoke({"question": ASKED}, context=ADA)
    number = str(the_run(log)["seq"])
    for tenant, name in (("other", number), (ADA.tenant, "1"), ("other", "999")):
        with pytest.raises(UsageError, match=f"No finished question has the number or id '{name}'"):
            find(log, name, tenant)


def test_a_run_that_was_limited_is_replayed_without_its_limits(log: FileAudit) -> None:
    words = [*CONFIG, CALCULATE, "limits=memory"]
    load_graph("agent", words, audit=log).invoke({"question": ASKED}, context=ADA)
    record = the_run(log)
    assert "limits" not in config_of(log, record)
    assert replay(log, record, ASKED) == []
