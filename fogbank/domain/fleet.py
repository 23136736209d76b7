"""The state of a fleet: facts and decisions side by side, and what is derived from both.

`FleetState.fold` takes in one commit. The two halves never read each other while folding; what
needs both (room booked and held, whose report counts, what an agent is to do) is derived here.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass, field

from fogbank.domain import events as ev
from fogbank.domain.decisions import Decisions, Desired, PlacedReplica
from fogbank.domain.envelope import SCHEDULER, Commit
from fogbank.domain.facts import Facts, NodeFact, Observed, state_of
from fogbank.domain.folded import Folded
from fogbank.domain.forgetting import Over, Shown, Superseded, forget_replicas
from fogbank.domain.node_use import NodeUse
from fogbank.domain.presence import Presence
from fogbank.domain.regions import RegionSizes
from fogbank.domain.resources import Resources
from fogbank.domain.state_encoding import DERIVED
from fogbank.domain.state_reading import ChangedBehindError, StateReading
from fogbank.domain.states import NodeStatus, ReplicaState
from fogbank.domain.tenancy import Use

# A round carries its state's digest after so many without.
DIGEST_EVERY_ROUNDS = 1_000


class StateDiffersError(Exception):
    """A round was decided on another state than folding the log gives here."""


@dataclass(slots=True)
class FleetState:
    """Everything that the log says up to `position` (a commit's sequence).

    `room_sequence` is the last commit that may have made room for somebody: deployments parked
    before it are worth another look. `due_digest` is what the next round has to carry: the digest
    of this state as it was right after the round before; mostly nothing. `confirmed_digest` is the
    last that a round carried and this fold came to as well. With `keep_pieces`, what a digest was
    computed from stays in `pieces` until somebody takes it away. With `far_behind` nothing is
    encoded ahead of a digest, which then holds up the fold for longer and costs less in all.
    `before_forgetting` is shown each deployment that is about to be forgotten.
    """

    position: int = field(default=0, metadata=DERIVED)
    facts: Facts = field(default_factory=Facts)
    decisions: Decisions = field(default_factory=Decisions)
    room_sequence: int = field(default=0, metadata=DERIVED)
    due_digest: bytes = field(default=b"", metadata=DERIVED)
    confirmed_digest: bytes = field(default=b"", metadata=DERIVED, compare=False)
    keep_pieces: bool = field(default=False, metadata=DERIVED, compare=False)
    far_behind: bool = field(default=False, metadata=DERIVED, compare=False)
    pieces: tuple[bytes, ...] = field(default=(), metadata=DERIVED, compare=False)
    before_forgetting: Shown | None = field(default=None, metadata=DERIVED, compare=False)
    _reading: StateReading = field(init=False, repr=False, compare=False, metadata=DERIVED)
    _there: Presence = field(init=False, metadata=DERIVED)
    # Nodes that are offline now, unlike all those that rounds ever put offline.
    silent: dict[str, None] = field(default_factory=dict, metadata=DERIVED)
    _regions: RegionSizes = field(default_factory=RegionSizes, metadata=DERIVED)
    _over: Over = field(default_factory=Over, repr=False, compare=False, metadata=DERIVED)
    _superseded: Superseded = field(default_factory=Superseded, compare=False, metadata=DERIVED)

    def __post_init__(self) -> None:
        """Begin to read both halves."""
        self._reading = StateReading(self.parts)
        self._there = Presence(self.facts.nodes)

    def fold(self, commit: Commit) -> Folded:
        """Take in the commit after `position`; commits already taken in must not come again.

        Raises:
            StateDiffersError: a round carries the digest of another state than this, or something
                in memory was changed by nothing in the log.
        """
        if commit.sequence <= self.position:
            message = f"commit {commit.sequence} was folded already, up to {self.position}"
            raise ValueError(message)
        if commit.service == SCHEDULER:
            self.facts.log_time_us = max(self.facts.log_time_us, commit.appended_at_us)
        folded = self._take_in(commit)
        self.position = commit.sequence
        event = commit.envelopes[0].event
        if isinstance(event, ev.RoundDecided) and folded.verdicts[0].accepted:
            carried, due = event.state_digest, self.due_digest
            if carried and due:
                if carried != due:
                    raise StateDiffersError(
                        f"the round at sequence {commit.sequence} was decided on a state with "
                        f"digest {carried.hex()}, and the log up to "
                        f"{self.decisions.before_sequence} folds to {due.hex()} here"
                    )
                self.confirmed_digest = carried
            folded.forgotten = self.round_counted(event)
        return folded

    def round_counted(self, event: ev.RoundDecided) -> tuple[str, ...]:
        """Forget what is due and return it, read on, and compute the next round's digest if due.

        Right after a round everybody has folded the same commits, whatever came in before it.
        """
        forgotten = tuple(self._forget(event))
        if event.state_digest or self.due_digest:
            self.decisions.digest_round = self.decisions.rounds
        self.due_digest = b""
        rounds = self.decisions.rounds
        try:
            self._reading.round_counted(rounds, keep=self.keep_pieces, ahead=not self.far_behind)
        except ChangedBehindError as error:
            raise StateDiffersError(
                f"{error} in memory here is no longer what folding the log led to, and no commit "
                f"up to {self.position} changed it"
            ) from error
        if rounds - self.decisions.digest_round + 1 >= DIGEST_EVERY_ROUNDS:
            self.due_digest, self.pieces = self._reading.digest(keep=self.keep_pieces)
        return forgotten

    def _forget(self, event: ev.RoundDecided) -> Iterator[str]:
        for deployment_id in self._over.due(event.engine, event.instant_us):
            deployment = self.facts.deployments.get(deployment_id)
            if deployment is None or self.present(deployment_id):
                continue
            if self.before_forgetting is not None:
                self.before_forgetting(deployment)
            self.forget(deployment_id)
            yield deployment_id
        fades_ms = self.facts.policy.disruption.failure_fades_ms
        superseded = self._superseded.due(event.engine, event.instant_us, fades_ms)
        forget_replicas(self.facts, self.decisions, superseded)

    def forget(self, deployment_id: str) -> None:
        """Forget a deployment without replicas that have not ended, and those that have."""
        for placed in self.decisions.forget(deployment_id):
            self.facts.observed.discard((placed.id, placed.node_id))
        self.facts.forget(deployment_id)

    def stands_at(self, position: int, due_digest: bytes) -> None:
        """Derive from both halves, just read back, what follows from them.

        Room may have appeared for anybody: a look in vain changes nothing.
        """
        self.position = self.room_sequence = position
        self.due_digest = due_digest
        for node_id in self.facts.nodes:
            self._see_node(node_id)
        for placed in self.decisions.placements.values():
            self._superseded.see(self.decisions, placed, self.ended)
            if not self.ended(placed):
                self._there.put(placed, self.cluster_of(placed))
        for deployment_id in self.facts.deployments:
            self._note_if_over(deployment_id)

    @property
    def parts(self) -> dict[str, object]:
        """The parts that are encoded, by name."""
        return {"facts": self.facts, "decisions": self.decisions}

    def _take_in(self, commit: Commit) -> Folded:
        """Take in a commit, be it before or after those of the other half that came first."""
        folded = Folded(commit.sequence, 0, ())
        if commit.service == SCHEDULER:
            round_folded = self.decisions.fold(commit)
            folded.verdicts = round_folded.verdicts
            event = commit.envelopes[0].event
            if folded.verdicts[0].accepted and isinstance(event, ev.RoundDecided):
                for new in round_folded.placed:
                    self._touch_new(new, folded)
                self._touch_changed(round_folded.changed, folded)
                self._there.quotas.changed_on(folded.nodes)
                for outcome in event.outcomes:
                    self._touch_outcome(outcome, folded)
        else:
            verdicts = []
            for index, envelope in enumerate(commit.envelopes):
                event = envelope.event
                was_busy = isinstance(event, ev.NodeLoadChanged) and self._busy(event)
                verdict = self.facts.fold(commit, index)
                verdicts.append(verdict)
                if verdict.accepted:
                    self._touch_fact(envelope.event_id, event, folded)
                    if was_busy and isinstance(event, ev.NodeLoadChanged) and not self._busy(event):
                        folded.room_appeared = True
            folded.verdicts = tuple(verdicts)
        folded.log_time_us = self.facts.log_time_us
        if folded.room_appeared:
            self.room_sequence = max(self.room_sequence, commit.sequence)
        return folded

    def _touch_new(self, new: list[PlacedReplica], folded: Folded) -> None:
        """Count the replicas that a round placed for a deployment, all of one kind."""
        folded.nodes.update([placed.node_id for placed in new])
        uses, observed = self._there.uses, self.facts.observed
        for placed in new:
            # Where something is counted the node was not removed.
            known = placed.node_id in uses and not observed.get((placed.id, placed.node_id))
            if placed.desired is not Desired.LIVE or (not known and self.ended(placed)):
                self._touch_changed(new, folded)
                return
        self._there.place(new, self.cluster_of(new[0]))
        for placed in new:
            if placed.generation > 1:
                self._superseded.see(self.decisions, placed, self.ended)

    def _touch_changed(self, changed: list[PlacedReplica], folded: Folded) -> None:
        for placed in changed:
            folded.nodes.add(placed.node_id)
            folded.deployments.add(placed.deployment_id)
            ended = self.ended(placed)
            if not ended:
                # One given up with its node frees its quota, and on the node nothing.
                freed = self._there.put(placed, self.cluster_of(placed))
                if freed or placed.desired is Desired.RELEASED:
                    folded.room_appeared = True
            if ended or placed.generation > 1:
                self._superseded.see(self.decisions, placed, self.ended)

    def _count_no_more(self, placed: PlacedReplica) -> None:
        """Let a replica that has ended take no quota, and its deployment have it no more."""
        self._superseded.see(self.decisions, placed, self.ended)
        self._there.quotas.changed_on((placed.node_id,))
        if self._there.remove(placed, self.cluster_of(placed)):
            self._note_if_over(placed.deployment_id)

    def _note_if_over(self, deployment_id: str) -> None:
        deployment = self.facts.deployments.get(deployment_id)
        if deployment is not None and deployment.deleted and not self.present(deployment_id):
            self._over.add(deployment)

    def cluster_of(self, placed: PlacedReplica) -> int:
        """Return the cluster whose quota a replica takes, for good; 0 for none.

        It is that of its deployment, or was when the replica's revision was asked for.
        """
        deployment = self.facts.deployments.get(placed.deployment_id)
        return deployment.cluster_of(placed.revision) if deployment is not None else 0

    def _touch_outcome(self, outcome: ev.Outcome, folded: Folded) -> None:
        if isinstance(outcome, ev.DeploymentPlaced):  # most of them
            folded.deployments.add(outcome.deployment_id)
        elif isinstance(outcome, ev.NodeOffline):
            self._see_node(outcome.node_id)
            folded.nodes.add(outcome.node_id)
            folded.deployments |= self.deployments_on(outcome.node_id)
        elif not isinstance(outcome, ev.RebalanceEnded):
            folded.deployments.add(outcome.deployment_id)
        if isinstance(outcome, ev.DeploymentRolledBack):
            folded.rolled_back += (outcome.deployment_id,)
        elif isinstance(outcome, ev.ReplicasRestored):
            # A replica that counts again may give way to a more important one.
            folded.room_appeared = True

    def _touch_fact(self, event_id: str, event: ev.Event | None, folded: Folded) -> None:
        # The most frequent first.
        match event:
            case ev.NodeReported():
                self._touch_report(event, folded)
            case ev.NodeLoadChanged():
                folded.nodes.add(event.node_id)
                self._there.use_of(event.node_id).load_reflects(event.reflects_sequence)
            case ev.DeploymentCreated():
                folded.deployments.add(event_id)
            case ev.DeploymentUpdated():
                self._touch_update(event, folded)
            case ev.DeploymentScaled() | ev.DeploymentDeleted():
                folded.deployments.add(event.deployment_id)
                self._note_if_over(event.deployment_id)
            case ev.NodeConnected() | ev.NodeCapacityChanged():
                self._see_node(event.node_id)
                folded.nodes.add(event.node_id)
                folded.deployments |= self.deployments_on(event.node_id)
                folded.room_appeared = True
                self._there.weigh(event.node_id)
            case ev.NodeCordoned() | ev.NodeDraining() | ev.NodeUncordoned():
                folded.nodes.add(event.node_id)
                folded.deployments |= self.deployments_on(event.node_id)
                folded.room_appeared |= isinstance(event, ev.NodeUncordoned)
            case ev.NodeRemoved():
                folded.nodes.add(event.node_id)
                folded.deployments |= self.deployments_on(event.node_id)
                self._end_all_on(event.node_id)
                self._see_node(event.node_id)
                self._there.weigh(event.node_id)
                # What waited for these replicas to end need not wait any more.
                folded.room_appeared = True
            case ev.PolicyActivated():
                # From which load on a node is busy may have changed for every node.
                folded.nodes |= self.facts.nodes.keys()
                folded.room_appeared = True
            case ev.ClusterCreated() | ev.ClusterQuotaSet() | ev.OrganizationQuotaSet():
                folded.room_appeared = folded.quotas_changed = True
            case _:
                pass

    def _see_node(self, node_id: str) -> None:
        """Count a node as it is now, and note whether it is silent."""
        node = self.facts.nodes.get(node_id)
        if node is not None:
            self._regions.put(node)
            self.silent.pop(node_id, None)
            if not node.removed and self.offline_since_us(node) is not None:
                self.silent[node_id] = None

    def _end_all_on(self, node_id: str) -> None:
        gone = self._there.uses.pop(node_id, None)
        for placed in gone.replicas.values() if gone is not None else ():
            self._count_no_more(placed)

    def _touch_update(self, event: ev.DeploymentUpdated, folded: Folded) -> None:
        """With another priority its replicas may give way to others than before."""
        folded.deployments.add(event.deployment_id)
        folded.nodes.update(placed.node_id for placed in self.present(event.deployment_id))
        folded.room_appeared = True

    def _busy(self, event: ev.NodeLoadChanged) -> bool:
        """Tell whether an event is about the load of a node that is busy now."""
        node = self.facts.nodes.get(event.node_id)
        # Most carry no such load, which is the cheaper look.
        return node is not None and self._loaded(node) and self.closed_as(node) is NodeStatus.BUSY

    def _touch_report(self, report: ev.NodeReported, folded: Folded) -> None:
        folded.nodes.add(report.node_id)
        for seen in report.observations:
            placed = self.decisions.placements.get(seen.replica_id)
            if placed is None or placed.node_id != report.node_id:
                continue
            folded.deployments.add(placed.deployment_id)
            if self.ended(placed) and self._there.use_of(placed.node_id).remove(placed.id):
                self._count_no_more(placed)
                folded.room_appeared = True
                if placed.node_id in self._there.overbooked:
                    self._there.weigh(placed.node_id)

    # Derived reads.

    def observed(self, placed: PlacedReplica) -> Observed | None:
        """Return what its own node said of a replica; other nodes' reports do not count."""
        return self.facts.observed.get((placed.id, placed.node_id))

    def ended(self, placed: PlacedReplica) -> bool:
        """Tell whether its node said that a replica ended for good, or will never say."""
        observed = self.facts.observed.get((placed.id, placed.node_id))
        if observed is not None and observed.final:
            return True
        node = self.facts.nodes.get(placed.node_id)
        return node is not None and node.removed

    def replica_state(self, placed: PlacedReplica) -> ReplicaState:
        """Return how far a placed replica got."""
        return state_of(self.observed(placed), self.facts.nodes.get(placed.node_id))

    def use(self, node_id: str) -> NodeUse:
        """Return what the replicas on a node take in all."""
        return self._there.on(node_id)

    def present(self, deployment_id: str) -> Collection[PlacedReplica]:
        """Return a deployment's replicas that have not ended, in the order they were placed in.

        Also those that were released or given up; never the many that went before them.
        """
        return self._there.of(deployment_id)

    @property
    def overbooked(self) -> Collection[str]:
        """The nodes that have less than is booked on them, for they shrank."""
        return self._there.overbooked

    @property
    def node_count(self) -> int:
        """How many nodes the fleet has; those that were removed stay known, and don't count."""
        return len(self._regions)

    def nodes_in(self, region: str) -> int:
        """Return how many nodes a region has; those that were removed don't count."""
        return self._regions.size(region)

    def on_node(self, node_id: str) -> Iterator[PlacedReplica]:
        """Yield what is placed on a node and has not ended, whatever rounds want of it."""
        replicas = self.use(node_id).replicas
        for replica_id in sorted(replicas):
            yield replicas[replica_id]

    def deployments_on(self, node_id: str) -> set[str]:
        """Return the deployments with a replica on the node that has not ended."""
        return {placed.deployment_id for placed in self.use(node_id).replicas.values()}

    def held(self, node_id: str) -> Resources:
        """Return the room taken by everything placed on a node and not ended."""
        return Resources(*self.use(node_id).held)

    def booked(self, node_id: str) -> Resources:
        """Return the room promised on a node: held, less what rounds released."""
        return Resources(*self.use(node_id).booked)

    def used_by_cluster(self, cluster_id: int) -> Use:
        """Return what the replicas of a cluster take of its quota."""
        return self._there.quotas.of_cluster(cluster_id)

    def uses_changed(self) -> tuple[set[str], set[int]]:
        """Return as `QuotaUse.take_changed`."""
        return self._there.quotas.take_changed()

    def used_by_organization(self, organization_id: int) -> Use:
        """Return what the replicas of an organization's clusters take of its quota together."""
        clusters = self.facts.organizations[organization_id].clusters
        parts = [self._there.quotas.of_cluster(cluster_id) for cluster_id in clusters]
        return Use(*(sum(amounts) for amounts in zip(*parts, strict=True)))

    def offline_since_us(self, node: NodeFact) -> int | None:
        """Return when a silent node was last heard of; None if it shook hands since."""
        offline = self.decisions.offline.get(node.id)
        if offline is None or offline.epoch != node.epoch:
            return None
        return offline.last_heard_at_us

    def node_status(self, node: NodeFact) -> NodeStatus:
        """Return what a node does; busy goes by measured load, never by what is booked."""
        closed = self.closed_as(node)
        if closed is not None:
            return closed
        return NodeStatus.ACTIVE if self.use(node.id).replicas else NodeStatus.IDLE

    def closed_as(self, node: NodeFact) -> NodeStatus | None:
        """Return the status for which a node takes no replicas; None for an idle or active one."""
        if node.removed:
            return NodeStatus.REMOVED
        if self.offline_since_us(node) is not None:
            return NodeStatus.OFFLINE
        if node.cordoned:
            return NodeStatus.MAINTENANCE
        return NodeStatus.BUSY if self._loaded(node) else None

    def _loaded(self, node: NodeFact) -> bool:
        busy_percent = self.facts.policy.busy_load_percent
        return node.cpu_percent > busy_percent or node.memory_percent > busy_percent
