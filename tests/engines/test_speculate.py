"""Guesses are read where they pay, and change no answer."""

from collections.abc import Callable

import pytest

from markgraph.engines.native.lookup import same
from markgraph.engines.native.odds import Odds, Tally
from markgraph.engines.native.pace import LONGEST, PROBE, Pace, Probe
from markgraph.engines.native.pipe import UNREAD
from markgraph.engines.native.request import Row
from markgraph.engines.native.speculate import Speculator
from markgraph.engines.port import Token
from tests.engines.recurrence import History
from tests.engines.requests import prompts, request

HOPEFUL = [0.9**n for n in range(1, 13)]
VAIN = [0.01**n for n in range(1, 13)]
SOURCE = prompts(1, 60)[0]
COPY = SOURCE[20:55]
NOVEL = prompts(2, 200)[1]
# After each three tokens of the source, it says another than the source does.
MISLEADING = [word for n in range(0, 48, 3) for word in (*SOURCE[n : n + 3], 63 - SOURCE[n + 3])] * 4
MIXED = [*COPY, *NOVEL[:60], *COPY, *MISLEADING[:60]]


def flat(read: int) -> float:
    """Take as long for any number of tokens: memory is the limit."""
    return 0.01


def dear(read: int) -> float:
    """Take as long for each token: arithmetic is the limit."""
    return 0.01 * read


def usual(read: int) -> float:
    return 0.01 * (1 + 0.2 * (read - 1))


def paced(seconds: dict[int, float], rows: int = 1) -> Pace:
    pace = Pace()
    for tokens, took in seconds.items():
        pace.note(rows, tokens, took)
    return pace


def test_as_many_are_read_as_the_machine_reads_quickly() -> None:
    free = paced(dict.fromkeys(range(1, 14), 1.0))
    steep = paced({n: 1.0 if n <= 3 else 10.0 for n in range(1, 14)})
    dear = paced({n: float(n) for n in range(1, 14)})
    assert [pace.worth([HOPEFUL]) for pace in (free, steep, dear)] == [[12], [2], [0]]


def test_guesses_that_are_seldom_right_are_not_read() -> None:
    assert paced({1: 1.0}).worth([VAIN]) == [0]


def test_the_likeliest_guesses_of_a_batch_are_read() -> None:
    pace = paced({n: 1.0 + 0.1 * n for n in range(3, 40)}, rows=3)
    counts = pace.worth([HOPEFUL, [], VAIN])
    assert counts[0] > 4
    assert counts[1:] == [0, 0]


def test_one_step_that_was_held_up_changes_little() -> None:
    pace = paced({1: 1.0})
    pace.note(1, 1, 1000.0)
    assert pace.seconds(1, 1) < 1.5


def test_a_pace_that_changed_is_learned() -> None:
    pace = paced({1: 1.0})
    for _ in range(40):
        pace.note(1, 1, 3.0)
    assert pace.seconds(1, 1) == pytest.approx(3.0, rel=0.05)


def test_what_does_not_pay_is_tried_ever_more_rarely() -> None:
    probe = Probe()
    tried = [step for step in range(1, 10_000) if probe.due(pays=False)]
    gaps = [b - a for a, b in zip([0, *tried], tried, strict=False)]
    assert gaps[:4] == [PROBE, 2 * PROBE, 4 * PROBE, 8 * PROBE]
    assert max(gaps) == LONGEST
    assert not probe.due(pays=True)
    assert [step for step in range(1, PROBE + 1) if probe.due(pays=False)] == [PROBE]


def test_the_odds_of_a_text_are_learned_from_the_text() -> None:
    odds, unlucky, other = Odds(), Tally(), Tally()
    before = odds.chance(unlucky, 3)
    for _ in range(6):
        odds.note(unlucky, 3, 0, 1)
    assert odds.chance(unlucky, 3) < 0.3 < before
    assert odds.chance(unlucky, 3) < odds.chance(other, 3)
    assert odds.chance(other, 16) > odds.chance(other, 3)


def time_of(speculator: Speculator, text: list[int], seconds: Callable[[int], float], rows: int = 1) -> float:
    """Return how long so many answers with `text` take together, of what they take without guesses.

    Args:
        seconds: what a step takes that reads so many tokens.
    """
    asked = [Row(request(SOURCE, len(text)), History()) for _ in range(rows)]
    plain, took = len(text) * seconds(rows), 0.0
    while asked := [row for row in asked if row.request.left]:
        speculation = speculator.guess(asked)
        for row, guess in zip(asked, speculation.guesses, strict=True):
            rest = text[len(row.tokens) - len(SOURCE) :]
            row.request.tokens += rest[: same(guess, rest) + 1]
        step = seconds(len(asked) + sum(map(len, speculation.guesses)))
        speculator.learn(speculation, step)
        took += step
    return took / plain


def test_what_is_copied_takes_less_time() -> None:
    assert time_of(Speculator(), COPY, flat) < 0.25
    assert time_of(Speculator(), COPY, usual) < 0.65
    assert time_of(Speculator(), COPY, flat, rows=4) < 0.3


@pytest.mark.parametrize("rows", [1, 4])
@pytest.mark.parametrize("seconds", [flat, usual, dear])
@pytest.mark.parametrize("text", [COPY * 4, NOVEL, MISLEADING, MIXED])
def test_no_answer_takes_longer_than_without_guesses(
    text: list[int], seconds: Callable[[int], float], rows: int
) -> None:
    assert time_of(Speculator(), text, seconds, rows) < 1.05


def test_what_it_learned_of_one_answer_serves_the_next() -> None:
    speculator = Speculator()
    first = time_of(speculator, MISLEADING[:60], usual)
    assert time_of(speculator, MISLEADING[:60], usual) <= first
    assert time_of(speculator, COPY, usual) < 0.8


def test_a_machine_that_gets_slow_with_many_tokens_is_noticed() -> None:
    speculator = Speculator()
    assert time_of(speculator, COPY * 3, flat) < 0.3
    for _ in range(2):
        time_of(speculator, COPY * 3, dear)
    assert time_of(speculator, COPY * 3, dear) < 1.02
    for _ in range(2):
        time_of(speculator, COPY * 3, flat)
    assert time_of(speculator, COPY * 3, flat) < 0.5


def test_guesses_leave_room_for_the_tokens_that_may_still_be_said() -> None:
    row = Row(request([*SOURCE, *COPY[:9]], 3), History())
    assert [len(guess) for guess in Speculator().guess([row]).guesses] == [2]
    full = Row(request([*SOURCE, *COPY[:9]], 3), History())
    for token in range(UNREAD - 1):
        full.request.say(Token(token))
    assert Speculator().guess([full]).guesses == [[]]
