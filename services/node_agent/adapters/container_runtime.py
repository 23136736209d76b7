"""Real containers behind the runtime port, by a container engine (Docker, or podman's service).

Containers carry the node's id and the replica's as labels: an agent finds its own again, and
several nodes can share an engine. A container's name is made of its replica's id, so the engine
itself refuses a second one.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any

import structlog
from aiodocker import Docker

from fogbank.domain.containers import HealthProbe
from fogbank.domain.errands import Brought
from fogbank.domain.resources import Resources
from fogbank.domain.states import RuntimeKind
from services.node_agent.adapters.container_config import (
    ContainerLimits,
    Shown,
    container_config,
    container_name,
    network_name,
    volume_name,
)
from services.node_agent.adapters.container_ends import LOOK_EVERY_S, ContainerEnds, of_node
from services.node_agent.adapters.engine import Engine
from services.node_agent.adapters.image_collector import ImageCollector
from services.node_agent.adapters.images import Images
from services.node_agent.adapters.kept_logs import BYTES, LINES, KeptLogs
from services.node_agent.adapters.networks import DeploymentNetworks
from services.node_agent.adapters.one_container import (
    NO_TIMEOUT,
    create_started,
    delete,
    execute,
    kill,
    last_lines,
    probing,
    read_logs,
    show,
    wait_killed,
)
from services.node_agent.adapters.volumes import check_room, make_volume, measure_volume
from services.node_agent.app.ports import (
    ProbeTry,
    Progress,
    RuntimeFaultError,
    StartedContainer,
)
from services.node_agent.core.replica import FoundContainer, ReplicaSpec
from services.node_agent.core.stimuli import RuntimeEvent

_log = structlog.get_logger(__name__)

_INSPECTED_AT_ONCE = 4


class EngineRuntime:
    """The containers of one node on an engine."""

    def __init__(
        self,
        engine: Engine,
        identity: Callable[[], Awaitable[str]],
        *,
        limits: ContainerLimits | None = None,
        errands: Engine | None = None,
        images: Images | None = None,
        collector: ImageCollector | None = None,
        kept_logs: KeptLogs | None = None,
        networks: DeploymentNetworks | None = None,
        look_every_s: float = LOOK_EVERY_S,
    ) -> None:
        """Run containers on an open `engine`; `identity` returns the node's id.

        `errands` is the same engine for logs and commands, so that these take no connection away
        from starts and stops. Without `images` they are fetched without credentials; without a
        `collector` none go, and without `kept_logs` the logs of containers go with them. Without
        `networks` all containers are in the engine's default one.
        """
        self._engine = engine
        self._errands = errands or engine
        self._identity = identity
        self._limits = limits or ContainerLimits()
        self._node_id = ""
        self._most_millicores = 0
        self._ends = ContainerEnds(engine, self._node, look_every_s=look_every_s)
        self._images = images or Images(engine)
        self._collector = collector
        self._kept_logs = kept_logs
        self._networks = networks

    @property
    def kind(self) -> RuntimeKind:
        return RuntimeKind.CONTAINER

    def used_resources(self) -> Resources:
        """Return what the running containers used when they were last looked at."""
        return self._ends.used_resources()

    # --- the port ---------------------------------------------------------------------------

    async def prepare(self, spec: ReplicaSpec, progress: Progress) -> None:
        await self._images.fetch(spec.image, progress)
        node_id, deployment_id = await self._node(), spec.deployment_id
        sizes_gib = {
            volume_name(node_id, deployment_id, volume.name): volume.size_gib
            for volume in spec.container.volumes
        }
        await self._engine.insist(lambda docker: check_room(docker, sizes_gib))

    async def volume_bytes(self, deployment_id: str, name: str) -> int:
        node_id = await self._node()
        return await measure_volume(self._engine, volume_name(node_id, deployment_id, name))

    async def collect(self, needed: Collection[str]) -> None:
        if self._collector is not None:
            await self._collector.collect(needed)
        await self._tidy_networks()

    async def start(
        self, replica_id: str, restart_count: int, spec: ReplicaSpec
    ) -> StartedContainer:
        node_id = await self._node()
        most_millicores = await self._engine.insist(self._processors)
        config = container_config(
            node_id,
            replica_id,
            restart_count,
            spec,
            limits=self._limits,
            most_millicores=most_millicores,
            network=network_name(node_id, spec.deployment_id) if self._networks else "",
        )
        volumes = [
            volume_name(node_id, spec.deployment_id, volume.name)
            for volume in spec.container.volumes
        ]
        shown = await self._engine.insist(
            lambda docker: self._start(docker, replica_id, restart_count, config, volumes)
        )
        await self._ends.began(replica_id, restart_count, shown)
        return StartedContainer(shown.id, shown.started_at_us, shown.ports)

    async def stop(self, replica_id: str, grace_ms: int) -> int | None:
        node_id = await self._node()
        exit_code = await self._engine.insist(
            lambda docker: self._stop(docker, node_id, replica_id, grace_ms)
        )
        self._ends.not_running(replica_id)
        return exit_code

    async def remove(self, replica_id: str) -> None:
        node_id = await self._node()
        await self._engine.insist(lambda docker: self._remove(docker, node_id, replica_id))
        self._ends.not_running(replica_id)

    async def containers(self) -> Sequence[FoundContainer]:
        node_id = await self._node()
        found = [one for one in await self._engine.call(self._show_all(node_id)) if one.started]
        for one in found:
            if one.running:
                await self._ends.began(one.replica_id, one.restart_count, one)
        return [
            FoundContainer(
                one.replica_id,
                one.restart_count,
                one.id,
                one.running,
                one.started_at_us,
                one.exit_code,
                one.ports,
            )
            for one in found
        ]

    @asynccontextmanager
    async def probing(self, replica_id: str, probe: HealthProbe) -> AsyncIterator[ProbeTry]:
        shown = await self._own(replica_id)
        if shown is None or not shown.running:
            raise RuntimeFaultError("there is no running container to probe")
        async with probing(self._engine, shown, probe) as attempt:
            yield attempt

    async def logs(
        self, replica_id: str, tail: int, *, follow: bool = False, previous: bool = False
    ) -> AsyncIterator[str]:
        shown = await self._own(replica_id) if tail > 0 or follow or previous else None
        if shown is not None and not previous:
            async for text in read_logs(self._errands, shown.id, tail, follow=follow):
                yield text
        elif self._kept_logs is not None:
            async for text in self._kept_logs.pieces(
                replica_id, tail, previous=previous, gone=shown is None
            ):
                yield text

    async def execute(self, replica_id: str, command: Sequence[str]) -> AsyncIterator[Brought]:
        shown = await self._own(replica_id)
        if shown is None or not shown.running:
            raise RuntimeFaultError("its container does not run")
        async for piece in execute(self._errands, shown.id, command):
            yield piece

    async def _own(self, replica_id: str) -> Shown | None:
        node_id = await self._node()
        shown = await self._engine.call(lambda docker: show(docker, container_name(replica_id)))
        return shown if shown is not None and shown.node_id == node_id else None

    def events(self) -> AsyncIterator[RuntimeEvent]:
        return self._ends.events()

    async def _node(self) -> str:
        if not self._node_id:
            self._node_id = await self._identity()
        return self._node_id

    # --- one thing at a time ----------------------------------------------------------------

    async def _processors(self, docker: Docker) -> int:
        if not self._most_millicores:
            info = await docker.system.info()
            self._most_millicores = int(info["NCPU"]) * 1000
        return self._most_millicores

    async def _start(
        self,
        docker: Docker,
        replica_id: str,
        restart_count: int,
        config: Mapping[str, Any],
        volumes: Sequence[str],
    ) -> Shown:
        name = container_name(replica_id)
        shown = await show(docker, name)
        if shown is not None:
            self._check_own(shown, name)
            if shown.started and shown.restart_count == restart_count:
                # It was started before, and the answer was lost: never twice.
                return shown
            await self._delete(docker, shown)
        for volume in volumes:
            await make_volume(docker, volume, config["Labels"])
        if self._networks is None:
            return await create_started(docker, name, config)
        async with self._networks.starting(docker, config["Labels"]):
            return await create_started(docker, name, config)

    async def _stop(
        self, docker: Docker, node_id: str, replica_id: str, grace_ms: int
    ) -> int | None:
        shown = await show(docker, container_name(replica_id))
        if shown is None or shown.node_id != node_id or not shown.started:
            return None
        if not shown.running:
            return shown.exit_code
        container = docker.containers.container(shown.id)
        await kill(docker, shown.id, shown.stop_signal)
        try:
            async with asyncio.timeout(grace_ms / 1000):
                await container.wait(timeout=NO_TIMEOUT)
        except TimeoutError:
            await kill(docker, shown.id, "SIGKILL")
            await wait_killed(docker, shown.id)
        ended = await show(docker, shown.id)
        if ended is not None and ended.running:
            raise RuntimeFaultError("the container runs although it was stopped")
        return None if ended is None else ended.exit_code

    async def _remove(self, docker: Docker, node_id: str, replica_id: str) -> None:
        shown = await show(docker, container_name(replica_id))
        if shown is None or shown.node_id != node_id:
            return
        await self._delete(docker, shown)
        if self._networks is not None:
            await self._networks.release(docker, node_id, shown.deployment_id)

    async def _delete(self, docker: Docker, shown: Shown) -> None:
        """Remove a container, and keep the last of what it wrote."""
        if self._kept_logs is not None and shown.started:
            text = await last_lines(docker, shown.id, LINES, BYTES)
            await self._kept_logs.keep(shown.replica_id, shown.restart_count, text)
        await delete(docker, shown)
        self._ends.forget(shown.id)

    async def _tidy_networks(self) -> None:
        """Remove networks that no container needs; what fails is done the next time."""
        if self._networks is None:
            return
        node_id, networks = await self._node(), self._networks
        try:
            await self._engine.call(lambda docker: networks.tidy(docker, node_id))
        except RuntimeFaultError as fault:
            _log.debug("networks not tidied", why=str(fault))

    def _check_own(self, shown: Shown, name: str) -> None:
        if shown.node_id != self._node_id:
            raise RuntimeFaultError(f"a container named {name} belongs to somebody else")

    # --- all of them ------------------------------------------------------------------------

    @staticmethod
    def _show_all(node_id: str) -> Callable[[Docker], Awaitable[list[Shown]]]:
        async def show_all(docker: Docker) -> list[Shown]:
            listed = await docker.containers.list(all=True, filters=of_node(node_id))
            few = asyncio.Semaphore(_INSPECTED_AT_ONCE)

            async def look(container_id: str) -> Shown | None:
                async with few:
                    return await show(docker, container_id)

            shown = await asyncio.gather(*(look(one.id) for one in listed))
            return [one for one in shown if one is not None and one.replica_id]

        return show_all
