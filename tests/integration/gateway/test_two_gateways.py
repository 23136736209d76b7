"""Two gateways serve one fleet; one is killed, and its followers go on at the other."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import aclosing, suppress
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import httpx2
import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed

from fogbank.codec.values import spec_to_pb
from fogbank.v1 import deployment_service_pb2 as pb
from fogbank.v1 import deployment_service_pb2_grpc
from tests.integration.gateway.test_process import (
    GatewayProcess,
    gateway_process,
    settings,
    sign_in,
)
from tests.support.fleet_log import a_spec
from tests.support.nats import NatsServer, nats_server
from tests.support.postgres import PostgresServer
from tests.support.second_copy import stub_ledger
from tests.support.waiting import eventually

pytestmark = [pytest.mark.slow, pytest.mark.kill]

DEPLOYMENTS = 60
SEEN_BEFORE_THE_KILL = 20


@pytest.fixture
def broker() -> Iterator[NatsServer]:
    with nats_server() as server:
        yield server


class Fleet:
    """What a client knows: the gateways' addresses, of which it uses one after the other."""

    def __init__(self, first: GatewayProcess, second: GatewayProcess) -> None:
        self.gateways = (first, second)
        self.metadata: tuple[tuple[str, str], ...] = ()

    async def address(self, number: int, protocol: str) -> str:
        return f"127.0.0.1:{await self.gateways[number].port(protocol)}"

    @property
    def headers(self) -> dict[str, str]:
        return {"Authorization": self.metadata[0][1]}

    async def events(self, number: int, after: int) -> AsyncGenerator[int]:
        """Yield the ids of messages of the event stream until the gateway is gone."""
        headers = self.headers | {"Last-Event-ID": str(after)}
        url = f"http://{await self.address(number, 'http')}/api/events"
        async with httpx2.AsyncClient(trust_env=False, timeout=120) as http:
            with suppress(httpx2.HTTPError):
                async with http.stream("GET", url, headers=headers) as answer:
                    ids = ""
                    async for line in answer.aiter_lines():
                        if line.startswith("id: "):
                            ids = line[4:]
                        elif line.startswith("data: "):
                            assert json.loads(line[6:])["sequence"] == int(ids)
                            yield int(ids)

    async def changes(self, number: int, after: int) -> AsyncGenerator[tuple[int, str, int]]:
        """Yield (sequence, deployment, status) of a watch until the gateway is gone."""
        async with grpc.aio.insecure_channel(await self.address(number, "grpc")) as channel:
            stub: Any = deployment_service_pb2_grpc.DeploymentServiceStub(channel)
            request = pb.WatchDeploymentsRequest(after_sequence=after)
            with suppress(grpc.aio.AioRpcError):
                async for message in stub.WatchDeployments(request, metadata=self.metadata):
                    change = message.change
                    yield message.sequence, message.deployment_id, change.new_status

    async def statuses(self, number: int, deployment_id: str, after: int) -> AsyncGenerator[Any]:
        """Yield (sequence, status) of a deployment's WebSocket until the gateway is gone."""
        url = f"ws://{await self.address(number, 'http')}/ws/deployments/{deployment_id}"
        async with connect(f"{url}?after={after}", additional_headers=self.headers) as socket:
            with suppress(ConnectionClosed):
                async for text in socket:
                    message = json.loads(text)
                    yield message["sequence"], message["status"]


class Follower:
    """Follows at the first gateway, and after its end at the second, from where it was."""

    def __init__(self, begin: Callable[[int, int], Any], after: int) -> None:
        self.begin = begin
        self._position = after
        self.seen: list[Any] = []

    async def follow(self) -> None:
        for number in (0, 1):
            async with aclosing(self.begin(number, self._position)) as messages:
                async for message in messages:
                    self.seen.append(message)
                    self._position = message if isinstance(message, int) else message[0]

    def whole(self, last: int) -> bool:
        return self._position >= last


async def test_followers_of_a_killed_gateway_go_on_at_the_other_without_gap_or_repeat(
    broker: NatsServer, postgres: PostgresServer, tmp_path: Path
) -> None:
    async with postgres.database() as url, stub_ledger() as ledger:
        common = settings(broker, url, ledger)
        with (
            gateway_process(common | {"FOG_INSTANCE": "one"}, tmp_path) as first,
            gateway_process(common | {"FOG_INSTANCE": "two"}, tmp_path) as second,
        ):
            fleet = Fleet(first, second)
            async with grpc.aio.insecure_channel(await fleet.address(1, "grpc")) as channel:
                await fleet.address(0, "grpc")
                fleet.metadata = await sign_in(channel)
                await _followed(fleet, channel)


async def _followed(fleet: Fleet, channel: grpc.aio.Channel) -> None:
    stub: Any = deployment_service_pb2_grpc.DeploymentServiceStub(channel)

    async def deploy(name: str) -> str:
        request = pb.CreateDeploymentRequest(request_id=name, spec=spec_to_pb(a_spec(name)))
        answer = await stub.CreateDeployment(request, metadata=fleet.metadata, timeout=60)
        return str(answer.deployment.id)

    async def delete(deployment_id: str) -> None:
        request = pb.DeleteDeploymentRequest(deployment_id=deployment_id)
        await stub.DeleteDeployment(request, metadata=fleet.metadata, timeout=60)

    watched = await deploy("first")
    async with aclosing(fleet.changes(1, 1)) as changes:
        after = (await anext(changes))[0]
    followers = [Follower(fleet.events, after) for _ in range(2)]
    followers += [Follower(fleet.changes, after) for _ in range(2)]
    socket = Follower(lambda number, at: fleet.statuses(number, watched, at), 0)
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(each.follow()) for each in (*followers, socket)]

        async def load() -> None:
            for number in range(DEPLOYMENTS):
                deployment_id = await deploy(f"more-{number}")
                if number % 2:
                    await delete(deployment_id)

        loading = group.create_task(load())
        await eventually(
            lambda: (
                socket.seen and all(len(each.seen) >= SEEN_BEFORE_THE_KILL for each in followers)
            ),
            what="followers in the midst of it",
        )
        fleet.gateways[0].popen.kill()
        await loading
        await delete(watched)
        last_deployment = await deploy("last")
        whole: dict[Any, list[Any]] = {fleet.events: [], fleet.changes: []}
        async with aclosing(fleet.changes(1, after)) as changes:
            async for change in changes:
                whole[fleet.changes].append(change)
                if change[1] == last_deployment:
                    break
        last = whole[fleet.changes][-1][0]
        async with aclosing(fleet.events(1, after)) as events:
            async for sequence in events:
                whole[fleet.events].append(sequence)
                if sequence >= last:
                    break
        await eventually(lambda: all(each.whole(last) for each in followers), what="the rest")
        await eventually(lambda: len(socket.seen) > 1, what="the change of the one deployment")
        for task in tasks:
            task.cancel()
    assert len(whole[fleet.changes]) == DEPLOYMENTS + DEPLOYMENTS // 2 + 2
    for follower in followers:
        assert follower.seen == whole[follower.begin]
    assert [status for _, status in socket.seen] == ["pending", "deleted"]
