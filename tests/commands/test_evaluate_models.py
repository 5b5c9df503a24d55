"""`markgraph evaluate suite=models`: models side by side, on the same text and pairs."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from markgraph.launching.outcome import PLACE, Outcome, told
from tests.commands.conftest import Ran
from tests.engines.tiny import tiny_llama, tiny_mamba2
from tests.evaluation.conftest import write_lines

Command = Callable[..., Ran]
TEXT = "\n\n".join(f"{'the user asks the assistant about notices and deadlines ' * 25}{n}" for n in range(4))


@pytest.fixture
def words(tmp_path: Path) -> list[str]:
    """Return the settings of a tiny model, a text and two pairs."""
    tiny_llama(tmp_path / "llama", 2048)
    tiny_mamba2(tmp_path / "mamba2")
    (tmp_path / "text.txt").write_text(TEXT, "utf-8")
    pairs = [{"prompt": "notice of", "chosen": "the user", "rejected": "payments"}] * 2
    write_lines(tmp_path / "pairs.jsonl", pairs)
    model = [
        "model=local",
        f"model.engine.source=file:{tmp_path / 'llama'}",
        "model.engine.native.mode=exact",
    ]
    return [
        "evaluate",
        "suite=models",
        *model,
        f"text={tmp_path / 'text.txt'}",
        f"pairs={tmp_path / 'pairs.jsonl'}",
    ]


def test_measures_a_model(markgraph: Command, words: list[str], home: Path) -> None:
    done = markgraph(*words, "output=json")
    assert done.code == 0, done.err
    [row] = done.json["rows"]
    assert row["pair_accuracy"] in (0, 1)
    low, high = row["intervals"]["minus_bits_per_byte"]
    assert low <= row["minus_bits_per_byte"] <= high < 0
    assert row["perplexity"] > 1
    assert min(row["prefill_tokens_per_s"], row["decode_tokens_per_s"], row["weights_mb"]) > 0
    [folder] = (home / "evaluations").iterdir()
    assert json.loads((folder / "report.json").read_text("utf-8")) == done.json
    assert "minus bits per byte" in (folder / "report.html").read_text("utf-8")


def test_a_sweep_puts_models_of_both_families_side_by_side(
    markgraph: Command, words: list[str], tmp_path: Path
) -> None:
    sources = f"model.engine.source=file:{tmp_path / 'llama'},file:{tmp_path / 'mamba2'}"
    done = markgraph(*words[:3], "-m", *words[4:], sources)
    assert done.code == 0, done.err
    assert "minus bits per byte" in done.out
    assert "state kb per token" in done.out
    assert "mamba2 - model" in done.out.replace("\n", " ")


def test_a_sweep_looks_at_the_perplexity(
    markgraph: Command, words: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(PLACE, str(tmp_path / "figure"))
    *_, row = markgraph(*words, "output=json").json["rows"]
    cost = Outcome(0, row["perplexity"], "perplexity", lower_is_better=True)
    assert told(tmp_path / "figure", 0) == cost


def test_what_was_measured_is_kept_for_resume(markgraph: Command, words: list[str], home: Path) -> None:
    first = markgraph(*words, "output=json").json["rows"]
    assert markgraph(*words, "output=json", "resume=true").json["rows"] == first


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        (["text=/nowhere"], "Could not read text=/nowhere"),
        (["model=fake"], "This model has no weights of its own"),
        (["auth.caller.roles=[]"], "models:use"),
    ],
)
def test_wrong_use_is_explained(markgraph: Command, changed: list[str], message: str) -> None:
    done = markgraph("evaluate", "suite=models", *changed)
    assert done.code in (2, 4)
    assert done.out == ""
    assert message in done.err


def test_a_text_with_nothing_to_foretell_is_refused(
    markgraph: Command, words: list[str], tmp_path: Path
) -> None:
    (tmp_path / "text.txt").write_text("a", "utf-8")
    done = markgraph(*words)
    assert (done.code, done.out) == (2, "")
    assert f"text={tmp_path / 'text.txt'} has nothing to foretell" in done.err


def test_an_empty_text_is_refused(markgraph: Command, words: list[str], tmp_path: Path) -> None:
    (tmp_path / "text.txt").write_text(" \n", "utf-8")
    done = markgraph(*words)
    assert (done.code, done.out) == (2, "")
    assert "There is nothing in text=" in done.err
