"""Says how sure a mean is: bootstrap over queries (Efron 1979; for retrieval: Sakai 2006)."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

RESAMPLES = 2000
CONFIDENCE = 0.95
SEED = 0


class Interval(NamedTuple):
    """A mean, and where most means of resampled queries lie: 95 %, or another share that was asked for."""

    mean: float
    low: float
    high: float


def interval_of(values: Sequence[float], *, seed: int = SEED, confidence: float = CONFIDENCE) -> Interval:
    """Return the mean of one figure per query, with its percentile interval; the same for the same values.

    For the difference of two rankers give the differences, query by query: that is the paired bootstrap.

    Raises:
        ValueError: there are no values.
    """
    if not len(values):
        raise ValueError("An interval needs at least one value.")
    sample = np.asarray(values, dtype=float)  # (n,)
    drawn = np.random.default_rng(seed).integers(0, len(sample), (RESAMPLES, len(sample)))  # (r, n)
    tail = (1 - confidence) / 2
    low, high = np.quantile(sample[drawn].mean(axis=1), [tail, 1 - tail])
    return Interval(float(sample.mean()), float(low), float(high))
