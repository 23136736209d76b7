"""Everything that can happen, as values. The contract's facts.proto and rounds.proto say it in
protobuf; `fogbank.codec` maps one onto the other.

Facts are written by gateways, rounds by schedulers. What there is one of for each replica placed is
a named tuple.
"""

from __future__ import annotations

from typing import NamedTuple

from fogbank.domain.deployment import DeploymentSpec
from fogbank.domain.node import NO_DETAILS, Fingerprint, HostDetails
from fogbank.domain.observations import ReplicaObservation
from fogbank.domain.policy import Policy
from fogbank.domain.resources import Resources
from fogbank.domain.tenancy import UNLIMITED, MembershipRole, Quota
from fogbank.domain.value import value


@value
class OrganizationCreated:
    """An organization was made; the fold numbers it. An empty owner means everybody."""

    name: str
    owner_id: str = ""


@value
class ClusterCreated:
    """A cluster was made; the fold numbers it."""

    name: str
    organization_id: int
    quota: Quota = UNLIMITED


@value
class ClusterQuotaSet:
    """A cluster got another quota."""

    cluster_id: int
    quota: Quota = UNLIMITED


@value
class OrganizationQuotaSet:
    """An organization got another quota, for all of its clusters together."""

    organization_id: int
    quota: Quota = UNLIMITED


@value
class MembershipSet:
    """A user got another role in an organization; None for no member any more."""

    organization_id: int
    user_id: str
    role: MembershipRole | None = None


@value
class PolicyActivated:
    """A policy became the one to decide by."""

    policy: Policy


@value
class DeploymentCreated:
    """A deployment was accepted; its id is the event's id."""

    spec: DeploymentSpec
    owner_id: str
    env_key: str = ""


@value
class DeploymentScaled:
    """A deployment's number of replicas was changed."""

    deployment_id: str
    replicas: int


@value
class DeploymentUpdated:
    """A deployment became what `spec` and `env_key` say, and forgets no `needed_revisions`."""

    deployment_id: str
    spec: DeploymentSpec
    env_key: str = ""
    needed_revisions: tuple[int, ...] = ()


@value
class DeploymentDeleted:
    """A deployment was deleted."""

    deployment_id: str


@value
class NodeConnected:
    """A node shook hands; the event's position is the node's epoch."""

    node_id: str
    name: str
    fingerprint: Fingerprint
    details: HostDetails = NO_DETAILS


@value
class NodeCapacityChanged:
    """What a node has to offer changed, or what it runs on."""

    node_id: str
    epoch: int
    fingerprint: Fingerprint
    details: HostDetails = NO_DETAILS


@value
class NodeLoadChanged:
    """A node's measured load moved by a step; percents are 0 to 100."""

    node_id: str
    epoch: int
    cpu_percent: int
    memory_percent: int
    reflects_sequence: int


@value
class NodeCordoned:
    """A node takes nothing new until it is uncordoned."""

    node_id: str
    reason: str = ""


@value
class NodeUncordoned:
    """A node takes replicas again, and is drained no more."""

    node_id: str


@value
class NodeDraining:
    """A node's replicas are moved elsewhere; from the deadline (0 for none) on they are stopped."""

    node_id: str
    deadline_us: int = 0
    reason: str = ""


@value
class NodeRemoved:
    """A node is no longer of the fleet: its replicas count as ended, its identity is refused."""

    node_id: str


@value
class JoinTokenCreated:
    """Nodes may join by a token; its id is the event's.

    `secret_digest` is the SHA-256 of its secret, `expires_at_us` counts from 1970.
    """

    secret_digest: bytes
    max_uses: int
    expires_at_us: int


@value
class JoinTokenRevoked:
    """Nobody joins by a token any more; who did, stays."""

    token_id: str


@value
class NodeJoined:
    """A node proved a key (`key_digest`: SHA-256 of the public one) and is known by it now."""

    token_id: str
    node_id: str
    key_digest: bytes


@value
class NodeIdentityRevoked:
    """A node that joined and never connected is struck off: its key counts no more."""

    node_id: str


@value
class CopiedIdentityRefused:
    """An agent called itself a node, but remembered less than the node had confirmed."""

    node_id: str
    last_epoch: int
    confirmed_epoch: int


@value
class RebalanceRequested:
    """Replicas are to be moved to where they are worth more, within a budget of moves.

    `min_gain` is in points (`fogbank.domain.rebalancing`), `at_once` counts moves of the whole
    fleet. The last request counts; one with a budget of 0 only ends the one before.
    """

    budget: int
    min_gain: int
    at_once: int


