"""Models for the bench, made once and kept in the cache: one that never ends its answers, and random ones."""

import json
import shutil
from collections.abc import Callable
from copy import deepcopy
from hashlib import sha256
from pathlib import Path
from typing import Any

from filelock import FileLock

from markgraph.models.bars import bars_for_people
from markgraph.models.source import cache_folder

ENDS = ("eos_token", "eos_token_id")
SIZES = {
    "mamba": {"hidden_size": 768, "num_hidden_layers": 24, "state_size": 16, "vocab_size": 50280},
    "mamba2": {
        "hidden_size": 768,
        "num_hidden_layers": 24,
        "state_size": 128,
        "head_dim": 64,
        "num_heads": 24,
        "n_groups": 1,
        "vocab_size": 50280,
    },
}
"""The settings of state-spaces/mamba-130m and mamba2-130m (Gu & Dao 2023; Dao & Gu 2024)."""
SMALL = {"hidden_size": 64, "num_hidden_layers": 2}
"""What is changed in them for a quick run."""


def without_end(folder: Path) -> Path:
    """Return a folder with the model in `folder`, whose answers go on until they are long enough."""
    return _made(f"endless-{folder.name}", str(folder.resolve()), lambda draft: _unend(folder, draft))


def random_model(kind: str, tokenizer: Any, *, small: bool) -> Path:
    """Return a folder with a Mamba (`mamba` or `mamba2`) of random weights that never ends its answers.

    Random weights compute as quickly as trained ones, and need no download.
    """
    size = SIZES[kind] | (SMALL | ({"num_heads": 2} if kind == "mamba2" else {}) if small else {})
    size["vocab_size"] = max(size["vocab_size"] if not small else 0, len(tokenizer))
    return _made(kind, json.dumps(size), lambda draft: _random(kind, size, tokenizer, draft))


def _made(name: str, key: str, make: Callable[[Path], None]) -> Path:
    """Return the folder for `key` in the cache, which `make` fills at the first call."""
    target = cache_folder() / "bench" / f"{name}-{sha256(key.encode()).hexdigest()[:12]}"
    target.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(f"{target}.lock"):
        if not target.exists():
            draft = Path(f"{target}.making")
            shutil.rmtree(draft, ignore_errors=True)  # left by a killed process; the lock is ours
            draft.mkdir()
            make(draft)
            draft.rename(target)
    return target


def _unend(folder: Path, draft: Path) -> None:
    for file in folder.iterdir():
        if file.suffix == ".json" and file.name.removesuffix(".json").endswith("config"):
            settings = json.loads(file.read_text("utf-8"))
            settings |= {end: None for end in ENDS if end in settings or file.name == "config.json"}
            (draft / file.name).write_text(json.dumps(settings), "utf-8")
        elif file.is_file():
            (draft / file.name).symlink_to(file.resolve())


def _random(kind: str, size: dict[str, int], tokenizer: Any, draft: Path) -> None:
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    config = AutoConfig.for_model(kind, **size, bos_token_id=0, eos_token_id=None, pad_token_id=0)
    generator = torch.random.get_rng_state()
    torch.manual_seed(0)
    model: Any = AutoModelForCausalLM.from_config(config)  # type: ignore[no-untyped-call]
    with bars_for_people():
        model.save_pretrained(draft)
    torch.random.set_rng_state(generator)
    endless = deepcopy(tokenizer)
    endless.eos_token = None
    endless.save_pretrained(draft)
