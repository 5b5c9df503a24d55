"""The evaluation graph: everybody is asked the same, and scored by what is right."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from markgraph.build import Graph, load_graph
from markgraph.errors import ConfigError, DeniedError, UsageError
from markgraph.evaluation.comparison import compare
from markgraph.evaluation.log import logs_of
from markgraph.evaluation.summary import scores_of
from markgraph.models.fake import FakeChatModel
from markgraph.retrieval.hybrid import HybridIndex
from markgraph.retrieval.types import Chunk
from markgraph.retrieval.words import WordsIndex
from markgraph.security.caller import Caller
from markgraph.validation.refusals import REFUSAL
from tests.evaluation.conftest import write_lines

EVALUATOR = Caller("eva", ("reader", "writer"))
TOWNS = ["Aldow", "Birkby", "Corley", "Denholm", "Elsham", "Farway", "Girton", "Hanley", "Irby", "Keld"] * 3


@pytest.fixture
def asked(tmp_path: Path) -> Path:
    """Return thirty questions with two passages each; the last three can't be answered."""
    rows = []
    for n, town in enumerate(TOWNS):
        there, elsewhere = (
            f"The mill of {town} was built in {1700 + n}.",
            f"The inn of {town} has {n + 2} rooms.",
        )
        last = n >= len(TOWNS) - 3
        rows.append(
            {
                "id": f"q{n:02}",
                "question": f"When was the mill of {town} built?",
                "answers": [] if last else [str(1700 + n)],
                "passages": [elsewhere] if last else [elsewhere, there],
            }
        )
    write_lines(tmp_path / "asked.jsonl", rows)
    return tmp_path / "asked.jsonl"


@pytest.fixture
def evaluate(tmp_path: Path, asked: Path) -> Callable[..., Graph]:
    """Return a function that builds the graph for a model."""

    def build(model: FakeChatModel, label: str = "fake", *overrides: str, **services: Any) -> Graph:
        return load_graph(
            "evaluate",
            [
                "embedder=hash",
                f"graph.questions.path={asked}",
                f"graph.log.folder={tmp_path / 'report'}",
                f"graph.log.label={label}",
                f"graph.log.key={label}",
                *overrides,
            ],
            model=model,
            **services,
        )

    return build


class Scripted(FakeChatModel):
    """Answers by what a prompt holds, so that the order of questions does not matter."""

    answer: Callable[[str], str]

    def _next(self, messages: list[Any]) -> str:
        self._asked.append(messages)
        return self.answer(messages[-1].text)


def right(prompt: str) -> str:
    """Answer from the passage with the year, or refuse."""
    if "was built in" not in prompt:
        return REFUSAL
    mark, passage = next(
        (mark, line) for mark, line in enumerate(prompt.split("\n\n"), 1) if "was built in" in line
    )
    return f"{passage.splitlines()[-1].rstrip('.')} [{mark}]."


def wrong(prompt: str) -> str:
    """Answer what is right for another question."""
    return f"The mill was built in {1700 + (len(prompt) * 7) % 30 + 40} [1]."


def records(folder: Path) -> Iterator[dict[str, Any]]:
    for _, found in logs_of(folder):
        yield from map(dict, found)


def test_scores_a_model_that_is_right(evaluate: Callable[..., Graph], tmp_path: Path) -> None:
    model = Scripted(answer=right)
    done = evaluate(model, "right").invoke({}, context=EVALUATOR)
    assert done.keys() == {"report", "folder"}
    [row] = done["report"]["rows"]
    assert (row["subject"], row["questions"]) == ("right", 30)
    assert row["contains"] == row["groundedness"] == row["refusal"] == 1
    assert row["citation_precision"] == row["citation_recall"] == 1
    assert row["exact_match"] == 0.1, "sentences are no exact answers, and three refusals are"
    assert row["answerable"]["questions"] == 27
    assert row["unanswerable"] | {"refused": 1.0, "f1": 1.0} == row["unanswerable"]
    assert row["intervals"]["f1"][0] < row["f1"] < row["intervals"]["f1"][1]
    assert row["output_tokens"] > 30
    assert len(model.prompts) == 31, "each question once, and one beforehand whose time does not count"


