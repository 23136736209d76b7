"""How much a node may say, and have written into the log, so that none takes it all.

Each gateway counts for itself. An agent has two reports on their way at most and puts into the next
one what happens meanwhile, so who waits here says as much in fewer commits.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from fogbank.domain.envelope import EventEnvelope
from fogbank.domain.errors import ResourceExhaustedError
from fogbank.runtime.clock import Clock
from services.gateway.app.ports import CommitAppender
from services.gateway.core.rates import Rate

COMMITS_PER_S = 10
BURST = 100
# Five signs of life a second is what the shortest heartbeat comes to. After a link that stood still
# more of them come at once.
MESSAGES_PER_S = 20
MESSAGES_BURST = 200
_US_PER_S = 1_000_000


class NodePace:
    """A `CommitAppender` for what nodes say; each has its own pace, whatever streams it opens."""

    def __init__(self, appender: CommitAppender, clock: Clock) -> None:
        """Let each node have so many per second, and a burst at once after a rest."""
        self._appender = appender
        self._clock = clock
        self._commits = Rate(COMMITS_PER_S, BURST)
        self._messages = Rate(MESSAGES_PER_S, MESSAGES_BURST)

    @property
    def is_open(self) -> bool:
        return self._appender.is_open

    async def message(self, node: str) -> None:
        """Wait until a node may say one thing more; who isn't read meanwhile can't send it."""
        await self._turn(self._messages, node)

    async def append(self, envelopes: Sequence[EventEnvelope]) -> tuple[int, int]:
        """Append once it is the turn of the node that the events are about; raises as the port."""
        await self._turn(self._commits, envelopes[0].aggregate)
        return await self._appender.append(envelopes)

    async def append_at_once(self, envelopes: Sequence[EventEnvelope]) -> tuple[int, int]:
        """Append as `append`, or refuse where that would wait.

        Raises:
            ResourceExhaustedError: it is not the node's turn; or as the port.
        """
        if wait_us := self._commits.take(envelopes[0].aggregate, self._now_us()):
            raise ResourceExhaustedError(
                "the node has had too much written into the log",
                reason="RATE_LIMITED",
                retry_after_ms=-(-wait_us // 1_000),
            )
        return await self._appender.append(envelopes)

    async def _turn(self, rate: Rate, key: str) -> None:
        while wait_us := rate.take(key, self._now_us()):  # noqa: ASYNC110  it says for how long
            await asyncio.sleep(wait_us / _US_PER_S)

    def _now_us(self) -> int:
        return round(self._clock.monotonic_s() * _US_PER_S)
