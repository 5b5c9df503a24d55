"""A draft model changes no answer, and guesses for as long as that pays."""

from typing import Any

import pytest

from markgraph.engines.native.admission import Limits
from markgraph.engines.native.draft import Drafting, DraftModel
from markgraph.engines.native.pace import Pace
from markgraph.engines.native.request import Row
from markgraph.engines.native.scheduler import Scheduler
from markgraph.engines.native.speculate import Speculator
from tests.engines.recurrence import History, Recurrence
from tests.engines.requests import END, alone, answer, prompts, request, run

SAMPLINGS: list[dict[str, Any]] = [
    {},
    {"temperature": 1.5, "seed": 3},
    {"temperature": 0.7, "seed": 4, "top_k": 5},
]


class Rewinding(Recurrence):
    """Keeps what it read of each token, as keys and values do."""

    cumulative = False


class Narrow(Rewinding):
    window = 24


class Hasty(Drafting):
    """Guesses whether that pays or not."""

    def guess(self, rows: Any, room: int, pace: Pace) -> list[list[int]]:
        self.model.prepare(rows)
        return self.model.guess(rows, min(3, room)) if room > 0 else [[] for _ in rows]


def drafted(
    draft: Recurrence, drafting: type[Drafting] = Hasty, end: frozenset[int] = END
) -> tuple[list[list[int]], Speculator]:
    """Return what requests of all kinds are answered, and the speculator that helped."""
    speculator = Speculator(drafting(DraftModel(draft)))
    scheduler = Scheduler(Recurrence(), end, Limits(max_batch=4), speculator=speculator)
    made = [request(prompt * (n % 4 + 1), 20, **SAMPLINGS[n % 3]) for n, prompt in enumerate(prompts(9))]
    for one in made:
        scheduler.submit(one)
        scheduler.turn()
    run(scheduler)
    return [answer(one) for one in made], speculator


@pytest.mark.parametrize("seed", [0, 1])
@pytest.mark.parametrize("kind", [Recurrence, Rewinding, Narrow])
@pytest.mark.parametrize("drafting", [Hasty, Drafting])
def test_answers_are_those_without_a_draft_model(
    kind: type[Recurrence], seed: int, drafting: type[Drafting]
) -> None:
    expected = [alone(prompt * (n % 4 + 1), 20, **SAMPLINGS[n % 3]) for n, prompt in enumerate(prompts(9))]
    assert drafted(kind(seed=seed), drafting)[0] == expected


@pytest.mark.parametrize("kind", [Recurrence, Rewinding])
def test_a_draft_that_thinks_alike_is_always_right(kind: type[Recurrence]) -> None:
    """Also where the answer is drawn: it draws with the same random numbers."""
    speculator = drafted(kind(), end=frozenset())[1]
    assert speculator.right == speculator.read > 50


def test_a_draft_that_fails_costs_no_answer(caplog: pytest.LogCaptureFixture) -> None:
    def fail(call: str, size: int) -> None:
        nonlocal calls
        calls += 1
        if calls == 30:
            raise MemoryError("no room for the draft")

    calls = 0
    answers, _ = drafted(Rewinding(watch=fail))
    assert answers == [
        alone(prompt * (n % 4 + 1), 20, **SAMPLINGS[n % 3]) for n, prompt in enumerate(prompts(9))
    ]
    assert calls == 30
    assert "nothing is drafted any more" in caplog.text


def test_a_draft_reads_each_token_once() -> None:
    read = [0]
    draft = Rewinding(watch=lambda call, size: read.__setitem__(0, read[0] + size))
    speculator = Speculator(Hasty(DraftModel(draft)))
    scheduler = Scheduler(Recurrence(), frozenset(), Limits(), speculator=speculator)
    scheduler.submit(request(prompts(1, 40)[0], 24))
    run(scheduler)
    assert speculator.right == speculator.read
    assert read[0] <= 40 + 24


def test_room_for_a_draft_is_asked_for_too() -> None:
    plain = Scheduler(Recurrence(), END, Limits(cache_bytes=10 * 50))
    drafting = Speculator(Hasty(DraftModel(Rewinding())))
    both = Scheduler(Recurrence(), END, Limits(cache_bytes=10 * 50), speculator=drafting)
    for scheduler, running in ((plain, 2), (both, 1)):
        for prompt in prompts(2):
            scheduler.submit(request(prompt))
        scheduler.turn()
        assert scheduler.load.running == running


def costing(step: float, guess: float, luck: float) -> list[int]:
    """Return how many guesses are asked for, step by step, on a machine with such costs."""
    drafting = Drafting(DraftModel(Rewinding()))
    pace, row, counts = Pace(), Row(request(prompts(1)[0], 900), History()), []
    for _ in range(80):
        counts.append(drafting.count([row], pace))
        drafting.note([row], counts[-1], guess * counts[-1])
        pace.note(1, 1 + counts[-1], step)
        right = min(counts[-1], int(luck * counts[-1]))
        if counts[-1]:
            row.draft_luck.note(right, int(right < counts[-1]))
    return counts


def test_a_quick_draft_that_is_right_is_asked_for_much() -> None:
    assert costing(step=1.0, guess=0.02, luck=1.0)[-1] >= 5


def test_a_draft_that_is_slow_or_wrong_is_hardly_asked() -> None:
    for seldom in (costing(step=1.0, guess=1.5, luck=1.0), costing(step=1.0, guess=0.3, luck=0.0)):
        assert sum(count > 0 for count in seldom) <= 12
        assert sum(count > 0 for count in seldom[10:60]) <= 5
