"""How much the deployments of each cluster book, and how they do; counted when somebody asks."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

from fogbank.domain.facts import DeploymentFact
from fogbank.domain.fleet import FleetState
from fogbank.domain.quota_use import COUNTING
from fogbank.domain.resources import NOTHING, Resources
from fogbank.domain.states import DeploymentStatus


@dataclass(slots=True)
class Booked:
    """What replicas book in all, as quotas count it, and how many they are.

    `deployments` counts by status; deleted ones don't count.
    """

    used: Resources = NOTHING
    replicas: int = 0
    deployments: Counter[DeploymentStatus] = field(default_factory=Counter)


@dataclass(frozen=True, slots=True)
class _Share:
    """What one deployment adds to its cluster."""

    cluster_id: int
    used: Resources
    replicas: int
    status: DeploymentStatus


class ClusterUse:
    """Sums by cluster. The fold only notes whom it touched: that costs next to nothing.

    The first question counts all deployments, later ones those touched since the last; `count`
    does it in parts, so that others get their turn.
    """

    def __init__(self) -> None:
        self._touched: set[str] = set()
        self._shares: dict[str, _Share] = {}
        self._sums: dict[int, Booked] = {}

    def touch(self, deployment_ids: Collection[str]) -> None:
        """Note deployments that may look different now."""
        self._touched.update(deployment_ids)

    def count(self, fleet: FleetState, current: Mapping[str, DeploymentStatus], most: int) -> bool:
        """Count `most` deployments that were touched; tell whether none is left.

        `current` has the status of each deployment.
        """
        for _ in range(min(most, len(self._touched))):
            deployment_id = self._touched.pop()
            self._count(fleet, current, fleet.facts.deployments[deployment_id])
        return not self._touched

    def of(self, cluster_ids: Collection[int]) -> Booked:
        """Return the sum over some clusters, as far as it is counted."""
        total = Booked()
        for cluster_id in cluster_ids:
            known = self._sums.get(cluster_id, Booked())
            total.used += known.used
            total.replicas += known.replicas
            total.deployments += known.deployments  # drops what is 0
        del total.deployments[DeploymentStatus.DELETED]
        return total

    def _count(
        self,
        fleet: FleetState,
        current: Mapping[str, DeploymentStatus],
        deployment: DeploymentFact,
    ) -> None:
        former = self._shares.pop(deployment.id, None)
        if former is not None:
            sums = self._sums[former.cluster_id]
            sums.used -= former.used
            sums.replicas -= former.replicas
            sums.deployments[former.status] -= 1
        share = _share(fleet, current, deployment)
        if deployment.deleted and not share.replicas:
            return
        self._shares[deployment.id] = share
        sums = self._sums.setdefault(share.cluster_id, Booked())
        sums.used += share.used
        sums.replicas += share.replicas
        sums.deployments[share.status] += 1


def _share(
    fleet: FleetState, current: Mapping[str, DeploymentStatus], deployment: DeploymentFact
) -> _Share:
    used, replicas = NOTHING, 0
    decision = fleet.decisions.deployments.get(deployment.id)
    for replica_id in decision.replica_ids if decision else ():
        placed = fleet.decisions.placements[replica_id]
        if placed.desired in COUNTING and not fleet.ended(placed):
            used += placed.resources
            replicas += 1
    status = current.get(deployment.id, DeploymentStatus.PENDING)
    return _Share(deployment.spec.cluster_id, used, replicas, status)
