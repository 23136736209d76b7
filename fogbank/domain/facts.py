"""The facts: what gateways wrote down. Folding a fact reads facts only."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace

from fogbank.domain import events as ev
from fogbank.domain.bounds import malformed
from fogbank.domain.containers import PublishedPort
from fogbank.domain.deployment import DeploymentSpec
from fogbank.domain.deployment_rules import (
    deployment_deleted,
    deployment_scaled,
    deployment_updated,
)
from fogbank.domain.envelope import GATEWAY, Commit, EventEnvelope
from fogbank.domain.join_rules import (
    JoinTokenFact,
    NodeIdentity,
    copied_identity_refused,
    join_token_created,
    join_token_revoked,
    node_identity_revoked,
    node_joined,
)
from fogbank.domain.node import NO_DETAILS, Fingerprint, HostDetails
from fogbank.domain.node_rules import (
    known_node,
    node_cordoned,
    node_draining,
    node_removed,
    node_uncordoned,
    take_details,
)
from fogbank.domain.observations import ReplicaObservation
from fogbank.domain.policy import Policy
from fogbank.domain.position import pack
from fogbank.domain.rebalancing import RebalanceFact
from fogbank.domain.revisions import Revision
from fogbank.domain.states import Health, ReplicaState
from fogbank.domain.tables import Table
from fogbank.domain.tenancy import ClusterFact, OrganizationFact
from fogbank.domain.tenancy_rules import (
    cluster_created,
    cluster_quota_set,
    membership_set,
    organization_created,
    organization_quota_set,
)
from fogbank.domain.value import row, value
from fogbank.domain.verdict import Verdict, VoidReason

# For so long, in log time, the id of a command is remembered.
KNOWN_EVENT_US = 24 * 3600 * 1_000_000


@row
class DeploymentFact:
    """A deployment as its author last had it; `version` is the last accepted command's position."""

    id: str
    spec: DeploymentSpec
    owner_id: str
    env_key: str
    version: int
    created_at_us: int
    created_position: int
    deleted_at_us: int = 0
    content_digest: bytes = b""
    # Of a deployment that was updated; before that its only revision is what it is.
    updates: tuple[Revision, ...] = ()
    # Of one that moved: the first revision in each of its clusters, the present one last.
    clusters: tuple[tuple[int, int], ...] = ()

    @property
    def deleted(self) -> bool:
        """Tell whether its author deleted it."""
        return self.deleted_at_us > 0

    @property
    def revisions(self) -> tuple[Revision, ...]:
        """Its revisions as far as they are kept, the one asked for last."""
        if self.updates:
            return self.updates
        created = self.created_position
        return (Revision(1, self.spec, self.env_key, created, self.created_at_us),)

    @property
    def revision(self) -> int:
        """The number of the revision that its author asked for last."""
        return self.updates[-1].number if self.updates else 1

    def cluster_of(self, revision: int) -> int:
        """Return the cluster whose quota replicas of a revision take."""
        if self.clusters:  # it moved, which few do
            for first, cluster_id in reversed(self.clusters):
                if revision >= first:
                    return cluster_id
        return self.spec.cluster_id

    def revision_of(self, number: int) -> Revision | None:
        """Return a revision; None for one that is no longer kept, or never was."""
        return next((each for each in self.revisions if each.number == number), None)


@row
class NodeFact:
    """A node as it last said, and what operators said of it; loads in percent.

    A draining node is cordoned too; its deadline is an instant, 0 for none. `commanded_position` is
    that of the last accepted command on the node, 0 for none, `described_position` that of what it
    last said of itself.
    """

    id: str
    name: str
    fingerprint: Fingerprint
    epoch: int
    connected_at_us: int
    order: int
    confirmed_epoch: int = 0
    last_report: int = 0
    cpu_percent: int = 0
    memory_percent: int = 0
    load_reflects: int = 0
    cordoned: bool = False
    cordon_reason: str = ""
    draining: bool = False
    drain_deadline_us: int = 0
    removed: bool = False
    commanded_position: int = 0
    described_position: int = 0


@value
class Observed:
    """How a replica does on a node, in the words and by the clock of its agent.

    Of log time are `ended_at_us`, at which its end was logged, and `since_us`, at which the first
    of the reports in a row was that say this of its state and health. `position` is that of the
    last of them.
    """

    restart_count: int
    state: ReplicaState
    container_id: str
    started_at_us: int
    health: Health
    final: bool
    exit_code: int
    reason: str
    observed_at_us: int
    ended_at_us: int = 0
    position: int = 0
    ports: tuple[PublishedPort, ...] = ()
    unobtainable: bool = False
    since_us: int = 0


def state_of(observed: Observed | None, node: NodeFact | None) -> ReplicaState:
    """Return how far a replica on a node got; it is orphaned if its node was removed."""
    if observed is None:
        return ReplicaState.ASSIGNED if node is None or not node.removed else ReplicaState.ORPHANED
    if node is not None and node.removed and not observed.final:
        return ReplicaState.ORPHANED
    return observed.state


