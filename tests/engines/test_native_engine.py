"""The native engine keeps the port's promises, and what many ask at once is what each would get alone."""

import asyncio
import gc
import random
import subprocess
import sys
import threading
import weakref
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from markgraph.engines.native.engine import NativeEngine
from markgraph.engines.native.pipe import UNREAD
from markgraph.engines.port import Sampling, Token, cache_scope
from markgraph.engines.transformers import TransformersEngine
from markgraph.errors import EngineError, OverloadedError, UsageError, WeightsError
from tests.engines.engine_suite import EngineSuite, gathered
from tests.engines.requests import NOTHING, soon
from tests.engines.tiny import tiny_llama, tiny_mamba, tiny_mamba2


def threads() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name == "markgraph-native"]


@pytest.fixture(scope="module")
def llama(tmp_path_factory: pytest.TempPathFactory) -> str:
    return tiny_llama(tmp_path_factory.mktemp("llama"))


@pytest.fixture(scope="module")
def engine(llama: str) -> Iterator[NativeEngine]:
    engine = NativeEngine(llama, mode="exact", threads=1)
    yield engine
    engine.close()


class TestLlama(EngineSuite):
    @pytest.fixture
    def engine(self, engine: NativeEngine) -> NativeEngine:
        return engine


@pytest.fixture(scope="module", params=[tiny_mamba, tiny_mamba2])
def recurrent(tmp_path_factory: pytest.TempPathFactory, request: Any) -> Iterator[NativeEngine]:
    engine = NativeEngine(request.param(tmp_path_factory.mktemp("mamba")), mode="exact", threads=1)
    yield engine
    engine.close()


class TestMamba(EngineSuite):
    @pytest.fixture
    def engine(self, recurrent: NativeEngine) -> NativeEngine:
        return recurrent


def questions(engine: NativeEngine, count: int) -> list[list[int]]:
    words = ["pays", "notice", "deadline", "the controller", "asks", "payments of the user", "who"]
    choose = random.Random(0)
    texts = [" ".join(choose.choices(words, k=choose.randint(1, 12))) for _ in range(count)]
    return [engine.tokenizer(text).input_ids for text in texts]


def test_fifty_answers_are_those_of_transformers(engine: NativeEngine, llama: str) -> None:
    reference = TransformersEngine(llama, dtype="float32")
    prompts = questions(engine, 50)
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda prompt: list(engine.stream(prompt, Sampling(24))), prompts))
    assert answers == [list(reference.stream(prompt, Sampling(24))) for prompt in prompts]
    assert len(set(map(tuple, answers))) > 30


@pytest.mark.parametrize("speculation", ["auto", "off"])
def test_survivors_of_many_that_come_and_go_get_what_they_get_alone(llama: str, speculation: str) -> None:
    engine = NativeEngine(llama, mode="exact", threads=1, speculation=speculation, prefill_chunk=16)
    choose = random.Random(1)
    prompts = questions(engine, 32)
    samplings = [Sampling(40, temperature=n % 2, seed=n) for n in range(32)]
    alone = [list(engine.stream(*asked)) for asked in zip(prompts, samplings, strict=True)]
    leave_after = [choose.choice([None, None, 0, 1, 5, 20]) for _ in range(32)]

    def follow(n: int) -> list[Token]:
        told: list[Token] = []
        for token in engine.stream(prompts[n], samplings[n]):
            if len(told) == leave_after[n]:
                break
            told.append(token)
        return told

    async def afollow(n: int) -> list[Token]:
        told: list[Token] = []
        stream = engine.astream(prompts[n], samplings[n])
        try:
            async for token in stream:
                if len(told) == leave_after[n]:
                    if n % 4 < 2:
                        asyncio.current_task().cancel()  # type: ignore[union-attr]
                        await asyncio.sleep(0)
                    break
                told.append(token)
        except asyncio.CancelledError:
            pass
        finally:
            await stream.aclose()
        return told

    async def together() -> list[list[Token]]:
        return await asyncio.gather(*(afollow(n) for n in range(0, 32, 2)))

    with ThreadPoolExecutor(17) as pool:
        over = pool.submit(asyncio.run, together())
        odd = list(pool.map(follow, range(1, 32, 2)))
        even = over.result()
    told = [answers.pop(0) for n in range(32) for answers in [odd if n % 2 else even]]
    assert told == [tokens[:cut] for tokens, cut in zip(alone, leave_after, strict=True)]
    assert soon(lambda: engine.load == NOTHING)
    assert threads().count("markgraph-native") >= 1
    engine.close()


def test_nothing_is_read_or_loaded_before_the_first_token_is_asked_for(tmp_path: Path) -> None:
    engine = NativeEngine(f"file:{tmp_path / 'nowhere'}")
    stream = engine.stream([1, 2], Sampling(4))
    with pytest.raises(WeightsError, match="is not there"):
        next(stream)
    with pytest.raises(WeightsError, match="is not there"):
        asyncio.run(gathered(engine.astream([1, 2], Sampling(4))))


def test_computes_a_bounded_number_of_tokens_ahead(engine: NativeEngine) -> None:
    class Counts:
        chosen = 0

        def allowed(self) -> None:
            return None

        def advance(self, token: int) -> None:
            Counts.chosen += 1

    prompt = questions(engine, 1)[0]
    stream = engine.stream(prompt, Sampling(400, mask=Counts))
    next(stream)
    assert soon(lambda: Counts.chosen >= UNREAD)
    other = list(engine.stream(prompt, Sampling(UNREAD * 2)))
    assert len(other) == UNREAD * 2, "a slow consumer doesn't hold up others"
    assert Counts.chosen <= UNREAD + 1
    assert 1 + len([token for token, _ in zip(stream, range(99), strict=False)]) == 100
    stream.close()


