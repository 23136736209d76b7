"""Taking what comes next while what came before is still worked on."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing, asynccontextmanager
from typing import Generic, TypeVar

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


class OneAhead(Generic[ItemT]):
    """The next item of a generator without end; it comes while its owner does something else."""

    def __init__(self, items: AsyncGenerator[ItemT]) -> None:
        self._items = items
        self.coming = self._next()

    async def at_hand(self) -> bool:
        """Tell whether the next item came already, after giving it a chance to."""
        await asyncio.sleep(0)
        return self.coming.done()

    def take(self) -> ItemT:
        """Return the item that came, or raise what the generator did; the next begins to come."""
        item = self.coming.result()
        self.coming = self._next()
        return item

    def _next(self) -> asyncio.Task[ItemT]:
        async def take() -> ItemT:
            return await anext(self._items)

        return asyncio.create_task(take())


@asynccontextmanager
async def one_ahead(items: AsyncGenerator[ItemT]) -> AsyncGenerator[OneAhead[ItemT]]:
    """Take what a generator yields one item ahead; it ends with the context."""
    async with aclosing(items):
        ahead = OneAhead(items)
        try:
            yield ahead
        finally:
            ahead.coming.cancel()
            await asyncio.gather(ahead.coming, return_exceptions=True)


class _End:
    """The end of the items, and what ended them if that was an error."""

    def __init__(self, error: Exception | None = None) -> None:
        self.error = error
