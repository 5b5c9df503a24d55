"""Models of a few thousand random weights, made in a moment, that the tests of several folders borrow."""

from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import (
    LlamaConfig,
    LlamaForCausalLM,
    Mamba2Config,
    Mamba2ForCausalLM,
    MambaConfig,
    MambaForCausalLM,
    PreTrainedTokenizerFast,
)

CHATML = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
CONTROLS = ["<|im_start|>", "<|im_end|>", "<file_sep>"]
CORPUS = ["the user asks the assistant about notices, deadlines and payments of the controller"] * 4
PROMPTS = [f"{word} {number}" for number in range(5) for word in ("Who pays", "notice of", "deadline?", "ok")]


def tiny_tokenizer() -> PreTrainedTokenizerFast:
    """Return a byte-level BPE with three control tokens, one of which has no role."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=320,
        special_tokens=CONTROLS,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(CORPUS, trainer)
    roles = {"bos_token": "<|im_start|>", "eos_token": "<|im_end|>"}
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, chat_template=CHATML, **roles)


def tiny_llama(folder: Path, window: int = 512, **changes: Any) -> str:
    """Save a random Llama, which greedily says printable ASCII only, and return the reference to it."""
    settings = {
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "max_position_embeddings": window,
        "initializer_range": 0.5,
    }
    return save_tiny(folder, LlamaForCausalLM, LlamaConfig, settings | changes)


def tiny_mamba(folder: Path, **changes: Any) -> str:
    """Save a random Mamba, and return the reference to it."""
    settings = {"hidden_size": 32, "state_size": 8, "num_hidden_layers": 2, "initializer_range": 0.5}
    return save_tiny(folder, MambaForCausalLM, MambaConfig, settings | changes)


def tiny_mamba2(folder: Path, **changes: Any) -> str:
    """Save a random Mamba-2, and return the reference to it."""
    settings = {
        "hidden_size": 32,
        "state_size": 8,
        "num_hidden_layers": 2,
        "num_heads": 4,
        "head_dim": 16,
        "n_groups": 2,
        "chunk_size": 16,
        "initializer_range": 0.5,
    }
    return save_tiny(folder, Mamba2ForCausalLM, Mamba2Config, settings | changes)


def save_tiny(folder: Path, kind: Any, config: Any, settings: dict[str, Any]) -> str:
    torch.set_num_threads(1)
    tokenizer = tiny_tokenizer()
    ids = {"bos_token_id": tokenizer.bos_token_id, "eos_token_id": tokenizer.eos_token_id}
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = kind(config(vocab_size=len(tokenizer), tie_word_embeddings=False, **ids | settings))
    words = [tokenizer.decode([token]) for token in range(len(tokenizer))]
    silent = [
        n for n, word in enumerate(words) if not (word.isascii() and word.isprintable()) or word in CONTROLS
    ]
    with torch.no_grad():
        model.lm_head.weight[silent] = 0.0
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return f"file:{folder}"
