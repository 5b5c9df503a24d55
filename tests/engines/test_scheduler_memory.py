"""The scheduler stays within its memory, keeps a bounded queue, and lets nobody wait for ever."""

import pytest

from markgraph.engines.native.admission import PATIENCE, Limits
from markgraph.engines.native.pipe import UNREAD
from markgraph.engines.native.scheduler import Scheduler
from markgraph.engines.native.speculate import Speculator
from markgraph.errors import OverloadedError, UsageError
from tests.engines.recurrence import Recurrence
from tests.engines.requests import END, NOTHING, alone, answer, prompts, request, run, untaken


def test_what_runs_stays_within_the_memory() -> None:
    scheduler = Scheduler(Recurrence(), END, Limits(cache_bytes=10 * 50))
    made = [request(prompt) for prompt in prompts(9)]  # of 19 tokens
    for one in made:
        scheduler.submit(one)
    assert scheduler.load.waiting == 9
    while scheduler.turn():
        assert scheduler.load.running <= 2
        assert scheduler.load.cache_bytes <= 500
    assert [answer(one) for one in made] == [alone(prompt) for prompt in prompts(9)]


def test_more_than_there_is_is_refused_at_once() -> None:
    scheduler = Scheduler(Recurrence(), END, Limits(cache_bytes=10 << 20))
    with pytest.raises(UsageError, match=r"1572864 tokens, 15 MB.*Allowed: 10 MB.*Lower max_tokens"):
        scheduler.submit(request([1], 1572863))


def test_a_full_queue_refuses_and_goes_on() -> None:
    scheduler = Scheduler(Recurrence(), END, Limits(max_batch=1, queue=2))
    made = [request(prompt) for prompt in prompts(4)]
    scheduler.submit(made[0])
    scheduler.turn()
    scheduler.submit(made[1])
    scheduler.submit(made[2])
    with pytest.raises(OverloadedError, match=r"busy, and 2 requests wait. Allowed: 2.*Try again"):
        scheduler.submit(made[3])
    run(scheduler)
    scheduler.submit(made[3])
    run(scheduler)
    assert [answer(one) for one in made] == [alone(prompt) for prompt in prompts(4)]


def test_small_requests_pass_a_large_one_but_not_for_ever() -> None:
    scheduler = Scheduler(Recurrence(), frozenset(), Limits(cache_bytes=10 * 100))
    first, large = request(prompts(1)[0], 30), request(prompts(1)[0], 60)
    scheduler.submit(first)
    scheduler.turn()
    scheduler.submit(large)
    passed = 0
    for _ in range(60):
        small = request(prompts(1)[0], 2)
        scheduler.submit(small)
        scheduler.turn()
        passed += untaken(small) > 0 and not untaken(large)
        first.cancelled = first.cancelled or untaken(first) == 25
    assert passed == PATIENCE
    assert untaken(large)


def test_those_who_left_the_queue_are_forgotten() -> None:
    scheduler = Scheduler(Recurrence(), END, Limits(max_batch=1))
    made = [request(prompt) for prompt in prompts(3)]
    for one in made:
        scheduler.submit(one)
    made[1].cancelled = True
    run(scheduler)
    assert not untaken(made[1])
    assert answer(made[2]) == alone(prompts(3)[2])
    assert scheduler.load == NOTHING


@pytest.mark.parametrize("speculator", [None, Speculator()])
def test_tokens_do_not_pile_up_before_a_slow_consumer(speculator: Speculator | None) -> None:
    scheduler = Scheduler(Recurrence(), frozenset(), Limits(), speculator=speculator)
    slow, quick = request(prompts(2)[0], 200), request(prompts(2)[1], 30)
    scheduler.submit(slow)
    scheduler.submit(quick)
    run(scheduler)
    assert untaken(slow) == UNREAD
    assert answer(quick) == alone_without_end(prompts(2)[1], 30)
    told = []
    for token in slow.pipe.read():
        told.append(token.id)
        run(scheduler)
    assert told == alone_without_end(prompts(2)[0], 200)
    assert scheduler.load == NOTHING


def test_those_who_lag_behind_keep_no_row_and_no_memory_from_others() -> None:
    scheduler = Scheduler(Recurrence(), frozenset(), Limits(max_batch=2, cache_bytes=10 * 250))
    slow = [request(prompt, 100) for prompt in prompts(2)]
    for one in slow:
        scheduler.submit(one)
    run(scheduler)
    assert scheduler.load.running == 2
    others = [request(prompt, 20) for prompt in prompts(6)]
    for one in others:
        scheduler.submit(one)
    run(scheduler)
    assert [answer(one) for one in others] == [alone_without_end(prompt, 20) for prompt in prompts(6)]
    assert scheduler.load.waiting == 1, "one had to give its memory back"
    for one, prompt in zip(slow, prompts(2), strict=True):
        told = []
        for token in one.pipe.read():
            told.append(token.id)
            run(scheduler)
        assert told == alone_without_end(prompt, 100)
    assert scheduler.load == NOTHING


def alone_without_end(prompt: list[int], max_tokens: int) -> list[int]:
    scheduler = Scheduler(Recurrence(), frozenset(), Limits())
    one = request(prompt, max_tokens)
    scheduler.submit(one)
    told = []
    run(scheduler)
    for token in one.pipe.read():
        told.append(token.id)
        run(scheduler)
    return told
