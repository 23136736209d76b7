"""Nodes whose containers run on the tests' engine."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import AsyncExitStack
from uuid import uuid4

from fogbank.domain.containers import ContainerSpec, HealthProbe
from fogbank.domain.resources import Resources
from services.node_agent.adapters.container_config import ContainerLimits
from services.node_agent.adapters.container_runtime import EngineRuntime
from services.node_agent.adapters.engine import Engine
from services.node_agent.core.replica import ReplicaSpec
from services.node_agent.core.stimuli import ContainerEnded, RuntimeEvent
from tests.support.containers import RUNS, PodmanEngine, returning

NODE_ID = "0b4bf0ea-6b53-4c5e-8b1f-c4ba1a3bb1a5"


class Nodes:
    """Runtimes on one engine, each with a connection of its own."""

    def __init__(self, podman: PodmanEngine, stack: AsyncExitStack) -> None:
        self._podman = podman
        self._stack = stack

    async def open(self, node_id: str = NODE_ID, look_every_s: float = 0.2) -> EngineRuntime:
        """Be the agent of that node, or be it once more."""
        engine = Engine(self._podman.url, first_pause_s=0.02, longest_pause_s=0.1)
        connection = await self._stack.enter_async_context(engine)
        limits = ContainerLimits(pids=64, capabilities=("CHOWN", "NET_BIND_SERVICE"))
        return EngineRuntime(
            connection, returning(node_id), limits=limits, look_every_s=look_every_s
        )

    async def events(self, runtime: EngineRuntime) -> AsyncIterator[RuntimeEvent]:
        """Return the runtime's events, read until the test ends."""
        stream = runtime.events()
        assert isinstance(stream, AsyncGenerator)
        self._stack.push_async_callback(stream.aclose)
        return stream


def made_like(container: ContainerSpec) -> ReplicaSpec:
    return ReplicaSpec(str(uuid4()), "web", RUNS, Resources(500, 64, 4), container=container)


async def tried(runtime: EngineRuntime, replica_id: str, probe: HealthProbe) -> bool:
    async with runtime.probing(replica_id, probe) as attempt:
        return not await attempt()


async def next_end(events: AsyncIterator[RuntimeEvent]) -> ContainerEnded:
    async with asyncio.timeout(60):
        event = await anext(events)
    assert isinstance(event, ContainerEnded)
    return event


async def end_of(events: AsyncIterator[RuntimeEvent], replica_id: str) -> ContainerEnded:
    """Return the end of that replica: the engine tells of those of the test before, too."""
    while (end := await next_end(events)).replica_id != replica_id:
        pass
    return end
