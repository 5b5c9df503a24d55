"""What was scored before a kill is not scored again."""

import json
from collections.abc import Sequence
from pathlib import Path

import pytest

from markgraph.errors import StorageError
from markgraph.models.embed import HashEmbeddings
from markgraph.training.answers import answer_scores
from markgraph.training.dpo import Dpo
from markgraph.training.grpo import Grpo
from markgraph.training.journal import Journal
from markgraph.training.kto import Kto
from markgraph.training.port import Method, Scores, every_row
from markgraph.training.rewards import Rewards
from markgraph.training.rows import Row
from markgraph.training.sft import Sft
from tests.engines.tiny import tiny_llama
from tests.training.clerk import rows, things
from tests.training.facts import chat_rows, pair_rows, rated_rows, tiny_base
from tests.training.test_grpo import task_rows

SOME = rows(things(30), "gap")


class KilledError(Exception):
    """Stands for the end of a process."""


class Counted:
    """Gives each row a value, and ends at the row it is told to."""

    def __init__(self, dies_at: int | None = None) -> None:
        self.asked: list[str] = []
        self._dies_at = dies_at

    def __call__(self, some: Sequence[Row]) -> Scores:
        if self._dies_at is not None and len(self.asked) + len(some) > self._dies_at:
            raise KilledError
        self.asked += [row["id"] for row in some]
        return {"length": [len(row["completion"]) / 3 for row in some], "one": [1.0] * len(some)}


def journal(place: Path, *about: str) -> Journal:
    """Return a journal that tells nobody."""
    return Journal(place, about, lambda row, rows: None)


@pytest.mark.parametrize("at_once", [1, 4])
def test_every_row_is_asked_for_once_however_often_it_is_killed(tmp_path: Path, at_once: int) -> None:
    place, asked = tmp_path / "scores" / "champion.jsonl", list[str]()
    for dies_at in (9, 0, 13, None):
        counted = Counted(dies_at)
        try:
            scores = journal(place)(counted, SOME, at_once)
        except KilledError:
            with place.open("a") as file:
                file.write('{"length": 0.3')  # a line that a kill left half written
        asked += counted.asked
    assert asked == [row["id"] for row in SOME]
    assert scores == every_row(Counted(), SOME)
    last = Counted()
    assert (journal(place)(last, SOME), last.asked) == (scores, [])


def test_it_tells_how_far_it_is_from_where_it_was(tmp_path: Path) -> None:
    told = list[tuple[int, int]]()
    with pytest.raises(KilledError):
        journal(tmp_path / "j")(Counted(28), SOME)
    Journal(tmp_path / "j", (), lambda row, rows: told.append((row, rows)))(Counted(), SOME)
    assert told == [(28, 30), (29, 30), (30, 30)]


def test_another_model_or_other_rows_are_not_gone_on_with(tmp_path: Path) -> None:
    journal(tmp_path / "j", "one")(Counted(), SOME)
    changed: Row = {**SOME[3], "completion": "Nobody pays."}
    for about, some in (("other", SOME), ("other", [*SOME[:3], changed, *SOME[4:]]), ("one", SOME[1:])):
        counted = Counted()
        journal(tmp_path / "j", about)(counted, some)
        assert len(counted.asked) == len(some)


def test_what_the_disk_has_lost_is_scored_again(tmp_path: Path) -> None:
    journal(tmp_path / "j")(Counted(), SOME)
    (tmp_path / "j").write_bytes((tmp_path / "j").read_bytes()[:200] + b"\x00\xff\n")
    counted = Counted()
    journal(tmp_path / "j")(counted, SOME)
    assert len(counted.asked) == len(SOME)


def test_a_place_that_can_not_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "scores").write_text("a file")
    with pytest.raises(StorageError, match=r"Could not write .*scores"):
        journal(tmp_path / "scores" / "j")(Counted(), SOME)


@pytest.mark.parametrize(
    ("method", "some"),
    [
        (Sft(), chat_rows()),
        (Dpo(), pair_rows()),
        (Kto(), rated_rows()),
        (Grpo(rewards=Rewards({"overlap": 1.0})), task_rows()),
    ],
    ids=["sft", "dpo", "kto", "grpo"],
)
def test_a_method_has_the_same_scores_from_a_journal(
    method: Method, some: Sequence[Row], tmp_path: Path
) -> None:
    base, place = tiny_base("llama", tmp_path), tmp_path / "j"
    model = Path(tiny_llama(tmp_path / "other", num_hidden_layers=3).removeprefix("file:"))
    expected = method.scores(base, model, some)
    assert all(len(set(values)) > 1 for metric, values in expected.items() if metric == "nearness")
    method.scores(base, model, some, journal(place))
    lines = place.read_text().splitlines(keepends=True)
    assert len(lines) == 1 + len(some)
    place.write_text("".join(lines[:2]))
    again = method.scores(base, model, some, journal(place))
    assert again == {metric: pytest.approx(values, abs=1e-5) for metric, values in expected.items()}
    assert [len(json.loads(line)) for line in lines[1:]] == [len(json.loads(lines[1]))] * len(some)


def test_a_file_with_more_values_than_rows_is_not_believed(tmp_path: Path) -> None:
    place = tmp_path / "j"
    scores = journal(place)(Counted(), SOME)
    with place.open("a") as file:
        file.write('{"length": 0.5, "one": 0.0}\n')
    counted = Counted()
    assert journal(place)(counted, SOME) == scores
    assert len(counted.asked) == len(SOME)


def test_answers_go_on_too_and_leave_no_text(tmp_path: Path) -> None:
    models, place = {"one": (tiny_base("llama", tmp_path), None)}, tmp_path / "j"
    settings = {"engine": {"mode": "exact"}}
    scores = [
        answer_scores(models, SOME, 24, HashEmbeddings(), settings, journal(place))["one"] for _ in range(2)
    ]
    assert scores[0] == scores[1], "latency, too: nothing was answered again"
    assert {name: len(values) for name, values in scores[0].items()} == {
        "refusals": 24,
        "latency": 24,
        "groundedness": 24,
    }
    head, *lines = map(json.loads, place.read_text().splitlines())
    assert len(bytes.fromhex(head)) == 32
    assert all(type(value) is float for line in lines for value in line.values())
