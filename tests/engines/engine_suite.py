"""What every engine must do: subclass `EngineSuite`, give it an engine, and say which settings it lacks."""

import asyncio
import math
import time
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import aclosing, suppress
from dataclasses import replace
from typing import Any, ClassVar

import pytest
import torch

from markgraph.engines.port import Engine, Sampling, Token
from markgraph.errors import UsageError

TEXTS = ["Who pays", "notice of 5 days", "deadline?", "ok", "the controller asks", "payments"]


class Watch:
    """A mask that allows everything, and counts the tokens that were chosen: how far the work has come."""

    def __init__(self) -> None:
        self.steps = 0

    def allowed(self) -> None:
        return None

    def advance(self, token: int) -> None:
        self.steps += 1


class Only:
    """A mask that allows some tokens and no others."""

    def __init__(self, size: int, tokens: list[int]) -> None:
        self.tokens = torch.zeros(size, dtype=torch.bool)
        self.tokens[tokens] = True

    def allowed(self) -> torch.Tensor:
        return self.tokens

    def advance(self, token: int) -> None:
        assert self.tokens[token]


def settled(watch: Watch) -> int:
    """Return how many steps there were once they have stopped, or half a minute is over."""
    for _ in range(300):
        before = watch.steps
        time.sleep(0.1)
        if watch.steps == before:
            break
    return watch.steps


async def gathered(stream: AsyncIterator[Token]) -> list[Token]:
    return [token async for token in stream]


