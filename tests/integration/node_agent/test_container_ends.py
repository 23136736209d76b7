"""Ends that others bring: by hand, or by the kernel for want of memory."""

import asyncio

import pytest

from fogbank.domain.containers import ContainerSpec, HealthProbe, ProbeKind
from tests.support.containers import PodmanEngine
from tests.support.engine_nodes import Nodes, end_of, made_like, next_end, tried

pytestmark = pytest.mark.container


async def test_a_container_killed_by_hand_is_told_as_ended(
    nodes: Nodes, podman: PodmanEngine, replica_id: str
) -> None:
    runtime = await nodes.open(look_every_s=60)
    events = await nodes.events(runtime)
    started = await runtime.start(replica_id, 2, made_like(ContainerSpec()))
    waiting = asyncio.create_task(next_end(events))
    podman.podman("kill", started.container_id)
    end = await waiting
    assert (end.replica_id, end.restart_count, end.exit_code) == (replica_id, 2, 137)
    assert not end.reason


async def test_an_end_for_want_of_memory_says_so(nodes: Nodes, replica_id: str) -> None:
    events = await nodes.events(runtime := await nodes.open(look_every_s=60))
    grow = ("/bin/sh", "-c", "sleep 1; x=$(busybox yes | busybox head -c 500000000)")
    waiting = asyncio.create_task(end_of(events, replica_id))
    await runtime.start(replica_id, 0, made_like(ContainerSpec(grow)))
    end = await waiting
    assert end.exit_code == 137
    assert end.reason == "OOMKilled: it needed more memory than it may use"


async def test_want_of_memory_is_known_of_a_container_that_was_found_again(
    nodes: Nodes, replica_id: str
) -> None:
    grow = ("/bin/sh", "-c", "read go < /tmp/go; x=$(busybox yes | busybox head -c 500000000)")
    make = ("/bin/sh", "-c", 'busybox mkfifo /tmp/go; exec "$@"', "-", *grow)
    await (await nodes.open()).start(replica_id, 0, made_like(ContainerSpec(make)))
    runtime = await nodes.open(look_every_s=60)
    waiting = asyncio.create_task(end_of(await nodes.events(runtime), replica_id))
    await runtime.containers()
    probe = HealthProbe(ProbeKind.EXEC, command=("/bin/sh", "-c", "echo go > /tmp/go"))
    assert await tried(runtime, replica_id, probe)
    assert (await waiting).reason.startswith("OOMKilled")


async def test_a_container_removed_by_hand_is_told_as_ended(
    nodes: Nodes, podman: PodmanEngine, replica_id: str
) -> None:
    runtime = await nodes.open()
    await runtime.start(replica_id, 1, made_like(ContainerSpec()))
    podman.podman("rm", "--force", "--time", "0", f"replica-{replica_id}")
    end = await next_end(await nodes.events(runtime))
    assert (end.replica_id, end.restart_count) == (replica_id, 1)
    assert end.exit_code == -1
    assert "removed" in end.reason
