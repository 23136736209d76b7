"""One answer for all who ask the same at about the same time."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Generic, TypeVar

T = TypeVar("T")


class SharedAnswer(Generic[T]):
    """Asks for whoever calls it, once at a time, and not again within `good_for_s` seconds."""

    def __init__(self, ask: Callable[[], Awaitable[T]], good_for_s: float) -> None:
        self._ask = ask
        self._good_for_s = good_for_s
        self._asked_s = 0.0
        self._answer: asyncio.Task[T] | None = None

    async def __call__(self) -> T:
        """Return the answer, or raise what came instead, of a question not long ago."""
        now_s = asyncio.get_running_loop().time()
        answer = self._answer
        if answer is None or (answer.done() and now_s - self._asked_s >= self._good_for_s):
            answer = self._answer = asyncio.create_task(self._asking())
            self._asked_s = now_s
        # Who asked first may go away; the others still want to know.
        return await asyncio.shield(answer)

    async def _asking(self) -> T:
        return await self._ask()
