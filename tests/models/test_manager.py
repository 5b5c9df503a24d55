"""Models are loaded once, held within a budget, and never taken from under an answer."""

import asyncio
import weakref
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from markgraph.engines.port import Token, cache_scope
from markgraph.errors import ConfigError, MarkError, OverloadedError, TooLargeError
from markgraph.models.managed import ManagedEngine
from markgraph.models.manager import ModelManager
from tests.models.counting import PROMPT, SAMPLING, Factory, names, use


def test_a_model_is_loaded_when_it_is_first_used_and_then_reused() -> None:
    factory, manager = Factory(), ModelManager(100)
    engine = ManagedEngine(factory.spec("a"), manager)
    assert factory.made == []
    assert list(engine.stream(PROMPT, SAMPLING)) == [Token(0), Token(1), Token(2)]
    assert use(manager, factory.spec("a")) is use(manager, factory.spec("a"))
    assert factory.made == ["a"]


def test_many_who_ask_at_once_load_it_once_and_share_it() -> None:
    factory, manager = Factory(seconds=0.1), ModelManager(100)
    with ThreadPoolExecutor(20) as pool:
        got = list(pool.map(lambda _: use(manager, factory.spec("a")), range(20)))
    assert factory.made == ["a"]
    assert len(set(map(id, got))) == 1


def test_the_least_recently_used_makes_room() -> None:
    factory, manager = Factory(), ModelManager(100)
    for name in ("a", "b", "a", "c"):
        use(manager, factory.spec(name))
    assert names(manager) == ["a", "c"]


def test_a_model_in_use_stays_and_the_next_waits_for_it() -> None:
    factory, manager = Factory(), ModelManager(60)
    answer = ManagedEngine(factory.spec("a"), manager).stream(PROMPT, SAMPLING)
    next(answer)
    with ThreadPoolExecutor(1) as pool:
        other = pool.submit(use, manager, factory.spec("b"))
        assert list(answer) == [Token(1), Token(2)]  # ends the lease
        other.result(timeout=10)
    assert names(manager) == ["b"]


def test_who_waits_too_long_is_told_what_is_in_use() -> None:
    factory, manager = Factory(), ModelManager(60, patience=0.01)
    with manager.lease(factory.spec("a")):
        refused = r"b needs 0 MB. Got: a in use. Allowed: .* raise model_memory"
        with pytest.raises(OverloadedError, match=refused):
            use(manager, factory.spec("b"))
    assert use(manager, factory.spec("b"))


def test_a_model_that_cannot_fit_is_refused_with_what_there_is_and_what_fits() -> None:
    factory, manager = Factory(), ModelManager(1_100_000_000)
    with pytest.raises(TooLargeError) as refusal:
        use(manager, factory.spec("a", 14_000_000_000))
    for part in ("a needs 14.0 GB", "1.1 GB that models may take", "tier=tiny fits (1.0 GB)"):
        assert part in str(refusal.value)
    assert factory.made == []


def test_a_model_that_is_larger_than_the_machine_is_refused_whatever_the_budget() -> None:
    factory, manager = Factory(), ModelManager(1 << 62)
    with (
        pytest.raises(TooLargeError, match="free on this machine"),
        manager.lease(factory.spec("a", 1 << 60)),
    ):
        pass
    assert manager.held() == []


def test_a_failed_load_fails_all_who_wait_for_it_and_is_tried_again_by_the_next() -> None:
    factory, manager = Factory(seconds=0.1, faults=1), ModelManager(60)

    def attempt(_: int) -> str:
        try:
            return str(use(manager, factory.spec("a")).source)
        except MarkError as error:
            return str(error)

    with ThreadPoolExecutor(5) as pool:
        assert set(pool.map(attempt, range(5))) == {"a is broken"}
    assert manager.held() == []
    assert attempt(0) == "a"
    assert use(manager, factory.spec("b")).source == "b", "the failed load gave its memory back"


def test_an_unloaded_model_is_closed_and_its_memory_freed() -> None:
    factory, manager = Factory(), ModelManager(60)
    weights = use(manager, factory.spec("a")).weights
    alive = weakref.ref(weights)
    use(manager, factory.spec("b"))
    assert weights.is_set(), "closed"
    del weights
    assert alive() is None


def test_unloading_spares_what_is_in_use() -> None:
    factory, manager = Factory(), ModelManager(100)
    use(manager, factory.spec("a"))
    with manager.lease(factory.spec("b")):
        manager.unload()
        assert names(manager) == ["b"]
    manager.unload()
    assert manager.held() == []


