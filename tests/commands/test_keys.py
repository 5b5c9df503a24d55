"""`markgraph keys`: what lies in clear is sealed, keys are rotated, and a tenant can be shredded."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from markgraph.security.sealing.keyring import Keyring
from tests.commands.conftest import STAND_INS, Ran

Command = Callable[..., Ran]
QUESTION = "Within how many days shall the customer pay each invoice?"
NO_WEIGHTS = "experiment=no_weights"
SEALED = "seal=keyring"
ROW = b"shall pay each invoice"


@pytest.fixture(autouse=True)
def keyring(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    file = tmp_path / "elsewhere" / "keyring.json"
    monkeypatch.setenv("MARKGRAPH_KEYRING", str(file))
    return file


def ask(markgraph: Command, *more: str) -> Ran:
    return markgraph("ask", QUESTION, *STAND_INS, "thread=t1", "output=json", *more)


def files_with(folder: Path, text: bytes) -> list[str]:
    return sorted(file.name for file in folder.rglob("*") if file.is_file() and text in file.read_bytes())


@pytest.mark.usefixtures("collection")
def test_what_lies_in_clear_is_sealed_and_goes_on(markgraph: Command, home: Path, keyring: Path) -> None:
    before = ask(markgraph).json
    assert files_with(home, ROW)
    assert "are not sealed" in ask(markgraph, SEALED).err
    assert "There is no keyring" in markgraph("keys", "reseal", NO_WEIGHTS).err
    made = markgraph("keys", "rotate")
    assert (made.code, made.out) == (0, "master       m1\ntenants      none\n")
    assert f"Keep a copy of {keyring}" in made.err
    assert "are not sealed" in ask(markgraph, SEALED).err
    done = markgraph("keys", "reseal", NO_WEIGHTS, "output=json").json
    assert done == {"documents": 0, "chunks": 3, "threads": 1, "feedback": 0, "rows": 0}
    assert files_with(home, ROW) == []
    assert markgraph("keys", "reseal", NO_WEIGHTS, "output=json").json["chunks"] == 0
    after = ask(markgraph, SEALED).json
    assert [after[key] for key in ("answer", "citations")] == [before[key] for key in ("answer", "citations")]
    assert "are sealed, and there is no keyring: seal=none" in ask(markgraph).err


def test_keys_are_rotated_and_old_ones_retired(markgraph: Command, documents: Path) -> None:
    markgraph("keys", "rotate")
    assert markgraph("ingest", str(documents), NO_WEIGHTS, SEALED).code == 0
    ask(markgraph, SEALED)
    rotated = markgraph("keys", "rotate")
    assert rotated.out == "master       m2\ntenants      default: 2\n"
    assert "markgraph keys reseal" in rotated.err
    resealed = markgraph("keys", "reseal", NO_WEIGHTS, "output=json").json
    assert (resealed["chunks"], resealed["threads"]) == (3, 1)
    assert markgraph("keys", "retire").out == "retired      m1\nmasters      m2: 3\n"
    assert ask(markgraph, SEALED).code == 0
    assert "masters      m2: 3\n" in markgraph("keys").out


def test_a_shredded_tenant_can_be_read_by_nobody(markgraph: Command, documents: Path, home: Path) -> None:
    markgraph("keys", "rotate")
    markgraph("ingest", str(documents), NO_WEIGHTS, SEALED)
    ask(markgraph, SEALED)
    kept = {file for file in home.rglob("*") if file.is_file() and not file.name.endswith(("-wal", "-shm"))}
    for arguments, message in ((["tenant=default"], "Add yes=true"), ([], "Give tenant=NAME")):
        refused = markgraph("keys", "shred", *arguments)
        assert (refused.code, message in refused.err) == (2, True)
    assert ask(markgraph, SEALED).code == 0
    assert markgraph("keys", "shred", "tenant=default", "yes=true").out == (
        "shredded     default\nmodels       none\nruns         none\n"
    )
    again = markgraph("ingest", str(documents), NO_WEIGHTS, SEALED)
    for done in (ask(markgraph, SEALED), markgraph("search", "invoice", NO_WEIGHTS, SEALED), again):
        assert (done.code, "keys of tenant 'default' were shredded" in done.err) == (1, True)
    assert "auth.caller.tenant=NAME" in again.err
    assert markgraph("ingest", str(documents), NO_WEIGHTS, SEALED, "auth.caller.tenant=other").code == 0
    assert files_with(home, ROW) == []
    assert kept <= {file for file in home.rglob("*") if file.is_file()}


def test_the_environment_turns_sealing_on(home: Path, documents: Path) -> None:
    environment = os.environ | {"MARKGRAPH_SEAL": "keyring"}
    for arguments in (["keys", "rotate"], ["ingest", str(documents), NO_WEIGHTS]):
        command = [sys.executable, "-m", "markgraph.cli", *arguments]
        subprocess.run(command, env=environment, check=True, capture_output=True)
    assert files_with(home, b"default")
    assert files_with(home, ROW) == []


def test_a_choice_of_the_environment_that_does_not_exist_is_explained(
    markgraph: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MARKGRAPH_SEAL", "kyring")
    refused = markgraph("ask", QUESTION)
    assert (refused.code, "MARKGRAPH_SEAL is 'kyring'. Allowed: keyring, none." in refused.err) == (2, True)


def test_other_collections_are_named(markgraph: Command, documents: Path) -> None:
    for name in ("one", "two"):
        markgraph("ingest", str(documents), NO_WEIGHTS, f"collection={name}")
    markgraph("keys", "rotate")
    done = markgraph("keys", "reseal", NO_WEIGHTS, "collection=one")
    assert "Other collections are as they were: two." in done.err


def test_a_collection_that_is_not_there_is_neither_sealed_nor_made(markgraph: Command, home: Path) -> None:
    markgraph("keys", "rotate")
    done = markgraph("keys", "reseal", "collection=nothing", "embedder=hash")
    assert (done.code, done.out) == (2, "")
    assert "no collection 'nothing'" in done.err
    assert not (home / "nothing").exists()


def test_the_list_is_what_the_keyring_holds(markgraph: Command, keyring: Path, documents: Path) -> None:
    assert "masters      missing\n" in markgraph("keys", "list").out
    markgraph("keys", "rotate")
    assert "masters      m1: 0\n" in markgraph("keys", "list").out
    markgraph("ingest", str(documents), NO_WEIGHTS, SEALED)
    held = keyring.read_text()
    keyring.unlink()
    gone = markgraph("keys", "list", "output=json").json
    assert (gone["masters"], gone["lost"]) == (None, ["m1"])
    for text, mode, message in (("{}", 0o600, "is no keyring"), (held, 0o644, "has mode 0644")):
        keyring.write_text(text)
        keyring.chmod(mode)
        done = markgraph("keys", "list")
        assert (done.code, done.out, message in done.err) == (1, "", True)


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["forget"], 2, "'action'"),
        (["list", "seal=none"], 2, "no keys with seal=none"),
        (["rotate", "auth.caller.roles=[reader]"], 4, "needs permission 'keys:manage'"),
        (["shred", "tenant=nobody", "yes=true"], 2, "'nobody' has no keys. Tenants that have: none"),
        (["retire"], 1, "There is no keyring"),
    ],
)
def test_what_does_not_fit_is_explained(
    markgraph: Command, keyring: Path, arguments: list[str], code: int, message: str
) -> None:
    done = markgraph("keys", *arguments)
    assert (done.code, done.out) == (code, "")
    assert message in done.err
    assert not keyring.exists()


def test_an_administrator_manages_the_keys_of_their_own_tenant(
    markgraph: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    markgraph("keys", "rotate")
    key = markgraph("token", "key", "eve", "roles=[admin,auditor]", "tenant=other").out.strip()
    monkeypatch.setenv("MARKGRAPH_TOKEN", key)
    for verb in (["keys", "shred", "tenant=default", "yes=true"], ["policy", "explain"]):
        who = ["--caller", "x,tenant=default", "--resource", "graph:qa"] if verb[0] == "policy" else []
        refused = markgraph(*verb, "auth=dev", *who)
        assert (refused.code, "of tenant 'other', and this is about 'default'" in refused.err) == (4, True)
    listed = markgraph("keys", "list", "auth=dev", "output=json").json
    assert (listed["tenants"], listed["shredded"]) == ({}, [])


def test_an_administrator_rotates_their_own_tenants_key_and_no_others(
    markgraph: Command, monkeypatch: pytest.MonkeyPatch, keyring: Path, home: Path
) -> None:
    markgraph("keys", "rotate")
    kept = Keyring(keyring, home / "keys.sqlite")
    sealed = {tenant: kept.seal(tenant, ("it",), b"text") for tenant in ("other", "default")}
    monkeypatch.setenv(
        "MARKGRAPH_TOKEN", markgraph("token", "key", "eve", "roles=[admin]", "tenant=other").out.strip()
    )
    before = kept.names()
    for action in ("rotate", "reseal", "retire"):
        refused = markgraph("keys", action, "auth=dev")
        assert (refused.code, "is about the keys of all" in refused.err) == (4, True)
    assert markgraph("keys", "rotate", "tenant=default", "auth=dev").code == 4
    assert kept.names() == before
    done = markgraph("keys", "rotate", "tenant=other", "auth=dev", "output=json").json
    assert done == {"tenants": {"other": 2}}
    assert kept.names() == before._replace(
        tenants={"default": 1, "other": 2}, masters={kid: n + 1 for kid, n in before.masters.items()}
    )
    assert kept.open("other", ("it",), sealed["other"]) == b"text"
    assert [kept.is_current(tenant, sealed[tenant]) for tenant in ("other", "default")] == [False, True]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["rotate", "tenant=nobody"], "Tenant 'nobody' has no keys. Tenants that have: none."),
        (["reseal", "tenant=default"], "`keys reseal` is about all tenants. Leave out tenant=default."),
        (["retire", "tenant=default"], "`keys retire` is about all tenants. Leave out tenant=default."),
    ],
)
def test_a_tenant_that_does_not_fit_is_explained(markgraph: Command, words: list[str], message: str) -> None:
    markgraph("keys", "rotate")
    done = markgraph("keys", *words)
    assert (done.code, message in done.err) == (2, True)
