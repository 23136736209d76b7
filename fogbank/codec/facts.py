"""Facts to messages and back."""

from __future__ import annotations

from typing import Any

from fogbank.codec.containers import ports_from_pb, ports_to_pb
from fogbank.codec.glances import glance
from fogbank.codec.policies import policy_from_pb, policy_to_pb
from fogbank.codec.values import (
    details_from_pb,
    fingerprint_from_pb,
    fingerprint_to_pb,
    spec_from_bytes,
    spec_to_pb,
)
from fogbank.domain import events as ev
from fogbank.domain.ids import the_node_id
from fogbank.domain.members import ByNumber
from fogbank.domain.observations import ReplicaObservation
from fogbank.domain.states import Health, ReplicaState
from fogbank.v1 import deployments_pb2
from fogbank.v1 import facts_pb2 as pb

_STATES = ByNumber(ReplicaState)
_HEALTHS = ByNumber(Health)
# What these are read by.
DEPLOYMENT_CREATED = glance(pb.DeploymentCreated, as_bytes=("spec",))
DEPLOYMENT_UPDATED = glance(pb.DeploymentUpdated, as_bytes=("spec",))


def policy_activated_to_pb(event: ev.PolicyActivated) -> pb.PolicyActivated:
    """Return the event's message."""
    return pb.PolicyActivated(policy=policy_to_pb(event.policy))


def policy_activated_from_pb(message: pb.PolicyActivated) -> ev.PolicyActivated:
    """Return the message's event."""
    return ev.PolicyActivated(policy_from_pb(message.policy))


def deployment_created_to_pb(event: ev.DeploymentCreated) -> pb.DeploymentCreated:
    """Return the event's message."""
    return pb.DeploymentCreated(
        spec=spec_to_pb(event.spec), owner_id=event.owner_id, env_key=event.env_key
    )


def deployment_created_from_pb(message: Any) -> ev.DeploymentCreated:
    """Return the event of a `DEPLOYMENT_CREATED`."""
    return ev.DeploymentCreated(spec_from_bytes(message.spec), message.owner_id, message.env_key)


def deployment_scaled_to_pb(event: ev.DeploymentScaled) -> pb.DeploymentScaled:
    """Return the event's message."""
    return pb.DeploymentScaled(deployment_id=event.deployment_id, replicas=event.replicas)


def deployment_scaled_from_pb(message: pb.DeploymentScaled) -> ev.DeploymentScaled:
    """Return the message's event."""
    return ev.DeploymentScaled(message.deployment_id, message.replicas)


def deployment_updated_to_pb(event: ev.DeploymentUpdated) -> pb.DeploymentUpdated:
    """Return the event's message."""
    return pb.DeploymentUpdated(
        deployment_id=event.deployment_id,
        spec=spec_to_pb(event.spec),
        env_key=event.env_key,
        needed_revisions=event.needed_revisions,
    )


def deployment_updated_from_pb(message: Any) -> ev.DeploymentUpdated:
    """Return the event of a `DEPLOYMENT_UPDATED`."""
    return ev.DeploymentUpdated(
        message.deployment_id,
        spec_from_bytes(message.spec),
        message.env_key,
        tuple(message.needed_revisions),
    )


def deployment_deleted_to_pb(event: ev.DeploymentDeleted) -> pb.DeploymentDeleted:
    """Return the event's message."""
    return pb.DeploymentDeleted(deployment_id=event.deployment_id)


def deployment_deleted_from_pb(message: pb.DeploymentDeleted) -> ev.DeploymentDeleted:
    """Return the message's event."""
    return ev.DeploymentDeleted(message.deployment_id)


def node_connected_to_pb(event: ev.NodeConnected) -> pb.NodeConnected:
    """Return the event's message."""
    return pb.NodeConnected(
        node_id=event.node_id,
        name=event.name,
        fingerprint=fingerprint_to_pb(event.fingerprint, event.details),
    )


def node_connected_from_pb(message: pb.NodeConnected) -> ev.NodeConnected:
    """Return the message's event."""
    return ev.NodeConnected(
        the_node_id(message.node_id),
        message.name,
        fingerprint_from_pb(message.fingerprint),
        details_from_pb(message.fingerprint),
    )


def node_capacity_changed_to_pb(event: ev.NodeCapacityChanged) -> pb.NodeCapacityChanged:
    """Return the event's message."""
    return pb.NodeCapacityChanged(
        node_id=event.node_id,
        epoch=event.epoch,
        fingerprint=fingerprint_to_pb(event.fingerprint, event.details),
    )


def node_capacity_changed_from_pb(message: pb.NodeCapacityChanged) -> ev.NodeCapacityChanged:
    """Return the message's event."""
    return ev.NodeCapacityChanged(
        message.node_id,
        message.epoch,
        fingerprint_from_pb(message.fingerprint),
        details_from_pb(message.fingerprint),
    )


def node_load_changed_to_pb(event: ev.NodeLoadChanged) -> pb.NodeLoadChanged:
    """Return the event's message."""
    return pb.NodeLoadChanged(
        node_id=event.node_id,
        epoch=event.epoch,
        cpu_percent=event.cpu_percent,
        memory_percent=event.memory_percent,
        reflects_sequence=event.reflects_sequence,
    )


def node_load_changed_from_pb(message: pb.NodeLoadChanged) -> ev.NodeLoadChanged:
    """Return the message's event."""
    return ev.NodeLoadChanged(
        message.node_id,
        message.epoch,
        message.cpu_percent,
        message.memory_percent,
        message.reflects_sequence,
    )


def observation_to_pb(seen: ReplicaObservation) -> pb.ReplicaObservation:
    """Return an observation's message."""
    return pb.ReplicaObservation(
        replica_id=seen.replica_id,
        restart_count=seen.restart_count,
        state=deployments_pb2.ReplicaState.ValueType(seen.state),
        container_id=seen.container_id,
        started_at_us=seen.started_at_us,
        health=deployments_pb2.Health.ValueType(seen.health),
        final=seen.final,
        exit_code=seen.exit_code,
        reason=seen.reason,
        observed_at_us=seen.observed_at_us,
        ports=ports_to_pb(seen.ports),
        unobtainable=seen.unobtainable,
    )


def observation_from_pb(message: pb.ReplicaObservation) -> ReplicaObservation:
    """Return the message's observation. ValueError for a state that is no state."""
    ports = message.ports
    return ReplicaObservation(
        message.replica_id,
        message.restart_count,
        _STATES[message.state],
        message.container_id,
        message.started_at_us,
        _HEALTHS[message.health or Health.UNKNOWN],
        message.final,
        message.exit_code,
        message.reason,
        message.observed_at_us,
        ports_from_pb(ports) if ports else (),
        message.unobtainable,
    )


def node_reported_to_pb(event: ev.NodeReported) -> pb.NodeReported:
    """Return the event's message."""
    return pb.NodeReported(
        node_id=event.node_id,
        epoch=event.epoch,
        number=event.number,
        observations=[observation_to_pb(seen) for seen in event.observations],
    )


def node_reported_from_pb(message: pb.NodeReported) -> ev.NodeReported:
    """Return the message's event."""
    return ev.NodeReported(
        the_node_id(message.node_id),
        message.epoch,
        message.number,
        tuple([observation_from_pb(seen) for seen in message.observations]),
    )
