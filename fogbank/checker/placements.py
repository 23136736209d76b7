"""What a round places: on whom, where, and that it fits."""

from __future__ import annotations

from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from uuid import UUID, uuid5

from fogbank.checker.devices import too_much_on, wrong_devices
from fogbank.checker.eligibility import exceeded, neighbours, unmet_constraint
from fogbank.checker.evictions import Evictions
from fogbank.checker.quotas import Quotas
from fogbank.checker.rebalances import wrong_move
from fogbank.checker.report import Counts, Findings, Place, Rule
from fogbank.checker.revisions import wanted
from fogbank.checker.world import COMPLETE, Amounts, Deployment, Node, Replica, Wish, World, amounts
from fogbank.v1 import rounds_pb2


@dataclass(frozen=True, slots=True)
class _Taken:
    """A replica that a round put on a node, and what was held there with it."""

    place: Place
    node: Node
    replica: Replica
    held: tuple[int, ...]


@dataclass(slots=True)
class Placements:
    """The placements of one round. `finish` judges what only the whole round can tell."""

    world: World
    findings: Findings
    counts: Counts
    sequence: int
    _taken: list[_Taken] = field(default_factory=list)
    quotas: Quotas = field(init=False)

    def __post_init__(self) -> None:
        """See what is used of quotas before the round."""
        self.quotas = Quotas.before_round(self.world, self.findings)

    def place(
        self, place: Place, deployment: Deployment, outcome: rounds_pb2.DeploymentPlaced
    ) -> None:
        """Take in the placements of one deployment."""
        ask = amounts(outcome.resources)
        if ask != deployment.ask:
            self._found(
                place,
                Rule.RESOURCES,
                f"replicas of deployment {deployment.id} take {ask}, asked for is {deployment.ask}",
            )
        if deployment.failed:
            self._found(
                place, Rule.FAILED, f"deployment {deployment.id} had failed and is placed after all"
            )
        if (outcome.revision or 1) != wanted(deployment):
            self._found(
                place,
                Rule.REVISION,
                f"replicas of deployment {deployment.id} are of revision {outcome.revision or 1}, "
                f"wanted is {wanted(deployment)}",
            )
        if outcome.rebalance and (wrong := wrong_move(self.world, deployment, outcome)):
            self._found(
                place, Rule.REBALANCED, f"a replica of deployment {deployment.id} moves {wrong}"
            )
        victims = Evictions(self.world, self.findings, place, deployment, self.quotas)
        victims.take(outcome)
        begins = any(each.slot not in deployment.generations for each in outcome.placements)
        for placement in outcome.placements:
            self._one(place, deployment, placement, ask, outcome.revision or 1)
        self.quotas.take(place, deployment, outcome)
        victims.finish(placement.node_id for placement in outcome.placements)
        lacking = deployment.lacking()
        if outcome.placements and all(placement.replaces for placement in outcome.placements):
            # Successors fill no vacant slot.
            return
        # What had a replica before is filled again one by one; what never had one, all or none.
        if (lacking and begins) or not outcome.placements:
            self._found(
                place,
                Rule.ALL_OR_NOTHING,
                f"{len(outcome.placements)} replicas of deployment {deployment.id} are placed, "
                f"slots {lacking} stay empty",
            )
        deployment.placed_once = True
        deployment.attempt = 0
        deployment.not_before_us = 0

    def _one(
        self,
        place: Place,
        deployment: Deployment,
        placement: rounds_pb2.Placement,
        ask: Amounts,
        revision: int,
    ) -> None:
        self._check_slot(place, deployment, placement)
        if placement.replica_id in self.world.replicas:
            return
        node = self.world.nodes.get(placement.node_id)
        if node is None:
            self._found(
                place,
                Rule.UNKNOWN_NODE,
                f"replica {placement.replica_id} is placed on {placement.node_id}, which is no "
                "node of the round's input",
            )
        else:
            self._check_node(place, deployment, node, placement.slot)
        self.counts.placements += 1
        replica = Replica(
            placement.replica_id,
            deployment.id,
            placement.slot,
            placement.generation,
            placement.node_id,
            ask,
            self.sequence,
            tuple(placement.starts_after),
            tuple(placement.gpu_devices),
            revision,
        )
        self._relieve(deployment, placement)
        self.world.put(replica)
        deployment.slots[placement.slot] = replica
        deployment.generations[placement.slot] = placement.generation
        if node is not None:
            self._taken.append(_Taken(place, node, replica, tuple(node.held)))

    def _relieve(self, deployment: Deployment, placement: rounds_pb2.Placement) -> None:
        """Let who has the slot go: at once, or (to be replaced) when its successor runs."""
        former = deployment.slots.get(placement.slot)
        if former is None:
            return
        if former.id != placement.replaces:
            self.world.release(former)
            return
        earlier = deployment.leaving.pop(placement.slot, None)
        if earlier is not None:
            self.world.release(earlier)
        former.wish = Wish.LEAVING
        deployment.leaving[placement.slot] = former

    def _check_slot(
        self, place: Place, deployment: Deployment, placement: rounds_pb2.Placement
    ) -> None:
        slot, generation = placement.slot, placement.generation
        who = f"slot {slot} of deployment {deployment.id}"
        if not 0 <= slot < deployment.replicas:
            self._found(place, Rule.SLOT_RANGE, f"{who}, which has {deployment.replicas} replicas")
        former = deployment.slots.get(slot)
        if placement.replaces:
            if former is None or former.id != placement.replaces or former.ended:
                self._found(
                    place,
                    Rule.SLOT_TAKEN,
                    f"{who} is taken over from {placement.replaces}, which does not have it",
                )
        elif former is not None and not (former.ended and former.state != COMPLETE):
            why = "completed" if former.ended else "has not ended"
            self._found(place, Rule.SLOT_TAKEN, f"{who} is filled while {former.id} {why}")
        due = deployment.generations.get(slot, 0) + 1
        if generation != due:
            self._found(
                place, Rule.GENERATION, f"{who} gets generation {generation} instead of {due}"
            )
        expected = str(uuid5(UUID(deployment.id), f"{slot}/{generation}"))
        if placement.replica_id != expected:
            self._found(
                place,
                Rule.REPLICA_ID,
                f"{who}, generation {generation}, is {placement.replica_id} instead of {expected}",
            )
        elif placement.replica_id in self.world.replicas:
            self._found(place, Rule.REPLICA_ID, f"replica {placement.replica_id} is placed again")

    def _check_node(self, place: Place, deployment: Deployment, node: Node, slot: int) -> None:
        who = f"a replica of deployment {deployment.id} is placed on node {node.name}"
        if node.offline:
            self._found(place, Rule.OFFLINE_NODE, f"{who}, which is offline")
        if node.closed or node.removed:
            what = "was removed" if node.removed else "is cordoned"
            self._found(place, Rule.CLOSED_NODE, f"{who}, which {what}")
        if node.load_percent > self.world.busy_percent:
            self._found(place, Rule.BUSY_NODE, f"{who}, whose load is {node.load_percent} %")
        if unmet := unmet_constraint(node, deployment):
            self._found(place, Rule.CONSTRAINT, f"{who}, which does not meet: {unmet}")
        others = [
            known
            for known in neighbours(node, deployment.id)
            # Who takes a slot may stand beside the one that leaves it.
            if self.world.replicas[known].slot != slot
            or self.world.replicas[known].wish is Wish.SUSPENDED
        ]
        if others and not deployment.spec.allow_colocation:
            self._found(place, Rule.COLOCATION, f"{who}, beside {', '.join(others)}")

    def finish(self) -> None:
        """Judge the round as a whole: do the nodes have what is promised, does a start find room.

        A node that has less than is booked may stay so, but then it takes nothing.
        """
        judged: set[str] = set()
        later: dict[str, set[str]] = {}
        for taken in self._taken:
            later.setdefault(taken.node.id, set()).add(taken.replica.id)
        for taken in self._taken:
            self._check_start(taken)
            later[taken.node.id].discard(taken.replica.id)
            self._check_devices(taken, later[taken.node.id])
            if taken.node.id not in judged:
                judged.add(taken.node.id)
                self._check_booked(taken)

    def _check_devices(self, taken: _Taken, later: AbstractSet[str]) -> None:
        """Judge what it starts beside; who was placed on its node later waits for it if need be."""
        node, replica = taken.node, taken.replica
        devices, who = replica.gpu_devices, f"replica {replica.id} on node {node.name}"
        if wrong := wrong_devices(node, replica.ask[-1], devices):
            self._found(taken.place, Rule.RESOURCES, f"{who} takes {wrong}")
        elif much := too_much_on(node, devices, held=False):
            self._found(taken.place, Rule.OVERBOOKED, f"{who} books {much}")
        elif much := too_much_on(node, devices, held=True, without={*replica.starts_after, *later}):
            self._found(
                taken.place, Rule.STARTS_AFTER, f"{who} may start while still held are {much}"
            )

    def _check_booked(self, taken: _Taken) -> None:
        node = taken.node
        if much := exceeded(node, node.booked):
            self._found(
                taken.place,
                Rule.OVERBOOKED,
                f"node {node.name} takes replica {taken.replica.id} and is booked to {much}",
            )
        share = max(
            (
                booked / room
                for booked, room in zip(node.booked, node.allocatable, strict=True)
                if room > 0
            ),
            default=0.0,
        )
        self.counts.max_booked_percent = max(self.counts.max_booked_percent, 100.0 * share)

    def _check_start(self, taken: _Taken) -> None:
        held = list(taken.held)
        for awaited_id in set(taken.replica.starts_after):
            awaited = self.world.replicas.get(awaited_id)
            if awaited is None or awaited.node_id != taken.node.id:
                self._found(
                    taken.place,
                    Rule.STARTS_AFTER,
                    f"replica {taken.replica.id} waits for {awaited_id}, which is not on its node",
                )
            elif awaited.ended:
                continue
            elif awaited.wish is not Wish.RELEASED:
                self._found(
                    taken.place,
                    Rule.STARTS_AFTER,
                    f"replica {taken.replica.id} waits for {awaited_id}, which is to run on",
                )
            else:
                held = [kept - gone for kept, gone in zip(held, awaited.ask, strict=True)]
        # What is not even promised is said already, as overbooked.
        if (much := exceeded(taken.node, held)) and not exceeded(taken.node, taken.node.booked):
            self._found(
                taken.place,
                Rule.STARTS_AFTER,
                f"replica {taken.replica.id} may start on node {taken.node.name} while the room "
                f"is still held: {much}",
            )

    def _found(self, place: Place, rule: Rule, sentence: str) -> None:
        self.findings.add(place, rule, sentence)
