"""Where the replacement of a deployment's replicas stands after an update, derived when read."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import IntEnum

from fogbank.domain.decisions import DeploymentDecision, PlacedReplica
from fogbank.domain.deployment import RolloutSpec
from fogbank.domain.ends import ever_started, proven_us
from fogbank.domain.facts import DeploymentFact, Observed
from fogbank.domain.fleet import FleetState
from fogbank.domain.good_revisions import good_by_now, good_from_us
from fogbank.domain.revisions import Revision, same_replicas, with_replicas_of
from fogbank.domain.states import Health, ReplicaState

_MS = 1_000
# So many replicas of a revision may fail for good, while none is well, before it is given up.
_FAILURES = 2
# Nodes start a container twice in half an hour and give it up then: within this, however it breaks.
_GIVEN_UP_WITHIN_MS = 3_600_000


class RolloutPhase(IntEnum):
    """How far a rollout is; the numbers are the contract's."""

    DONE = 1
    PROGRESSING = 2
    ROLLED_BACK = 3


@dataclass(frozen=True, slots=True)
class RolloutView:
    """How far the replacement of replicas is, as of a log sequence.

    `waits_for` says what is missing, empty when nothing is. Unless it gets on, it is given up at
    `gives_up_us` of log time, for revision `goes_back_to`; both are 0 if nothing ends it.
    """

    deployment_id: str
    phase: RolloutPhase
    revision: int
    wanted_revision: int
    failed_revisions: tuple[int, ...]
    replicas: int
    updated: int
    available: int
    leaving: int
    message: str
    waits_for: str
    gives_up_us: int
    goes_back_to: int
    revisions: tuple[Revision, ...]
    as_of_sequence: int


def wanted_revision(fleet: FleetState, deployment: DeploymentFact) -> int:
    """Return the revision that new replicas are of: the one asked for, unless it failed."""
    decision = fleet.decisions.deployments.get(deployment.id)
    if decision is None or not decision.failed_revisions:
        return deployment.revision  # mostly so
    if decision.bad_revision != deployment.revision:
        return deployment.revision
    good = deployment.revision_of(decision.good_revision)
    return deployment.revision if good is None else good.number


def as_wanted(fleet: FleetState, deployment: DeploymentFact) -> DeploymentFact:
    """Return a deployment as its replicas are to be: after a rollback those of before."""
    number = wanted_revision(fleet, deployment)
    if number == deployment.revision:
        return deployment  # mostly so
    wanted = deployment.revision_of(number)
    if wanted is None:
        return deployment
    spec = with_replicas_of(deployment.spec, wanted.spec)
    return replace(deployment, spec=spec, env_key=wanted.env_key)


def revision_before(fleet: FleetState, deployment: DeploymentFact) -> Revision | None:
    """Return the newest revision that a return without a number leads to; None if there is none.

    It did not fail, and its replicas would be others than those asked for now. Where any was seen
    to be well it is such a one: nobody wants back to what never ran.
    """
    good = good_by_now(fleet, deployment)
    decision = fleet.decisions.deployments.get(deployment.id)
    failed = decision.failed_revisions if decision else ()
    for revision in reversed(deployment.revisions):
        same = same_replicas(deployment.spec, deployment.env_key, revision)
        if not same and revision.number not in failed and (not good or revision.number in good):
            return revision
    return None


def is_outdated(fleet: FleetState, deployment: DeploymentFact, placed: PlacedReplica) -> bool:
    """Tell whether a replica is to be replaced; one that completed is not."""
    number = wanted_revision(fleet, deployment)
    if placed.revision == number or completed(fleet, placed):
        return False
    own = deployment.revision_of(placed.revision)
    wanted = deployment.revision_of(number)
    return own is None or wanted is None or not same_replicas(own.spec, own.env_key, wanted)


def completed(fleet: FleetState, placed: PlacedReplica) -> bool:
    """Tell whether a replica did what it was to do."""
    return fleet.ended(placed) and fleet.replica_state(placed) is ReplicaState.COMPLETE


