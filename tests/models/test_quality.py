"""A quantised model is measured against the original, and what strays too far is refused."""

import math
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.nn.functional import cross_entropy

from markgraph.errors import QualityError
from markgraph.models.agreement import Agreement, agreement, greedy, speed
from markgraph.models.quality import Bounds, Quality, compare_formats
from markgraph.models.reader import ModelReader
from markgraph.models.weights import load_causal
from tests.engines.tiny import tiny_llama, tiny_mamba

TEXT = [(token * 37) % 300 for token in range(300)]
NEAR, FAR = Quality(0.005, 0.97, 2.0, 2.01, 100), Quality(0.2, 0.7, 2.0, 2.5, 100)


@pytest.fixture
def model(tmp_path: Path) -> Any:
    """Return a tiny Llama in float32, transformers' own."""
    tiny_llama(tmp_path / "llama", initializer_range=0.1)
    return load_causal(tmp_path / "llama", "float32")[1]


def noisy(model: Any, scale: float) -> Any:
    """Return a copy of `model` whose weights are off by `scale` of what they are."""
    copy = deepcopy(model)
    torch.manual_seed(0)
    with torch.no_grad():
        for weight in copy.parameters():
            weight += scale * weight.abs().mean() * torch.randn_like(weight)
    return copy


def test_a_model_is_as_good_as_itself_at_every_width(model: Any) -> None:
    found = compare_formats(ModelReader(model), ModelReader(model), TEXT, widths=[1, 7, 128])
    assert found.keys() == {1, 7, 128}
    for quality in found.values():
        assert abs(quality.kl) < 1e-5
        assert quality.top1 == 1
        assert quality.tokens == len(TEXT) - 1


def test_the_figures_are_those_of_one_pass_over_the_whole_text(model: Any) -> None:
    other = noisy(model, 0.2)
    [found] = compare_formats(ModelReader(model), ModelReader(other), TEXT, widths=[16]).values()
    with torch.inference_mode():
        logits = [each(torch.tensor([TEXT])).logits[0, :-1].double() for each in (model, other)]
    p, q = (each.log_softmax(-1) for each in logits)
    after = torch.tensor(TEXT[1:])
    assert found.kl == pytest.approx(float((p.exp() * (p - q)).sum(-1).mean()), rel=1e-3)
    assert found.top1 == pytest.approx(float((p.argmax(-1) == q.argmax(-1)).double().mean()), abs=0.01)
    assert found.nll_reference == pytest.approx(float(cross_entropy(logits[0], after)), rel=1e-4)
    assert found.nll_candidate == pytest.approx(float(cross_entropy(logits[1], after)), rel=1e-4)
    assert found.perplexity[0] == pytest.approx(math.exp(found.nll_reference))


def test_more_noise_is_farther_away(model: Any) -> None:
    noise = [noisy(model, scale) for scale in (0.05, 0.5)]
    little, much = (
        compare_formats(ModelReader(model), ModelReader(each), TEXT, widths=[128])[128] for each in noise
    )
    assert 0 < little.kl < much.kl
    assert little.top1 > much.top1


def test_a_recurrent_model_is_read_in_pieces_as_in_one(tmp_path: Path) -> None:
    tiny_mamba(tmp_path)
    mamba = load_causal(tmp_path, "float32")[1]
    found = compare_formats(ModelReader(mamba), ModelReader(mamba), TEXT[:140], widths=[1, 128])
    assert all(quality.kl < 1e-4 and quality.top1 > 0.99 for quality in found.values())


def test_what_is_within_the_bounds_passes() -> None:
    assert Bounds().broken(NEAR) == []
    Bounds().check("a model", {1: NEAR, 128: NEAR})
    Bounds(kl=0.5, top1=0.5).check("a model", {1: FAR})


def test_a_broken_bound_is_an_error_that_says_which_and_what_is_allowed() -> None:
    with pytest.raises(QualityError) as refusal:
        Bounds().check("smollm2 in mode small", {1: NEAR, 128: FAR})
    said = str(refusal.value)
    assert "smollm2 in mode small" in said
    assert "reading 128 at once: KL divergence 0.2000 nats, allowed: at most 0.01" in said
    assert "top-1 agreement 0.700, allowed: at least 0.95" in said
    assert "reading 1 at once" not in said


def test_a_model_that_computes_nonsense_breaks_the_bounds() -> None:
    nan = float("nan")
    assert len(Bounds().broken(Quality(nan, nan, 2.0, nan, 100))) == 2


def test_answers_agree_up_to_the_first_token_that_differs() -> None:
    before = [[1, 2, 3, 4], [5, 6], [7]]
    assert agreement(before, before) == Agreement(1.0, 1.0)
    assert agreement(before, [[1, 2, 9, 4], [5, 6], [7, 8]]) == Agreement(1 / 3, 5 / 8)
    assert agreement([[]], [[]]) == Agreement(1.0, 1.0)


def test_a_greedy_answer_is_what_transformers_generates(model: Any) -> None:
    prompt = TEXT[:20]
    expected = model.generate(
        torch.tensor([prompt]),
        attention_mask=torch.ones(1, 20, dtype=torch.long),
        do_sample=False,
        max_new_tokens=12,
        eos_token_id=None,
    )[0, 20:].tolist()
    assert greedy(ModelReader(model), prompt, 12, frozenset()) == expected
    ended = greedy(ModelReader(model), prompt, 12, frozenset([expected[3]]))
    assert ended == expected[: expected.index(expected[3])]


def test_speed_is_measured_for_reading_and_for_writing(model: Any) -> None:
    measured = speed(ModelReader(model), TEXT[:128], steps=4, runs=1)
    assert measured.prefill > 0
    assert measured.decode > 0
