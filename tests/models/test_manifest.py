"""Folders of models: the very files that are noted, no code, and no config that leads elsewhere."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from markgraph.engines.native.load import load_decoder
from markgraph.errors import WeightsError
from markgraph.models.manifest import NAME, check_manifest, refuse_code, write_manifest
from markgraph.models.safe_config import safe_config, sanitized
from markgraph.models.source import digest, resolve
from markgraph.models.weights import load_causal, load_encoder, load_tokenizer
from tests.engines.tiny import tiny_llama


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return a model with a manifest."""
    tiny_llama(tmp_path / "model")
    write_manifest(tmp_path / "model")
    return tmp_path / "model"


def change(file: Path, **settings: Any) -> None:
    file.write_text(json.dumps(json.loads(file.read_text()) | settings))


def loads(folder: Path) -> None:
    """Load the model in every way there is."""
    load_causal(folder, "float32")
    load_tokenizer(folder)
    load_decoder(folder, "exact")
    resolve(f"file:{folder}")


def refused(folder: Path) -> list[str]:
    """Return what each way to load says against it; none of them may load it."""
    told = []
    for load in (lambda: load_causal(folder, "float32"), lambda: load_decoder(folder, "exact"),
                 lambda: load_tokenizer(folder), lambda: resolve(f"file:{folder}")):  # fmt: skip
        with pytest.raises(WeightsError) as caught:
            load()
        told.append(str(caught.value))
    return told


def test_loads_what_its_manifest_says(folder: Path) -> None:
    loads(folder)
    check_manifest(folder, by_bytes=True)


def test_a_manifest_is_no_part_of_what_a_pin_says(folder: Path) -> None:
    with_manifest = digest(folder)
    (folder / NAME).unlink()
    assert digest(folder) == with_manifest


def test_refuses_a_changed_a_missing_and_an_extra_file(folder: Path) -> None:
    config = (folder / "config.json").read_text()
    change(folder / "config.json", rope_theta=1.0)
    assert all("config.json differs" in told for told in refused(folder))
    (folder / "config.json").write_text(config)
    loads(folder)  # other times, the same bytes
    (folder / "extra.json").write_text("{}")
    assert all("extra.json is not in it" in told for told in refused(folder))
    (folder / "extra.json").unlink()
    (folder / "generation_config.json").unlink()
    assert all("generation_config.json is missing" in told for told in refused(folder))


