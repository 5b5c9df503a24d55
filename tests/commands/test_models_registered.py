"""`markgraph models show|promote|retire NAME`, and what ingesting tells the models."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from markgraph.errors import UsageError
from markgraph.models.cards import Card, Origin, lineage
from markgraph.models.registry import Registry
from markgraph.security.permissions import Permissions
from tests.commands.conftest import Ran
from tests.engines.tiny import tiny_llama

Command = Callable[..., Ran]
NO_WEIGHTS = "experiment=no_weights"


@pytest.fixture
def registry(home: Path, tmp_path: Path, documents: Path) -> Registry:
    """Return a registry with a champion and a challenger, which learned from the documents."""
    tiny_llama(tmp_path / "model")
    registry = Registry(home / "models")
    rows = [{"id": "a" * 64, "documents": [str(documents / "terms.md")], "readers": ["public"]}]
    base = Origin(name="smollm2", source="file:base", sha256="d" * 64)
    learned = lineage(rows, "default")._asdict()
    for run, alias in (("run-1", "champion"), ("run-2", "challenger")):
        card = Card(**learned, base=base, method="sft", run=run, by="tina", tenant="default", config="c" * 64)
        registry.alias("law", alias, registry.add("law", tmp_path / "model", card))
    return registry


def test_lists_what_was_registered(markgraph: Command, registry: Registry) -> None:
    listed = {each["name"]: each for each in json.loads(markgraph("models", "output=json").out)}
    assert listed["law@1"]["about"] == "champion, model, sft over smollm2, run run-1"
    assert listed["law@2"]["source"] == "registered:law@2"
    assert "law@2" in markgraph("models", "list").out


def test_shows_the_card(markgraph: Command, registry: Registry, documents: Path) -> None:
    card = markgraph("models", "show", "law", "output=json").json
    assert (card["model"], card["aliases"], card["kind"]) == ("law@1", ["champion"], "model")
    assert (card["base"]["source"], card["method"], card["by"]) == ("file:base", "sft", "tina")
    assert card["documents"] == [str(documents / "terms.md")]
    assert (card["rows"], card["learned_from_deleted"]) == (1, [])
    assert markgraph("models", "show", "law", "version=2", "output=json").json["run"] == "run-2"
    assert "public (tenant default, level 0)" in " ".join(markgraph("models", "show", "law").out.split())


@pytest.fixture
def closed(registry: Registry, tmp_path: Path) -> None:
    """Register what learned from documents that only lawyers may read."""
    card = registry.get("law", 1).card
    legal = {"audience": (Permissions("default", ("g:legal",)),), "run": "run-9"}
    registry.add("closed", tmp_path / "model", card.model_copy(update=legal))


@pytest.mark.usefixtures("closed")
def test_a_caller_who_may_not_read_the_documents_is_not_told_their_names(markgraph: Command) -> None:
    done = markgraph("models", "show", "closed", "output=json")
    assert done.json["documents"] == 1
    assert "terms.md" not in done.out
    assert "terms.md" in markgraph("models", "show", "closed", "auth.caller.groups=[legal]").out


@pytest.mark.usefixtures("closed")
@pytest.mark.parametrize("action", ["export", "quantize", "show"])
def test_what_a_caller_may_not_use_they_may_neither_export_nor_measure(
    markgraph: Command, tmp_path: Path, action: str
) -> None:
    named = ("model=local", "model.engine.source=registered:closed@1", "model.engine.sha256=null")
    to = ("to=openvino", f"folder={tmp_path / 'out'}")
    done = markgraph("models", action, *named, *to)
    assert (done.code, done.out) == (4, "")
    assert "'local' may not use registered:closed@1: it learned from documents" in done.err
    assert not (tmp_path / "out").exists()
    refused = markgraph("models", action, *named, *to, "auth.caller.roles=[]", "auth.caller.groups=[legal]")
    assert (refused.code, "needs permission 'models:use' for model:closed" in refused.err) == (4, True)


@pytest.mark.usefixtures("closed")
def test_who_may_use_a_registered_model_may_look_at_it(markgraph: Command) -> None:
    named = ("model=local", "model.engine.source=registered:closed@1", "model.engine.sha256=null")
    shown = markgraph("models", "show", *named, "auth.caller.groups=[legal]", "output=json")
    assert shown.json["source"] == "registered:closed@1"


@pytest.mark.usefixtures("registry")
def test_lists_neither_other_tenants_models_nor_any_for_who_may_use_none(markgraph: Command) -> None:
    for caller in ("auth.caller.tenant=other", "auth.caller.roles=[]"):
        listed = markgraph("models", "list", caller)
        assert (listed.code, "law" in listed.out) == (0, False)
        assert "smollm2" in listed.out


def test_a_name_is_one_tenants(registry: Registry, tmp_path: Path) -> None:
    theirs = registry.get("law", 1).card.model_copy(update={"tenant": "other", "run": "run-3"})
    with pytest.raises(UsageError, match="another tenant's model"):
        registry.add("law", tmp_path / "model", theirs)
    assert len(registry.versions("law")) == 2


def test_promotes_the_challenger_and_any_version(markgraph: Command, registry: Registry, home: Path) -> None:
    done = markgraph("models", "promote", "law", "output=json")
    assert (done.code, done.json["aliases"]) == (0, {"champion": 2})
    assert registry.get("law").version == 2
    assert markgraph("models", "promote", "law").code == 2
    assert markgraph("models", "promote", "law", "version=1").code == 0
    assert registry.get("law").version == 1
    told = markgraph("audit", "list", "output=json").out
    assert told.count("models:register") >= 3
    assert "model:law" in told


@pytest.mark.parametrize("words", [("promote", "law"), ("retire", "law", "version=2")])
def test_needs_the_permission_to_register(
    markgraph: Command, registry: Registry, words: tuple[str, ...]
) -> None:
    done = markgraph("models", *words, "auth.caller.roles=[reader]")
    assert done.code == 4
    assert "models:register" in done.err
    assert registry.aliases("law") == {"champion": 1, "challenger": 2}


@pytest.mark.parametrize(
    "words", [("promote", "law"), ("retire", "law", "version=2"), ("show", "law", "output=json")]
)
def test_another_tenants_models_are_as_if_they_were_not_there(
    markgraph: Command, registry: Registry, monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...]
) -> None:
    key = markgraph("token", "key", "eve", "roles=[admin,reader]", "tenant=other").out.strip()
    monkeypatch.setenv("MARKGRAPH_TOKEN", key)
    done = markgraph("models", *words, "auth=dev")
    absent = markgraph(*("models", words[0], "none", *words[2:]), "auth=dev")
    assert (done.code, done.out) == (absent.code, absent.out) == (2, "")
    assert done.err == absent.err.replace("none", "law")
    assert registry.aliases("law") == {"champion": 1, "challenger": 2}


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("promote",), "Allowed: show NAME, promote NAME, retire NAME"),
        (("quantize", "law"), "Allowed: show NAME, promote NAME, retire NAME"),
        (("show", "tax"), "There is no model tax. See `markgraph models list`."),
        (("retire", "law"), "Which version of law?"),
        (("retire", "law", "version=1"), "is in service"),
        (("retire", "law", "version=0"), "a whole number"),
    ],
)
def test_wrong_use_is_one_message_and_exit_code_2(
    markgraph: Command, registry: Registry, words: tuple[str, ...], said: str
) -> None:
    done = markgraph("models", *words)
    assert (done.code, done.out) == (2, "")
    assert said in done.err


def test_retires_a_version(markgraph: Command, registry: Registry) -> None:
    assert markgraph("models", "retire", "law", "version=2").code == 0
    listed = {each["name"]: each for each in json.loads(markgraph("models", "output=json").out)}
    assert listed["law@2"]["fetched"] is None


def test_a_deleted_document_marks_the_models_that_learned_from_it(
    markgraph: Command, registry: Registry, documents: Path
) -> None:
    assert markgraph("ingest", str(documents), NO_WEIGHTS).code == 0
    assert markgraph("models", "show", "law", "output=json").json["learned_from_deleted"] == []
    (documents / "terms.md").rename(documents / "other.md")
    assert markgraph("ingest", str(documents), NO_WEIGHTS).code == 0
    deleted = markgraph("models", "show", "law", "output=json").json["learned_from_deleted"]
    assert [each["document"] for each in deleted] == [str(documents / "terms.md")]
    assert "learned from 1 documents that were removed" in " ".join(markgraph("models", "list").out.split())
