"""Replicas that should be elsewhere: on nodes that shrank, or that do nothing for them.

A capacity that shrinks below what is booked is a fact, and no fault: replicas move off until the
rest fits, the least important ones first, of those the last that came. One that its connected node
has prepared nothing for in a while, whatever it waits for, gets another node too. Both as from a
draining node: a successor takes the slot, and the predecessor goes when that runs. Who finds no
room stays; nothing is released for want of it. A successor that its node does nothing for keeps no
drain waiting: another one is placed instead of it.
"""

from __future__ import annotations

from collections.abc import Iterator

from fogbank.domain import events as ev
from fogbank.domain.decisions import Desired, PlacedReplica
from fogbank.domain.facts import DeploymentFact, NodeFact
from fogbank.domain.fleet import FleetState
from fogbank.domain.resources import Resources
from fogbank.domain.rollouts import is_rolling
from fogbank.placement.agenda import Agenda
from fogbank.placement.evacuations import exchange, in_vain, leaving_of, movable, relieve
from fogbank.placement.needs import serving_predecessor, stalling
from fogbank.placement.work import Work


def relocate(fleet: FleetState, work: Work) -> Iterator[list[ev.Outcome]]:
    """Place successors of what is on nodes that shrank, and of what its node does nothing for."""
    for node in _shrunken(fleet):
        excess = _excess(fleet, node)
        for placed, deployment in _off(fleet, node):
            free = deployment.id not in work.moved
            if free and _helps(placed, excess) and not in_vain(fleet, work.agenda, placed):
                outcomes = relieve(fleet, work, placed, deployment)
                if outcomes:
                    excess = excess - placed.resources
                    yield outcomes
    work.agenda.come_to_stall(work.instant_us)
    for deployment_id in sorted(work.agenda.stalled):
        if deployment_id not in work.moved:
            for due_us, placed, deployment in _stalled(fleet, work.agenda, deployment_id):
                if due_us <= work.instant_us:
                    outcomes = _elsewhere(fleet, work, placed, deployment)
                    if outcomes:
                        yield outcomes
                        break


def _elsewhere(
    fleet: FleetState, work: Work, placed: PlacedReplica, deployment: DeploymentFact
) -> list[ev.Outcome]:
    """Place the next in a stalled replica's slot on another node."""
    decision = fleet.decisions.of(deployment.id)
    if serving_predecessor(fleet, decision, placed.slot) is not None:
        return exchange(fleet, work, placed, deployment)  # to be relieved now would end that one
    return relieve(fleet, work, placed, deployment, work.room.arrays.row(placed.node_id))


def relocation_due_us(fleet: FleetState, agenda: Agenda) -> int | None:
    """Return 0 while there is a successor to look for, else when the next replica has stalled."""
    for node in _shrunken(fleet):
        excess = _excess(fleet, node)
        for placed, _ in _off(fleet, node):
            if _helps(placed, excess) and not in_vain(fleet, agenda, placed):
                return 0
    instants = [
        due_us
        for deployment_id in agenda.stalled
        for due_us, _, _ in _stalled(fleet, agenda, deployment_id)
    ]
    next_us = agenda.next_stall_us()
    return min([*instants, *([] if next_us is None else [next_us])], default=None)


def _shrunken(fleet: FleetState) -> Iterator[NodeFact]:
    """Yield the nodes that have less than is booked, but for those that are emptied or lost."""
    for node_id in sorted(fleet.overbooked):
        node = fleet.facts.nodes[node_id]
        if not node.draining and fleet.offline_since_us(node) is None:
            yield node


def _excess(fleet: FleetState, node: NodeFact) -> Resources:
    """Return how much more is booked than there is, without what leaves for its successor."""
    excess = fleet.booked(node.id) - node.fingerprint.allocatable
    for placed in fleet.on_node(node.id):
        if placed.desired is Desired.LEAVING:
            excess = excess - placed.resources
    return excess


def _off(fleet: FleetState, node: NodeFact) -> list[tuple[PlacedReplica, DeploymentFact]]:
    """Return who may move off a node, in the order in which they do."""
    found = [
        (placed, deployment)
        for placed, deployment in movable(fleet, node)
        if fleet.decisions.of(deployment.id).failed_version != deployment.version
    ]
    return sorted(
        found, key=lambda each: (each[1].spec.priority, -each[0].placed_sequence, each[0].id)
    )


def _helps(placed: PlacedReplica, excess: Resources) -> bool:
    """Tell whether a replica takes of what there is too little of."""
    takes = placed.resources
    return (
        (excess.cpu_millicores > 0 < takes.cpu_millicores)
        or (excess.memory_mib > 0 < takes.memory_mib)
        or (excess.storage_gib > 0 < takes.storage_gib)
        or (excess.gpu_thousandths > 0 < takes.gpu_thousandths)
    )


def _stalled(
    fleet: FleetState, agenda: Agenda, deployment_id: str
) -> Iterator[tuple[int, PlacedReplica, DeploymentFact]]:
    """Yield a deployment's replicas that are to stall, or did, and whose successors have room.

    While an update goes on its own deadline counts.
    """
    deployment = fleet.facts.deployments[deployment_id]
    if is_rolling(fleet, deployment):
        return
    leaving = fleet.decisions.of(deployment_id).leaving
    for due_us, placed in stalling(fleet, deployment):
        # Who waits for this very replica, and doesn't run, gives way to the next successor.
        others = leaving_of(fleet, deployment_id) - (placed.slot in leaving)
        limit = fleet.facts.policy.disruption.moves_at_once
        if others < limit and not in_vain(fleet, agenda, placed):
            yield due_us, placed, deployment
