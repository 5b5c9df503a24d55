"""What a fitted weight is worth is estimated on queries that had no say in it."""

import numpy as np

from markgraph.evaluation.tuning import choose, cross_validate


def test_chooses_the_middle_of_the_best_stretch() -> None:
    assert choose(np.array([0.1, 0.5, 0.7, 0.6])) == 2
    assert choose(np.array([0.1, 0.7, 0.7, 0.7, 0.2])) == 2
    assert choose(np.array([0.7, 0.1, 0.6999, 0.7001, 0.7])) == 3


def test_scores_each_query_with_a_weight_that_was_chosen_without_it() -> None:
    better = np.tile([[0.2], [0.9]], 40)
    assert cross_validate(better).tolist() == [0.9] * 40


def test_a_lucky_choice_is_not_taken_for_a_good_one() -> None:
    noise = np.random.default_rng(0).random((31, 60))
    chosen_on_all = noise[choose(noise.mean(axis=1))].mean()
    assert chosen_on_all > 0.55
    assert abs(cross_validate(noise).mean() - 0.5) < 0.08


def test_one_query_is_scored_with_its_own_choice() -> None:
    assert cross_validate(np.array([[0.1], [0.4]])).tolist() == [0.4]
