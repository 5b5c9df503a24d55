"""`markgraph models`: what there is, and what number formats cost."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from markgraph.errors import WeightsError
from markgraph.models.source import digest, resolve
from tests.commands.conftest import Ran
from tests.engines.tiny import tiny_llama

Command = Callable[..., Ran]


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("MARKGRAPH_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def tiny(tmp_path: Path, cache: Path) -> tuple[str, str]:
    """Return overrides that name a tiny Llama."""
    return f"model.engine.source={tiny_llama(tmp_path / 'llama')}", "model.engine.sha256=null"


def test_lists_models_with_their_tiers_and_fetches_nothing(markgraph: Command, cache: Path) -> None:
    listed = {each["name"]: each for each in json.loads(markgraph("models", "output=json").out)}
    assert listed["smollm2_answers"]["tiers"] == ["tiny"]
    assert listed["qwen_7b"]["tiers"] == ["large"]
    assert listed["fake"]["source"] is None
    assert all(each["fetched"] is None for each in listed.values())
    assert not cache.exists()
    assert "qwen_1_5b" in markgraph("models", "list").out


def test_shows_a_model_whose_weights_are_not_here_and_fetches_nothing(
    markgraph: Command, cache: Path
) -> None:
    shown = markgraph("models", "show", "tier=small", "output=json").json
    assert shown["source"].startswith("hf:Qwen/Qwen2.5-1.5B-Instruct@")
    assert shown["weights"] is None
    assert not cache.exists()
    assert "NativeEngine" in markgraph("models", "show", "tier=small").out


def test_quantize_reports_before_and_after_and_keeps_what_it_measured(
    markgraph: Command, tiny: tuple[str, str], cache: Path
) -> None:
    done = markgraph("models", "quantize", *tiny, "mode=small", "kl=10", "top1=0", "output=json")
    assert done.code == 0, done.err
    report = done.json
    assert report["passed"]
    assert report["before"]["nbytes"] >= 4 * report["parameters"] * 0.99
    assert report["after"]["nbytes"] > 0
    assert report["before"]["speed"]["decode"] > 0
    assert 0 <= report["answers"]["identical"] <= report["answers"]["tokens"] <= 1
    assert report["quality"].keys() == {"1", "8", "128"}
    assert len(list(cache.glob("quality/*small*.json"))) == 1
    shown = markgraph("models", "show", *tiny, "output=json").json
    assert shown["checked"]["small"] == report["quality"]
    assert "KL" in markgraph("models", "show", *tiny).out


def test_quantize_refuses_a_broken_bound_and_keeps_what_it_measured(
    markgraph: Command, tiny: tuple[str, str], cache: Path
) -> None:
    done = markgraph("models", "quantize", *tiny, "mode=fast", "kl=0")
    assert done.code == 1
    assert "Refused: reading 1 at once: KL divergence" in " ".join(done.out.split())
    assert markgraph("models", "show", *tiny, "output=json").json["checked"]["fast"]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (
            ("quantise",),
            "Config 'action' has value 'quantise'. Allowed: list, show, quantize, export, manifest, promote, "
            "retire.",
        ),
        (("quantize", "mode=tiny"), "Config 'mode' has value 'tiny'. Allowed: fast, small."),
        (("quantize", "kl=little"), "Config 'kl' has value 'little'. Allowed: a number, 0 to 10."),
        (("show", "model=fake"), "This model has no weights of its own. Allowed: model="),
        (("export", "to=coreml"), "Config 'to' has value 'coreml'. Allowed: onnx, openvino, triton."),
        (("export", "to=onnx"), "Config 'folder' has no value."),
    ],
)
def test_wrong_use_is_one_message_and_exit_code_2(
    markgraph: Command, words: tuple[str, ...], said: str
) -> None:
    done = markgraph("models", *words)
    assert done.code == 2
    assert said in done.err
    assert done.out == ""


def test_writes_down_what_a_folder_holds_and_another_file_does_not_load_any_more(
    markgraph: Command, tmp_path: Path
) -> None:
    tiny_llama(tmp_path / "model")
    done = markgraph("models", "manifest", f"folder={tmp_path}/model", "output=json")
    assert done.code == 0
    assert done.json["sha256"] == digest(tmp_path / "model")
    (tmp_path / "model/one_more.json").write_text("{}")
    with pytest.raises(WeightsError, match=r"one_more\.json is not in it"):
        resolve(f"file:{tmp_path}/model")
    assert markgraph("models", "manifest", "folder=nowhere").code == 2


def test_a_manifest_of_nothing_is_not_written(markgraph: Command, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    done = markgraph("models", "manifest", f"folder={tmp_path}/empty")
    assert (done.code, "holds no file" in done.err) == (1, True)
    assert list((tmp_path / "empty").iterdir()) == []
