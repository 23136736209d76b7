"""Many agents: what a heartbeat and a stream cost a gateway, and how a fleet changes gateways.

A whole system (`fog up`) with two gateways and simulated nodes in eight agent processes, all on the
same processors. First what the gateways take with all agents connected and nothing to do: processor
time a heartbeat; the floor is the time that a bare `grpc.aio` server and its client take to echo a
message on a stream. Then one gateway is killed (it starts again by itself): when its agents shake
hands again, and whether a node was declared offline meanwhile. Then memory a stream, by the gateway
that has them all and the one that has none.
"""

from __future__ import annotations

import argparse
import asyncio
import re
import time
from typing import Any
from urllib.error import URLError
from urllib.request import urlopen

import grpc.aio
import psutil

from fogbank.domain.policy import Policy
from fogbank.local.readiness import http_ok, until
from fogbank.runtime.grpc_server import GrpcServer
from fogbank.v1 import node_service_pb2, nodes_pb2
from tests.support.checked_log import read_and_check
from tests.support.fog_up import FogUp, fog_up
from tests.support.grpc_user import GrpcUser, grpc_admin
from tests.support.waiting import eventually_sync

GATEWAYS = ("gateway-1", "gateway-2")
ECHOES = 5_000
_PATIENCE_S = 300
_US_PER_S = 1_000_000


def figure(system: FogUp, child: str, name: str) -> float:
    """Return a figure from a service's metrics, 0 while it doesn't answer."""
    try:
        with urlopen(
            f"http://127.0.0.1:{system.ports[f'{child}-metrics']}/metrics", timeout=10
        ) as page:
            text = page.read().decode()
    except (URLError, OSError):
        return 0
    found = re.search(rf"^{name} (\S+)$", text, re.MULTILINE)
    return float(found[1]) if found else 0


def streams(system: FogUp) -> list[int]:
    """Return how many agents each gateway has."""
    return [round(figure(system, each, "fog_gateway_agent_streams")) for each in GATEWAYS]


def busy_s(system: FogUp, *children: str) -> float:
    """Return the processor time that children have used."""
    times = [psutil.Process(system.pid(child)).cpu_times() for child in children]
    return sum(each.user + each.system for each in times)


async def echo_s() -> float:
    """Return the processor time that a bare server and its client take for a message and back."""

    async def echo(requests: object, _context: object) -> object:
        async for message in requests:  # type: ignore[attr-defined]
            yield message

    handler: Any = grpc.stream_stream_rpc_method_handler(echo)
    server = GrpcServer([])
    server.grpc.add_generic_rpc_handlers(
        [grpc.method_handlers_generic_handler("bench.Echo", {"Echo": handler})]
    )
    port = await server.start("127.0.0.1:0")
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        call: Any = channel.stream_stream("/bench.Echo/Echo")()
        began_s = time.process_time()
        for _ in range(ECHOES):
            await call.write(b"heartbeat")
            await call.read()
        took_s = time.process_time() - began_s
        call.cancel()
    await server.stop(0)
    return took_s / ECHOES


def all_nodes(user: GrpcUser) -> list[nodes_pb2.Node]:
    """Return all nodes."""
    request = node_service_pb2.ListNodesRequest(page_size=1_000)
    found: list[nodes_pb2.Node] = []
    while True:
        page = user.call(user.nodes.ListNodes, request)
        found += page.nodes
        if not page.next_page_token:
            return found
        request.page_token = page.next_page_token


def steady(system: FogUp, nodes: int, seconds: float) -> None:
    """Print what connected agents with nothing to do cost the gateways."""
    period_s = Policy().heartbeat_period_for_ms(nodes) / 1_000
    began_s, busy = time.monotonic(), busy_s(system, *GATEWAYS)
    eventually_sync(
        lambda: time.monotonic() - began_s >= seconds, seconds + _PATIENCE_S, what="the time"
    )
    took_s, used_s = time.monotonic() - began_s, busy_s(system, *GATEWAYS) - busy
    heartbeat_s = used_s / (nodes * took_s / period_s)
    floor_s = asyncio.run(echo_s())
    print(
        f"{nodes:,} agents on two gateways, {streams(system)}: at rest "
        f"{100 * used_s / took_s:.1f} % of a processor, {heartbeat_s * 1e6:.0f} us a heartbeat "
        f"(each {period_s:g} s; an echo and its client {floor_s * 1e6:.0f} us: ratio "
        f"{heartbeat_s / floor_s:.1f})",
        flush=True,
    )


def failover(system: FogUp, user: GrpcUser, nodes: int) -> None:
    """Kill the gateway that the user doesn't call and print how its agents come back."""
    orphans = streams(system)[1]
    before = offline(system)
    killed_at_s, former = time.time(), system.kill_child("gateway-2")
    system.back("gateway-2", former)
    eventually_sync(lambda: sum(streams(system)) >= nodes, _PATIENCE_S, what="all agents")
    again = sorted(
        at_s - killed_at_s
        for node in all_nodes(user)
        if (at_s := node.connected_at.ToMicroseconds() / _US_PER_S) > killed_at_s
    )
    print(
        f"the gateway of {orphans:,} agents killed: {len(again):,} shook hands again, the first "
        f"after {again[0]:.1f} s, half after {again[len(again) // 2]:.1f} s, the last after "
        f"{again[-1]:.1f} s; {offline(system) - before} nodes declared offline",
        flush=True,
    )


def offline(system: FogUp) -> int:
    """Return how often a node was declared offline."""
    return read_and_check(system.state["nats"]).counts.nodes_offline


def memory(system: FogUp) -> None:
    """Print what a stream takes: one gateway has most of them now, both have read the same log."""
    ready = http_ok(f"http://127.0.0.1:{system.ports['gateway-2-http']}/readiness")
    asyncio.run(until(ready))
    held = streams(system)
    resident = [psutil.Process(system.pid(each)).memory_info().rss for each in GATEWAYS]
    each_kb = (resident[0] - resident[1]) / max(held[0] - held[1], 1) / 1e3
    print(
        f"{held[0]:,} and {held[1]:,} streams, {resident[0] / 1e6:.0f} and "
        f"{resident[1] / 1e6:.0f} MB resident: {each_kb:.0f} kB a stream"
    )


def measure(nodes: int, seconds: float) -> None:
    """Measure with so many nodes, at rest for so many seconds."""
    with fog_up("--gateways", "2", "--nodes", str(nodes)) as system, grpc_admin(system) as user:
        eventually_sync(lambda: sum(streams(system)) == nodes, _PATIENCE_S, what="all agents")
        steady(system, nodes, seconds)
        failover(system, user, nodes)
        memory(system)


def main(arguments: list[str] | None = None) -> None:
    """Parse the command line and measure."""
    parser = argparse.ArgumentParser(prog="python -m bench.agents", description=__doc__)
    parser.add_argument("--nodes", type=int, default=2_000)
    parser.add_argument("--seconds", type=float, default=60, help="at rest")
    given = parser.parse_args(arguments)
    measure(given.nodes, given.seconds)


if __name__ == "__main__":
    main()
