"""How often a node may have something written into the log, so that none fills it for all.

Each gateway counts for itself. An agent has two reports on their way at most and puts into the next
one what happens meanwhile, so who waits here says as much in fewer commits.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from fogbank.domain.envelope import EventEnvelope
from fogbank.domain.errors import ResourceExhaustedError
from services.gateway.app.ports import CommitAppender
from services.gateway.core.rates import Rate

COMMITS_PER_S = 10
BURST = 100
_US_PER_S = 1_000_000


class NodePace:
    """A `CommitAppender` for what nodes say; each has its own pace, whatever streams it opens."""

    def __init__(
        self, appender: CommitAppender, per_second: float = COMMITS_PER_S, burst: int = BURST
    ) -> None:
        """Let each node have so many commits per second, and `burst` at once after a rest."""
        self._appender = appender
        self._rate = Rate(per_second, burst)

    @property
    def is_open(self) -> bool:
        return self._appender.is_open

    async def append(self, envelopes: Sequence[EventEnvelope]) -> tuple[int, int]:
        """Append once it is the turn of the node that the events are about; raises as the port."""
        node = envelopes[0].aggregate
        while wait_us := self._rate.take(node, _now_us()):  # noqa: ASYNC110  it says for how long
            await asyncio.sleep(wait_us / _US_PER_S)
        return await self._appender.append(envelopes)

    async def append_at_once(self, envelopes: Sequence[EventEnvelope]) -> tuple[int, int]:
        """Append as `append`, or refuse where that would wait.

        Raises:
            ResourceExhaustedError: it is not the node's turn; or as the port.
        """
        if wait_us := self._rate.take(envelopes[0].aggregate, _now_us()):
            raise ResourceExhaustedError(
                "the node has had too much written into the log",
                reason="RATE_LIMITED",
                retry_after_ms=-(-wait_us // 1_000),
            )
        return await self._appender.append(envelopes)


def _now_us() -> int:
    return round(asyncio.get_running_loop().time() * _US_PER_S)
