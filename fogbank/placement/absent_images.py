"""Deployments whose image cannot be had: nodes turned it down before any replica ever ran."""

from __future__ import annotations

from fogbank.domain.ends import ever_started
from fogbank.domain.facts import DeploymentFact
from fogbank.domain.fleet import FleetState


def turned_down(fleet: FleetState, deployment: DeploymentFact) -> str:
    """Return why a deployment as it now is will run nowhere; empty while it may.

    So many nodes as the policy says rejected a replica of this version for want of what no node can
    have, its image or its environment, and none ever ran. A node's own trouble does not count.
    """
    decision = fleet.decisions.deployments.get(deployment.id)
    if decision is None or fleet.decisions.remembered_of(deployment.id).started:
        return ""
    rejected: dict[str, str] = {}
    for replica_id in decision.replica_ids:
        placed = fleet.decisions.placements[replica_id]
        observed = fleet.observed(placed)
        if observed is None:
            continue
        if ever_started(observed):
            return ""
        if observed.final and observed.unobtainable and placed.version == deployment.version:
            rejected[placed.node_id] = observed.reason
    if len(rejected) < max(fleet.facts.policy.disruption.absent_image_nodes, 1):
        return ""
    why = next(iter(rejected.values()))
    return f"{len(rejected)} nodes turned it down before it ran anywhere" + (
        f": {why}" if why else ""
    )
