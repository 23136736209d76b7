"""Logs followed through one gateway process while the other, which has the node, is killed."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import pytest

from fogbank.codec.values import spec_to_pb
from fogbank.domain.states import ReplicaState
from fogbank.log.jetstream import JetStreamLog
from fogbank.log.nats_connection import connect
from fogbank.log.port import Writer
from fogbank.log.stream import StreamName
from fogbank.runtime.grpc_errors import from_rpc_error
from fogbank.v1 import (
    deployment_service_pb2,
    deployment_service_pb2_grpc,
    replica_service_pb2,
    replica_service_pb2_grpc,
)
from services.gateway.app.fold import FleetFold
from tests.integration.gateway.test_process import (
    AGENT_TOKEN,
    gateway_process,
    settings,
    sign_in,
)
from tests.support.agents import RunningAgent, running_agent
from tests.support.fleet_log import a_spec
from tests.support.hand_scheduler import HandScheduler
from tests.support.nats import NatsServer, nats_server
from tests.support.postgres import PostgresServer
from tests.support.second_copy import stub_ledger
from tests.support.statuses import LogStatuses
from tests.support.waiting import eventually

pytestmark = [pytest.mark.slow, pytest.mark.kill]


@pytest.fixture
def broker() -> Iterator[NatsServer]:
    with nats_server() as server:
        yield server


@asynccontextmanager
async def hand_scheduler(broker: NatsServer) -> AsyncIterator[tuple[HandScheduler, FleetFold]]:
    """Write rounds into the processes' log."""
    async with connect(broker.url, "hand") as connection:
        log = JetStreamLog(connection, StreamName(), Writer("scheduler", "hand"))
        fold = FleetFold(log, LogStatuses(log), kept_changes=1_000)
        folding = asyncio.create_task(fold.run())
        try:
            yield HandScheduler(log, fold), fold
        finally:
            folding.cancel()
            with suppress(asyncio.CancelledError):
                await folding


class User:
    """Asks one gateway."""

    def __init__(self, channel: grpc.aio.Channel, metadata: Any) -> None:
        self._deployments: Any = deployment_service_pb2_grpc.DeploymentServiceStub(channel)
        self._replicas: Any = replica_service_pb2_grpc.ReplicaServiceStub(channel)
        self._metadata = metadata

    async def deploy(self) -> str:
        spec = spec_to_pb(replace(a_spec(), container_image="nginx"))
        request = deployment_service_pb2.CreateDeploymentRequest(request_id="one", spec=spec)
        answer = await self._deployments.CreateDeployment(request, metadata=self._metadata)
        return str(answer.deployment.id)

    def logs(self, deployment_id: str, *, follow: bool) -> Any:
        request = replica_service_pb2.ReadLogsRequest(deployment_id=deployment_id, follow=follow)
        return aiter(self._replicas.ReadLogs(request, metadata=self._metadata))


async def test_who_follows_logs_is_told_when_the_nodes_gateway_dies_and_finds_the_node_again(
    broker: NatsServer, postgres: PostgresServer, tmp_path: Path
) -> None:
    (output := tmp_path / "output").mkdir()
    async with postgres.database() as url, stub_ledger() as ledger:
        common = settings(broker, url, ledger)
        with (
            gateway_process(common | {"FOG_INSTANCE": "one"}, output) as first,
            gateway_process(common | {"FOG_INSTANCE": "two"}, output) as second,
        ):
            addresses = [f"127.0.0.1:{await each.grpc_port()}" for each in (first, second)]
            async with (
                AsyncExitStack() as stack,
                hand_scheduler(broker) as (scheduler, fold),
                running_agent(tmp_path / "node", addresses, token=AGENT_TOKEN) as node,
            ):
                await eventually(lambda: fold.fleet.facts.nodes, what="the node")
                holder, other = first, second
                if "node connected" not in first.output.read_text():
                    holder, other = second, first
                channel = await stack.enter_async_context(
                    grpc.aio.insecure_channel(f"127.0.0.1:{await other.grpc_port()}")
                )
                user = User(channel, await sign_in(channel))
                deployment_id = await _runs(user, node, scheduler, fold)
                following = user.logs(deployment_id, follow=True)
                assert b"simulated start" in (await anext(following)).data
                holder.popen.kill()
                with pytest.raises(grpc.aio.AioRpcError) as caught:
                    await anext(following)
                told = from_rpc_error(caught.value)
                assert told.reason == "ERRAND_CUT_OFF"
                assert told.retry_after_ms

                async def again() -> bytes:
                    try:
                        return bytes((await anext(user.logs(deployment_id, follow=False))).data)
                    except grpc.aio.AioRpcError as error:
                        if error.code() is not grpc.StatusCode.UNAVAILABLE:
                            raise
                        return b""

                assert b"simulated start" in await eventually(again, what="the node elsewhere")


async def _runs(user: User, node: RunningAgent, scheduler: HandScheduler, fold: FleetFold) -> str:
    deployment_id = await user.deploy()
    await eventually(lambda: deployment_id in fold.fleet.facts.deployments, what="it in the log")
    (node_id,) = fold.fleet.facts.nodes
    (replica_id,) = await scheduler.place(deployment_id, node_id)
    await eventually(
        lambda: node.agent.core.state_of(replica_id) is ReplicaState.RUNNING, what="the replica"
    )
    return deployment_id
