"""Who asks for a long answer and stops reading it holds up nobody."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing

import pytest

from fogbank.domain.errors import UnavailableError
from services.ledger.app.readers import in_turn

PARTS = 20


async def numbers() -> AsyncGenerator[int]:
    for number in range(PARTS):
        yield number


async def failing() -> AsyncGenerator[int]:
    yield 0
    raise ValueError("broken")


async def test_all_parts_come_in_order_and_the_turn_ends() -> None:
    turn = asyncio.Lock()
    assert [part async for part in in_turn(turn, numbers())] == list(range(PARTS))
    assert not turn.locked()


async def test_who_stops_reading_loses_the_turn_and_is_told() -> None:
    turn = asyncio.Lock()
    async with aclosing(in_turn(turn, numbers(), patience_s=0.05)) as slow:
        assert await anext(slow) == 0
        async with asyncio.timeout(60):
            assert [part async for part in in_turn(turn, numbers())] == list(range(PARTS))
        with pytest.raises(UnavailableError, match=r"was not read for 0\.05 s"):
            assert [part async for part in slow] == []


async def test_who_leaves_gives_the_turn_back() -> None:
    turn = asyncio.Lock()
    async with aclosing(in_turn(turn, numbers())) as left:
        assert await anext(left) == 0
        assert turn.locked()
    assert not turn.locked()


async def test_what_went_wrong_is_told_after_the_parts_before_it() -> None:
    turn = asyncio.Lock()
    parts = in_turn(turn, failing())
    assert await anext(parts) == 0
    with pytest.raises(ValueError, match="broken"):
        await anext(parts)
    assert not turn.locked()
