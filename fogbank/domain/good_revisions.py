"""Which revisions of a deployment were well, and which must not be forgotten, derived when read."""

from __future__ import annotations

from fogbank.domain.decisions import Desired
from fogbank.domain.ends import proven_us
from fogbank.domain.facts import DeploymentFact
from fogbank.domain.fleet import FleetState


def good_from_us(fleet: FleetState, deployment: DeploymentFact) -> dict[int, int]:
    """Return the revisions before the one asked for that can be gone back to, each from when on.

    Those between the last one that failed and the one gone back to then were no good either.
    """
    decision = fleet.decisions.deployments.get(deployment.id)
    if decision is None:
        return {}
    good = {decision.good_revision: 0} if decision.good_revision else {}
    min_healthy_ms = deployment.spec.rollout.min_healthy_ms
    shown = [*fleet.decisions.remembered_of(deployment.id).good]
    for known in decision.replica_ids:
        placed = fleet.decisions.placements[known]
        if placed.revision < deployment.revision:
            from_us = proven_us(fleet.observed(placed), min_healthy_ms)
            if from_us is not None:
                shown.append((placed.revision, from_us))
    for revision, from_us in shown:
        if decision.good_revision < revision <= decision.bad_revision:
            continue
        if revision < deployment.revision:
            good[revision] = min(from_us, good.get(revision, from_us))
    kept = {each.number for each in deployment.revisions}
    return {revision: from_us for revision, from_us in good.items() if revision in kept}


def good_by_now(fleet: FleetState, deployment: DeploymentFact) -> list[int]:
    """Return the revisions before the one asked for that were well by now, in order."""
    now_us = max(fleet.facts.log_time_us, fleet.decisions.instant_us)
    good = good_from_us(fleet, deployment)
    return sorted(revision for revision, from_us in good.items() if from_us <= now_us)


def needed_revisions(fleet: FleetState, deployment: DeploymentFact) -> tuple[int, ...]:
    """Return the revisions before the one asked for that an update must not forget, in order.

    Replicas that may run are of them, or a rollout would go back to the newest of them by now.
    """
    decision = fleet.decisions.deployments.get(deployment.id)
    if decision is None:
        return ()
    needed = {
        placed.revision
        for placed in fleet.present(deployment.id)
        if placed.desired is not Desired.RELEASED
    }
    by_now = good_by_now(fleet, deployment)
    return tuple(sorted({*needed, *by_now[-1:]} - {deployment.revision}))
