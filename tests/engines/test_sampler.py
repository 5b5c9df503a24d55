"""The sampler draws what the settings say, as often as they say, and tells what the model thought."""

from collections.abc import Callable

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from markgraph.engines.port import Sampling, Token
from markgraph.engines.sampler import Sampler, end_tokens
from markgraph.errors import UsageError
from tests.engines.tiny import tiny_tokenizer

LOGITS = torch.tensor([1.0, 5.0, 3.0, 0.0])


class Script:
    """A mask that allows given sets of tokens, one after another, and remembers what was chosen."""

    def __init__(self, *steps: list[bool] | None) -> None:
        self.steps, self.chosen = steps, list[int]()

    def allowed(self) -> torch.Tensor | None:
        step = self.steps[min(len(self.chosen), len(self.steps) - 1)]
        return None if step is None else torch.tensor(step)

    def advance(self, token: int) -> None:
        self.chosen.append(token)


def drawn(sampling: Sampling, logits: torch.Tensor = LOGITS, times: int = 300) -> list[int]:
    sampler = Sampler(sampling)
    return [sampler.pick(logits).id for _ in range(times)]


@pytest.mark.parametrize(
    ("sampling", "expected"),
    [
        (Sampling(seed=0), {1}),
        (Sampling(temperature=1.0, top_p=0.0, seed=0), {1}),
        (Sampling(temperature=1.0, top_p=0.5, seed=0), {1}),
        (Sampling(temperature=1.0, top_p=0.95, seed=0), {1, 2}),
        (Sampling(temperature=5.0, seed=0), {0, 1, 2, 3}),
        (Sampling(temperature=5.0, top_k=2, seed=0), {1, 2}),
        (Sampling(temperature=5.0, top_k=1, seed=0), {1}),
        (Sampling(temperature=5.0, top_k=99, seed=0), {0, 1, 2, 3}),
        (Sampling(temperature=5.0, top_k=3, top_p=0.6, seed=0), {1, 2}),
        (Sampling(temperature=1e-6, seed=0), {1}),
        (Sampling(temperature=1e-39, seed=0), {1}),
    ],
)
def test_draws_from_the_nucleus_and_the_top_only(sampling: Sampling, expected: set[int]) -> None:
    assert set(drawn(sampling)) == expected


def test_draws_as_often_as_the_softmax_says() -> None:
    draws = drawn(Sampling(temperature=2.0, seed=0), times=4000)
    wanted = (LOGITS / 2.0).softmax(-1).tolist()
    assert [draws.count(token) / 4000 for token in range(4)] == pytest.approx(wanted, abs=0.03)


def test_draws_as_often_as_its_distribution_says() -> None:
    sampling = Sampling(temperature=3.0, top_k=3, top_p=0.9, seed=0)
    draws = drawn(sampling, times=4000)
    wanted = Sampler(sampling).distribution(LOGITS).tolist()
    assert [draws.count(token) / 4000 for token in range(4)] == pytest.approx(wanted, abs=0.03)


@given(
    st.lists(st.floats(-20, 20, width=32), min_size=1, max_size=400),
    st.floats(0.01, 5.0),
    st.integers(0, 500),
    st.floats(0.0, 1.0),
)
def test_the_distribution_is_the_smallest_nucleus_of_the_likeliest(
    values: list[float], temperature: float, top_k: int, top_p: float
) -> None:
    logits = torch.tensor(values)
    found = Sampler(Sampling(temperature=temperature, top_k=top_k, top_p=top_p)).distribution(logits)
    assert float(found.sum()) == pytest.approx(1.0, abs=1e-4)
    kept = found > 0
    assert float(logits[kept].max()) == pytest.approx(float(logits.max()), abs=1e-4)
    assert int(kept.sum()) <= (top_k or len(values))
    if not kept.all():
        assert logits[~kept].max() <= logits[kept].min() + 1e-4


def test_finds_a_nucleus_wider_than_the_head_it_looks_at_first() -> None:
    found = Sampler(Sampling(temperature=1.0, top_p=0.75)).distribution(torch.zeros(1000))
    assert int((found > 0).sum()) in (750, 751)


