"""The read models of a folded state: made of the very rows that the tables would hold of it."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from types import SimpleNamespace
from typing import Any, cast

from msgspec.structs import asdict
from sqlalchemy import JSON, Row, Table

from fogbank.domain.facts import DeploymentFact, NodeFact
from fogbank.domain.fleet import FleetState
from fogbank.domain.resources import Resources
from fogbank.domain.rollouts import wanted_revision
from fogbank.domain.status import placed_view, replica_views
from fogbank.domain.views import DeploymentView, NodeReplica, NodeView
from services.ledger.adapters.tables import DEPLOYMENTS, NODE_STANDINGS
from services.ledger.adapters.views import deployment_view, replica_summary, standing_view
from services.ledger.app.own_past import OwnedReplica
from services.ledger.app.standings import Standing
from services.ledger.core.making import (
    deployment_row,
    deployment_state_row,
    node_row,
    node_state_row,
    replica_row,
)
from services.ledger.core.rows import ReplicaRow, TableRow

_INSTANT = "_us"


def shown_deployments(
    fleet: FleetState,
    standings: Iterable[Standing],
    log_time_us: Callable[[int], int],
    *,
    whole: bool,
) -> list[DeploymentView]:
    """Return deployments of a state, each as its row would be read; left out is who isn't there.

    `log_time_us` tells when the event at a position was written, in log time. Replicas and changes
    are shown of `whole` ones.
    """
    known = fleet.facts.deployments
    return [
        _shown(fleet, known[each.deployment_id], each, log_time_us, whole=whole)
        for each in standings
        if each.deployment_id in known
    ]


def _shown(
    fleet: FleetState,
    deployment: DeploymentFact,
    standing: Standing,
    log_time_us: Callable[[int], int],
    *,
    whole: bool,
) -> DeploymentView:
    views = replica_views(fleet, deployment)
    latest = standing.changes[0]
    updated_at_us = max(log_time_us(deployment.version), latest.changed_at_us)
    state = deployment_state_row(fleet, deployment, views, latest.new, updated_at_us)
    wanted = deployment.revision_of(wanted_revision(fleet, deployment))
    row = _read(DEPLOYMENTS, deployment_row(deployment, wanted, state))
    if not whole:
        return deployment_view(row)
    replicas = [_replica(fleet, replica) for replica in state.replicas]
    changes = [
        [change.old or 0, change.new, change.changed_at_us, change.reason, change.sequence]
        for change in standing.changes
    ]
    return deployment_view(row, replicas, changes)


def _replica(fleet: FleetState, row: ReplicaRow) -> list[Any]:
    """Return a replica as the reader's statement builds it."""
    node = fleet.facts.nodes.get(row.node_id or "")
    return [
        row.id,
        row.slot,
        row.generation,
        row.exact_state,
        row.node_id,
        node.name if node is not None else None,
        row.container_id,
        row.started_at_us,
        row.health,
        row.restart_count,
        row.reason,
        row.unknown,
        row.gpu_devices,
        row.ports,
    ]


def shown_replicas(fleet: FleetState, node_id: str) -> list[OwnedReplica]:
    """Return what is on a node of a state and has not ended."""
    known = fleet.facts.deployments
    return [
        OwnedReplica(
            known[placed.deployment_id].owner_id,
            NodeReplica(
                placed.deployment_id,
                known[placed.deployment_id].spec.name,
                replica_summary(_replica(fleet, replica_row(placed_view(fleet, placed), ""))),
                placed.resources,
            ),
        )
        for placed in fleet.on_node(node_id)
        if placed.deployment_id in known
    ]


def shown_nodes(fleet: FleetState) -> list[NodeView]:
    """Return all nodes of a state, each as its row would be read."""
    return [_node(fleet, node) for node in fleet.facts.nodes.values()]


def _node(fleet: FleetState, node: NodeFact) -> NodeView:
    row = node_row(node, fleet.facts.details_of(node.id), node_state_row(fleet, node))
    use = fleet.use(node.id)
    booked, held = Resources(*use.booked), Resources(*use.held)
    return standing_view(_read(NODE_STANDINGS, row), booked, held, len(use.replicas))


def _read(table: Table, row: TableRow) -> Row[Any]:
    """Return a row as it would be read from its table."""
    columns: dict[str, Any] = {}
    for field, value in asdict(row).items():
        name = field.removesuffix(_INSTANT)
        is_text = isinstance(table.c[name].type, JSON) and isinstance(value, str)
        columns[name] = json.loads(value) if is_text else value
    return cast("Row[Any]", SimpleNamespace(**columns))
