"""Requests share a decoder: each gets what it would get alone, and in time."""

from collections.abc import Callable
from typing import Any

import pytest

from markgraph.engines.native.admission import Limits
from markgraph.engines.native.prefix import PrefixCache
from markgraph.engines.native.scheduler import Scheduler
from markgraph.engines.native.speculate import Speculator
from markgraph.errors import EngineError, UsageError
from tests.engines.recurrence import Recurrence
from tests.engines.requests import END, NOTHING, alone, answer, prompts, request, run, untaken

SAMPLINGS: list[dict[str, Any]] = [{}, {"temperature": 1.5, "seed": 3}, {"logprobs": 2}]


@pytest.mark.parametrize("max_batch", [1, 3, 16])
@pytest.mark.parametrize("chunk", [1, 4, 512])
@pytest.mark.parametrize("speculator", [None, Speculator])
def test_each_gets_what_it_gets_alone(
    max_batch: int, chunk: int, speculator: Callable[[], Speculator] | None
) -> None:
    decoder = Recurrence()
    limits = Limits(max_batch=max_batch, prefill_chunk=chunk)
    prefixes = PrefixCache(decoder, 10_000)
    scheduler = Scheduler(decoder, END, limits, prefixes, speculator() if speculator else None)
    asked = [(prompt * (n % 3 + 1), SAMPLINGS[n % 3]) for n, prompt in enumerate(prompts(20))]
    made = [request(prompt, **sampling) for prompt, sampling in asked]
    for one in made[:8]:
        scheduler.submit(one)
    for one in made[8:]:  # while the first are answered
        scheduler.submit(one)
        scheduler.turn()
    run(scheduler)
    assert [answer(one) for one in made] == [alone(prompt, **sampling) for prompt, sampling in asked]
    assert scheduler.load == NOTHING


def test_steps_are_taken_together() -> None:
    sizes: list[int] = []
    decoder = Recurrence(watch=lambda call, size: sizes.append(size) if call == "step" else None)
    scheduler = Scheduler(decoder, frozenset(), Limits(max_batch=4))
    for prompt in prompts(6):
        scheduler.submit(request(prompt))
    run(scheduler)
    assert sizes == [4] * 11 + [2] * 11


def test_a_long_prompt_is_read_between_the_steps_of_others() -> None:
    calls: list[str] = []
    decoder = Recurrence(watch=lambda call, size: calls.append(f"{call} {size}"))
    scheduler = Scheduler(decoder, frozenset(), Limits(prefill_chunk=8))
    scheduler.submit(request(prompts(1)[0]))
    scheduler.turn()
    scheduler.submit(request(prompts(1, 40)[0]))
    for _ in range(5):
        scheduler.turn()
    assert calls == ["read 7", "step 1", *["read 8", "step 1"] * 4, "read 8", "step 2"]


def test_short_prompts_overtake_a_long_one_that_goes_on_being_read() -> None:
    scheduler = Scheduler(Recurrence(), END, Limits(prefill_chunk=16))
    long = request(prompts(1, 400)[0], max_tokens=1)
    scheduler.submit(long)
    turns = 0
    while not untaken(long):
        short = request(prompts(1)[0], max_tokens=1)
        scheduler.submit(short)
        scheduler.turn()
        turns += 1
        assert len(answer(short)) == 1
    assert turns <= 400 / 8


def test_the_oldest_of_the_long_prompts_is_read_first() -> None:
    scheduler = Scheduler(Recurrence(), END, Limits(prefill_chunk=16))
    made = [request(prompt, max_tokens=1) for prompt in prompts(3, 100)]
    for one in made:
        scheduler.submit(one)
    for _ in range(4):
        scheduler.turn()
    assert [untaken(one) > 0 for one in made] == [True, False, False]


