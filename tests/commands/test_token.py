"""`markgraph token`, and the command line with a token."""

import json
from pathlib import Path
from typing import Any

import pytest

from markgraph.cli import run
from markgraph.security.doors import TOKEN

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
    monkeypatch.setenv(TOKEN, say("key", "eve", "tenant=other")["api_key"])
    assert run(ask) != 0
    assert "30 days" not in capsys.readouterr().out
    monkeypatch.setenv(TOKEN, token)
    say("revoke", token)
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
        (["add"], "0 words where 1"),
        (["add", "a", "b"], "2 words where 1"),
        (["add", "list"], "is an action"),
        (["add", "ada", "clearance=cosmic"], "Unknown classification"),
        (["add", "ada", "roles=reader"], "are a list"),
        (["add", "ada", "tenant=''"], "nobody who could ask"),
        (["key", "ada", "days=0"], "'days' has value 0"),
        (["revoke", "aaaaaaaa"], "no API key"),
        (["remove", "ada"], "no client 'ada'"),
        (["rotate", "now"], "1 words where 0"),
        (["list", "auth=none"], "Only auth=dev|auth=none takes no"),
        (["ada", "scope=x", "lifetime=1"], "lifetime"),
        (["list", "auth.lifetime=86400"], "at most|Allowed: 1 to 3600"),
    ],
)
def test_says_what_is_wrong(words: list[str], why: str, capsys: pytest.CaptureFixture[str]) -> None:
    import re

    assert run(["token", *words]) == 2
    assert re.search(why, capsys.readouterr().err)