def is_available(fleet: FleetState, placed: PlacedReplica) -> bool:
    """Tell whether a replica is known to run, and to be healthy as far as its probe goes."""
    observed = fleet.observed(placed)
    if observed is None or fleet.ended(placed) or observed.state is not ReplicaState.RUNNING:
        return False
    node = fleet.facts.nodes.get(placed.node_id)
    silent = node is not None and fleet.offline_since_us(node) is not None
    if silent or observed.health is Health.UNHEALTHY:
        return False
    return observed.health is Health.HEALTHY or not has_probe(fleet, placed)


def has_probe(fleet: FleetState, placed: PlacedReplica) -> bool:
    """Tell whether a replica's container is probed."""
    deployment = fleet.facts.deployments.get(placed.deployment_id)
    if deployment is None:
        return False
    if not deployment.updates:  # mostly so: its only revision is what it is
        return placed.revision == 1 and deployment.spec.container.probe is not None
    revision = deployment.revision_of(placed.revision)
    return revision is not None and revision.spec.container.probe is not None


def well_at_us(fleet: FleetState, placed: PlacedReplica, min_healthy_ms: int) -> int | None:
    """Return from when a replica counts as well if nothing happens; None if it is not available.

    By log time: clocks of hosts may be wrong.
    """
    if completed(fleet, placed):
        return 0
    observed = fleet.observed(placed)
    if observed is None or not is_available(fleet, placed):
        return None
    return observed.since_us + min_healthy_ms * _MS


def is_rolling(fleet: FleetState, deployment: DeploymentFact) -> bool:
    """Tell whether replicas of a deployment are to be replaced, are leaving, or may be given up."""
    decision = fleet.decisions.deployments.get(deployment.id)
    if decision is None or deployment.deleted or not deployment.updates:
        return False
    if decision.leaving or decision.failed_version == deployment.version:
        return bool(decision.leaving)
    return _is_updating(fleet, deployment, decision)


def _is_updating(
    fleet: FleetState, deployment: DeploymentFact, decision: DeploymentDecision
) -> bool:
    """Tell whether an update goes on: replicas are outdated, or none of its own was ever well.

    What breaks later is no reason to give it up.
    """
    placements = fleet.decisions.placements
    return any(
        slot < deployment.spec.replicas and is_outdated(fleet, deployment, placements[replica_id])
        for held in (decision.slots, decision.leaving)
        for slot, replica_id in held.items()
    ) or _on_trial(fleet, deployment, decision)


def _on_trial(fleet: FleetState, deployment: DeploymentFact, decision: DeploymentDecision) -> bool:
    """Tell whether replicas of the revision asked for were tried, and may yet lead back."""
    asked, rollout = deployment.revision, deployment.spec.rollout
    if asked <= 1 or not rollout.auto_rollback or decision.bad_revision == asked:
        return False
    placements, tried = fleet.decisions.placements, False
    for replica_id in reversed(decision.replica_ids):
        placed = placements[replica_id]
        if placed.revision == asked:
            tried = True
            if _showed_good(fleet.observed(placed), placed, rollout):
                return False  # mostly so, of the last
    remembered = fleet.decisions.remembered_of(deployment.id)
    if not tried or any(revision == asked for revision, _ in remembered.good):
        return False
    return bool(good_from_us(fleet, deployment))


def _showed_good(observed: Observed | None, placed: PlacedReplica, rollout: RolloutSpec) -> bool:
    """Tell whether a replica was ever well, as far as its last report tells.

    That knows the last start alone; but one that broke long after it had to be well was well.
    """
    if proven_us(observed, rollout.min_healthy_ms) is not None:
        return True
    if observed is None or not ever_started(observed):
        return False
    lasted_us = (observed.ended_at_us or observed.since_us) - placed.placed_at_us
    return lasted_us > (rollout.progress_deadline_ms + _GIVEN_UP_WITHIN_MS) * _MS


