"""What is taken ahead comes in order, no further than wished, and ends with whoever takes it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing

import pytest

from fogbank.runtime.ahead import one_ahead, taken_ahead
from tests.support.waiting import eventually


class Source:
    """Yields numbers, and fails after them if it is to."""

    def __init__(self, numbers: int, error: Exception | None = None) -> None:
        self.made = 0
        self.ended = False
        self._numbers = numbers
        self._error = error

    async def items(self) -> AsyncGenerator[int]:
        try:
            for number in range(self._numbers):
                self.made += 1
                yield number
            if self._error is not None:
                raise self._error
        finally:
            self.ended = True


async def test_all_comes_in_order() -> None:
    source = Source(10)
    assert [item async for item in taken_ahead(source.items(), 2)] == list(range(10))
    assert source.ended


async def test_it_goes_on_by_itself_as_far_as_it_may() -> None:
    source = Source(10)
    async with aclosing(taken_ahead(source.items(), 2)) as items:
        assert await anext(items) == 0
        # One was yielded, two wait, and one more waits for room.
        await eventually(lambda: source.made == 4, what="items ahead")
        assert [await anext(items) for _ in range(3)] == [1, 2, 3]
        assert source.made <= 7


async def test_an_error_comes_after_all_that_came_before_it() -> None:
    async with aclosing(taken_ahead(Source(3, ValueError("no more")).items(), 1)) as items:
        assert [await anext(items) for _ in range(3)] == [0, 1, 2]
        with pytest.raises(ValueError, match="no more"):
            await anext(items)


async def test_whoever_stops_ends_the_source() -> None:
    source = Source(1_000)
    async with aclosing(taken_ahead(source.items(), 1)) as items:
        await anext(items)
    assert source.ended
    assert len(asyncio.all_tasks()) == 1


async def test_the_next_one_comes_while_its_owner_does_something_else() -> None:
    source = Source(3, ValueError("no more"))
    taken = []
    async with one_ahead(source.items()) as items:
        for made in (1, 2, 3):
            assert await items.at_hand()
            assert source.made == made
            taken.append(items.take())
        assert await items.at_hand()
        with pytest.raises(ValueError, match="no more"):
            items.take()
    assert taken == [0, 1, 2]
    assert len(asyncio.all_tasks()) == 1


async def test_what_does_not_come_is_not_at_hand_and_ends_with_its_owner() -> None:
    ended = asyncio.Event()

    async def never() -> AsyncGenerator[int]:
        try:
            await asyncio.Event().wait()
            yield 0
        finally:
            ended.set()

    async with one_ahead(never()) as items:
        assert not await items.at_hand()
    assert ended.is_set()
    assert len(asyncio.all_tasks()) == 1
