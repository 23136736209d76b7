"""How containers are made, watched and ended, to messages and back."""

from __future__ import annotations

from collections.abc import Iterable
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
from fogbank.domain.members import ByNumber
from fogbank.v1 import deployments_pb2 as pb

_PROTOCOLS = ByNumber(PortProtocol)
_NUMBERS = ("start_period_ms", "interval_ms", "timeout_ms", "failures", "successes")


def container_to_pb(container: ContainerSpec) -> pb.ContainerSpec | None:
    """Return the message; None for a container of which nothing is asked."""
    if container == PLAIN_CONTAINER:
        return None
    return pb.ContainerSpec(
        command=container.command,
        ports=[
            pb.Port(number=port.number, protocol=pb.PortProtocol.ValueType(port.protocol))
            for port in container.ports
        ],
        volumes=[
            pb.Volume(
                name=volume.name,
                path=volume.path,
                size_gib=volume.size_gib,
                read_only=volume.read_only,
            )
            for volume in container.volumes
        ],
        probe=None if container.probe is None else _probe_to_pb(container.probe),
        stop_signal=container.stop_signal,
        stop_grace_ms=container.stop_grace_ms or None,
    )


def container_from_pb(message: pb.ContainerSpec) -> ContainerSpec:
    """Return the container that a message asks for, with defaults for what is absent.

    ValueError for a protocol that is none.
    """
    return ContainerSpec(
        tuple(message.command),
        tuple(Port(port.number, _protocol(port.protocol)) for port in message.ports),
        tuple(
            Volume(volume.name, volume.path, volume.size_gib, volume.read_only)
            for volume in message.volumes
        ),
        _probe_from_pb(message.probe) if message.HasField("probe") else None,
        message.stop_signal,
        message.stop_grace_ms,
    )


def ports_to_pb(ports: Iterable[PublishedPort]) -> list[pb.PublishedPort]:
    """Return the messages of published ports."""
    return [
        pb.PublishedPort(
            number=port.number,
            protocol=pb.PortProtocol.ValueType(port.protocol),
            host_port=port.host_port,
        )
        for port in ports
    ]


def ports_from_pb(messages: Iterable[pb.PublishedPort]) -> tuple[PublishedPort, ...]:
    """Return published ports. ValueError for a protocol that is none."""
    return tuple(
        [PublishedPort(port.number, _protocol(port.protocol), port.host_port) for port in messages]
    )


def _protocol(number: int) -> PortProtocol:
    return _PROTOCOLS[number or PortProtocol.TCP]


def _probe_to_pb(probe: HealthProbe) -> pb.HealthProbe:
    message = pb.HealthProbe(
        start_period_ms=probe.start_period_ms,
        interval_ms=probe.interval_ms,
        timeout_ms=probe.timeout_ms,
        failures=probe.failures,
        successes=probe.successes,
        restart_unhealthy=probe.restart_unhealthy,
    )
    match probe.kind:
        case ProbeKind.TCP:
            message.tcp.port = probe.port
        case ProbeKind.HTTP:
            message.http.port, message.http.path = probe.port, probe.path
        case ProbeKind.EXEC:
            message.exec.command.extend(probe.command)
        case ProbeKind.GRPC:
            message.grpc.port, message.grpc.service = probe.port, probe.service
    return message


def _probe_from_pb(message: pb.HealthProbe) -> HealthProbe | None:
    """Return the probe; None for one that tries nothing."""
    kind = message.WhichOneof("kind")
    if kind is None:
        return None
    given: dict[str, Any] = {
        field.name: value for field, value in message.ListFields() if field.name in _NUMBERS
    }
    if kind == "exec":
        given["command"] = tuple(message.exec.command)
    else:
        given["port"] = getattr(message, kind).port
    if kind == "http" and message.http.path:
        given["path"] = message.http.path
    if kind == "grpc":
        given["service"] = message.grpc.service
    return HealthProbe(
        ProbeKind[kind.upper()], restart_unhealthy=message.restart_unhealthy, **given
    )
