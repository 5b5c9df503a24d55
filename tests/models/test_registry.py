"""The registry: whole or not at all, versions, aliases, and what a card says of documents."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from markgraph.errors import StorageError, UsageError, WeightsError
from markgraph.models.cards import Card, Origin, lineage, may_use
from markgraph.models.registry import Registry, pinned
from markgraph.models.registry_watch import forget, watch
from markgraph.models.source import digest, resolve
from markgraph.security.caller import Caller
from markgraph.security.permissions import Permissions
from tests.engines.tiny import tiny_llama

ROWS: list[dict[str, Any]] = [
    {"id": "a" * 64, "documents": ["terms.md"], "readers": ["public"]},
    {"id": "b" * 64, "documents": ["contract.md", "terms.md"], "readers": ["g:legal", "u:boss"]},
]
LAW = Origin(name="law", source="registered:law@1", sha256="0" * 64)
LAWYER = Caller("ada", ("reader",), groups=("legal",))


def card(run: str = "run-1", rows: list[dict[str, Any]] = ROWS, **settings: Any) -> Card:
    learned = lineage(rows, "default")._asdict()
    return Card(**learned, method="sft", run=run, by="tina", tenant="default", config="c" * 64, **settings)


@pytest.fixture
def registry(tmp_path: Path) -> Registry:
    return Registry(tmp_path / "home" / "models")


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("run") / "model"
    tiny_llama(folder)
    (folder / "training_args.bin").write_bytes(b"a pickle of the trainer's")
    (folder / "checkpoint-3").mkdir()
    (folder / "checkpoint-3" / "model.safetensors").write_bytes(b"half")
    return folder


def test_keeps_versions_with_their_cards(registry: Registry, model: Path) -> None:
    assert [registry.add("law", model, card(run)) for run in ("run-1", "run-2")] == [1, 2]
    first = registry.get("law", 1)
    assert (first.kind, first.card.method, first.card.by) == ("model", "sft", "tina")
    assert first.card.rows == ("a" * 64, "b" * 64)
    assert first.card.documents == ("contract.md", "terms.md")
    assert first.sha256 == digest(registry.weights("law", 1))
    assert first.card == card("run-1")
    assert registry.names() == ["law"]


def test_takes_over_what_serving_needs_and_nothing_of_the_trainer(registry: Registry, model: Path) -> None:
    registry.add("law", model, card())
    names = {file.name for file in registry.weights("law", 1).rglob("*")}
    assert {"model.safetensors", "config.json", "tokenizer.json", "tokenizer_config.json"} <= names
    assert not names & {"training_args.bin", "checkpoint-3"}


def test_a_run_is_registered_once(registry: Registry, model: Path) -> None:
    assert [registry.add("law", model, card("run-1")) for _ in range(3)] == [1, 1, 1]
    assert len(registry.versions("law")) == 1


def test_what_a_shredded_tenant_held_is_noted_while_a_model_learns_from_it(
    registry: Registry, model: Path
) -> None:
    for run in ("run-1", "run-2"):
        watch(registry.folder, run)
    registry.note_shredded("default")
    registry.add("law", model, card("run-1"))
    gone = sorted((each.document, each.what) for each in registry.changes("law", 1))
    assert gone == [("contract.md", "removed"), ("terms.md", "removed")]
    forget(registry.folder, "run-2")
    registry.add("law", model, card("run-2"))
    assert registry.changes("law", 2) == []


def test_aliases_move_and_a_pinned_reference_does_not(registry: Registry, model: Path) -> None:
    for run in ("run-1", "run-2"):
        registry.add("law", model, card(run))
    registry.alias("law", "champion", 1)
    before = pinned("registered:law")
    assert resolve("registered:law@champion") == resolve(before) == registry.weights("law", 1)
    registry.alias("law", "challenger", 2)
    assert registry.promote("law").version == 2
    assert registry.aliases("law") == {"champion": 2}
    assert resolve("registered:law@champion") == registry.weights("law", 2)
    assert resolve(before) == registry.weights("law", 1)
    assert registry.promote("law", 1).version == registry.get("law").version == 1


def test_a_registry_elsewhere_is_named_by_its_folder(tmp_path: Path, model: Path) -> None:
    other = Registry(tmp_path / "other")
    other.add("law", model, card())
    assert resolve(f"registered:{tmp_path}/other#law@1") == other.weights("law", 1)
    assert pinned(f"registered:{tmp_path}/other#law@1") == f"registered:{tmp_path}/other#law@1"


@pytest.mark.parametrize(
    ("reference", "said"),
    [
        ("registered:law@champion", "There is no model law@champion"),
        ("registered:law@7", "Allowed: challenger, 1."),
        ("registered:../law", "Not a registered model"),
        ("registered:Law@1", "Not a registered model"),
        ("registered:tax", r"There is no model tax@champion in [^ ]+ See `markgraph models list`\.$"),
    ],
)
def test_says_which_there_are(registry: Registry, model: Path, reference: str, said: str) -> None:
    registry.add("law", model, card())
    registry.alias("law", "challenger", 1)
    with pytest.raises(WeightsError, match=said):
        resolve(reference)


@pytest.mark.parametrize("name", ["", "../law", "Law", "law/1", ".law", "a" * 65])
def test_refuses_names_that_are_none(registry: Registry, model: Path, name: str) -> None:
    with pytest.raises(UsageError, match="is no name of a model"):
        registry.add(name, model, card())


def test_refuses_what_is_no_model(registry: Registry, tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("no weights")
    with pytest.raises(UsageError, match="holds no safetensors"):
        registry.add("law", tmp_path, card())
    assert registry.names() == []


@pytest.mark.parametrize("file", ["model.safetensors", "config.json", "one_more.json"])
def test_changed_weights_do_not_load(registry: Registry, model: Path, file: str) -> None:
    registry.add("law", model, card())
    place = registry.weights("law", 1) / file
    place.write_bytes((place.read_bytes() if place.exists() else b"") + b" ")
    with pytest.raises(WeightsError, match=file):
        resolve("registered:law@1")


def test_other_weights_with_a_manifest_of_their_own_do_not_load(
    registry: Registry, model: Path, tmp_path: Path
) -> None:
    registry.add("law", model, card())
    tiny_llama(tmp_path / "other", num_hidden_layers=1)
    registry.add("tax", tmp_path / "other", card("run-2"))
    registry.weights("law", 1).rename(tmp_path / "away")
    (registry.folder / "tax/1/weights").rename(registry.folder / "law/1/weights")
    with pytest.raises(WeightsError, match="are not those on its card"):
        resolve("registered:law@1")


def test_a_damaged_card_is_one_clear_error(registry: Registry, model: Path) -> None:
    registry.add("law", model, card())
    file = registry.folder / "law/1/card.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"extra": 1}))
    with pytest.raises(StorageError, match=r"card\.json: .*extra"):
        registry.get("law", 1)


def test_retiring_deletes_weights_and_keeps_the_card(registry: Registry, model: Path) -> None:
    for run in ("run-1", "run-2"):
        registry.add("law", model, card(run))
    registry.alias("law", "champion", 1)
    registry.alias("law", "challenger", 2)
    with pytest.raises(UsageError, match="is in service"):
        registry.retire("law", 1)
    registry.retire("law", 2)
    assert registry.aliases("law") == {"champion": 1}
    assert registry.get("law", 2).card.run == "run-2"
    with pytest.raises(WeightsError, match="was retired"):
        resolve("registered:law@2")
    assert registry.add("law", model, card("run-3")) == 3


KILLED = """
import os, signal, sys
from pathlib import Path
from markgraph.models.cards import Card
from markgraph.models.registry import Registry
from tests.models.test_registry import card

