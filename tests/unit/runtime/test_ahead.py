"""What is taken ahead comes in order, no further than wished, and ends with whoever takes it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing

import pytest

from fogbank.runtime.ahead import taken_ahead
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
