"""One deployment or node from the events that touch it, instead of from the whole log.

Whether an event counts depends on others that aren't here: on the rounds between, on what a node
reported of other replicas. The index says which ones count; here they are taken at its word.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

from fogbank.domain import events as ev
from fogbank.domain.envelope import SCHEDULER, Commit
from fogbank.domain.facts import NodeFact
from fogbank.domain.fleet import FleetState
from fogbank.domain.folded import Folded
from fogbank.domain.node import Fingerprint
from fogbank.domain.resources import NOTHING
from fogbank.domain.tenancy import UNLIMITED, ClusterFact

_UNKNOWN = Fingerprint(NOTHING, NOTHING)


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
                self.fold(_only(commit, index))
            case ev.NodeReported() as event:
                self._expect(event)
                self.fold(_only(commit, index))
            case ev.DeploymentUpdated() as event:
                self._expect_cluster(event.spec.cluster_id)
                self.fold(_only(commit, index))
            case _:
                self.fold(_only(commit, index))

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

    def state(self, wanted: Wanted) -> OwnState:
        """Return the state that they lead to, as far as it is wanted."""
        state = OwnState()
        for place in sorted(self._events):
            state.take(self._events[place], place[1], wanted)
        return state


def node_ids_of(state: FleetState, deployment_id: str) -> tuple[str, ...]:
    """Return the nodes that a deployment was ever placed on, as its own state knows them."""
    placements = state.decisions.placements.values()
    return tuple(
        sorted({each.node_id for each in placements if each.deployment_id == deployment_id})
    )


def _only(commit: Commit, wanted: int) -> Commit:
    """Return a commit with one of its events, which keeps its place."""
    envelopes = tuple(
        envelope if index == wanted else replace(envelope, event=None)
        for index, envelope in enumerate(commit.envelopes[: wanted + 1])
    )
    return replace(commit, envelopes=envelopes)