def slots_held_back(fleet: FleetState, deployment: DeploymentFact) -> list[int]:
    """Return the slots without a replica of their own that surge leaves no room for yet.

    Their former, outdated replicas still run: each is filled when that has been let go.
    """
    decision = fleet.decisions.deployments.get(deployment.id)
    if decision is None or not decision.leaving:
        return []  # mostly so
    placements = fleet.decisions.placements
    held_back, doubled = [], 0
    for slot, leaving_id in sorted(decision.leaving.items()):
        former, live_id = placements[leaving_id], decision.slots.get(slot)
        if fleet.ended(former):
            continue
        if live_id is not None and not fleet.ended(placements[live_id]):
            doubled += 1
        elif is_outdated(fleet, deployment, former):
            held_back.append(slot)
    return held_back[max(deployment.spec.rollout.max_surge - doubled, 0) :]


def rollout_view(fleet: FleetState, deployment: DeploymentFact) -> RolloutView:
    """Return how far the replacement of a deployment's replicas is."""
    decision = fleet.decisions.deployments.get(deployment.id)
    wanted = wanted_revision(fleet, deployment)
    placements = fleet.decisions.placements
    wanted_slots = range(0 if deployment.deleted else deployment.spec.replicas)
    slots = decision.slots if decision else {}
    live = [placements[slots[slot]] for slot in wanted_slots if slot in slots]
    leaving = [placements[known] for known in decision.leaving.values()] if decision else []
    updated = sum(not is_outdated(fleet, deployment, placed) for placed in live)
    available = {
        placed.slot
        for placed in [*live, *leaving]
        if is_available(fleet, placed) or completed(fleet, placed)
    }
    rolled_back = wanted != deployment.revision
    missing = bool(deployment.updates) and len(available) < deployment.spec.replicas
    rolling = bool(leaving) or missing or updated < deployment.spec.replicas
    phase = RolloutPhase.PROGRESSING if rolling and not deployment.deleted else RolloutPhase.DONE
    message = f"{updated} of {deployment.spec.replicas} replicas are of revision {wanted}"
    if rolled_back and decision is not None:
        phase = RolloutPhase.ROLLED_BACK
        message = f"{decision.rollback_reason}{_last_failure(fleet, decision)}; {message}"
    gives_up_us, goes_back_to = _giving_up(fleet, deployment)
    return RolloutView(
        deployment.id,
        phase,
        deployment.revision,
        wanted,
        decision.failed_revisions if decision else (),
        deployment.spec.replicas,
        updated,
        len(available),
        len(leaving),
        message,
        "" if phase is RolloutPhase.DONE else _waits_for(fleet, deployment, live),
        gives_up_us,
        goes_back_to,
        deployment.revisions,
        fleet.position,
    )


@dataclass(frozen=True, slots=True)
class WayBack:
    """Why an update is given up, each reason with the time from when on it is one.

    `good` are the revisions to go back to, each from when on; there is one.
    """

    causes: list[tuple[int, str]]
    good: Mapping[int, int]

    def revision_at(self, instant_us: int) -> int:
        """Return the newest revision that can be gone back to by then."""
        return max(revision for revision, from_us in self.good.items() if from_us <= instant_us)


def way_back(fleet: FleetState, deployment: DeploymentFact) -> WayBack | None:
    """Return why new replicas that fail would lead back, and where to; None if nothing would."""
    rollout, asked = deployment.spec.rollout, deployment.revision
    decision = fleet.decisions.of(deployment.id)
    if not rollout.auto_rollback or asked <= 1 or decision.bad_revision == asked:
        return None
    if not _is_updating(fleet, deployment, decision):
        return None
    good = good_from_us(fleet, deployment)
    if not good:
        return None
    new = [
        placed
        for known in decision.replica_ids
        if (placed := fleet.decisions.placements[known]).revision == asked
    ]
    well = any(well_at_us(fleet, placed, rollout.min_healthy_ms) is not None for placed in new)
    failed = [placed for placed in new if _failed(fleet, placed)]
    first_us = min(good.values())
    causes: list[tuple[int, str]] = []
    if len(failed) >= _FAILURES and not well:
        causes.append((first_us, f"{len(failed)} replicas of revision {asked} failed"))
    for placed in new:
        if decision.slots.get(placed.slot) != placed.id or is_available(fleet, placed):
            continue
        if completed(fleet, placed):
            continue
        deadline_us = placed.placed_at_us + rollout.progress_deadline_ms * _MS
        late = f"A replica of revision {asked} wasn't well in time"
        causes.append((max(deadline_us, first_us), late))
    return WayBack(causes, good)


