"""Bars of libraries are hidden where no person looks, and stderr is given back, whoever ends first."""

import io
import sys
from contextlib import ExitStack

import pytest

from markgraph.models.bars import bars_for_people


def test_of_several_that_hide_bars_the_last_gives_stderr_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stderr", told := io.StringIO())
    one, other = ExitStack(), ExitStack()
    one.enter_context(bars_for_people())
    other.enter_context(bars_for_people())
    one.close()
    print("hidden", file=sys.stderr)
    other.close()
    print("shown", file=sys.stderr)
    assert told.getvalue() == "shown\n"


def test_what_has_taken_the_place_of_stderr_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stderr", io.StringIO())
    with bars_for_people():
        sys.stderr = another = io.StringIO()
    assert sys.stderr is another
