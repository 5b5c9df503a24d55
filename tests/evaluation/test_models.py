"""What a model foretells and prefers agrees with transformers, for each family."""

import math
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from markgraph.engines.native.load import load_decoder
from markgraph.errors import UsageError
from markgraph.evaluation.models import (
    Foretold,
    foretell,
    pairs_in,
    perplexity_of,
    pieces_of,
    prefers,
    scores_of,
)
from markgraph.models.chat_template import encode
from tests.engines.tiny import tiny_llama, tiny_mamba, tiny_mamba2
from tests.evaluation.conftest import write_lines

TEXT = "the user asks the assistant about notices, deadlines and payments of the controller. " * 12
MAKERS = {"llama": tiny_llama, "mamba": tiny_mamba, "mamba2": tiny_mamba2}


@pytest.mark.parametrize("family", MAKERS)
def test_agrees_with_transformers(family: str, tmp_path: Path) -> None:
    make: Callable[[Path], str] = MAKERS[family]
    make(tmp_path / "model")
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "model")
    reference = AutoModelForCausalLM.from_pretrained(tmp_path / "model").eval()
    decoder = load_decoder(tmp_path / "model", "exact")
    ids = tokenizer(TEXT, return_tensors="pt").input_ids
    with torch.inference_mode():
        loss = float(reference(ids, labels=ids).loss)
    found = foretell(decoder, tokenizer, TEXT)
    assert found.tokens == ids.shape[1] - 1 > 150, "more than are read at once"
    assert found.bits * math.log(2) / found.tokens == pytest.approx(loss, rel=1e-3)
    assert perplexity_of([found, found]) == pytest.approx(math.exp(loss), rel=1e-3)
    write_lines(
        tmp_path / "pairs.jsonl", [{"prompt": "notice of", "chosen": "the user", "rejected": "payments"}]
    )
    [pair] = pairs_in(tmp_path / "pairs.jsonl")
    prompt = encode(tokenizer, pair.messages, [], None, {})
    expected = []
    for answer in (pair.chosen, pair.rejected):
        said = tokenizer(answer, add_special_tokens=False).input_ids
        whole = torch.tensor([[*prompt, *said]])
        labels = torch.tensor([[*([-100] * len(prompt)), *said]])
        with torch.inference_mode():
            expected.append(-float(reference(whole, labels=labels).loss))
    assert prefers(decoder, tokenizer, pair) == pytest.approx(tuple(expected), rel=1e-3)


def test_scores_are_bits_for_each_byte_and_a_one_for_each_right_pair() -> None:
    told = [Foretold(80.0, 20, 40), Foretold(0.0, 0, 0), Foretold(30.0, 5, 30)]
    assert scores_of(told, [(-1.0, -2.0), (-3.0, -2.0)]) == {
        "minus_bits_per_byte": [-2.0, -1.0],
        "pair_accuracy": [1.0, 0.0],
    }
    assert scores_of(told, []).keys() == {"minus_bits_per_byte"}
    assert perplexity_of(told) == pytest.approx(2 ** (110 / 25))


def test_a_text_is_cut_at_empty_lines() -> None:
    paragraphs = [f"Paragraph {n}. " + "x" * 400 for n in range(10)]
    pieces = pieces_of("\n\n".join([*paragraphs, "", " "]))
    assert "\n\n".join(pieces) == "\n\n".join(paragraphs)
    assert 1 < len(pieces) < 10


def test_pairs_are_those_of_training_rows_too(tmp_path: Path) -> None:
    turns = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hi"}]
    write_lines(tmp_path / "held.jsonl", [{"messages": turns, "chosen": "a", "rejected": "b", "readers": []}])
    [pair] = pairs_in(tmp_path / "held.jsonl")
    assert [message.type for message in pair.messages] == ["system", "human"]
    both: dict[str, object] = {"chosen": "a", "rejected": "b"}
    for wrong in (
        both,
        {"prompt": "p", "chosen": "a"},
        {"prompt": "p", **both, "chosen": ""},
        {"messages": ["hi"], **both},
        {"messages": "hi", **both},
        {"messages": {"role": "user", "content": "hi"}, **both},
        {"messages": [{"role": ["user"], "content": "hi"}], **both},
        {"messages": [{"role": "user", "content": None}], **both},
    ):
        write_lines(tmp_path / "held.jsonl", [wrong])
        with pytest.raises(UsageError, match="line 1: expected texts prompt, chosen and rejected"):
            pairs_in(tmp_path / "held.jsonl")
    write_lines(tmp_path / "held.jsonl", [])
    with pytest.raises(UsageError, match="has no pairs"):
        pairs_in(tmp_path / "held.jsonl")


def test_a_pair_that_is_longer_than_the_window_is_refused(tmp_path: Path) -> None:
    tiny_llama(tmp_path / "model", window=32)
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "model")
    write_lines(tmp_path / "pairs.jsonl", [{"prompt": TEXT, "chosen": "a", "rejected": "b"}])
    [pair] = pairs_in(tmp_path / "pairs.jsonl")
    with pytest.raises(UsageError, match="the model reads 32"):
        prefers(load_decoder(tmp_path / "model", "exact"), tokenizer, pair)
