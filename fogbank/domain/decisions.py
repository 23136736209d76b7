"""The decisions: what accepted rounds laid down. Folding a round reads decisions only."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from enum import StrEnum

from fogbank.domain import events as ev
from fogbank.domain.envelope import SCHEDULER, Commit
from fogbank.domain.ids import ZERO_DIGEST
from fogbank.domain.position import pack
from fogbank.domain.resources import Resources
from fogbank.domain.verdict import Verdict, VoidReason


class Desired(StrEnum):
    """What rounds want of a placed replica."""

    LIVE = "live"
    RELEASED = "released"
    SUSPENDED = "suspended"


@dataclass(slots=True)
class PlacedReplica:
    """A replica that a round put on a node, and what rounds want of it since."""

    id: str
    deployment_id: str
    slot: int
    generation: int
    node_id: str
    resources: Resources
    version: int
    starts_after: tuple[str, ...]
    placed_sequence: int
    placed_at_us: int
    desired: Desired = Desired.LIVE
    reason: str = ""


@dataclass(slots=True)
class DeploymentDecision:
    """What rounds decided about a deployment. `slots` holds the live replica of each slot.

    `looked_facts_to` is how far the facts went at the last look that found no room.
    """

    id: str
    slots: dict[int, str] = field(default_factory=dict)
    generations: dict[int, int] = field(default_factory=dict)
    replica_ids: list[str] = field(default_factory=list)
    placed_once: bool = False
    attempt: int = 0
    not_before_us: int = 0
    deferred: bool = False
    looked_version: int = 0
    looked_facts_to: int = 0
    failed_version: int = 0
    available_nodes: int = 0
    reason: str = ""
    considered: ev.Considered = field(default_factory=ev.Considered)
    decided_sequence: int = 0


@dataclass(slots=True)
class Decisions:
    """All accepted rounds up to a position."""

    prev_digest: bytes = ZERO_DIGEST
    prev_sequence: int = 0
    instant_us: int = 0
    rounds: int = 0
    placed_total: int = 0
    failed_total: int = 0
    deployments: dict[str, DeploymentDecision] = field(default_factory=dict)
    placements: dict[str, PlacedReplica] = field(default_factory=dict)
    offline: dict[str, ev.NodeOffline] = field(default_factory=dict)

    def fold(self, commit: Commit) -> Verdict:
        """Take in a scheduler's commit and return the verdict on its round.

        A round counts if it was decided on the last accepted one, its instant does not fall, and
        its facts reach from that round to before itself; else every reader finds it void.
        """
        event = commit.envelopes[0].event
        if commit.service != SCHEDULER or not isinstance(event, ev.RoundDecided):
            return Verdict(pack(commit.sequence, 0), VoidReason.WRONG_WRITER)
        void = self._void(commit, event)
        if void is None:
            for outcome in event.outcomes:
                _APPLY[type(outcome)](self, outcome, event, commit.sequence)
            self.prev_digest = commit.digest
            self.prev_sequence = commit.sequence
            self.instant_us = event.instant_us
            self.rounds += 1
        return Verdict(pack(commit.sequence, 0), void)

    def _void(self, commit: Commit, event: ev.RoundDecided) -> VoidReason | None:
        if len(commit.envelopes) != 1:
            return VoidReason.NOT_ALONE
        if event.prev_digest != self.prev_digest:
            return VoidReason.STALE_ROUND
        if event.instant_us < self.instant_us:
            return VoidReason.FALLING_INSTANT
        if not self.prev_sequence <= event.facts_to < commit.sequence:
            return VoidReason.FACTS_OUT_OF_RANGE
        return None

    def of(self, deployment_id: str) -> DeploymentDecision:
        """Return what was decided about a deployment, an empty decision at first."""
        decision = self.deployments.get(deployment_id)
        if decision is None:
            decision = self.deployments[deployment_id] = DeploymentDecision(deployment_id)
        return decision


def _placed(
    decisions: Decisions, outcome: ev.DeploymentPlaced, event: ev.RoundDecided, sequence: int
) -> None:
    decision = decisions.of(outcome.deployment_id)
    for placement in outcome.placements:
        decisions.placements[placement.replica_id] = PlacedReplica(
            placement.replica_id,
            outcome.deployment_id,
            placement.slot,
            placement.generation,
            placement.node_id,
            outcome.resources,
            outcome.version,
            placement.starts_after,
            sequence,
            event.instant_us,
        )
        former = decision.slots.get(placement.slot)
        if former is not None:
            decisions.placements[former].desired = Desired.RELEASED
            decisions.placements[former].reason = "Replaced"
        decision.slots[placement.slot] = placement.replica_id
        decision.generations[placement.slot] = placement.generation
        decision.replica_ids.append(placement.replica_id)
    decision.placed_once = True
    decision.attempt = 0
    decision.not_before_us = 0
    decision.deferred = False
    decision.reason = ""
    decision.considered = outcome.considered
    decision.decided_sequence = sequence
    decisions.placed_total += 1


def _deferred(
    decisions: Decisions, outcome: ev.DeploymentDeferred, event: ev.RoundDecided, sequence: int
) -> None:
    decision = decisions.of(outcome.deployment_id)
    decision.attempt = outcome.attempt
    decision.not_before_us = outcome.not_before_us
    decision.deferred = True
    decision.looked_version = outcome.version
    decision.looked_facts_to = event.facts_to
    decision.reason = outcome.reason
    decision.considered = outcome.considered
    decision.decided_sequence = sequence


def _failed(
    decisions: Decisions, outcome: ev.DeploymentFailed, _event: ev.RoundDecided, sequence: int
) -> None:
    decision = decisions.of(outcome.deployment_id)
    decision.failed_version = outcome.version
    decision.available_nodes = outcome.available_nodes
    decision.attempt = 0
    decision.not_before_us = 0
    decision.deferred = False
    decision.reason = outcome.reason
    decision.considered = outcome.considered
    decision.decided_sequence = sequence
    decisions.failed_total += 1


def _vacate(
    decisions: Decisions, replica_ids: tuple[str, ...], desired: Desired, reason: str
) -> None:
    for replica_id in replica_ids:
        placed = decisions.placements[replica_id]
        placed.desired = desired
        placed.reason = reason
        slots = decisions.of(placed.deployment_id).slots
        if slots.get(placed.slot) == replica_id:
            del slots[placed.slot]


def _released(
    decisions: Decisions, outcome: ev.ReplicasReleased, _event: ev.RoundDecided, _sequence: int
) -> None:
    _vacate(decisions, outcome.replica_ids, Desired.RELEASED, outcome.reason)


def _suspended(
    decisions: Decisions, outcome: ev.ReplicasSuspended, _event: ev.RoundDecided, _sequence: int
) -> None:
    _vacate(decisions, outcome.replica_ids, Desired.SUSPENDED, "Node lost")


def _restored(
    decisions: Decisions, outcome: ev.ReplicasRestored, _event: ev.RoundDecided, _sequence: int
) -> None:
    for replica_id in outcome.replica_ids:
        placed = decisions.placements[replica_id]
        placed.desired = Desired.LIVE
        placed.reason = ""
        decisions.of(placed.deployment_id).slots[placed.slot] = replica_id


def _offline(
    decisions: Decisions, outcome: ev.NodeOffline, _event: ev.RoundDecided, _sequence: int
) -> None:
    decisions.offline[outcome.node_id] = outcome


_APPLY: dict[type, Callable[..., None]] = {
    ev.DeploymentPlaced: _placed,
    ev.DeploymentDeferred: _deferred,
    ev.DeploymentFailed: _failed,
    ev.ReplicasReleased: _released,
    ev.ReplicasSuspended: _suspended,
    ev.ReplicasRestored: _restored,
    ev.NodeOffline: _offline,
}
