"""How much of a cluster's quota, and of its organization's, is used."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from fogbank.domain.errors import NotFoundError
from fogbank.domain.fleet import FleetState
from fogbank.domain.resources import Resources
from fogbank.domain.states import DeploymentStatus
from fogbank.domain.tenancy import ClusterFact, Quota, Use


@dataclass(frozen=True, slots=True)
class LimitedUse:
    """A quota, what replicas take of it, and how much is left (None: unlimited)."""

    quota: Quota
    taken: Use

    @property
    def used(self) -> Resources:
        """What replicas book in all."""
        return Resources(*self.taken[: Use._fields.index("replicas")])

    @property
    def replicas(self) -> int:
        """How many they are."""
        return self.taken.replicas

    @property
    def available(self) -> Quota:
        """What is left of the quota; nothing where more is used, since a quota may shrink."""
        return Quota(
            *(
                None if limit is None else max(0, limit - amount)
                for limit, amount in zip(self.quota.limits, self.taken, strict=True)
            )
        )


@dataclass(frozen=True, slots=True)
class ClusterUse:
    """How much of a cluster, and of all clusters of its organization, is used."""

    cluster: ClusterFact
    own: LimitedUse
    organization: LimitedUse

    @property
    def available(self) -> Quota:
        """What both quotas leave over."""
        pairs = zip(self.own.available.limits, self.organization.available.limits, strict=True)
        return Quota(
            *(min((limit for limit in pair if limit is not None), default=None) for pair in pairs)
        )


@dataclass(frozen=True, slots=True)
class ClusterStatus:
    """How much of a cluster is used, and how its deployments do.

    `deployments` counts by status; deleted ones don't count.
    """

    use: ClusterUse
    deployments: Mapping[DeploymentStatus, int]


def cluster_use(fleet: FleetState, cluster_id: int) -> ClusterUse:
    """Return how much of a cluster is used; KeyError if there is no such cluster."""
    cluster = fleet.facts.clusters[cluster_id]
    organization = fleet.facts.organizations[cluster.organization_id]
    return ClusterUse(
        cluster,
        LimitedUse(cluster.quota, fleet.used_by_cluster(cluster.id)),
        LimitedUse(organization.quota, fleet.used_by_organization(organization.id)),
    )


def no_cluster_then(cluster_id: int, sequence: int, created_sequence: int) -> NotFoundError:
    """Return the error for a cluster that was not made yet right after a commit.

    It was made by the one at `created_sequence`; 0 for never.
    """
    later = f": it was created by commit {created_sequence}" if created_sequence else ""
    return NotFoundError(f"There was no cluster {cluster_id} at log sequence {sequence}{later}")
