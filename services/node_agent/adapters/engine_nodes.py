"""What the nodes of a process that has a container engine are made of."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from services.node_agent.adapters.container_config import ContainerLimits
from services.node_agent.adapters.container_runtime import EngineRuntime
from services.node_agent.adapters.engine import Engine
from services.node_agent.adapters.engine_facts import ReadEngine, engine_reader
from services.node_agent.adapters.image_collector import ImageCollector, ImageUses
from services.node_agent.adapters.images import Images
from services.node_agent.adapters.kept_logs import KeptLogs
from services.node_agent.adapters.networks import DeploymentNetworks
from services.node_agent.settings import AgentSettings


class EngineNodes:
    """Makes each node's containers; `engines` are the connections of all: open them first."""

    def __init__(self, settings: AgentSettings, engine_url: str, now_us: Callable[[], int]) -> None:
        """Know where the engine is."""
        self._settings = settings
        self._engine_url = engine_url
        self._now_us = now_us
        self.engines: list[Engine] = []

    def containers(
        self, node_id: Callable[[], Awaitable[str]], kept_logs: KeptLogs
    ) -> tuple[EngineRuntime, ReadEngine]:
        """Return a node's real containers, and what asks its engine for its facts."""
        settings = self._settings
        engine, errands = self._engine(), self._engine()
        uses = collector = None
        # Nodes that share the engine's images don't know what the others need of them.
        if not settings.nodes:
            uses = ImageUses(settings.data_dir / "images.json", self._now_us)
            collector = ImageCollector(engine, uses, settings.image_rules, self._now_us)
        isolated = settings.network == "isolated"
        runtime = EngineRuntime(
            engine,
            node_id,
            limits=ContainerLimits(
                pids=settings.container_pids,
                open_files=settings.container_open_files,
                user_processes=settings.container_user_processes,
                capabilities=settings.container_capabilities,
            ),
            errands=errands,
            images=Images(engine, settings.registry_config, uses),
            collector=collector,
            kept_logs=kept_logs,
            networks=DeploymentNetworks(settings.network_pool) if isolated else None,
        )
        return runtime, engine_reader(engine)

    def _engine(self) -> Engine:
        engine = Engine(self._engine_url)
        self.engines.append(engine)
        return engine
