"""The domain's values as the contract's JSON."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from enum import Enum
from typing import Any

from pydantic_core import to_json
from starlette.responses import Response

from fogbank.domain.field_names import field_names
from fogbank.domain.node import Fingerprint
from fogbank.domain.resources import Resources
from fogbank.domain.revisions import Revision
from fogbank.domain.rollouts import RolloutView
from fogbank.domain.states import DeploymentStatus, Health, ReplicaState
from fogbank.domain.status import StatusChange
from fogbank.domain.views import DeploymentView, NodeView, ReplicaSummary

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MILLICORES = 1000
_THOUSANDTHS = 1000
_INSTANT = "_us"

_STARTING = "starting"
_REPLICA_STATUS = {
    ReplicaState.STARTING: _STARTING,
    ReplicaState.RUNNING: "running",
    ReplicaState.COMPLETE: "stopped",
    ReplicaState.STOPPED: "stopped",
    ReplicaState.FAILED: "failed",
    ReplicaState.REJECTED: "failed",
    ReplicaState.ORPHANED: "failed",
}


def json_response(
    content: object, status: int = 200, headers: dict[str, str] | None = None
) -> Response:
    """Return `content` as JSON."""
    return Response(to_json(content), status, headers, "application/json")


def instant(us: int) -> str:
    """Return microseconds since 1970 as ISO 8601 UTC, to the microsecond, ending in Z."""
    return f"{(_EPOCH + timedelta(microseconds=us)).isoformat().removesuffix('+00:00')}Z"


def status_word(status: DeploymentStatus) -> str:
    """Return a deployment's status as users see it: degraded ones run, and are unhealthy."""
    if status is DeploymentStatus.DEGRADED:
        status = DeploymentStatus.RUNNING
    return status.name.lower()


def deployment_standing(status: DeploymentStatus) -> dict[str, Any]:
    """Return the status in its word, and whether that is short of what was asked for."""
    return {"status": status_word(status), "degraded": status is DeploymentStatus.DEGRADED}


def health_word(view: DeploymentView) -> str:
    """Return a deployment's health in lowercase."""
    if view.status is DeploymentStatus.DEGRADED:
        return Health.UNHEALTHY.name.lower()
    return view.health.name.lower()


def resources(amounts: Resources) -> dict[str, float | int]:
    """Return amounts in the units of the REST face."""
    gpus = amounts.gpu_thousandths / _THOUSANDTHS
    return {
        "cpu_cores": amounts.cpu_millicores / _MILLICORES,
        "memory_mb": amounts.memory_mib,
        "gpu_units": int(gpus) if gpus == int(gpus) else gpus,
        "storage_gb": amounts.storage_gib,
    }


def deployment_status(view: DeploymentView) -> dict[str, Any]:
    """Return all about one deployment. Environment values are not in it."""
    content: dict[str, Any] = {
        "deployment_id": view.id,
        "name": view.spec.name,
        **deployment_standing(view.status),
        "health": health_word(view),
        "target_replicas": view.spec.replicas,
        "replicas": [_replica(each) for each in view.replicas],
        "resources": resources(view.spec.resources),
        "disconnect": plain(view.spec.disconnect),
        "recent_status_changes": [change_of_status(each) for each in view.recent_changes],
        "created_at": instant(view.created_at_us),
        "updated_at": instant(view.updated_at_us),
    }
    if view.status is DeploymentStatus.FAILED:
        content["error"] = view.reason
        content["available_nodes"] = view.available_nodes
    return content


def _replica(replica: ReplicaSummary) -> dict[str, Any]:
    content: dict[str, Any] = {
        "id": replica.id,
        "node_id": replica.node_id or None,
        "status": _REPLICA_STATUS.get(replica.state, "pending"),
        "container_id": replica.container_id or None,
        "started_at": instant(replica.started_at_us) if replica.started_at_us else None,
    }
    if replica.ports:
        content["ports"] = [
            {
                "number": port.number,
                "protocol": port.protocol.name.lower(),
                "host_port": port.host_port,
            }
            for port in replica.ports
        ]
    return content


def change_of_status(change: StatusChange) -> dict[str, Any]:
    """Return a change of status as a deployment's history has it."""
    return {
        "old_status": status_word(change.old) if change.old is not None else "none",
        "new_status": status_word(change.new),
        "degraded": change.new is DeploymentStatus.DEGRADED,
        "changed_at": instant(change.changed_at_us),
        "reason": change.reason,
    }


