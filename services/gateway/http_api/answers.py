"""What the OpenAPI document says of answers; the routes render them themselves."""

from __future__ import annotations

from datetime import datetime
from http import HTTPStatus
from typing import Annotated, Any, Literal
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field

from services.gateway.http_api.errors import PROBLEM_JSON, ErrorBody, Problem

Status = Literal["pending", "scheduled", "running", "completed", "failed", "deleted"]
Health = Literal["unknown", "healthy", "unhealthy"]
Degraded = Annotated[
    bool, Field(description="Whether it ran, and fewer replicas run now than are asked for.")
]

_DESCRIPTIONS = {
    400: "A parameter or the body is wrong; `detail` names the field, its bounds and the value.",
    401: "The token is missing, invalid or expired.",
    403: "The caller's role is not enough.",
    404: "There is no such thing, or it is somebody else's.",
    409: "It clashes with what is there.",
    412: "If-Match is not the current ETag.",
    408: "The body takes too long.",
    413: "The body is too large.",
    429: "Too much at once; Retry-After says when to try again.",
    500: "A defect of the server.",
    503: "Something this needs is down; Retry-After says when to try again.",
}


def errors(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Return what a route's documentation says of these errors, and of those that all have."""
    schema = {"$ref": f"#/components/schemas/{ErrorBody.__name__}"}
    problem = {"$ref": f"#/components/schemas/{Problem.__name__}"}
    documented: dict[int | str, dict[str, Any]] = {}
    limited = {429} if HTTPStatus.UNAUTHORIZED in statuses else set()
    with_body = {408} if HTTPStatus.REQUEST_ENTITY_TOO_LARGE in statuses else set()
    for status in sorted({*statuses, *limited, *with_body, 400, 500}):
        documented[status] = {
            "description": _DESCRIPTIONS[status],
            "content": {"application/json": {"schema": schema}, PROBLEM_JSON: {"schema": problem}},
        }
    for status in {401} & set(statuses):
        documented[status]["headers"] = {
            "WWW-Authenticate": {"schema": {"type": "string"}, "description": "`Bearer`."}
        }
    for status in {429, 503} & documented.keys():
        documented[status]["headers"] = {
            "Retry-After": {"schema": {"type": "integer"}, "description": "Seconds."}
        }
    return documented


class Answer(BaseModel):
    """An answer's body."""

    model_config = ConfigDict(extra="forbid")


class CommandAnswer(Answer):
    """An accepted command."""

    success: Literal[True]
    deployment_id: UUID
    status: Status
    replicas: int
    message: str


class AmountsAnswer(Answer):
    """Amounts per replica, or of a node."""

    cpu_cores: float
    memory_mb: int
    gpu_units: float
    storage_gb: int


class PortAnswer(Answer):
    """Where a container's port is reached on its node."""

    number: int
    protocol: Literal["tcp", "udp"]
    host_port: int


class ReplicaAnswer(Answer):
    """A replica; null stands for what is not known yet."""

    id: UUID
    node_id: str | None = Field(description="The node's id.")
    status: Literal["pending", "starting", "running", "failed", "stopped"]
    container_id: str | None
    started_at: datetime | None
    ports: list[PortAnswer] = Field(default=[], description="Only where it publishes some.")


class ChangeAnswer(Answer):
    """A change of a deployment's status."""

    old_status: Status | Literal["none"]
    new_status: Status
    degraded: Degraded
    changed_at: datetime
    reason: str


class DisconnectAnswer(Answer):
    """What becomes of replicas whose node is cut off; times in milliseconds."""

    lost_after_ms: int = Field(description="Replaced elsewhere after; 0: as the policy says.")
    replace: bool = Field(description="False: each waits for its node.")
    stop_on_client_after_ms: int = Field(description="Stopped by their own node after; 0: never.")


class StatusAnswer(Answer):
    """All about one deployment; `error` and `available_nodes` only of a failed one."""

    deployment_id: UUID
    name: str
    status: Status
    degraded: Degraded
    health: Health
    target_replicas: int
    replicas: list[ReplicaAnswer]
    resources: AmountsAnswer = Field(description="Per replica.")
    disconnect: DisconnectAnswer
    recent_status_changes: list[ChangeAnswer] = Field(description="Newest first, at most 10.")
    created_at: datetime
    updated_at: datetime
    error: str = Field(default="", description="Why it failed.")
    available_nodes: int | None = Field(default=None, description="Nodes with room for a replica.")


class RowAnswer(Answer):
    """A deployment in a list."""

    id: UUID
    name: str
    status: Status
    degraded: Degraded
    target_replicas: int
    running_replicas: int
    created_at: datetime
    updated_at: datetime


class CandidateAnswer(Answer):
    """A node; `score` is the decision's, `score_now` what `terms` sum to now.

    Both are whole steps of the strategy: thousandths for `balanced`, `binpack`, `spread` and
    `multi-objective`, hundredths for the others.
    """

    node_id: UUID
    node: str
    score: int
    score_now: int
    terms: dict[str, float]


class FilterAnswer(Answer):
    """How many nodes a filter turned down."""

    filter: str
    nodes: int
    reason: str


class ExplanationAnswer(Answer):
    """One look: what filters turned down and the feasible nodes sum to those considered."""

    nodes_considered: int
    nodes_feasible: int
    filters: list[FilterAnswer]
    best: list[CandidateAnswer] = Field(description="Best first, at most 5.")
    would_unblock: list[str] = Field(description="What would let it be placed.")


class EvictionAnswer(Answer):
    """Replicas of a less important deployment that would give way."""

    deployment_id: UUID
    name: str | None = Field(description="Null where it is somebody else's.")
    replica_ids: list[UUID]


class PlanAnswer(Answer):
    """A deployment that would be placed, and where."""

    success: Literal[True]
    scheduled: list[CandidateAnswer] = Field(description="A node for each replica.")
    preempted: list[EvictionAnswer] = Field(description="What would be evicted.")
    explanation: ExplanationAnswer
    as_of_sequence: int


class ImpossiblePlanAnswer(Answer):
    """A deployment that would not be placed now, and why."""

    success: Literal[False]
    error: str
    available_nodes: int = Field(description="Nodes with room for a replica.")
    explanation: ExplanationAnswer
    as_of_sequence: int


class PlacingRoundAnswer(Answer):
    """A round that placed replicas which a deployment has now."""

    sequence: int
    decided_at: datetime
    slots: list[int]


class ExplainAnswer(Answer):
    """Why a deployment is where it is."""

    deployment_id: UUID
    summary: str
    explanation: ExplanationAnswer = Field(description="Of the latest decision.")
    now: ExplanationAnswer | None = Field(
        description="A look at the present state; null when every replica has a node."
    )
    decided_at_sequence: int | None = Field(description="Null before the first decision.")
    rounds: list[PlacingRoundAnswer] = Field(
        description="Those that placed the replicas there are, newest first; `explanation` is of "
        "one of them at most."
    )
    as_of_sequence: int


class RevisionAnswer(Answer):
    """What a deployment's replicas were, or are to be."""

    revision: int
    state: Literal["wanted", "failed"] | None = Field(
        description="`wanted`: new replicas are of it; `failed`: it was given up."
    )
    container_image: str
    resources: AmountsAnswer = Field(description="Per replica.")
    has_env: bool
    created_at: datetime


class RolloutAnswer(Answer):
    """How far the replacement of a deployment's replicas is."""

    deployment_id: UUID
    phase: Literal["done", "progressing", "rolled_back"]
    message: str
    waits_for: str | None = Field(description="What it waits for, for people; null for nothing.")
    gives_up_at: datetime | None = Field(
        description="When it is given up if it doesn't get on; null if nothing ends it."
    )
    goes_back_to: int | None = Field(description="The revision that it goes back to then.")
    revision: int = Field(description="The one that was asked for last.")
    wanted_revision: int = Field(description="The one that new replicas are of.")
    replicas: int
    updated: int = Field(description="Replicas that are as wanted.")
    available: int = Field(description="Slots with a replica that runs and is well.")
    leaving: int = Field(description="Former replicas that run until their successors do.")
    revisions: list[RevisionAnswer] = Field(
        description="Newest first, as far as they are kept: the latest 10, those "
        "that replicas are of, and the one that a rollout would go back to."
    )
    as_of_sequence: int


class UserAnswer(Answer):
    """A new account."""

    id: UUID
    username: str


class SessionAnswer(Answer):
    """Tokens for a session; `expires_in` is the access token's, in seconds."""

    access_token: str
    token_type: Literal["bearer"]
    expires_in: int
    refresh_token: str


class MeasuredAnswer(Answer):
    """A node's measured load."""

    cpu_usage_percent: float
    memory_usage_percent: float


class GpuAnswer(Answer):
    """A GPU as its driver says it; memory in MiB."""

    model: str
    memory_mb: int | None


class NodeAnswer(Answer):
    """A node: `capacity` is all of it, `allocatable` for deployments, `allocated` promised.

    Null is what its agent can't tell; sizes of disks in GiB.
    """

    id: str
    name: str
    status: Literal["idle", "active", "busy", "offline", "maintenance", "removed"]
    region: str
    labels: dict[str, str]
    arch: str
    os: str
    gpu_model: str | None
    runtime: Literal["simulated", "container"]
    agent_version: str
    kernel_release: str | None
    engine_name: str | None
    engine_version: str | None
    image_disk_gb: int | None
    volume_disk_gb: int | None
    gpus: list[GpuAnswer]
    capacity: AmountsAnswer
    allocatable: AmountsAnswer
    allocated: AmountsAnswer
    measured: MeasuredAnswer
    replicas: int
    connected_at: datetime | None
    reason: str | None
    cordoned: bool
    draining: bool
    drain_deadline: datetime | None


class FleetAnswer(Answer):
    """The fleet: sums over all nodes, and the nodes."""

    as_of_sequence: int
    nodes_total: int
    nodes_by_status: dict[str, int]
    capacity: AmountsAnswer
    allocatable: AmountsAnswer
    allocated: AmountsAnswer
    nodes: list[NodeAnswer]


class HealthAnswer(Answer):
    """All that is needed answers."""

    status: Literal["healthy"]


class UnhealthyAnswer(Answer):
    """Something needed is down."""

    status: Literal["unhealthy"]
    checks: dict[str, str] = Field(description="`ok`, or what is wrong.")


class SchedulerAnswer(Answer):
    """What the scheduler did since it started; no policy learns yet."""

    status: str
    scheduled_pods: int
    failed_schedules: int
    training_episodes: int
    epsilon: float
    model_version: str


class QueueAnswer(Answer):
    """Deployments with a replica that waits for a place, new or not, by class of priority.

    `oldest_waiting_seconds` is how long ago the first of them began to wait; 0 if none waits.
    """

    depth: dict[str, int]
    total: int
    oldest_waiting_seconds: float


class LeaderAnswer(Answer):
    """The scheduler that was asked, and which one leads; null before the first round."""

    instance: str
    leader: str | None
    as_of_sequence: int
    rounds_accepted: int
    rounds_void: int
    nodes_heard: int


class LedgerAnswer(Answer):
    """How far the ledger is; `lag_commits` behind the log.

    `scrub_findings` are commits that the last scrub of the log and its copy found not to be as they
    were; `scrubbed_at` is when it ended, null before the first.
    """

    as_of_sequence: int
    lag_commits: int
    scrubbed_at: str | None
    scrub_findings: list[str]


class SystemAnswer(Answer):
    """The system's inside; null stands for a service that does not answer."""

    status: Literal["running", "degraded"]
    queue: QueueAnswer
    scheduler: LeaderAnswer | None
    ledger: LedgerAnswer | None
    log_sequence: int
    agents_connected: int
    policy: str
    versions: dict[str, str]
