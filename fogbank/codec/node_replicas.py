"""What is placed on a node, to a message and back."""

from __future__ import annotations

from fogbank.codec.values import resources_from_pb, resources_to_pb
from fogbank.codec.views import replica_from_pb, replica_to_pb
from fogbank.domain.views import AsOf, NodeReplica, Page
from fogbank.v1 import node_service_pb2 as pb


def node_replicas_to_pb(found: AsOf[Page[NodeReplica]]) -> pb.ListNodeReplicasResponse:
    """Return what is placed on a node."""
    return pb.ListNodeReplicasResponse(
        replicas=[
            pb.NodeReplica(
                deployment_id=each.deployment_id,
                deployment_name=each.deployment_name,
                replica=replica_to_pb(each.replica),
                resources=resources_to_pb(each.resources),
            )
            for each in found.value.items
        ],
        total_size=found.value.total,
        as_of_sequence=found.as_of_sequence,
    )


def node_replicas_from_pb(message: pb.ListNodeReplicasResponse) -> AsOf[Page[NodeReplica]]:
    """Return what is placed on a node."""
    items = tuple(
        NodeReplica(
            each.deployment_id,
            each.deployment_name,
            replica_from_pb(each.replica),
            resources_from_pb(each.resources),
        )
        for each in message.replicas
    )
    return AsOf(Page(items, message.total_size), message.as_of_sequence)
