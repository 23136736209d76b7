"""Logs and commands: from a user through a gateway to an agent, and back."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import grpc
import grpc.aio
import pytest

from fogbank.domain.errands import Brought
from fogbank.domain.errors import NotFoundError, UnavailableError
from fogbank.domain.states import ReplicaState
from fogbank.v1 import replica_service_pb2 as pb
from services.gateway.app.deliveries import Delivery
from services.gateway.app.errand_shares import SHARE
from services.gateway.app.errands import Errands
from tests.support.agents import RunningAgent, running_agent
from tests.support.fleet_log import a_spec, an_id
from tests.support.gateway import AGENT_TOKEN, GatewayWorld, signed_in
from tests.support.named_users import ALICE
from tests.support.no_peers import NoPeers
from tests.support.waiting import eventually


@pytest.fixture
async def node(world: GatewayWorld, tmp_path: Path) -> AsyncIterator[RunningAgent]:
    async with running_agent(tmp_path, [world.address], token=AGENT_TOKEN) as found:
        await eventually(lambda: world.agents.count == 1, what="the agent's stream")
        yield found


async def runs(world: GatewayWorld, node: RunningAgent) -> tuple[str, str]:
    """Return a deployment and its replica, which runs on the node."""
    spec = replace(a_spec(), container_image="nginx")
    deployment_id = (await world.deployments.create(ALICE, spec, {})).deployment_id
    (node_id,) = world.fold.fleet.facts.nodes
    (replica_id,) = await world.scheduler.place(deployment_id, node_id)
    await eventually(
        lambda: node.agent.core.state_of(replica_id) is ReplicaState.RUNNING, what="the replica"
    )
    return deployment_id, replica_id


async def logs_of(world: GatewayWorld, user: str, **request: Any) -> str:
    call = world.replica_service.ReadLogs(pb.ReadLogsRequest(**request), metadata=signed_in(user))
    return b"".join([piece.data async for piece in call]).decode()


async def refused(call: Any) -> tuple[grpc.StatusCode, str]:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    return caught.value.code(), caught.value.details() or ""


async def test_logs_come_from_the_node(world: GatewayWorld, node: RunningAgent) -> None:
    deployment_id, replica_id = await runs(world, node)
    lines = await logs_of(world, "alice", deployment_id=deployment_id)
    assert "simulated start of nginx" in lines
    named = {"deployment_id": deployment_id, "replica_id": replica_id}
    assert await logs_of(world, "alice", **named, tail=1) == lines
    assert await logs_of(world, "alice", **named, tail=0) == ""


async def test_what_an_ended_replica_wrote_can_still_be_read(
    world: GatewayWorld, node: RunningAgent
) -> None:
    deployment_id, first = await runs(world, node)
    asked = {"deployment_id": deployment_id}
    lines = await logs_of(world, "alice", **asked)
    code, details = await refused(logs_of(world, "alice", **asked, previous=True))
    assert (code, "no other container" in details) == (grpc.StatusCode.FAILED_PRECONDITION, True)

    (node_id,) = world.fold.fleet.facts.nodes
    await world.scheduler.release(deployment_id, first)
    (second,) = await world.scheduler.place(deployment_id, node_id)
    await eventually(
        lambda: node.agent.core.state_of(second) is ReplicaState.RUNNING, what="its successor"
    )
    await eventually(lambda: node.agent.core.state_of(first) is None, what="its removal")

    for which in ({"previous": True}, {"replica_id": first}, {"slot": 0, "previous": True}):
        said = await logs_of(world, "alice", **asked, **which)
        assert said.startswith(lines)
        assert "stopped" in said.splitlines()[-1]
    assert "stopped" not in await logs_of(world, "alice", **asked, slot=0)


async def test_the_last_replica_answers_where_none_has_a_node(
    world: GatewayWorld, node: RunningAgent
) -> None:
    deployment_id, replica_id = await runs(world, node)
    await world.scheduler.release(deployment_id, replica_id)
    await eventually(lambda: node.agent.core.state_of(replica_id) is None, what="its removal")
    assert "simulated start" in await logs_of(world, "alice", deployment_id=deployment_id)


async def test_followed_logs_end_with_the_container(
    world: GatewayWorld, node: RunningAgent
) -> None:
    deployment_id, replica_id = await runs(world, node)
    request = pb.ReadLogsRequest(deployment_id=deployment_id, follow=True)
    following = aiter(world.replica_service.ReadLogs(request, metadata=signed_in("alice")))
    await anext(following)
    await eventually(lambda: node.runtime.stop(replica_id, 10), what="its stop")
    async with asyncio.timeout(60):
        async for _ in following:
            pass


async def test_one_user_leaves_errands_of_a_node_for_others(
    world: GatewayWorld, node: RunningAgent
) -> None:
    deployment_id, _ = await runs(world, node)
    following = [
        world.replica_service.ReadLogs(
            pb.ReadLogsRequest(deployment_id=deployment_id, follow=True),
            metadata=signed_in("alice"),
        )
        for _ in range(SHARE)
    ]
    for call in following:
        assert (await call.read()).data

    code, details = await refused(logs_of(world, "alice", deployment_id=deployment_id))
    assert (code, f"{SHARE} of one user" in details) == (grpc.StatusCode.RESOURCE_EXHAUSTED, True)
    for call in following:
        call.cancel()

    async def has_room() -> bool:
        try:
            return bool(await logs_of(world, "alice", deployment_id=deployment_id))
        except grpc.aio.AioRpcError:
            return False

    await eventually(has_room, what="room for an errand")


async def test_a_user_who_leaves_lets_go_of_a_silent_container(
    world: GatewayWorld, node: RunningAgent, monkeypatch: pytest.MonkeyPatch
) -> None:
    deployment_id, _ = await runs(world, node)
    ended = asyncio.Event()

    async def one_line(
        _replica_id: str, _tail: int, *, follow: bool, previous: bool
    ) -> AsyncIterator[str]:
        assert follow
        assert not previous
        yield "begun"
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()

    monkeypatch.setattr(node.runtime, "logs", one_line)
    request = pb.ReadLogsRequest(deployment_id=deployment_id, follow=True)
    call = world.replica_service.ReadLogs(request, metadata=signed_in("alice"))
    assert (await call.read()).data == b"begun"
    call.cancel()
    await asyncio.wait_for(ended.wait(), 60)


async def test_a_command_tells_what_it_writes_and_how_it_ends(
    world: GatewayWorld, node: RunningAgent
) -> None:
    deployment_id, _ = await runs(world, node)
    for command, output, exit_code in (
        (["echo", "a", "b"], b"a b\n", 0),
        (["false"], b"", 1),
    ):
        call = world.replica_service.Exec(
            pb.ExecRequest(deployment_id=deployment_id, command=command),
            metadata=signed_in("alice"),
        )
        pieces = [piece async for piece in call]
        assert b"".join(piece.output for piece in pieces) == output
        assert pieces[-1].exit_code == exit_code


async def test_who_may_not_see_a_deployment_sees_no_logs(
    world: GatewayWorld, node: RunningAgent
) -> None:
    deployment_id, _ = await runs(world, node)
    code, _ = await refused(logs_of(world, "bob", deployment_id=deployment_id))
    assert code is grpc.StatusCode.NOT_FOUND
    call = world.replica_service.Exec(
        pb.ExecRequest(deployment_id=deployment_id, command=["echo"]), metadata=signed_in("bob")
    )
    assert (await refused(call.read()))[0] is grpc.StatusCode.NOT_FOUND
    nobody = world.replica_service.ReadLogs(pb.ReadLogsRequest(deployment_id=deployment_id))
    assert (await refused(nobody.read()))[0] is grpc.StatusCode.UNAUTHENTICATED


async def test_what_makes_no_sense_is_said(world: GatewayWorld) -> None:
    deployment_id = await world.deployed()
    named = {"deployment_id": deployment_id}
    for request, code, text in (
        ({"replica_id": "x", "slot": 0}, grpc.StatusCode.INVALID_ARGUMENT, "beside a replica"),
        ({"tail": 100_001}, grpc.StatusCode.INVALID_ARGUMENT, "got 100001"),
        ({"replica_id": "x"}, grpc.StatusCode.NOT_FOUND, "Replica not found"),
        ({}, grpc.StatusCode.FAILED_PRECONDITION, "no replica of it has a node"),
    ):
        found = await refused(logs_of(world, "alice", **named, **request))
        assert found[0] is code
        assert text in found[1]


async def test_a_slot_that_never_had_a_replica_is_named(world: GatewayWorld) -> None:
    deployment_id = await world.deployed(2)
    node_id = an_id("fog-1")
    await world.connect_node(node_id, "fog-1")
    await world.scheduler.place(deployment_id, node_id, node_id)
    code, text = await refused(logs_of(world, "alice", deployment_id=deployment_id, slot=44))
    assert code is grpc.StatusCode.INVALID_ARGUMENT
    assert "must be one that had a replica (0, 1), got 44" in text


async def test_a_slow_user_holds_the_agent_back_and_one_who_leaves_lets_it_go() -> None:
    delivery = Delivery("")
    handed = 0

    async def bring() -> None:
        nonlocal handed
        while await delivery.put(Brought(b"x")):
            handed += 1

    bringing = asyncio.create_task(bring())
    await eventually(lambda: handed >= 8, what="a full queue")
    for _ in range(100):
        await asyncio.sleep(0)
    assert handed == 8
    assert await anext(delivery.pieces()) == Brought(b"x")
    await eventually(lambda: handed == 9, what="room for one more")
    delivery.end()
    await asyncio.wait_for(bringing, 60)


class SlowPeers(NoPeers):
    """Others that take their time to be told that an errand is over."""

    def __init__(self) -> None:
        self.errand_id = ""
        self.told = asyncio.Event()

    @asynccontextmanager
    async def awaiting(self, errand_id: str, delivery: Delivery) -> AsyncIterator[None]:
        self.errand_id = errand_id
        async with super().awaiting(errand_id, delivery):
            try:
                yield
            finally:
                await self.told.wait()


async def test_an_agent_that_comes_too_late_runs_nothing(world: GatewayWorld) -> None:
    await world.connect_node(an_id("n"), "fog-1")
    deployment_id = (await world.deployments.create(ALICE, a_spec(), {})).deployment_id
    await world.scheduler.place(deployment_id, an_id("n"))
    peers, agents = SlowPeers(), cast("Any", SimpleNamespace(send=lambda *_: True))
    errands = Errands(world.deployments, world.fold, agents, peers, patience_s=0)
    asked = asyncio.ensure_future(anext(errands.execute(ALICE, deployment_id, "", ("reboot",))))
    await eventually(lambda: peers.errand_id, what="the errand")
    with pytest.raises(NotFoundError):
        async with errands.taken(peers.errand_id, lambda _: None):
            pass
    peers.told.set()
    with pytest.raises(UnavailableError, match="did not answer"):
        await asked