def test_a_consumer_who_leaves_ends_the_lease() -> None:
    factory, manager = Factory(), ModelManager(100)
    answer = ManagedEngine(factory.spec("a"), manager).stream(PROMPT, SAMPLING)
    next(answer)
    assert manager.held()[0].leases == 1
    answer.close()  # type: ignore[attr-defined]
    assert manager.held()[0].leases == 0


def test_adapters_of_one_base_are_loaded_with_it_once() -> None:
    factory, manager = Factory(), ModelManager(100)
    law = ManagedEngine(factory.spec("base", law="file:law"), manager)
    tax = ManagedEngine(factory.spec("base", tax="file:tax"), manager)
    assert use(manager, law.spec) is use(manager, tax.spec)
    assert use(manager, law.spec).adapters == {"law": "file:law", "tax": "file:tax"}
    assert factory.made == ["base"]


def test_an_adapter_that_comes_later_is_served_by_a_base_that_has_all() -> None:
    factory, manager = Factory(), ModelManager(60)
    law = ManagedEngine(factory.spec("base", law="file:law"), manager)
    use(manager, law.spec)
    late = ManagedEngine(factory.spec("base", tax="file:tax"), manager)
    assert use(manager, late.spec).adapters == {"law": "file:law", "tax": "file:tax"}
    assert use(manager, law.spec) is use(manager, late.spec)
    assert names(manager) == ["base"]


def test_two_adapters_with_one_name_are_refused() -> None:
    factory, manager = Factory(), ModelManager(100)
    ManagedEngine(factory.spec("base", law="file:one"), manager)
    with pytest.raises(ConfigError, match=r"'law' of base is file:two, and file:one .* Rename"):
        ManagedEngine(factory.spec("base", law="file:two"), manager)


def test_an_event_loop_goes_on_while_a_model_is_loaded_once_for_all() -> None:
    factory, manager = Factory(seconds=0.2), ModelManager(100)
    engine = ManagedEngine(factory.spec("a"), manager)

    async def answer() -> list[Token]:
        return [token async for token in engine.astream(PROMPT, SAMPLING)]

    async def main() -> None:
        answers = asyncio.gather(*(answer() for _ in range(8)))
        turns = 0
        while not answers.done():
            await asyncio.sleep(0.01)
            turns += 1
        assert turns > 3
        assert await answers == [[Token(0), Token(1), Token(2)]] * 8

    asyncio.run(main())
    assert factory.made == ["a"]
    assert manager.held()[0].leases == 0


def test_who_is_cancelled_while_a_model_loads_holds_no_lease_and_the_load_serves_others() -> None:
    factory, manager = Factory(seconds=0.2), ModelManager(60)
    engine = ManagedEngine(factory.spec("a"), manager)

    async def main() -> None:
        first = asyncio.ensure_future(anext(engine.astream(PROMPT, SAMPLING)))
        await asyncio.sleep(0.05)
        second = asyncio.ensure_future(anext(engine.astream(PROMPT, SAMPLING)))
        await asyncio.sleep(0.05)
        first.cancel()
        assert await second == Token(0)

    asyncio.run(main())
    assert factory.made == ["a"]
    use(manager, factory.spec("b"))
    assert names(manager) == ["b"], "a is held by nobody"


def test_caches_are_those_of_who_asks_not_of_who_reads_the_answer() -> None:
    factory, manager = Factory(), ModelManager(100)
    engine = ManagedEngine(factory.spec("a"), manager)

    async def read(answer: AsyncIterator[Token]) -> None:
        assert [token async for token in answer]

    with cache_scope("rita"):
        answer, other = engine.stream(PROMPT, SAMPLING), engine.astream(PROMPT, SAMPLING)
    assert list(answer)
    asyncio.run(read(other))
    assert use(manager, engine.spec).scopes == ["rita", "rita"]


def test_an_async_consumer_who_leaves_ends_the_lease() -> None:
    factory, manager = Factory(), ModelManager(100)
    engine = ManagedEngine(factory.spec("a"), manager)

    async def main() -> None:
        answer = engine.astream(PROMPT, SAMPLING)
        assert await anext(answer) == Token(0)
        assert manager.held()[0].leases == 1
        await answer.aclose()  # type: ignore[attr-defined]
        assert manager.held()[0].leases == 0

    asyncio.run(main())


def test_random_use_from_many_threads_stays_within_the_budget() -> None:
    factory, manager = Factory(), ModelManager(100)
    over: list[int] = []

    def work(seed: int) -> None:
        for turn in range(6):
            with manager.lease(factory.spec("abcde"[(seed * 7 + turn * 3) % 5])):
                held = manager.held()
                over.extend(each.nbytes for each in held if sum(one.nbytes for one in held) > 100)

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(work, range(8)))
    assert over == []
    assert all(held.leases == 0 for held in manager.held())