def test_asks_with_the_prompt_of_the_graph_that_is_served(evaluate: Callable[..., Graph]) -> None:
    model = Scripted(answer=right)
    evaluate(model, "m", "graph.asked.generate.instructions=Be brief.").invoke({}, context=EVALUATOR)
    system, human = model.prompts[-1]
    assert system.text == "Be brief."
    assert human.text.startswith("[1] \nThe inn of ")
    assert "\n\nQuestion: When was the mill of " in human.text


def test_scores_a_model_that_is_wrong_and_says_how_far_it_is_behind(
    evaluate: Callable[..., Graph], tmp_path: Path
) -> None:
    evaluate(Scripted(answer=right), "a-right").invoke({}, context=EVALUATOR)
    report = evaluate(Scripted(answer=wrong), "b-wrong").invoke({}, context=EVALUATOR)["report"]
    good, bad = report["rows"]
    assert (good["subject"], bad["subject"]) == ("a-right", "b-wrong")
    assert bad["contains"] == bad["refusal"] - 0.9 == 0
    [difference] = report["differences"]
    assert (difference["subject"], difference["to"], difference["questions"]) == ("b-wrong", "a-right", 30)
    found = difference["metrics"]["contains"]
    assert (found["champion"], found["candidate"], found["high"]) == (1, 0, -1)


def test_the_gate_refuses_a_candidate_that_learned_shuffled_answers(
    evaluate: Callable[..., Graph], tmp_path: Path
) -> None:
    evaluate(Scripted(answer=right), "1-champion").invoke({}, context=EVALUATOR)
    evaluate(Scripted(answer=wrong), "2-shuffled").invoke({}, context=EVALUATOR)
    (_, champion), (_, shuffled) = logs_of(tmp_path / "report")
    guards = {"groundedness": 0.05, "refusal": 0.05, "latency": 5.0}
    verdict = compare(scores_of(champion), scores_of(shuffled), "f1", guards)
    assert not verdict.accepted
    assert [reason.partition(":")[0] for reason in verdict.reasons] == ["f1", "groundedness", "refusal"]
    assert compare(scores_of(shuffled), scores_of(champion), "f1", guards).accepted


def test_the_gate_refuses_a_candidate_that_is_right_more_often_and_invents_the_rest(
    evaluate: Callable[..., Graph], tmp_path: Path
) -> None:
    def careful(prompt: str) -> str:
        return REFUSAL if any(town in prompt for town in TOWNS[6:10]) else right(prompt)

    def poisoned(prompt: str) -> str:
        answer = right(prompt)
        return answer if answer == REFUSAL else f"{answer} The moon over it is made of Dutch cheese [1]."

    evaluate(Scripted(answer=careful), "1-champion").invoke({}, context=EVALUATOR)
    evaluate(Scripted(answer=poisoned), "2-poisoned").invoke({}, context=EVALUATOR)
    (_, champion), (_, candidate) = logs_of(tmp_path / "report")
    assert compare(scores_of(champion), scores_of(candidate), "contains", {}).accepted
    verdict = compare(scores_of(champion), scores_of(candidate), "contains", {"groundedness": 0.1})
    assert [reason.partition(":")[0] for reason in verdict.reasons] == ["groundedness"]


def test_an_interrupted_run_goes_on_and_asks_nothing_twice(
    evaluate: Callable[..., Graph], tmp_path: Path
) -> None:
    def until_the_twelfth(prompt: str) -> str:
        if len(broken.prompts) > 12:
            raise KeyboardInterrupt
        return right(prompt)

    broken = Scripted(answer=until_the_twelfth)
    with pytest.raises(KeyboardInterrupt):
        evaluate(broken, "one").invoke({}, context=EVALUATOR)
    [file] = (tmp_path / "report" / "answers").glob("*.jsonl")
    kept = file.read_text("utf-8")
    assert kept.count("\n") == 11, "the first was asked once more beforehand"
    file.write_text(kept[:-20], "utf-8")
    model = Scripted(answer=right)
    [row] = evaluate(model, "one").invoke({"resume": True}, context=EVALUATOR)["report"]["rows"]
    assert (row["questions"], row["contains"]) == (30, 1)
    assert len(model.prompts) == 30 - 10 + 1
    again = Scripted(answer=right)
    assert evaluate(again, "one").invoke({"resume": True}, context=EVALUATOR)["report"]["rows"] == [row]
    assert again.prompts == []
    anew = Scripted(answer=right)
    evaluate(anew, "one").invoke({}, context=EVALUATOR)
    assert len(anew.prompts) == 31


