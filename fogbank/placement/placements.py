"""What is written of replicas that got a node, and which nodes a deployment has."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from fogbank.domain import events as ev
from fogbank.domain.decisions import Desired
from fogbank.domain.facts import DeploymentFact
from fogbank.domain.fleet import FleetState
from fogbank.domain.ids import replica_ids
from fogbank.placement.arrays import FleetArrays
from fogbank.placement.devices import choose, held_by_leaving
from fogbank.placement.room import Room

# More names of other replicas in one outcome could be too many for a commit.
MOST_NAMES = 4_000


def occupied_rows(
    fleet: FleetState, arrays: FleetArrays, deployment_id: str, slots: Sequence[int] = ()
) -> list[int]:
    """Return the nodes that have a replica of the deployment, released ones apart.

    Who takes a slot may stand beside the one that leaves it, if no other slot is looked for.
    """
    own = slots[0] if len(slots) == 1 else -1
    return [
        row
        for placed in fleet.present(deployment_id)
        if placed.desired is not Desired.RELEASED
        and (placed.slot != own or placed.desired is Desired.SUSPENDED)
        and (row := arrays.row(placed.node_id)) is not None
    ]


def placements_on(
    fleet: FleetState,
    room: Room,
    deployment: DeploymentFact,
    slots: Iterable[int],
    chosen: Iterable[tuple[int, int]],
) -> tuple[ev.Placement, ...]:
    """Return the placements of slots on rows with their scores, whose room was taken for them."""
    ids, ending = room.arrays.ids, room.arrays.ending
    decision = fleet.decisions.deployments.get(deployment.id)
    generations = decision.generations if decision else {}
    name = replica_ids(deployment.id)
    gpu = deployment.spec.resources.gpu_thousandths
    devices: tuple[int, ...] = ()
    # What is booked fits: only more that is held can be too much.
    held = bool(ending) or room.frees
    starts_after: tuple[str, ...] = ()
    placements = []
    for slot, (row, points) in zip(slots, chosen, strict=True):
        generation = generations.get(slot, 0) + 1
        if gpu:
            devices = choose(fleet, room.arrays, row, gpu)
        if held:
            held_here = row in ending or room.freed(row)
            starts_after = _starts_after(fleet, room, row, devices) if held_here else ()
        replica_id = name(slot, generation)
        placed = (replica_id, slot, generation, ids[row], points, starts_after, "", devices)
        placements.append(tuple.__new__(ev.Placement, placed))  # half the time of its own way
    return tuple(placements)


def names_told(
    fleet: FleetState,
    room: Room,
    leaving: Mapping[int, Sequence[int]],
    copies: Mapping[int, int],
) -> int:
    """Return how many names it takes at most to say who is evicted, and who starts after whom.

    `leaving` has for each row who is to be evicted, `copies` how many replicas take their room:
    each of those names all that leave its node.
    """
    names = sum(map(len, leaving.values()))
    for row, count in copies.items():
        on_node = fleet.on_node(room.arrays.ids[row])
        before = sum(placed.desired is Desired.RELEASED for placed in on_node)
        names += count * (before + len(room.leaving.get(row, ())) + len(leaving.get(row, ())))
    return names


def _starts_after(
    fleet: FleetState, room: Room, row: int, devices: tuple[int, ...]
) -> tuple[str, ...]:
    """Return what is to end on a node first: the leaving, where they still hold the room."""
    node_id = room.arrays.ids[row]
    ordered = room.leaving.get(row, ())
    if not room.overfull(row) and not held_by_leaving(fleet, node_id, devices, ordered):
        return ()
    return (
        *(placed.id for placed in fleet.on_node(node_id) if placed.desired is Desired.RELEASED),
        *ordered,
    )
