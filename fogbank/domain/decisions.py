"""The decisions: what accepted rounds laid down. Folding a round reads decisions only."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from enum import StrEnum

from fogbank.domain import events as ev
from fogbank.domain.envelope import SCHEDULER, Commit
from fogbank.domain.ids import ZERO_DIGEST
from fogbank.domain.members import at_hand
from fogbank.domain.position import pack
from fogbank.domain.rebalancing import RebalanceDecision
from fogbank.domain.remembered import Remembered
from fogbank.domain.resources import Resources
from fogbank.domain.round_rules import (
    deferred,
    end_wait,
    failed,
    node_offline,
    rebalance_ended,
    rolled_back,
)
from fogbank.domain.tables import Table
from fogbank.domain.value import row
from fogbank.domain.verdict import Verdict, VoidReason


@at_hand
class Desired(StrEnum):
    """What rounds want of a placed replica: one that is leaving runs until its successor does."""

    LIVE = "live"
    LEAVING = "leaving"
    RELEASED = "released"
    SUSPENDED = "suspended"


@row
class PlacedReplica:
    """A replica that a round put on a node, and what rounds want of it since.

    `decided_sequence` is the round that last changed that; 0 for the one that placed it.
    """

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
    gpu_devices: tuple[int, ...] = ()
    revision: int = 1
    decided_sequence: int = 0


@row
class DeploymentDecision:
    """What rounds decided about a deployment. `slots` holds the live replica of each slot.

    `leaving` holds for a slot the replica that runs on until the live one does, also when it has
    ended since. `looked_facts_to` is how far the facts went at the last look that found no room.
    `failed_revisions` are the latest that were rolled back from, oldest first; while the last of
    them is the one asked for, replicas are of `good_revision` instead.
    `preempted` tells for slots whose replica was evicted, and that are still empty, for which
    deployment. `replica_ids` are its replicas in the order of their placements, without those that
    are forgotten.
    """

    id: str
    slots: dict[int, str] = field(default_factory=dict)
    leaving: dict[int, str] = field(default_factory=dict)
    generations: dict[int, int] = field(default_factory=dict)
    replica_ids: list[str] = field(default_factory=list)
    preempted: dict[int, str] = field(default_factory=dict)
    placed_once: bool = False
    attempt: int = 0
    not_before_us: int = 0
    deferred: bool = False
    looked_version: int = 0
    looked_facts_to: int = 0
    failed_version: int = 0
    available_nodes: int = 0
    reason: str = ""
    considered: ev.Considered = ev.Considered()
    decided_sequence: int = 0
    failed_revisions: tuple[int, ...] = ()
    good_revision: int = 0
    rollback_reason: str = ""

    @property
    def bad_revision(self) -> int:
        """The last revision that was rolled back from, 0 if none was."""
        return self.failed_revisions[-1] if self.failed_revisions else 0


_NOTHING = Remembered()
_PREEMPTED_BY = "Preempted by "


@dataclass(frozen=True, slots=True)
class RoundFolded:
    """A verdict for each event of a scheduler's commit, and what became of replicas.

    Those it `placed` are new, by outcome; the others that it `changed` were placed before.
    """

    verdicts: tuple[Verdict, ...]
    placed: list[list[PlacedReplica]]
    changed: list[PlacedReplica]


@dataclass(slots=True)
class Decisions:
    """All accepted rounds up to a position.

    `prev_sequence` is the last one's and `before_sequence` the one's before it; `digest_round` is
    the number of the last round that carried, or should have carried, a state digest;
    `offline_sequences` are the rounds that found the nodes in `offline` silent. `remembered` has
    deployments of which replicas are forgotten.
    """

    prev_digest: bytes = ZERO_DIGEST
    prev_sequence: int = 0
    before_sequence: int = 0
    instant_us: int = 0
    engine: int = 0
    rounds: int = 0
    digest_round: int = 0
    placed_total: int = 0
    failed_total: int = 0
    deployments: Table[str, DeploymentDecision] = field(default_factory=Table)
    placements: Table[str, PlacedReplica] = field(default_factory=Table)
    offline: Table[str, ev.NodeOffline] = field(default_factory=Table)
    offline_sequences: Table[str, int] = field(default_factory=Table)
    rebalance: RebalanceDecision = field(default_factory=RebalanceDecision)
    remembered: Table[str, Remembered] = field(default_factory=Table)

    def fold(self, commit: Commit) -> RoundFolded:
        """Take in a scheduler's commit and return the verdict on its round.

        A round counts if it was decided on the last accepted one, its instant does not fall, and
        its facts reach from that round to before itself; else every reader finds it void. What an
        accepted round says of replicas that do not exist, or that were released, means nothing.
        """
        event = commit.envelopes[0].event
        void = self.void_reason(commit)
        placed: list[list[PlacedReplica]] = []
        changed: list[PlacedReplica] = []
        if void is None and isinstance(event, ev.RoundDecided):
            for outcome in event.outcomes:
                if isinstance(outcome, ev.DeploymentPlaced):
                    new = _placed(self, outcome, event, commit.sequence, changed)
                    if new:
                        placed.append(new)
                else:
                    changed += _APPLY[type(outcome)](self, outcome, event, commit.sequence)
            self.prev_digest = commit.digest
            self.before_sequence = self.prev_sequence
            self.prev_sequence = commit.sequence
            self.instant_us = event.instant_us
            self.engine = event.engine
            self.rounds += 1
        verdicts = tuple(
            Verdict(pack(commit.sequence, index), void) for index in range(len(commit.envelopes))
        )
        return RoundFolded(verdicts, placed, changed)

    def void_reason(self, commit: Commit) -> VoidReason | None:
        """Return why a scheduler's commit would be void if it were folded next; None if not."""
        event = commit.envelopes[0].event
        if commit.service != SCHEDULER or not isinstance(event, ev.RoundDecided):
            return VoidReason.WRONG_WRITER
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
        return DeploymentDecision(deployment_id) if decision is None else decision

    def change(self, deployment_id: str) -> DeploymentDecision:
        """Return what was decided about a deployment, which is about to change."""
        decision = DeploymentDecision(deployment_id)
        if self.deployments.add(deployment_id, decision):
            return decision
        return self.deployments.change(deployment_id)

    def forget(self, deployment_id: str) -> list[PlacedReplica]:
        """Forget what was decided about a deployment, and its replicas; return these."""
        replicas = [self.placements[known] for known in self.of(deployment_id).replica_ids]
        self.deployments.discard(deployment_id)
        for placed in replicas:
            del self.placements[placed.id]
        self.remembered.discard(deployment_id)
        return replicas

    def remembered_of(self, deployment_id: str) -> Remembered:
        """Return what is remembered of a deployment's replicas that are forgotten."""
        return self.remembered.get(deployment_id, _NOTHING)

    def forget_replica(self, placed: PlacedReplica, remembered: Remembered) -> None:
        """Forget a replica, but for what is `remembered` of its deployment's from now on."""
        del self.placements[placed.id]
        self.change(placed.deployment_id).replica_ids.remove(placed.id)
        self.remembered[placed.deployment_id] = remembered


