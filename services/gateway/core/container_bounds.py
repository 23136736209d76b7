"""What may be asked of a replica's container."""

from __future__ import annotations

import re
from collections.abc import Iterator

from fogbank.domain.containers import ContainerSpec, HealthProbe, ProbeKind, Volume
from services.gateway.core.bounds import shown_number

MAX_COMMAND = 64
MAX_ARGUMENT = 4_096
MAX_PORTS = 32
MAX_PORT = 65_535
MAX_VOLUMES = 16
MAX_PATH = 256
MAX_TIMES = 100
MIN_PROBE_MS = 100
MAX_PROBE_MS = 3_600_000
MAX_GRACE_MS = 3_600_000

_VOLUME_NAME = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?")
_PATH = re.compile(r"/[A-Za-z0-9._/@+-]*")
_SIGNAL = re.compile(r"SIG[A-Z0-9+]{2,10}")


def container_problems(container: ContainerSpec, storage_gib: float) -> Iterator[tuple[str, str]]:
    """Yield what is wrong: a field each, and what is allowed and was given."""
    yield from _command("command", container.command, least=0)
    if len(container.ports) > MAX_PORTS:
        yield "ports", f"must be at most {MAX_PORTS}, got {len(container.ports)}"
    for port in container.ports:
        yield from _number("ports.number", port.number, 1, MAX_PORT)
    if len(set(container.ports)) < len(container.ports):
        yield "ports", "must not name a port twice"
    yield from _volumes(container.volumes, storage_gib)
    if container.probe is not None:
        yield from _probe(container.probe)
    if container.stop_signal and not _SIGNAL.fullmatch(container.stop_signal):
        yield "stop_signal", f"must be a name such as SIGTERM, got {container.stop_signal[:20]!r}"
    yield from _number("stop_grace_ms", container.stop_grace_ms, 0, MAX_GRACE_MS)


def _number(field: str, value: int, least: int, most: int) -> Iterator[tuple[str, str]]:
    if not least <= value <= most:
        yield field, f"must be between {least} and {most}, got {shown_number(value)}"


def _command(field: str, command: tuple[str, ...], *, least: int) -> Iterator[tuple[str, str]]:
    if not least <= len(command) <= MAX_COMMAND:
        yield field, f"must be {least} to {MAX_COMMAND} words, got {len(command)}"
    if any(len(word) > MAX_ARGUMENT or "\0" in word for word in command):
        yield field, f"must have words of at most {MAX_ARGUMENT} characters, none of them zero"
    if command and not command[0]:
        yield field, "must begin with a program"


def _volumes(volumes: tuple[Volume, ...], storage_gib: float) -> Iterator[tuple[str, str]]:
    if len(volumes) > MAX_VOLUMES:
        yield "volumes", f"must be at most {MAX_VOLUMES}, got {len(volumes)}"
    for volume in volumes:
        if not _VOLUME_NAME.fullmatch(volume.name):
            allowed = "1 to 63 lower-case letters, digits and inner '-'"
            yield "volumes.name", f"must be {allowed}, got {volume.name[:80]!r}"
        parts = volume.path.split("/")
        is_path = _PATH.fullmatch(volume.path) and len(volume.path) <= MAX_PATH
        if not is_path or ".." in parts or not any(parts):
            allowed = f"an absolute path of at most {MAX_PATH} letters, digits and '._@+-', no '..'"
            yield "volumes.path", f"must be {allowed}, got {volume.path[:80]!r}"
        if volume.size_gib < 1:
            yield "volumes.size_gib", f"must be at least 1, got {shown_number(volume.size_gib)}"
    for what in ("name", "path"):
        if len({getattr(volume, what) for volume in volumes}) < len(volumes):
            yield f"volumes.{what}", "must not come twice"
    total = sum(volume.size_gib for volume in volumes)
    if total > storage_gib:
        most, given = shown_number(storage_gib), shown_number(total)
        problem = f"must be at most the replica's storage {most} in all, got {given}"
        yield "volumes.size_gib", problem


def _probe(probe: HealthProbe) -> Iterator[tuple[str, str]]:
    if probe.kind is ProbeKind.EXEC:
        yield from _command("probe.exec.command", probe.command, least=1)
    else:
        yield from _number(f"probe.{probe.kind.name.lower()}.port", probe.port, 1, MAX_PORT)
    printable = probe.path.isprintable() and " " not in probe.path
    if not probe.path.startswith("/") or not printable or len(probe.path) > MAX_PATH:
        yield "probe.http.path", f"must begin with '/' and have no spaces, got {probe.path[:80]!r}"
    if len(probe.service) > MAX_PATH or not probe.service.isprintable():
        yield "probe.grpc.service", f"must be at most {MAX_PATH} printable characters"
    yield from _number("probe.start_period_ms", probe.start_period_ms, 0, MAX_PROBE_MS)
    yield from _number("probe.interval_ms", probe.interval_ms, MIN_PROBE_MS, MAX_PROBE_MS)
    yield from _number("probe.timeout_ms", probe.timeout_ms, MIN_PROBE_MS, MAX_PROBE_MS)
    yield from _number("probe.failures", probe.failures, 1, MAX_TIMES)
    yield from _number("probe.successes", probe.successes, 1, MAX_TIMES)
