"""What the checker knows of a fleet: nodes, deployments and replicas, as far as it has read."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum

from fogbank.v1 import deployments_pb2, nodes_pb2, resources_pb2

Amounts = tuple[int, int, int, int]
DIMENSIONS = ("millicores", "MiB of memory", "GiB of storage", "thousandths of a GPU")

RUNNING = deployments_pb2.REPLICA_STATE_RUNNING
COMPLETE = deployments_pb2.REPLICA_STATE_COMPLETE
REJECTED = deployments_pb2.REPLICA_STATE_REJECTED
STARTED = frozenset({deployments_pb2.REPLICA_STATE_STARTING, RUNNING, COMPLETE})
ALIVE = frozenset({deployments_pb2.REPLICA_STATE_STARTING, RUNNING})
STATE_NAMES: dict[int, str] = {
    int(number): name.removeprefix("REPLICA_STATE_")
    for name, number in deployments_pb2.ReplicaState.items()
}

# The policy of a log that names none (the first event of a real log is a policy).
DEFAULT_RETRIES = 3
DEFAULT_BUSY_PERCENT = 90
DEFAULT_PERIOD_MS = 5_000
DEFAULT_SILENT_PERIODS = 3
DEFAULT_LOST_AFTER_MS = 30_000
# What a container has to end by itself where its own node stops it.
STOP_GRACE_MS = 10_000
DEFAULT_PREEMPTION_MIN_PRIORITY = 60
DEFAULT_PREEMPTION_MIN_GAP = 10


def amounts(message: resources_pb2.Resources) -> Amounts:
    """Return cpu (millicores), memory (MiB), storage (GiB) and gpu (thousandths)."""
    return (
        message.cpu_millicores,
        message.memory_mib,
        message.storage_gib,
        message.gpu_thousandths,
    )


class Wish(Enum):
    """What rounds want of a replica."""

    LIVE = "live"
    LEAVING = "leaving"
    SUSPENDED = "suspended"
    RELEASED = "released"


@dataclass(slots=True, eq=False)
class Replica:
    """A placed replica: what rounds want of it, and what its node last said."""

    id: str
    deployment_id: str
    slot: int
    generation: int
    node_id: str
    ask: Amounts
    placed_at: int
    starts_after: tuple[str, ...]
    gpu_devices: tuple[int, ...] = ()
    revision: int = 1
    wish: Wish = Wish.LIVE
    restarts: int = 0
    state: int = 0
    health: int = 0
    # The sequence at which it was known to have ended for good, 0 before.
    ended_at: int = 0
    counted: bool = False

    @property
    def ended(self) -> bool:
        """Tell whether it ended for good."""
        return self.ended_at > 0


@dataclass(slots=True, eq=False)
class Node:
    """A node: what it has, what is promised there (`booked`), what may still be there (`held`).

    `replicas` are those that have not ended. `ahead` is the highest report that came before its
    turn, at sequence `ahead_at`. A `closed` one takes nothing new; `deadline_us` is 0 for none.
    """

    id: str
    name: str = ""
    allocatable: Amounts = (0, 0, 0, 0)
    traits: dict[str, str] = field(default_factory=dict)
    epoch: int = 0
    offline_epoch: int = 0
    last_heard_us: int = 0
    load_percent: int = 0
    last_report: int = 0
    ahead: int = 0
    ahead_at: int = 0
    closed: bool = False
    draining: bool = False
    deadline_us: int = 0
    removed: bool = False
    booked: list[int] = field(default_factory=lambda: [0, 0, 0, 0])
    held: list[int] = field(default_factory=lambda: [0, 0, 0, 0])
    replicas: dict[str, Replica] = field(default_factory=dict)

    @property
    def offline(self) -> bool:
        """Tell whether a round put it offline since it last shook hands."""
        return self.offline_epoch == self.epoch

    def describe(self, fingerprint: nodes_pb2.Fingerprint) -> None:
        """Take over what its host says of itself."""
        self.allocatable = amounts(fingerprint.allocatable)
        self.traits = {
            "node": self.name,
            "region": fingerprint.region,
            "arch": fingerprint.arch,
            "gpu_model": fingerprint.gpu_model,
        }
        for key, value in fingerprint.labels.items():
            self.traits[f"label.{key}"] = value


@dataclass(slots=True, eq=False)
class Deployment:
    """A deployment: what its author wants, and what rounds made of it.

    `slots` holds the replica that counts for each slot, `leaving` the one that runs until that one
    does. `rejected_on` are nodes that turned a replica of it down for good as unobtainable.
    """

    id: str
    ask: Amounts
    replicas: int
    version: int
    spec: deployments_pb2.DeploymentSpec
    # The sequence and the log time of its deletion, 0 before.
    deleted_at: int = 0
    deleted_at_us: int = 0
    slots: dict[int, Replica] = field(default_factory=dict)
    leaving: dict[int, Replica] = field(default_factory=dict)
    generations: dict[int, int] = field(default_factory=dict)
    placed_once: bool = False
    attempt: int = 0
    attempt_version: int = 0
    not_before_us: int = 0
    failed_version: int = 0
    ran: bool = False
    # Of updates: `spec` is as replicas are to be, `asked` as the author has it.
    asked: deployments_pb2.DeploymentSpec = field(default_factory=deployments_pb2.DeploymentSpec)
    env_key: str = ""
    revision: int = 1
    earlier: dict[int, deployments_pb2.DeploymentSpec] = field(default_factory=dict)
    # Those of the earlier ones that can be gone back to, oldest first.
    kept: list[int] = field(default_factory=list)
    bad: int = 0
    good: int = 0
    rejected_on: set[str] = field(default_factory=set)

    @property
    def deleted(self) -> bool:
        """Tell whether its author deleted it."""
        return self.deleted_at > 0

    @property
    def cluster_id(self) -> int:
        """The cluster that its replicas are to be in."""
        return self.spec.cluster_id or 1

    def cluster_of(self, revision: int) -> int:
        """Return the cluster that replicas of a revision are in, for good."""
        return self.earlier.get(revision, self.asked).cluster_id or 1

    @property
    def failed(self) -> bool:
        """Tell whether a round gave it up as it now is."""
        return self.failed_version == self.version

    def lacking(self) -> list[int]:
        """Return the slots without a replica that counts."""
        return [slot for slot in range(self.replicas) if slot not in self.slots]


@dataclass(slots=True, eq=False)
class Organization:
    """An organization: its members' roles by user id, its quota."""

    members: dict[str, int] = field(default_factory=dict)
    quota: resources_pb2.Quota = field(default_factory=resources_pb2.Quota)


