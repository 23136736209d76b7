"""Clusters and how much of them is used, to messages and back."""

from __future__ import annotations

from fogbank.codec.tenancy import quota_from_pb, quota_to_pb
from fogbank.codec.values import resources_to_pb
from fogbank.domain.cluster_status import ClusterStatus, ClusterUse, LimitedUse
from fogbank.domain.states import DeploymentStatus
from fogbank.domain.tenancy import ClusterFact, Quota, Use
from fogbank.domain.views import AsOf
from fogbank.v1 import identity_service_pb2 as pb
from fogbank.v1 import resources_pb2


def cluster_to_pb(cluster: ClusterFact) -> pb.Cluster:
    """Return a cluster."""
    return pb.Cluster(
        id=cluster.id,
        name=cluster.name,
        organization_id=cluster.organization_id,
        total=quota_to_pb(cluster.quota),
    )


def cluster_from_pb(message: pb.Cluster) -> ClusterFact:
    """Return the cluster that a message holds, which doesn't say what made it."""
    return ClusterFact(
        message.id, message.name, message.organization_id, quota_from_pb(message.total)
    )


def cluster_status_to_pb(found: AsOf[ClusterStatus]) -> pb.GetClusterStatusResponse:
    """Return how much of a cluster is used."""
    use = found.value.use
    return pb.GetClusterStatusResponse(
        cluster=cluster_to_pb(use.cluster),
        used=resources_to_pb(use.own.used),
        used_replicas=use.own.replicas,
        deployments={
            each.name.lower(): count for each, count in sorted(found.value.deployments.items())
        },
        organization_used=resources_to_pb(use.organization.used),
        organization_used_replicas=use.organization.replicas,
        organization_quota=quota_to_pb(use.organization.quota),
        available=quota_to_pb(use.available),
        as_of_sequence=found.as_of_sequence,
    )


def cluster_status_from_pb(message: pb.GetClusterStatusResponse) -> AsOf[ClusterStatus]:
    """Return how much of a cluster is used; KeyError for a status that is none."""
    cluster = cluster_from_pb(message.cluster)
    status = ClusterStatus(
        ClusterUse(
            cluster,
            _limited_use(cluster.quota, message.used, message.used_replicas),
            _limited_use(
                quota_from_pb(message.organization_quota),
                message.organization_used,
                message.organization_used_replicas,
            ),
        ),
        {DeploymentStatus[word.upper()]: count for word, count in message.deployments.items()},
    )
    return AsOf(status, message.as_of_sequence)


def _limited_use(quota: Quota, used: resources_pb2.Resources, replicas: int) -> LimitedUse:
    taken = Use(
        used.cpu_millicores, used.memory_mib, used.storage_gib, used.gpu_thousandths, replicas
    )
    return LimitedUse(quota, taken)
