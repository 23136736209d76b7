"""The rows of the projection: what the tables hold of a fleet, column by column.

Instants are microseconds since 1970; None stands for SQL's NULL. The field names are the columns'
names, but for instants, whose columns lose the `_us`.
"""

from __future__ import annotations

from msgspec import Struct

from fogbank.domain.states import DeploymentStatus, ReplicaState


class TableRow(Struct, frozen=True, gc=False):
    """A row of a table, column by column.

    It is no tuple, for there are eight for each deployment: a structure is made in a seventh of the
    time of a named one, and the garbage collector has nothing to look through.
    """


class ReplicaRow(Struct, frozen=True, gc=False, array_like=True):
    """The replica that fills a slot now, or the one that will; `status` is the public word.

    In JSON it is an array.
    """

    id: str
    slot: int
    generation: int
    node_id: str | None
    status: str
    exact_state: int
    container_id: str | None
    started_at_us: int | None
    health: int
    restart_count: int
    reason: str
    unknown: bool
    gpu_devices: tuple[int, ...]
    ports: tuple[str, ...]


class DeploymentStateRow(TableRow, frozen=True):
    """What of a deployment changes though nobody commands it; `replicas` are in their slots' order.

    `status` is the public word, `exact_status` the number of the contract.
    """

    id: str
    running_replicas: int
    status: str
    exact_status: int
    health: int
    reason: str
    available_nodes: int | None
    updated_at_us: int
    replicas: tuple[ReplicaRow, ...]


class DeploymentRow(TableRow, frozen=True):
    """A whole deployment; it ends with what a `DeploymentStateRow` has after the id.

    `container_image` is that of its replicas; after a rollback `asked_image` is the one that its
    author asked for, if it is another. `rollout`, `disconnect` and `container` are None if they are
    what they are without a word about them.
    """

    id: str
    name: str
    user_id: str
    type: str
    container_image: str
    asked_image: str | None
    target_replicas: int
    region: str
    priority: int
    cluster_id: int
    strategy: str
    wait_for_capacity: bool
    constraints: str
    gpu_model: str
    restart: int
    labels: str
    allow_colocation: bool
    rollout: str | None
    disconnect: str | None
    container: str | None
    cpu_millicores: int
    memory_mb: int
    storage_gb: int
    gpu_thousandths: int
    version: int
    created_at_us: int
    deleted_at_us: int | None
    running_replicas: int
    status: str
    exact_status: int
    health: int
    reason: str
    available_nodes: int | None
    updated_at_us: int
    replicas: tuple[ReplicaRow, ...]


class NodeStateRow(TableRow, frozen=True):
    """What of a node changes though nobody commands it, but for what replicas take of it."""

    id: str
    status: str
    exact_status: int
    reason: str
    cpu_usage_percent: float
    memory_usage_percent: float


class NodeRow(TableRow, frozen=True):
    """A whole node; it ends with what a `NodeStateRow` has after the id.

    `node_id` is its name, as the source documents' queries have it.
    """

    id: str
    node_id: str
    cordoned: bool
    draining: bool
    drain_deadline_us: int | None
    region: str
    arch: str
    os: str
    gpu_available: bool
    gpu_model: str
    runtime: int
    agent_version: str
    details: str
    labels: str
    capacity_cpu_millicores: int
    capacity_memory_mib: int
    capacity_storage_gib: int
    capacity_gpu_thousandths: int
    allocatable_cpu_millicores: int
    allocatable_memory_mib: int
    allocatable_storage_gib: int
    allocatable_gpu_thousandths: int
    epoch: int
    connected_at_us: int
    status: str
    exact_status: int
    reason: str
    cpu_usage_percent: float
    memory_usage_percent: float


class ChangeRow(TableRow, frozen=True):
    """One change of a deployment's status; `old_status` is `none` and 0 for the first.

    `touched` is the index of the only event of the commit that touches the deployment, if there is
    one and it counts.
    """

    deployment_id: str
    sequence: int
    old_status: str
    exact_old_status: int
    new_status: str
    exact_new_status: int
    changed_at_us: int
    reason: str
    touched: int | None


class CommitRow(TableRow, frozen=True):
    """A commit of the log, byte for byte: the second copy."""

    sequence: int
    service: str
    instance: str
    appended_at_us: int
    digest: bytes
    data: bytes


# The public word of each status; a degraded deployment shows as running, with bad health.
STATUS_WORDS = {
    DeploymentStatus.PENDING: "pending",
    DeploymentStatus.SCHEDULED: "scheduled",
    DeploymentStatus.RUNNING: "running",
    DeploymentStatus.DEGRADED: "running",
    DeploymentStatus.COMPLETED: "completed",
    DeploymentStatus.FAILED: "failed",
    DeploymentStatus.DELETED: "deleted",
}
NO_STATUS = "none"

REPLICA_WORDS = {
    ReplicaState.NEW: "pending",
    ReplicaState.PENDING: "pending",
    ReplicaState.ASSIGNED: "pending",
    ReplicaState.ACCEPTED: "pending",
    ReplicaState.PREPARING: "pending",
    ReplicaState.READY: "pending",
    ReplicaState.STARTING: "starting",
    ReplicaState.RUNNING: "running",
    ReplicaState.COMPLETE: "stopped",
    ReplicaState.STOPPED: "stopped",
    ReplicaState.FAILED: "failed",
    ReplicaState.REJECTED: "failed",
    ReplicaState.ORPHANED: "stopped",
}
