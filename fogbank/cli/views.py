"""Messages of the server as plain values with the names and units of the REST face."""

from datetime import UTC, datetime, timedelta
from typing import Any

from google.protobuf.timestamp_pb2 import Timestamp

from fogbank.cli.enum_words import enum_word
from fogbank.cli.spec_content import spec_content
from fogbank.codec.values import details_from_pb
from fogbank.v1 import (
    deployment_service_pb2,
    deployments_pb2,
    moments_pb2,
    nodes_pb2,
    resources_pb2,
)

_SECOND = timedelta(seconds=1)


def status_word(number: int) -> str:
    """Return a deployment's status; `none` for the one before the first."""
    word = enum_word(deployments_pb2.DeploymentStatus, number, "DEPLOYMENT_STATUS_")
    return "none" if word == "unspecified" else word


_OUTWARD_STATES = {
    "new": "pending",
    "assigned": "pending",
    "accepted": "pending",
    "preparing": "pending",
    "ready": "pending",
    "complete": "stopped",
    "orphaned": "stopped",
    "rejected": "failed",
}


def replica_status(number: int) -> str:
    """Return a replica's state as REST shows it."""
    word = enum_word(deployments_pb2.ReplicaState, number, "REPLICA_STATE_")
    return _OUTWARD_STATES.get(word, word)


