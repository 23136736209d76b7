"""Logs and commands of a node whose stream another gateway has: over a real broker, as its users.

The user asks gateway one; the node's agent knows gateway two only, unless a test says otherwise.
"""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import pytest

from fogbank.codec.errands import errand_to_pb
from fogbank.domain.errands import Errand, LogsErrand
from fogbank.domain.states import ReplicaState
from fogbank.log.nats_connection import NatsConnection, connect
from fogbank.log.stream import StreamName
from fogbank.runtime.grpc_errors import from_rpc_error
from fogbank.v1 import agent_service_pb2, agent_service_pb2_grpc
from fogbank.v1 import replica_service_pb2 as pb
from services.gateway.adapters import errand_peers
from services.gateway.adapters.errand_peers import NatsPeers
from services.gateway.app.deliveries import Delivery
from tests.support.agents import RunningAgent, running_agent
from tests.support.broker_users import as_user, guarded_broker
from tests.support.fault_proxy import FaultProxy, fault_proxy
from tests.support.fleet_log import a_spec, an_id
from tests.support.gateway import (
    AGENT_TOKEN,
    GatewayWorld,
    gateway_world,
    memory_logs,
    refusal,
    signed_in,
)
from tests.support.named_users import ALICE
from tests.support.nats import NatsServer
from tests.support.scripted_agent import scripted_agent
from tests.support.waiting import eventually, pause

SEALING_KEY = "s" * 32
CHUNK = "x" * 16 * 1024


@pytest.fixture(scope="module")
def broker() -> Iterator[NatsServer]:
    with guarded_broker(StreamName()) as server:
        yield server


@dataclass
class Fleet:
    """Two gateways, and their connections to the broker."""

    one: GatewayWorld
    two: GatewayWorld
    connections: list[NatsConnection]
    links: list[FaultProxy] = field(default_factory=list)


@asynccontextmanager
async def two_gateways(*urls: str) -> AsyncIterator[Fleet]:
    """Run two gateways, each with a broker's address of its own, while the context lasts."""
    async with AsyncExitStack() as stack:
        log_of, connections, worlds = memory_logs(), [], []
        for instance, url in zip(("one", "two"), urls, strict=True):
            connection = connect(url, instance, as_user("gateway"))
            connections.append(await stack.enter_async_context(connection))
            peers = NatsPeers(connections[-1], "default", SEALING_KEY)
            world = gateway_world(log_of, instance=instance, peers=peers)
            worlds.append(await stack.enter_async_context(world))
        yield Fleet(worlds[0], worlds[1], connections)


@pytest.fixture
async def fleet(broker: NatsServer) -> AsyncIterator[Fleet]:
    async with (
        fault_proxy("127.0.0.1", broker.port) as one,
        fault_proxy("127.0.0.1", broker.port) as two,
        two_gateways(*(f"nats://127.0.0.1:{link.port}" for link in (one, two))) as found,
    ):
        found.links = [one, two]
        yield found


@pytest.fixture
async def node(fleet: Fleet, tmp_path: Path) -> AsyncIterator[RunningAgent]:
    async with running_agent(tmp_path, [fleet.two.address], token=AGENT_TOKEN) as found:
        await eventually(lambda: fleet.two.agents.count == 1, what="the agent's stream")
        yield found


async def placed(fleet: Fleet, node_id: str) -> tuple[str, str]:
    """Return a deployment and its replica, which both gateways know."""
    spec = replace(a_spec(), container_image="nginx")
    deployment_id = (await fleet.two.deployments.create(ALICE, spec, {})).deployment_id
    (replica_id,) = await fleet.two.scheduler.place(deployment_id, node_id)
    await fleet.one.fold.reached(fleet.two.fold.position)
    return deployment_id, replica_id


async def runs(fleet: Fleet, node: RunningAgent) -> tuple[str, str]:
    """Return a deployment and its replica, which runs on the node."""
    (node_id,) = fleet.two.fold.fleet.facts.nodes
    deployment_id, replica_id = await placed(fleet, node_id)
    await eventually(
        lambda: node.agent.core.state_of(replica_id) is ReplicaState.RUNNING, what="the replica"
    )
    return deployment_id, replica_id


def reading(world: GatewayWorld, deployment_id: str, user: str = "alice", **how: Any) -> Any:
    request = pb.ReadLogsRequest(deployment_id=deployment_id, **how)
    return world.replica_service.ReadLogs(request, metadata=signed_in(user))


async def all_of(call: Any) -> str:
    return b"".join([piece.data async for piece in call]).decode()


async def reason_of(call: Any) -> str:
    """Return why a call failed that had to."""
    return from_rpc_error(await refusal(all_of(call))).reason


class Container:
    """What a node's container writes, as a test wants it."""

    def __init__(self, node: RunningAgent, monkeypatch: pytest.MonkeyPatch, chunks: int) -> None:
        self.chunks = chunks
        self.written = 0
        self.let_go = asyncio.Event()
        monkeypatch.setattr(node.runtime, "logs", self._logs)

    async def _logs(
        self, _replica_id: str, _tail: int, *, follow: bool, previous: bool
    ) -> AsyncIterator[str]:
        assert not previous
        try:
            while self.written < self.chunks:
                self.written += 1
                yield f"{self.written}{CHUNK}"
            if follow:
                await asyncio.Event().wait()
        finally:
            self.let_go.set()


