"""What all tests share: a home of their own, no tracing, and quiet libraries."""

import sys
from pathlib import Path

import pytest
from absl import logging as absl
from hypothesis import settings

from markgraph.security.caller import Caller

# A busy machine is not a failure.
settings.register_profile("unhurried", deadline=None)
settings.load_profile("unhurried")
# rouge-score and TensorBoard bring absl, whose handler takes the stderr that is there when it is imported. It
# closes that when Hydra sets logging up anew: in a test that would be pytest's own, and its end.
absl.get_absl_handler().python_handler.setStream(sys.__stderr__)


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Give each test an empty home; weights stay in the cache that everybody shares."""
    folder = tmp_path / "home"
    monkeypatch.setenv("MARKGRAPH_HOME", str(folder))
    monkeypatch.delenv("MARKGRAPH_SEAL", raising=False)
    monkeypatch.setenv("MARKGRAPH_KEYRING", str(tmp_path / "keyring.json"))
    monkeypatch.setenv("LANGSMITH_TRACING", "false")
    return folder


@pytest.fixture
def reader() -> Caller:
    """Return somebody who may ask."""
    return Caller("rita", ("reader",), groups=("legal",))
