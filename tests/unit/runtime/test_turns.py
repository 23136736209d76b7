"""Long work leaves others their turn, and ends where what it rests on has changed."""

import asyncio
from collections.abc import Iterator

from fogbank.runtime.turns import last_in_turns


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
