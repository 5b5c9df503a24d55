"""The arithmetic of PPO for language models, as functions of tensors.

    Schulman et al. 2017, Proximal policy optimization algorithms: the clipped objectives
    Schulman et al. 2016, High-dimensional continuous control using generalized advantage estimation
    Ziegler et al. 2019, Fine-tuning language models from human preferences: the penalty and its controller

A mask is 1.0 for tokens that the policy said and 0.0 behind them.
b: sequences, t: tokens said, v: vocabulary.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from markgraph.training.allowed import at_least, more_than


def log_probabilities(logits: Tensor, tokens: Tensor, temperature: float = 1.0) -> Tensor:
    """Return the logarithm of each token's probability: (b, t, v) and (b, t) to (b, t)."""
    logits = logits.float() / temperature
    said = logits.gather(-1, tokens.unsqueeze(-1)).squeeze(-1)  # (b, t)
    return said - logits.logsumexp(-1)


def masked_mean(values: Tensor, mask: Tensor) -> Tensor:
    """Return the mean over the tokens of all sequences together."""
    return (values * mask).sum() / mask.sum()


def whitened(values: Tensor, mask: Tensor) -> Tensor:
    """Return `values` with mean 0 and variance 1 over the tokens that the mask keeps, (b, t)."""
    mean = masked_mean(values, mask)
    variance = masked_mean((values - mean) ** 2, mask)
    return (values - mean) * torch.rsqrt(variance + 1e-8) * mask


def penalized_rewards(scores: Tensor, log_ratio: Tensor, mask: Tensor, beta: float) -> Tensor:
    """Return each token's reward, (b, t): straying from the reference costs, and the last one has the score.

    Ziegler et al., equation 2: R(x, y) = r(x, y) - beta log(pi(y|x) / rho(y|x)), told token by token.

    Args:
        scores: r, one for each sequence, (b,).
        log_ratio: log pi - log rho of each token, (b, t).
    """
    last = mask.sum(1).long() - 1  # (b,)
    rewards = -beta * log_ratio * mask
    return rewards.scatter_add(1, last.unsqueeze(1), scores.to(rewards.dtype).unsqueeze(1))


def advantages_and_returns(
    rewards: Tensor, values: Tensor, mask: Tensor, gamma: float, lam: float
) -> tuple[Tensor, Tensor]:
    """Return the generalized advantages and what the values should have been, both (b, t).

    Schulman et al. 2016, equations 16: A_t = delta_t + gamma lambda A_(t+1),
    delta_t = r_t + gamma V_(t+1) - V_t; nothing is worth anything after the last token.
    """
    values = values * mask
    advantages = torch.zeros_like(rewards)
    following, ahead = torch.zeros_like(rewards[:, 0]), torch.zeros_like(rewards[:, 0])  # V, A at t + 1: (b,)
    for t in reversed(range(rewards.shape[1])):
        delta = rewards[:, t] + gamma * following - values[:, t]
        ahead = (delta + gamma * lam * ahead) * mask[:, t]
        following = values[:, t]
        advantages[:, t] = ahead
    return advantages, (advantages + values) * mask


def policy_loss(new: Tensor, old: Tensor, advantages: Tensor, mask: Tensor, epsilon: float) -> Tensor:
    """Return the clipped loss of the policy; Schulman et al. 2017, equation 7, negated.

    Args:
        new: log-probabilities now, (b, t).
        old: log-probabilities when the tokens were said, (b, t).
    """
    ratio = torch.exp((new - old) * mask)
    clipped = ratio.clamp(1 - epsilon, 1 + epsilon)
    return masked_mean(torch.maximum(-ratio * advantages, -clipped * advantages), mask)


def value_loss(new: Tensor, old: Tensor, returns: Tensor, mask: Tensor, epsilon: float) -> Tensor:
    """Return half the squared error of the values, which may not profit from moving further than epsilon."""
    clipped = old + (new - old).clamp(-epsilon, epsilon)
    return 0.5 * masked_mean(torch.maximum((new - returns) ** 2, (clipped - returns) ** 2), mask)


def kl_divergence(log_ratio: Tensor, mask: Tensor) -> Tensor:
    """Return how far sequences stray from the reference, (b,): log pi - log rho, added up over their tokens.

    It is an estimate from what was said: its mean is the divergence; a single one may be below 0.
    """
    return (log_ratio * mask).sum(1)


@dataclass(frozen=True)
class Penalty:
    """What straying from the reference costs; with a target, beta is moved towards it."""

    beta: float = 0.05
    target: float | None = None
    """KL divergence per sequence, in nats; None: beta stays as it is."""
    gain: float = 0.1
    """K_beta of the paper."""

    def __post_init__(self) -> None:
        at_least(self, 0, "beta", "gain", of="method.penalty")
        more_than(self, 0, "target", of="method.penalty")

    def after(self, beta: float, kl: float) -> float:
        """Return the next beta; Ziegler et al., section 2.2."""
        if self.target is None:
            return beta
        error = min(0.2, max(-0.2, kl / self.target - 1))
        return beta * (1 + self.gain * error)
