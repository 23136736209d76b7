"""What a deployment needs of the next rounds, as far as the log says."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from fogbank.domain.decisions import DeploymentDecision, Desired, PlacedReplica
from fogbank.domain.ends import is_broken, ran_ms
from fogbank.domain.facts import DeploymentFact, Observed
from fogbank.domain.fleet import FleetState
from fogbank.domain.ids import replica_ids
from fogbank.domain.remembered import MOST_IN_A_ROW
from fogbank.domain.rollouts import slots_held_back
from fogbank.domain.states import ReplicaState
from fogbank.placement.absent_images import turned_down

_MS = 1_000
_NOTHING_DONE = frozenset(
    {ReplicaState.NEW, ReplicaState.PENDING, ReplicaState.ASSIGNED, ReplicaState.ACCEPTED}
)


class Need(NamedTuple):
    """What is to be done about a deployment.

    `unwanted` are replicas to release. `vacant` are slots without a replica, each with the
    instant from which it may be filled (0 for now). `returned` are suspended replicas whose node
    shook hands again, `relieved` are leaving ones whose successor runs.
    """

    unwanted: tuple[str, ...] = ()
    unwanted_reason: str = ""
    vacant: tuple[tuple[int, int], ...] = ()
    returned: tuple[str, ...] = ()
    relieved: tuple[str, ...] = ()


NOTHING = Need()


@dataclass(frozen=True, slots=True)
class Wait:
    """Until when a deployment without room waits: `at_us`, or (None) for room to appear."""

    attempt: int
    at_us: int | None


def need_of(fleet: FleetState, deployment: DeploymentFact) -> Need:
    """Return what a deployment needs."""
    decision = fleet.decisions.deployments.get(deployment.id)
    if decision is None:
        if deployment.deleted:
            return NOTHING
        return Need((), "", tuple([(slot, 0) for slot in range(deployment.spec.replicas)]))
    wanted = 0 if deployment.deleted else deployment.spec.replicas
    failed = decision.failed_version == deployment.version
    if not failed and _complete(fleet, decision, wanted):
        return NOTHING
    unwanted = _unwanted(fleet, decision, wanted)
    reason = "Deployment deleted" if deployment.deleted else "Scaled down"
    if not deployment.deleted and failed:
        return Need(_unwanted(fleet, decision, 0), "Deployment failed")
    relieved = _relieved(fleet, decision, wanted)
    vacant = _vacant(fleet, deployment, decision)
    return Need(unwanted, reason, vacant, _returned(fleet, decision, wanted), relieved)


def _complete(fleet: FleetState, decision: DeploymentDecision, wanted: int) -> bool:
    """Tell whether each slot has its replica, which has not ended, and there is no other.

    It is mostly so, and takes a third of what it takes to find that nothing is needed.
    """
    present, slots = fleet.present(decision.id), decision.slots
    if len(present) != wanted or decision.leaving:
        return False
    for placed in present:
        if placed.slot >= wanted or slots.get(placed.slot) != placed.id:
            return False
    return True


def waits_for_a_place(fleet: FleetState, deployment: DeploymentFact) -> bool:
    """Tell whether a deployment has a slot without a replica, whatever emptied it."""
    if deployment.deleted:
        return False
    decision = fleet.decisions.deployments.get(deployment.id)
    if decision is None:
        return True
    if decision.failed_version == deployment.version:
        return False
    return bool(_vacant(fleet, deployment, decision))


def _vacant(
    fleet: FleetState, deployment: DeploymentFact, decision: DeploymentDecision
) -> tuple[tuple[int, int], ...]:
    """Return the slots to fill, each with the instant from which it may be filled."""
    wanted = 0 if deployment.deleted else deployment.spec.replicas
    held_back = slots_held_back(fleet, deployment) if decision.leaving else ()
    slots = [slot for slot in range(wanted) if slot not in held_back]
    found = [(slot, vacant_from_us(fleet, decision, slot)) for slot in slots]
    vacant = tuple([(slot, at_us) for slot, at_us in found if at_us is not None])
    if any(at_us for _, at_us in vacant) and turned_down(fleet, deployment):
        return tuple([(slot, 0) for slot, _ in vacant])  # there is nothing to wait for: it fails
    return vacant


def vacant_from_us(fleet: FleetState, decision: DeploymentDecision, slot: int) -> int | None:
    """Return the instant from which a slot may be filled, 0 for now; None if it is taken."""
    live = decision.slots.get(slot)
    if live is None:
        return 0
    placed = fleet.decisions.placements[live]
    if not fleet.ended(placed) or fleet.replica_state(placed) is ReplicaState.COMPLETE:
        return None
    observed = fleet.observed(placed)
    if observed is None or not observed.final:
        return 0  # its node was removed
    if not is_broken(observed):
        return _stopped_until_us(fleet, observed)
    return _reschedule_at_us(fleet, placed, observed)


def stalling(fleet: FleetState, deployment: DeploymentFact) -> list[tuple[int, PlacedReplica]]:
    """Return the replicas that their connected nodes did nothing for yet, whatever they wait for.

    Each comes with the instant from which another node is looked for. While the replica that one
    of them is to relieve serves, there is no hurry, unless the node of either is drained.
    """
    grace_us = fleet.facts.policy.disruption.start_grace_ms * _MS
    decision = fleet.decisions.deployments.get(deployment.id)
    if not grace_us or decision is None or deployment.deleted:
        return []
    if decision.failed_version == deployment.version:
        return []
    found = []
    facts, placements = fleet.facts, fleet.decisions.placements
    drained, offline = facts.draining, fleet.decisions.offline
    for slot, replica_id in decision.slots.items():
        placed = placements[replica_id]
        observed = facts.observed.get((replica_id, placed.node_id))
        if observed is not None and observed.state not in _NOTHING_DONE:
            continue
        node = facts.nodes.get(placed.node_id)
        if node is None or node.removed:
            continue
        if offline and fleet.offline_since_us(node) is not None:
            continue
        former = serving_predecessor(fleet, decision, slot) if decision.leaving else None
        if former is None or placed.node_id in drained or former.node_id in drained:
            since_us = max(placed.placed_at_us, node.connected_at_us)
            found.append((since_us + grace_us, placed))
    return found


def stalling_from_us(fleet: FleetState, deployment: DeploymentFact) -> int | None:
    """Return an instant before which no replica of a deployment is `stalling`; None if none will.

    Where all of them were placed this moment nothing has to be known of their nodes for that.
    """
    first = next(iter(fleet.present(deployment.id)), None)
    if first is None:
        return None
    if first.placed_sequence < fleet.position:
        return min((due_us for due_us, _ in stalling(fleet, deployment)), default=None)
    grace_us = fleet.facts.policy.disruption.start_grace_ms * _MS
    return first.placed_at_us + grace_us if grace_us else None


def serving_predecessor(
    fleet: FleetState, decision: DeploymentDecision, slot: int
) -> PlacedReplica | None:
    """Return the replica that serves, leaving, until who has its slot does; None if none does."""
    leaving_id = decision.leaving.get(slot)
    former = fleet.decisions.placements[leaving_id] if leaving_id is not None else None
    return former if former is not None and serves(fleet, former) else None


def vacant_now(fleet: FleetState, deployment: DeploymentFact, instant_us: int) -> tuple[int, ...]:
    """Return the slots of a deployment that may be filled at an instant."""
    if deployment.id not in fleet.decisions.deployments and not deployment.deleted:
        return tuple(range(deployment.spec.replicas))  # mostly so
    vacant = need_of(fleet, deployment).vacant
    return tuple([slot for slot, at_us in vacant if at_us <= instant_us])


def _relieved(fleet: FleetState, decision: DeploymentDecision, wanted: int) -> tuple[str, ...]:
    if not decision.leaving:
        return ()
    return tuple(
        replica_id
        for slot, replica_id in sorted(decision.leaving.items())
        if slot < wanted
        and (live := decision.slots.get(slot)) is not None
        and serves(fleet, (successor := fleet.decisions.placements[live]))
        # A rollout has conditions of its own.
        and successor.revision == fleet.decisions.placements[replica_id].revision
        and not fleet.ended(fleet.decisions.placements[replica_id])
    )


def serves(fleet: FleetState, placed: PlacedReplica) -> bool:
    """Tell whether a replica does its work, as far as is known, or has done it."""
    state = fleet.replica_state(placed)
    if state is ReplicaState.COMPLETE:
        return True
    node = fleet.facts.nodes.get(placed.node_id)
    known = node is not None and fleet.offline_since_us(node) is None
    return known and state is ReplicaState.RUNNING


def _unwanted(fleet: FleetState, decision: DeploymentDecision, wanted: int) -> tuple[str, ...]:
    return tuple(
        [
            placed.id
            for placed in fleet.present(decision.id)
            if placed.slot >= wanted and placed.desired is not Desired.RELEASED
        ]
    )


def _returned(fleet: FleetState, decision: DeploymentDecision, wanted: int) -> tuple[str, ...]:
    found = []
    for placed in fleet.present(decision.id):
        if placed.desired is not Desired.SUSPENDED or placed.slot >= wanted:
            continue
        node = fleet.facts.nodes.get(placed.node_id)
        if node is not None and fleet.offline_since_us(node) is None:
            found.append(placed.id)
    return tuple(found)


def broken_in_a_row(fleet: FleetState, placed: PlacedReplica) -> int:
    """Return how many of a slot broke in a row, up to a broken replica and with it.

    One that ran for longer than the first wait ends the row.
    """
    delay_ms = fleet.facts.policy.reschedule_delay_ms
    name = replica_ids(placed.deployment_id)
    broken = 1
    for generation in range(placed.generation - 1, 0, -1):
        former = fleet.decisions.placements.get(name(placed.slot, generation))
        if former is None:
            remembered = fleet.decisions.remembered_of(placed.deployment_id)
            return broken + remembered.broken_before(placed.slot, generation + 1)
        observed = fleet.observed(former)
        if observed is None or not is_broken(observed) or ran_ms(observed) > delay_ms:
            break
        broken += 1
    return broken


def _stopped_until_us(fleet: FleetState, observed: Observed) -> int:
    """Return when the slot of a replica may be filled again that its node stopped, cut off.

    At once, unless it had hardly run: a node that is heard too seldom would stop one after the
    other.
    """
    delay_ms = fleet.facts.policy.reschedule_delay_ms
    return 0 if ran_ms(observed) > delay_ms else observed.ended_at_us + delay_ms * _MS


def _reschedule_at_us(fleet: FleetState, placed: PlacedReplica, observed: Observed) -> int:
    """Return when a broken replica's slot may be filled again.

    The wait doubles with each replica of the slot that broke in a row, unless the last one ran
    longer than it.
    """
    policy = fleet.facts.policy
    delay_ms = min(
        policy.reschedule_delay_ms << min(broken_in_a_row(fleet, placed), MOST_IN_A_ROW) - 1,
        policy.reschedule_delay_max_ms,
    )
    if ran_ms(observed) > delay_ms:
        delay_ms = policy.reschedule_delay_ms
    return observed.ended_at_us + delay_ms * _MS


def wait_of(decision: DeploymentDecision | None, deployment: DeploymentFact) -> Wait | None:
    """Return how a deployment that found no room waits; None if it was not looked at.

    A look at an older version does not count: the author has asked for something else since.
    """
    if decision is None or not decision.deferred:
        return None
    if decision.looked_version != deployment.version:
        return None
    return Wait(decision.attempt, decision.not_before_us or None)


def patient(decision: DeploymentDecision | None, deployment: DeploymentFact) -> bool:
    """Tell whether a deployment without room waits for as long as it takes."""
    placed_once = decision is not None and decision.placed_once
    return deployment.spec.wait_for_capacity or placed_once
