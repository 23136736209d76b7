"""The node agent: `python -m services.node_agent.main`.

One process is one node, or, given FOG_NODES_FILE, many simulated ones. SIGTERM ends it; containers
run on, and it finds them again when it starts next.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from pathlib import Path
from random import Random

import structlog

from fogbank.runtime import lifecycle
from fogbank.runtime.clock import SystemClock
from fogbank.runtime.settings import load
from services.node_agent.adapters.disk import FolderDisk, FolderLock
from services.node_agent.adapters.fingerprint import MeasuredHost, SimulatedHost
from services.node_agent.adapters.gateway_stream import GrpcGateways
from services.node_agent.adapters.simulated_runtime import SimulatedRuntime
from services.node_agent.app.node import NodeAgent
from services.node_agent.app.ports import Gateways, Host
from services.node_agent.settings import AgentSettings, NodeDescription

_log = structlog.get_logger(__name__)


class Composition:
    """Puts the parts of each node together; disk threads and connections are shared by all."""

    def __init__(self, settings: AgentSettings, pool: Executor, gateways: Gateways) -> None:
        self._settings = settings
        self._pool = pool
        self._gateways = gateways
        self._clock = SystemClock()
        self._random = Random()  # noqa: S311 (jitter guards nothing)

    def agents(self) -> list[NodeAgent]:
        """Return an agent for every node that this process stands for."""
        if self._settings.nodes:
            return [self._simulated(node) for node in self._settings.nodes]
        return [self._own()]

    def _own(self) -> NodeAgent:
        settings = self._settings
        runtime = self._runtime(settings.data_dir)
        host = MeasuredHost(
            settings.data_dir,
            reserved=settings.reserved,
            region=settings.region,
            labels=settings.labels,
            gpu_count=settings.gpu_count,
            gpu_model=settings.gpu_model,
            runtime=runtime.kind,
        )
        return self._agent(settings.node_name, settings.data_dir, runtime, host)

    def _simulated(self, node: NodeDescription) -> NodeAgent:
        folder = node.data_dir or self._settings.data_dir / node.name
        runtime = self._runtime(folder)
        host = SimulatedHost(
            node.capacity,
            runtime.running_resources,
            region=node.region,
            labels=node.labels,
            gpu_model=node.gpu_model,
        )
        return self._agent(node.name, folder, runtime, host)

    def _runtime(self, folder: Path) -> SimulatedRuntime:
        return SimulatedRuntime(
            folder / "containers",
            self._pool,
            self._clock.now_us,
            start_delay_s=self._settings.simulated_start_ms / 1000,
        )

    def _agent(self, name: str, folder: Path, runtime: SimulatedRuntime, host: Host) -> NodeAgent:
        return NodeAgent(
            name,
            disk=FolderDisk(folder, self._pool, sync=self._settings.disk_sync),
            runtime=runtime,
            host=host,
            gateways=self._gateways,
            clock=self._clock.now_us,
            random=self._random,
            settings=self._settings.node_settings,
        )


async def run_all(agents: Sequence[NodeAgent]) -> None:
    """Run the agents until cancelled; if one dies, all end."""
    async with asyncio.TaskGroup() as tasks:
        for agent in agents:
            tasks.create_task(agent.run())


def main() -> None:
    """Run the agent until it is told to stop."""
    settings = load(AgentSettings)

    async def setup(service: lifecycle.Service) -> None:
        elsewhere = [node.data_dir for node in settings.nodes if node.data_dir is not None]
        for folder in (settings.data_dir, *elsewhere):
            service.enter_sync(FolderLock(folder))
        pool = service.enter_sync(
            ThreadPoolExecutor(settings.disk_threads, thread_name_prefix="disk")
        )
        gateways = await service.enter(GrpcGateways(settings.gateway_addrs, settings.token))
        agents = Composition(settings, pool, gateways).agents()
        _log.info("starting nodes", nodes=len(agents), runtime=settings.runtime)
        service.start_loop("nodes", lambda: run_all(agents))

    lifecycle.run(settings, setup)


if __name__ == "__main__":
    main()
