"""A mode serves when it was compared with the unquantised model on this machine, and is near enough."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from markgraph.engines.native.engine import NativeEngine
from markgraph.engines.port import Sampling, Token
from markgraph.errors import QualityError, TooLargeError, WeightsError
from markgraph.models.gate import bounds_of, compared, parameters, remember, remembered
from markgraph.models.quality import Bounds, Quality
from markgraph.models.weights import load_causal
from tests.engines.tiny import tiny_llama

NEAR, FAR = Quality(0.001, 0.99, 2.0, 2.0, 100), Quality(0.02, 0.99, 2.0, 2.0, 100)


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


def served(folder: Path, mode: str, *, gate: bool = True) -> list[Token]:
    """Return what an engine answers in the mode that it serves in; the log-probabilities tell which it is."""
    engine = NativeEngine(f"file:{folder}", mode=mode, threads=1, gate=gate)
    told = list(engine.stream([5, 6, 7], Sampling(4, logprobs=0)))
    engine.close()
    return told


def test_what_was_found_is_remembered_and_not_measured_again(folder: Path, cache: Path) -> None:
    found = compared(folder, "fast", 1)
    assert {1, 8, 128} == found.keys()
    assert all(quality.tokens > 400 for quality in found.values())
    assert remembered(folder, "fast", 1) == found
    [verdict] = verdicts(cache)
    written = verdict.stat().st_mtime_ns
    assert compared(folder, "fast", 1) == found
    assert verdict.stat().st_mtime_ns == written


def test_other_weights_modes_and_threads_are_judged_anew(folder: Path, cache: Path) -> None:
    remember(folder, "fast", {1: NEAR}, 1)
    assert compared(folder, "fast", 1) == {1: NEAR}
    assert remembered(folder, "small", 1) is None
    assert remembered(folder, "fast", 2) is None
    tiny_llama(folder, initializer_range=0.1)
    assert remembered(folder, "fast", 1) is None


def test_a_short_window_is_filled_and_no_more(tmp_path: Path, cache: Path) -> None:
    tiny_llama(tmp_path / "short", window=64)
    assert {quality.tokens for quality in compared(tmp_path / "short", "fast", 1).values()} == {63}


def test_a_comparison_that_cannot_run_says_why(folder: Path) -> None:
    (folder / "config.json").unlink()
    with pytest.raises(QualityError, match=r"could not be checked in mode fast.*config"):
        compared(folder, "fast", 1)


def test_what_lies_in_the_working_directory_is_not_run(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "yaml.py").write_text("raise SystemExit('run')")
    monkeypatch.chdir(tmp_path)
    assert compared(folder, "fast", 1)


def test_the_default_mode_is_held_to_the_tightest_bounds() -> None:
    assert bounds_of("fast") == Bounds(kl=0.01, top1=0.95)
    assert bounds_of("small").kl > bounds_of("fast").kl


def test_parameters_are_counted_without_reading_them(folder: Path) -> None:
    model = load_causal(folder, "float32")[1]
    stored = {id(each): each.numel() for each in model.parameters()}
    assert parameters(folder) == sum(stored.values())


@pytest.mark.parametrize("content", [b"", b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n"])
def test_files_that_hold_no_weights_are_named(folder: Path, content: bytes) -> None:
    (folder / "model.safetensors").write_bytes(content)
    with pytest.raises(WeightsError, match=r"Could not read .*model\.safetensors"):
        parameters(folder)


def test_an_engine_serves_what_is_near_enough_and_else_the_unquantised_model(
    folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    fast, exact = served(folder, "fast", gate=False), served(folder, "exact")
    assert fast != exact
    remember(folder, "fast", {1: NEAR}, 1)
    assert served(folder, "fast") == fast
    remember(folder, "fast", {1: FAR}, 1)
    assert served(folder, "fast") == exact
    assert "allowed: at most 0.01. Mode exact serves instead" in caplog.text


def test_an_engine_measures_what_it_serves(tmp_path: Path, cache: Path) -> None:
    """Of such weights little is left in few bits."""
    tiny_llama(tmp_path / "wide", initializer_range=0.5)
    assert served(tmp_path / "wide", "small") == served(tmp_path / "wide", "exact")
    [verdict] = verdicts(cache)
    assert "-small-" in verdict.name


def test_where_there_is_no_room_to_compare_the_mode_serves_and_says_so(
    folder: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    fast = served(folder, "fast", gate=False)
    monkeypatch.setattr("markgraph.models.gate.parameters", lambda folder: 10**15)
    assert served(folder, "fast") == fast
    assert "Mode fast serves without a comparison" in caplog.text


def test_where_there_is_no_room_for_the_unquantised_model_it_does_not_serve_instead(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    remember(folder, "fast", {1: FAR}, 1)
    monkeypatch.setattr("markgraph.models.gate.parameters", lambda folder: 10**15)
    with pytest.raises(
        TooLargeError, match=r"mode fast is too far .* Mode exact, which has to serve instead"
    ):
        served(folder, "fast")


def test_an_engine_serves_where_nothing_can_be_remembered(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("MARKGRAPH_CACHE", str(tmp_path / "file" / "cache"))
    assert served(folder, "small")
    assert "can't be remembered" in caplog.text