def test_notices_a_change_that_keeps_size_and_time(folder: Path) -> None:
    file = folder / "model.safetensors"
    stat, data = file.stat(), bytearray(file.read_bytes())
    data[-1] ^= 1
    file.write_bytes(data)
    os.utime(file, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    assert (file.stat().st_size, file.stat().st_mtime_ns) == (stat.st_size, stat.st_mtime_ns)
    assert all("model.safetensors differs" in told for told in refused(folder))


@pytest.mark.parametrize("text", ["", "{", "[]", "null", '{"files": 1}', '{"files": {"config.json": 1}}'])
def test_refuses_a_damaged_manifest(folder: Path, text: str) -> None:
    (folder / NAME).write_text(text)
    assert all(NAME in told for told in refused(folder))


CODE = ["modeling_x.py", "sub/x.py", "x.PY", "lib.so", "pytorch_model.bin", "adapter_model.bin",
        "training_args.bin", "optimizer.pt", "x.pkl", "x.ckpt", "model.h5", "run.sh",
        "pytorch_model-00001-of-00002.bin"]  # fmt: skip


@pytest.mark.parametrize("name", CODE)
def test_refuses_code_beside_weights(folder: Path, name: str) -> None:
    (folder / NAME).unlink()
    (folder / name).parent.mkdir(exist_ok=True)
    (folder / name).write_text("")
    for load in (refuse_code, write_manifest, load_tokenizer, lambda at: load_decoder(at, "exact")):
        with pytest.raises(WeightsError, match="which runs code when it loads"):
            load(folder)
    assert not (folder / NAME).exists()


PAYLOAD = "import pathlib; pathlib.Path({ran!r}).touch()"
HOSTILE: dict[str, dict[str, Any]] = {
    "auto_map": {
        "auto_map": {"AutoConfig": "evil.C", "AutoModelForCausalLM": "evil.M", "AutoModel": "evil.M"}
    },
    "auto_map of a hub": {"auto_map": {"AutoConfig": "evil/repo--evil.C"}},
    "attention kernel": {"_attn_implementation": "evil/kernel"},
    "attention kernel, public name": {"attn_implementation": "evil/kernel"},
    "attention kernel, internal name": {"_attn_implementation_internal": "evil/kernel"},
    "nested kernel": {"text_config": {"_experts_implementation": "evil/kernel"}},
    "kernel in a list": {"sub": [{"attn_implementation": {"": "paged|evil/kernel"}}]},
    "quantization kernel": {"quantization_config": {"quant_method": "awq", "kernel_repo": "evil/kernel"}},
    "other weights": {"transformers_weights": "../elsewhere/model.safetensors"},
}


@pytest.mark.parametrize("kind", HOSTILE)
def test_a_hostile_config_runs_nothing(folder: Path, tmp_path: Path, kind: str) -> None:
    (folder / NAME).unlink()
    change(folder / "config.json", **HOSTILE[kind])
    code = PAYLOAD.format(ran=str(tmp_path / "ran"))
    (tmp_path / "evil.py").write_text(code)
    child = (
        "import sys; from pathlib import Path; from markgraph.models.weights import load_causal\n"
        "try: load_causal(Path(sys.argv[1]), 'float32'); print('loaded')\n"
        "except Exception as error: print(error)\n"
    )
    command = [sys.executable, "-c", child, str(folder)]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, stdin=subprocess.DEVNULL)
    assert not (tmp_path / "ran").exists()
    assert "loaded" in done.stdout or "asks for code from a hub" in done.stdout or "quant" in done.stdout, (
        done
    )


def test_a_config_is_what_it_was_but_for_what_was_dropped(folder: Path) -> None:
    (folder / NAME).unlink()
    plain = safe_config(folder).to_dict()
    extra = {"auto_map": {"AutoConfig": "evil.C"}, "_attn_implementation": "eager"}
    change(folder / "config.json", **extra)
    assert safe_config(folder).to_dict() == plain


def test_refuses_a_folder_that_would_load_another_base_model(folder: Path, tmp_path: Path) -> None:
    (folder / NAME).unlink()
    tiny_llama(tmp_path / "other")
    (folder / "adapter_config.json").write_text(
        json.dumps({"base_model_name_or_path": str(tmp_path / "other")})
    )
    for load in (load_encoder, lambda at: load_causal(at, "float32")):
        with pytest.raises(WeightsError, match="would load another base model"):
            load(folder)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3)
    | st.dictionaries(
        st.sampled_from(["auto_map", "attn_implementation", "_experts_implementation", "quantization_config",
                         "kernel_x", "hidden_size", "conv_kernel", "text_config"]) | st.text(max_size=5),
        inner, max_size=4,
    ),
    max_leaves=12,
)  # fmt: skip


def keys_in(value: Any, quantized: bool = False) -> set[str]:
    """Return every key at any depth; what is below `quantization_config` with a `!` before it."""
    if isinstance(value, list):
        return set().union(*(keys_in(each) for each in value))
    if not isinstance(value, dict):
        return set()
    own = {f"!{key}" if quantized else key for key in value}
    return own.union(*(keys_in(each, key == "quantization_config") for key, each in value.items()))


@settings(max_examples=500)
@given(
    st.dictionaries(
        st.sampled_from(["auto_map", "quantization_config", "text_config", "a"]), JSON, max_size=4
    )
)
def test_no_dropped_key_survives_at_any_depth_and_no_other_is_lost(config: dict[str, Any]) -> None:
    try:
        kept = sanitized(config)
    except ValueError:
        assert "/" in str(config)
        return
    left = keys_in(kept)
    assert not any("_implementation" in key or key in ("auto_map", "!auto_map") for key in left)
    assert not any(key.startswith("!") and "kernel" in key for key in left)
    assert sanitized(kept) == kept
