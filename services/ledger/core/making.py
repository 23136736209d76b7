"""From the state of a fleet to rows."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from functools import lru_cache
from typing import Any

from msgspec.structs import astuple

from fogbank.domain.containers import ContainerSpec
from fogbank.domain.deployment import Constraint, DisconnectRules, RolloutSpec
from fogbank.domain.facts import DeploymentFact, NodeFact
from fogbank.domain.fleet import FleetState
from fogbank.domain.node import HostDetails
from fogbank.domain.node_status import node_reason
from fogbank.domain.revisions import Revision
from fogbank.domain.states import DeploymentStatus, Health, NodeStatus, ServiceType
from fogbank.domain.status import (
    ReplicaView,
    StatusChange,
    counts_of,
    derive_health,
    derive_status,
    reason_now,
)
from services.ledger.core.rows import (
    NO_STATUS,
    REPLICA_WORDS,
    STATUS_WORDS,
    ChangeRow,
    DeploymentRow,
    DeploymentStateRow,
    NodeRow,
    NodeStateRow,
    ReplicaRow,
)

# The last microsecond of the year 9999, up to which PostgreSQL's and Python's times agree.
LAST_INSTANT_US = 253_402_300_799_999_999

_TYPE_WORDS = {each: each.name.lower() for each in ServiceType}
_NODE_WORDS = {each: each.name.lower() for each in NodeStatus}


def clean(text: str) -> str:
    """Return a text as PostgreSQL can store it: without NUL, which it has no place for."""
    return text.replace("\0", "\N{REPLACEMENT CHARACTER}") if "\0" in text else text


def bounded(instant_us: int) -> int:
    """Return an instant that fits into a timestamp, whatever a far clock said."""
    if 0 <= instant_us <= LAST_INSTANT_US:
        return instant_us
    return LAST_INSTANT_US if instant_us > 0 else 0


def deployment_state_row(
    fleet: FleetState,
    deployment: DeploymentFact,
    views: tuple[ReplicaView, ...],
    status: DeploymentStatus,
    updated_at_us: int,
) -> DeploymentStateRow:
    """Return how a deployment does whose status so far is `status`."""
    decision = fleet.decisions.deployments.get(deployment.id)
    waiting_for = clean(decision.reason) if decision is not None else ""
    failed = status is DeploymentStatus.FAILED and decision is not None
    counts = counts_of(views)
    _, running, _ = counts
    _, told = derive_status(fleet, deployment, status, counts)
    return DeploymentStateRow(
        deployment.id,
        running,
        STATUS_WORDS[status],
        status,
        derive_health(fleet, views, status),
        clean(reason_now(fleet, deployment, views, status, told)),
        decision.available_nodes if failed and decision is not None else None,
        bounded(updated_at_us),
        tuple([replica_row(view, waiting_for) for view in views]),
    )


def deployment_row(
    deployment: DeploymentFact, wanted: Revision | None, state: DeploymentStateRow
) -> DeploymentRow:
    """Return the whole row of a deployment whose replicas are of the revision `wanted`."""
    spec = deployment.spec
    image = spec.container_image if wanted is None else wanted.spec.container_image
    asked = spec.resources
    return DeploymentRow(
        deployment.id,
        clean(spec.name),
        clean(deployment.owner_id),
        _TYPE_WORDS[spec.type],
        clean(image),
        clean(spec.container_image) if spec.container_image != image else None,
        spec.replicas,
        clean(spec.region),
        spec.priority,
        spec.cluster_id,
        clean(spec.strategy),
        spec.wait_for_capacity,
        _constraints_json(spec.constraints),
        clean(spec.gpu_model),
        spec.restart,
        _labels_json(spec.labels),
        spec.allow_colocation,
        _part_json(spec.rollout),
        _part_json(spec.disconnect),
        _part_json(spec.container),
        asked.cpu_millicores,
        asked.memory_mib,
        asked.storage_gib,
        asked.gpu_thousandths,
        deployment.version,
        bounded(deployment.created_at_us),
        bounded(deployment.deleted_at_us) or None,
        *astuple(state)[1:],
    )


def replica_row(view: ReplicaView, waiting_for: str) -> ReplicaRow:
    """Return a replica, which waits for a node for a reason until it has one."""
    placed, observed, state = view.placed, view.observed, view.state
    word = REPLICA_WORDS[state]
    if placed is None or observed is None:
        return ReplicaRow(
            view.id,
            view.slot,
            view.generation,
            None if placed is None else placed.node_id,
            word,
            state,
            None,
            None,
            Health.UNKNOWN,
            0,
            waiting_for if placed is None else clean(placed.reason),
            view.unknown,
            () if placed is None else placed.gpu_devices,
            (),
        )
    return ReplicaRow(
        view.id,
        view.slot,
        view.generation,
        placed.node_id,
        word,
        state,
        clean(observed.container_id) or None,
        bounded(observed.started_at_us) or None,
        Health.UNKNOWN if view.unknown else observed.health,
        observed.restart_count,
        clean(observed.reason or placed.reason),
        view.unknown,
        placed.gpu_devices,
        tuple([str(port) for port in observed.ports]) if observed.ports else (),
    )


def node_state_row(fleet: FleetState, node: NodeFact) -> NodeStateRow:
    """Return how a node does."""
    status = fleet.node_status(node)
    return NodeStateRow(
        node.id,
        _NODE_WORDS[status],
        status,
        clean(node_reason(fleet, node, status)),
        node.cpu_percent,
        node.memory_percent,
    )


def node_row(node: NodeFact, details: HostDetails, state: NodeStateRow) -> NodeRow:
    """Return the whole row of a node."""
    host = node.fingerprint
    capacity, allocatable = host.capacity, host.allocatable
    return NodeRow(
        node.id,
        clean(node.name),
        node.cordoned,
        node.draining,
        bounded(node.drain_deadline_us) or None,
        clean(host.region),
        clean(host.arch),
        clean(host.os),
        capacity.gpu_thousandths > 0,
        clean(host.gpu_model),
        host.runtime,
        clean(host.agent_version),
        _details_json(details),
        _labels_json(host.labels),
        capacity.cpu_millicores,
        capacity.memory_mib,
        capacity.storage_gib,
        capacity.gpu_thousandths,
        allocatable.cpu_millicores,
        allocatable.memory_mib,
        allocatable.storage_gib,
        allocatable.gpu_thousandths,
        node.epoch,
        bounded(node.connected_at_us),
        *astuple(state)[1:],
    )


def change_row(change: StatusChange, touched: int | None) -> ChangeRow:
    """Return the row of a change of status, by the event `touched` of its commit if by one."""
    return ChangeRow(
        change.deployment_id,
        change.sequence,
        STATUS_WORDS[change.old] if change.old else NO_STATUS,
        change.old or 0,
        STATUS_WORDS[change.new],
        change.new,
        bounded(change.changed_at_us),
        clean(change.reason),
        touched,
    )


def _details_json(details: HostDetails) -> str:
    """Return what a host runs on; left out is what isn't known."""
    found = {
        "kernel_release": clean(details.kernel_release),
        "engine_name": clean(details.engine_name),
        "engine_version": clean(details.engine_version),
        "image_disk_gib": details.image_disk_gib,
        "volume_disk_gib": details.volume_disk_gib,
        "gpus": [{"model": clean(gpu.model), "memory_mib": gpu.memory_mib} for gpu in details.gpus],
    }
    return json.dumps({name: value for name, value in found.items() if value})


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
def _part_json(part: RolloutSpec | DisconnectRules | ContainerSpec) -> str | None:
    if part == type(part)():
        return None
    return json.dumps(_cleaned(asdict(part)))


def _cleaned(value: Any) -> Any:
    if isinstance(value, str):
        return clean(value)
    if isinstance(value, dict):
        return {name: _cleaned(each) for name, each in value.items()}
    return [_cleaned(each) for each in value] if isinstance(value, (list, tuple)) else value
