"""The node agent: `python -m services.node_agent.main`.

One process is one node, or, given FOG_NODES_FILE, many. SIGTERM ends it; containers
run on, and it finds them again when it starts next.
"""

from __future__ import annotations

import asyncio
import resource
from collections.abc import Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING

import structlog

from fogbank.domain.states import RuntimeKind
from fogbank.runtime import lifecycle
from fogbank.runtime.clock import SystemClock
from fogbank.runtime.container_engine import RuntimeChoice, choose_runtime
from fogbank.runtime.settings import load
from services.node_agent.adapters.boot_clock import boot_id, up_us
from services.node_agent.adapters.fingerprint import DeclaredHost, MeasuredHost, SimulatedHost
from services.node_agent.adapters.gateway_stream import GrpcGateways
from services.node_agent.adapters.gpus import nvml_gpus
from services.node_agent.adapters.kept_logs import KeptLogs
from services.node_agent.adapters.key_work import KeyWork
from services.node_agent.adapters.node_credentials import NodeCredentials
from services.node_agent.adapters.node_folder import FolderLock
from services.node_agent.adapters.simulated_runtime import SimulatedRuntime
from services.node_agent.adapters.store import SqliteStore
from services.node_agent.app.node import NodeAgent
from services.node_agent.app.ports import ContainerRuntime, Gateways, Host
from services.node_agent.settings import AgentSettings, NodeDescription

if TYPE_CHECKING:
    from services.node_agent.adapters.engine_nodes import EngineNodes

_log = structlog.get_logger(__name__)

# The store of each node has two files open; the rest is for connections.
_FILES = 512
_FILES_PER_NODE = 4


class Composition:
    """Puts the parts of each node together; disk threads and connections are shared by all."""

    def __init__(
        self,
        settings: AgentSettings,
        pool: Executor,
        gateways: Gateways,
        engine_nodes: EngineNodes | None,
    ) -> None:
        """Know what all nodes share; without `engine_nodes` containers are simulated."""
        self._settings = settings
        self._pool = pool
        self._gateways = gateways
        self._engine_nodes = engine_nodes
        self._clock = SystemClock()
        self._random = Random()  # noqa: S311 (jitter guards nothing)
        self._key_work = KeyWork()
        self.own_gateways: list[GrpcGateways] = []

    def agents(self) -> list[NodeAgent]:
        """Return an agent for every node that this process stands for."""
        if self._settings.nodes:
            return [self._declared(node) for node in self._settings.nodes]
        return [self._own()]

    def _own(self) -> NodeAgent:
        settings, folder = self._settings, self._settings.data_dir
        disk = self._store(folder)
        runtime: ContainerRuntime
        read_engine = None
        if self._engine_nodes is not None:
            runtime, read_engine = self._engine_nodes.containers(
                disk.node_id, self._kept_logs(folder)
            )
        else:
            runtime = self._simulated(folder)
        host = MeasuredHost(
            folder,
            reserved=settings.reserved,
            region=settings.region,
            labels=settings.labels,
            gpu_count=settings.gpu_count,
            gpu_model=settings.gpu_model,
            runtime=runtime.kind,
            read_engine=read_engine,
            read_gpus=nvml_gpus,
        )
        return self._agent(settings.node_name, disk, runtime, host, folder)

    def _declared(self, node: NodeDescription) -> NodeAgent:
        folder = node.data_dir or self._settings.data_dir / node.name
        disk = self._store(folder)
        host: Host
        if self._engine_nodes is not None:
            containers, read_engine = self._engine_nodes.containers(
                disk.node_id, self._kept_logs(folder)
            )
            host = DeclaredHost(
                node.capacity,
                containers.used_resources,
                region=node.region,
                labels=node.labels,
                gpu_model=node.gpu_model,
                read_engine=read_engine,
            )
            return self._agent(node.name, disk, containers, host, folder)
        simulated = self._simulated(folder)
        host = SimulatedHost(
            node.capacity,
            simulated.running_resources,
            region=node.region,
            labels=node.labels,
            gpu_model=node.gpu_model,
        )
        return self._agent(node.name, disk, simulated, host, folder)

    def _store(self, folder: Path) -> SqliteStore:
        return SqliteStore(folder, self._pool, sync=self._settings.disk_sync)

    def _simulated(self, folder: Path) -> SimulatedRuntime:
        return SimulatedRuntime(
            folder / "containers",
            self._pool,
            self._clock.now_us,
            start_delay_s=self._settings.simulated_start_ms / 1000,
            kept_logs=self._kept_logs(folder),
        )

    def _kept_logs(self, folder: Path) -> KeptLogs:
        return KeptLogs(folder / "logs", self._settings.log_rules)

    def _gateways_of(self, folder: Path) -> Gateways:
        """Return the way to the gateways: of its own for a node that has an identity to show."""
        settings = self._settings
        token = settings.join_token.reveal() if settings.join_token else ""
        credentials = NodeCredentials(
            folder, settings.join_addr, token, self._random, key_work=self._key_work
        )
        if not token and not credentials.exists:
            return self._gateways
        own = GrpcGateways(settings.gateway_addrs, credentials=credentials)
        self.own_gateways.append(own)
        return own

    def _agent(
        self, name: str, disk: SqliteStore, runtime: ContainerRuntime, host: Host, folder: Path
    ) -> NodeAgent:
        return NodeAgent(
            name,
            disk=disk,
            runtime=runtime,
            host=host,
            gateways=self._gateways_of(folder),
            clock=self._clock.now_us,
            boot_clock=up_us,
            random=self._random,
            settings=self._settings.node_settings,
            # Simulated containers don't end with the host.
            boot_id=boot_id() if runtime.kind is RuntimeKind.CONTAINER else "",
        )


def allow_open_files(nodes: int) -> None:
    """Raise the number of files that this process may have open to what its nodes need."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    needed = _FILES + _FILES_PER_NODE * nodes
    if resource.RLIM_INFINITY != soft < needed:
        allowed = needed if hard == resource.RLIM_INFINITY else min(needed, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (allowed, hard))
        if allowed < needed:
            _log.warning("may open too few files for its nodes", allowed=allowed, needed=needed)


def _engine_nodes(settings: AgentSettings, choice: RuntimeChoice) -> EngineNodes | None:
    if not choice.is_container:
        return None
    # Half of what an agent imports, which simulated nodes, many to a host, start without.
    from services.node_agent.adapters.engine_nodes import EngineNodes  # noqa: PLC0415

    return EngineNodes(settings, choice.engine_url, SystemClock().now_us)


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
        gateways = GrpcGateways(settings.gateway_addrs, settings.token)
        choice = await choose_runtime(
            settings.runtime, settings.engine_socket, settings.data_dir / "engine"
        )
        engine_nodes = _engine_nodes(settings, choice)
        composition = Composition(settings, pool, gateways, engine_nodes)
        agents = composition.agents()
        allow_open_files(len(agents))
        for each in (gateways, *composition.own_gateways):
            await service.enter(each)
        for engine in engine_nodes.engines if engine_nodes else ():
            await service.enter(engine)
        _log.info(
            "starting nodes",
            nodes=len(agents),
            runtime="container" if choice.is_container else "simulated",
            engine=choice.engine_url,
            why=choice.why,
        )
        service.start_loop("nodes", lambda: run_all(agents))

    lifecycle.run(settings, setup)


if __name__ == "__main__":
    main()
