"""Deployments and nodes as this gateway's fold has them, in the shape that queries answer with."""

from __future__ import annotations

from fogbank.domain.facts import DeploymentFact, NodeFact
from fogbank.domain.node_status import node_reason
from fogbank.domain.states import DeploymentStatus, Health
from fogbank.domain.status import (
    ReplicaView,
    counts_of,
    derive_health,
    derive_status,
    reason_now,
    replica_views,
)
from fogbank.domain.views import DeploymentView, NodeView, ReplicaSummary
from services.gateway.app.fold import FleetFold


def deployment_view(fold: FleetFold, deployment: DeploymentFact) -> DeploymentView:
    """Return a deployment with its replicas and latest changes."""
    fleet = fold.fleet
    views = replica_views(fleet, deployment)
    status = fold.tracker.current.get(deployment.id, DeploymentStatus.PENDING)
    changes = fold.recent_changes(deployment.id)
    decision = fleet.decisions.deployments.get(deployment.id)
    failed = status is DeploymentStatus.FAILED and decision is not None
    counts = counts_of(views)
    _, running, _ = counts
    _, told = derive_status(fleet, deployment, status, counts)
    return DeploymentView(
        id=deployment.id,
        spec=deployment.spec,
        owner_id=deployment.owner_id,
        status=status,
        health=derive_health(fold.fleet, views, status),
        reason=reason_now(fleet, deployment, views, status, told),
        version=deployment.version,
        created_at_us=deployment.created_at_us,
        updated_at_us=fold.tracker.updated_at_us.get(deployment.id, deployment.created_at_us),
        deleted_at_us=deployment.deleted_at_us,
        running_replicas=running,
        replicas=tuple(replica_summary(fold, view) for view in views),
        recent_changes=changes,
        available_nodes=decision.available_nodes if failed and decision is not None else None,
    )


def replica_summary(fold: FleetFold, view: ReplicaView) -> ReplicaSummary:
    """Return one replica, with the name of its node."""
    placed, observed = view.placed, view.observed
    node = fold.fleet.facts.nodes.get(placed.node_id) if placed else None
    return ReplicaSummary(
        id=view.id,
        slot=view.slot,
        generation=view.generation,
        state=view.state,
        node_id=placed.node_id if placed else "",
        node_name=node.name if node else "",
        container_id=observed.container_id if observed else "",
        started_at_us=observed.started_at_us if observed else 0,
        health=observed.health if observed else Health.UNKNOWN,
        restart_count=observed.restart_count if observed else 0,
        reason=(observed.reason if observed else "") or (placed.reason if placed else ""),
        unknown=view.unknown,
        gpu_devices=placed.gpu_devices if placed else (),
        ports=observed.ports if observed else (),
    )


def node_view(fold: FleetFold, node: NodeFact) -> NodeView:
    """Return a node with its room."""
    fleet = fold.fleet
    return NodeView(
        id=node.id,
        name=node.name,
        status=fleet.node_status(node),
        fingerprint=node.fingerprint,
        booked=fleet.booked(node.id),
        held=fleet.held(node.id),
        cpu_percent=node.cpu_percent,
        memory_percent=node.memory_percent,
        replicas=len(fleet.use(node.id).replicas),
        epoch=node.epoch,
        connected_at_us=node.connected_at_us,
        reason=node_reason(fleet, node),
        cordoned=node.cordoned,
        draining=node.draining,
        drain_deadline_us=node.drain_deadline_us,
        details=fleet.facts.details_of(node.id),
    )
