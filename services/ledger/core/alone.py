"""One deployment or node from the events that touch it, instead of from the whole log.

Whether an event counts depends on others that aren't here: on the rounds between, on what a node
reported of other replicas. The index says which ones count; here they are taken at its word.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

from fogbank.domain import events as ev
from fogbank.domain.decisions import PlacedReplica
from fogbank.domain.envelope import SCHEDULER, Commit
from fogbank.domain.facts import NodeFact
from fogbank.domain.fleet import FleetState
from fogbank.domain.folded import Folded
from fogbank.domain.node import Fingerprint
from fogbank.domain.node_use import NodeUse
from fogbank.domain.position import index_of, sequence_of
from fogbank.domain.resources import NOTHING
from fogbank.domain.tenancy import UNLIMITED, ClusterFact

_UNKNOWN = Fingerprint(NOTHING, NOTHING)
# Stands for each replica of which only what all of them take is known.
_SOME = PlacedReplica("", "", 0, 0, "", NOTHING, 0, (), 0, 0)


@dataclass(frozen=True, slots=True)
class TakenRoom:
    """What replicas take of a node: amounts in the order of `Resources`, and how many they are."""

    booked: tuple[int, ...]
    held: tuple[int, ...]
    replicas: int


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a state is to tell: these deployments, and what was ever placed on these nodes."""

    deployment_ids: frozenset[str] = frozenset()
    node_ids: frozenset[str] = frozenset()

    def concerned_by(self, outcome: ev.Outcome) -> bool:
        """Tell whether an outcome is about one of them; of nodes' silence all are."""
        match outcome:
            case ev.NodeOffline():
                return True
            case ev.RebalanceEnded():
                return False
            case ev.DeploymentPlaced():
                named = {outcome.deployment_id, *(each.deployment_id for each in outcome.evictions)}
                here = any(each.node_id in self.node_ids for each in outcome.placements)
                return here or not named.isdisjoint(self.deployment_ids)
            case _:
                return outcome.deployment_id in self.deployment_ids


class OwnState(FleetState):
    """A state that takes in chosen events only."""

    __slots__ = ()

    def fold(self, commit: Commit) -> Folded:
        """Take in the next commit, which counts."""
        folded = self._take_in(commit)
        self.position = commit.sequence
        return folded

    def _fold_fact(self, commit: Commit, index: int) -> None:
        """Take in one fact of a commit, which counts, without looking at the others."""
        envelope, folded = commit.envelopes[index], Folded(commit.sequence, 0, ())
        if self.facts.fold(commit, index).accepted:
            self._touch_fact(envelope.event_id, envelope.event, folded)
        self.position = commit.sequence

    def take(self, commit: Commit, index: int, wanted: Wanted) -> None:
        """Take in the next event, as far as it concerns what is wanted."""
        envelope = commit.envelopes[index]
        match envelope.event:
            case ev.RoundDecided() as event if commit.service == SCHEDULER:
                outcomes = tuple(filter(wanted.concerned_by, event.outcomes))
                self.decisions.prev_digest = event.prev_digest
                self.decisions.prev_sequence = min(self.decisions.prev_sequence, event.facts_to)
                event = replace(event, outcomes=outcomes, observations=())
                self.fold(replace(commit, envelopes=(replace(envelope, event=event),)))
            case ev.DeploymentCreated() if envelope.event_id in self.facts.deployments:
                # It counts, so the fleet had forgotten what was there under its id.
                self.forget(envelope.event_id)
                self._fold_fact(commit, index)
            case ev.NodeReported() as event:
                self._expect(event)
                self._fold_fact(commit, index)
            case ev.DeploymentUpdated() as event:
                self._expect_cluster(event.spec.cluster_id)
                self._fold_fact(commit, index)
            case _:
                self._fold_fact(commit, index)

    def expect_use(self, node_id: str, taken: TakenRoom) -> None:
        """Let so much of a node be taken, whatever is known of its replicas."""
        use = self._there.uses[node_id] = NodeUse()
        use.held = list(taken.held)
        amounts = zip(taken.held, taken.booked, strict=True)
        use.stopped = [held - booked for held, booked in amounts]
        use.replicas = {str(number): _SOME for number in range(taken.replicas)}

    def _expect(self, report: ev.NodeReported) -> None:
        """Let a node be where this report is its next one."""
        node = self.facts.nodes.get(report.node_id)
        if node is None:
            node = self.facts.nodes[report.node_id] = NodeFact(
                report.node_id, "", _UNKNOWN, report.epoch, 0, len(self.facts.nodes)
            )
        node.epoch, node.last_report = report.epoch, report.number - 1

    def _expect_cluster(self, cluster_id: int) -> None:
        """Let a cluster be there for a deployment to move to."""
        if cluster_id not in self.facts.clusters:
            self.facts.clusters[cluster_id] = ClusterFact(cluster_id, "", 0, UNLIMITED)


class OwnEvents:
    """The events that touch a deployment or node, and those that say how what is near it stood."""

    def __init__(self) -> None:
        self._events: dict[tuple[int, int], Commit] = {}

    def add(self, touching: Iterable[tuple[Commit, Iterable[int]]]) -> None:
        """Add commits, each with the indexes of those of its events."""
        for commit, indexes in touching:
            for index in indexes:
                self._events[commit.sequence, index] = commit

    def log_time_us(self, position: int) -> int:
        """Return the log time at an event, which must be one of them."""
        return self._events[sequence_of(position), index_of(position)].appended_at_us

    def nodes_of(self, deployment_ids: Iterable[str]) -> tuple[str, ...]:
        """Return the nodes that some deployments were ever placed on."""
        wanted = set(deployment_ids)
        placed = set()
        for (_, index), commit in self._events.items():
            event = commit.envelopes[index].event
            if isinstance(event, ev.RoundDecided):
                for outcome in event.outcomes:
                    if isinstance(outcome, ev.DeploymentPlaced) and outcome.deployment_id in wanted:
                        placed |= {each.node_id for each in outcome.placements}
        return tuple(sorted(placed))

    def state(self, wanted: Wanted) -> OwnState:
        """Return the state that they lead to, as far as it is wanted."""
        state = OwnState()
        for place in sorted(self._events):
            state.take(self._events[place], place[1], wanted)
        return state