class EngineSuite:
    """The port's promises."""

    LACKS: ClassVar[frozenset[str]] = frozenset()
    """Settings of `Sampling` that the engine must refuse."""
    SEVERAL: ClassVar[int] = 4
    """How many requests are made at once."""
    TOLERANCE: ClassVar[float] = 1e-4
    """How far log-probabilities may be apart."""

    @pytest.fixture
    def engine(self) -> Engine:
        """Return the engine; its greedy answers to `TEXTS` have at least eight tokens, and differ."""
        raise NotImplementedError  # abstract

    def needs(self, *settings: str) -> None:
        if lacking := self.LACKS.intersection(settings):
            pytest.skip(f"lacks {', '.join(sorted(lacking))}")

    def prompts(self, engine: Engine) -> list[list[int]]:
        return [engine.tokenizer(text).input_ids for text in TEXTS]

    def prompt(self, engine: Engine) -> list[int]:
        return self.prompts(engine)[0]

    def ask(self, engine: Engine, sampling: Sampling, prompt: list[int] | None = None) -> list[int]:
        return [token.id for token in engine.stream(prompt or self.prompt(engine), sampling)]

    def test_greedy_answers_repeat(self, engine: Engine) -> None:
        prompt = self.prompt(engine)
        kept = list(prompt)
        first = self.ask(engine, Sampling(12), prompt)
        assert len(first) >= 8
        assert self.ask(engine, Sampling(12), prompt) == first
        assert prompt == kept

    def test_max_tokens_cuts_and_changes_nothing_else(self, engine: Engine) -> None:
        assert self.ask(engine, Sampling(5)) == self.ask(engine, Sampling(8))[:5]
        assert self.ask(engine, Sampling(0)) == []

    def test_yields_tokens_of_the_tokenizer(self, engine: Engine) -> None:
        tokens = list(engine.stream(self.prompt(engine), Sampling(8)))
        assert all(isinstance(token, Token) and 0 <= token.id < len(engine.tokenizer) for token in tokens)

    def test_an_empty_prompt_is_refused(self, engine: Engine) -> None:
        with pytest.raises(UsageError, match="no tokens"):
            list(engine.stream([], Sampling(4)))
        with pytest.raises(UsageError, match="no tokens"):
            asyncio.run(gathered(engine.astream([], Sampling(4))))

    def test_a_prompt_longer_than_the_window_is_refused(self, engine: Engine) -> None:
        window = engine.context_tokens
        with pytest.raises(UsageError, match=rf"{window + 1} tokens.*at most {window}"):
            list(engine.stream([5] * (window + 1), Sampling(4)))

    def test_prompt_and_answer_stay_within_the_window(self, engine: Engine) -> None:
        if engine.context_tokens > 5000:
            pytest.skip("takes too long with so wide a window")
        long = (self.prompt(engine) * engine.context_tokens)[: engine.context_tokens - 3]
        assert len(self.ask(engine, Sampling(50), long)) <= 3
        assert len(self.ask(engine, Sampling(8))) >= 8

    def test_a_seed_repeats(self, engine: Engine) -> None:
        self.needs("seed")

        def sample(seed: int) -> list[int]:
            return self.ask(engine, Sampling(12, temperature=3.0, seed=seed))

        assert sample(1) == sample(1)
        assert len({tuple(sample(seed)) for seed in range(5)}) > 1

    def test_top_k_of_one_is_greedy(self, engine: Engine) -> None:
        self.needs("top_k")
        assert self.ask(engine, Sampling(8, temperature=3.0, top_k=1)) == self.ask(engine, Sampling(8))

    def test_an_empty_nucleus_is_greedy(self, engine: Engine) -> None:
        assert self.ask(engine, Sampling(8, temperature=3.0, top_p=1e-6)) == self.ask(engine, Sampling(8))

    def test_no_logprobs_unless_asked(self, engine: Engine) -> None:
        for token in engine.stream(self.prompt(engine), Sampling(4)):
            assert token == Token(token.id, None, ())

    @pytest.mark.parametrize("temperature", [0.0, 2.0])
    def test_logprobs_are_those_of_one_distribution(self, engine: Engine, temperature: float) -> None:
        self.needs("logprobs")
        sampling = Sampling(8, temperature=temperature, seed=1, logprobs=5)
        for token in engine.stream(self.prompt(engine), sampling):
            assert token.logprob is not None
            logprobs = [logprob for _, logprob in token.top]
            assert len(token.top) == 5
            assert logprobs == sorted(logprobs, reverse=True)
            assert sum(map(math.exp, logprobs)) <= 1 + self.TOLERANCE
            if temperature == 0:
                assert token.id == token.top[0][0]
            if token.id in dict(token.top):
                assert token.logprob == pytest.approx(dict(token.top)[token.id], abs=self.TOLERANCE)
            else:
                assert token.logprob <= logprobs[-1] + self.TOLERANCE

    def test_logprobs_do_not_depend_on_the_temperature(self, engine: Engine) -> None:
        self.needs("logprobs")
        first = [
            next(iter(engine.stream(self.prompt(engine), Sampling(1, temperature=heat, seed=1, logprobs=3))))
            for heat in (0.0, 2.0)
        ]
        assert [id_ for id_, _ in first[0].top] == [id_ for id_, _ in first[1].top]
        assert [p for _, p in first[0].top] == pytest.approx([p for _, p in first[1].top], abs=self.TOLERANCE)

    @pytest.mark.parametrize("temperature", [0.0, 1.0])
    def test_a_mask_is_obeyed(self, engine: Engine, temperature: float) -> None:
        self.needs("mask")
        allowed = engine.tokenizer("xyz", add_special_tokens=False).input_ids
        size = len(engine.tokenizer)
        sampling = Sampling(12, temperature=temperature, seed=1, mask=lambda: Only(size, allowed))
        tokens = self.ask(engine, sampling)
        assert len(tokens) == 12
        assert set(tokens) <= set(allowed)
        assert self.ask(engine, replace(sampling, mask=None)) != tokens

    def test_the_end_token_ends_and_is_not_yielded(self, engine: Engine) -> None:
        self.needs("mask")
        end = [engine.tokenizer.eos_token_id]
        watches: list[Watch] = []

        class ThreeThenEnd(Watch):
            def allowed(self) -> Any:
                return Only(len(engine.tokenizer), end).allowed() if self.steps == 3 else None

        def make() -> Watch:
            watches.append(ThreeThenEnd())
            return watches[-1]

        tokens = self.ask(engine, Sampling(12, mask=make))
        assert tokens == self.ask(engine, Sampling(3))
        assert watches[0].steps == 4

    def test_what_it_lacks_is_refused(self, engine: Engine) -> None:
        wanted = {"seed": 1, "top_k": 3, "logprobs": 1, "mask": Watch, "adapter": "legal"}
        for setting in self.LACKS:
            with pytest.raises(UsageError, match=setting):
                self.ask(engine, Sampling(4, **{setting: wanted[setting]}))

    def test_an_adapter_that_it_does_not_have_is_refused(self, engine: Engine) -> None:
        with pytest.raises(UsageError, match="adapter"):
            self.ask(engine, Sampling(4, adapter="nobody's"))

    @pytest.mark.parametrize("temperature", [0.0, 2.0])
    def test_async_tokens_are_the_sync_ones(self, engine: Engine, temperature: float) -> None:
        if temperature:
            self.needs("seed")
        sampling = Sampling(12, temperature=temperature, seed=4 if temperature else None)
        sync = list(engine.stream(self.prompt(engine), sampling))
        assert asyncio.run(gathered(engine.astream(self.prompt(engine), sampling))) == sync

    def test_several_at_once_get_what_each_gets_alone(self, engine: Engine) -> None:
        prompts = self.prompts(engine)[: self.SEVERAL]
        alone = [self.ask(engine, Sampling(12), prompt) for prompt in prompts]
        assert len(set(map(tuple, alone))) > 1
        with ThreadPoolExecutor(self.SEVERAL) as pool:
            assert list(pool.map(lambda prompt: self.ask(engine, Sampling(12), prompt), prompts)) == alone

        async def together() -> list[list[Token]]:
            return await asyncio.gather(*(gathered(engine.astream(p, Sampling(12))) for p in prompts))

        assert [[token.id for token in tokens] for tokens in asyncio.run(together())] == alone

    def test_one_thread_can_follow_two_answers(self, engine: Engine) -> None:
        prompts = self.prompts(engine)[:2]
        alone = [self.ask(engine, Sampling(6), prompt) for prompt in prompts]
        both = zip(*(engine.stream(prompt, Sampling(6)) for prompt in prompts), strict=True)
        assert [[token.id for token in tokens] for tokens in zip(*both, strict=True)] == alone

    def test_closing_stops_the_work(self, engine: Engine) -> None:
        self.needs("mask")
        watch, most = Watch(), engine.context_tokens - len(self.prompt(engine))
        stream = engine.stream(self.prompt(engine), Sampling(most, mask=lambda: watch))
        next(stream), next(stream)
        stream.close()  # type: ignore[attr-defined]
        assert settled(watch) < most
        assert len(self.ask(engine, Sampling(8))) >= 8

    @pytest.mark.parametrize("leave", ["cancelled", "closed"])
    def test_leaving_an_async_answer_stops_the_work(self, engine: Engine, leave: str) -> None:
        self.needs("mask")
        watch, most = Watch(), engine.context_tokens - len(self.prompt(engine))

        async def follow(seen: asyncio.Event) -> None:
            answer = engine.astream(self.prompt(engine), Sampling(most, mask=lambda: watch))
            async with aclosing(answer) as stream:  # type: ignore[type-var]
                async for _ in stream:
                    seen.set()
                    if leave == "closed":
                        return

        async def come_and_leave() -> int:
            seen = asyncio.Event()
            task = asyncio.create_task(follow(seen))
            await seen.wait()
            if leave == "cancelled":
                task.cancel()
            with suppress(asyncio.CancelledError):
                await task
            return await asyncio.to_thread(settled, watch)

        assert asyncio.run(come_and_leave()) < most
        assert asyncio.run(gathered(engine.astream(self.prompt(engine), Sampling(4))))
