"""Whose a thread on LangGraph Server is."""

import asyncio
import importlib
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from markgraph.build import compose, make_service
from markgraph.security.caller import Caller
from markgraph.security.doors import LocalDoor, TokenDoor
from markgraph.security.guard import Guard


class User(dict[str, Any]):
    """What the server makes of an authenticated user: its fields are attributes, too."""

    __getattr__ = dict.__getitem__


def context(user: Any, action: str) -> Any:
    return SimpleNamespace(user=User(user), action=action)


LOCAL: Any = {"client": ("127.0.0.1", 5000), "headers": []}


@pytest.mark.parametrize(
    "other",
    [
        Caller("anna", ("reader",), "b", ("legal",)),
        Caller("anna", ("reader",), "a"),
        Caller("anna", ("reader",), "a", ("legal",), 1),
        Caller("ben", ("reader",), "a", ("legal",)),
    ],
)
def test_a_thread_is_there_for_its_tenants_person_with_the_same_rights(
    monkeypatch: pytest.MonkeyPatch, other: Caller
) -> None:
    pytest.importorskip("langgraph_sdk")
    from markgraph.serving import langgraph_auth

    def filter_of(caller: Caller) -> Any:
        monkeypatch.setattr(langgraph_auth, "_DOOR", LocalDoor(caller))
        ctx = context(asyncio.run(langgraph_auth.authenticate(LOCAL)), "create")
        created: dict[str, Any] = {}
        threads = asyncio.run(langgraph_auth.own_threads(ctx, created))
        runs = asyncio.run(langgraph_auth.own_runs(ctx, {"kwargs": {}}))  # type: ignore[typeddict-item]
        assert threads == runs == created["metadata"]
        return threads

    anna = Caller("anna", ("reader",), "a", ("legal",))
    assert filter_of(anna) == filter_of(anna)
    assert filter_of(anna) != filter_of(other)


def test_the_scopes_of_a_token_come_along(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("langgraph_sdk")
    from markgraph.security.caller import server_caller
    from markgraph.serving import langgraph_auth

    for scopes in (None, (), ("graph:run",)):
        caller = Caller("anna", ("reader",), "a", ("legal",), 2, scopes)
        monkeypatch.setattr(langgraph_auth, "_DOOR", LocalDoor(caller))
        user = asyncio.run(langgraph_auth.authenticate(LOCAL))
        held: Any = User(user)
        assert server_caller(held) == caller


def test_every_resource_and_action_has_a_handler_or_is_denied() -> None:
    pytest.importorskip("langgraph_sdk")
    from markgraph.serving.langgraph_auth import auth, deny

    assert auth._global_handlers == [deny]
    ctx: Any = SimpleNamespace(user={}, action="create")
    assert asyncio.run(deny(ctx, {})) is False


@pytest.mark.parametrize(
    ("asked", "status"),
    [
        ({"command": {"update": {"answer": "x"}}}, 403),
        ({"command": {"goto": "respond", "resume": True}}, 403),
        ({"webhook": "https://evil.example"}, 403),
        ({"config": {"configurable": {"caller": {}}}}, 422),
        ({"config": {"configurable": {"__pregel_task_id": "x"}}}, 422),
        ({"interrupt_before": ["respond"]}, 403),
        ({"interrupt_after": "*"}, 403),
        ({"command": {"resume": "yes"}}, None),
    ],
)
def test_nobody_steers_a_run(asked: dict[str, Any], status: int | None) -> None:
    pytest.importorskip("langgraph_sdk")
    from markgraph.serving import langgraph_auth

    user = asyncio.run(langgraph_auth.authenticate(LOCAL))
    ctx, run = context(user, "create_run"), {"kwargs": asked}
    if status is None:
        assert asyncio.run(langgraph_auth.own_runs(ctx, run)) == {"owner": user["owner"]}
        return
    with pytest.raises(langgraph_auth.Refused) as refused:
        asyncio.run(langgraph_auth.own_runs(ctx, run))
    assert refused.value.status_code == status


@pytest.mark.parametrize("how", [{"after_seconds": 25}, {"multitask_strategy": "rollback"}])
def test_a_run_begins_while_its_caller_asks_and_unmakes_nothing(how: dict[str, Any]) -> None:
    pytest.importorskip("langgraph_sdk")
    from markgraph.serving import langgraph_auth

    user = asyncio.run(langgraph_auth.authenticate(LOCAL))
    run: Any = {"kwargs": {}, "after_seconds": 0, "multitask_strategy": "enqueue"}
    assert asyncio.run(langgraph_auth.own_runs(context(user, "create_run"), run)) == {"owner": user["owner"]}
    with pytest.raises(langgraph_auth.Refused) as refused:
        asyncio.run(langgraph_auth.own_runs(context(user, "create_run"), run | how))
    assert refused.value.status_code == 403


def test_people_stop_their_own_runs_and_write_no_state() -> None:
    pytest.importorskip("langgraph_sdk")
    from markgraph.serving import langgraph_auth

    user = asyncio.run(langgraph_auth.authenticate(LOCAL))
    ctx = context(user, "update")
    asked: Any
    for asked in ({"action": "rollback"}, {}, {"metadata": {"owner": "mine"}}):
        assert asyncio.run(langgraph_auth.own_cancels(ctx, asked)) is False
    asked = {"action": "interrupt"}
    assert asyncio.run(langgraph_auth.own_cancels(ctx, asked)) == {"owner": user["owner"]}


@pytest.mark.parametrize("action", ["create", "read", "search", "delete"])
@pytest.mark.parametrize("handler", ["own_threads", "own_runs", "own_namespaces"])
def test_a_policy_without_threads_gives_none(
    monkeypatch: pytest.MonkeyPatch, handler: str, action: str
) -> None:
    pytest.importorskip("langgraph_sdk")
    from markgraph.serving import langgraph_auth

    user = asyncio.run(langgraph_auth.authenticate(LOCAL))
    asyncio.run(getattr(langgraph_auth, handler)(context(user, action), {}))
    strict = make_service(compose("serve", ["auth/policy=strict"]), "policy")
    monkeypatch.setattr(langgraph_auth, "_GUARD", Guard(strict))
    with pytest.raises(langgraph_auth.Refused, match="threads:") as refused:
        asyncio.run(getattr(langgraph_auth, handler)(context(user, action), {}))
    assert refused.value.status_code == 403


def test_the_door_is_that_of_all_overrides(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    pytest.importorskip("langgraph_sdk")
    from markgraph.serving import langgraph_auth

    overlay = tmp_path / "conf/experiment/production.yaml"
    overlay.parent.mkdir(parents=True)
    overlay.write_text(
        "# @package _global_\ndefaults:\n  - override /auth: dev\n  - override /limits: memory\n"
    )
    monkeypatch.setenv("MARKGRAPH_HOME", str(tmp_path))
    monkeypatch.setenv("MARKGRAPH_OVERRIDES", "experiment=production model=fake limits.requests=7")
    try:
        door = importlib.reload(langgraph_auth)
        assert isinstance(door._DOOR, TokenDoor)
        assert door._LIMITS
        assert door._LIMITS.requests == 7
    finally:
        monkeypatch.undo()
        importlib.reload(langgraph_auth)