def test_a_beginning_that_was_read_is_not_read_again() -> None:
    read: list[int] = []
    decoder = Recurrence(watch=lambda call, size: read.append(size) if call == "read" else None)
    scheduler = Scheduler(decoder, END, Limits(prefill_chunk=8), PrefixCache(decoder, 100_000))
    prompt = prompts(1, 40)[0]
    for question in (1, 2):
        scheduler.submit(request([*prompt, question], max_tokens=3))
        run(scheduler)
    assert read == [8] * 5 + [1]  # the last token of the first was read by its step


def test_a_conversation_goes_on_where_it_ended() -> None:
    read: list[int] = []
    decoder = Recurrence(watch=lambda call, size: read.append(size) if call == "read" else None)
    scheduler = Scheduler(decoder, frozenset(), Limits(), PrefixCache(decoder, 100_000))
    first = request(prompts(1)[0])
    scheduler.submit(first)
    run(scheduler)
    scheduler.submit(request([*prompts(1)[0], *answer(first), 9, 8, 7]))
    run(scheduler)
    assert read == [7, 1 + 3]


def test_one_whose_consumer_left_is_not_computed_further() -> None:
    scheduler = Scheduler(Recurrence(), END, Limits())
    left, stays = request(prompts(2)[0], 100), request(prompts(2)[1], 20)
    scheduler.submit(left)
    scheduler.submit(stays)
    scheduler.turn()
    left.cancelled = True
    before = untaken(left)
    run(scheduler)
    assert untaken(left) == before
    assert answer(stays) == alone(prompts(2)[1], 20)
    assert scheduler.load == NOTHING


def test_a_step_that_fails_ends_its_answers_and_no_others() -> None:
    failing = [False]

    def watch(call: str, size: int) -> None:
        if call == "step" and failing[0]:
            raise ArithmeticError("a bit fell over")

    scheduler = Scheduler(Recurrence(watch=watch), END, Limits())
    made = [request(prompt) for prompt in prompts(3)]
    for one in made[:2]:
        scheduler.submit(one)
    scheduler.turn()
    failing[0] = True
    scheduler.turn()
    failing[0] = False
    scheduler.submit(made[2])
    run(scheduler)
    for one in made[:2]:
        with pytest.raises(EngineError, match=r"ArithmeticError: a bit fell over.*Ask again"):
            answer(one)
    assert answer(made[2]) == alone(prompts(3)[2])
    assert scheduler.load == NOTHING


def test_a_mask_that_fails_ends_its_own_answer_only() -> None:
    class Broken:
        def allowed(self) -> None:
            raise UsageError("no such grammar")

        def advance(self, token: int) -> None: ...

    scheduler = Scheduler(Recurrence(), END, Limits())
    broken, whole = request(prompts(2)[0], mask=Broken), request(prompts(2)[1])
    scheduler.submit(broken)
    scheduler.submit(whole)
    run(scheduler)
    with pytest.raises(UsageError, match="no such grammar"):
        answer(broken)
    assert answer(whole) == alone(prompts(2)[1])


def test_an_unknown_adapter_ends_its_own_answer_only() -> None:
    scheduler = Scheduler(Recurrence(), END, Limits())
    unknown, whole = request(prompts(2)[0], adapter="legal"), request(prompts(2)[1])
    scheduler.submit(unknown)
    scheduler.submit(whole)
    run(scheduler)
    with pytest.raises(UsageError, match="no adapter 'legal'"):
        answer(unknown)
    assert answer(whole) == alone(prompts(2)[1])


def test_closing_ends_every_answer_and_refuses_further_ones() -> None:
    scheduler = Scheduler(Recurrence(), END, Limits(max_batch=1))
    made = [request(prompt) for prompt in prompts(3)]
    for one in made[:2]:
        scheduler.submit(one)
    scheduler.turn()
    scheduler.close()
    for one in made[:2]:
        with pytest.raises(EngineError, match="closed"):
            answer(one)
    with pytest.raises(EngineError, match="closed"):
        scheduler.submit(made[2])
    assert scheduler.load == NOTHING