def test_never_draws_what_has_no_probability() -> None:
    sampler = Sampler(Sampling(temperature=1.0, seed=0))
    assert {sampler.draw(torch.tensor([0.0, 0.2, 0.0, 0.6, 0.0])) for _ in range(300)} == {1, 3}


def test_a_greedy_distribution_is_certain_of_the_likeliest() -> None:
    assert Sampler(Sampling()).distribution(LOGITS).tolist() == [0.0, 1.0, 0.0, 0.0]


def test_a_seed_repeats_and_no_seed_does_not() -> None:
    def sample(seed: int | None) -> list[int]:
        return drawn(Sampling(temperature=5.0, seed=seed), times=40)

    assert sample(1) == sample(1) != sample(2)
    assert sample(None) != sample(None)


def test_random_numbers_are_its_own() -> None:
    torch.manual_seed(0)
    expected = torch.rand(3)
    torch.manual_seed(0)
    sampler = Sampler(Sampling(temperature=1.0))
    sampler.pick(LOGITS)
    assert 0.0 <= sampler.uniform() < 1.0
    assert torch.equal(torch.rand(3), expected)


def test_logprobs_are_the_models_own_before_temperature_nucleus_and_mask() -> None:
    mask = Script([True, False, False, True])
    sampling = Sampling(temperature=0.1, top_p=0.5, logprobs=2, mask=lambda: mask, seed=0)
    expected = LOGITS.log_softmax(-1).tolist()
    token = Sampler(sampling).pick(LOGITS)
    assert token.id == 0
    assert token.logprob == pytest.approx(expected[0])
    assert [id_ for id_, _ in token.top] == [1, 2]
    assert [logprob for _, logprob in token.top] == pytest.approx(expected[1:3])


def test_no_logprobs_unless_asked_and_no_more_than_asked() -> None:
    assert Sampler(Sampling()).pick(LOGITS) == Token(1)
    alone = Sampler(Sampling(logprobs=0)).pick(LOGITS)
    assert alone.logprob is not None
    assert alone.top == ()
    assert len(Sampler(Sampling(logprobs=99)).pick(LOGITS).top) == 4


@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_follows_the_mask_one_token_after_another(temperature: float) -> None:
    mask = Script([True, False, False, False], None, [False, False, False, True])
    sampler = Sampler(Sampling(temperature=temperature, top_p=0.5, mask=lambda: mask, seed=0))
    assert [sampler.pick(LOGITS).id for _ in range(3)] == [0, 1, 3] == mask.chosen


def test_each_answer_has_a_mask_of_its_own() -> None:
    made: list[Script] = []

    def make() -> Script:
        made.append(Script([True, True, False, False]))
        return made[-1]

    sampling = Sampling(mask=make)
    for _ in range(2):
        Sampler(sampling).pick(LOGITS)
    assert [mask.chosen for mask in made] == [[1], [1]]


def test_what_a_shorter_mask_does_not_know_is_not_allowed() -> None:
    sampler = Sampler(Sampling(mask=lambda: Script([True])))
    assert sampler.pick(LOGITS).id == 0


def test_a_longer_mask_is_cut() -> None:
    sampler = Sampler(Sampling(mask=lambda: Script([True, False, False, False, True, True])))
    assert sampler.pick(LOGITS).id == 0


@pytest.mark.parametrize("choose", [lambda s: s.pick(LOGITS), lambda s: s.distribution(LOGITS)])
def test_a_mask_without_a_way_out_is_an_error(choose: Callable[[Sampler], object]) -> None:
    with pytest.raises(UsageError, match="mask allows none of the model's 4 tokens"):
        choose(Sampler(Sampling(mask=lambda: Script([False] * 4))))


def test_leaves_the_logits_as_they_are() -> None:
    logits = LOGITS.clone()
    sampling = Sampling(
        temperature=0.5, top_k=2, top_p=0.5, logprobs=1, mask=lambda: Script([True, False, True, True])
    )
    Sampler(sampling).pick(logits)
    assert torch.equal(logits, LOGITS)


@pytest.mark.parametrize(("ends", "expected"), [(None, {1}), (7, {1, 7}), ([7, 1, 9], {1, 7, 9})])
def test_end_tokens_are_the_tokenizers_and_the_models(
    ends: int | list[int] | None, expected: set[int]
) -> None:
    assert end_tokens(tiny_tokenizer(), ends) == expected
