"""What nodes lose of their score because a deployment's replicas broke there.

Right after a failure a node loses the whole penalty, then less and less, and nothing once the
failure has faded: so says the policy. Failures and their instants are the log's, and so a round
comes out the same whenever it is derived.
"""

from __future__ import annotations

from fogbank.domain.ends import is_broken
from fogbank.domain.facts import DeploymentFact
from fogbank.domain.fleet import FleetState
from fogbank.placement.arrays import FleetArrays
from fogbank.placement.strategies import strategy_of

_MS = 1_000
_PERCENT = 100


def penalties(
    fleet: FleetState, arrays: FleetArrays, deployment: DeploymentFact, instant_us: int
) -> dict[int, int]:
    """Return by row what nodes lose, in whole steps of the deployment's score; those that do.

    Of several failures on a node the latest counts alone.
    """
    decision = fleet.decisions.deployments.get(deployment.id)
    if decision is None:
        return {}
    policy = fleet.facts.policy
    rules = policy.disruption
    fades_us = rules.failure_fades_ms * _MS
    lost: dict[int, int] = {}
    for replica_id in decision.replica_ids:
        placed = fleet.decisions.placements[replica_id]
        observed = fleet.observed(placed)
        if observed is None or not is_broken(observed):
            continue
        left_us = fades_us - max(instant_us - observed.ended_at_us, 0)
        row = arrays.row(placed.node_id)
        if left_us <= 0 or row is None:
            continue
        whole = rules.failure_penalty * strategy_of(deployment.spec, policy).steps
        points = whole * left_us // (_PERCENT * fades_us)
        if points > lost.get(row, 0):
            lost[row] = points
    return lost