async def test_any_gateway_brings_logs_and_runs_commands(fleet: Fleet, node: RunningAgent) -> None:
    deployment_id, replica_id = await runs(fleet, node)
    lines = await all_of(reading(fleet.two, deployment_id))
    assert "simulated start of nginx" in lines
    assert await all_of(reading(fleet.one, deployment_id)) == lines
    for command, output, exit_code in ((["echo", "a"], b"a\n", 0), (["false"], b"", 1)):
        request = pb.ExecRequest(deployment_id=deployment_id, command=command)
        call = fleet.one.replica_service.Exec(request, metadata=signed_in("alice"))
        pieces = [piece async for piece in call]
        assert b"".join(piece.output for piece in pieces) == output
        assert pieces[-1].exit_code == exit_code

    following = aiter(reading(fleet.one, deployment_id, follow=True))
    await anext(following)
    await eventually(lambda: node.runtime.stop(replica_id, 10), what="its stop")
    await asyncio.wait_for(all_of(following), 60)


async def test_what_the_agent_refuses_is_told_as_it_says(
    fleet: Fleet, node: RunningAgent, monkeypatch: pytest.MonkeyPatch
) -> None:
    deployment_id, _ = await runs(fleet, node)

    def refuse(*_: Any, **__: Any) -> Any:
        raise ValueError("no logs today")

    monkeypatch.setattr(node.runtime, "logs", refuse)
    error = from_rpc_error(await refusal(all_of(reading(fleet.one, deployment_id))))
    assert error.reason == "ERRAND_FAILED"
    assert "no logs today" in error.message


async def test_who_may_not_see_a_deployment_sees_nothing_of_it_anywhere(
    fleet: Fleet, node: RunningAgent
) -> None:
    deployment_id, _ = await runs(fleet, node)
    assert await reason_of(reading(fleet.one, deployment_id, "bob")) == "DEPLOYMENT_NOT_FOUND"


async def test_a_slow_user_holds_the_agent_back_and_misses_nothing(
    fleet: Fleet, node: RunningAgent, monkeypatch: pytest.MonkeyPatch
) -> None:
    deployment_id, _ = await runs(fleet, node)
    container = Container(node, monkeypatch, 2_000)
    call = aiter(reading(fleet.one, deployment_id))
    said = (await anext(call)).data.decode()
    seen = -1

    async def stands() -> bool:
        nonlocal seen
        before, seen = seen, container.written
        await pause(0.2)
        return before == seen

    await eventually(stands, what="an agent that waits")
    assert seen < container.chunks / 2
    said += await all_of(call)
    assert said == "".join(f"{number}{CHUNK}" for number in range(1, container.chunks + 1))


async def test_a_user_who_leaves_lets_go_of_a_silent_container(
    fleet: Fleet, node: RunningAgent, monkeypatch: pytest.MonkeyPatch
) -> None:
    deployment_id, _ = await runs(fleet, node)
    container = Container(node, monkeypatch, 1)
    call = reading(fleet.one, deployment_id, follow=True)
    await call.read()
    call.cancel()
    await asyncio.wait_for(container.let_go.wait(), 60)


async def test_that_no_gateway_has_a_node_is_told_soon(fleet: Fleet) -> None:
    await fleet.two.connect_node(an_id("far"), "far")
    deployment_id, _ = await placed(fleet, an_id("far"))
    async with asyncio.timeout(8):  # less than what an agent gets to answer
        error = from_rpc_error(await refusal(all_of(reading(fleet.one, deployment_id))))
    assert error.reason == "NODE_NOT_CONNECTED"
    assert error.retry_after_ms


async def test_a_node_that_moved_is_found_where_it_is(fleet: Fleet, tmp_path: Path) -> None:
    """Also one whose agent calls another gateway to bring something than the one it listens to."""
    async with AsyncExitStack() as stack:
        epoch = 0
        for here, there in ((fleet.two, fleet.one), (fleet.one, fleet.two)):
            agent = await stack.enter_async_context(scripted_agent(here.channel))
            await agent.shake_hands(last_epoch=epoch)
            epoch = agent.epoch
            await fleet.two.fold.reached(here.fold.position)
            deployment_id, _ = await placed(fleet, agent.node_id)
            await agent.assigned()
            for asked in (fleet.one, fleet.two):
                for called in (here, there):
                    call = asyncio.create_task(all_of(reading(asked, deployment_id)))
                    next_errand = asyncio.create_task(agent.next("errand"))
                    await asyncio.wait({call, next_errand}, return_when=asyncio.FIRST_COMPLETED)
                    assert not call.done(), await call
                    await _serve(called, (await next_errand).errand_id, b"line")
                    assert await call == "line"


