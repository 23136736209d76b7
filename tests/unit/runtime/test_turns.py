"""Long work leaves others their turn, and ends where what it rests on has changed."""

import asyncio
from collections.abc import Iterator
from contextlib import suppress
from types import SimpleNamespace

import pytest

from fogbank.runtime import turns
from fogbank.runtime.turns import Spaced, last_in_turns


async def test_others_get_their_turn_after_each_part() -> None:
    order: list[str] = []

    def parts() -> Iterator[int]:
        for number in range(3):
            order.append(f"part {number}")
            yield number

    async def other() -> None:
        for _ in range(3):
            order.append("other")
            await asyncio.sleep(0)

    others = asyncio.create_task(other())
    assert await last_in_turns(parts(), lambda: True) == 2
    await others
    assert order == ["part 0", "other", "part 1", "other", "part 2", "other"]


async def test_it_ends_with_what_is_known_when_its_ground_changes() -> None:
    holds = [True, True, False]
    assert await last_in_turns(iter(range(10)), lambda: holds.pop(0)) == 2
    assert await last_in_turns(iter(range(10)), lambda: False) == 0


async def test_spaced_work_leaves_the_loop_its_share(monkeypatch: pytest.MonkeyPatch) -> None:
    clock, pauses = SimpleNamespace(now_s=100.0), []

    async def sleep(seconds: float) -> None:
        pauses.append(seconds)
        clock.now_s += seconds

    monkeypatch.setattr(turns, "asyncio", SimpleNamespace(Lock=asyncio.Lock, sleep=sleep))
    spaced = Spaced(1 / 3, lambda: clock.now_s)
    async with spaced.turn():
        clock.now_s += 0.5
    async with spaced.turn():
        clock.now_s += 2
    assert pauses == [pytest.approx(1)]
    clock.now_s += 3
    with suppress(ValueError):
        async with spaced.turn():
            clock.now_s += 1
            raise ValueError
    assert pauses[1:] == [pytest.approx(1)]
    async with spaced.turn():
        pass
    assert pauses[2:] == [pytest.approx(2)], "work that fails took as long"


async def test_spaced_work_is_done_in_the_order_in_which_it_came() -> None:
    spaced, order = Spaced(0.5, lambda: 0.0), []

    async def work(number: int) -> None:
        async with spaced.turn():
            await asyncio.sleep(0)
            order.append(number)

    begun = [asyncio.create_task(work(number)) for number in range(4)]
    await asyncio.sleep(0)
    begun[1].cancel()
    await asyncio.gather(*begun, return_exceptions=True)
    assert order == [0, 2, 3]
