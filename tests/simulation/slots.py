"""Slots of which two replicas ran at once, by the histories of the machines and the log's bytes."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from itertools import permutations
from typing import Any

from fogbank.v1 import facts_pb2, log_pb2, rounds_pb2
from tests.simulation.actors import Cluster
from tests.simulation.machines import Ran

_NEVER = 1 << 62


@dataclass(slots=True)
class _Rounds:
    """What rounds said of replicas: their slots, when they were placed and released.

    `suspended` were given up with their nodes, `leaving` were to go when their successor runs;
    `holders` are those that were given each slot last.
    """

    slot_of: dict[str, tuple[str, int]] = field(default_factory=dict)
    placed_at: dict[str, int] = field(default_factory=dict)
    released_at: dict[str, int] = field(default_factory=dict)
    suspended: set[str] = field(default_factory=set)
    leaving: set[str] = field(default_factory=set)
    on_removed: set[str] = field(default_factory=set)
    holders: dict[tuple[str, int], str] = field(default_factory=dict)

    def take(self, outcome: Any, sequence: int, removed: Collection[str]) -> None:
        """Take in an outcome of a round."""
        for placement in outcome.placed.placements:
            key = (outcome.placed.deployment_id, placement.slot)
            self.slot_of.setdefault(placement.replica_id, key)
            self.placed_at.setdefault(placement.replica_id, sequence)
            self.holders[key] = placement.replica_id
            self.leaving.add(placement.replaces)
            if placement.node_id in removed:
                self.on_removed.add(placement.replica_id)
        evicted = [each for out in outcome.placed.evictions for each in out.replica_ids]
        for replica_id in (*outcome.released.replica_ids, *evicted):
            self.released_at.setdefault(replica_id, sequence)
        for replica_id in outcome.restored.replica_ids:
            restored_key = self.slot_of[replica_id]
            if self.holders[restored_key] != replica_id:  # whoever came in its place goes
                self.released_at.setdefault(self.holders[restored_key], sequence)
            self.holders[restored_key] = replica_id
        self.suspended.update(outcome.suspended.replica_ids)

    def both_wanted(self, one: Ran, other: Ran) -> bool:
        """Tell whether neither was to go before the other came."""
        ids = {one.replica_id, other.replica_id}
        return (
            not ids & self.leaving
            and self.released_at.get(one.replica_id, _NEVER) > self.placed_at[other.replica_id]
            and self.released_at.get(other.replica_id, _NEVER) > self.placed_at[one.replica_id]
        )


def doubled_slots(cluster: Cluster) -> list[str]:
    """Find slots of which two replicas ran at once although both were to.

    One that was cut off may run on, and so may one that was released before the other was placed,
    until its agent has stopped it, and one that leaves: until a successor runs, be it a later one.
    """
    rounds = _rounds(cluster)
    apart = rounds.suspended | rounds.on_removed
    return [
        f"slot {slot} of {deployment_id} ran twice at once: {one.replica_id} and {other.replica_id}"
        for (deployment_id, slot), one, other in _at_once(cluster, rounds)
        if not {one.replica_id, other.replica_id} & apart
    ]


def doubled_in_spite_of_rules(cluster: Cluster) -> list[str]:
    """Find such slots where replicas that are cut off were to be stopped by their own node.

    It can't be asked of a node whose agent does not run, or that was taken out of the fleet.
    """
    guarded = set(_guarded(cluster))
    if not guarded:
        return []
    rounds = _rounds(cluster)
    unattended = {agent.machine.name for agent in cluster.agents if agent.machine.unattended}
    on = {id(ran): agent.name for agent in cluster.agents for ran in agent.machine.history}
    return [
        f"slot {slot} of {deployment_id} ran twice at once although it stops where it is cut off: "
        f"{one.replica_id} on {on[id(one)]} and {other.replica_id} on {on[id(other)]}"
        for (deployment_id, slot), one, other in _at_once(cluster, rounds)
        if deployment_id in guarded
        and not {one.replica_id, other.replica_id} & rounds.on_removed
        and not {on[id(one)], on[id(other)]} & unattended
    ]


def _at_once(cluster: Cluster, rounds: _Rounds) -> Iterator[tuple[tuple[str, int], Ran, Ran]]:
    """Yield what ran while another of its slot began, and both were wanted."""
    rans: dict[tuple[str, int], list[Ran]] = defaultdict(list)
    for agent in cluster.agents:
        for ran in agent.machine.history:
            if ran.replica_id in rounds.slot_of:
                rans[rounds.slot_of[ran.replica_id]].append(ran)
    for slot, of_slot in rans.items():
        for one, other in permutations(of_slot, 2):
            if one.began_s <= other.began_s < one.ended_s and rounds.both_wanted(one, other):
                yield slot, one, other


def _rounds(cluster: Cluster) -> _Rounds:
    removed = {message.node_id for message in _said(cluster, facts_pb2.NodeRemoved)}
    rounds = _Rounds()
    for stored in cluster.broker.commits:
        if stored.writer.service != "scheduler":
            continue
        for envelope in log_pb2.Commit.FromString(stored.data).events:
            for outcome in rounds_pb2.RoundDecided.FromString(envelope.payload).outcomes:
                rounds.take(outcome, stored.sequence, removed)
    return rounds


def _guarded(cluster: Cluster) -> Iterator[str]:
    """Yield the deployments whose replicas stop where they are cut off."""
    for stored in cluster.broker.commits:
        for envelope in log_pb2.Commit.FromString(stored.data).events:
            if envelope.type == facts_pb2.DeploymentCreated.DESCRIPTOR.full_name:
                spec = facts_pb2.DeploymentCreated.FromString(envelope.payload).spec
                if spec.disconnect.stop_on_client_after_ms:
                    yield envelope.event_id


def _said(cluster: Cluster, kind: Any) -> Iterator[Any]:
    """Yield the messages of a kind in the log."""
    for stored in cluster.broker.commits:
        for envelope in log_pb2.Commit.FromString(stored.data).events:
            if envelope.type == kind.DESCRIPTOR.full_name:
                yield kind.FromString(envelope.payload)
