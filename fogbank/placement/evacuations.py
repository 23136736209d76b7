"""Emptying nodes: replicas move off draining nodes, each after its successor runs.

A successor takes the slot with the next generation, while its predecessor runs on, leaving; it is
released when the successor serves (`movements.settle`). Of one deployment so many move at once as
the policy says. Who finds no room stays where it is, and is looked at again when room appears;
from the deadline on all that is left is released, and waits for room like anything else.
"""

from __future__ import annotations

from collections.abc import Iterator

from fogbank.domain import events as ev
from fogbank.domain.decisions import DeploymentDecision, Desired, PlacedReplica
from fogbank.domain.facts import DeploymentFact, NodeFact
from fogbank.domain.fleet import FleetState
from fogbank.domain.rollouts import as_wanted, wanted_revision
from fogbank.placement.agenda import Agenda, Look
from fogbank.placement.looks import place
from fogbank.placement.quotas import refused_by_quota
from fogbank.placement.room import Shortage
from fogbank.placement.work import Work


def evacuate(fleet: FleetState, work: Work) -> Iterator[list[ev.Outcome]]:
    """Place successors of what is on draining nodes, or past the deadline release it."""
    for node_id in fleet.facts.draining:
        node = fleet.facts.nodes[node_id]
        releases = overdue_releases(fleet, node, work.instant_us)
        for outcome in releases:
            if outcome.deployment_id not in work.moved:
                yield [outcome]
        for placed, deployment in movable(fleet, node):
            if deployment.id not in work.moved and not in_vain(fleet, work.agenda, placed):
                outcomes = relieve(fleet, work, placed, deployment)
                if outcomes:
                    yield outcomes


def evacuation_due_us(fleet: FleetState, agenda: Agenda) -> int | None:
    """Return 0 while there is a successor to look for, else the first deadline with work left."""
    deadlines = []
    for node_id in fleet.facts.draining:
        node = fleet.facts.nodes[node_id]
        if any(not in_vain(fleet, agenda, placed) for placed, _ in movable(fleet, node)):
            return 0
        if node.drain_deadline_us and any(_staying(fleet, node)):
            deadlines.append(node.drain_deadline_us)
    return min(deadlines, default=None)


def overdue_releases(
    fleet: FleetState, node: NodeFact, instant_us: int
) -> list[ev.ReplicasReleased]:
    """Return the releases of all that is left on a draining node, if its deadline has passed."""
    if not node.drain_deadline_us or instant_us < node.drain_deadline_us:
        return []
    by_deployment: dict[str, list[str]] = {}
    for placed in _staying(fleet, node):
        by_deployment.setdefault(placed.deployment_id, []).append(placed.id)
    return [
        ev.ReplicasReleased(deployment_id, tuple(replica_ids), "Its node is drained")
        for deployment_id, replica_ids in by_deployment.items()
    ]


def _staying(fleet: FleetState, node: NodeFact) -> Iterator[PlacedReplica]:
    for placed in fleet.on_node(node.id):
        if placed.desired is not Desired.RELEASED:
            yield placed


def movable(fleet: FleetState, node: NodeFact) -> Iterator[tuple[PlacedReplica, DeploymentFact]]:
    """Yield the replicas of a node that may be relieved now, with their deployments."""
    for placed in fleet.on_node(node.id):
        deployment = fleet.facts.deployments.get(placed.deployment_id)
        if placed.desired is not Desired.LIVE or deployment is None:
            continue
        decision = fleet.decisions.of(placed.deployment_id)
        if deployment.deleted or placed.slot >= deployment.spec.replicas:
            continue  # it is released as unwanted
        if decision.slots.get(placed.slot) != placed.id:
            continue
        failed = decision.failed_version == deployment.version
        if failed or (
            not _awaited(fleet, decision, placed.slot)
            and leaving_of(fleet, deployment.id) < fleet.facts.policy.disruption.moves_at_once
        ):
            yield placed, deployment


def _awaited(fleet: FleetState, decision: DeploymentDecision, slot: int) -> bool:
    """Tell whether a slot's predecessor still runs on for who has it: one more would end it."""
    leaving_id = decision.leaving.get(slot)
    return leaving_id is not None and not fleet.ended(fleet.decisions.placements[leaving_id])


def leaving_of(fleet: FleetState, deployment_id: str) -> int:
    """Return how many replicas of a deployment run on until their successors do."""
    placements = fleet.decisions.placements
    return sum(
        not fleet.ended(placements[replica_id])
        for replica_id in fleet.decisions.of(deployment_id).leaving.values()
    )


def in_vain(fleet: FleetState, agenda: Agenda, placed: PlacedReplica) -> bool:
    """Tell whether no room was found for a replica's successor, and none appeared since."""
    return agenda.in_vain(_look(placed), fleet.room_sequence)


def _look(placed: PlacedReplica) -> Look:
    return Look(f"successor in slot {placed.slot}", placed.deployment_id)


def relieve(
    fleet: FleetState,
    work: Work,
    placed: PlacedReplica,
    deployment: DeploymentFact,
    barred: int | None = None,
) -> list[ev.Outcome]:
    """Place a successor; none for a deployment that failed: what is left of it just ends.

    A node may be `barred` to it, by row.
    """
    if fleet.decisions.of(deployment.id).failed_version == deployment.version:
        return [ev.ReplicasReleased(deployment.id, (placed.id,), "Its node is drained")]
    found = _placed_anew(fleet, work, placed, deployment, barred)
    if found is None:
        return []
    (placement,) = found.placements
    return [found._replace(placements=(placement._replace(replaces=placed.id),))]


def exchange(
    fleet: FleetState, work: Work, placed: PlacedReplica, deployment: DeploymentFact
) -> list[ev.Outcome]:
    """Place another successor, on another node, instead of one that its node does nothing for.

    Whom both are to relieve runs on.
    """
    barred = work.room.arrays.row(placed.node_id)
    found = _placed_anew(fleet, work, placed, deployment, barred)
    if found is None:
        return []
    reason = "Its node did nothing for it"
    return [ev.ReplicasReleased(deployment.id, (placed.id,), reason), found]


def _placed_anew(
    fleet: FleetState,
    work: Work,
    placed: PlacedReplica,
    deployment: DeploymentFact,
    barred: int | None,
) -> ev.DeploymentPlaced | None:
    """Find a node for the next in a replica's slot, and take it."""
    meant = as_wanted(fleet, deployment)
    only_moves = placed.revision == wanted_revision(fleet, deployment)

    def look() -> ev.DeploymentPlaced | Shortage:
        # Who only moves has its quota; of another revision it may take more.
        refused = None if only_moves else refused_by_quota(fleet, work.room, meant.spec, 1)
        return refused or place(
            fleet, work.room, meant, (placed.slot,), work.instant_us, barred=barred
        )

    found = work.attempt_move(_look(placed), look)
    if not isinstance(found, ev.DeploymentPlaced):
        work.looked_in_vain.add(_look(placed))
        return None
    return found