@value
class NodeReported:
    """A node's numbered report; the first of an epoch confirms the epoch."""

    node_id: str
    epoch: int
    number: int
    observations: tuple[ReplicaObservation, ...] = ()


@value
class NodeSilence:
    """A node that the deciding scheduler had not heard of for too long."""

    node_id: str
    epoch: int
    last_heard_at_us: int


class Placement(NamedTuple):
    """A replica got a node, and starts when the replicas in `starts_after` have ended.

    The replica that it `replaces` runs on until this one runs.
    """

    replica_id: str
    slot: int
    generation: int
    node_id: str
    score: int
    starts_after: tuple[str, ...] = ()
    replaces: str = ""
    gpu_devices: tuple[int, ...] = ()


@value
class Considered:
    """What was looked at: refusals by filter and feasible nodes sum to the nodes."""

    nodes: int = 0
    feasible: int = 0
    refusals: tuple[tuple[str, int], ...] = ()
    best: tuple[tuple[str, int], ...] = ()


@value
class Eviction:
    """Replicas of a less important deployment that give way."""

    deployment_id: str
    replica_ids: tuple[str, ...]


class DeploymentPlaced(NamedTuple):
    """Replicas that a deployment lacked got nodes; `resources` is what each takes.

    `revision` is the one that they are of. `evictions` are carried out first: what is evicted is
    released for the deployment's sake. Of a rebalance's move, `rebalance` is the position of its
    request and `gain` what the fleet gains by it, in points.
    """

    deployment_id: str
    version: int
    resources: Resources
    placements: tuple[Placement, ...]
    considered: Considered = Considered()
    revision: int = 1
    evictions: tuple[Eviction, ...] = ()
    rebalance: int = 0
    gain: int = 0


@value
class DeploymentDeferred:
    """There was no room; looked at again at `not_before_us`, or (0) when room appears."""

    deployment_id: str
    version: int
    attempt: int
    not_before_us: int
    reason: str
    considered: Considered = Considered()


@value
class DeploymentFailed:
    """It will not be placed."""

    deployment_id: str
    version: int
    reason: str
    available_nodes: int
    considered: Considered = Considered()


@value
class ReplicasReleased:
    """Replicas are no longer wanted: their agent is to stop them."""

    deployment_id: str
    replica_ids: tuple[str, ...]
    reason: str


@value
class ReplicasSuspended:
    """Replicas on a lost node no longer count; others take their slots."""

    deployment_id: str
    replica_ids: tuple[str, ...]
    node_id: str


@value
class ReplicasRestored:
    """Suspended replicas whose node came back count again."""

    deployment_id: str
    replica_ids: tuple[str, ...]


@value
class DeploymentRolledBack:
    """A revision proved no good: as long as it is the asked for one, replicas are of another."""

    deployment_id: str
    version: int
    from_revision: int
    to_revision: int
    reason: str


@value
class RebalanceEnded:
    """A rebalance came to its end; `request` is the position of its request."""

    request: int
    reason: str


@value
class NodeOffline:
    """A node takes nothing new until it shakes hands again."""

    node_id: str
    epoch: int
    last_heard_at_us: int


Outcome = (
    DeploymentPlaced
    | DeploymentDeferred
    | DeploymentFailed
    | ReplicasReleased
    | ReplicasSuspended
    | ReplicasRestored
    | DeploymentRolledBack
    | RebalanceEnded
    | NodeOffline
)
# Outcomes that are about no deployment.
OF_THE_FLEET = (RebalanceEnded, NodeOffline)


@value
class RoundDecided:
    """A scheduler decided a round: the only event of its commit.

    `state_digest` is in every 1,000th: that of the state right after the round before it.
    """

    prev_digest: bytes
    facts_to: int
    instant_us: int
    policy: str
    policy_digest: bytes
    engine: int
    limit: int
    observations: tuple[NodeSilence, ...] = ()
    outcomes: tuple[Outcome, ...] = ()
    raised: tuple[str, ...] = ()
    state_digest: bytes = b""


Fact = (
    OrganizationCreated
    | ClusterCreated
    | ClusterQuotaSet
    | OrganizationQuotaSet
    | MembershipSet
    | PolicyActivated
    | DeploymentCreated
    | DeploymentScaled
    | DeploymentUpdated
    | DeploymentDeleted
    | NodeConnected
    | NodeCapacityChanged
    | NodeLoadChanged
    | NodeReported
    | NodeCordoned
    | NodeUncordoned
    | NodeDraining
    | NodeRemoved
    | JoinTokenCreated
    | JoinTokenRevoked
    | NodeJoined
    | NodeIdentityRevoked
    | CopiedIdentityRefused
    | RebalanceRequested
)
Event = Fact | RoundDecided
