"""From rows to the read models."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
from sqlalchemy import Row

from fogbank.domain.containers import ContainerSpec, PublishedPort
from fogbank.domain.deployment import Constraint, DeploymentSpec, DisconnectRules, RolloutSpec
from fogbank.domain.node import Fingerprint, Gpu, HostDetails
from fogbank.domain.resources import Resources
from fogbank.domain.states import (
    ConstraintOperator,
    DeploymentStatus,
    Health,
    NodeStatus,
    ReplicaState,
    RestartPolicy,
    RuntimeKind,
    ServiceType,
)
from fogbank.domain.status import StatusChange, of_this_life
from fogbank.domain.views import DeploymentView, NodeView, ReplicaSummary, StatusRecord


def deployment_view(
    row: Row[Any], replicas: Sequence[list[Any]] = (), changes: Sequence[list[Any]] = ()
) -> DeploymentView:
    """Return the read model of a deployment's row; replicas and changes as JSON arrays."""
    return DeploymentView(
        id=row.id,
        spec=_spec(row),
        owner_id=row.user_id,
        status=DeploymentStatus(row.exact_status),
        health=Health(row.health),
        reason=row.reason,
        version=row.version,
        created_at_us=row.created_at,
        updated_at_us=row.updated_at,
        deleted_at_us=row.deleted_at or 0,
        running_replicas=row.running_replicas,
        replicas=tuple([replica_summary(replica) for replica in replicas]),
        recent_changes=of_this_life(_change(row.id, change) for change in changes),
        available_nodes=row.available_nodes,
    )


def _spec(row: Row[Any]) -> DeploymentSpec:
    return DeploymentSpec(
        name=row.name,
        type=ServiceType[row.type.upper()],
        container_image=row.asked_image or row.container_image,
        replicas=row.target_replicas,
        resources=Resources(
            cpu_millicores=row.cpu_millicores,
            memory_mib=row.memory_mb,
            storage_gib=row.storage_gb,
            gpu_thousandths=row.gpu_thousandths,
        ),
        region=row.region,
        priority=row.priority,
        cluster_id=row.cluster_id,
        strategy=row.strategy,
        wait_for_capacity=row.wait_for_capacity,
        constraints=tuple(
            Constraint(
                constraint["attribute"],
                ConstraintOperator[constraint["operator"].upper()],
                tuple(constraint["values"]),
            )
            for constraint in row.constraints
        ),
        gpu_model=row.gpu_model,
        restart=RestartPolicy(row.restart),
        labels=row.labels,
        allow_colocation=row.allow_colocation,
        rollout=RolloutSpec(**row.rollout or {}),
        disconnect=DisconnectRules(**row.disconnect or {}),
        container=msgspec.convert(row.container or {}, ContainerSpec),
    )


def replica_summary(replica: list[Any]) -> ReplicaSummary:
    """Return the read model of a replica, given as a JSON array."""
    (
        replica_id,
        slot,
        generation,
        state,
        node_id,
        node_name,
        container_id,
        started_at_us,
        health,
        restart_count,
        reason,
        unknown,
        gpu_devices,
        ports,
    ) = replica
    return ReplicaSummary(
        id=replica_id,
        slot=slot,
        generation=generation,
        state=ReplicaState(state),
        node_id=node_id or "",
        node_name=node_name or "",
        container_id=container_id or "",
        started_at_us=started_at_us or 0,
        health=Health(health),
        restart_count=restart_count,
        reason=reason,
        unknown=unknown,
        # Of a row from before a migration there is none.
        gpu_devices=tuple(gpu_devices or ()),
        ports=tuple(PublishedPort.parse(port) for port in ports or ()),
    )


def _change(deployment_id: str, change: Sequence[Any]) -> StatusChange:
    old, new, changed_at_us, reason, sequence = change
    return StatusChange(
        deployment_id,
        DeploymentStatus(old) if old else None,
        DeploymentStatus(new),
        changed_at_us,
        reason,
        sequence,
    )


def status_record(row: Row[Any]) -> StatusRecord:
    """Return a deployment's status so far, of its row with `changes` as JSON arrays."""
    return StatusRecord(
        row.id,
        DeploymentStatus(row.exact_status),
        row.updated_at,
        tuple([_change(row.id, change) for change in row.changes or ()]),
    )


def status_change(row: Row[Any]) -> StatusChange:
    """Return the change of a row of the history."""
    changed = (row.exact_old_status, row.exact_new_status, row.changed_at, row.reason, row.sequence)
    return _change(row.deployment_id, changed)


def node_view(row: Row[Any]) -> NodeView:
    """Return the read model of a node, of its row in `nodes`."""
    return standing_view(row, _amounts(row, "booked"), _amounts(row, "held"), row.replicas)


def standing_view(row: Row[Any], booked: Resources, held: Resources, replicas: int) -> NodeView:
    """Return the read model of a node, of its row in `node_standings` and what is taken of it."""
    return NodeView(
        id=row.id,
        name=row.node_id,
        status=NodeStatus(row.exact_status),
        fingerprint=Fingerprint(
            capacity=_amounts(row, "capacity"),
            allocatable=_amounts(row, "allocatable"),
            arch=row.arch,
            os=row.os,
            region=row.region,
            gpu_model=row.gpu_model,
            labels=row.labels,
            runtime=RuntimeKind(row.runtime),
            agent_version=row.agent_version,
        ),
        booked=booked,
        held=held,
        cpu_percent=row.cpu_usage_percent,
        memory_percent=row.memory_usage_percent,
        replicas=replicas,
        epoch=row.epoch,
        connected_at_us=row.connected_at,
        reason=row.reason,
        cordoned=row.cordoned,
        draining=row.draining,
        drain_deadline_us=row.drain_deadline or 0,
        details=_details(row.details),
    )


def _details(stored: Mapping[str, Any]) -> HostDetails:
    gpus = tuple(Gpu(**gpu) for gpu in stored.get("gpus", ()))
    return HostDetails(**{**stored, "gpus": gpus})


def _amounts(row: Row[Any], what: str) -> Resources:
    return Resources(
        getattr(row, f"{what}_cpu_millicores"),
        getattr(row, f"{what}_memory_mib"),
        getattr(row, f"{what}_storage_gib"),
        getattr(row, f"{what}_gpu_thousandths"),
    )
