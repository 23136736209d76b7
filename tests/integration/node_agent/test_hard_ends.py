"""What comes from outside: probes that hang, a host that reboots."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from pathlib import Path
from random import Random
from uuid import uuid4

import pytest

from fogbank.domain.containers import ContainerSpec, HealthProbe, ProbeKind
from fogbank.domain.resources import Resources
from fogbank.domain.states import Health, ReplicaState, RestartPolicy
from fogbank.runtime.clock import SystemClock
from services.node_agent.adapters.boot_clock import up_us
from services.node_agent.adapters.container_runtime import EngineRuntime
from services.node_agent.adapters.engine import Engine
from services.node_agent.adapters.fingerprint import DeclaredHost
from services.node_agent.adapters.gateway_stream import GrpcGateways
from services.node_agent.adapters.store import SqliteStore
from services.node_agent.app.node import NodeAgent
from services.node_agent.app.prober import Prober
from services.node_agent.core.effects import BeginProbing
from services.node_agent.core.kept import AssignmentKept, Entry, apply
from services.node_agent.core.replica import Desired, ReplicaSpec
from services.node_agent.core.stimuli import HealthSeen
from tests.support.agents import QUICK
from tests.support.containers import RUNS, PodmanEngine, remove_all, returning
from tests.support.ports import free_port
from tests.support.waiting import eventually

pytestmark = pytest.mark.container

NODE_ID = "3f0d0e52-5c5b-4f7b-9d0e-5f7c0b7a7d11"
ROOM = Resources(1000, 1024, 4)
AGAIN = RestartPolicy.ALWAYS, RestartPolicy.ON_FAILURE


def running(*command: str) -> ReplicaSpec:
    container = ContainerSpec(command)
    return ReplicaSpec("d-1", "web", RUNS, Resources(500, 64, 1), container=container)


@pytest.fixture
async def runtime(podman: PodmanEngine) -> AsyncIterator[EngineRuntime]:
    async with Engine(podman.url, first_pause_s=0.02, longest_pause_s=0.1) as engine:
        yield EngineRuntime(engine, returning(NODE_ID), look_every_s=0.2)
    remove_all(podman)


async def test_a_probe_that_hangs_is_a_failure_each_time(runtime: EngineRuntime) -> None:
    replica_id = str(uuid4())
    started = await runtime.start(replica_id, 0, running("/bin/sleep", "1000"))
    told: list[HealthSeen] = []
    clock = SystemClock().now_us
    prober = Prober(runtime, told.append, clock=clock, boot_clock=up_us, random=Random(1))
    hangs = HealthProbe(
        ProbeKind.EXEC, command=("sleep", "1000"), interval_ms=100, timeout_ms=100, failures=2
    )
    async with asyncio.TaskGroup() as tasks:
        prober.begin(
            BeginProbing(replica_id, 0, hangs, started.started_at_us, Health.UNKNOWN), tasks
        )
        await eventually(lambda: told, what="what a probe says")
        prober.end(replica_id)
    (seen,) = told
    assert seen.health is Health.UNHEALTHY
    # The second try finds the first one's command running, if the engine says so in time.
    assert seen.reason in {
        "exec probe: no answer within 100 ms",
        "exec probe: the command of an earlier try still runs",
    }
    (found,) = await runtime.containers()
    assert found.running, "the container itself runs on"


@asynccontextmanager
async def an_agent(
    folder: Path, podman: PodmanEngine, boot_id: str = "boot-1"
) -> AsyncIterator[NodeAgent]:
    """Run an agent that reaches no gateway, and end it without a word."""
    with ThreadPoolExecutor(1) as pool:
        engine = Engine(podman.url, first_pause_s=0.02, longest_pause_s=0.1)
        async with GrpcGateways([f"127.0.0.1:{free_port()}"]) as gateways, engine:
            store = SqliteStore(folder, pool)
            runtime = EngineRuntime(engine, store.node_id, look_every_s=0.2)
            agent = NodeAgent(
                "node-1",
                disk=store,
                runtime=runtime,
                host=DeclaredHost(ROOM, runtime.used_resources),
                gateways=gateways,
                clock=SystemClock().now_us,
                boot_clock=up_us,
                random=Random(1),
                settings=QUICK,
                boot_id=boot_id,
            )
            task = asyncio.create_task(agent.run())
            try:
                yield agent
            finally:
                task.cancel()
                with suppress(asyncio.CancelledError):
                    await task


def names(podman: PodmanEngine) -> list[str]:
    running_now = podman.containers(running_only=True)
    return sorted(name for each in running_now for name in each["Names"])


async def assign(folder: Path, wanted: Mapping[str, ReplicaSpec]) -> None:
    """Put into an agent's store what it is to run."""
    with ThreadPoolExecutor(1) as pool:
        store = SqliteStore(folder, pool)
        _, kept = await store.load()
        entries: list[Entry] = [
            AssignmentKept(replica_id, Desired.RUN, 1, spec) for replica_id, spec in wanted.items()
        ]
        for entry in entries:
            apply(kept, entry)
        await store.save(entries, kept)
        await store.close()


async def test_replicas_come_back_after_a_reboot_without_any_gateway(
    podman: PodmanEngine, tmp_path: Path
) -> None:
    """The host loses agent, engine and containers at once; only its disk is left."""
    wanted = {str(uuid4()): running("/bin/sleep", "1000") for _ in range(2)}
    await assign(tmp_path, wanted)

    expected = sorted(f"replica-{replica_id}" for replica_id in wanted)
    async with an_agent(tmp_path, podman):
        await eventually(lambda: names(podman) == expected, what="both containers")
        before = {each["Id"] for each in podman.containers()}
    podman.stop()
    podman.podman("kill", "--all")
    assert not names(podman)
    async with an_agent(tmp_path, podman, "boot-2") as agent:
        # The agent is up before the engine is.
        podman.start()
        await eventually(lambda: names(podman) == expected, what="both containers again")
        assert not before & {each["Id"] for each in podman.containers()}
        counts = [agent.core.kept.replicas[each].restart_count for each in wanted]
        assert counts == [1, 1]
        assert agent.core.kept.unreported, "what happened waits for a gateway"
    remove_all(podman)


async def test_who_ends_politely_with_its_host_is_not_done(
    podman: PodmanEngine, tmp_path: Path
) -> None:
    """The host shuts down again and again: the agent is stopped before the containers are."""
    polite = running("/bin/sh", "-c", "trap 'exit 0' TERM; sleep 1000 & wait")
    wanted = {restart: str(uuid4()) for restart in RestartPolicy}
    await assign(
        tmp_path,
        {each: replace(polite, restart=restart) for restart, each in wanted.items()},
    )

    def run(*restarts: RestartPolicy) -> bool:
        return names(podman) == sorted(f"replica-{wanted[each]}" for each in restarts)

    async with an_agent(tmp_path, podman, "boot-0"):
        await eventually(lambda: run(*RestartPolicy), what="all containers")
    for boots in range(1, 4):
        podman.podman("stop", "--all")
        async with an_agent(tmp_path, podman, f"boot-{boots}") as agent:
            await eventually(lambda: run(*AGAIN), what="both again")
            seen = agent.core.kept.replicas[wanted[RestartPolicy.NEVER]].observed
            assert seen is not None
            assert (seen.state, seen.final) == (ReplicaState.FAILED, True)
            assert seen.reason == "interrupted: its host restarted"
    remove_all(podman)
