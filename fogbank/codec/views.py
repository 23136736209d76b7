"""Read models to the public API's messages and back.

Instants are microseconds since 1970 inside and Timestamps outside; 0 inside is absence outside.
Versions are packed positions inside and etag texts outside.
"""

from __future__ import annotations

from google.protobuf.timestamp_pb2 import Timestamp

from fogbank.codec.containers import ports_from_pb, ports_to_pb
from fogbank.codec.errors import CodecError
from fogbank.codec.values import (
    details_from_pb,
    fingerprint_from_pb,
    fingerprint_to_pb,
    resources_from_pb,
    resources_to_pb,
    spec_from_pb,
    spec_to_pb,
)
from fogbank.domain.errors import InvalidArgumentError
from fogbank.domain.position import etag, parse_etag
from fogbank.domain.states import DeploymentStatus, Health, NodeStatus, ReplicaState
from fogbank.domain.status import StatusChange
from fogbank.domain.views import (
    DeploymentView,
    Moment,
    NodeView,
    ReplicaSummary,
    StatusRecord,
)
from fogbank.v1 import (
    deployments_pb2,
    ledger_query_service_pb2,
    moments_pb2,
    nodes_pb2,
    resources_pb2,
)

_US_PER_S = 1_000_000
_NS_PER_US = 1_000


def timestamp_to_pb(instant_us: int) -> Timestamp | None:
    """Return the Timestamp of an instant; None (absent) for 0."""
    if not instant_us:
        return None
    seconds, micros = divmod(instant_us, _US_PER_S)
    return Timestamp(seconds=seconds, nanos=micros * _NS_PER_US)


def timestamp_from_pb(message: Timestamp) -> int:
    """Return the instant in microseconds since 1970, what is finer cut off; 0 for an absent one."""
    return message.seconds * _US_PER_S + message.nanos // _NS_PER_US


def moment_to_pb(moment: Moment | None) -> moments_pb2.Moment | None:
    """Return the message of a moment; None (absent) for now."""
    if moment is None:
        return None
    if moment.sequence:
        return moments_pb2.Moment(sequence=moment.sequence)
    return moments_pb2.Moment(time=timestamp_to_pb(moment.time_us))


def moment_from_pb(message: moments_pb2.Moment) -> Moment | None:
    """Return the moment that a message holds; None for an absent one.

    Raises:
        InvalidArgumentError: it names none, or one before all.
    """
    match message.WhichOneof("at"):
        case "sequence" if message.sequence > 0:
            return Moment(sequence=message.sequence)
        case "sequence":
            raise InvalidArgumentError.of_field(
                "as_of.sequence", f"must be at least 1, was {message.sequence}"
            )
        case "time":
            time_us = timestamp_from_pb(message.time)
            if time_us <= 0:
                raise InvalidArgumentError.of_field("as_of.time", "must be after 1970")
            return Moment(time_us=time_us)
    return None


def status_change_to_pb(change: StatusChange) -> deployments_pb2.StatusChange:
    """Return the message of a change; it leaves out which deployment changed."""
    return deployments_pb2.StatusChange(
        old_status=deployments_pb2.DeploymentStatus.ValueType(change.old or 0),
        new_status=deployments_pb2.DeploymentStatus.ValueType(change.new),
        changed_at=timestamp_to_pb(change.changed_at_us),
        reason=change.reason,
        sequence=change.sequence,
    )


def status_change_from_pb(
    deployment_id: str, message: deployments_pb2.StatusChange
) -> StatusChange:
    """Return the change of a deployment that a message holds.

    ValueError for a status that this release does not know.
    """
    return StatusChange(
        deployment_id,
        DeploymentStatus(message.old_status) if message.old_status else None,
        DeploymentStatus(message.new_status),
        timestamp_from_pb(message.changed_at),
        message.reason,
        message.sequence,
    )


def status_record_to_pb(record: StatusRecord) -> ledger_query_service_pb2.StatusRecord:
    """Return the message of a deployment's status so far."""
    return ledger_query_service_pb2.StatusRecord(
        deployment_id=record.deployment_id,
        status=deployments_pb2.DeploymentStatus.ValueType(record.status),
        updated_at=timestamp_to_pb(record.updated_at_us),
        recent_changes=[status_change_to_pb(change) for change in record.recent_changes],
    )


def status_record_from_pb(message: ledger_query_service_pb2.StatusRecord) -> StatusRecord:
    """Return the status so far that a message holds.

    ValueError for a status that this release does not know.
    """
    return StatusRecord(
        message.deployment_id,
        DeploymentStatus(message.status),
        timestamp_from_pb(message.updated_at),
        tuple(
            [
                status_change_from_pb(message.deployment_id, change)
                for change in message.recent_changes
            ]
        ),
    )


