"""Turns go round among those who ask, and who asks for many makes room for who asks for one."""

from __future__ import annotations

import asyncio

import pytest

from fogbank.domain.errors import ResourceExhaustedError
from services.gateway.app.fair_turns import FairTurns


class Line:
    """People who wait for turns, and in which order they had them."""

    def __init__(self, at_once: int = 1, waiting: int = 4) -> None:
        self.turns = FairTurns(
            "Too many at once", at_once=at_once, waiting=waiting, reason="FULL", retry_after_ms=7
        )
        self.had: list[str] = []

    async def come(self, *askers: str) -> list[asyncio.Task[None]]:
        """Let askers come in this order, and all but the first wait."""
        tasks = [asyncio.create_task(self._wait(asker)) for asker in askers]
        await asyncio.sleep(0)
        return tasks

    async def _wait(self, asker: str) -> None:
        await self.turns.take(asker)
        self.had.append(asker)

    async def go_on(self, times: int) -> None:
        """Let so many turns end."""
        for _ in range(times):
            self.turns.give_back()
            await asyncio.sleep(0)


async def test_turns_go_round_among_askers() -> None:
    line = Line(waiting=9)
    await line.come("a", "a", "a", "a", "b", "b", "c")
    await line.go_on(6)
    assert line.had == ["a", "a", "b", "c", "a", "b", "a"]


async def test_as_many_as_may_have_a_turn_at_once() -> None:
    line = Line(at_once=2)
    await line.come("a", "b", "c")
    assert line.had == ["a", "b"]
    await line.go_on(3)
    assert line.had == ["a", "b", "c"]
    await line.come("d", "e", "f")
    assert line.had == ["a", "b", "c", "d", "e"]


async def test_who_asks_for_many_makes_room_for_others_and_is_refused_more() -> None:
    line = Line(waiting=4)
    held = await line.come("a", "a", "a", "a", "a", "a")
    with pytest.raises(ResourceExhaustedError, match="Too many at once; try again") as error:
        await held[5]
    assert (error.value.reason, error.value.retry_after_ms) == ("FULL", 7)
    await line.come("b", "c")
    with pytest.raises(ResourceExhaustedError):
        await held[4]
    with pytest.raises(ResourceExhaustedError):
        await held[3]
    (late,) = await line.come("b")
    with pytest.raises(ResourceExhaustedError):
        await late  # it would have as many as whoever has most
    await line.go_on(4)
    assert line.had == ["a", "a", "b", "c", "a"]


async def test_who_goes_away_leaves_the_line_or_passes_the_turn_on() -> None:
    line = Line()
    _, gone, given, last = await line.come("a", "b", "c", "d")
    gone.cancel()
    await asyncio.sleep(0)
    line.turns.give_back()  # to c, who goes away before noticing
    given.cancel()
    await asyncio.gather(gone, given, last, return_exceptions=True)
    assert line.had == ["a", "d"]
    line.turns.give_back()
    async with line.turns.turn("e"):
        await line.come("f")
        assert line.had == ["a", "d"]
    await asyncio.sleep(0)
    assert line.had == ["a", "d", "f"]
