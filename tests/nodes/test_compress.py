"""What of history and passages fits the budget."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from markgraph.errors import ConfigError
from markgraph.models.embed import HashEmbeddings
from markgraph.models.fake import FakeChatModel
from markgraph.nodes.compress import Compress, allowed_turns
from markgraph.nodes.generate import EARLIER, Generate
from markgraph.nodes.refuse import REFUSAL
from markgraph.retrieval.types import Chunk, Index
from markgraph.retrieval.words import WordsIndex
from markgraph.security.caller import Caller
from markgraph.state import Passage, Turn

ANNA = Caller("anna", ("reader",))
NOTHING = WordsIndex(Path("no-such-folder", "words.sqlite"))
PAYMENT = "Payment is due in thirty days."
TEXTS = [f"Cats sleep all day. {PAYMENT} Dogs bark at night.", "Payment is owed in euros."]


def turn(question: str, answer: str, grants: tuple[str, ...] = (), sources: tuple[str, ...] = ()) -> Turn:
    return Turn(
        question=question, standalone=question, topic=question, answer=answer, grants=list(grants),
        sources=list(sources),
    )  # fmt: skip


def passage(text: str, *heading: str) -> Passage:
    return Passage(
        ids=[], text=text, source="s", title="T", heading=list(heading), page=None,
        page_breaks=[], start=0, end=len(text), score=1.0, metadata={},
    )  # fmt: skip


def state(question: str, texts: list[str], *history: Turn, grants: tuple[str, ...] = ()) -> Any:
    return {
        "standalone": question,
        "passages": [passage(text) for text in texts],
        "history": list(history),
        "grants": list(grants),
        "attempts": 0,
    }


def fit(tokens: int, state: Any, share: float = 0.25, index: Index = NOTHING) -> dict[str, Any]:
    node = Compress(FakeChatModel(), HashEmbeddings(), index, tokens, share)
    return node.fit(state, allowed_turns(state, index, ANNA))


def test_keeps_what_is_near_the_question_within_the_models_own_tokens() -> None:
    fitted = fit(10, state("When is payment due?", TEXTS))
    assert fitted["excerpts"] == [PAYMENT, ""]  # six words and one, and two for `[1] T`
    assert fit(100, state("When is payment due?", TEXTS))["excerpts"] == TEXTS


def test_older_turns_become_a_summary_and_the_history_stays() -> None:
    history = [
        turn("Who signs?", "Ada Byron signs. [1]"),
        turn("When?", "It is due on 3 May 2027. [1]"),
        turn("What does it cost?", REFUSAL),
        turn("Why?", "Because of this."),
    ]
    given_ = state("Where?", TEXTS, *history)
    fitted = fit(100, given_, share=0.36)
    assert fitted["recent"] == history[3:]
    assert fitted["summary"].splitlines() == [
        "- Who signs? Ada Byron signs.",
        "- When? It is due on 3 May 2027.",
        "- Without an answer so far: What does it cost?",
    ]
    assert given_["history"] == history
    assert "history" not in fitted


def test_a_turn_whose_grants_are_lost_is_neither_shown_nor_summarised() -> None:
    secret = turn("What is the bonus of Ada?", "It is 90,000 EUR.", ("g:board",))
    filler = [turn(f"Question {n}?", f"Answer {n} is given here. " * 5) for n in range(6)]
    lost = fit(120, state("Why?", TEXTS, secret, *filler))
    held = fit(120, state("Why?", TEXTS, secret, *filler, grants=("g:board",)))
    assert "90,000" in held["summary"]
    assert "90,000" not in str(lost)
    assert "bonus" not in str(lost)
    assert "90,000" not in str(fit(1000, state("Why?", TEXTS, secret)))


def test_a_turn_is_shown_only_while_all_that_it_cites_can_be_read(tmp_path: Path) -> None:
    index = WordsIndex(tmp_path / "words.sqlite")
    chunks = [
        Chunk(text, "bonus.md", "Bonus", at, at + 1, readers=("public",)) for at, text in enumerate("ab")
    ]
    index.add(chunks)
    told = turn("What is the bonus?", "It is 90,000 EUR.", sources=tuple(chunk.id for chunk in chunks))
    filler = [turn(f"Question {n}?", f"Answer {n} is given here. " * 5) for n in range(6)]
    asked, long_ago = state("Why?", TEXTS, told), state("Why?", TEXTS, told, *filler)
    before = fit(1000, asked, index=index)
    assert (before["recent"], before["recalled"]) == ([told], sorted(told["sources"]))
    assert "90,000" in fit(120, long_ago, index=index)["summary"]
    assert fit(120, long_ago, index=index)["recalled"] == sorted(told["sources"])
    index.permit([chunks[1].id], replace(chunks[1].permissions, readers=("u:boss",)))
    assert "90,000" not in str([fit(1000, asked, index=index), fit(120, long_ago, index=index)])
    older = {key: value for key, value in told.items() if key != "sources"}
    assert allowed_turns(asked | {"history": [older]}, index, ANNA) == []


def test_the_model_sees_the_header_of_a_table_that_goes_on_and_pays_for_it() -> None:
    asked = state("How high is the rent of Bern?", []) | {
        "passages": [passage("Bern | 900", "T", "City | Rent")]
    }
    assert "[1] T › City | Rent\nBern | 900" in Generate(FakeChatModel()).prompt(asked)[-1].text
    needed = FakeChatModel().get_num_tokens("[1] T › City | Rent\nBern | 900")
    assert fit(needed, asked)["excerpts"] == ["Bern | 900"]
    assert fit(needed - 1, asked)["excerpts"] == [""]


def test_the_model_reads_the_summary_before_the_passages() -> None:
    asked = state("Why?", TEXTS) | {"summary": "- Who signs? Ada signs.", "excerpts": TEXTS}
    prompt = Generate(FakeChatModel()).prompt(asked)[-1].text
    assert prompt.startswith(f"{EARLIER}\n- Who signs? Ada signs.\n\n[1] T\n")
    assert EARLIER not in Generate(FakeChatModel()).prompt(asked | {"summary": ""})[-1].text


@settings(deadline=None)
@given(
    st.lists(st.text("ab .A1\n", max_size=60), max_size=5),
    st.lists(st.tuples(st.text("ab?", max_size=20), st.text("ab A1.", max_size=60)), max_size=8),
    st.integers(1, 60),
)
def test_never_exceeds_its_budget(texts: list[str], said: list[tuple[str, str]], budget: int) -> None:
    model = FakeChatModel()
    given_ = state("a b", texts, *(turn(*each) for each in said))
    fitted = fit(budget, given_)
    prompt = Generate(model).prompt(given_ | fitted)
    instructions, asked = prompt[0], "Question: a b"
    spent = sum(model.get_num_tokens(message.text) for message in prompt)
    fixed = model.get_num_tokens(f"{instructions.text} {asked}") + model.get_num_tokens(EARLIER) * bool(
        fitted["summary"]
    )
    assert spent - fixed <= budget


@pytest.mark.parametrize("options", [{"max_tokens": 0}, {"history_share": 1.0}, {"history_share": -0.1}])
def test_refuses_a_budget_that_is_none(options: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match="Allowed: 1 or more, and 0 up to"):
        Compress(FakeChatModel(), HashEmbeddings(), NOTHING, **options)
