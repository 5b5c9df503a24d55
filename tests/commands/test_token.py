"""`markgraph token`, and the command line with a token."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from markgraph.cli import run
from markgraph.commands.serve import _elsewhere
from markgraph.security.doors import TOKEN
from tests.commands.conftest import Ran

STAND_INS = ["experiment=no_weights", "model=fake"]
DENIED = 4


@pytest.fixture
def say(capsys: pytest.CaptureFixture[str]) -> Any:
    """Return a function that runs `markgraph token WORDS` and returns its answer."""

    def saying(*words: str) -> Any:
        assert run(["token", *words, "output=json"]) == 0, capsys.readouterr().err
        return json.loads(capsys.readouterr().out)

    return saying


def test_lists_clients_and_keys_without_their_secrets(say: Any) -> None:
    secret = say("add", "ada", "tenant=acme", "roles=reader,writer", "groups=[legal]", "clearance=internal")
    key = say("key", "robot", "days=3", "scopes=[graph:run]")
    listed = say("list")
    assert listed["clients"] == [
        {"subject": "ada", "roles": ["reader", "writer"], "tenant": "acme", "groups": ["legal"],
         "clearance": "internal", "scopes": None}
    ]  # fmt: skip
    assert listed["api_keys"][0]["scopes"] == ["graph:run"]
    assert secret["client_secret"] not in str(listed)
    assert key["api_key"][12:] not in str(listed)
    assert run(["token", "list"]) == 0


def test_the_first_token_and_all_that_follow(
    say: Any, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "terms.md").write_text("# Terms\n\nPayment is due within 30 days of the invoice.\n", "utf-8")
    say("add", "ada", "tenant=acme", "roles=reader,writer")
    ingest = ["ingest", str(tmp_path / "terms.md"), "experiment=no_weights", "auth=dev"]
    ask = ["ask", "When is payment due?", *STAND_INS, "auth=dev"]
    assert run(ingest) == DENIED
    assert TOKEN in capsys.readouterr().err
    token = say("ada")["token"]
    monkeypatch.setenv(TOKEN, token)
    assert run(ingest) == 0
    capsys.readouterr()
    assert run(ask) == 0
    assert "30 days" in capsys.readouterr().out
    monkeypatch.delenv(TOKEN)
    monkeypatch.setenv(TOKEN, say("key", "eve", "tenant=other")["api_key"])
    assert run(ask) != 0
    assert "30 days" not in capsys.readouterr().out
    monkeypatch.delenv(TOKEN)
    say("revoke", token)
    monkeypatch.setenv(TOKEN, token)
    assert run(ask) == DENIED


def test_keys_are_revoked_by_their_ids_and_clients_by_their_names(say: Any) -> None:
    say("add", "ada")
    key = say("key", "robot")["api_key"]
    assert say("revoke", key[3:11]) == {"revoked": key[3:11]}
    assert say("list")["api_keys"][0]["revoked"] is True
    assert say("remove", "ada") == {"removed": "ada"}
    assert say("list")["clients"] == []


def test_rotation_names_the_new_key(say: Any) -> None:
    say("add", "ada")
    say("ada")
    assert say("rotate")["kid"] != say("rotate", "at_once=true")["kid"]


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (["nobody"], "no client 'nobody'"),
        (["add"], "`token add` takes one name; got none. For example: markgraph token add ada"),
        (["add", "a", "b"], "takes one name; got a, b"),
        (["ada", "revoke"], "`token NAME` takes one name; got ada, revoke"),
        (["add", "eve", "roles=[redaer]"], "no role 'redaer'.*Did you mean 'reader'"),
        (["key", "eve", "scopes=[graph:rum]"], "'graph:rum' is no permission.*Did you mean 'graph:run'"),
        (["key", "eve", "scopes=['graph:run:']"], "'graph:run:' is no permission"),
        (["ada", "scope=graph:run nonsense"], "'nonsense' is no permission"),
        (["ada", "auth=oidc"], "Only auth=dev issues"),
        (["add", "list"], "is an action"),
        (["add", "ada", "clearance=cosmic"], "Unknown classification"),
        (["add", "ada", "roles=reader"], "are a list"),
        (["add", "ada", "tenant=''"], "nobody who could ask"),
        (["key", "ada", "days=0"], "'days' has value 0"),
        (["revoke", "aaaaaaaa"], "no API key"),
        (["remove", "ada"], "no client 'ada'"),
        (["rotate", "now"], "`token rotate` takes no further word; got now"),
        (["list", "auth=none"], "auth=none takes no API keys"),
        (["ada", "scope=graph:run", "lifetime=1"], "lifetime"),
        (["list", "auth.lifetime=86400"], "at most|Allowed: 1 to 3600"),
    ],
)
def test_says_what_is_wrong(words: list[str], why: str, capsys: pytest.CaptureFixture[str]) -> None:
    import re

    assert run(["token", *words]) == 2
    assert re.search(why, capsys.readouterr().err)


def test_every_use_is_taken_down_and_a_token_needs_the_permission(
    markgraph: Callable[..., Ran], monkeypatch: pytest.MonkeyPatch
) -> None:
    keys = {
        role: markgraph("token", "key", role, f"roles=[{role}]", "output=json").json["api_key"]
        for role in ("reader", "admin")
    }
    monkeypatch.setenv(TOKEN, keys["reader"])
    refused = markgraph("token", "key", "thief", "roles=[admin]")
    assert refused.code == DENIED
    assert "needs permission 'tokens:manage' for tokens:key" in refused.err
    assert f"unset {TOKEN}" in refused.err
    monkeypatch.setenv(TOKEN, keys["admin"])
    assert [each["subject"] for each in markgraph("token", "list", "output=json").json["api_keys"]] == [*keys]
    monkeypatch.delenv(TOKEN)
    log = [json.loads(line) for line in markgraph("audit", "list", "output=json").out.splitlines()][:-1]
    assert [(each["actor"], each["resource"], each["outcome"]) for each in log] == [
        ("operator", "tokens:key", "allowed"),
        ("operator", "tokens:key", "allowed"),
        ("reader", "tokens:key", "denied"),
        ("admin", "tokens:list", "allowed"),
    ]
    assert {each["action"] for each in log} == {"tokens:manage"}


def test_listing_api_keys_needs_no_settings_of_a_provider(say: Any, markgraph: Callable[..., Ran]) -> None:
    say("key", "robot")
    listed = say("list", "auth=oidc")
    assert [each["subject"] for each in listed["api_keys"]] == ["robot"]
    assert "Only auth=dev issues tokens." in markgraph("token", "rotate", "auth=oidc").err


def test_says_where_a_token_is_not_read(
    markgraph: Callable[..., Ran], monkeypatch: pytest.MonkeyPatch
) -> None:
    policy = ["policy", "explain", "--resource", "graph:qa"]
    assert markgraph(*policy).err == ""
    monkeypatch.setenv(TOKEN, "x.y.z")
    assert markgraph(*policy).err == f"{TOKEN} is not read with auth=none. Say auth=dev or auth=oidc.\n"
    assert "is not read" not in markgraph(*policy, "auth=dev").err


@pytest.mark.parametrize(
    ("url", "port", "warns"),
    [
        ("http://127.0.0.1:8000", 8000, False),
        ("http://127.0.0.1:8000", 9000, True),
        ("http://localhost:9000", 9000, False),
        ("http://[::1]", 9000, True),
        ("https://mark.example", 9000, False),
    ],
)
def test_warns_where_the_issuer_says_that_it_is_at_another_port(url: str, port: int, warns: bool) -> None:
    warning = _elsewhere(url, port)
    assert (warning is not None) is warns
    assert warning is None or f"auth.url=http://127.0.0.1:{port}." in warning
