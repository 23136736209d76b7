"""What a log says of a fleet, by a second hand: shares no code with the folds it checks."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from fogbank.domain import events as ev
from fogbank.domain.envelope import Commit

AMOUNTS = ("cpu_millicores", "memory_mib", "storage_gib", "gpu_thousandths")
BUSY_ABOVE = 90


@dataclass
class Host:
    """A node as last heard of."""

    room: list[int]
    epoch: int
    load: int = 0
    report: int = 0
    offline_epoch: int = -1

    @property
    def open(self) -> bool:
        return self.offline_epoch != self.epoch and self.load <= BUSY_ABOVE


@dataclass
class Piece:
    """A replica on its node."""

    deployment: str
    slot: int
    node: str
    takes: list[int]
    wanted: str = "live"


@dataclass
class Ask:
    """A deployment as its author has it now."""

    replicas: int
    version: int
    deleted: bool = False
    failed: int = 0
    priority: int = 50
    cluster: int = 1


@dataclass
class Book:
    """Facts and rounds, taken in one by one."""

    hosts: dict[str, Host] = field(default_factory=dict)
    pieces: dict[str, Piece] = field(default_factory=dict)
    asks: dict[str, Ask] = field(default_factory=dict)
    ended: dict[tuple[str, str], bool] = field(default_factory=dict)
    preempted: dict[tuple[str, int], str] = field(default_factory=dict)
    chain: bytes = b"\0" * 32
    chain_sequence: int = 0
    instant_us: int = 0

    def counts(self, commit: Commit) -> bool:
        """Tell whether a scheduler's commit counts."""
        event = commit.envelopes[0].event
        return (
            isinstance(event, ev.RoundDecided)
            and len(commit.envelopes) == 1
            and event.prev_digest == self.chain
            and event.instant_us >= self.instant_us
            and self.chain_sequence <= event.facts_to < commit.sequence
        )

    def take_facts(self, commit: Commit) -> None:
        for index, envelope in enumerate(commit.envelopes):
            self._fact(envelope.event_id, envelope.event, commit.sequence * 65536 + index)

    def _fact(self, event_id: str, event: ev.Event | None, position: int) -> None:
        match event:
            case ev.DeploymentCreated():
                self.asks[event_id] = Ask(
                    event.spec.replicas,
                    position,
                    priority=event.spec.priority,
                    cluster=event.spec.cluster_id,
                )
            case ev.DeploymentScaled() if not self.asks[event.deployment_id].deleted:
                ask = self.asks[event.deployment_id]
                ask.replicas, ask.version = event.replicas, position
            case ev.DeploymentUpdated() if not self.asks[event.deployment_id].deleted:
                self.asks[event.deployment_id].version = position
            case ev.DeploymentDeleted() if not self.asks[event.deployment_id].deleted:
                ask = self.asks[event.deployment_id]
                ask.deleted, ask.version = True, position
            case ev.NodeConnected():
                room = [getattr(event.fingerprint.allocatable, name) for name in AMOUNTS]
                host = self.hosts.setdefault(event.node_id, Host(room, position))
                host.room, host.epoch = room, position
            case ev.NodeCapacityChanged() if self._current(event.node_id, event.epoch):
                self.hosts[event.node_id].room = [
                    getattr(event.fingerprint.allocatable, name) for name in AMOUNTS
                ]
            case ev.NodeLoadChanged() if self._current(event.node_id, event.epoch):
                self.hosts[event.node_id].load = max(event.cpu_percent, event.memory_percent)
            case ev.NodeReported() if self._current(event.node_id, event.epoch):
                host = self.hosts[event.node_id]
                if event.number == host.report + 1:
                    host.report += 1
                    for seen in event.observations:
                        if seen.final:
                            self.ended.setdefault(
                                (seen.replica_id, event.node_id), seen.state.name == "COMPLETE"
                            )
            case _:
                pass

    def _current(self, node: str, epoch: int) -> bool:
        return node in self.hosts and self.hosts[node].epoch == epoch

    def take_round(self, commit: Commit) -> None:
        event = commit.envelopes[0].event
        assert isinstance(event, ev.RoundDecided)
        self.chain, self.chain_sequence = commit.digest, commit.sequence
        self.instant_us = event.instant_us
        for outcome in event.outcomes:
            self._outcome(outcome)

    def _outcome(self, outcome: ev.Outcome) -> None:
        match outcome:
            case ev.DeploymentPlaced():
                for eviction in outcome.evictions:
                    self._evict(outcome.deployment_id, eviction)
                takes = [getattr(outcome.resources, name) for name in AMOUNTS]
                for placement in outcome.placements:
                    self._clear(outcome.deployment_id, placement.slot, placement.replaces)
                    assert placement.replica_id not in self.pieces, "a replica placed twice"
                    self.pieces[placement.replica_id] = Piece(
                        outcome.deployment_id, placement.slot, placement.node_id, takes
                    )
            case ev.DeploymentFailed():
                self.asks[outcome.deployment_id].failed = outcome.version
            case ev.ReplicasReleased():
                self._want(outcome.replica_ids, "released")
            case ev.ReplicasSuspended():
                self._want(outcome.replica_ids, "suspended")
            case ev.ReplicasRestored():
                for replica_id in outcome.replica_ids:
                    self._restore(replica_id)
            case ev.NodeOffline():
                self.hosts[outcome.node_id].offline_epoch = outcome.epoch
            case _:
                pass

    def _evict(self, by: str, eviction: ev.Eviction) -> None:
        """Who gives way is less important by ten, of the same cluster, and still there."""
        assert self.asks[by].priority >= 60
        assert self.asks[eviction.deployment_id].priority <= self.asks[by].priority - 10
        assert self.asks[eviction.deployment_id].cluster == self.asks[by].cluster
        for replica_id in eviction.replica_ids:
            piece = self.pieces[replica_id]
            assert piece.wanted == "live"
            assert not self.has_ended(replica_id)
            assert piece.deployment == eviction.deployment_id
            self.preempted[eviction.deployment_id, piece.slot] = by
        self._want(eviction.replica_ids, "released")

    def _clear(self, deployment: str, slot: int, relieved: str) -> None:
        """Take a slot: from one that ended, or one that leaves now; never from others that run."""
        for replica_id, piece in self._in_slot(deployment, slot):
            if replica_id == relieved:
                assert piece.wanted == "live", "relieved though it is not to run"
                piece.wanted = "leaving"
            elif piece.wanted == "live":
                assert self.has_ended(replica_id), "two in one slot"
                piece.wanted = "released"
            elif piece.wanted == "leaving" and relieved:
                piece.wanted = "released"

    def _restore(self, restored: str) -> None:
        """Take one back, in the place of its successor; whose node was lost has none that runs."""
        taken_back = self.pieces[restored]
        assert taken_back.wanted in {"suspended", "leaving"}
        for replica_id, piece in self._in_slot(taken_back.deployment, taken_back.slot):
            if piece.wanted == "live":
                was_leaving = taken_back.wanted == "leaving"
                assert was_leaving or self.has_ended(replica_id), "two in one slot"
                piece.wanted = "released"
        taken_back.wanted = "live"

    def _in_slot(self, deployment: str, slot: int) -> Iterator[tuple[str, Piece]]:
        for replica_id, piece in self.pieces.items():
            if (piece.deployment, piece.slot) == (deployment, slot):
                yield replica_id, piece

    def _want(self, replica_ids: tuple[str, ...], wanted: str) -> None:
        for replica_id in replica_ids:
            assert self.pieces[replica_id].wanted != "released", "released is for good"
            self.pieces[replica_id].wanted = wanted

    # What the book adds up to.

    def has_ended(self, replica_id: str) -> bool:
        return (replica_id, self.pieces[replica_id].node) in self.ended

    def promised(self) -> dict[str, list[int]]:
        """Return what is promised on each node: placed, not ended, not released."""
        sums = {node: [0] * len(AMOUNTS) for node in self.hosts}
        for replica_id, piece in self.pieces.items():
            if piece.wanted != "released" and not self.has_ended(replica_id):
                sums[piece.node] = [
                    known + more for known, more in zip(sums[piece.node], piece.takes, strict=True)
                ]
        return sums

    def live(self) -> dict[tuple[str, int], list[str]]:
        """Return the replicas wanted in each slot."""
        found: dict[tuple[str, int], list[str]] = {}
        for replica_id, piece in self.pieces.items():
            if piece.wanted == "live":
                found.setdefault((piece.deployment, piece.slot), []).append(replica_id)
        return found

    def short_of_replicas(self) -> set[str]:
        """Return the deployments with a slot that nothing fills."""
        live = self.live()
        short = set()
        for deployment, ask in self.asks.items():
            if ask.deleted or ask.failed == ask.version:
                continue
            for slot in range(ask.replicas):
                fillers = live.get((deployment, slot), [])
                if not any(self._fills(replica_id) for replica_id in fillers):
                    short.add(deployment)
        return short

    def _fills(self, replica_id: str) -> bool:
        """A replica fills its slot until it ended otherwise than by completing."""
        return self.ended.get((replica_id, self.pieces[replica_id].node), True)
