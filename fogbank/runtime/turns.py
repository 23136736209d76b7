"""Long work in parts, or with pauses, so that what else the event loop has to do gets its turn."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from typing import TypeVar

T = TypeVar("T")


async def last_in_turns(parts: Iterator[T], still_holds: Callable[[], bool]) -> T:
    """Return the last of at least one part, or the latest before what they rest on changed.

    Others get their turn after each part, and may be who changes it.
    """
    latest = next(parts)
    while True:
        await asyncio.sleep(0)
        if not still_holds():
            return latest
        try:
            latest = next(parts)
        except StopIteration:
            return latest


class Spaced:
    """Pieces of work one after the other, with pauses: together they take a share of the loop."""

    def __init__(self, share: float, now_s: Callable[[], float]) -> None:
        """Let them take `share` of the time (above 0, at most 1), told by a clock never set."""
        self._pause_for_each_s = 1 / share - 1
        self._now_s = now_s
        self._free_from_s = 0.0
        self._lock = asyncio.Lock()

    @asynccontextmanager
    async def turn(self) -> AsyncIterator[None]:
        """Wait for a turn, and have it while the context lasts; in the order of those who come."""
        async with self._lock:
            if (left_s := self._free_from_s - self._now_s()) > 0:
                await asyncio.sleep(left_s)
            began_s = self._now_s()
            try:
                yield
            finally:
                ended_s = self._now_s()
                self._free_from_s = ended_s + (ended_s - began_s) * self._pause_for_each_s
