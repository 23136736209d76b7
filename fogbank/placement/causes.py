"""What led to each outcome of a round: the position of one event that the log had before it.

A command is its own beginning. What a deployment gets is caused by its last command, or by what
emptied the slot since: the round that evicted or suspended its replica, the report of its end.
What a round takes away is caused by the command, the report or the round that made it superfluous.
So the causes lead from any outcome back to a request, or to what hosts did of themselves.

All of it follows from the input of the round; who derives the round again derives the causes.
"""

from __future__ import annotations

from collections.abc import Iterable

from fogbank.domain import events as ev
from fogbank.domain.decisions import DeploymentDecision, Desired, PlacedReplica
from fogbank.domain.facts import DeploymentFact
from fogbank.domain.fleet import FleetState
from fogbank.domain.ids import replica_id
from fogbank.domain.position import pack


def causes_of(fleet: FleetState, outcomes: Iterable[ev.Outcome]) -> tuple[int, ...]:
    """Return a position for each outcome of a round decided on this state; 0 for none."""
    return tuple([_cause(fleet, outcome) for outcome in outcomes])


def _cause(fleet: FleetState, outcome: ev.Outcome) -> int:
    match outcome:
        case ev.DeploymentPlaced():
            return outcome.rebalance or _of_placement(fleet, outcome)
        case ev.DeploymentDeferred() | ev.DeploymentFailed():
            return max(outcome.version, _of_vacant_slots(fleet, outcome.deployment_id))
        case ev.DeploymentRolledBack():
            return _of_rollback(fleet, outcome)
        case ev.ReplicasReleased():
            placements = fleet.decisions.placements
            replicas = [placements[known] for known in outcome.replica_ids if known in placements]
            return max((_of_release(fleet, placed) for placed in replicas), default=0)
        case ev.ReplicasSuspended():
            return _of_silence(fleet, outcome.node_id)
        case ev.ReplicasRestored():
            return _of_return(fleet, outcome)
        case ev.RebalanceEnded():
            asked = fleet.facts.rebalance
            return asked.position if asked is not None else 0
        case ev.NodeOffline():
            return outcome.epoch


def _of_placement(fleet: FleetState, outcome: ev.DeploymentPlaced) -> int:
    decision = fleet.decisions.deployments.get(outcome.deployment_id)
    if decision is None:
        return outcome.version
    found = [outcome.version]
    for placement in outcome.placements:
        relieved = fleet.decisions.placements.get(placement.replaces)
        if relieved is None:
            found.append(_of_vacancy(fleet, decision, placement.slot))
        elif relieved.revision == outcome.revision and relieved.node_id in fleet.facts.draining:
            found.append(_of_node_command(fleet, relieved.node_id))
        elif relieved.revision == outcome.revision and not outcome.rebalance:
            found.append(_of_relocation(fleet, relieved))
    return max(found)


def _of_relocation(fleet: FleetState, placed: PlacedReplica) -> int:
    """Return what shrank a replica's node below what is booked; else what placed it there."""
    if placed.node_id in fleet.overbooked:
        return fleet.facts.nodes[placed.node_id].described_position
    return pack(placed.placed_sequence, 0)


def _of_vacant_slots(fleet: FleetState, deployment_id: str) -> int:
    decision = fleet.decisions.deployments.get(deployment_id)
    if decision is None:
        return 0
    return max((_of_vacancy(fleet, decision, slot) for slot in decision.generations), default=0)


def _of_vacancy(fleet: FleetState, decision: DeploymentDecision, slot: int) -> int:
    """Return what emptied a slot: a round, or the end of the replica that it had; 0 if it isn't."""
    generation = decision.generations.get(slot, 0)
    former = fleet.decisions.placements.get(replica_id(decision.id, slot, generation))
    if former is None:
        return 0
    if former.desired is not Desired.LIVE:
        return pack(former.decided_sequence, 0)
    return _of_end(fleet, former) if fleet.ended(former) else 0


def _of_end(fleet: FleetState, placed: PlacedReplica) -> int:
    """Return the report of a replica's end, or the removal of its node."""
    observed = fleet.observed(placed)
    if observed is not None and observed.final:
        return observed.position
    return _of_node_command(fleet, placed.node_id)


def _of_release(fleet: FleetState, placed: PlacedReplica) -> int:
    deployment = fleet.facts.deployments.get(placed.deployment_id)
    if deployment is None:
        return 0
    if deployment.deleted or placed.slot >= deployment.spec.replicas:
        return deployment.version
    if fleet.ended(placed):
        return _of_end(fleet, placed)
    if placed.desired is Desired.SUSPENDED:
        return _of_epoch(fleet, placed.node_id)
    return _of_other_replica(fleet, placed) or _of_drain(fleet, deployment, placed)


def _of_other_replica(fleet: FleetState, placed: PlacedReplica) -> int:
    """Return what another replica of the same slot did: a successor runs, a predecessor is back."""
    decision = fleet.decisions.deployments[placed.deployment_id]
    live = fleet.decisions.placements.get(decision.slots.get(placed.slot, ""))
    if live is not None and live.id != placed.id:
        observed = fleet.observed(live)
        return observed.position if observed is not None else pack(live.placed_sequence, 0)
    earlier = (
        fleet.decisions.placements.get(replica_id(placed.deployment_id, placed.slot, generation))
        for generation in range(placed.generation - 1, 0, -1)
    )
    for other in earlier:
        if other is not None and other.desired is Desired.SUSPENDED:
            return _of_epoch(fleet, other.node_id)
    return 0


def _of_drain(fleet: FleetState, deployment: DeploymentFact, placed: PlacedReplica) -> int:
    if placed.node_id in fleet.facts.draining:
        return _of_node_command(fleet, placed.node_id)
    return deployment.version


def _of_rollback(fleet: FleetState, outcome: ev.DeploymentRolledBack) -> int:
    """Return the last report on a replica of the revision that is no good."""
    decision = fleet.decisions.deployments[outcome.deployment_id]
    return _last_report_on(fleet, decision, outcome.from_revision) or outcome.version


def _last_report_on(fleet: FleetState, decision: DeploymentDecision, revision: int) -> int:
    """Return the last report on a deployment's replicas of a revision; 0 if there is none."""
    placements = (fleet.decisions.placements[known] for known in decision.replica_ids)
    seen = (fleet.observed(placed) for placed in placements if placed.revision == revision)
    return max((observed.position for observed in seen if observed is not None), default=0)


def _of_silence(fleet: FleetState, node_id: str) -> int:
    """Return the round that found a node offline; of one that went on, its connection."""
    sequence = fleet.decisions.offline_sequences.get(node_id, 0)
    return pack(sequence, 0) if sequence else _of_epoch(fleet, node_id)


def _of_return(fleet: FleetState, outcome: ev.ReplicasRestored) -> int:
    """Return why replicas are wanted again: their node is back, or their successors are no good."""
    restored = [fleet.decisions.placements[known] for known in outcome.replica_ids]
    if any(placed.desired is Desired.LEAVING for placed in restored):
        decision = fleet.decisions.deployments[outcome.deployment_id]
        deployment = fleet.facts.deployments[outcome.deployment_id]
        return _last_report_on(fleet, decision, decision.bad_revision) or deployment.version
    return max((_of_epoch(fleet, placed.node_id) for placed in restored), default=0)


def _of_epoch(fleet: FleetState, node_id: str) -> int:
    node = fleet.facts.nodes.get(node_id)
    return node.epoch if node is not None else 0


def _of_node_command(fleet: FleetState, node_id: str) -> int:
    node = fleet.facts.nodes.get(node_id)
    return node.commanded_position if node is not None else 0
