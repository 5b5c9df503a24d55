"""`markgraph audit`, `policy explain` and `replay`, from the shell."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.commands.conftest import STAND_INS, Ran

Command = Callable[..., Ran]

PAY = "Within how many days must the customer pay an invoice?"
TERMS = "# Terms\n\nThe customer must pay an invoice within 30 days of its receipt.\n"


@pytest.fixture
def terms(tmp_path: Path, markgraph: Command) -> Path:
    """Ingest a document for one group, and ask about it; both are in the log."""
    file = tmp_path / "terms.md"
    file.write_text(TERMS)
    assert markgraph("ingest", str(file), "experiment=no_weights", "readers=[g:legal]").code == 0
    asked = markgraph("ask", PAY, *STAND_INS, "audit=file", "auth.caller.groups=[legal]", "thread=t")
    assert (asked.code, "30 days" in asked.out) == (0, True)
    return file


def last_run(markgraph: Command) -> str:
    """Return the number of the record in which a question was answered."""
    listed = [json.loads(line) for line in markgraph("audit", "list", "output=json").out.splitlines()]
    return str(next(record["seq"] for record in listed if "question" in record))


def test_list_says_who_saw_a_document(terms: Path, markgraph: Command) -> None:
    listed = markgraph("audit", "list", f"document={terms}")
    assert listed.code == 0
    assert "documents:write" in listed.out
    assert "documents:read" in listed.out
    assert "audit:read" not in listed.out
    assert markgraph("audit", "list", "document=other.md").out == ""
    assert markgraph("audit", "list", "actor=local", "until=2001-01-01").out == ""


def test_verify_finds_an_edit_and_exits_with_1(terms: Path, markgraph: Command, home: Path) -> None:
    good = markgraph("audit", "verify", "output=json")
    assert (good.code, good.json["problems"]) == (0, [])
    assert markgraph("audit", "verify", f"head='{good.json['head']}'").code == 0
    file = home / "audit" / "log.jsonl"
    file.write_text(file.read_text().replace('"actor":"local"', '"actor":"bob"', 1))
    bad = markgraph("audit", "verify")
    assert bad.code == 1
    assert "record 1: the record was edited" in bad.out


def test_export_writes_one_event_a_line(terms: Path, markgraph: Command) -> None:
    events = [json.loads(line) for line in markgraph("audit", "export").out.splitlines()]
    assert {event["class_uid"] for event in events} == {6003}
    assert any({"type": "document", "name": str(terms)} in event["resources"] for event in events)


def test_only_auditors_look_into_the_log_and_they_see_their_own_tenant(
    terms: Path, markgraph: Command
) -> None:
    for verb in (["audit", "list"], ["audit", "verify"], ["replay", "1", f"question='{PAY}'"]):
        assert markgraph(*verb, "auth.caller.roles=[reader,writer,admin]").code == 4
    assert markgraph("audit", "list", "auth.caller.roles=[reader]").code == 4
    others = markgraph("audit", "list", "auth.caller.tenant=other", "output=json").out.splitlines()
    assert {json.loads(line)["tenant"] for line in others} == {"other"}


def test_a_replay_asks_before_it_looks(terms: Path, markgraph: Command) -> None:
    for record in (last_run(markgraph), "1", "999"):
        denied = markgraph("replay", record, f"question='{PAY}'", "auth.caller.roles=[reader]")
        assert (denied.code, "'audit:read' for audit:replay" in denied.err) == (4, True)
        others = markgraph("replay", record, f"question='{PAY}'", "auth.caller.tenant=other")
        assert (others.code, f"number or id '{record}'" in others.err) == (2, True)


def test_to_replay_makes_no_log(markgraph: Command, home: Path) -> None:
    ran = markgraph("replay", "1", "question=x")
    assert (ran.code, "There is no audit log" in ran.err) == (1, True)
    assert not home.exists()


@pytest.mark.parametrize("action", ["list", "export", "verify"])
def test_to_look_for_a_log_makes_none(action: str, markgraph: Command, home: Path) -> None:
    ran = markgraph("audit", action)
    assert (ran.code, "There is no audit log" in ran.err) == (1, True)
    assert not home.exists()


@pytest.mark.parametrize("setting", ["head=1", "since=yesterday", "action=delete", "audit=none"])
def test_a_setting_that_means_nothing_is_wrong_use(setting: str, terms: Path, markgraph: Command) -> None:
    verb = "verify" if setting.startswith("head") else "list"
    assert markgraph("audit", *([] if setting.startswith("action") else [verb]), setting).code == 2


def test_ask_leaves_nothing_unless_it_is_told_to(terms: Path, markgraph: Command) -> None:
    before = markgraph("audit", "list", "actor=local").out.count("graph:qa")
    markgraph("ask", PAY, *STAND_INS)
    assert markgraph("audit", "list", "actor=local").out.count("graph:qa") == before


def test_a_replay_of_what_has_not_changed_is_the_same(terms: Path, markgraph: Command) -> None:
    record = last_run(markgraph)
    replayed = markgraph("replay", record, f"question='{PAY}'", "output=json")
    assert (replayed.code, replayed.json["same"], replayed.json["differences"]) == (0, True, [])
    assert markgraph("replay", record, "thread=t").code == 0
    assert "30 days" not in replayed.out


def test_a_replay_says_which_document_has_changed(terms: Path, markgraph: Command) -> None:
    record = last_run(markgraph)
    terms.write_text(TERMS.replace("30", "60"))
    keep = ["readers=[g:legal]", "classification=public"]
    assert markgraph("ingest", str(terms), "experiment=no_weights", *keep).code == 0
    replayed = markgraph("replay", record, f"question='{PAY}'", "output=json")
    assert replayed.code == 1
    changed = {each["what"] for each in replayed.json["differences"]}
    assert changed == {f"document {terms}", "documents", "answer"}


def test_a_replay_wants_the_question_to_the_letter(terms: Path, markgraph: Command) -> None:
    record = last_run(markgraph)
    for wrong in ("question='When?'", "thread=other"):
        assert markgraph("replay", record, wrong).code == 2
    assert "Say what was asked" in markgraph("replay", record).err
    assert (
        "No finished question has the number or id '1'." in markgraph("replay", "1", f"question='{PAY}'").err
    )


@pytest.mark.parametrize(
    ("caller", "resource", "code", "rule"),
    [
        ("ada,roles=reader", "document:{terms}", 4, "documents.readers"),
        ("ada,roles=reader,groups=hr+legal", "document:{terms}", 0, "documents.readers: g:legal"),
        ("ada,roles=reader,groups=legal,tenant=other", "document:{terms}", 4, "documents.tenant"),
        ("ada,groups=legal", "document:{terms}", 4, "default: deny"),
        ("ada,roles=reader+writer", "graph:ingest", 0, "roles.writer: graph:run:ingest"),
        ("ada,roles=reader", "graph:ingest", 4, "default: deny"),
        ("ada,roles=reader,scopes=documents:read", "model:fake", 4, "scopes"),
        ("ada,roles=reader", "tool:calculate", 0, "roles.reader: tools:call"),
    ],
)
def test_explain_says_what_somebody_may_do_and_which_rule_decides(
    terms: Path, markgraph: Command, caller: str, resource: str, code: int, rule: str
) -> None:
    asked = ["--caller", caller, "--resource", resource.format(terms=terms), "output=json"]
    asked.append("collection=no_weights")
    explained = markgraph("policy", "explain", *asked)
    assert (explained.code, explained.json["rule"]) == (code, rule)


def test_explain_takes_an_action_and_is_about_the_person_here_unless_told(markgraph: Command) -> None:
    told = markgraph("policy", "explain", "--resource", "keys:all", "--action", "keys:manage")
    assert (told.code, "allowed: local keys:manage keys:all" in told.out) == (0, True)
    assert markgraph("policy", "explain", "--resource", "keys:all").code == 2
    assert markgraph("policy", "explain", "--resource", "graph:qa", "--caller", "ada,role=reader").code == 2
    assert markgraph("policy", "explain", "--resource", "graph:qa", "--action", "graph:draw").code == 2


def test_to_ask_about_a_document_makes_no_collection(markgraph: Command, home: Path) -> None:
    done = markgraph("policy", "explain", "--resource", "document:x")
    assert (done.code, "has no document 'x'" in done.out) == (4, True)
    assert not list(home.rglob("*ledger*"))
