"""As many threads compute as are fastest, whether or not somebody else does; results stay the same."""

import random
from collections.abc import Callable

import pytest

from markgraph.engines.native.threads import TRY_AFTER, Choice, Threads

Costs = dict[int, float]
QUIET: Costs = {8: 1.0, 4: 1.5, 2: 2.5, 1: 4.5}
ONE_CORE_TAKEN: Costs = {8: 20.0, 4: 1.5, 2: 2.5, 1: 4.5}
ALL_TAKEN: Costs = {8: 60.0, 4: 40.0, 2: 25.0, 1: 9.0}


def taken(
    choice: Choice, costs: Callable[[int], Costs], steps: int, rows: int = 1
) -> list[tuple[int, float]]:
    """Return threads and seconds of so many steps, whose costs are asked for by the step."""
    told = []
    for step in range(steps):
        count = choice.count()
        seconds = rows * costs(step)[count]
        choice.note(count, rows, seconds)
        told.append((count, seconds))
    return told


def total(told: list[tuple[int, float]]) -> float:
    return sum(seconds for _, seconds in told)


def test_all_compute_where_nobody_disturbs() -> None:
    told = taken(Choice(8), lambda _: QUIET, 1000)
    assert total(told) < 1.02 * 1000
    assert {count for count, _ in told[40:]} == {8}


@pytest.mark.parametrize("costs", [ONE_CORE_TAKEN, ALL_TAKEN])
def test_fewer_compute_where_that_is_faster_from_the_start(costs: Costs) -> None:
    told = taken(Choice(8), lambda _: costs, 1000)
    assert total(told[100:]) < 1.3 * 900 * min(costs.values())


@pytest.mark.parametrize("costs", [ONE_CORE_TAKEN, ALL_TAKEN])
def test_fewer_compute_while_somebody_else_does(costs: Costs) -> None:
    told = taken(Choice(8), lambda step: costs if 500 <= step < 1500 else QUIET, 4000)
    assert total(told[600:1500]) < 1.3 * 900 * min(costs.values())
    assert total(told[3000:]) < 1.1 * 1000


def test_a_step_that_is_held_up_changes_nothing() -> None:
    told = taken(Choice(8), lambda step: {8: 30.0, 4: 30.0, 2: 30.0, 1: 30.0} if step == 300 else QUIET, 600)
    assert {count for count, _ in told[40:]} == {8}


def test_steps_that_get_slower_with_the_text_keep_all_threads() -> None:
    told = taken(Choice(8), lambda step: {n: cost * (1 + step / 300) for n, cost in QUIET.items()}, 3000)
    assert sum(count == 8 for count, _ in told) > 0.9 * 3000


def test_one_thread_is_one_thread() -> None:
    assert {count for count, _ in taken(Choice(1), lambda _: {1: 3.0}, 300)} == {1}


def test_a_step_is_judged_by_steps_of_as_many_rows() -> None:
    choice, told = Choice(8), []
    for rows in (1, 2, 1, 2, 2, 1) * 50:
        told += taken(choice, lambda _: QUIET, 3, rows)
    assert sum(count == 8 for count, _ in told) > 0.98 * len(told)


def test_luck_now_and_then_brings_back_no_threads_that_are_slow() -> None:
    luck = random.Random(0)
    told = taken(Choice(8), lambda _: ONE_CORE_TAKEN | {8: luck.choice([1.0, 20.0, 20.0])}, 3000)
    assert total(told) < 1.3 * 3000 * 1.5


def test_the_number_is_set_for_a_step_and_put_back() -> None:
    told: list[int] = []
    threads = Threads(2, told.append)
    counts = []
    for _ in range(TRY_AFTER):
        with threads.computing(1) as count:
            counts.append(count)
    assert counts == [2] * (TRY_AFTER - 1) + [1]
    assert told == [1, 2]