@dataclass(slots=True, eq=False)
class Cluster:
    """A cluster: whose it is, its quota."""

    organization_id: int
    quota: resources_pb2.Quota


@dataclass(slots=True, eq=False)
class Rebalance:
    """The last rebalance asked for, and who moved for it; `moves` counts them."""

    position: int
    budget: int
    min_gain: int
    at_once: int
    moves: int = 0
    moved: list[str] = field(default_factory=list)
    ended: bool = False


@dataclass(slots=True, eq=False)
class World:
    """All of it."""

    nodes: dict[str, Node] = field(default_factory=dict)
    deployments: dict[str, Deployment] = field(default_factory=dict)
    replicas: dict[str, Replica] = field(default_factory=dict)
    organizations: list[Organization] = field(default_factory=list)
    clusters: list[Cluster] = field(default_factory=list)
    removed_nodes: int = 0
    # Millicores, MiB, GiB, thousandths of a GPU, replicas: what counts for quotas, by cluster.
    used: dict[int, list[int]] = field(default_factory=dict)
    policies: int = 0
    rebalance: Rebalance | None = None
    policy_title: str = ""
    retries: int = DEFAULT_RETRIES
    busy_percent: int = DEFAULT_BUSY_PERCENT
    period_ms: int = DEFAULT_PERIOD_MS
    silent_periods: int = DEFAULT_SILENT_PERIODS
    lost_after_ms: int = DEFAULT_LOST_AFTER_MS
    preemption_min_priority: int = DEFAULT_PREEMPTION_MIN_PRIORITY
    preemption_min_gap: int = DEFAULT_PREEMPTION_MIN_GAP
    preemption_across_clusters: bool = False

    def lost_after_us(self, rules: deployments_pb2.DisconnectRules) -> int:
        """Return the silence after which replicas with such rules may be replaced, in microseconds.

        Each node of the fleet adds a millisecond to the period of heartbeats, from 5 s up. Replicas
        that their own node stops have to have had the time for it.
        """
        period_ms = max(self.period_ms, len(self.nodes) - self.removed_nodes)
        lost_ms = rules.lost_after_ms or self.lost_after_ms
        if rules.stop_on_client_after_ms:
            lost_ms = max(lost_ms, rules.stop_on_client_after_ms + STOP_GRACE_MS + 1)
        return max(lost_ms, self.silent_periods * period_ms) * 1_000

    def end(self, replica: Replica, sequence: int) -> None:
        """Give back the room of a replica that will not be started again, as of a commit."""
        replica.ended_at = sequence
        self.count(replica)
        node = self.nodes.get(replica.node_id)
        if node is None or node.replicas.pop(replica.id, None) is None:
            return
        _take(node.held, replica.ask, -1)
        if replica.wish is not Wish.RELEASED:
            _take(node.booked, replica.ask, -1)

    def release(self, replica: Replica) -> None:
        """Stop promising room to a replica; it is held until it ends."""
        if replica.wish is Wish.RELEASED:
            return
        replica.wish = Wish.RELEASED
        self.count(replica)
        node = self.nodes.get(replica.node_id)
        if node is not None and replica.id in node.replicas:
            _take(node.booked, replica.ask, -1)

    def count(self, replica: Replica) -> None:
        """Count a replica for its cluster's quota, or no more, by what is wanted of it now."""
        counts = replica.wish in {Wish.LIVE, Wish.LEAVING} and not replica.ended
        deployment = self.deployments.get(replica.deployment_id)
        if counts == replica.counted or deployment is None:
            return
        replica.counted = counts
        cluster_id = deployment.cluster_of(replica.revision)
        used = self.used.setdefault(cluster_id, [0] * 5)
        _take(used, (*replica.ask, 1), 1 if counts else -1)

    def put(self, replica: Replica) -> None:
        """Promise room to a new replica."""
        self.replicas[replica.id] = replica
        self.count(replica)
        node = self.nodes.get(replica.node_id)
        if node is not None:
            node.replicas[replica.id] = replica
            _take(node.booked, replica.ask, 1)
            _take(node.held, replica.ask, 1)


def _take(sums: list[int], ask: tuple[int, ...], sign: int) -> None:
    for dimension, amount in enumerate(ask):
        sums[dimension] += sign * amount
