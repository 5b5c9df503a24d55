"""What tests of tokens share: a clock that stands still, and a file for what is known of tokens."""

import time
from pathlib import Path

import pytest

from markgraph.security.caller import Caller
from markgraph.security.tokens.store import AuthStore

ADA = Caller("ada", ["reader"], "acme", ["legal"], 2, ["graph:run", "documents:read"])


class Clock:
    """Stands still until it is moved."""

    def __init__(self, now: float) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock(time.time())


@pytest.fixture
def store(tmp_path: Path) -> AuthStore:
    return AuthStore(str(tmp_path / "auth.sqlite"))