def _failed(fleet: FleetState, placed: PlacedReplica) -> bool:
    state = fleet.replica_state(placed)
    return fleet.ended(placed) and state in {ReplicaState.FAILED, ReplicaState.REJECTED}


def _last_failure(fleet: FleetState, decision: DeploymentDecision) -> str:
    """Return what was said of the last replica of a bad revision that failed; "" if nothing was."""
    for known in reversed(decision.replica_ids):
        placed = fleet.decisions.placements[known]
        if placed.revision == decision.bad_revision and _failed(fleet, placed):
            observed = fleet.observed(placed)
            if observed is not None and observed.reason:
                node = fleet.facts.nodes[placed.node_id]
                return f" (slot {placed.slot} on {node.name}: {observed.reason})"
    return ""


def _giving_up(fleet: FleetState, deployment: DeploymentFact) -> tuple[int, int]:
    """Return when an update is given up as things stand, and for which revision; 0 for neither."""
    decision = fleet.decisions.of(deployment.id)
    if deployment.deleted or decision.failed_version == deployment.version:
        return 0, 0
    back = way_back(fleet, deployment)
    if back is None or not back.causes:
        return 0, 0
    due_us = min(due_us for due_us, _ in back.causes)
    return due_us, back.revision_at(due_us)


def _waits_for(fleet: FleetState, deployment: DeploymentFact, live: list[PlacedReplica]) -> str:
    """Say what an update waits for, given the replica of each slot that has one; "" if nothing."""
    decision = fleet.decisions.of(deployment.id)
    if decision.failed_version == deployment.version:
        return ""  # it failed, and waits no more
    outdated = [placed for placed in live if is_outdated(fleet, deployment, placed)]
    waits = [
        words
        for placed in live
        if placed not in outdated and (words := _not_well(fleet, deployment, placed))
    ]
    filled = {placed.slot for placed in live}
    vacant = [slot for slot in range(deployment.spec.replicas) if slot not in filled]
    if vacant:
        why = f": {decision.reason}" if decision.reason else ""
        waits.append(f"a node for slot {vacant[0]}{why}")
    if outdated and not waits:
        waits.append(f"room for a replica of revision {wanted_revision(fleet, deployment)}")
    more = len(waits) - 1 + max(len(vacant) - 1, 0)
    return (waits[0] + (f", and {more} more" if more else "")) if waits else ""


def _not_well(fleet: FleetState, deployment: DeploymentFact, placed: PlacedReplica) -> str:
    """Say what a new replica lacks to let another one go; empty if it is well."""
    min_healthy_ms = deployment.spec.rollout.min_healthy_ms
    well_us = well_at_us(fleet, placed, min_healthy_ms)
    if well_us is not None and well_us <= max(fleet.facts.log_time_us, fleet.decisions.instant_us):
        return ""
    where = f"slot {placed.slot} on {fleet.facts.nodes[placed.node_id].name}"
    if well_us is not None:
        return f"{where} to have been well for {min_healthy_ms / _MS:g} s"
    observed = fleet.observed(placed)
    if fleet.offline_since_us(fleet.facts.nodes[placed.node_id]) is not None:
        return f"{where}, which is offline"
    if observed is not None and observed.state is ReplicaState.RUNNING:
        doing = observed.reason or "its probe has not passed yet"
    else:
        doing = fleet.replica_state(placed).name.lower()
        if observed is not None and observed.reason:
            doing = f"{doing}, {observed.reason}"
    return f"{where} to be well: {doing}"
