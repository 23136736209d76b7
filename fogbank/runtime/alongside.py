"""Work that goes on alongside its owner, one piece after the other."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Coroutine
from contextlib import asynccontextmanager
from typing import Any


class Alongside:
    """Does one piece of work while its owner prepares the next."""

    def __init__(self) -> None:
        self._task: asyncio.Task[None] | None = None

    def begin(self, work: Coroutine[Any, Any, None]) -> None:
        """Begin a piece of work; the one before must have been waited for by `end`."""
        self._task = asyncio.create_task(work)

    async def end(self) -> None:
        """Wait until the piece that was begun, if one was, is done; raises what it raised."""
        if self._task is not None:
            await self._task
            self._task = None

    @property
    def under_way(self) -> bool:
        """Whether a piece was begun that was not waited for yet."""
        return self._task is not None

    async def until(self, other: asyncio.Future[Any]) -> None:
        """Wait until `other` is done or the piece under way is; raises what that raised."""
        under_way = [] if self._task is None else [self._task]
        await asyncio.wait([other, *under_way], return_when=asyncio.FIRST_COMPLETED)
        if self._task is not None and self._task.done():
            await self.end()

    async def abandon(self) -> None:
        """Let go of what is under way."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)


@asynccontextmanager
async def alongside() -> AsyncGenerator[Alongside]:
    """Do work alongside; what is still under way when the context ends is given up."""
    work = Alongside()
    try:
        yield work
    finally:
        await work.abandon()
