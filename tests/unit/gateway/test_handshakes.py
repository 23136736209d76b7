"""How many agents shake hands at a time."""

import asyncio

import pytest

from fogbank.domain.errors import ResourceExhaustedError
from services.gateway.app.handshakes import Handshakes


async def test_agents_are_let_in_some_at_a_time_in_their_order() -> None:
    handshakes, going_on, order = Handshakes(2), asyncio.Event(), []

    async def shake(number: int) -> None:
        async with handshakes.place():
            order.append(number)
            await going_on.wait()

    async with asyncio.TaskGroup() as tasks:
        for number in range(10):
            tasks.create_task(shake(number))
        for _ in range(5):
            await asyncio.sleep(0)
        assert order == [0, 1]
        going_on.set()
    assert order == list(range(10))


async def test_too_many_are_told_when_to_come_again_and_who_gave_up_leaves_room() -> None:
    handshakes, going_on = Handshakes(1), asyncio.Event()

    async def shake() -> None:
        async with handshakes.place():
            await going_on.wait()

    shaking = [asyncio.create_task(shake()) for _ in range(5)]
    await asyncio.sleep(0)
    with pytest.raises(ResourceExhaustedError) as refused:
        await shake()
    assert (refused.value.reason, refused.value.retry_after_ms) == ("TOO_MANY_HANDSHAKES", 1_000)

    shaking[3].cancel()
    await asyncio.wait([shaking[3]])
    shaking.append(asyncio.create_task(shake()))
    going_on.set()
    ends = await asyncio.gather(*shaking, return_exceptions=True)
    assert [end for end in ends if end is not None] == [ends[3]]
