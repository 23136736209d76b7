"""What was there at a past moment, and how clusters and nodes stood, as the tables know it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from fogbank.domain.cluster_status import ClusterUse
from fogbank.domain.states import DeploymentStatus
from fogbank.domain.views import Page
from services.ledger.app.ports import DeploymentFilter
from services.ledger.core.alone import TakenRoom


@dataclass(frozen=True, slots=True)
class PastMoment:
    """Right after the commit `sequence`, at which log time was `log_time_us`."""

    sequence: int
    log_time_us: int


class PastReads(Protocol):
    """The tables of what was. All methods raise StoreUnavailableError without an answer."""

    async def deployments(self, wanted: DeploymentFilter, then: PastMoment) -> Page[str]:
        """Return the ids of some deployments, in the order asked for."""

    async def statuses(self, cluster_id: int, then: PastMoment) -> Mapping[DeploymentStatus, int]:
        """Return how many deployments of a cluster were in each status, but deleted."""

    async def created_after(self, deployment_id: str, owner_id: str, upto: int) -> int:
        """Return the next commit after one that created a deployment; 0 for none.

        With an owner, only if it is that user's.
        """

    async def node_around(self, node: str, upto: int) -> tuple[int, int]:
        """Return when a node of an id or name was removed, up to a commit, and when it joined next.

        Commits, 0 for none.
        """

    async def cluster_use(self, cluster_id: int, upto: int) -> ClusterUse | None:
        """Return how much of a cluster was used after a commit; None if there was none."""

    async def nodes(self, limit: int, offset: int, upto: int) -> Page[str]:
        """Return the ids of some nodes of the fleet after a commit, by name, ties by id."""

    async def rooms_taken(self, node_ids: Sequence[str], upto: int) -> Mapping[str, TakenRoom]:
        """Return what replicas took of nodes after a commit; left out is where there were none."""
