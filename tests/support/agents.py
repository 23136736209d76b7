"""Whole simulated agents inside a test, and ways to stop them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from random import Random

from fogbank.domain.resources import Resources
from fogbank.runtime.clock import SystemClock
from services.node_agent.adapters.boot_clock import up_us
from services.node_agent.adapters.fingerprint import SimulatedHost
from services.node_agent.adapters.gateway_stream import GrpcGateways
from services.node_agent.adapters.kept_logs import KeptLogs
from services.node_agent.adapters.simulated_runtime import SimulatedRuntime
from services.node_agent.adapters.store import SqliteStore
from services.node_agent.app.node import NodeAgent, NodeSettings
from services.node_agent.app.session import Backoff
from services.node_agent.core.garbage import LogRules
from services.node_agent.core.restarts import AgentPolicy

# Everything that takes seconds in earnest takes milliseconds here.
QUICK = NodeSettings(
    policy=AgentPolicy(
        restart_delay_us=20_000, prepare_retry_delay_us=5_000, stop_retry_delay_us=20_000
    ),
    backoff=Backoff(first_s=0.01, longest_s=0.1, welcome_s=5),
    stop_grace_ms=50,
    flush_s=0.01,
    runtime_retry_s=0.01,
    removal_retry_s=0.01,
)


@dataclass
class RunningAgent:
    """An agent that runs, with its parts."""

    agent: NodeAgent
    runtime: SimulatedRuntime
    task: asyncio.Task[None]

    async def ended(self) -> None:
        """Wait until it ends by itself; raises what ended it."""
        await self.task


@asynccontextmanager
async def running_agent(
    folder: Path,
    addresses: Sequence[str],
    *,
    name: str = "node-1",
    token: str = "",
    settings: NodeSettings = QUICK,
    seed: int = 0,
) -> AsyncIterator[RunningAgent]:
    """Run one simulated node on `folder` until the block ends, then stop it as SIGTERM would."""
    with ThreadPoolExecutor(2) as pool:
        async with GrpcGateways(addresses, token) as gateways:
            runtime = SimulatedRuntime(
                folder / "containers",
                pool,
                SystemClock().now_us,
                start_delay_s=0.001,
                kept_logs=KeptLogs(folder / "logs", LogRules()),
            )
            agent = NodeAgent(
                name,
                disk=SqliteStore(folder, pool),
                runtime=runtime,
                host=SimulatedHost(
                    Resources(4000, 8192, 100), runtime.running_resources, region="us-east"
                ),
                gateways=gateways,
                clock=SystemClock().now_us,
                boot_clock=up_us,
                random=Random(seed),
                settings=settings,
            )
            task = asyncio.create_task(agent.run())
            try:
                yield RunningAgent(agent, runtime, task)
            finally:
                if not task.done():
                    task.cancel()
                    with suppress(asyncio.CancelledError):
                        await task
                runtime.close()
