"""Deployments on one host have networks of their own: their containers don't reach each other."""

import subprocess
from collections.abc import AsyncIterator, Generator
from contextlib import AsyncExitStack
from ipaddress import IPv4Network, ip_address
from pathlib import Path
from uuid import uuid4

import aiohttp
import pytest

from fogbank.domain.containers import ContainerSpec, Port
from fogbank.domain.resources import Resources
from services.node_agent.adapters.container_config import network_name
from services.node_agent.adapters.container_runtime import EngineRuntime
from services.node_agent.adapters.engine import Engine
from services.node_agent.adapters.networks import DeploymentNetworks
from services.node_agent.app.ports import RuntimeFaultError, StartedContainer
from services.node_agent.core.replica import ReplicaSpec
from tests.support.containers import RUNS, PodmanEngine, lines_of, remove_all, returning
from tests.support.waiting import eventually

pytestmark = pytest.mark.container

POOL = "10.208.0.0/12"


class Node:
    """A node on the engine, as it is started over and over."""

    def __init__(self, podman: PodmanEngine, stack: AsyncExitStack) -> None:
        self.id = str(uuid4())
        self._podman = podman
        self._stack = stack

    async def open(self, pool: str = POOL) -> EngineRuntime:
        """Be its agent."""
        engine = await self._stack.enter_async_context(Engine(self._podman.url))
        networks = DeploymentNetworks(IPv4Network(pool))
        return EngineRuntime(engine, returning(self.id), networks=networks, look_every_s=0.2)

    def networks(self) -> set[str]:
        """Its networks, as the engine has them."""
        label = f"label=fogbank.node={self.id}"
        command = ("network", "ls", "--filter", label, "--format", "{{.Name}}")
        return set(self._podman.podman(*command).split())

    def network(self, deployment_id: str) -> str:
        """The name of a deployment's network."""
        return network_name(self.id, deployment_id)


@pytest.fixture
async def node(podman: PodmanEngine) -> AsyncIterator[Node]:
    async with AsyncExitStack() as stack:
        found = Node(podman, stack)
        yield found
    remove_all(podman)
    for name in found.networks():
        podman.podman("network", "rm", name)


@pytest.fixture
def outside(tmp_path: Path) -> Generator[str]:
    """A web server on a machine of its own, as good as: one hop from this one.

    It knows the way to this machine's address on the link only, so it answers nobody who comes as
    from an address of a container. Its address.
    """
    name = f"fog-{uuid4().hex[:8]}"
    here, there = f"{name[:12]}a", f"{name[:12]}b"

    def ip(*words: str) -> None:
        subprocess.run(["ip", *words], check=True, capture_output=True, text=True)

    ip("netns", "add", name)
    try:
        ip("link", "add", here, "type", "veth", "peer", "name", there, "netns", name)
        ip("address", "add", "198.51.100.1/30", "dev", here)
        ip("link", "set", here, "up")
        ip("-n", name, "address", "add", "198.51.100.2/30", "dev", there)
        ip("-n", name, "link", "set", there, "up")
        (tmp_path / "index.html").write_text("page of the world\n", encoding="utf-8")
        serve = ("busybox", "httpd", "-f", "-p", "80", "-h", str(tmp_path))
        with subprocess.Popen(["ip", "netns", "exec", name, *serve]) as server:
            try:
                yield "198.51.100.2"
            finally:
                server.kill()
    finally:
        ip("netns", "delete", name)


async def started(runtime: EngineRuntime, deployment_id: str, replica_id: str) -> StartedContainer:
    """Start a replica that serves a page, and wait until it does."""
    container = ContainerSpec(ports=(Port(80),))
    spec = ReplicaSpec(deployment_id, "web", RUNS, Resources(500, 64, 1), container=container)
    one = await runtime.start(replica_id, 0, spec)
    await eventually(lambda: lines_of(runtime, replica_id, 1), what="its first line")
    return one


async def fetches(runtime: EngineRuntime, replica_id: str, address: str) -> bool:
    """Whether a container reads another's page."""
    command = f"printf 'GET / HTTP/1.0\\r\\n\\r\\n' | busybox nc -w 2 {address} 80"
    pieces = [piece async for piece in runtime.execute(replica_id, ("sh", "-c", command))]
    return b"page of" in b"".join(piece.data for piece in pieces)


async def test_containers_reach_those_of_their_own_deployment_only(
    node: Node, podman: PodmanEngine
) -> None:
    runtime = await node.open()
    ours, ours_too, theirs = (str(uuid4()) for _ in range(3))
    first = await started(runtime, "d-1", ours)
    second = await started(runtime, "d-1", ours_too)
    third = await started(runtime, "d-2", theirs)
    assert node.networks() == {node.network("d-1"), node.network("d-2")}
    addresses = [podman.address(each.container_id) for each in (first, second, third)]
    assert await fetches(runtime, ours, addresses[1])
    assert not await fetches(runtime, ours, addresses[2])
    assert not await fetches(runtime, theirs, addresses[0])

    async with aiohttp.ClientSession() as http:  # and the host, all of them
        for one, address in zip((first, second, third), addresses, strict=True):
            (port,) = one.ports
            for url in (f"http://127.0.0.1:{port.host_port}/", f"http://{address}/"):
                async with http.get(url) as page:
                    assert "page of" in await page.text()


async def test_containers_reach_the_world_and_know_whom_to_ask_for_names(
    node: Node, podman: PodmanEngine, outside: str
) -> None:
    runtime, replica_id = await node.open(), str(uuid4())
    one = await started(runtime, "d-1", replica_id)
    await eventually(lambda: fetches(runtime, replica_id, outside), what="a page from outside")
    # Name servers of the host, none of which may be the host's own loopback: that is not theirs.
    resolvers = podman.podman("exec", one.container_id, "cat", "/etc/resolv.conf").splitlines()
    servers = [line.split()[1] for line in resolvers if line.startswith("nameserver")]
    assert servers
    assert not any(ip_address(server).is_loopback for server in servers)
    itself = podman.podman("exec", one.container_id, "busybox", "hostname", "-i")
    assert itself.split() == [podman.address(one.container_id)]


async def test_a_network_goes_with_the_last_container_of_its_deployment(node: Node) -> None:
    runtime = await node.open()
    first, second = str(uuid4()), str(uuid4())
    for replica_id in (first, second):
        await started(runtime, "d-1", replica_id)
    await runtime.remove(first)
    assert node.networks() == {node.network("d-1")}
    await runtime.remove(second)
    assert node.networks() == set()


async def test_what_a_crash_left_behind_goes_later(node: Node, podman: PodmanEngine) -> None:
    runtime, replica_id = await node.open(), str(uuid4())
    one = await started(runtime, "d-1", replica_id)
    await started(runtime, "d-2", str(uuid4()))
    podman.podman("rm", "--force", "--time", "0", one.container_id)
    runtime = await node.open()
    await runtime.collect(())
    assert node.networks() == {node.network("d-2")}
    # And one that is there is used.
    await started(runtime, "d-2", replica_id)
    assert node.networks() == {node.network("d-2")}


async def test_a_pool_without_a_free_subnet_is_told(node: Node) -> None:
    runtime = await node.open("10.223.254.0/23")
    for deployment_id in ("d-1", "d-2"):
        await started(runtime, deployment_id, str(uuid4()))
    with pytest.raises(
        RuntimeFaultError, match=r"no subnet of FOG_NETWORK_POOL 10\.223\.254\.0/23"
    ):
        await started(runtime, "d-3", str(uuid4()))
