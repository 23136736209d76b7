"""The agent as a process of its own, started as an operator starts it."""

import asyncio
import json
import signal
from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path

import pytest

from fogbank.domain.states import ReplicaState
from tests.support.agent_process import agent_process
from tests.support.fake_gateway import FakeGateway, FakeNode
from tests.support.waiting import eventually

NODES = 20


@pytest.fixture
async def gateway() -> AsyncIterator[FakeGateway]:
    async with FakeGateway() as gateway:
        yield gateway


async def test_it_is_the_host_it_runs_on(gateway: FakeGateway, tmp_path: Path) -> None:
    async with agent_process(tmp_path, gateway.address, FOG_RESERVED_MEMORY_MIB="64") as process:
        await eventually(lambda: gateway.connected("here"))
        fingerprint = gateway.node("here").hellos[0].fingerprint
        assert fingerprint.capacity.memory_mib - fingerprint.allocatable.memory_mib == 64
        process.send_signal(signal.SIGTERM)
        assert await asyncio.wait_for(process.wait(), 60) == 0


async def test_it_hosts_many_nodes_each_with_an_identity(
    gateway: FakeGateway, tmp_path: Path
) -> None:
    nodes = tmp_path / "nodes.json"
    nodes.write_text(json.dumps([{"name": f"edge-{n}", "cpu": 2} for n in range(NODES)]))
    for epoch in (1, 2):
        async with agent_process(tmp_path, gateway.address, FOG_NODES_FILE=str(nodes)) as process:
            everybody = partial(connected, gateway, epoch, NODES)
            await eventually(everybody, timeout_s=120)
            process.send_signal(signal.SIGTERM)
            assert await asyncio.wait_for(process.wait(), 60) == 0
        assert len(gateway.nodes) == NODES
        assert (tmp_path / "data" / "edge-3" / "identity.json").exists()


async def test_a_second_agent_on_the_folder_gives_up(gateway: FakeGateway, tmp_path: Path) -> None:
    async with agent_process(tmp_path, gateway.address):
        await eventually(lambda: gateway.connected("here"))
        async with agent_process(tmp_path, gateway.address) as second:
            output, _ = await asyncio.wait_for(second.communicate(), 60)
            assert second.returncode == 1
            assert b"another agent runs on" in output


def connected(gateway: FakeGateway, epoch: int, count: int) -> bool:
    """Whether so many nodes are connected, each for the so-manieth time."""
    return count == sum(node.connected and node.epoch == epoch for node in gateway.nodes.values())


async def live_and_die(gateway: FakeGateway, folder: Path, life: int) -> FakeNode:
    """Give a fresh process five replicas and kill it after it told a little of them."""
    async with agent_process(folder, gateway.address) as process:
        await eventually(lambda: gateway.connected("here"), timeout_s=120)
        node = gateway.node("here")
        seen_before = len(node.observations)
        for number in range(5):
            gateway.assign(node, f"replica-{life}-{number}")
        await eventually(lambda: len(node.observations) > seen_before + life)
        process.kill()
        await process.wait()
        await eventually(lambda: not node.connected)
        return node


@pytest.mark.kill
async def test_killed_at_any_moment_it_goes_on_where_it_was(
    gateway: FakeGateway, tmp_path: Path
) -> None:
    for life in range(3):
        await live_and_die(gateway, tmp_path, life)
    node = await live_and_die(gateway, tmp_path, 3)
    async with agent_process(tmp_path, gateway.address):
        await eventually(
            lambda: all(node.is_in(each, ReplicaState.RUNNING) for each in node.desired),
            timeout_s=120,
        )
        assert len(gateway.nodes) == 1
        assert len(node.desired) == 20
        assert all(node.seen(each)[-1] == (0, "RUNNING") for each in node.desired)
