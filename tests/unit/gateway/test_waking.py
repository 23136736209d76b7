"""Waking followers: all of them, in order, some at a time."""

import asyncio

from services.gateway.app.waking import Turns


async def test_many_followers_are_woken_in_parts_and_in_order() -> None:
    turns = Turns()
    woken: list[int] = []
    parts: list[int] = []

    async def follow(number: int) -> None:
        await turns.news()
        woken.append(number)

    async with asyncio.TaskGroup() as group:
        for number in range(130):
            group.create_task(follow(number))
        await asyncio.sleep(0)
        turns.wake()
        while len(woken) < 130:
            seen = len(woken)
            await asyncio.sleep(0)
            if len(woken) > seen:
                parts.append(len(woken) - seen)
    assert woken == list(range(130))
    assert max(parts) <= 50, "others have their turn in between"


async def test_who_went_away_is_forgotten() -> None:
    turns = Turns()
    gone, stays = (asyncio.create_task(turns.news()) for _ in range(2))
    await asyncio.sleep(0)
    gone.cancel()
    turns.wake()
    await asyncio.wait_for(stays, 60)
    assert gone.cancelled()


async def test_those_who_gave_up_before_the_news_hold_nobody_up() -> None:
    turns = Turns()
    gone = [asyncio.create_task(turns.news()) for _ in range(1_000)]
    stays = asyncio.create_task(turns.news())
    await asyncio.sleep(0)
    for each in gone:
        each.cancel()
    await asyncio.wait(gone)
    turns.wake()
    for _ in range(5):
        await asyncio.sleep(0)
    assert stays.done()


async def test_who_waits_after_the_news_waits_for_the_next() -> None:
    turns = Turns()
    turns.wake()
    waiting = asyncio.create_task(turns.news())
    await asyncio.sleep(0)
    assert not waiting.done()
    turns.wake()
    await asyncio.wait_for(waiting, 60)