def _placed(
    decisions: Decisions,
    outcome: ev.DeploymentPlaced,
    event: ev.RoundDecided,
    sequence: int,
    changed: list[PlacedReplica],
) -> list[PlacedReplica]:
    """Return the new replicas of a deployment; what changes for them goes to `changed`."""
    deployment_id, version, resources, chosen, considered, revision, evictions, *_ = outcome
    if evictions:
        changed += _evicted(decisions, outcome, sequence)
    decision, placements = decisions.change(deployment_id), decisions.placements
    slots, new, at_us, fills = decision.slots, [], event.instant_us, False
    for replica_id, slot, generation, node_id, _, after, replaces, devices in chosen:
        fills = fills or not replaces
        placed = PlacedReplica(
            replica_id,
            deployment_id,
            slot,
            generation,
            node_id,
            resources,
            version,
            after,
            sequence,
            at_us,
            Desired.LIVE,
            "",
            devices,
            revision,
        )
        if not placements.add(replica_id, placed):
            continue  # a replica is never moved: another node means another generation
        new.append(placed)
        if slot in slots:
            changed += _take_slot(decisions, placed, sequence, replaces)
        else:
            slots[slot] = replica_id
            if decision.preempted:
                decision.preempted.pop(slot, None)
        decision.generations[slot] = generation
        decision.replica_ids.append(replica_id)
    if fills:
        # Successors alone fill no vacant slot: what waits for room waits on.
        end_wait(decision)
        decision.reason = ""
    if outcome.rebalance:
        moved = tuple(placement.replica_id for placement in chosen)
        decisions.rebalance = decisions.rebalance.moved_on(outcome.rebalance, moved, outcome.gain)
    decision.placed_once = True
    decision.considered = considered
    decision.decided_sequence = sequence
    decisions.placed_total += 1
    return new


def _evicted(
    decisions: Decisions, outcome: ev.DeploymentPlaced, sequence: int
) -> list[PlacedReplica]:
    """Release what gives way to a deployment; its slots are vacant, and wait for nothing yet."""
    changed = []
    for eviction in outcome.evictions:
        reason = preempted_reason(outcome.deployment_id)
        gone = _vacate(decisions, eviction.replica_ids, Desired.RELEASED, reason, sequence)
        for placed in gone:
            victim = decisions.change(placed.deployment_id)
            if placed.slot not in victim.slots:
                victim.preempted[placed.slot] = outcome.deployment_id
            victim.reason = reason
            end_wait(victim)
            changed.append(placed)
    return changed


