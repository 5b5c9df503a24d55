"""Reads a model's `config.json` without what would make transformers run code, or read files elsewhere.

`trust_remote_code=False` is not enough: an attention implementation may be the name of a kernel on a hub.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from markgraph.models.manifest import check_manifest, refuse_code

_DROPPED = ("auto_map", "transformers_weights", "custom_pipelines", "base_model_name_or_path")
_ADAPTER = "adapter_config.json"


def safe_config(folder: Path) -> Any:
    """Return the configuration of the model in `folder`, as transformers takes it by `config=`.

    Raises:
        WeightsError: the folder is not as its manifest says, or holds code.
        ValueError: there is no configuration that transformers knows, it names code on a hub, or the folder
            is an adapter's, for which transformers would load whatever base that names.
        OSError: it cannot be read.
    """
    from transformers import CONFIG_MAPPING

    check_model(folder)
    text = (folder / "config.json").read_text(encoding="utf-8")
    settings = sanitized(json.loads(text, object_hook=_number))
    kind = str(settings.get("model_type"))
    # As transformers decides for itself.
    kind = "ministral" if kind == "mistral" and "layer_types" in settings else kind
    if kind not in CONFIG_MAPPING:
        raise ValueError(f"config.json has model_type {kind!r}, which transformers doesn't know")
    return CONFIG_MAPPING[kind].from_dict(settings)


def _number(value: dict[str, Any]) -> Any:
    """Return the number that transformers writes as `{"__float__": "Infinity"}`; anything else as it is."""
    return float(value["__float__"]) if value.keys() == {"__float__"} else value


def check_model(folder: Path) -> None:
    """Refuse a folder that nothing should load a model from.

    Raises:
        WeightsError: it is not as its manifest says, or holds code.
        ValueError: it is an adapter's.
    """
    check_manifest(folder)
    refuse_code(folder)
    if (folder / _ADAPTER).exists():
        raise ValueError(f"it holds {_ADAPTER}, which would load another base model; give adapters by name")


def sanitized(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return `settings`, at every depth without the keys that lead to code or to other files.

    Raises:
        ValueError: one of these asks for code from a hub: no honest file does.
    """
    return {key: _clean(key, value) for key, value in settings.items() if not _is_dropped(key, value)}


def _clean(key: str, value: Any) -> Any:
    if isinstance(value, Mapping):
        inner = sanitized(value)
        if key == "quantization_config":
            return {name: each for name, each in inner.items() if "kernel" not in name}
        return inner
    return [_clean("", each) for each in value] if isinstance(value, list) else value


def _is_dropped(key: str, value: Any) -> bool:
    if "_implementation" not in key:
        return key in _DROPPED
    if "/" in str(value):
        raise ValueError(f"config.json asks for code from a hub, {key}={value}")
    return True
