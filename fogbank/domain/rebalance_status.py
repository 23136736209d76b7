"""How far the last rebalance is, derived when read."""

from __future__ import annotations

from fogbank.domain.fleet import FleetState
from fogbank.domain.rebalancing import RebalanceFact, RebalancePhase, RebalanceTerms, RebalanceView


def active_rebalance(fleet: FleetState) -> RebalanceFact | None:
    """Return the request that replicas are moved for; None if there is none."""
    asked = fleet.facts.rebalance
    if asked is None or not asked.budget:
        return None
    return None if fleet.decisions.rebalance.of(asked.position).ended else asked


def moving(fleet: FleetState) -> int:
    """Return how many replicas wait to be relieved by those that rebalances placed."""
    placements = fleet.decisions.placements
    leaving = set()
    for replica_id in fleet.decisions.rebalance.moved:
        placed = placements.get(replica_id)
        if placed is None:
            continue  # forgotten, with its deployment
        decision = fleet.decisions.deployments.get(placed.deployment_id)
        former = decision.leaving.get(placed.slot) if decision else None
        # A slot may have moved twice.
        if former is not None and not fleet.ended(placements[former]):
            leaving.add(former)
    return len(leaving)


def rebalance_view(fleet: FleetState) -> RebalanceView:
    """Return how far the last rebalance is."""
    asked = fleet.facts.rebalance
    if asked is None:
        terms = RebalanceTerms(0, 0, 0)
        nothing = "no rebalance was asked for"
        return RebalanceView(RebalancePhase.NONE, terms, 0, 0, 0, 0, nothing, fleet.position)
    done = fleet.decisions.rebalance.of(asked.position)
    left = moving(fleet)
    if done.ended:
        phase, message = RebalancePhase.ENDED, done.reason
    elif not asked.budget:
        phase, message = RebalancePhase.STOPPED, "stopped by an operator"
    else:
        phase = RebalancePhase.MOVING
        message = f"{len(done.moved)} of at most {asked.budget} replicas moved"
    return RebalanceView(
        phase,
        RebalanceTerms(asked.budget, asked.min_gain, asked.at_once),
        asked.requested_at_us,
        len(done.moved),
        left,
        done.gained,
        message,
        fleet.position,
    )
