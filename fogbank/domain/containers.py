"""How a replica's container is made, watched and ended, as its deployment's author wants it."""

from __future__ import annotations

from enum import IntEnum
from typing import Self

from fogbank.domain.value import value


class PortProtocol(IntEnum):
    """How bytes travel to a port; numbers are those of the contract."""

    TCP = 1
    UDP = 2


@value
class Port:
    """A port that a container listens at, to be published at a free port of its host."""

    number: int
    protocol: PortProtocol = PortProtocol.TCP


@value
class PublishedPort:
    """Where a container's port is reached on its host."""

    number: int
    protocol: PortProtocol
    host_port: int

    def __str__(self) -> str:
        return f"{self.host_port}->{self.number}/{self.protocol.name.lower()}"

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read what `str` made of one."""
        host_port, _, rest = text.partition("->")
        number, _, protocol = rest.partition("/")
        return cls(int(number), PortProtocol[protocol.upper()], int(host_port))


class ProbeKind(IntEnum):
    """What a probe tries; numbers are those of the contract's choices."""

    TCP = 1
    HTTP = 2
    EXEC = 3
    GRPC = 4


@value
class HealthProbe:
    """How an agent finds out whether a container is well; times in milliseconds.

    `port` is for all kinds but EXEC, which has a `command`; `path` is HTTP's, `service` GRPC's.
    Failures within `start_period_ms` of a start don't count before the first success. So many
    `failures` or `successes` in a row change what is known; `restart_unhealthy` stops a container
    that became unhealthy, and its end counts as any other.
    """

    kind: ProbeKind
    port: int = 0
    path: str = "/"
    command: tuple[str, ...] = ()
    service: str = ""
    start_period_ms: int = 0
    interval_ms: int = 10_000
    timeout_ms: int = 3_000
    failures: int = 3
    successes: int = 1
    restart_unhealthy: bool = False


@value
class Volume:
    """A place for data on the node, shared by the replicas of a deployment there; size in GiB."""

    name: str
    path: str
    size_gib: int
    read_only: bool = False


@value
class ContainerSpec:
    """What of a container is not its image, its environment or its share of the machine.

    An empty `command` and `stop_signal` leave what the image says; `stop_grace_ms` 0 leaves what
    the node's agent is set to.
    """

    command: tuple[str, ...] = ()
    ports: tuple[Port, ...] = ()
    volumes: tuple[Volume, ...] = ()
    probe: HealthProbe | None = None
    stop_signal: str = ""
    stop_grace_ms: int = 0


PLAIN_CONTAINER = ContainerSpec()
