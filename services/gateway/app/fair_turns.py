"""Turns at work of which little can be done at a time: nobody's many hold up others' few."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fogbank.domain.errors import ResourceExhaustedError, UnavailableError


class FairTurns:
    """So many have a turn `at_once`; of those who wait each asker has one after the other's.

    `waiting` wait at most. Who comes when so many do takes the place of the one who came last for
    the asker that has most there, unless that is the same asker or has no more: then it is refused.
    """

    def __init__(
        self, what: str, *, at_once: int, waiting: int, reason: str, retry_after_ms: int
    ) -> None:
        """`what` there is too much of begins a refusal, which has this `reason`."""
        self._free = at_once
        self._most_waiting = waiting
        # Of each asker those who wait; the asker whose turn is next comes first.
        self._lines: dict[str, deque[asyncio.Future[None]]] = {}
        self._what, self._reason, self._retry_after_ms = what, reason, retry_after_ms

    @asynccontextmanager
    async def turn(self, asker: str, within_s: float | None = None) -> AsyncIterator[None]:
        """Have a turn while the context lasts.

        Raises:
            ResourceExhaustedError: too many wait already.
            UnavailableError: it did not come `within_s` seconds.
        """
        try:
            async with asyncio.timeout(within_s):
                await self.take(asker)
        except TimeoutError:
            raise UnavailableError(
                f"{self._what}, and those of others are still under way; try again",
                reason=self._reason,
                retry_after_ms=self._retry_after_ms,
            ) from None
        try:
            yield
        finally:
            self.give_back()

    async def take(self, asker: str) -> None:
        """Wait for a turn, which lasts until it is given back.

        Raises:
            ResourceExhaustedError: too many wait already.
        """
        if self._free:
            self._free -= 1
            return
        self._make_room(asker)
        turn = asyncio.get_running_loop().create_future()
        self._lines.setdefault(asker, deque()).append(turn)
        try:
            await turn
        except asyncio.CancelledError:
            if turn.cancelled():
                self._leave(asker, turn)
            elif turn.exception() is None:
                self.give_back()  # it came when nobody waited for it any more
            raise

    def give_back(self) -> None:
        """Let the next one have the turn."""
        while self._lines:
            asker = next(iter(self._lines))
            line = self._lines.pop(asker)
            turn = line.popleft()
            if line:
                self._lines[asker] = line
            if not turn.done():
                turn.set_result(None)
                return
        self._free += 1

    def _make_room(self, asker: str) -> None:
        own = len(self._lines.get(asker, ()))
        if sum(map(len, self._lines.values())) < self._most_waiting:
            return
        longest = max(self._lines.values(), key=len)
        if len(longest) <= own + 1:
            raise self._refused()
        last = longest.pop()
        if not last.done():
            last.set_exception(self._refused())

    def _leave(self, asker: str, turn: asyncio.Future[None]) -> None:
        line = self._lines.get(asker)
        if line is not None and turn in line:
            line.remove(turn)
            if not line:
                del self._lines[asker]

    def _refused(self) -> ResourceExhaustedError:
        return ResourceExhaustedError(
            f"{self._what}; try again", reason=self._reason, retry_after_ms=self._retry_after_ms
        )
