"""What queries answer with: deployments and nodes as of a log sequence.

Read models, not state: the ledger makes them from its projection, gateways pass them on.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Generic, TypeVar

from fogbank.domain.containers import PublishedPort
from fogbank.domain.deployment import DeploymentSpec
from fogbank.domain.node import NO_DETAILS, Fingerprint, HostDetails
from fogbank.domain.resources import Resources
from fogbank.domain.states import DeploymentStatus, Health, NodeStatus, ReplicaState
from fogbank.domain.status import StatusChange

T = TypeVar("T")

# How many of its latest changes of status a deployment is shown with.
RECENT_CHANGES = 10


@dataclass(frozen=True, slots=True)
class AsOf(Generic[T]):
    """An answer, and the log sequence up to which it is true."""

    value: T
    as_of_sequence: int


@dataclass(frozen=True, slots=True)
class Page(Generic[T]):
    """Some of what was asked for, and how many there are in all."""

    items: tuple[T, ...]
    total: int


@dataclass(frozen=True, slots=True)
class ReplicaSummary:
    """One slot of a deployment; empty texts and 0 stand for what is not known yet."""

    id: str
    slot: int
    generation: int
    state: ReplicaState
    node_id: str = ""
    node_name: str = ""
    container_id: str = ""
    started_at_us: int = 0
    health: Health = Health.UNKNOWN
    restart_count: int = 0
    reason: str = ""
    unknown: bool = False
    gpu_devices: tuple[int, ...] = ()
    ports: tuple[PublishedPort, ...] = ()


@dataclass(frozen=True, slots=True)
class NodeReplica:
    """A replica on a node, the deployment that it is of, and what it takes of the node."""

    deployment_id: str
    deployment_name: str
    replica: ReplicaSummary
    resources: Resources


@dataclass(frozen=True, slots=True)
class DeploymentView:
    """A deployment with what became of it; lists leave out replicas and changes.

    `available_nodes` (nodes with room for a replica) is None unless it failed; `version` is the
    position of the last accepted command.
    """

    id: str
    spec: DeploymentSpec
    owner_id: str
    status: DeploymentStatus
    health: Health
    reason: str
    version: int
    created_at_us: int
    updated_at_us: int
    deleted_at_us: int = 0
    running_replicas: int = 0
    replicas: tuple[ReplicaSummary, ...] = ()
    recent_changes: tuple[StatusChange, ...] = field(default=())
    available_nodes: int | None = None


@dataclass(frozen=True, slots=True)
class StatusRecord:
    """A deployment's status so far; `recent_changes` are at most 10, newest first.

    `updated_at_us` is the log time at which its author or its status last changed it.
    """

    deployment_id: str
    status: DeploymentStatus
    updated_at_us: int
    recent_changes: tuple[StatusChange, ...]


@dataclass(frozen=True, slots=True)
class NodeView:
    """A node with its room; loads in percent, `drain_deadline_us` is 0 for none."""

    id: str
    name: str
    status: NodeStatus
    fingerprint: Fingerprint
    booked: Resources
    held: Resources
    cpu_percent: float
    memory_percent: float
    replicas: int
    epoch: int
    connected_at_us: int
    reason: str = ""
    cordoned: bool = False
    draining: bool = False
    drain_deadline_us: int = 0
    details: HostDetails = NO_DETAILS


@dataclass(frozen=True, slots=True)
class Moment:
    """A moment of the log's past: after commit `sequence`, or else at the instant `time_us`.

    At an instant, the log had said what it says up to the last commit with no later log time.
    """

    sequence: int = 0
    time_us: int = 0
