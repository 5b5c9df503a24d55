"""Whose a thread on LangGraph Server is."""

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest

from markgraph.build import compose, make_service
from markgraph.security.caller import Caller
from markgraph.security.doors import LocalDoor


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


@pytest.mark.parametrize("action", ["create", "read", "search", "delete"])
def test_a_policy_without_threads_gives_none(monkeypatch: pytest.MonkeyPatch, action: str) -> None:
    pytest.importorskip("langgraph_sdk")
    from markgraph.serving import langgraph_auth

    user = asyncio.run(langgraph_auth.authenticate(LOCAL))
    asyncio.run(langgraph_auth.own_threads(context(user, action), {}))
    strict = make_service(compose("serve", ["auth/policy=strict"]), "policy")
    monkeypatch.setattr(langgraph_auth, "_POLICY", strict)
    with pytest.raises(langgraph_auth.Refused, match="threads:") as refused:
        asyncio.run(langgraph_auth.own_threads(context(user, action), {}))
    assert refused.value.status_code == 403
