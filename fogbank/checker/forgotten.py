"""Which deleted deployments the fleet has forgotten: their ids may be used again."""

from __future__ import annotations

from typing import NamedTuple

from fogbank.checker.world import Deployment, Replica, World
from fogbank.v1 import rounds_pb2

# For so long a deleted deployment is remembered.
KEPT_US = 7 * 24 * 3600 * 1_000_000
# Rounds of engines before it let nothing be forgotten.
FIRST_ENGINE = 4


class LastRound(NamedTuple):
    """The last round that let anything be forgotten: its sequence and instant."""

    sequence: int = 0
    instant_us: int = 0

    def after(self, sequence: int, decided: rounds_pb2.RoundDecided) -> LastRound:
        """Return the last one after a round that counts."""
        if decided.engine < FIRST_ENGINE:
            return self
        return LastRound(sequence, decided.instant_us)

    def forgot(self, world: World, deployment: Deployment) -> bool:
        """Tell whether a deployment was forgotten by then: deleted long ago, its replicas over."""
        if not deployment.deleted or self.instant_us - deployment.deleted_at_us < KEPT_US:
            return False
        ended_at = [replica.ended_at for replica in _replicas_of(world, deployment)]
        return all(0 < at < self.sequence for at in (deployment.deleted_at, *ended_at))


def forget(world: World, deployment: Deployment) -> None:
    """Let a deployment and its replicas be gone."""
    for replica in _replicas_of(world, deployment):
        del world.replicas[replica.id]
    del world.deployments[deployment.id]


def _replicas_of(world: World, deployment: Deployment) -> list[Replica]:
    return [each for each in world.replicas.values() if each.deployment_id == deployment.id]
