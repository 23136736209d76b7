"""Deployments with a replica that waits for a place, kept as the fold goes on."""

from __future__ import annotations

from collections import Counter
from typing import NamedTuple

from fogbank.domain.deployment import PRIORITY_CLASSES, priority_class
from fogbank.domain.facts import DeploymentFact


class _Wait(NamedTuple):
    class_: str
    since_us: int


class WaitingDeployments:
    """How many deployments of each class of priority wait, and since when.

    One waits from when the first of its replicas has no place until all have one, whether it is
    new, was scaled, or lost replicas to a node, a failure or a more important deployment.
    """

    def __init__(self) -> None:
        # In the order in which they began to wait.
        self._waits: dict[str, _Wait] = {}
        self._depth: Counter[str] = Counter()

    def note(self, deployment: DeploymentFact, at_us: int, *, waits: bool) -> None:
        """Take in whether a deployment waits as of a log time, which never falls."""
        known = self._waits.get(deployment.id)
        if not waits:
            if known is not None:
                del self._waits[deployment.id]
                self._depth[known.class_] -= 1
            return
        now = _Wait(
            priority_class(deployment.spec.priority), known.since_us if known is not None else at_us
        )
        if now == known:
            return
        if known is not None:
            self._depth[known.class_] -= 1
        self._waits[deployment.id] = now
        self._depth[now.class_] += 1

    @property
    def depth(self) -> dict[str, int]:
        """How many deployments of each class of priority wait."""
        return {name: self._depth[name] for name in PRIORITY_CLASSES}

    @property
    def oldest_us(self) -> int | None:
        """Log time since when the one waits that has waited longest; None if nobody waits."""
        return next((wait.since_us for wait in self._waits.values()), None)
