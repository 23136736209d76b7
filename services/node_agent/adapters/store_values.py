"""What the agent keeps of replicas, as the JSON values that its store holds.

They are read back by later releases: add trailing fields, never change the old.
"""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from fogbank.domain.containers import (
    PLAIN_CONTAINER,
    ContainerSpec,
    HealthProbe,
    Port,
    PortProtocol,
    ProbeKind,
    PublishedPort,
    Volume,
)
from fogbank.domain.observations import ReplicaObservation
from fogbank.domain.resources import Resources
from fogbank.domain.states import Health, ReplicaState, RestartPolicy
from services.node_agent.core.replica import Desired, ReplicaRecord, ReplicaSpec

Json = Any


def encode_record(record: ReplicaRecord) -> Json:
    """Return a replica as a JSON array."""
    return [
        record.replica_id,
        int(record.desired),
        _encode_spec(record.spec),
        record.since_sequence,
        None if record.observed is None else encode_observation(record.observed),
        record.restarts,
        record.restart_floor,
        *([record.unreported] if record.unreported or record.interrupted else []),
        *([True] if record.interrupted else []),
    ]


def decode_record(value: Json) -> ReplicaRecord:
    """Read what `encode_record` wrote.

    Raises:
        ValueError: it is nothing this release knows.
    """
    try:
        replica_id, desired, spec, since_sequence, observed, restarts, floor, *rest = value
        return ReplicaRecord(
            replica_id,
            Desired(desired),
            _decode_spec(spec),
            since_sequence,
            None if observed is None else decode_observation(observed),
            list(restarts),
            floor,
            bool(rest and rest[0]),
            bool(rest[1:] and rest[1]),
        )
    except (KeyError, TypeError, IndexError, ValueError) as error:
        raise ValueError(f"not a replica this agent knows: {error!r}") from error


def _encode_spec(spec: ReplicaSpec | None) -> Json:
    if spec is None:
        return None
    resources = spec.resources
    return [
        spec.deployment_id,
        spec.deployment_name,
        spec.image,
        [
            resources.cpu_millicores,
            resources.memory_mib,
            resources.storage_gib,
            resources.gpu_thousandths,
        ],
        dict(spec.env),
        int(spec.restart),
        list(spec.starts_after),
        spec.stop_after_ms,
        list(spec.gpu_devices),
        *_encode_container(spec.container),
    ]


def _decode_spec(value: Json) -> ReplicaSpec | None:
    if value is None:
        return None
    deployment_id, deployment_name, image, resources, env, restart, starts_after = value[:7]
    stop_after_ms, gpu_devices = value[7:9]
    return ReplicaSpec(
        deployment_id,
        deployment_name,
        image,
        Resources(*resources),
        env,
        RestartPolicy(restart),
        tuple(starts_after),
        stop_after_ms,
        tuple(gpu_devices),
        _decode_container(value[9]) if value[9:] else PLAIN_CONTAINER,
    )


def _encode_container(container: ContainerSpec) -> list[Json]:
    return [] if container == PLAIN_CONTAINER else [asdict(container)]


def _decode_container(value: Json) -> ContainerSpec:
    probe = value["probe"]
    return ContainerSpec(
        tuple(value["command"]),
        tuple(Port(each["number"], PortProtocol(each["protocol"])) for each in value["ports"]),
        tuple(Volume(**each) for each in value["volumes"]),
        HealthProbe(
            **{**probe, "kind": ProbeKind(probe["kind"]), "command": tuple(probe["command"])}
        )
        if probe
        else None,
        value["stop_signal"],
        value["stop_grace_ms"],
    )


def encode_observation(seen: ReplicaObservation) -> Json:
    """Return an observation as a JSON array."""
    return [
        seen.replica_id,
        seen.restart_count,
        int(seen.state),
        seen.container_id,
        seen.started_at_us,
        int(seen.health),
        seen.final,
        seen.exit_code,
        seen.reason,
        seen.observed_at_us,
        *([[str(port) for port in seen.ports]] if seen.ports or seen.unobtainable else []),
        *([True] if seen.unobtainable else []),
    ]


def decode_observation(value: Json) -> ReplicaObservation:
    """Read what `encode_observation` wrote.

    Raises:
        ValueError: it is nothing this release knows.
    """
    try:
        replica_id, restart_count, state, container_id, started_at_us, health, *rest = value
        final, exit_code, reason, observed_at_us = rest[:4]
        return ReplicaObservation(
            replica_id,
            restart_count,
            ReplicaState(state),
            container_id,
            started_at_us,
            Health(health),
            final,
            exit_code,
            reason,
            observed_at_us,
            tuple(PublishedPort.parse(port) for port in rest[4]) if rest[4:] else (),
            bool(rest[5:] and rest[5]),
        )
    except (TypeError, IndexError, ValueError) as error:
        raise ValueError(f"not an observation this agent knows: {error!r}") from error
