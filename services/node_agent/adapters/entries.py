"""What the agent keeps, as JSON values: the format of its journal and of its state file.

The format is read back by later releases: add tags and trailing fields, never change the old.
"""

from __future__ import annotations

from collections.abc import Callable
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
from fogbank.domain.events import ReplicaObservation
from fogbank.domain.resources import Resources
from fogbank.domain.states import Health, ReplicaState, RestartPolicy
from services.node_agent.core.kept import (
    AssignmentKept,
    Entry,
    EpochKept,
    Kept,
    ObservationKept,
    ReplicaDropped,
    ReportsAcknowledged,
    ReportSealed,
    ReportsRenumbered,
    SequenceKept,
)
from services.node_agent.core.replica import Desired, ReplicaRecord, ReplicaSpec

Json = Any


def encode_entry(entry: Entry) -> Json:
    """Return the entry as a JSON array that begins with its tag."""
    match entry:
        case EpochKept(epoch):
            return ["epoch", epoch]
        case SequenceKept(sequence):
            return ["sequence", sequence]
        case AssignmentKept(replica_id, desired, sequence, spec, floor):
            written = ["assignment", replica_id, int(desired), sequence, _encode_spec(spec)]
            return [*written, floor] if floor else written
        case ReplicaDropped(replica_id):
            return ["dropped", replica_id]
        case ObservationKept(seen, reported, restarted_at_us):
            return ["observation", _encode_observation(seen), reported, restarted_at_us]
        case ReportSealed(number, count):
            return ["sealed", number, count]
        case ReportsAcknowledged(through):
            return ["acknowledged", through]
        case ReportsRenumbered(last_number):
            return ["renumbered", last_number]


def decode_entry(value: Json) -> Entry:
    """Read what `encode_entry` wrote.

    Raises:
        ValueError: it is nothing this release knows.
    """
    try:
        tag, *fields = value
        return _DECODERS[tag](fields)
    except (KeyError, TypeError, IndexError, ValueError) as error:
        raise ValueError(f"not an entry this agent knows: {error!r}") from error


def encode_kept(kept: Kept) -> Json:
    """Return the whole durable state as a JSON object."""
    return {
        "epoch": kept.epoch,
        "sequence": kept.sequence,
        "last_number": kept.last_number,
        "replicas": [_encode_record(record) for record in kept.replicas.values()],
        "unreported": [_encode_observation(seen) for seen in kept.unreported],
        "outbox": [
            [number, [_encode_observation(seen) for seen in report]]
            for number, report in kept.outbox.items()
        ],
    }


def decode_kept(value: Json) -> Kept:
    """Read what `encode_kept` wrote.

    Raises:
        ValueError: it is nothing this release knows.
    """
    try:
        records = [_decode_record(record) for record in value["replicas"]]
        return Kept(
            epoch=value["epoch"],
            sequence=value["sequence"],
            last_number=value["last_number"],
            replicas={record.replica_id: record for record in records},
            unreported=[_decode_observation(seen) for seen in value["unreported"]],
            outbox={
                number: tuple(_decode_observation(seen) for seen in report)
                for number, report in value["outbox"]
            },
        )
    except (KeyError, TypeError, IndexError) as error:
        raise ValueError(f"not a state this agent knows: {error!r}") from error


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
    stop_after_ms, gpu_devices = value[7:9] or (0, ())
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


def _encode_observation(seen: ReplicaObservation) -> Json:
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
        *([[str(port) for port in seen.ports]] if seen.ports else []),
    ]


def _decode_observation(value: Json) -> ReplicaObservation:
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
    )


def _encode_record(record: ReplicaRecord) -> Json:
    return [
        record.replica_id,
        int(record.desired),
        _encode_spec(record.spec),
        record.since_sequence,
        None if record.observed is None else _encode_observation(record.observed),
        record.restarts,
        record.restart_floor,
    ]


def _decode_record(value: Json) -> ReplicaRecord:
    replica_id, desired, spec, since_sequence, observed, restarts = value[:6]
    return ReplicaRecord(
        replica_id,
        Desired(desired),
        _decode_spec(spec),
        since_sequence,
        None if observed is None else _decode_observation(observed),
        list(restarts),
        *value[6:7],
    )


_DECODERS: dict[str, Callable[[list[Json]], Entry]] = {
    "epoch": lambda fields: EpochKept(fields[0]),
    "sequence": lambda fields: SequenceKept(fields[0]),
    "assignment": lambda fields: AssignmentKept(
        fields[0], Desired(fields[1]), fields[2], _decode_spec(fields[3]), *fields[4:5]
    ),
    "dropped": lambda fields: ReplicaDropped(fields[0]),
    "observation": lambda fields: ObservationKept(
        _decode_observation(fields[0]), fields[1], fields[2]
    ),
    "sealed": lambda fields: ReportSealed(fields[0], fields[1]),
    "acknowledged": lambda fields: ReportsAcknowledged(fields[0]),
    "renumbered": lambda fields: ReportsRenumbered(fields[0]),
}
