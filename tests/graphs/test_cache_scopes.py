"""What an engine keeps of a prompt is kept for whoever may read all that the prompt was made from."""

import asyncio
from collections.abc import Generator
from dataclasses import dataclass, field
from typing import Any

import pytest

from markgraph.build import load_graph
from markgraph.engines.fake import FakeEngine
from markgraph.engines.port import Sampling, Token, current_scope
from markgraph.models.chat import LocalChatModel
from markgraph.models.embed import HashEmbeddings
from markgraph.retrieval.types import Index
from markgraph.security.caller import Caller
from tests.graphs.conftest import PAYMENT

PAY = "Within how many days must the customer pay an invoice?"
ADA = Caller("ada", ("reader",), groups=("legal", "sales"))


@dataclass
class NotingEngine(FakeEngine):
    """Notes whose caches each answer may use."""

    scopes: list[str] = field(default_factory=list)

    def stream(self, prompt: list[int], sampling: Sampling) -> Generator[Token, None, None]:
        self.scopes.append(current_scope())
        return super().stream(prompt, sampling)


@pytest.fixture(params=["qa", "agent"])
def ask(request: pytest.FixtureRequest, index: Index, embedder: HashEmbeddings) -> Any:
    def scopes(caller: Caller, wait: bool = False) -> list[str]:
        engine = NotingEngine([f"{PAYMENT} [1]"], context_tokens=1 << 16)
        services = {"model": LocalChatModel(engine=engine), "embedder": embedder, "index": index}
        graph = load_graph(request.param, **services)
        if wait:
            asyncio.run(graph.ainvoke({"question": PAY}, context=caller))
        else:
            graph.invoke({"question": PAY}, context=caller)
        return engine.scopes

    return scopes


@pytest.mark.parametrize("wait", [False, True], ids=["sync", "async"])
def test_a_caller_meets_their_own_caches_again(ask: Any, wait: bool) -> None:
    again = Caller("ada", ("reader", "writer"), groups=("sales", "legal", "sales"))
    scopes = ask(ADA, wait=wait) + ask(again, wait=wait)
    assert len(scopes) >= 2
    assert len(set(scopes)) == 1


@pytest.mark.parametrize("wait", [False, True], ids=["sync", "async"])
@pytest.mark.parametrize(
    "other",
    [
        Caller("bob", ("reader",), groups=("legal", "sales")),
        Caller("ada", ("reader",), tenant="other", groups=("legal", "sales")),
        Caller("ada", ("reader",), groups=("legal",)),
        Caller("ada", ("reader",), groups=("legal", "sales", "board")),
        Caller("ada", ("reader",), groups=("legal,sales",)),
    ],
    ids=["another person", "another tenant", "a group less", "a group more", "a group with their name"],
)
def test_whoever_may_read_something_else_meets_other_caches(ask: Any, other: Caller, wait: bool) -> None:
    assert set(ask(ADA, wait=wait)).isdisjoint(ask(other, wait=wait))


def test_the_scope_ends_with_the_call(ask: Any) -> None:
    assert "" not in ask(ADA)
    assert current_scope() == ""
