"""From the state of a fleet to rows."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from functools import lru_cache

from fogbank.domain.deployment import Constraint, DisconnectRules, RolloutSpec
from fogbank.domain.facts import DeploymentFact, NodeFact
from fogbank.domain.fleet import FleetState
from fogbank.domain.node_status import node_reason
from fogbank.domain.states import DeploymentStatus, Health
from fogbank.domain.status import ReplicaView, StatusChange, derive_health, derive_status
from services.ledger.core.rows import (
    NO_STATUS,
    REPLICA_WORDS,
    STATUS_WORDS,
    ChangeRow,
    DeploymentRow,
    NodeRow,
    ReplicaRow,
    ResourcesRow,
)

# The last microsecond of the year 9999, up to which PostgreSQL's and Python's times agree.
LAST_INSTANT_US = 253_402_300_799_999_999


def clean(text: str) -> str:
    """Return a text as PostgreSQL can store it: without NUL, which it has no place for."""
    return text.replace("\0", "\N{REPLACEMENT CHARACTER}") if "\0" in text else text


def bounded(instant_us: int) -> int:
    """Return an instant that fits into a timestamp, whatever a far clock said."""
    return min(max(instant_us, 0), LAST_INSTANT_US)


def deployment_row(
    fleet: FleetState,
    deployment: DeploymentFact,
    views: tuple[ReplicaView, ...],
    status: DeploymentStatus,
    updated_at_us: int,
) -> DeploymentRow:
    """Return the row of a deployment whose status so far is `status`."""
    spec = deployment.spec
    decision = fleet.decisions.deployments.get(deployment.id)
    failed = status is DeploymentStatus.FAILED and decision is not None
    return DeploymentRow(
        id=deployment.id,
        name=clean(spec.name),
        user_id=clean(deployment.owner_id),
        type=spec.type.name.lower(),
        container_image=clean(spec.container_image),
        target_replicas=spec.replicas,
        running_replicas=sum(view.running for view in views),
        status=STATUS_WORDS[status],
        exact_status=status,
        health=derive_health(views, status),
        reason=clean(derive_status(fleet, deployment, status, views)[1]),
        region=clean(spec.region),
        priority=spec.priority,
        cluster_id=spec.cluster_id,
        strategy=clean(spec.strategy),
        wait_for_capacity=spec.wait_for_capacity,
        constraints=_constraints_json(spec.constraints),
        gpu_model=clean(spec.gpu_model),
        restart=spec.restart,
        labels=_labels_json(spec.labels),
        allow_colocation=spec.allow_colocation,
        rollout=_part_json(spec.rollout),
        disconnect=_part_json(spec.disconnect),
        available_nodes=decision.available_nodes if failed and decision is not None else None,
        version=deployment.version,
        created_at_us=bounded(deployment.created_at_us),
        updated_at_us=bounded(updated_at_us),
        deleted_at_us=bounded(deployment.deleted_at_us) or None,
    )


def resources_row(deployment: DeploymentFact) -> ResourcesRow:
    """Return the row of what each replica of a deployment takes."""
    asked = deployment.spec.resources
    return ResourcesRow(
        deployment.id,
        asked.cpu_millicores,
        asked.memory_mib,
        asked.storage_gib,
        asked.gpu_thousandths,
    )


def replica_row(fleet: FleetState, deployment_id: str, view: ReplicaView) -> ReplicaRow:
    """Return the row of a slot."""
    placed, observed = view.placed, view.observed
    if placed is None:
        decision = fleet.decisions.deployments.get(deployment_id)
        return ReplicaRow(
            id=view.id,
            deployment_id=deployment_id,
            slot=view.slot,
            generation=view.generation,
            node_id=None,
            status=REPLICA_WORDS[view.state],
            exact_state=view.state,
            container_id=None,
            started_at_us=None,
            health=Health.UNKNOWN,
            restart_count=0,
            reason=clean(decision.reason) if decision is not None else "",
            unknown=view.unknown,
        )
    return ReplicaRow(
        id=view.id,
        deployment_id=deployment_id,
        slot=view.slot,
        generation=view.generation,
        node_id=placed.node_id,
        status=REPLICA_WORDS[view.state],
        exact_state=view.state,
        container_id=(clean(observed.container_id) or None) if observed else None,
        started_at_us=(bounded(observed.started_at_us) or None) if observed else None,
        health=observed.health if observed and not view.unknown else Health.UNKNOWN,
        restart_count=observed.restart_count if observed else 0,
        reason=clean((observed.reason if observed else "") or placed.reason),
        unknown=view.unknown,
    )


def node_row(fleet: FleetState, node: NodeFact) -> NodeRow:
    """Return the row of a node."""
    host = node.fingerprint
    capacity, allocatable = host.capacity, host.allocatable
    booked, held = fleet.booked(node.id), fleet.held(node.id)
    status = fleet.node_status(node)
    return NodeRow(
        id=node.id,
        node_id=clean(node.name),
        status=status.name.lower(),
        exact_status=status,
        reason=clean(node_reason(fleet, node)),
        cordoned=node.cordoned,
        draining=node.draining,
        drain_deadline_us=bounded(node.drain_deadline_us) or None,
        region=clean(host.region),
        arch=clean(host.arch),
        os=clean(host.os),
        gpu_available=capacity.gpu_thousandths > 0,
        gpu_model=clean(host.gpu_model),
        runtime=host.runtime,
        agent_version=clean(host.agent_version),
        labels=_labels_json(host.labels),
        cpu_usage_percent=float(node.cpu_percent),
        memory_usage_percent=float(node.memory_percent),
        capacity_cpu_millicores=capacity.cpu_millicores,
        capacity_memory_mib=capacity.memory_mib,
        capacity_storage_gib=capacity.storage_gib,
        capacity_gpu_thousandths=capacity.gpu_thousandths,
        allocatable_cpu_millicores=allocatable.cpu_millicores,
        allocatable_memory_mib=allocatable.memory_mib,
        allocatable_storage_gib=allocatable.storage_gib,
        allocatable_gpu_thousandths=allocatable.gpu_thousandths,
        booked_cpu_millicores=booked.cpu_millicores,
        booked_memory_mib=booked.memory_mib,
        booked_storage_gib=booked.storage_gib,
        booked_gpu_thousandths=booked.gpu_thousandths,
        held_cpu_millicores=held.cpu_millicores,
        held_memory_mib=held.memory_mib,
        held_storage_gib=held.storage_gib,
        held_gpu_thousandths=held.gpu_thousandths,
        replicas=len(fleet.use(node.id).replicas),
        epoch=node.epoch,
        connected_at_us=bounded(node.connected_at_us),
    )


def change_row(change: StatusChange) -> ChangeRow:
    """Return the row of a change of status."""
    return ChangeRow(
        deployment_id=change.deployment_id,
        sequence=change.sequence,
        old_status=STATUS_WORDS[change.old] if change.old else NO_STATUS,
        exact_old_status=change.old or 0,
        new_status=STATUS_WORDS[change.new],
        exact_new_status=change.new,
        changed_at_us=bounded(change.changed_at_us),
        reason=clean(change.reason),
    )


def _labels_json(labels: Mapping[str, str]) -> str:
    if not labels:
        return "{}"
    return json.dumps({clean(key): clean(labels[key]) for key in sorted(labels)})


def _constraints_json(constraints: tuple[Constraint, ...]) -> str:
    if not constraints:
        return "[]"
    return json.dumps(
        [
            {
                "attribute": clean(constraint.attribute),
                "operator": constraint.operator.name.lower(),
                "values": [clean(value) for value in constraint.values],
            }
            for constraint in constraints
        ]
    )


@lru_cache(maxsize=256)
def _part_json(part: RolloutSpec | DisconnectRules) -> str:
    return json.dumps(asdict(part))
