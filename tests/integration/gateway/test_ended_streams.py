"""Streams that are open when their callers sign out, or lose what the stream took."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import httpx2
import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed

from fogbank.codec.values import spec_to_pb
from fogbank.domain.errors import UnauthenticatedError
from fogbank.domain.states import ReplicaState
from fogbank.runtime.clock import ManualClock
from fogbank.v1 import audit_service_pb2, deployment_service_pb2, facts_pb2, node_service_pb2
from fogbank.v1 import replica_service_pb2 as pb
from services.gateway.app import streams
from services.gateway.app.identity import Identity
from services.gateway.app.principal import Principal
from services.gateway.http_api.server import HttpServer
from tests.integration.gateway.test_organizations import Caller
from tests.support.agents import RunningAgent, running_agent
from tests.support.fleet_log import a_spec
from tests.support.gateway import AGENT_TOKEN, GatewayWorld, signed_in
from tests.support.named_users import ALICE, BOB
from tests.support.rest_face import deploy_body, rest_face
from tests.support.tenancy import MemoryDenials
from tests.support.waiting import eventually

ALICES = signed_in("alice")


@pytest.fixture(autouse=True)
def _looks_often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streams, "_LOOK_AGAIN_S", 0.01)


class Host:
    """A host whose containers write one line, and on which commands never end."""

    def __init__(self, running: RunningAgent) -> None:
        self._agent = running.agent
        self.has_command = asyncio.Event()

    def has_begun(self, replica_id: str) -> bool:
        return self._agent.core.state_of(replica_id) is ReplicaState.RUNNING

    async def logs(self, _replica_id: str, _tail: int, **_how: bool) -> AsyncIterator[str]:
        yield "begun"
        await asyncio.Event().wait()

    async def execute(self, _replica_id: str, _command: Sequence[str]) -> AsyncIterator[Any]:
        self.has_command.set()
        await asyncio.Event().wait()
        yield None


@pytest.fixture
async def host(
    world: GatewayWorld, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Host]:
    async with running_agent(tmp_path, [world.address], token=AGENT_TOKEN) as running:
        found = Host(running)
        monkeypatch.setattr(running.runtime, "logs", found.logs)
        monkeypatch.setattr(running.runtime, "execute", found.execute)
        await eventually(lambda: world.agents.count == 1, what="the agent's stream")
        yield found


async def runs(world: GatewayWorld, host: Host, owner: Principal, cluster_id: int = 1) -> str:
    """Return a deployment whose replica runs on the node."""
    spec = replace(a_spec(cluster_id=cluster_id), container_image="nginx")
    deployment_id = (await world.deployments.create(owner, spec, {})).deployment_id
    (node_id,) = world.fold.fleet.facts.nodes
    (replica_id,) = await world.scheduler.place(deployment_id, node_id)
    await eventually(lambda: host.has_begun(replica_id), what="the replica")
    return deployment_id


async def end_of(call: Any) -> grpc.StatusCode:
    async def read_all() -> None:
        async for _ in call:
            pass

    with pytest.raises(grpc.aio.AioRpcError) as ended:
        await asyncio.wait_for(read_all(), 60)
    return ended.value.code()


async def _submitted() -> AsyncIterator[Any]:
    create = deployment_service_pb2.CreateDeploymentRequest(spec=spec_to_pb(a_spec()))
    yield deployment_service_pb2.SubmitDeploymentsRequest(requests=[create])
    await asyncio.Event().wait()


Opens = Callable[[GatewayWorld, str], Any]
STREAMS: dict[str, Opens] = {
    "deployments": lambda world, _: world.deployment_service.WatchDeployments(
        deployment_service_pb2.WatchDeploymentsRequest(), metadata=ALICES
    ),
    "submissions": lambda world, _: world.deployment_service.SubmitDeployments(
        _submitted(), metadata=ALICES
    ),
    "nodes": lambda world, _: world.node_service.WatchNodes(
        node_service_pb2.WatchNodesRequest(), metadata=ALICES
    ),
    "events": lambda world, _: world.audit_service.ReadEvents(
        audit_service_pb2.ReadEventsRequest(follow=True), metadata=ALICES
    ),
    "logs": lambda world, deployment_id: world.replica_service.ReadLogs(
        pb.ReadLogsRequest(deployment_id=deployment_id, follow=True), metadata=ALICES
    ),
    "command": lambda world, deployment_id: world.replica_service.Exec(
        pb.ExecRequest(deployment_id=deployment_id, command=["sleep"]), metadata=ALICES
    ),
}


@pytest.mark.parametrize("kind", STREAMS)
async def test_a_stream_over_grpc_ends_with_the_token(
    world: GatewayWorld, host: Host, kind: str
) -> None:
    call = STREAMS[kind](world, await runs(world, host, ALICE))
    bobs = world.deployment_service.WatchDeployments(
        deployment_service_pb2.WatchDeploymentsRequest(after_sequence=1), metadata=signed_in("bob")
    )
    await world.deployments.create(BOB, a_spec())
    assert await bobs.read()
    await world.denials.deny(["alice"], 0)
    assert await end_of(call) is grpc.StatusCode.UNAUTHENTICATED
    await world.deployments.create(BOB, a_spec(name="another"))
    assert await bobs.read(), "others are not touched"


@pytest.mark.parametrize(
    ("loses", "code"),
    [
        ("SetMemberRole", grpc.StatusCode.PERMISSION_DENIED),
        ("RemoveMember", grpc.StatusCode.NOT_FOUND),
    ],
)
async def test_a_command_ends_with_the_right_to_run_it(
    world: GatewayWorld, host: Host, loses: str, code: grpc.StatusCode
) -> None:
    alice, bob = Caller(world, "alice"), Caller(world, "bob")
    await alice.CreateOrganization(name="ours")
    await alice.CreateCluster(name="edge", organization_id=2)
    invite = (await alice.RenewInviteCode(organization_id=2)).invite
    await bob.JoinOrganization(invite_code=invite.code)
    deployment_id = await runs(world, host, BOB, 2)
    watch = world.deployment_service.WatchDeployments(
        deployment_service_pb2.WatchDeploymentsRequest(after_sequence=1), metadata=signed_in("bob")
    )
    call = world.replica_service.Exec(
        pb.ExecRequest(deployment_id=deployment_id, command=["sleep"]), metadata=signed_in("bob")
    )
    await asyncio.wait_for(host.has_command.wait(), 60)
    role = {"role": facts_pb2.MEMBERSHIP_ROLE_VIEWER} if loses == "SetMemberRole" else {}
    await getattr(alice, loses)(organization_id=2, user="bob", **role)
    assert await end_of(call) is code
    assert await watch.read(), "what became of their deployment they may still see"


async def test_a_stream_ends_when_its_token_does() -> None:
    clock = ManualClock()
    nobody: Any = None
    identity = Identity(
        *(nobody, nobody, nobody, nobody, MemoryDenials()),
        clock=clock,
        refresh_lifetime_s=0,
    )
    caller = replace(BOB, ends_at_us=clock.now_us() + 1_000_000)
    going_on = asyncio.Event()

    async def items() -> AsyncGenerator[int, None]:
        yield 1
        await going_on.wait()
        yield 2
        await asyncio.Event().wait()

    stream = identity.stream(caller, items())
    assert await anext(stream) == 1
    clock.advance(0.9)
    going_on.set()
    assert await anext(stream) == 2
    clock.advance(0.1)
    with pytest.raises(UnauthenticatedError):
        await asyncio.wait_for(anext(stream), 60)


@dataclass
class Session:
    """Somebody who is signed in, at a server."""

    client: httpx2.AsyncClient
    token: str
    deployment_id: str


@pytest.fixture
async def session() -> AsyncIterator[Session]:
    async with rest_face() as face:
        server = HttpServer(face.app, "127.0.0.1:0")
        running = asyncio.create_task(server.run())
        address = f"http://127.0.0.1:{server.port}"
        async with httpx2.AsyncClient(base_url=address, timeout=60) as client:
            user = {"username": "bob", "password": "secret-1"}
            await client.post("/api/auth/register", json=user)
            token = (await client.post("/api/auth/login", json=user)).json()["access_token"]
            client.headers["Authorization"] = f"Bearer {token}"
            made = await client.post("/api/deployment/deploy", json=deploy_body())
            yield Session(client, token, made.json()["deployment_id"])
        server.stop()
        await asyncio.wait_for(running, 60)


async def test_an_event_stream_says_that_it_ends_with_the_session(session: Session) -> None:
    async with session.client.stream("GET", "/api/events") as answer:
        lines = answer.aiter_lines()
        assert await anext(lines) == "retry: 1000"
        await session.client.post("/api/auth/logout")
        told = [line async for line in lines if line]
    assert told[-2:] == ["event: end", 'data: {"detail":"Not authenticated"}']
    assert (await session.client.get("/api/events")).status_code == 401, "browsers stop then"


async def test_a_websocket_is_closed_with_the_session(session: Session) -> None:
    url = f"ws://{session.client.base_url.netloc.decode()}/ws/deployments/{session.deployment_id}"
    headers = {"Authorization": f"Bearer {session.token}"}
    async with connect(url, additional_headers=headers) as socket:
        assert await asyncio.wait_for(socket.recv(), 60)
        await session.client.post("/api/auth/logout")
        with pytest.raises(ConnectionClosed):
            await asyncio.wait_for(socket.recv(), 60)
    assert (socket.close_code, socket.close_reason) == (4401, "Not authenticated")
