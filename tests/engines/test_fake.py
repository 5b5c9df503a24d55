"""The fake engine keeps the port's promises, and says what it is told."""

import pytest

from markgraph.engines.fake import FakeEngine
from markgraph.engines.port import Engine, Sampling
from tests.engines.engine_suite import EngineSuite
from tests.engines.tiny import tiny_tokenizer


class TestFakeEngine(EngineSuite):
    @pytest.fixture
    def engine(self) -> Engine:
        return FakeEngine(["Payment is due within 30 days. " * 200])

    def test_several_at_once_get_what_each_gets_alone(self, engine: Engine) -> None:
        pytest.skip("says the same to everybody")


def said(engine: FakeEngine, sampling: Sampling | None = None) -> str:
    tokens = engine.stream(engine.tokenizer("?").input_ids, sampling or Sampling())
    text: str = engine.tokenizer.decode([token.id for token in tokens])
    return text


def test_says_its_answers_in_turn_and_repeats_the_last() -> None:
    engine = FakeEngine(["One.", "Zwei, für dich — 😀"])
    assert [said(engine) for _ in range(3)] == ["One.", "Zwei, für dich — 😀", "Zwei, für dich — 😀"]


def test_speaks_through_any_tokenizer() -> None:
    engine = FakeEngine(["the assistant asks"], tiny_tokenizer())
    assert said(engine) == "the assistant asks"
    assert engine.steps < len("the assistant asks")


def test_keeps_what_it_was_asked() -> None:
    engine = FakeEngine(["One."])
    said(engine, Sampling(2))
    assert engine.prompts == [engine.tokenizer("?").input_ids]
    assert engine.samplings == [Sampling(2)]
    assert engine.steps == 2


def test_its_tokenizer_has_a_chat_template_and_control_tokens() -> None:
    tokenizer = FakeEngine(["One."]).tokenizer
    chat = tokenizer.apply_chat_template(
        [{"role": "user", "content": "é?"}], add_generation_prompt=True, tokenize=False
    )
    assert chat == "<|im_start|>user\né?<|im_end|>\n<|im_start|>assistant\n"
    ids = tokenizer(chat).input_ids
    assert tokenizer.decode(ids) == chat
    assert tokenizer.decode(ids, skip_special_tokens=True) == "user\né?\nassistant\n"