def kill(event, arguments):
    if event == sys.argv[3] and sys.argv[4] in str(arguments):
        os.kill(os.getpid(), signal.SIGKILL)

sys.addaudithook(kill)
Registry(Path(sys.argv[1])).add("law", Path(sys.argv[2]), card())
"""


@pytest.mark.parametrize(
    ("event", "about"),
    [
        ("open", "config.json"),
        ("open", "markgraph-manifest"),
        ("open", "card.json"),
        ("os.rename", ".adding"),
    ],
)
def test_an_add_that_is_killed_leaves_nothing_and_does_not_hinder_the_next(
    registry: Registry, model: Path, event: str, about: str
) -> None:
    command = [sys.executable, "-c", KILLED, str(registry.folder), str(model), event, about]
    root = Path(__file__).parents[2]
    done = subprocess.run(command, cwd=root, env=os.environ | {"PYTHONPATH": str(root)})
    assert done.returncode == -signal.SIGKILL
    assert registry.names() == []
    assert registry.versions("law") == []
    assert registry.add("law", model, card()) == 1
    assert resolve("registered:law@1").is_dir()


def test_only_who_may_read_all_that_was_learned_may_use_it() -> None:
    audience = lineage(ROWS, "default").audience
    assert may_use(LAWYER, audience)
    assert may_use(Caller("boss", ("reader",)), audience)
    assert not may_use(Caller("eve", ("reader",)), audience)
    assert not may_use(Caller("ada", ("reader",), tenant="other", groups=("legal",)), audience)
    assert not may_use(Caller(), audience)
    assert not may_use(LAWYER, lineage([*ROWS, ROWS[0] | {"readers": []}], "default").audience)
    assert not may_use(LAWYER, ())
    secret = lineage([ROWS[0] | {"classification": 3}], "default").audience
    assert secret == (Permissions("default", ("public",), 3),)
    assert not may_use(LAWYER, secret)
    assert not may_use(LAWYER, lineage([ROWS[0] | {"tenant": "other"}], "default").audience)
    assert may_use(Caller("ada", ("reader",), clearance=3), secret)


def test_removed_and_closed_documents_are_noted_at_what_learned_from_them(
    registry: Registry, model: Path
) -> None:
    registry.add("law", model, card())
    registry.add("tax", model, card("run-2", ROWS[:1]))
    registry.note("default", {"contract.md": None, "other.md": None})
    registry.note("elsewhere", {"terms.md": None})
    assert [(each.document, each.what) for each in registry.changes("law", 1)] == [("contract.md", "removed")]
    assert registry.changes("tax", 1) == []
    assert may_use(Caller("eve", ("reader",)), registry.audience("tax", 1))
    registry.note("default", {"terms.md": Permissions("default", ("g:legal",))})
    assert not may_use(Caller("eve", ("reader",)), registry.audience("tax", 1))
    assert may_use(LAWYER, registry.audience("tax", 1))
    registry.note("default", {"terms.md": Permissions("default", ("public",))})
    assert may_use(Caller("eve", ("reader",)), registry.audience("tax", 1))


@pytest.mark.parametrize("learned", [{"base": LAW}, {"models": (LAW.source,)}])
def test_inherits_what_a_base_or_a_teacher_learned(
    registry: Registry, model: Path, learned: dict[str, Any]
) -> None:
    registry.add("law", model, card())
    registry.add("tax", model, card("run-2", ROWS[:1], **learned))
    assert registry.get("tax", 1).card.documents == ("contract.md", "terms.md")
    assert not may_use(Caller("eve", ("reader",)), registry.audience("tax", 1))
    assert may_use(LAWYER, registry.audience("tax", 1))


def test_an_installed_package_may_hold_weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = tmp_path / "site" / "company_models"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("raise AssertionError('it was imported')")
    tiny_llama(package / "tiny")
    monkeypatch.syspath_prepend(tmp_path / "site")
    assert resolve("package:company_models/tiny") == package / "tiny"
    assert resolve("package:company_models/tiny", digest(package / "tiny")) == package / "tiny"
    for wrong in ("package:company_models", "package:company_models/../x", "package:/etc/x", "package:a.b/x"):
        with pytest.raises(WeightsError, match="Not a package's"):
            resolve(wrong)
    for missing in ("package:company_models/none", "package:no_such_package/x"):
        with pytest.raises(WeightsError, match="is not there"):
            resolve(missing)


def test_a_shredded_tenant_takes_all_documents_of_its_models_along(registry: Registry, model: Path) -> None:
    registry.add("law", model, card())
    registry.note_shredded("elsewhere")
    assert registry.changes("law", 1) == []
    registry.note_shredded("default")
    assert [each.document for each in registry.changes("law", 1)] == ["contract.md", "terms.md"]


def test_loading_what_learned_from_a_removed_document_warns(
    registry: Registry, model: Path, caplog: pytest.LogCaptureFixture
) -> None:
    registry.add("law", model, card())
    resolve("registered:law@1")
    assert caplog.messages == []
    registry.note("default", {"terms.md": None})
    resolve("registered:law@1")
    assert caplog.messages == [
        "law@1 learned from documents that were removed since: terms.md. Train it anew without them."
    ]
