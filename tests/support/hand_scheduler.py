"""Rounds written by hand, so that a test says what is decided and when."""

from __future__ import annotations

from fogbank.codec import encode_commit, encode_envelope
from fogbank.domain import events as ev
from fogbank.domain.envelope import EventEnvelope
from fogbank.domain.ids import replica_id, round_event_id
from fogbank.log.port import EventLog
from fogbank.placement.causes import causes_of
from services.gateway.app.fold import FleetFold


class HandScheduler:
    """Writes the rounds that a test wants."""

    def __init__(self, log: EventLog, fold: FleetFold) -> None:
        self._log = log
        self._fold = fold
        self._instant_us = 0

    async def decide(self, *outcomes: ev.Outcome) -> int:
        """Append a round and wait until the gateway has folded it; return its sequence."""
        fleet = self._fold.fleet
        self._instant_us = max(self._instant_us + 1, fleet.facts.log_time_us)
        prev = fleet.decisions.prev_digest
        event = ev.RoundDecided(
            prev, fleet.position, self._instant_us, "balanced@1", bytes(32), 1, 100, (), outcomes
        )
        envelope = EventEnvelope(
            round_event_id(prev, "hand", self._instant_us),
            event,
            "round",
            "scheduler/hand",
            self._instant_us,
            causes=causes_of(fleet, outcomes),
        )
        data = encode_commit(fleet.facts.log_time_us, [encode_envelope(envelope)])
        sequence = await self._log.append(data)
        await self._fold.reached(sequence)
        assert fleet.decisions.prev_sequence == sequence, "the round is void"
        return sequence

    async def place(self, deployment_id: str, *node_ids: str, first_slot: int = 0) -> list[str]:
        """Place one replica on each node; return their ids."""
        deployment = self._fold.fleet.facts.deployments[deployment_id]
        generations = self._fold.fleet.decisions.of(deployment_id).generations
        placements = []
        for slot, node_id in enumerate(node_ids, start=first_slot):
            generation = generations.get(slot, 0) + 1
            placed_id = replica_id(deployment_id, slot, generation)
            placements.append(ev.Placement(placed_id, slot, generation, node_id, 1))
        await self.decide(
            ev.DeploymentPlaced(
                deployment_id, deployment.version, deployment.spec.resources, tuple(placements)
            )
        )
        return [placement.replica_id for placement in placements]

    async def release(self, deployment_id: str, *replica_ids: str) -> None:
        """Let replicas be stopped."""
        await self.decide(ev.ReplicasReleased(deployment_id, replica_ids, "Scaled down"))

    async def offline(self, node_id: str) -> None:
        """Declare a node offline."""
        node = self._fold.fleet.facts.nodes[node_id]
        await self.decide(ev.NodeOffline(node_id, node.epoch, self._instant_us))
