"""A mode serves when it was compared with the unquantised model on this machine, and passed."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from markgraph.engines.native.engine import NativeEngine
from markgraph.engines.port import Sampling
from markgraph.errors import QualityError, TooLargeError, WeightsError
from markgraph.models.gate import bounds_of, ensure_passed, parameters, remember, remembered
from markgraph.models.quality import Bounds, Quality
from markgraph.models.weights import load_causal
from tests.engines.tiny import tiny_llama

ANY = Bounds(kl=10, top1=0)


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("MARKGRAPH_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def folder(tmp_path: Path, cache: Path) -> Path:
    tiny_llama(tmp_path / "llama")
    return tmp_path / "llama"


def verdicts(cache: Path) -> Iterator[Path]:
    return cache.glob("quality/*.json")


def test_what_passes_is_remembered_and_not_measured_again(folder: Path, cache: Path) -> None:
    found = ensure_passed(folder, "fast", ANY)
    assert {1, 8, 128} == found.keys()
    assert all(quality.tokens > 400 for quality in found.values())
    assert remembered(folder, "fast") == found
    [verdict] = verdicts(cache)
    written = verdict.stat().st_mtime_ns
    assert ensure_passed(folder, "fast", ANY) == found
    assert verdict.stat().st_mtime_ns == written


def test_what_fails_is_refused_and_leaves_no_verdict(folder: Path, cache: Path) -> None:
    with pytest.raises(QualityError, match=r"llama in mode small .* allowed: at most 0.0"):
        ensure_passed(folder, "small", Bounds(kl=0.0, top1=0))
    assert list(verdicts(cache)) == []
    assert remembered(folder, "small") is None


def test_other_weights_in_the_same_place_are_judged_anew(folder: Path, cache: Path) -> None:
    found = {1: Quality(0.001, 0.99, 2.0, 2.0, 100)}
    remember(folder, "fast", found)
    assert ensure_passed(folder, "fast") == found
    tiny_llama(folder, initializer_range=0.1)
    assert remembered(folder, "fast") is None


def test_what_passed_is_held_to_the_bounds_of_who_asks(folder: Path, cache: Path) -> None:
    remember(folder, "fast", {1: Quality(0.02, 0.99, 2.0, 2.0, 100)})
    assert ensure_passed(folder, "fast", ANY)
    with pytest.raises(QualityError, match=r"KL divergence 0\.0200"):
        ensure_passed(folder, "fast")


def test_the_unquantised_model_needs_no_comparison(folder: Path, cache: Path) -> None:
    assert ensure_passed(folder, "exact") == {}
    assert list(verdicts(cache)) == []


def test_a_comparison_that_cannot_run_says_why(folder: Path) -> None:
    (folder / "config.json").unlink()
    with pytest.raises((QualityError, WeightsError), match=r"could not be checked in mode fast.*config"):
        ensure_passed(folder, "fast", ANY)


def test_the_default_mode_is_held_to_the_tightest_bounds() -> None:
    assert bounds_of("fast") == Bounds(kl=0.01, top1=0.95)
    assert bounds_of("small").kl > bounds_of("fast").kl


def test_parameters_are_counted_without_reading_them(folder: Path) -> None:
    model = load_causal(folder, "float32")[1]
    stored = {id(each): each.numel() for each in model.parameters()}
    assert parameters(folder) == sum(stored.values())


def test_an_engine_serves_the_unquantised_model_where_a_mode_fails(
    tmp_path: Path, cache: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Of such weights little is left in few bits."""
    source = tiny_llama(tmp_path / "wide", initializer_range=0.5)
    answers = {}
    for mode, gate in (("exact", True), ("small", True), ("small", False)):
        engine = NativeEngine(source, mode=mode, threads=1, gate=gate)
        answers[mode, gate] = list(engine.stream([5, 6, 7], Sampling(8, logprobs=0)))
        engine.close()
    assert answers["small", True] == answers["exact", True] != answers["small", False]
    assert "in mode small is too far" in caplog.text


def test_a_comparison_that_has_no_room_says_how_to_serve_without(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("markgraph.models.gate.parameters", lambda folder: 10**15)
    with pytest.raises(TooLargeError, match=r"Comparing mode fast of llama needs .*gate=false"):
        _ = NativeEngine(f"file:{folder}", threads=1).context_tokens