async def test_what_an_agent_brings_at_once_is_bounded(fleet: Fleet) -> None:
    async with scripted_agent(fleet.one.channel) as agent:
        await agent.shake_hands()
        deployment_id, _ = await placed(fleet, agent.node_id)
        await agent.assigned()
        call = asyncio.create_task(all_of(reading(fleet.one, deployment_id)))
        errand_id = (await agent.next("errand")).errand_id

        refused = await refusal(_serve(fleet.one, errand_id, b"x" * 65_536))

        assert "a piece may have 65536 bytes" in (refused.details() or "")
        with pytest.raises(grpc.aio.AioRpcError):
            await call


async def test_nobody_takes_what_nobody_waits_for(fleet: Fleet, node: RunningAgent) -> None:
    for errand_id in (an_id("unknown"), "*", ">", "a.b", "x" * 10_000):
        refused = from_rpc_error(await refusal(_serve(fleet.one, errand_id, b"line")))
        assert refused.reason == "NO_SUCH_ERRAND"


async def test_whoever_lacks_the_key_sends_nobody(broker: NatsServer) -> None:
    """Not even with the broker's leave, or with what a gateway sealed for another node."""
    errand = Errand(an_id("errand"), an_id("replica"), LogsErrand(1, follow=False))
    sent: list[Errand] = []
    overheard: list[bytes] = []

    async def hear(message: Any) -> None:
        overheard.append(message.data)

    async def send(connection: NatsConnection, key: str, node: str) -> None:
        peers = NatsPeers(connection, "default", key)
        async with peers.awaiting(errand.errand_id, Delivery(an_id(node))):
            await peers.send(errand)
            await connection.client.flush()

    async with (
        connect(broker.url, "gateway", as_user("gateway")) as gateway,
        connect(broker.url, "thief", as_user("gateway")) as thief,
        NatsPeers(gateway, "default", SEALING_KEY).reachable(an_id("here"), sent.append),
    ):
        await thief.client.subscribe("fogbank.errands.default.node.*", cb=hear)

        async def overhears() -> bool:
            await send(gateway, SEALING_KEY, "elsewhere")
            return bool(overheard)

        await eventually(overhears, what="what a gateway says")
        for forged in (overheard[0], b"", b"nonsense", errand_to_pb(errand).SerializeToString()):
            await thief.client.publish(f"fogbank.errands.default.node.{an_id('here')}", forged)
        await send(thief, "z" * 32, "here")
        assert sent == []

        async def sends() -> bool:
            await send(gateway, SEALING_KEY, "here")
            return bool(sent)

        await eventually(sends, what="the one that a gateway sent")
    assert set(sent) == {errand}


@pytest.mark.parametrize("cut", [0, 1])
async def test_whoever_is_cut_off_from_the_broker_ends_the_errand_on_both_sides(
    fleet: Fleet, node: RunningAgent, monkeypatch: pytest.MonkeyPatch, cut: int
) -> None:
    monkeypatch.setattr(errand_peers, "_BEAT_S", 0.1)
    deployment_id, _ = await runs(fleet, node)
    container = Container(node, monkeypatch, 1)
    call = reading(fleet.one, deployment_id, follow=True)
    pieces = aiter(call)
    await anext(pieces)
    fleet.links[cut].swallow_requests = fleet.links[cut].swallow_answers = True
    error = from_rpc_error(await refusal(all_of(pieces)))
    assert error.reason == "ERRAND_CUT_OFF"
    assert error.retry_after_ms
    await asyncio.wait_for(container.let_go.wait(), 60)
    fleet.links[cut].cut()


async def test_without_a_broker_a_gateway_serves_the_nodes_it_has(tmp_path: Path) -> None:
    with guarded_broker(StreamName()) as broker:
        async with (
            two_gateways(broker.url, broker.url) as fleet,
            running_agent(tmp_path, [fleet.two.address], token=AGENT_TOKEN) as node,
        ):
            await eventually(lambda: fleet.two.agents.count == 1, what="the agent's stream")
            await _served_through_an_outage(fleet, node, broker)


async def _served_through_an_outage(fleet: Fleet, node: RunningAgent, broker: NatsServer) -> None:
    deployment_id, _ = await runs(fleet, node)
    broker.stop()
    await eventually(
        lambda: not any(each.is_connected for each in fleet.connections), what="an outage"
    )
    assert await reason_of(reading(fleet.one, deployment_id)) == "LOG_UNAVAILABLE"
    assert "simulated start" in await all_of(reading(fleet.two, deployment_id))
    broker.start()

    async def served() -> bool:
        try:
            return "simulated start" in await all_of(reading(fleet.one, deployment_id))
        except grpc.aio.AioRpcError as error:
            if error.code() is not grpc.StatusCode.UNAVAILABLE:
                raise
            return False

    await eventually(served, what="the other's nodes again")


async def _serve(world: GatewayWorld, errand_id: str, line: bytes) -> None:
    stub: Any = agent_service_pb2_grpc.AgentServiceStub(world.channel)
    brought = [
        agent_service_pb2.ServeRequest(errand_id=errand_id),
        agent_service_pb2.ServeRequest(output=line),
    ]
    await stub.Serve(iter(brought), metadata=(("authorization", f"Bearer {AGENT_TOKEN}"),))
