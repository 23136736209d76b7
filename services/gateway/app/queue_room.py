"""How many deployments may wait to be scheduled: in all, of one owner, of one organization."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext

from fogbank.domain import events as ev
from fogbank.domain.errors import ResourceExhaustedError
from fogbank.domain.facts import DeploymentFact
from fogbank.domain.states import DeploymentStatus
from services.gateway.app.fold import FleetFold

MOST = 100_000
SHARE = 0.25
_RETRY_HINT_MS = 1_000
_OVER = frozenset({DeploymentStatus.FAILED, DeploymentStatus.COMPLETED})

# A kind of those whose deployments are counted, and which one of them.
_Whose = tuple[str, str | int]
_ALL: _Whose = ("everybody", "")
_OF = {"everybody": "", "owner": " of one owner", "organization": " of one organization"}


class QueueRoom:
    """Room for `most` deployments that wait, also for capacity, or are on their way into the log.

    One owner's may take a `share` of it (above 0, at most 1), and so may those in the clusters of
    one organization: so none shuts the others out. The organization that has no owner belongs to
    everybody, and has no share.
    """

    def __init__(self, fold: FleetFold, most: int = MOST, share: float = SHARE) -> None:
        self._fold = fold
        self._most = most
        self._most_of_one = max(int(most * share), 1)
        self._on_their_way: Counter[_Whose] = Counter()

    @contextmanager
    def taken(self, owner_id: str, cluster_ids: Collection[int]) -> Iterator[None]:
        """Take room for an owner's new deployments in these clusters, until the fold counts them.

        Raises:
            ResourceExhaustedError: there is not enough for all of them.
        """
        wanted = self._wanted(owner_id, cluster_ids)
        for whose, new in wanted.items():
            most = self._most if whose == _ALL else self._most_of_one
            if self._waiting(whose) + self._on_their_way[whose] + new > most:
                raise ResourceExhaustedError(
                    f"{most} deployments{_OF[whose[0]]} may wait to be scheduled, and so many do "
                    "or would; try again later",
                    reason="QUEUE_FULL",
                    retry_after_ms=_RETRY_HINT_MS,
                )
        self._on_their_way += wanted
        try:
            yield
        finally:
            self._on_their_way -= wanted

    def taken_again(
        self, deployment: DeploymentFact, change: ev.Event | None
    ) -> AbstractContextManager[None]:
        """Take room for a deployment that was given up or is done, and that a change places anew.

        One that waits has its room, and one with places needs none; raises as `taken`.
        """
        status = self._fold.tracker.current.get(deployment.id)
        if status not in _OVER or isinstance(change, ev.DeploymentDeleted):
            return nullcontext()
        spec = change.spec if isinstance(change, ev.DeploymentUpdated) else deployment.spec
        return self.taken(deployment.owner_id, [spec.cluster_id])

    def _wanted(self, owner_id: str, cluster_ids: Collection[int]) -> Counter[_Whose]:
        facts = self._fold.fleet.facts
        wanted: Counter[_Whose] = Counter()
        for cluster_id in cluster_ids:
            organization_id = facts.clusters[cluster_id].organization_id
            wanted.update([_ALL, ("owner", owner_id)])
            if facts.organizations[organization_id].owner_id:
                wanted.update([("organization", organization_id)])
        return wanted

    def _waiting(self, whose: _Whose) -> int:
        counts = self._fold.counts
        match whose:
            case "owner", str(owner_id):
                return counts.pending_of(owner_id)
            case "organization", int(organization_id):
                clusters = self._fold.fleet.facts.organizations[organization_id].clusters
                return sum(counts.of_cluster(each)[DeploymentStatus.PENDING] for each in clusters)
        return self._fold.pending
