"""A stream ends when it is allowed no more, whatever it or its reader is doing then."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator

import pytest

from fogbank.domain.errors import UnauthenticatedError
from services.gateway.app import streams as module
from services.gateway.app.streams import Streams
from tests.support.waiting import eventually


@pytest.fixture(autouse=True)
def _looks_often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_LOOK_AGAIN_S", 0.001)


class Right:
    """To have a stream, until it is lost."""

    def __init__(self) -> None:
        self.lost = False
        self.looks = 0

    def check(self) -> None:
        self.looks += 1
        if self.lost:
            raise UnauthenticatedError("no more")


class Numbers:
    """Yields so many numbers and waits then."""

    def __init__(self, many: int) -> None:
        self._many = many
        self.closed = False

    async def stream(self) -> AsyncGenerator[int, None]:
        try:
            for number in range(self._many):
                yield number
            await asyncio.Event().wait()
        finally:
            self.closed = True


async def test_it_ends_while_it_waits_for_something_to_happen() -> None:
    right, numbers = Right(), Numbers(2)
    stream = Streams().while_allowed(right.check, numbers.stream())
    assert [await anext(stream), await anext(stream)] == [0, 1]
    waiting = asyncio.ensure_future(anext(stream))
    await eventually(lambda: right.looks > 1, what="a look")
    assert not waiting.done()
    right.lost = True
    with pytest.raises(UnauthenticatedError, match="no more"):
        await asyncio.wait_for(waiting, 60)
    assert numbers.closed


async def test_nothing_more_is_given_to_a_reader_that_comes_back_late() -> None:
    right, numbers = Right(), Numbers(10)
    stream = Streams().while_allowed(right.check, numbers.stream())
    assert await anext(stream) == 0
    right.lost = True
    looks = right.looks
    await eventually(lambda: right.looks > looks, what="a look")
    with pytest.raises(UnauthenticatedError, match="no more"):
        await anext(stream)
    assert numbers.closed


async def test_it_ends_by_itself_and_by_its_own_errors() -> None:
    async def two() -> AsyncGenerator[int, None]:
        yield 1
        yield 2

    async def late() -> AsyncGenerator[int, None]:
        yield 1
        raise TimeoutError("of its own")

    right, streams = Right(), Streams()
    assert [number async for number in streams.while_allowed(right.check, two())] == [1, 2]
    with pytest.raises(TimeoutError, match="of its own"):
        [number async for number in streams.while_allowed(right.check, late())]


async def test_nothing_is_looked_at_once_all_have_ended() -> None:
    right, streams = Right(), Streams()
    for _ in range(2):
        stream = streams.while_allowed(right.check, Numbers(1).stream())
        assert await anext(stream) == 0
        assert streams._next_look is not None
        await stream.aclose()
        await eventually(lambda: streams._next_look is None, what="the end of the looks")