def deployment_row(view: DeploymentView) -> dict[str, Any]:
    """Return a deployment as lists show it."""
    return {
        "id": view.id,
        "name": view.spec.name,
        **deployment_standing(view.status),
        "target_replicas": view.spec.replicas,
        "running_replicas": view.running_replicas,
        "created_at": instant(view.created_at_us),
        "updated_at": instant(view.updated_at_us),
    }


def rollout(view: RolloutView) -> dict[str, Any]:
    """Return how far the replacement of replicas is, revisions newest first."""
    return {
        "deployment_id": view.deployment_id,
        "phase": view.phase.name.lower(),
        "message": view.message,
        "waits_for": view.waits_for or None,
        "gives_up_at": instant(view.gives_up_us) if view.gives_up_us else None,
        "goes_back_to": view.goes_back_to or None,
        "revision": view.revision,
        "wanted_revision": view.wanted_revision,
        "replicas": view.replicas,
        "updated": view.updated,
        "available": view.available,
        "leaving": view.leaving,
        "revisions": [_revision(view, each) for each in reversed(view.revisions)],
        "as_of_sequence": view.as_of_sequence,
    }


def _revision(view: RolloutView, revision: Revision) -> dict[str, Any]:
    states = dict.fromkeys(view.failed_revisions, "failed") | {view.wanted_revision: "wanted"}
    return {
        "revision": revision.number,
        "state": states.get(revision.number),
        "container_image": revision.spec.container_image,
        "resources": resources(revision.spec.resources),
        "has_env": bool(revision.env_key),
        "created_at": instant(revision.at_us),
    }


def live_change(change: StatusChange) -> dict[str, Any]:
    """Return a change of status as WebSockets send it."""
    return {
        "deployment_id": change.deployment_id,
        **deployment_standing(change.new),
        "old_status": status_word(change.old) if change.old is not None else "none",
        "changed_at": instant(change.changed_at_us),
        "reason": change.reason,
        "sequence": change.sequence,
    }


def node(view: NodeView) -> dict[str, Any]:
    """Return a node with what it has, what is promised of it and what was measured."""
    fingerprint: Fingerprint = view.fingerprint
    return {
        "id": view.id,
        "name": view.name,
        "status": view.status.name.lower(),
        "region": fingerprint.region,
        "labels": dict(fingerprint.labels),
        "arch": fingerprint.arch,
        "os": fingerprint.os,
        "gpu_model": fingerprint.gpu_model or None,
        "runtime": fingerprint.runtime.name.lower(),
        "agent_version": fingerprint.agent_version,
        **view.details.described(),
        "capacity": resources(fingerprint.capacity),
        "allocatable": resources(fingerprint.allocatable),
        "allocated": resources(view.booked),
        "measured": {
            "cpu_usage_percent": view.cpu_percent,
            "memory_usage_percent": view.memory_percent,
        },
        "replicas": view.replicas,
        "connected_at": instant(view.connected_at_us) if view.connected_at_us else None,
        "reason": view.reason or None,
        "cordoned": view.cordoned,
        "draining": view.draining,
        "drain_deadline": instant(view.drain_deadline_us) if view.drain_deadline_us else None,
    }


def plain(value: object, *, hidden: frozenset[str] = frozenset()) -> Any:
    """Return a value of the domain as JSON can carry it; fields named in `hidden` are left out.

    Enumerations become lowercase words, bytes hexadecimal, `x_us` an instant named `x`.
    """
    if isinstance(value, Enum):
        return value.name.lower()
    if isinstance(value, bytes):
        return value.hex()
    names = field_names(value)
    if names is not None:
        return {
            name.removesuffix(_INSTANT): _field(name, getattr(value, name), hidden)
            for name in names
            if name not in hidden
        }
    if isinstance(value, (list, tuple)):
        return [plain(each, hidden=hidden) for each in value]
    if isinstance(value, dict):
        return {str(key): plain(each, hidden=hidden) for key, each in value.items()}
    return value


def _field(name: str, value: object, hidden: frozenset[str]) -> Any:
    if name.endswith(_INSTANT) and isinstance(value, int):
        return instant(value) if value else None
    return plain(value, hidden=hidden)