@row
class _Known:
    verdict: Verdict
    log_time_us: int


@dataclass(slots=True)
class Facts:
    """All facts up to a position; `draining` are the nodes that are being emptied, or were.

    `host_details` has the nodes whose agents say what they run on.
    """

    log_time_us: int = 0
    deployments: Table[str, DeploymentFact] = field(default_factory=Table)
    nodes: Table[str, NodeFact] = field(default_factory=Table)
    host_details: Table[str, HostDetails] = field(default_factory=Table)
    observed: Table[tuple[str, str], Observed] = field(default_factory=Table)
    organizations: Table[int, OrganizationFact] = field(default_factory=Table)
    clusters: Table[int, ClusterFact] = field(default_factory=Table)
    policy: Policy = field(default_factory=Policy)
    policy_position: int = 0
    draining: Table[str, None] = field(default_factory=Table)
    policy_positions: list[int] = field(default_factory=list)
    rebalance: RebalanceFact | None = None
    join_tokens: Table[str, JoinTokenFact] = field(default_factory=Table)
    identities: Table[str, NodeIdentity] = field(default_factory=Table)
    _known: Table[str, _Known] = field(default_factory=Table)

    def fold(self, commit: Commit, index: int) -> Verdict:
        """Take in event `index` of a commit of facts and return the verdict on it."""
        envelope = commit.envelopes[index]
        position = pack(commit.sequence, index)
        self.log_time_us = max(self.log_time_us, commit.appended_at_us)
        if commit.service != GATEWAY:
            return Verdict(position, VoidReason.WRONG_WRITER)
        if envelope.event is None:
            return Verdict(position, VoidReason.IGNORED)
        self._forget_old()
        first = self.first(envelope)
        if first is not None:
            return Verdict(position, VoidReason.DUPLICATE, first.content_digest, first)
        if malformed(envelope.event_id, envelope.event):
            void: VoidReason | None = VoidReason.MALFORMED
        else:
            void = _HANDLERS[type(envelope.event)](self, envelope, envelope.event, position)
        verdict = Verdict(position, void, envelope.content_digest)
        if type(envelope.event) not in _REPEATABLE:
            self._known[envelope.event_id] = _Known(verdict, self.log_time_us)
        return verdict

    def first(self, envelope: EventEnvelope) -> Verdict | None:
        """Return the verdict on the first event of an id, of the last 24 hours of log time.

        That of a deployment is known until the state forgets it, that of a join token for ever.
        """
        known = self._known.get(envelope.event_id)
        if known is not None:
            return known.verdict
        made: DeploymentFact | JoinTokenFact | None = None
        if isinstance(envelope.event, ev.DeploymentCreated):
            made = self.deployments.get(envelope.event_id)
        elif isinstance(envelope.event, ev.JoinTokenCreated):
            made = self.join_tokens.get(envelope.event_id)
        return Verdict(made.created_position, None, made.content_digest) if made else None

    def _forget_old(self) -> None:
        while (oldest := self._known.oldest()) is not None:
            if self.log_time_us - self._known[oldest].log_time_us <= KNOWN_EVENT_US:
                break
            del self._known[oldest]

    def forget(self, deployment_id: str) -> None:
        """Forget a deployment; its id is free again."""
        del self.deployments[deployment_id]
        # Who repeats its creation must not be told of what is gone.
        self._known.discard(deployment_id)

    def details_of(self, node_id: str) -> HostDetails:
        """Return what a node's host runs on."""
        return self.host_details.get(node_id, NO_DETAILS)


def _policy_activated(
    facts: Facts, _envelope: EventEnvelope, event: ev.PolicyActivated, position: int
) -> VoidReason | None:
    facts.policy_positions.append(position)
    # Its version is how many there were, whatever its author called it.
    facts.policy = replace(event.policy, version=len(facts.policy_positions))
    facts.policy_position = position
    return None


def _deployment_created(
    facts: Facts, envelope: EventEnvelope, event: ev.DeploymentCreated, position: int
) -> VoidReason | None:
    facts.deployments[envelope.event_id] = DeploymentFact(
        id=envelope.event_id,
        spec=event.spec,
        owner_id=event.owner_id,
        env_key=event.env_key,
        version=position,
        created_at_us=facts.log_time_us,
        created_position=position,
        content_digest=envelope.content_digest,
    )
    return None


def _node_connected(
    facts: Facts, _envelope: EventEnvelope, event: ev.NodeConnected, position: int
) -> VoidReason | None:
    node = facts.nodes.get(event.node_id)
    identity = facts.identities.get(event.node_id)
    if (node is not None and node.removed) or (identity is not None and identity.revoked):
        return VoidReason.NODE_REMOVED
    if node is None:
        facts.nodes[event.node_id] = NodeFact(
            event.node_id,
            event.name,
            event.fingerprint,
            position,
            facts.log_time_us,
            order=len(facts.nodes),
            described_position=position,
        )
    else:
        node = facts.nodes.change(event.node_id)
        node.name = event.name
        node.fingerprint = event.fingerprint
        node.epoch = position
        node.connected_at_us = facts.log_time_us
        node.described_position = position
    take_details(facts, event)
    return None