class Gate:
    """A mask that holds the engine's thread up until it is opened."""

    def __init__(self) -> None:
        self.reached, self.opened = threading.Event(), threading.Event()

    def allowed(self) -> None:
        self.reached.set()
        self.opened.wait(30)

    def advance(self, token: int) -> None: ...


def test_more_than_may_wait_are_told_to_come_back(llama: str) -> None:
    engine = NativeEngine(llama, mode="exact", threads=1, max_batch=1, queue_limit=1)
    prompt, gate = questions(engine, 1)[0], Gate()
    with ThreadPoolExecutor(2) as pool:
        held = pool.submit(list, engine.stream(prompt, Sampling(8, mask=lambda: gate)))
        assert gate.reached.wait(30)
        waits = pool.submit(list, engine.stream(prompt, Sampling(8)))
        assert soon(lambda: engine.load.waiting == 1)
        with pytest.raises(OverloadedError, match=r"busy, and 1 requests wait. Allowed: 1.*Try again"):
            next(engine.stream(prompt, Sampling(8)))
        gate.opened.set()
        assert waits.result() == held.result()
    assert soon(lambda: engine.load == NOTHING)
    engine.close()


def test_memory_that_is_not_there_is_refused(llama: str) -> None:
    engine = NativeEngine(llama, mode="exact", threads=1, cache_bytes=1 << 10)
    with pytest.raises(UsageError, match=r"cache_bytes.*Lower max_tokens"):
        next(engine.stream([5, 6, 7], Sampling(8)))
    engine.close()


def test_closing_ends_what_is_under_way_and_loads_anew(llama: str) -> None:
    engine = NativeEngine(llama, mode="exact", threads=1)
    prompt, gate = questions(engine, 1)[0], Gate()
    with ThreadPoolExecutor(2) as pool:
        held = pool.submit(list, engine.stream(prompt, Sampling(8, mask=lambda: gate)))
        assert gate.reached.wait(30)
        closing = pool.submit(engine.close)
        gate.opened.set()
        closing.result()
        with pytest.raises(EngineError, match="closed before this answer was complete"):
            held.result()
    before = threads()
    assert len(list(engine.stream(prompt, Sampling(8)))) == 8
    assert len(threads()) == len(before) + 1
    engine.close()
    assert threads() == before


def test_an_engine_that_nobody_holds_leaves_no_thread(llama: str) -> None:
    before = threads()
    engine = NativeEngine(llama, mode="exact", threads=1)
    assert engine.context_tokens == 512
    assert len(threads()) == len(before) + 1
    del engine
    gc.collect()
    assert soon(lambda: threads() == before)


def test_a_process_ends_while_its_engine_computes(llama: str) -> None:
    program = f"""
from markgraph.engines.native.engine import NativeEngine
from markgraph.engines.port import Sampling
stream = NativeEngine({llama!r}, mode="exact", threads=1).stream([5, 6, 7], Sampling(400))
print(next(stream).id)
"""
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60)
    assert (ended.returncode, ended.stderr) == (0, "")


def test_a_wrong_setting_is_named(llama: str) -> None:
    for setting, message in {
        "mode": r"'quick'.*exact, fast, small",
        "speculation": r"'quick'. Allowed: auto, off",
    }.items():
        with pytest.raises(UsageError, match=message):
            _ = NativeEngine(llama, threads=1, **{setting: "quick"}).context_tokens
    with pytest.raises(UsageError, match=r"max_batch is 0. Allowed: 1 or more"):
        _ = NativeEngine(llama, threads=1, max_batch=0).context_tokens


def test_what_one_scope_read_speeds_up_no_other(llama: str, engine: NativeEngine) -> None:
    cached = NativeEngine(llama, mode="exact", threads=1)
    prompt = (questions(engine, 1)[0] * 100)[:300]
    hits = []
    for scope in ("rita", "rita", "paul", "rita"):
        with cache_scope(scope):
            stream = cached.stream(prompt, Sampling(4))
        told = list(stream)  # the scope is that of the call
        assert told == list(engine.stream(prompt, Sampling(4)))
        assert cached.prefixes
        hits.append(cached.prefixes.hits)
    assert hits == [0, 1, 1, 2]
    cached.close()


@pytest.mark.parametrize("prompt", [[5, 1_000_000], [5, -1]])
def test_tokens_that_the_model_does_not_know_are_refused(engine: NativeEngine, prompt: list[int]) -> None:
    with pytest.raises(UsageError, match="Allowed: 0 to"):
        list(engine.stream(prompt, Sampling(3)))


def test_closing_gives_the_model_back(llama: str) -> None:
    engine = NativeEngine(llama, threads=1, gate=False)
    list(engine.stream([5, 6], Sampling(2)))
    assert engine._serving
    model = weakref.ref(engine._serving.worker.scheduler)
    engine.close()
    gc.collect()
    assert model() is None
    assert len(list(engine.stream([5, 6], Sampling(2)))) == 2
    engine.close()


def test_the_same_question_twice_gets_the_same_answer(tmp_path: Path) -> None:
    """What is found in the cache is what would have been read, to the last bit."""
    sizes = {"hidden_size": 64, "num_attention_heads": 2, "num_key_value_heads": 1, "head_dim": 32}
    source = tiny_llama(tmp_path, **sizes)
    engine = NativeEngine(source, threads=1, speculation="off", gate=False)
    for length in (70, 129, 200):
        prompt = [(7 * n + length) % 300 for n in range(length)]
        answers = [list(engine.stream(prompt, Sampling(24, logprobs=0))) for _ in range(3)]
        assert answers[0] == answers[1] == answers[2]
    assert engine.prefixes
    engine.close()