def replica_to_pb(replica: ReplicaSummary) -> deployments_pb2.Replica:
    """Return the message of a replica."""
    return deployments_pb2.Replica(
        id=replica.id,
        slot=replica.slot,
        generation=replica.generation,
        node_id=replica.node_id,
        node_name=replica.node_name,
        state=deployments_pb2.ReplicaState.ValueType(replica.state),
        container_id=replica.container_id,
        started_at=timestamp_to_pb(replica.started_at_us),
        health=deployments_pb2.Health.ValueType(replica.health),
        restart_count=replica.restart_count,
        reason=replica.reason,
        unknown=replica.unknown,
        gpu_devices=replica.gpu_devices,
        ports=ports_to_pb(replica.ports),
    )


def replica_from_pb(message: deployments_pb2.Replica) -> ReplicaSummary:
    """Return the replica that a message holds.

    ValueError for a state that this release does not know.
    """
    return ReplicaSummary(
        id=message.id,
        slot=message.slot,
        generation=message.generation,
        state=ReplicaState(message.state),
        node_id=message.node_id,
        node_name=message.node_name,
        container_id=message.container_id,
        started_at_us=timestamp_from_pb(message.started_at),
        health=Health(message.health or Health.UNKNOWN),
        restart_count=message.restart_count,
        reason=message.reason,
        unknown=message.unknown,
        gpu_devices=tuple(message.gpu_devices),
        ports=ports_from_pb(message.ports),
    )


def deployment_to_pb(view: DeploymentView) -> deployments_pb2.Deployment:
    """Return the message of a deployment."""
    return deployments_pb2.Deployment(
        id=view.id,
        spec=spec_to_pb(view.spec),
        owner_id=view.owner_id,
        status=deployments_pb2.DeploymentStatus.ValueType(view.status),
        health=deployments_pb2.Health.ValueType(view.health),
        reason=view.reason,
        replicas=[replica_to_pb(replica) for replica in view.replicas],
        running_replicas=view.running_replicas,
        recent_status_changes=[status_change_to_pb(change) for change in view.recent_changes],
        created_at=timestamp_to_pb(view.created_at_us),
        updated_at=timestamp_to_pb(view.updated_at_us),
        deleted_at=timestamp_to_pb(view.deleted_at_us),
        etag=etag(view.version),
        available_nodes=view.available_nodes,
    )


def deployment_from_pb(message: deployments_pb2.Deployment) -> DeploymentView:
    """Return the deployment that a message holds.

    CodecError for an etag that is none, ValueError for a value that this release does not know.
    """
    version = parse_etag(message.etag)
    if version is None:
        text = f"deployment {message.id}: {message.etag!r} is not an etag"
        raise CodecError(text)
    return DeploymentView(
        id=message.id,
        spec=spec_from_pb(message.spec),
        owner_id=message.owner_id,
        status=DeploymentStatus(message.status),
        health=Health(message.health or Health.UNKNOWN),
        reason=message.reason,
        version=version,
        created_at_us=timestamp_from_pb(message.created_at),
        updated_at_us=timestamp_from_pb(message.updated_at),
        deleted_at_us=timestamp_from_pb(message.deleted_at),
        running_replicas=message.running_replicas,
        replicas=tuple(replica_from_pb(replica) for replica in message.replicas),
        recent_changes=tuple(
            status_change_from_pb(message.id, change) for change in message.recent_status_changes
        ),
        available_nodes=message.available_nodes if message.HasField("available_nodes") else None,
    )


def node_to_pb(view: NodeView) -> nodes_pb2.Node:
    """Return the message of a node."""
    return nodes_pb2.Node(
        id=view.id,
        name=view.name,
        status=nodes_pb2.NodeStatus.ValueType(view.status),
        fingerprint=fingerprint_to_pb(view.fingerprint, view.details),
        booked=resources_to_pb(view.booked),
        held=resources_to_pb(view.held),
        usage=resources_pb2.Usage(cpu_percent=view.cpu_percent, memory_percent=view.memory_percent),
        replicas=view.replicas,
        epoch=view.epoch,
        connected_at=timestamp_to_pb(view.connected_at_us),
        reason=view.reason,
        cordoned=view.cordoned,
        draining=view.draining,
        drain_deadline=timestamp_to_pb(view.drain_deadline_us),
    )


def node_from_pb(message: nodes_pb2.Node) -> NodeView:
    """Return the node that a message holds.

    ValueError for a status or runtime that this release does not know.
    """
    return NodeView(
        id=message.id,
        name=message.name,
        status=NodeStatus(message.status),
        fingerprint=fingerprint_from_pb(message.fingerprint),
        booked=resources_from_pb(message.booked),
        held=resources_from_pb(message.held),
        cpu_percent=message.usage.cpu_percent,
        memory_percent=message.usage.memory_percent,
        replicas=message.replicas,
        epoch=message.epoch,
        connected_at_us=timestamp_from_pb(message.connected_at),
        reason=message.reason,
        cordoned=message.cordoned,
        draining=message.draining,
        drain_deadline_us=timestamp_from_pb(message.drain_deadline),
        details=details_from_pb(message.fingerprint),
    )
