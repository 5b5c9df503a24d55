"""How many requests LangGraph Server takes of a caller."""

import asyncio
from typing import Any

import pytest
from starlette.exceptions import HTTPException

from markgraph.security.caller import Caller
from markgraph.security.counters import MemoryCounters
from markgraph.security.limits import Limits
from markgraph.serving.langgraph_limits import count_request
from tests.security.test_limits import in_one_window

RUN: Any = {"method": "POST", "path": "/threads/1/runs/stream"}
SEARCH: Any = {"method": "POST", "path": "/threads/search"}
ANNA = Caller("anna", ("reader",))


def test_too_many_requests_are_429_with_retry_after() -> None:
    in_one_window()
    limits = Limits(MemoryCounters(), requests=1)
    asyncio.run(count_request(limits, ANNA, SEARCH))
    with pytest.raises(HTTPException) as caught:
        asyncio.run(count_request(limits, ANNA, SEARCH))
    assert caught.value.status_code == 429
    assert int((caught.value.headers or {})["Retry-After"]) >= 1
    asyncio.run(count_request(limits, Caller("ben"), SEARCH))


def test_a_caller_in_debt_may_look_but_not_run() -> None:
    limits = Limits(MemoryCounters(), tokens=5)
    limits.charge_tokens(ANNA, 6)
    asyncio.run(count_request(limits, ANNA, SEARCH))
    with pytest.raises(HTTPException, match="5 tokens a minute"):
        asyncio.run(count_request(limits, ANNA, RUN))


def test_without_limits_nothing_is_counted() -> None:
    asyncio.run(count_request(None, ANNA, RUN))
