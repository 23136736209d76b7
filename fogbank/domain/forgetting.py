"""What a fleet's state forgets: deployments that were deleted long ago, with all their replicas.

Rounds forget, each by its own instant, what no replica is left of: so all who fold the same log
forget the same after the same commit. What is forgotten stays in the log, and in the ledger's
tables.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from heapq import heappop, heappush

from fogbank.domain.facts import DeploymentFact

# For so long, from its deletion in log time to a round's instant, a deployment is remembered.
KEPT_DELETED_US = 7 * 24 * 3600 * 1_000_000

# Rounds of earlier engines forget nothing: what they led to, and its digests, stays as it was.
FORGETTING_ENGINE = 4

# Who is shown each deployment that is about to be forgotten.
Shown = Callable[[DeploymentFact], object]


class Over:
    """Deleted deployments of which no replica is left, those that were deleted first first.

    It may also hold some that got a replica since, from a round that crossed the deletion, and
    holds these again once that has ended.
    """

    __slots__ = ("_waiting",)

    def __init__(self) -> None:
        self._waiting: list[tuple[int, str]] = []

    def add(self, deployment: DeploymentFact) -> None:
        """Take in a deployment."""
        heappush(self._waiting, (deployment.deleted_at_us, deployment.id))

    def due(self, engine: int, instant_us: int) -> Iterator[str]:
        """Yield, and let go, those that a round of an engine forgets."""
        if engine < FORGETTING_ENGINE:
            return
        while self._waiting and instant_us - self._waiting[0][0] >= KEPT_DELETED_US:
            yield heappop(self._waiting)[1]
