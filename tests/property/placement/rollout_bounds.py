"""What no round may do to a rollout: too many replicas at a time, or too few that are well."""

from __future__ import annotations

from typing import NamedTuple

from fogbank.domain import events as ev
from fogbank.domain.decisions import Desired
from fogbank.domain.envelope import Commit
from fogbank.domain.fleet import FleetState
from fogbank.domain.rollouts import is_available

_TO_RUN = frozenset({Desired.LIVE, Desired.LEAVING})


class Standing(NamedTuple):
    """How many replicas of a deployment are to run, and how many of its slots have a well one."""

    held: int
    well: int


def rollout_standing(fleet: FleetState) -> dict[str, Standing]:
    """Return where each deployment that is not deleted stands."""
    found = {}
    for deployment in fleet.facts.deployments.values():
        decision = fleet.decisions.deployments.get(deployment.id)
        if deployment.deleted or decision is None:
            continue
        to_run = [
            placed
            for known in decision.replica_ids
            if (placed := fleet.decisions.placements[known]).desired in _TO_RUN
            and not fleet.ended(placed)
        ]
        wanted = deployment.spec.replicas
        well = {each.slot for each in to_run if is_available(fleet, each) and each.slot < wanted}
        found[deployment.id] = Standing(len(to_run), len(well))
    return found


def check_rollouts(fleet: FleetState, commit: Commit, before: dict[str, Standing]) -> None:
    """Check that a round kept to each deployment's surge, and to how many may be unavailable.

    Fewer may be well where others were preferred, where a node came back with what it still has,
    or is found silent by the round itself.
    """
    event = commit.envelopes[0].event
    assert isinstance(event, ev.RoundDecided)
    excused = set()
    for outcome in event.outcomes:
        match outcome:
            case ev.DeploymentPlaced():
                excused |= {eviction.deployment_id for eviction in outcome.evictions}
            case ev.NodeOffline():
                excused |= before.keys()
            case ev.ReplicasRestored() | ev.DeploymentFailed():
                excused.add(outcome.deployment_id)
            case _:
                pass
    for deployment_id, after in rollout_standing(fleet).items():
        had = before.get(deployment_id, Standing(0, 0))
        spec = fleet.facts.deployments[deployment_id].spec
        assert after.held <= max(spec.replicas + spec.rollout.max_surge, had.held), "too many"
        if deployment_id not in excused:
            least = min(had.well, spec.replicas - spec.rollout.max_unavailable)
            assert after.well >= least, "too few"
