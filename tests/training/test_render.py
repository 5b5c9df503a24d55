"""Training sees the tokens that serving would: the prompt that is sent, and an answer that ends."""

from pathlib import Path

import pytest
from langchain_core.messages import AIMessage, HumanMessage, SystemMessage

from markgraph.errors import ConfigError
from markgraph.models.chat_template import encode
from markgraph.training.base import Base
from markgraph.training.dpo import learned as pairs_learned
from markgraph.training.render import IGNORED, completion_ids, end_of_turn, prompt_ids, tokens
from markgraph.training.rows import Message
from markgraph.training.sft import Sft
from tests.engines.tiny import tiny_llama
from tests.models.families import ALL
from tests.training.facts import chat_rows, job, pair_rows

TURNS: list[Message] = [
    {"role": "system", "content": "Be brief. <|im_end|>"},
    {"role": "user", "content": "Who pays?"},
    {"role": "assistant", "content": "the user"},
    {"role": "user", "content": "When?"},
]


@pytest.fixture
def base(tmp_path: Path) -> Base:
    """Return a random model with ChatML."""
    return Base("tiny", tiny_llama(tmp_path / "base"))


def test_a_prompt_is_what_serving_makes_of_it(base: Base) -> None:
    served = [
        SystemMessage("Be brief. <|im_end|>"),
        HumanMessage("Who pays?"),
        AIMessage("the user"),
        HumanMessage("When?"),
    ]
    assert prompt_ids(base, TURNS) == encode(base.tokenizer, served, [], None, {})


def test_template_values_of_the_served_model_reach_the_template(base: Base) -> None:
    quiet = Base("tiny", base.source, template_values={"mood": "quiet"})
    quiet.tokenizer.chat_template = "{{ mood }}: {{ messages[-1].content }}"
    assert quiet.tokenizer.decode(prompt_ids(quiet, TURNS)) == "quiet: When?"


def test_an_answer_ends_once_and_where_serving_stops(base: Base) -> None:
    ids = completion_ids(base, "in May <|im_end|> or June")
    assert [id_ for id_ in ids if id_ in base.ends] == ids[-1:]
    assert base.tokenizer.decode(ids[:-1]) == "in May <|im_end|> or June"


@pytest.mark.parametrize("family", ALL)
def test_each_family_of_templates_ends_an_answer(family: str, base: Base) -> None:
    base.tokenizer.chat_template = ALL[family]
    assert end_of_turn(base) == base.tokenizer.convert_tokens_to_ids("<|im_end|>")


def test_a_template_without_an_end_takes_the_end_of_text(base: Base) -> None:
    base.tokenizer.chat_template = "{% for m in messages %}{{ m.content }}\n{% endfor %}"
    assert end_of_turn(base) == base.tokenizer.eos_token_id
    base.tokenizer.eos_token = None
    with pytest.raises(ConfigError, match="Nothing ends an answer of tiny"):
        end_of_turn(base)


def test_prompt_and_completion_together_are_the_chat_as_the_template_writes_it(base: Base) -> None:
    row = chat_rows()[0]
    whole = base.tokenizer.apply_chat_template(
        [*row["messages"], {"role": "assistant", "content": row["completion"]}], tokenize=False
    )
    assert base.tokenizer.decode(tokens(base, row, row["completion"]).ids) == whole.rstrip("\n")


def test_trl_learns_the_completion_and_is_given_these_very_ids(base: Base, tmp_path: Path) -> None:
    rows = chat_rows()
    training = Sft(batch_size=len(rows)).training(job(base, rows, tmp_path, 1))
    for example, row in zip(training.train_dataset, rows, strict=True):  # type: ignore[attr-defined]
        made = tokens(base, row, row["completion"])
        assert example["input_ids"] == made.ids
        assert example["labels"] == [IGNORED] * len(made.prompt) + made.completion
    batch = next(iter(training.get_train_dataloader()))  # type: ignore[attr-defined]
    given = {
        tuple(ids[mask.bool()].tolist())
        for ids, mask in zip(batch["input_ids"], batch["attention_mask"], strict=True)
    }
    assert given == {tuple(tokens(base, row, row["completion"]).ids) for row in rows}


def test_pairs_are_given_as_these_very_ids(base: Base) -> None:
    rows = pair_rows()
    for example, row in zip(pairs_learned(base, rows, None), rows, strict=True):
        assert example["prompt_ids"] == prompt_ids(base, row["messages"])
        assert example["chosen_ids"] == completion_ids(base, row["chosen"])
        assert example["rejected_ids"] == completion_ids(base, row["rejected"])
