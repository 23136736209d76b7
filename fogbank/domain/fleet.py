"""The state of a fleet: facts and decisions side by side, and what is derived from both.

`FleetState.fold` takes in one commit. The two halves never read each other while folding; what
needs both (room booked and held, whose report counts, what an agent is to do) is derived here.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from fogbank.domain import events as ev
from fogbank.domain.decisions import Decisions, Desired, PlacedReplica
from fogbank.domain.envelope import SCHEDULER, Commit
from fogbank.domain.facts import Facts, NodeFact, Observed
from fogbank.domain.node_use import NodeUse
from fogbank.domain.resources import Resources
from fogbank.domain.states import NodeStatus, ReplicaState
from fogbank.domain.verdict import Verdict

_UNUSED = NodeUse()


@dataclass(slots=True)
class Folded:
    """What folding a commit led to: a verdict for each event, and what may look different now."""

    sequence: int
    log_time_us: int
    verdicts: tuple[Verdict, ...]
    deployments: set[str] = field(default_factory=set)
    nodes: set[str] = field(default_factory=set)
    room_appeared: bool = False


@dataclass(slots=True)
class FleetState:
    """Everything that the log says up to `position` (a commit's sequence).

    `room_sequence` is the last commit that may have made room for somebody: deployments parked
    before it are worth another look.
    """

    position: int = 0
    facts: Facts = field(default_factory=Facts)
    decisions: Decisions = field(default_factory=Decisions)
    room_sequence: int = 0
    _use: dict[str, NodeUse] = field(default_factory=dict)

    def fold(self, commit: Commit) -> Folded:
        """Take in the commit after `position`; commits already taken in must not come again."""
        if commit.sequence <= self.position:
            message = f"commit {commit.sequence} was folded already, up to {self.position}"
            raise ValueError(message)
        if commit.service == SCHEDULER:
            self.facts.log_time_us = max(self.facts.log_time_us, commit.appended_at_us)
        folded = self._take_in(commit)
        self.position = commit.sequence
        return folded

    def _take_in(self, commit: Commit) -> Folded:
        """Take in a commit, be it before or after those of the other half that came first."""
        folded = Folded(commit.sequence, 0, ())
        if commit.service == SCHEDULER:
            round_folded = self.decisions.fold(commit)
            folded.verdicts = round_folded.verdicts
            event = commit.envelopes[0].event
            if folded.verdicts[0].accepted and isinstance(event, ev.RoundDecided):
                for placed in round_folded.changed:
                    self._touch_placed(placed, folded)
                for outcome in event.outcomes:
                    self._touch_outcome(outcome, folded)
        else:
            verdicts = []
            for index, envelope in enumerate(commit.envelopes):
                was_busy = self._busy(envelope.event)
                verdict = self.facts.fold(commit, index)
                verdicts.append(verdict)
                if verdict.accepted:
                    self._touch_fact(envelope.event_id, envelope.event, folded)
                    if was_busy and not self._busy(envelope.event):
                        folded.room_appeared = True
            folded.verdicts = tuple(verdicts)
        folded.log_time_us = self.facts.log_time_us
        if folded.room_appeared:
            self.room_sequence = max(self.room_sequence, commit.sequence)
        return folded

    def _touch_placed(self, placed: PlacedReplica, folded: Folded) -> None:
        folded.nodes.add(placed.node_id)
        folded.deployments.add(placed.deployment_id)
        if not self.ended(placed):
            self._use_of(placed.node_id).put(placed)
            if placed.desired is Desired.RELEASED:
                folded.room_appeared = True

    def _use_of(self, node_id: str) -> NodeUse:
        use = self._use.get(node_id)
        if use is None:
            use = self._use[node_id] = NodeUse()
            node = self.facts.nodes.get(node_id)
            use.reflects = node.load_reflects if node is not None else 0
        return use

    def _touch_outcome(self, outcome: ev.Outcome, folded: Folded) -> None:
        if isinstance(outcome, ev.NodeOffline):
            folded.nodes.add(outcome.node_id)
            folded.deployments |= self.deployments_on(outcome.node_id)
        else:
            folded.deployments.add(outcome.deployment_id)
        if isinstance(outcome, ev.ReplicasRestored):
            # A replica that counts again may give way to a more important one.
            folded.room_appeared = True

    def _touch_fact(self, event_id: str, event: ev.Event | None, folded: Folded) -> None:
        match event:
            case ev.DeploymentCreated():
                folded.deployments.add(event_id)
            case ev.DeploymentUpdated():
                self._touch_update(event, folded)
            case ev.DeploymentScaled() | ev.DeploymentDeleted():
                folded.deployments.add(event.deployment_id)
            case ev.NodeConnected() | ev.NodeCapacityChanged():
                folded.nodes.add(event.node_id)
                folded.deployments |= self.deployments_on(event.node_id)
                folded.room_appeared = True
            case ev.NodeLoadChanged():
                folded.nodes.add(event.node_id)
                self._use_of(event.node_id).load_reflects(event.reflects_sequence)
            case ev.NodeCordoned() | ev.NodeDraining():
                folded.nodes.add(event.node_id)
                folded.deployments |= self.deployments_on(event.node_id)
            case ev.NodeUncordoned():
                folded.nodes.add(event.node_id)
                folded.deployments |= self.deployments_on(event.node_id)
                folded.room_appeared = True
            case ev.NodeRemoved():
                folded.nodes.add(event.node_id)
                folded.deployments |= self.deployments_on(event.node_id)
                self._use.pop(event.node_id, None)
                # What waited for these replicas to end need not wait any more.
                folded.room_appeared = True
            case ev.PolicyActivated():
                # From which load on a node is busy may have changed for every node.
                folded.nodes |= self.facts.nodes.keys()
                folded.room_appeared = True
            case ev.ClusterCreated():
                folded.room_appeared = True
            case ev.NodeReported():
                self._touch_report(event, folded)
            case _:
                pass

    def _touch_update(self, event: ev.DeploymentUpdated, folded: Folded) -> None:
        """With another priority its replicas may give way to others than before."""
        folded.deployments.add(event.deployment_id)
        decision = self.decisions.deployments.get(event.deployment_id)
        for replica_id in decision.replica_ids if decision else ():
            folded.nodes.add(self.decisions.placements[replica_id].node_id)
        folded.room_appeared = True

    def _busy(self, event: ev.Event | None) -> bool:
        """Tell whether an event is about the load of a node that is busy now."""
        if not isinstance(event, ev.NodeLoadChanged):
            return False
        node = self.facts.nodes.get(event.node_id)
        return node is not None and self.node_status(node) is NodeStatus.BUSY

    def _touch_report(self, report: ev.NodeReported, folded: Folded) -> None:
        folded.nodes.add(report.node_id)
        for seen in report.observations:
            placed = self.decisions.placements.get(seen.replica_id)
            if placed is None or placed.node_id != report.node_id:
                continue
            folded.deployments.add(placed.deployment_id)
            if self.ended(placed) and self._use_of(placed.node_id).remove(placed.id):
                folded.room_appeared = True

    # Derived reads.

    def observed(self, placed: PlacedReplica) -> Observed | None:
        """Return what its own node said of a replica; other nodes' reports do not count."""
        return self.facts.observed.get((placed.id, placed.node_id))

    def ended(self, placed: PlacedReplica) -> bool:
        """Tell whether its node said that a replica ended for good, or will never say."""
        observed = self.observed(placed)
        return (observed is not None and observed.final) or self._removed(placed.node_id)

    def replica_state(self, placed: PlacedReplica) -> ReplicaState:
        """Return how far a placed replica got; it is orphaned if its node was removed."""
        observed = self.observed(placed)
        if self._removed(placed.node_id) and not (observed is not None and observed.final):
            return ReplicaState.ORPHANED
        return observed.state if observed else ReplicaState.ASSIGNED

    def use(self, node_id: str) -> NodeUse:
        """Return what the replicas on a node take in all."""
        return self._use.get(node_id, _UNUSED)

    def _removed(self, node_id: str) -> bool:
        node = self.facts.nodes.get(node_id)
        return node is not None and node.removed

    def on_node(self, node_id: str) -> Iterator[PlacedReplica]:
        """Yield what is placed on a node and has not ended, whatever rounds want of it."""
        replicas = self.use(node_id).replicas
        for replica_id in sorted(replicas):
            yield replicas[replica_id][0]

    def deployments_on(self, node_id: str) -> set[str]:
        """Return the deployments with a replica on the node that has not ended."""
        return {placed.deployment_id for placed, _ in self.use(node_id).replicas.values()}

    def held(self, node_id: str) -> Resources:
        """Return the room taken by everything placed on a node and not ended."""
        return Resources(*self.use(node_id).held)

    def booked(self, node_id: str) -> Resources:
        """Return the room promised on a node: held, less what rounds released."""
        return Resources(*self.use(node_id).booked)

    def offline_since_us(self, node: NodeFact) -> int | None:
        """Return when a silent node was last heard of; None if it shook hands since."""
        offline = self.decisions.offline.get(node.id)
        if offline is None or offline.epoch != node.epoch:
            return None
        return offline.last_heard_at_us

    def node_status(self, node: NodeFact) -> NodeStatus:
        """Return what a node does; busy goes by measured load, never by what is booked."""
        if node.removed:
            return NodeStatus.REMOVED
        if self.offline_since_us(node) is not None:
            return NodeStatus.OFFLINE
        if node.cordoned:
            return NodeStatus.MAINTENANCE
        busy_percent = self.facts.policy.busy_load_percent
        if max(node.cpu_percent, node.memory_percent) > busy_percent:
            return NodeStatus.BUSY
        return NodeStatus.ACTIVE if self.use(node.id).replicas else NodeStatus.IDLE
