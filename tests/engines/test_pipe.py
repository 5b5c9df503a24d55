"""Tokens reach whoever reads them, on threads and on event loops; who is gone is noticed."""

import asyncio
from concurrent.futures import ThreadPoolExecutor

import pytest

from markgraph.engines.native.pipe import UNREAD, End, Pipe
from markgraph.engines.port import Token

TOKENS = [Token(number) for number in range(400)]


def fill(pipes: list[Pipe]) -> None:
    """Put the tokens into all pipes by turns, and then the end, as steps of a batch do."""
    for item in (*TOKENS, End()):
        for pipe in pipes:
            pipe.put(item)


async def drained(pipe: Pipe) -> list[Token]:
    return [token async for token in pipe.aread()]


def test_many_on_one_loop_and_many_on_threads_get_all_in_order() -> None:
    on_loop, on_threads = ([Pipe(lambda: None) for _ in range(12)] for _ in range(2))

    async def together() -> list[list[Token]]:
        return await asyncio.gather(*map(drained, on_loop))

    with ThreadPoolExecutor(14) as pool:
        read = [pool.submit(list, pipe.read()) for pipe in on_threads]
        aread = pool.submit(asyncio.run, together())
        pool.submit(fill, [*on_loop, *on_threads]).result()
        assert [each.result() for each in read] == [TOKENS] * 12
        assert aread.result() == [TOKENS] * 12


def test_a_loop_after_another_hears_of_its_tokens() -> None:
    for _ in range(3):
        pipe = Pipe(lambda: None)
        with ThreadPoolExecutor(1) as pool:
            pool.submit(fill, [pipe])
            assert asyncio.run(drained(pipe)) == TOKENS


def test_who_has_left_with_the_loop_is_noticed() -> None:
    pipes = [Pipe(lambda: None) for _ in range(2)]

    async def take_one() -> None:
        for pipe in pipes:
            pipe.put(TOKENS[0])
            stream = pipe.aread()
            await anext(aiter(stream))
            pipe.put(TOKENS[1])  # rings, but nobody takes it

    asyncio.run(take_one())
    for pipe in pipes:
        with pytest.raises(RuntimeError, match="closed"):
            pipe.put(TOKENS[2])


def test_a_full_pipe_asks_to_go_on_when_half_of_it_is_taken() -> None:
    asked: list[int] = []
    pipe = Pipe(lambda: asked.append(pipe.room))
    for token in TOKENS[:UNREAD]:
        pipe.put(token)
    assert pipe.room == 0
    stream = pipe.read()
    for _ in range(UNREAD):
        next(stream)
    assert asked == [UNREAD // 2]
