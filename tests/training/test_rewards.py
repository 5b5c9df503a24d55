"""What answers are worth."""

import pytest

from markgraph.errors import ConfigError
from markgraph.models.embed import HashEmbeddings
from markgraph.models.fake import FakeChatModel
from markgraph.nodes.generate import Generate
from markgraph.state import Passage
from markgraph.training.rewards import PLAIN, Rewards, passages_of
from markgraph.training.rows import Message, Row
from markgraph.validation.refusals import REFUSAL

TEXTS = (
    "Payment is due within 30 days of the invoice.\n\n[7] A paragraph that looks like a passage\nbut is not.",
    "The controller shall notify the breach within 72 hours.",
    "Notice may be given by e-mail.",
)


def passage(at: int, text: str) -> Passage:
    return Passage(
        ids=[str(at)],
        text=text,
        source=f"terms-{at}",
        title=f"Terms {at}",
        heading=[],
        page=None,
        page_breaks=[],
        start=0,
        end=len(text),
        score=1.0,
        metadata={},
    )


def prompt_of(question: str, *texts: str) -> list[Message]:
    """Return what answering really asks the model."""
    state = {
        "passages": [passage(at, text) for at, text in enumerate(texts)],
        "standalone": question,
        "attempts": 0,
        "evidence": [],
    }
    roles = {"human": "user", "ai": "assistant"}
    return [
        Message(role=roles.get(each.type, each.type), content=each.content)
        for each in Generate(FakeChatModel()).prompt(state)
    ]


def row(*reference: str, messages: list[Message] | None = None) -> Row:
    asked = messages or prompt_of("Within how many hours?", *TEXTS)
    return Row(id="0", source="test", documents=[], readers=[], messages=asked, reference=list(reference))


RIGHT = "The controller shall notify the breach within 72 hours [2]."


def test_passages_are_read_out_of_the_prompt_that_answering_writes() -> None:
    assert passages_of(prompt_of("When?", *TEXTS)) == list(TEXTS)
    assert passages_of(prompt_of("[1] What\nis this?", TEXTS[1])) == [TEXTS[1]]


def test_a_bare_question_has_no_passages() -> None:
    assert passages_of([{"role": "user", "content": "Who pays?"}]) == []


@pytest.mark.parametrize(
    ("name", "completion", "reference", "worth"),
    [
        ("exact", "The 72 hours.", ["72 hours"], 1),
        ("exact", "72 hours [2]", ["72 hours"], 1),
        ("exact", "within 72 hours", ["72 hours"], 0),
        ("exact", REFUSAL, [], 1),
        ("exact", "72 hours", [], 0),
        ("contains", RIGHT, ["three days", "72 hours"], 1),
        ("contains", "within 720 hours", ["72 hours"], 0),
        ("overlap", "72 hours", ["72 hours"], 1),
        ("overlap", "72 days", ["72 hours"], 0.5),
        ("overlap", "never", ["72 hours"], 0),
        ("refusal", REFUSAL, [], 1),
        ("refusal", REFUSAL, ["72 hours"], 0),
        ("refusal", RIGHT, ["72 hours"], 1),
        ("cited", RIGHT, ["72 hours"], 1),
        ("cited", "72 hours.", ["72 hours"], 0),
        ("cited", "72 hours [1].", ["72 hours"], 0),
        ("cited", "72 hours [1][2].", ["72 hours"], pytest.approx(2 / 3)),
        ("cited", "72 hours [9].", ["72 hours"], 0),
        ("cited", REFUSAL, [], 1),
        ("form", RIGHT, ["72 hours"], 1),
        ("form", "It is 72 hours.", ["72 hours"], 0),
        ("form", "It is 72 hours [2]. Notice is by e-mail.", ["72 hours"], 0.5),
        ("form", "It is so [1]. It is thus [2]. It is as said [3].", ["72 hours"], 0.5),
        ("form", "", ["72 hours"], 0),
        ("form", REFUSAL, [], 1),
        ("grounded", RIGHT, ["72 hours"], 1),
        ("grounded", "The controller shall notify the breach within 48 hours [2].", ["72 hours"], 0),
        ("grounded", f"{RIGHT} Lawyers must wear green hats on Mondays [3].", ["72 hours"], 0.5),
        ("grounded", "", ["72 hours"], 0),
        ("grounded", REFUSAL, [], 1),
        ("grounded", REFUSAL, ["72 hours"], 0),
    ],
)
def test_a_reward(name: str, completion: str, reference: list[str], worth: float) -> None:
    rewards = Rewards({name: 1.0}, HashEmbeddings())
    assert rewards([completion], [row(*reference)]) == {"reward": [worth], name: [worth]}


def test_rewards_are_added_up_with_their_weights_and_those_without_are_not_worked_out() -> None:
    rewards = Rewards({"contains": 1.0, "cited": 0.5, "grounded": 0.0})
    found = rewards(["72 hours [1].", RIGHT], [row("72 hours")] * 2)
    assert found == {"reward": [1.0, 1.5], "contains": [1.0, 1.0], "cited": [0.0, 1.0]}


@pytest.mark.parametrize(
    ("weights", "told"),
    [
        ({"exakt": 1.0}, "There is no reward exakt. Allowed: exact, contains, .*grounded"),
        ({"exact": 0.0}, "No reward has a weight"),
        ({"grounded": 1.0}, "needs an embedder"),
    ],
)
def test_weights_that_mean_nothing_are_refused(weights: dict[str, float], told: str) -> None:
    with pytest.raises(ConfigError, match=told):
        Rewards(weights)


def test_every_reward_stays_between_nothing_and_one() -> None:
    for name in PLAIN:
        for completion in ("", RIGHT, REFUSAL, "[1] [2] [3]", "?" * 50):
            assert 0 <= Rewards({name: 1.0}).part(name, completion, row("72 hours")) <= 1


def test_every_reward_takes_a_task_without_passages() -> None:
    asked: list[Message] = [{"role": "user", "content": "What is 2 + 2?"}]
    judge = Rewards(dict.fromkeys([*PLAIN, "grounded"], 1.0), HashEmbeddings(64))
    found = judge(["4", "5 [1]"], [row("4", messages=asked)] * 2)
    assert (found["exact"], found["cited"], found["grounded"]) == ([1.0, 0.0], [1.0, 0.0], [0.0, 0.0])
    assert found["form"] == [1.0, 0.0], "nothing can be cited, so marks are not paid for"
    assert found["reward"][0] > found["reward"][1]
