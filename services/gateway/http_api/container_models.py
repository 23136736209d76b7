"""Bodies that say how containers are made, watched and ended. Types only, as in `models`."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from fogbank.domain.containers import (
    ContainerSpec,
    HealthProbe,
    Port,
    PortProtocol,
    ProbeKind,
    Volume,
)
from fogbank.domain.errors import InvalidArgumentError
from services.gateway.core import container_bounds as bounds
from services.gateway.http_api.bodies import Body

_PORT: Any = {"minimum": 1, "maximum": bounds.MAX_PORT}
_PATHS: Any = {"maxLength": bounds.MAX_PATH}
_PAUSES: Any = {"minimum": bounds.MIN_PROBE_MS, "maximum": bounds.MAX_PROBE_MS}
_TIMES: Any = {"minimum": 1, "maximum": bounds.MAX_TIMES}
_WORDS: Any = {"maxItems": bounds.MAX_COMMAND}
_USUAL = HealthProbe(ProbeKind.TCP)


class PortBody(Body):
    """A port to publish, at a free port of the host."""

    number: int = Field(json_schema_extra=_PORT)
    protocol: Literal["tcp", "udp"] = "tcp"


class VolumeBody(Body):
    """A place for data on the node; replicas of the deployment on a node share it."""

    name: str = Field(json_schema_extra={"minLength": 1, "maxLength": 63})
    path: str = Field(description="Where the container sees it.", json_schema_extra=_PATHS)
    size_gib: int = Field(
        description="How much it may hold, of the replica's storage.",
        json_schema_extra={"minimum": 1},
    )
    read_only: bool = False


class TcpProbeBody(Body):
    """A connection can be made."""

    port: int = Field(json_schema_extra=_PORT)


class HttpProbeBody(Body):
    """GET answers with a status from 200 to 399."""

    port: int = Field(json_schema_extra=_PORT)
    path: str = Field("/", json_schema_extra=_PATHS)


class ExecProbeBody(Body):
    """A command within the container ends with exit code 0."""

    command: list[str] = Field(json_schema_extra=_WORDS | {"minItems": 1})


class GrpcProbeBody(Body):
    """The standard health service of gRPC says SERVING."""

    port: int = Field(json_schema_extra=_PORT)
    service: str = Field("", json_schema_extra=_PATHS)


class ProbeBody(Body):
    """How it is found out whether a container is well: one of the four; times in milliseconds."""

    tcp: TcpProbeBody | None = None
    http: HttpProbeBody | None = None
    exec: ExecProbeBody | None = None
    grpc: GrpcProbeBody | None = None
    start_period_ms: int = Field(
        0,
        description="Failures so soon after a start don't count.",
        json_schema_extra={"minimum": 0, "maximum": bounds.MAX_PROBE_MS},
    )
    interval_ms: int = Field(_USUAL.interval_ms, json_schema_extra=_PAUSES)
    timeout_ms: int = Field(_USUAL.timeout_ms, json_schema_extra=_PAUSES)
    failures: int = Field(
        _USUAL.failures, description="So many in a row: unhealthy.", json_schema_extra=_TIMES
    )
    successes: int = Field(
        _USUAL.successes, description="So many in a row: healthy.", json_schema_extra=_TIMES
    )
    restart_unhealthy: bool = Field(
        default=False, description="Stop it when it becomes unhealthy; `restart` says what then."
    )

    def probe(self) -> HealthProbe:
        """Return the probe.

        Raises:
            InvalidArgumentError: none of the four, or several.
        """
        kinds = [kind for kind in ProbeKind if getattr(self, kind.name.lower()) is not None]
        if len(kinds) != 1:
            given = ", ".join(kind.name.lower() for kind in kinds) or "none"
            raise InvalidArgumentError.of_field(
                "container.probe", f"must have exactly one of tcp, http, exec, grpc, got {given}"
            )
        tried: dict[str, Any] = getattr(self, kinds[0].name.lower()).model_dump()
        if "command" in tried:
            tried["command"] = tuple(tried["command"])
        rest = self.model_dump(exclude={kind.name.lower() for kind in ProbeKind})
        return HealthProbe(kinds[0], **tried, **rest)


class ContainerBody(Body):
    """How each replica's container is made, watched and ended."""

    command: list[str] = Field(
        default=[], description="Instead of the image's.", json_schema_extra=_WORDS
    )
    ports: list[PortBody] = Field(default=[], json_schema_extra={"maxItems": bounds.MAX_PORTS})
    volumes: list[VolumeBody] = Field(
        default=[], json_schema_extra={"maxItems": bounds.MAX_VOLUMES}
    )
    probe: ProbeBody | None = Field(None, description="Without one, to run is to be well.")
    stop_signal: str = Field("", description="Empty for the image's own.")
    stop_grace_ms: int = Field(
        0,
        description="Ended by force after; 0: as the node's agent is set.",
        json_schema_extra={"minimum": 0, "maximum": bounds.MAX_GRACE_MS},
    )

    def spec(self) -> ContainerSpec:
        """Return what is asked of the container.

        Raises:
            InvalidArgumentError: a probe that is none.
        """
        return ContainerSpec(
            tuple(self.command),
            tuple(Port(port.number, PortProtocol[port.protocol.upper()]) for port in self.ports),
            tuple(Volume(**volume.model_dump()) for volume in self.volumes),
            self.probe.probe() if self.probe is not None else None,
            self.stop_signal,
            self.stop_grace_ms,
        )
