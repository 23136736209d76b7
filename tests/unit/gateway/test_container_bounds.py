"""What may be asked of containers."""

from dataclasses import replace

import pytest

from fogbank.codec.containers import container_from_pb, container_to_pb
from fogbank.domain.containers import (
    PLAIN_CONTAINER,
    ContainerSpec,
    HealthProbe,
    Port,
    PortProtocol,
    ProbeKind,
    Volume,
)
from fogbank.v1 import deployments_pb2
from services.gateway.core.container_bounds import container_problems

GOOD = ContainerSpec(
    command=("serve", "--all"),
    ports=(Port(53), Port(53, PortProtocol.UDP)),
    volumes=(Volume("data", "/var/lib/data", 6), Volume("seed", "/seed", 4, read_only=True)),
    probe=HealthProbe(ProbeKind.HTTP, 80, "/healthz"),
    stop_signal="SIGINT",
    stop_grace_ms=30_000,
)
PROBES = (
    HealthProbe(ProbeKind.TCP, 1, start_period_ms=1, interval_ms=200, timeout_ms=300),
    HealthProbe(ProbeKind.HTTP, 65_535, "/a", failures=4, successes=5, restart_unhealthy=True),
    HealthProbe(ProbeKind.EXEC, command=("true", "-x")),
    HealthProbe(ProbeKind.GRPC, 50_051, service="web"),
)


def test_what_makes_sense_is_taken() -> None:
    for container in (PLAIN_CONTAINER, GOOD, *(replace(GOOD, probe=probe) for probe in PROBES)):
        assert list(container_problems(container, 10)) == []


@pytest.mark.parametrize("probe", [None, *PROBES])
def test_messages_hold_all_of_it(probe: HealthProbe | None) -> None:
    container = replace(GOOD, probe=probe)
    message = container_to_pb(container)
    assert message is not None
    assert container_from_pb(message) == container


def test_nothing_asked_is_no_message() -> None:
    assert container_to_pb(PLAIN_CONTAINER) is None
    assert container_from_pb(deployments_pb2.ContainerSpec()) == PLAIN_CONTAINER
    no_kind = deployments_pb2.ContainerSpec(probe=deployments_pb2.HealthProbe(failures=3))
    assert container_from_pb(no_kind) == PLAIN_CONTAINER


def _probe(**changes: object) -> ContainerSpec:
    return ContainerSpec(probe=replace(PROBES[0], **changes))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("container", "field", "given"),
    [
        (ContainerSpec(command=("",)), "command", "begin with a program"),
        (ContainerSpec(command=("x",) * 65), "command", "got 65"),
        (ContainerSpec(command=("a\0b",)), "command", "zero"),
        (ContainerSpec(ports=(Port(0),)), "ports.number", "between 1 and 65535, got 0"),
        (ContainerSpec(ports=(Port(80), Port(80))), "ports", "twice"),
        (ContainerSpec(ports=tuple(map(Port, range(1, 34)))), "ports", "got 33"),
        (ContainerSpec(volumes=(Volume("A b", "/x", 1),)), "volumes.name", "'A b'"),
        (ContainerSpec(volumes=(Volume("a", "x", 1),)), "volumes.path", "'x'"),
        (ContainerSpec(volumes=(Volume("a", "/", 1),)), "volumes.path", "'/'"),
        (ContainerSpec(volumes=(Volume("a", "/x/../y", 1),)), "volumes.path", "'/x/../y'"),
        (ContainerSpec(volumes=(Volume("a", "/x:ro", 1),)), "volumes.path", "'/x:ro'"),
        (ContainerSpec(volumes=(Volume("a", "/x", 0),)), "volumes.size_gib", "got 0"),
        (ContainerSpec(volumes=(Volume("a", "/x", 11),)), "volumes.size_gib", "10 in all, got 11"),
        (
            ContainerSpec(volumes=(Volume("a", "/x", 1), Volume("b", "/x", 1))),
            "volumes.path",
            "twice",
        ),
        (ContainerSpec(stop_signal="TERM"), "stop_signal", "'TERM'"),
        (ContainerSpec(stop_grace_ms=-1), "stop_grace_ms", "got -1"),
        (_probe(port=70_000), "probe.tcp.port", "got 70000"),
        (_probe(path="x y"), "probe.http.path", "'x y'"),
        (_probe(interval_ms=0), "probe.interval_ms", "got 0"),
        (_probe(timeout_ms=10**8), "probe.timeout_ms", "got 100000000"),
        (_probe(failures=0), "probe.failures", "got 0"),
        (_probe(kind=ProbeKind.EXEC), "probe.exec.command", "got 0"),
    ],
)
def test_what_makes_none_is_named(container: ContainerSpec, field: str, given: str) -> None:
    problems = dict(container_problems(container, 10))
    assert given in problems[field]
