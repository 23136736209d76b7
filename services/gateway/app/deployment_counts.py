"""How many deployments are in each status, by cluster and by priority, kept as the fold goes on."""

from __future__ import annotations

from collections import Counter

from fogbank.domain.deployment import PRIORITY_CLASSES, priority_class
from fogbank.domain.facts import DeploymentFact
from fogbank.domain.states import DeploymentStatus

# Whose, in which cluster, in which class of priority, and its status.
_Counted = tuple[str, int, str, DeploymentStatus]


class DeploymentCounts:
    """Counts by cluster and status, and of those that wait; deleted deployments don't count."""

    def __init__(self) -> None:
        self._known: dict[str, _Counted] = {}
        self._counts: dict[int, Counter[DeploymentStatus]] = {}
        self._pending = dict.fromkeys(PRIORITY_CLASSES, 0)
        self._pending_of: Counter[str] = Counter()

    def note(self, deployment: DeploymentFact, status: DeploymentStatus) -> None:
        """Count a deployment as it is now."""
        deployment_id, spec = deployment.id, deployment.spec
        now = (deployment.owner_id, spec.cluster_id, priority_class(spec.priority), status)
        former = self._known.get(deployment_id)
        if former == now:
            return
        if former is not None:
            self._add(former, -1)
        if status is DeploymentStatus.DELETED:
            self._known.pop(deployment_id, None)
            return
        self._known[deployment_id] = now
        self._add(now, 1)

    def forget(self, deployment_id: str) -> None:
        """Count a deployment no more."""
        former = self._known.pop(deployment_id, None)
        if former is not None:
            self._add(former, -1)

    def _add(self, known: _Counted, difference: int) -> None:
        owner_id, cluster_id, class_, status = known
        self._counts.setdefault(cluster_id, Counter())[status] += difference
        if status is DeploymentStatus.PENDING:
            self._pending[class_] += difference
            self._pending_of[owner_id] += difference
            if not self._pending_of[owner_id]:
                del self._pending_of[owner_id]

    def of_cluster(self, cluster_id: int) -> Counter[DeploymentStatus]:
        """Return how many deployments of a cluster are in each status, without zeros."""
        return +self._counts.get(cluster_id, Counter())

    def pending_of(self, owner_id: str) -> int:
        """Return how many deployments of an owner wait."""
        return self._pending_of[owner_id]

    @property
    def pending(self) -> dict[str, int]:
        """How many deployments of each class of priority wait."""
        return dict(self._pending)
