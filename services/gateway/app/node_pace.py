"""How much a node may say, and have written into the log, so that none takes it all.

Each gateway counts for itself. An agent has two reports on their way at most and puts into the next
one what happens meanwhile, so who waits here says as much in fewer commits.
"""

from __future__ import annotations

from collections.abc import Sequence

from fogbank.domain.envelope import EventEnvelope
from fogbank.domain.errors import ResourceExhaustedError
from fogbank.runtime.clock import Clock
from services.gateway.app.ports import CommitAppender
from services.gateway.app.turns import steady_us, turn_of
from services.gateway.core.rates import Rate

COMMITS_PER_S = 10
BURST = 100
# Five signs of life a second is what the shortest heartbeat comes to. After a link that stood still
# more of them come at once.
MESSAGES_PER_S = 20
MESSAGES_BURST = 200


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
        await turn_of(node, self._messages, self._clock)

    async def append(self, envelopes: Sequence[EventEnvelope]) -> tuple[int, int]:
        """Append once it is the turn of the node that the events are about; raises as the port."""
        await turn_of(envelopes[0].aggregate, self._commits, self._clock)
        return await self._appender.append(envelopes)

    async def append_at_once(self, envelopes: Sequence[EventEnvelope]) -> tuple[int, int]:
        """Append as `append`, or refuse where that would wait.

        Raises:
            ResourceExhaustedError: it is not the node's turn; or as the port.
        """
        if wait_us := self._commits.take(envelopes[0].aggregate, steady_us(self._clock)):
            raise ResourceExhaustedError(
                "the node has had too much written into the log",
                reason="RATE_LIMITED",
                retry_after_ms=-(-wait_us // 1_000),
            )
        return await self._appender.append(envelopes)
