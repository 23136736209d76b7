"""A runtime that only pretends, for machines without a container engine and for many nodes.

It keeps one small file per container, so an agent that starts again finds its containers. Images
of the name `simulated/...` misbehave on purpose:

| image | what it does |
|---|---|
| `simulated/missing` | can't be fetched |
| `simulated/unstartable` | is there, but doesn't start |
| `simulated/exit:CODE` | ends with that exit code 50 ms after its start |
| `simulated/job:MS` | ends with exit code 0 after so many milliseconds |
| `simulated/slow:MS` | takes so long to start |
| `simulated/stubborn` | ends only by force, after the whole grace |
| `simulated/unhealthy` | runs, and its probe fails from the start |

Every other image runs until it is stopped.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Collection, Sequence
from concurrent.futures import Executor
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TypeVar

from fogbank.domain.containers import HealthProbe
from fogbank.domain.errands import Brought
from fogbank.domain.resources import NOTHING, Resources
from fogbank.domain.states import Health, RuntimeKind
from services.node_agent.adapters.kept_logs import KeptLogs
from services.node_agent.app.ports import (
    Clock,
    ImageMissingError,
    ProbeTry,
    Progress,
    RuntimeFaultError,
    StartedContainer,
)
from services.node_agent.core.replica import FoundContainer, ReplicaSpec
from services.node_agent.core.stimuli import ContainerEnded, HealthSeen, RuntimeEvent

T = TypeVar("T")

_PREFIX = "simulated/"
_EXIT_AFTER_MS = 50
_EXIT_BY_SIGTERM = 143
_EXIT_BY_SIGKILL = 137
_LINES_KEPT = 20
_LOOK_FOR_LINES_S = 0.1
_US_PER_S = 1_000_000


@dataclass(frozen=True, slots=True)
class _Container:
    """A container as its file has it. `ends_at_us` is 0 for one that runs until stopped."""

    replica_id: str
    restart_count: int
    image: str
    cpu_millicores: int
    memory_mib: int
    started_at_us: int
    ends_at_us: int = 0
    exit_code: int = 0
    lines: tuple[str, ...] = field(default=())
    gpu_devices: tuple[int, ...] = ()

    @property
    def container_id(self) -> str:
        return f"stub-container-{self.replica_id}"

    def runs_at(self, now_us: int) -> bool:
        return not self.ends_at_us or now_us < self.ends_at_us

    def said(self, at_us: int, line: str) -> _Container:
        stamp = datetime.fromtimestamp(at_us / _US_PER_S, UTC).isoformat(timespec="milliseconds")
        return replace(self, lines=(*self.lines, f"{stamp} {line}")[-_LINES_KEPT:])


class SimulatedRuntime:
    """The pretended containers of one node."""

    def __init__(
        self,
        folder: Path,
        pool: Executor,
        clock: Clock,
        *,
        start_delay_s: float = 0.02,
        kept_logs: KeptLogs | None = None,
    ) -> None:
        """Keep containers in `folder`, made at the first start; files are written in `pool`.

        Without `kept_logs` the logs of containers go with them.
        """
        self._kept_logs = kept_logs
        self._folder = folder
        self._pool = pool
        self._clock = clock
        self._start_delay_s = start_delay_s
        self._containers: dict[str, _Container] = {}
        self._ends: dict[str, asyncio.TimerHandle] = {}
        self._events: asyncio.Queue[RuntimeEvent] = asyncio.Queue()
        self._loaded = False

    @property
    def kind(self) -> RuntimeKind:
        return RuntimeKind.SIMULATED

    def running_resources(self) -> Resources:
        """Return the sum of what the running containers asked for."""
        now_us = self._clock()
        running = [each for each in self._containers.values() if each.runs_at(now_us)]
        return sum((Resources(each.cpu_millicores, each.memory_mib) for each in running), NOTHING)

    def close(self) -> None:
        """Forget the timers; the containers stay."""
        for timer in self._ends.values():
            timer.cancel()
        self._ends.clear()

    async def prepare(self, spec: ReplicaSpec, progress: Progress) -> None:
        if _simulated(spec.image)[0] == "missing":
            raise ImageMissingError(f"image not found: {spec.image}")

    async def volume_bytes(self, deployment_id: str, name: str) -> int:
        return 0

    async def collect(self, needed: Collection[str]) -> None:
        """There are no images to remove."""

    async def start(
        self, replica_id: str, restart_count: int, spec: ReplicaSpec
    ) -> StartedContainer:
        await self._load()
        behaviour, number = _simulated(spec.image)
        present = self._containers.get(replica_id)
        if (
            present is not None
            and present.restart_count == restart_count
            and present.runs_at(self._clock())
        ):
            return StartedContainer(present.container_id, present.started_at_us)
        if behaviour == "missing":
            raise ImageMissingError(f"image not found: {spec.image}")
        if behaviour == "unstartable":
            raise RuntimeFaultError(f"{spec.image} does not start")
        await asyncio.sleep(number / 1000 if behaviour == "slow" else self._start_delay_s)
        now_us = self._clock()
        lifetime_ms = {"exit": _EXIT_AFTER_MS, "job": number}.get(behaviour)
        container = _Container(
            replica_id,
            restart_count,
            spec.image,
            spec.resources.cpu_millicores,
            spec.resources.memory_mib,
            now_us,
            ends_at_us=0 if lifetime_ms is None else now_us + lifetime_ms * 1000,
            exit_code=number if behaviour == "exit" else 0,
            gpu_devices=spec.gpu_devices,
        ).said(now_us, f"simulated start of {spec.image}, restart {restart_count}")
        await self._keep_log(present)
        await self._keep(container)
        self._watch(container)
        if behaviour == "unhealthy":
            self._events.put_nowait(
                HealthSeen(replica_id, restart_count, Health.UNHEALTHY, "its probe fails")
            )
        return StartedContainer(container.container_id, now_us)

    async def stop(self, replica_id: str, grace_ms: int) -> int | None:
        await self._load()
        container = self._containers.get(replica_id)
        if container is None:
            return None
        if not container.runs_at(self._clock()):
            return container.exit_code
        stubborn = _simulated(container.image)[0] == "stubborn"
        if stubborn:
            await asyncio.sleep(grace_ms / 1000)
            still = self._containers.get(replica_id)
            if still is None or not still.runs_at(self._clock()):
                return None if still is None else still.exit_code  # stopped in less time meanwhile
        now_us = self._clock()
        exit_code = _EXIT_BY_SIGKILL if stubborn else _EXIT_BY_SIGTERM
        ended = replace(container, ends_at_us=now_us, exit_code=exit_code)
        self._unwatch(replica_id)
        await self._keep(ended.said(now_us, "stopped"))
        self._tell_end(ended)
        return exit_code

    async def remove(self, replica_id: str) -> None:
        await self._load()
        self._unwatch(replica_id)
        container = self._containers.pop(replica_id, None)
        await self._keep_log(container)
        if container is not None:
            await self._in_pool(lambda: self._path(replica_id).unlink(missing_ok=True))

    async def containers(self) -> Sequence[FoundContainer]:
        await self._load()
        now_us = self._clock()
        return [
            FoundContainer(
                each.replica_id,
                each.restart_count,
                each.container_id,
                each.runs_at(now_us),
                each.started_at_us,
                each.exit_code,
            )
            for each in self._containers.values()
        ]

    @asynccontextmanager
    async def probing(self, replica_id: str, probe: HealthProbe) -> AsyncIterator[ProbeTry]:
        container = self._containers.get(replica_id)
        if container is None or not container.runs_at(self._clock()):
            raise RuntimeFaultError("there is no running container to probe")
        fails = _simulated(container.image)[0] == "unhealthy"

        async def attempt() -> str:
            return "it is unhealthy on purpose" if fails else ""

        yield attempt

    async def _keep_log(self, container: _Container | None) -> None:
        if self._kept_logs is not None and container is not None:
            text = "".join(f"{line}\n" for line in container.lines)
            await self._kept_logs.keep(container.replica_id, container.restart_count, text)

    async def logs(
        self, replica_id: str, tail: int, *, follow: bool = False, previous: bool = False
    ) -> AsyncIterator[str]:
        await self._load()
        container = self._containers.get(replica_id)
        if previous or container is None:
            if self._kept_logs is not None:
                gone = container is None
                async for text in self._kept_logs.pieces(
                    replica_id, tail, previous=previous, gone=gone
                ):
                    yield text
            return
        for line in container.lines[-tail:] if tail > 0 else ():
            yield f"{line}\n"
        said = len(container.lines)
        while follow:
            begun = container.restart_count
            running = container.runs_at(self._clock())
            container = self._containers.get(replica_id)
            if container is None or container.restart_count != begun:
                return
            for line in container.lines[said:]:
                yield f"{line}\n"
            said = len(container.lines)
            if not running:
                return
            await asyncio.sleep(_LOOK_FOR_LINES_S)

    async def execute(self, replica_id: str, command: Sequence[str]) -> AsyncIterator[Brought]:
        """Pretend to run it: what is echoed comes back, `false` ends with 1."""
        await self._load()
        container = self._containers.get(replica_id)
        if container is None or not container.runs_at(self._clock()):
            raise RuntimeFaultError("its container does not run")
        program, *arguments = command
        if program == "echo":
            yield Brought(" ".join(arguments).encode() + b"\n")
        yield Brought(exit_code=int(program == "false"))

    async def events(self) -> AsyncIterator[RuntimeEvent]:
        while True:
            yield await self._events.get()

    # --- ends -------------------------------------------------------------------------------

    def _watch(self, container: _Container) -> None:
        """Tell of the container's own end when it comes."""
        self._unwatch(container.replica_id)
        if container.ends_at_us:
            delay_s = max(0, container.ends_at_us - self._clock()) / _US_PER_S
            loop = asyncio.get_running_loop()
            self._ends[container.replica_id] = loop.call_later(delay_s, self._tell_end, container)

    def _unwatch(self, replica_id: str) -> None:
        timer = self._ends.pop(replica_id, None)
        if timer is not None:
            timer.cancel()

    def _tell_end(self, container: _Container) -> None:
        self._ends.pop(container.replica_id, None)
        self._events.put_nowait(
            ContainerEnded(container.replica_id, container.restart_count, container.exit_code)
        )

    # --- files ------------------------------------------------------------------------------

    def _path(self, replica_id: str) -> Path:
        return self._folder / f"{replica_id}.json"

    async def _keep(self, container: _Container) -> None:
        def write() -> None:
            # Not synced: a power cut ends real containers too.
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            path = self._path(container.replica_id)
            beside = path.with_suffix(".new")
            beside.write_text(json.dumps(asdict(container)), encoding="utf-8")
            beside.replace(path)

        self._containers[container.replica_id] = container
        await self._in_pool(write)

    async def _load(self) -> None:
        if self._loaded:
            return
        for container in await self._in_pool(self._read_all):
            self._containers.setdefault(container.replica_id, container)
            if container.runs_at(self._clock()):
                self._watch(container)
        self._loaded = True

    def _read_all(self) -> list[_Container]:
        found = []
        for path in sorted(self._folder.glob("*.json")):
            try:
                content = json.loads(path.read_text(encoding="utf-8"))
                for listed in ("lines", "gpu_devices"):
                    content[listed] = tuple(content.get(listed, ()))
                found.append(_Container(**content))
            except (ValueError, TypeError, KeyError):
                # Cut off by a power failure, which ended the container as well.
                path.unlink()
        return found

    async def _in_pool(self, work: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._pool, work)


def _simulated(image: str) -> tuple[str, int]:
    """Return what a simulated image does, and the number that goes with it; else ("", 0)."""
    if not image.startswith(_PREFIX):
        return "", 0
    behaviour, _, number = image.removeprefix(_PREFIX).partition(":")
    return behaviour, int(number) if number.isdecimal() else 0