def instant(stamp: Timestamp) -> str | None:
    """Return an instant in ISO 8601, UTC; None if there is none."""
    if not stamp.seconds and not stamp.nanos:
        return None
    moment = stamp.ToDatetime(tzinfo=UTC)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def age(text: str | None, now: datetime | None = None) -> str:
    """Return how long ago an instant was, in one unit."""
    if text is None:
        return "-"
    passed = (now or datetime.now(UTC)) - datetime.fromisoformat(text)
    seconds = max(0, passed // _SECOND)
    for size, unit in ((86_400, "d"), (3_600, "h"), (60, "m")):
        if seconds >= size:
            return f"{seconds // size}{unit}"
    return f"{seconds}s"


def age_at(text: str | None, as_of: moments_pb2.Moment | None) -> str:
    """Return how old something was at a moment, now without one; of a log sequence nobody says."""
    if as_of is None:
        return age(text)
    return age(text, as_of.time.ToDatetime(tzinfo=UTC)) if as_of.HasField("time") else "-"


def amounts(resources: resources_pb2.Resources) -> dict[str, Any]:
    """Return resources in cores, MiB, devices and GiB, by the names that REST has for them."""
    return {
        "cpu_cores": _plain(resources.cpu_millicores),
        "memory_mb": resources.memory_mib,
        "gpu_units": _plain(resources.gpu_thousandths),
        "storage_gb": resources.storage_gib,
    }


def _plain(thousandths: int) -> float | int:
    whole, rest = divmod(thousandths, 1000)
    return thousandths / 1000 if rest else whole


def deployment_row(deployment: deployments_pb2.Deployment) -> dict[str, Any]:
    """Return a deployment as lists show it."""
    spec = deployment.spec
    return {
        "id": deployment.id,
        "name": spec.name,
        "status": status_word(deployment.status),
        "health": enum_word(deployments_pb2.Health, deployment.health, "HEALTH_"),
        "target_replicas": spec.replicas,
        "running_replicas": deployment.running_replicas,
        "type": enum_word(deployments_pb2.ServiceType, spec.type, "SERVICE_TYPE_"),
        "container_image": spec.container_image,
        "region": spec.region,
        "cluster_id": spec.cluster_id,
        "priority": spec.priority if spec.HasField("priority") else None,
        "reason": deployment.reason,
        "owner_id": deployment.owner_id,
        "created_at": instant(deployment.created_at),
        "updated_at": instant(deployment.updated_at),
    }


def deployment_detail(
    deployment: deployments_pb2.Deployment, runtimes: dict[str, str]
) -> dict[str, Any]:
    """Return all of a deployment; `runtimes` says of each node id how it runs containers."""
    spec = spec_content(deployment.spec)
    detail = deployment_row(deployment) | {
        "etag": deployment.etag,
        "resources": amounts(deployment.spec.resources),
        "disconnect": spec["disconnect"],
        "spec": spec,
        "replicas": [
            {
                "slot": replica.slot,
                "id": replica.id,
                "node_id": replica.node_id or None,
                "node": replica.node_name or None,
                "status": "unknown" if replica.unknown else replica_status(replica.state),
                "runtime": runtimes.get(replica.node_id),
                "container_id": replica.container_id or None,
                "restarts": replica.restart_count,
                "started_at": instant(replica.started_at),
                "reason": replica.reason,
                "gpu_devices": list(replica.gpu_devices),
                "health": enum_word(deployments_pb2.Health, replica.health, "HEALTH_"),
                "ports": [_port(port) for port in replica.ports],
            }
            for replica in deployment.replicas
        ],
        "recent_status_changes": [
            {
                "old_status": status_word(change.old_status),
                "new_status": status_word(change.new_status),
                "changed_at": instant(change.changed_at),
                "reason": change.reason,
                "sequence": change.sequence,
            }
            for change in deployment.recent_status_changes
        ],
    }
    if deployment.HasField("available_nodes"):
        detail["available_nodes"] = deployment.available_nodes
    return detail


def rollout_summary(rollout: deployment_service_pb2.GetRolloutResponse) -> dict[str, Any]:
    """Return how far an update is, and of which revision and image replicas are to be meanwhile."""
    wanted = {each.number: each for each in rollout.revisions}.get(rollout.wanted_revision)
    kinds = deployment_service_pb2.RolloutPhase
    return {
        "phase": enum_word(kinds, rollout.phase, "ROLLOUT_PHASE_"),
        "revision": rollout.revision,
        "wanted_revision": rollout.wanted_revision,
        "wanted_image": wanted.spec.container_image if wanted else None,
        "has_env": wanted.has_env if wanted else None,
        "env_names": list(wanted.env_names) if wanted else [],
        "message": rollout.message,
        "waits_for": rollout.waits_for or None,
    }


def update_text(rollout: dict[str, Any]) -> str:
    """Return what to say of an update that is under way or was rolled back, else nothing."""
    revision, wanted = rollout["revision"], rollout["wanted_revision"]
    if rollout["phase"] == "rolled_back":
        return f"revision {revision} failed, rolled back to {wanted}: {rollout['message']}"
    if rollout["phase"] == "progressing" and revision > 1:
        waits = f"; waits for {rollout['waits_for']}" if rollout["waits_for"] else ""
        return f"to revision {revision}: {rollout['message']}{waits}"
    return ""


def _port(port: deployments_pb2.PublishedPort) -> str:
    protocol = enum_word(deployments_pb2.PortProtocol, port.protocol, "PORT_PROTOCOL_")
    return f"{port.host_port}->{port.number}/{protocol}"


def node_row(node: nodes_pb2.Node) -> dict[str, Any]:
    """Return a node as lists show it."""
    print_of = node.fingerprint
    room = amounts(print_of.allocatable)
    booked = amounts(node.booked)
    return {
        "id": node.id,
        "name": node.name,
        "status": enum_word(nodes_pb2.NodeStatus, node.status, "NODE_STATUS_"),
        "runtime": runtime_word(node),
        "region": print_of.region,
        "replicas": node.replicas,
        "capacity": amounts(print_of.capacity),
        "allocatable": room,
        "booked": booked,
        "cpu_usage_percent": round(node.usage.cpu_percent, 1),
        "memory_usage_percent": round(node.usage.memory_percent, 1),
        "gpu_model": print_of.gpu_model or None,
        "arch": print_of.arch,
        "labels": dict(sorted(print_of.labels.items())),
        "agent_version": print_of.agent_version,
        **details_from_pb(print_of).described(),
        "connected_at": instant(node.connected_at),
        "reason": node.reason,
        "cordoned": node.cordoned,
        "draining": node.draining,
        "drain_deadline": instant(node.drain_deadline) if node.HasField("drain_deadline") else None,
        # For tables: what is taken, of how much.
        "cpu": _share(booked, room, "cpu_cores"),
        "memory": _share(booked, room, "memory_mb"),
        "storage": _share(booked, room, "storage_gb"),
        "gpu": _share(booked, room, "gpu_units"),
    }


def runtime_word(node: nodes_pb2.Node) -> str:
    """Return how a node runs containers; `simulated` ones only pretend."""
    return enum_word(nodes_pb2.RuntimeKind, node.fingerprint.runtime, "RUNTIME_KIND_")


def _share(booked: dict[str, Any], room: dict[str, Any], key: str) -> str:
    return f"{booked[key]:g}/{room[key]:g}" if room[key] else "-"


TABLE_ONLY = ("cpu", "memory", "storage", "gpu")
