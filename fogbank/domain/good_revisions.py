"""Which revisions of a deployment were well, and which must not be forgotten, derived when read."""

from __future__ import annotations

from fogbank.domain.decisions import Desired, PlacedReplica
from fogbank.domain.facts import DeploymentFact
from fogbank.domain.fleet import FleetState
from fogbank.domain.states import Health, ReplicaState

_MS = 1_000


def good_from_us(fleet: FleetState, deployment: DeploymentFact) -> dict[int, int]:
    """Return the revisions before the one asked for that can be gone back to, each from when on.

    Those between the last one that failed and the one gone back to then were no good either.
    """
    decision = fleet.decisions.deployments.get(deployment.id)
    if decision is None:
        return {}
    good = {decision.good_revision: 0} if decision.good_revision else {}
    min_healthy_ms = deployment.spec.rollout.min_healthy_ms
    for known in decision.replica_ids:
        placed = fleet.decisions.placements[known]
        revision = placed.revision
        if (
            revision >= deployment.revision
            or decision.good_revision < revision <= decision.bad_revision
        ):
            continue
        proven_us = _proven_us(fleet, placed, min_healthy_ms)
        if proven_us is not None:
            good[revision] = min(proven_us, good.get(revision, proven_us))
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


def _proven_us(fleet: FleetState, placed: PlacedReplica, min_healthy_ms: int) -> int | None:
    """Return from when, in log time, a replica shows that its revision is good; None if never.

    One that broke, whether it was started again or not, has to have run for `min_healthy_ms`.
    """
    observed = fleet.observed(placed)
    if observed is None or observed.health is Health.UNHEALTHY:
        return None
    runs = observed.state is ReplicaState.RUNNING
    if not (runs or observed.started_at_us):
        return None
    broke = observed.restart_count > 0
    if not broke and (runs or observed.state in {ReplicaState.STOPPED, ReplicaState.COMPLETE}):
        return 0
    if runs:
        return observed.since_us + min_healthy_ms * _MS
    # How long it ran is by one clock, its host's; that it did is known since the log says so.
    ran_us = observed.observed_at_us - observed.started_at_us
    return observed.since_us if ran_us >= min_healthy_ms * _MS else None
