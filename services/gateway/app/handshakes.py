"""How many agents shake hands or join at a time."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from prometheus_client import Counter, Gauge

from fogbank.domain.errors import ResourceExhaustedError

_WAITING = Gauge("fog_gateway_handshakes_waiting", "Agents that wait for others' handshakes.")
_REFUSED = Counter("fog_gateway_handshakes_refused", "Handshakes refused since too many waited.")

AT_ONCE = 64
# For each that shakes hands so many wait; they are let in before any agent loses its patience.
_WAITING_FOR_EACH = 4
_RETRY_HINT_MS = 1_000


class Handshakes:
    """Lets agents in some at a time, in the order in which they came.

    When a gateway dies a whole fleet calls the next one at once. It must go on passing on what the
    agents say that it has, and must not do handshakes that nobody waits for any more.
    """

    def __init__(self, at_once: int = AT_ONCE) -> None:
        """Let in so many `at_once`; four times as many wait, and the others are to come again."""
        self._places = asyncio.Semaphore(at_once)
        self._most_waiting = at_once * _WAITING_FOR_EACH
        self._waiting = 0

    @asynccontextmanager
    async def place(self) -> AsyncIterator[None]:
        """Hold a place while the context lasts.

        Raises:
            ResourceExhaustedError: too many wait for one already.
        """
        if self._places.locked() and self._waiting >= self._most_waiting:
            _REFUSED.inc()
            raise ResourceExhaustedError(
                f"{self._waiting} agents wait for their handshakes already",
                reason="TOO_MANY_HANDSHAKES",
                retry_after_ms=_RETRY_HINT_MS,
            )
        self._waiting += 1
        try:
            with _WAITING.track_inprogress():
                await self._places.acquire()
        finally:
            self._waiting -= 1
        try:
            yield
        finally:
            self._places.release()
