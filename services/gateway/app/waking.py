"""Waking those who follow the log: some at a time, so that many followers hold nobody else up."""

from __future__ import annotations

import asyncio
from itertools import islice

# A thousand followers are woken within a tenth of a second, and cost at most about half of the
# event loop's time, however often something happens; what happened meanwhile they get at once.
_AT_ONCE = 50
_BETWEEN_S = 0.005


class Turns:
    """Followers who wait for news, each woken when it is its turn, the longest waiting first."""

    def __init__(self) -> None:
        self._waiting: dict[asyncio.Future[None], None] = {}
        self._woken: dict[asyncio.Future[None], None] = {}
        self._next_turn: asyncio.TimerHandle | None = None
        self._not_before_s = 0.0

    async def news(self) -> None:
        """Wait for the next news, and for one's turn to look at them."""
        future = asyncio.get_running_loop().create_future()
        self._waiting[future] = None
        try:
            await future
        finally:
            # Who gives up leaves nothing behind: many do so again and again while nothing happens.
            self._waiting.pop(future, None)
            self._woken.pop(future, None)

    def wake(self) -> None:
        """Let all who wait now have their turns, the first of them at once."""
        if not self._waiting:
            return
        self._woken |= self._waiting
        self._waiting.clear()
        if self._next_turn is None:
            self._take_turn_at(self._not_before_s)

    def _take_turn_at(self, when_s: float) -> None:
        self._next_turn = asyncio.get_running_loop().call_at(when_s, self._take_turn)

    def _take_turn(self) -> None:
        self._next_turn = None
        for future in tuple(islice(self._woken, _AT_ONCE)):
            del self._woken[future]
            if not future.done():  # who is going away just now cancelled it
                future.set_result(None)
        self._not_before_s = asyncio.get_running_loop().time() + _BETWEEN_S
        if self._woken:
            self._take_turn_at(self._not_before_s)
