"""Taking what comes next while what came before is still worked on."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import TypeVar

ItemT = TypeVar("ItemT")


async def taken_ahead(items: AsyncGenerator[ItemT], most: int) -> AsyncGenerator[ItemT]:
    """Yield what a generator yields, which goes on by itself until `most` items wait.

    What it raises is raised once all before it were yielded. It ends with this one.
    """
    waiting: asyncio.Queue[ItemT | _End] = asyncio.Queue(most)

    async def take() -> None:
        try:
            async with aclosing(items):
                async for item in items:
                    await waiting.put(item)
        except Exception as error:  # noqa: BLE001  raised where the items are yielded
            await waiting.put(_End(error))
        else:
            await waiting.put(_End())

    taking = asyncio.create_task(take())
    try:
        while not isinstance(item := await waiting.get(), _End):
            yield item
        if item.error is not None:
            raise item.error
    finally:
        taking.cancel()
        await asyncio.wait([taking])


class _End:
    """The end of the items, and what ended them if that was an error."""

    def __init__(self, error: Exception | None = None) -> None:
        self.error = error
