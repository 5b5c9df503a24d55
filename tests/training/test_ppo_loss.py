"""The arithmetic of PPO against numbers that were worked out by hand."""

import math

import pytest
import torch
from torch import Tensor

from markgraph.training.ppo_loss import (
    Penalty,
    advantages_and_returns,
    kl_divergence,
    log_probabilities,
    masked_mean,
    penalized_rewards,
    policy_loss,
    value_loss,
    whitened,
)

ALL = torch.ones(1, 1)


def row(*values: float) -> Tensor:
    return torch.tensor([values])


def test_log_probabilities_are_those_of_the_tokens_said() -> None:
    logits = torch.tensor([[[0.0, math.log(3)], [math.log(4), 0.0]]])  # 1/4, 3/4; 4/5, 1/5
    found = log_probabilities(logits, torch.tensor([[1, 1]]))
    assert found.exp().tolist() == [pytest.approx([0.75, 0.2])]


def test_temperature_divides_the_logits() -> None:
    logits = torch.tensor([[[0.0, math.log(9)]]])  # with 2: 1 to 3
    assert log_probabilities(logits, torch.tensor([[1]]), 2.0).exp().item() == pytest.approx(0.75)


def test_mean_and_whitening_leave_out_what_is_masked() -> None:
    values, mask = row(1.0, 3.0, 100.0), row(1.0, 1.0, 0.0)
    assert masked_mean(values, mask) == 2.0
    assert whitened(values, mask).tolist() == [pytest.approx([-1.0, 1.0, 0.0])]


def test_the_score_comes_with_the_last_token_and_straying_costs_at_each() -> None:
    mask = torch.tensor([[1.0, 1.0, 0.0], [1.0, 1.0, 1.0]])
    ratio = torch.tensor([[0.5, -1.0, 9.0], [0.0, 0.0, 2.0]])
    found = penalized_rewards(torch.tensor([4.0, 1.0]), ratio, mask, beta=0.1)
    assert found.tolist() == [pytest.approx([-0.05, 4.1, 0.0]), pytest.approx([0.0, 0.0, 0.8])]


@pytest.mark.parametrize(
    ("gamma", "lam", "advantages", "returns"),
    [
        # deltas: 1 + 2g - 1, 0 + 3g - 2, 4 - 3
        (1.0, 0.0, [2.0, 1.0, 1.0], [3.0, 3.0, 4.0]),
        (1.0, 1.0, [4.0, 2.0, 1.0], [5.0, 4.0, 4.0]),  # all that is still to come: 5, 4, 4
        (1.0, 0.5, [2.75, 1.5, 1.0], [3.75, 3.5, 4.0]),
        (0.5, 0.5, [0.9375, -0.25, 1.0], [1.9375, 1.75, 4.0]),  # deltas 1, -0.5, 1
        (0.0, 0.5, [0.0, -2.0, 1.0], [1.0, 0.0, 4.0]),  # only the reward at hand
    ],
)
def test_generalized_advantages(
    gamma: float, lam: float, advantages: list[float], returns: list[float]
) -> None:
    found = advantages_and_returns(row(1.0, 0.0, 4.0), row(1.0, 2.0, 3.0), row(1.0, 1.0, 1.0), gamma, lam)
    assert [each.tolist() for each in found] == [[pytest.approx(advantages)], [pytest.approx(returns)]]


def test_values_behind_the_last_token_are_worth_nothing() -> None:
    short = advantages_and_returns(row(1.0, 2.0), row(0.5, 0.5), row(1.0, 1.0), 0.9, 0.8)
    padded = advantages_and_returns(row(1.0, 2.0, 0.0), row(0.5, 0.5, 7.0), row(1.0, 1.0, 0.0), 0.9, 0.8)
    for one, other in zip(short, padded, strict=True):
        assert other.tolist() == [[*one[0].tolist(), 0.0]]


@pytest.mark.parametrize(
    ("ratio", "advantage", "loss", "moves"),
    [
        (1.0, 2.0, -2.0, True),
        (1.1, 2.0, -2.2, True),
        (1.5, 2.0, -2.4, False),  # far enough: 1.2 counts
        (0.5, 2.0, -1.0, True),  # it got worse: it is pulled back
        (0.5, -2.0, 1.6, False),  # far enough: 0.8 counts
        (1.5, -2.0, 3.0, True),
    ],
)
def test_the_policys_loss_stops_paying_outside_of_the_clip(
    ratio: float, advantage: float, loss: float, moves: bool
) -> None:
    new = row(math.log(ratio)).requires_grad_()
    found = policy_loss(new, row(0.0), row(advantage), ALL, epsilon=0.2)
    found.backward()
    assert found.item() == pytest.approx(loss)
    assert bool(new.grad) is moves


@pytest.mark.parametrize(
    ("new", "returns", "loss", "moves"),
    [
        (1.1, 2.0, 0.405, True),  # 0.9 squared, halved
        (2.0, 2.0, 0.32, False),  # 1.2 counts: 0.8 squared, halved
        (3.0, 1.0, 2.0, True),  # worse than the clipped one: it is pulled back
        (0.0, 2.0, 2.0, True),
    ],
)
def test_the_values_loss_is_the_worse_of_clipped_and_not(
    new: float, returns: float, loss: float, moves: bool
) -> None:
    value = row(new).requires_grad_()
    found = value_loss(value, row(1.0), row(returns), ALL, epsilon=0.2)
    found.backward()
    assert found.item() == pytest.approx(loss)
    assert bool(value.grad) is moves


def test_losses_leave_out_what_is_masked() -> None:
    mask = row(1.0, 0.0)
    assert policy_loss(row(0.0, 50.0), row(0.0, -50.0), row(3.0, 9.0), mask, 0.2).item() == -3.0
    assert value_loss(row(1.0, 9.0), row(1.0, 0.0), row(3.0, 0.0), mask, 0.2).item() == 2.0


def test_divergence_is_added_up_over_the_tokens_said() -> None:
    assert kl_divergence(row(0.5, -0.2, 9.0), row(1.0, 1.0, 0.0)).tolist() == pytest.approx([0.3])


@pytest.mark.parametrize(
    ("kl", "beta"),
    [(6.0, 0.2), (6.6, 0.202), (60.0, 0.204), (5.4, 0.198), (0.0, 0.196), (-3.0, 0.196)],
)
def test_the_penalty_follows_its_target_a_little_at_a_time(kl: float, beta: float) -> None:
    assert Penalty(target=6.0).after(0.2, kl) == pytest.approx(beta)
    assert Penalty().after(0.2, kl) == 0.2