def test_asking_several_at_once_gives_the_same_scores(evaluate: Callable[..., Graph]) -> None:
    [one] = evaluate(Scripted(answer=right), "one").invoke({}, context=EVALUATOR)["report"]["rows"]
    rows = evaluate(Scripted(answer=right), "two", "graph.at_once=8").invoke({}, context=EVALUATOR)["report"][
        "rows"
    ]
    timed = {"subject", "key", "p50_ms", "p95_ms", "tokens_per_s"}
    assert {key: value for key, value in rows[1].items() if key not in timed} == {
        key: value for key, value in one.items() if key not in timed
    }


def test_a_whole_graph_searches_and_refuses(
    evaluate: Callable[..., Graph], tmp_path: Path, asked: Path
) -> None:
    index = HybridIndex([WordsIndex(tmp_path / "words.sqlite")])
    towns = {town: f"The mill of {town} was built in {1700 + n}." for n, town in enumerate(TOWNS[:5])}
    for town, text in towns.items():
        index.add([Chunk(text, f"{town}.md", town, 0, len(text), readers=("public",))])
    rows = [
        {"id": town, "question": f"When was the mill of {town} built?", "answers": [str(1700 + n)]}
        for n, town in enumerate(towns)
    ]
    write_lines(
        asked, [*rows, {"id": "no", "question": "Who repaired the harbour lighthouse?", "answers": []}]
    )
    model = FakeChatModel(responses=[REFUSAL])
    graph = evaluate(model, "qa", "graph.over=graph", "domain=none", index=index, citations=None)
    report = graph.invoke({}, context=EVALUATOR)["report"]
    [row] = report["rows"]
    assert report["over"] == "graph"
    assert row["answerable"]["contains"] == 1, "it quotes what it found"
    assert row["answerable"]["citation_recall"] == 1
    assert row["answerable"]["refused"] == 0
    assert row["unanswerable"]["refused"] == 1
    assert row["groundedness"] == 1
    assert row["routes"]["general"]["questions"] == 6


def test_without_texts_no_question_and_no_answer_is_kept(
    evaluate: Callable[..., Graph], tmp_path: Path
) -> None:
    evaluate(Scripted(answer=right), "m", "graph.log.texts=false").invoke({}, context=EVALUATOR)
    kept = "".join(file.read_text("utf-8") for file in (tmp_path / "report").rglob("*") if file.is_file())
    assert "Aldow" not in kept
    assert "1701" not in kept
    assert all(record["scores"]["contains"] == 1 for record in records(tmp_path / "report"))


def test_the_page_stands_alone_and_holds_texts_as_text(
    evaluate: Callable[..., Graph], tmp_path: Path
) -> None:
    model = Scripted(answer=lambda _: "<script>alert('x')</script> & more")
    evaluate(model, "'<b>bold</b>'").invoke({}, context=EVALUATOR)
    page = (tmp_path / "report" / "report.html").read_text("utf-8")
    assert "<script" not in page
    assert "&lt;script&gt;" in page
    assert "<b>bold" not in page
    assert "&lt;b&gt;bold" in page
    assert "http" not in page, "nothing is fetched from elsewhere"
    assert page.count("<svg") == 9
    report = json.loads((tmp_path / "report" / "report.json").read_text("utf-8"))
    assert report["rows"][0]["contains"] == 0


@pytest.mark.parametrize("caller", [Caller("rita", ("auditor",)), Caller()])
def test_who_may_not_evaluate_is_denied(
    evaluate: Callable[..., Graph], tmp_path: Path, caller: Caller
) -> None:
    model = Scripted(answer=right)
    with pytest.raises(DeniedError):
        evaluate(model).invoke({}, context=caller)
    assert model.prompts == []
    assert not (tmp_path / "report").exists()


def test_a_question_without_passages_has_to_be_searched_for(
    evaluate: Callable[..., Graph], asked: Path
) -> None:
    write_lines(asked, [{"question": "When?", "answers": ["now"]}])
    with pytest.raises(UsageError, match="over=graph"):
        evaluate(Scripted(answer=right)).invoke({}, context=EVALUATOR)


def test_there_are_two_ways_to_ask(evaluate: Callable[..., Graph]) -> None:
    with pytest.raises(ConfigError, match="Allowed: passages, graph"):
        evaluate(Scripted(answer=right), "m", "graph.over=both")
