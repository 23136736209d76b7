"""How many deployments of each cluster are in each status, kept as the fold goes on."""

from __future__ import annotations

from collections import Counter

from fogbank.domain.states import DeploymentStatus


class ClusterCounts:
    """Counts by cluster and status; deleted deployments don't count."""

    def __init__(self) -> None:
        self._known: dict[str, tuple[int, DeploymentStatus]] = {}
        self._counts: dict[int, Counter[DeploymentStatus]] = {}

    def note(self, deployment_id: str, cluster_id: int, status: DeploymentStatus) -> None:
        """Count a deployment as it is now."""
        now = (cluster_id, status)
        former = self._known.get(deployment_id)
        if former == now:
            return
        if former is not None:
            self._counts[former[0]][former[1]] -= 1
        if status is DeploymentStatus.DELETED:
            self._known.pop(deployment_id, None)
            return
        self._known[deployment_id] = now
        self._counts.setdefault(cluster_id, Counter())[status] += 1

    def of(self, cluster_id: int) -> Counter[DeploymentStatus]:
        """Return how many deployments of a cluster are in each status, without zeros."""
        return +self._counts.get(cluster_id, Counter())