def preempted_reason(deployment_id: str) -> str:
    """Return what is said of replicas that gave way to a deployment, and of their deployment."""
    return f"{_PREEMPTED_BY}{deployment_id}"


def was_preempted(placed: PlacedReplica) -> bool:
    """Tell whether a replica gave way to another deployment."""
    return placed.desired is Desired.RELEASED and placed.reason.startswith(_PREEMPTED_BY)


def _take_slot(
    decisions: Decisions, placed: PlacedReplica, sequence: int, relieved_id: str = ""
) -> list[PlacedReplica]:
    """Give a replica its slot; return the one that had it until now, released.

    If it is the one to be relieved, it is leaving instead, in the place of any other of its slot.
    Its deployment's decision is about to change already.
    """
    decision = decisions.of(placed.deployment_id)
    former_id = decision.slots.get(placed.slot)
    decision.slots[placed.slot] = placed.id
    decision.preempted.pop(placed.slot, None)
    if former_id is None or former_id == placed.id:
        return []
    if former_id != relieved_id:
        return [_replaced(decisions, former_id, sequence)]
    changed = _end_leaving(decisions, decision, placed.slot, sequence)
    former = decisions.placements.change(former_id)
    former.desired = Desired.LEAVING
    former.decided_sequence = sequence
    former.reason = "To be relieved by its successor"
    decision.leaving[placed.slot] = former_id
    return [*changed, former]


def _replaced(decisions: Decisions, replica_id: str, sequence: int) -> PlacedReplica:
    former = decisions.placements.change(replica_id)
    former.desired = Desired.RELEASED
    former.decided_sequence = sequence
    former.reason = "Replaced"
    return former


def _end_leaving(
    decisions: Decisions, decision: DeploymentDecision, slot: int, sequence: int
) -> list[PlacedReplica]:
    """Release what was leaving a slot; return it."""
    leaving_id = decision.leaving.pop(slot, None)
    return [] if leaving_id is None else [_replaced(decisions, leaving_id, sequence)]


def _not_released(decisions: Decisions, replica_ids: tuple[str, ...]) -> list[PlacedReplica]:
    """Return the replicas that rounds may still change something about: released is for good."""
    return [
        decisions.placements.change(replica_id)
        for replica_id in replica_ids
        if (placed := decisions.placements.get(replica_id)) is not None
        and placed.desired is not Desired.RELEASED
    ]


def _vacate(
    decisions: Decisions,
    replica_ids: tuple[str, ...],
    desired: Desired,
    reason: str,
    sequence: int,
) -> list[PlacedReplica]:
    changed = _not_released(decisions, replica_ids)
    for placed in changed:
        placed.desired = desired
        placed.decided_sequence = sequence
        placed.reason = reason
        decision = decisions.change(placed.deployment_id)
        for held in (decision.slots, decision.leaving):
            if held.get(placed.slot) == placed.id:
                del held[placed.slot]
    return changed


def _released(
    decisions: Decisions, outcome: ev.ReplicasReleased, _event: ev.RoundDecided, sequence: int
) -> list[PlacedReplica]:
    return _vacate(decisions, outcome.replica_ids, Desired.RELEASED, outcome.reason, sequence)


def _suspended(
    decisions: Decisions, outcome: ev.ReplicasSuspended, _event: ev.RoundDecided, sequence: int
) -> list[PlacedReplica]:
    return _vacate(decisions, outcome.replica_ids, Desired.SUSPENDED, "Node lost", sequence)


def _restored(
    decisions: Decisions, outcome: ev.ReplicasRestored, _event: ev.RoundDecided, sequence: int
) -> list[PlacedReplica]:
    changed = []
    for placed in _not_released(decisions, outcome.replica_ids):
        leaving = decisions.change(placed.deployment_id).leaving
        if leaving.get(placed.slot) == placed.id:
            del leaving[placed.slot]
        placed.desired = Desired.LIVE
        placed.decided_sequence = sequence
        placed.reason = ""
        changed += [placed, *_take_slot(decisions, placed, sequence)]
        # What it waited for was room for other slots than those that are vacant now.
        end_wait(decisions.change(placed.deployment_id))
    return changed


_APPLY: dict[type, Callable[..., list[PlacedReplica]]] = {
    ev.DeploymentDeferred: deferred,
    ev.DeploymentFailed: failed,
    ev.ReplicasReleased: _released,
    ev.ReplicasSuspended: _suspended,
    ev.ReplicasRestored: _restored,
    ev.DeploymentRolledBack: rolled_back,
    ev.RebalanceEnded: rebalance_ended,
    ev.NodeOffline: node_offline,
}