def _node_in_epoch(facts: Facts, node_id: str, epoch: int) -> NodeFact | VoidReason:
    node = known_node(facts, node_id)
    if isinstance(node, VoidReason):
        return node
    return node if node.epoch == epoch else VoidReason.OLD_EPOCH


def _node_capacity_changed(
    facts: Facts, _envelope: EventEnvelope, event: ev.NodeCapacityChanged, position: int
) -> VoidReason | None:
    node = _node_in_epoch(facts, event.node_id, event.epoch)
    if isinstance(node, VoidReason):
        return node
    node.fingerprint = event.fingerprint
    node.described_position = position
    take_details(facts, event)
    return None


def _node_load_changed(
    facts: Facts, _envelope: EventEnvelope, event: ev.NodeLoadChanged, _position: int
) -> VoidReason | None:
    node = _node_in_epoch(facts, event.node_id, event.epoch)
    if isinstance(node, VoidReason):
        return node
    node.cpu_percent = event.cpu_percent
    node.memory_percent = event.memory_percent
    node.load_reflects = event.reflects_sequence
    return None


def _node_reported(
    facts: Facts, _envelope: EventEnvelope, event: ev.NodeReported, position: int
) -> VoidReason | None:
    node = _node_in_epoch(facts, event.node_id, event.epoch)
    if isinstance(node, VoidReason):
        return node
    if event.number != node.last_report + 1:
        return VoidReason.NOT_NEXT_REPORT
    node.last_report = event.number
    node.confirmed_epoch = node.epoch
    for observation in event.observations:
        _observe(facts, event.node_id, observation, position)
    return None


def _observe(facts: Facts, node_id: str, seen: ReplicaObservation, position: int) -> None:
    """Keep an observation unless it falls behind what is known: observed state only grows."""
    key = (seen.replica_id, node_id)
    since_us = facts.log_time_us
    before = facts.observed.get(key)
    if before is not None:
        if before.final or (seen.restart_count, seen.state) < (
            before.restart_count,
            before.state,
        ):
            return
        container_id = seen.container_id or before.container_id
        started_at_us = seen.started_at_us or before.started_at_us
        if _stands(seen) == _stands(before):
            since_us = before.since_us
    else:
        container_id, started_at_us = seen.container_id, seen.started_at_us
    facts.observed[key] = Observed(
        seen.restart_count,
        seen.state,
        container_id,
        started_at_us,
        seen.health,
        seen.final,
        seen.exit_code,
        seen.reason,
        seen.observed_at_us,
        facts.log_time_us if seen.state.ended else 0,
        position,
        seen.ports,
        seen.unobtainable,
        since_us,
    )


def _stands(seen: ReplicaObservation | Observed) -> tuple[int, ReplicaState, Health]:
    return seen.restart_count, seen.state, seen.health


def _rebalance_requested(
    facts: Facts, _envelope: EventEnvelope, event: ev.RebalanceRequested, position: int
) -> VoidReason | None:
    facts.rebalance = RebalanceFact(
        position, facts.log_time_us, event.budget, event.min_gain, event.at_once
    )
    return None


_HANDLERS: dict[type, Callable[..., VoidReason | None]] = {
    ev.OrganizationCreated: organization_created,
    ev.ClusterCreated: cluster_created,
    ev.ClusterQuotaSet: cluster_quota_set,
    ev.OrganizationQuotaSet: organization_quota_set,
    ev.MembershipSet: membership_set,
    ev.PolicyActivated: _policy_activated,
    ev.DeploymentCreated: _deployment_created,
    ev.DeploymentScaled: deployment_scaled,
    ev.DeploymentUpdated: deployment_updated,
    ev.DeploymentDeleted: deployment_deleted,
    ev.NodeConnected: _node_connected,
    ev.NodeCapacityChanged: _node_capacity_changed,
    ev.NodeLoadChanged: _node_load_changed,
    ev.NodeReported: _node_reported,
    ev.NodeCordoned: node_cordoned,
    ev.NodeUncordoned: node_uncordoned,
    ev.NodeDraining: node_draining,
    ev.NodeRemoved: node_removed,
    ev.JoinTokenCreated: join_token_created,
    ev.JoinTokenRevoked: join_token_revoked,
    ev.NodeJoined: node_joined,
    ev.NodeIdentityRevoked: node_identity_revoked,
    ev.CopiedIdentityRefused: copied_identity_refused,
    ev.RebalanceRequested: _rebalance_requested,
    ev.RoundDecided: lambda *_args: VoidReason.WRONG_WRITER,
}

# Events that guard themselves (by number or epoch) or do no harm when folded twice.
_REPEATABLE = frozenset({ev.NodeReported, ev.NodeCapacityChanged, ev.NodeLoadChanged})
