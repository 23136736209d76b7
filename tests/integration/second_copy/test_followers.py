"""A hundred followers of the log miss nothing, whoever is slow and whatever starts again."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import Any

import grpc
import grpc.aio
import pytest

from fogbank.v1 import audit_service_pb2 as pb
from fogbank.v1 import audit_service_pb2_grpc as rpc
from tests.support.three_services import ThreeServices
from tests.support.two_stores import everything_copied
from tests.support.waiting import eventually

pytestmark = [pytest.mark.slow, pytest.mark.kill, pytest.mark.timeout(900)]

FOLLOWERS = 100
SLOW = 10
DEPLOYMENTS = 30
_OPTIONS = [("grpc.max_reconnect_backoff_ms", 500), ("grpc.initial_reconnect_backoff_ms", 100)]


@dataclass
class Follower:
    """Reads from where it was, over and over, until it has seen the end; a slow one waits first."""

    stub: Any
    metadata: Any
    goes_on: asyncio.Event
    seen: list[int] = field(default_factory=list)
    end: int = 0

    async def run(self) -> None:
        await eventually(self._reads_on, 600, what="a follower's end")

    async def _reads_on(self) -> bool:
        after = self.seen[-1] if self.seen else 0
        request = pb.ReadEventsRequest(after_sequence=after, follow=True)
        try:
            async for message in self.stub.ReadEvents(request, metadata=self.metadata):
                self.seen.append(message.sequence)
                if self.end and message.sequence >= self.end:
                    return True
                await self.goes_on.wait()
        except grpc.aio.AioRpcError as error:
            if error.code() is not grpc.StatusCode.UNAVAILABLE:
                raise
        return bool(self.end and self.seen and self.seen[-1] >= self.end)


async def test_a_hundred_followers_miss_nothing(services: ThreeServices) -> None:
    services.start()
    await services.ready()
    at_once, later = asyncio.Event(), asyncio.Event()
    at_once.set()
    async with (
        services.user() as user,
        grpc.aio.insecure_channel(services.addresses["gateway"], options=_OPTIONS) as channel,
        asyncio.TaskGroup() as group,
    ):
        stub = rpc.AuditServiceStub(channel)
        fast = [Follower(stub, user.metadata, at_once) for _ in range(FOLLOWERS - SLOW)]
        slow = [Follower(stub, user.metadata, later) for _ in range(SLOW)]
        for follower in (*fast, *slow):
            group.create_task(follower.run())
        await user.deploy_many("first", DEPLOYMENTS)
        await eventually(lambda: all(each.seen for each in (*fast, *slow)), what="first commits")

        await services.restart("ledger")
        async with services.user() as again:
            await again.deploy_many("ledger", DEPLOYMENTS)
        await services.restart("gateway")
        async with services.user() as again:
            await again.deploy_many("gateway", DEPLOYMENTS)
        services.broker.kill()
        services.broker.start()
        async with services.user() as again:
            await again.deploy_many("broker", DEPLOYMENTS)

        end = await everything_copied(services)
        for follower in (*fast, *slow):
            follower.end = end
        # Those who wait hold up nobody.
        await eventually(lambda: all(each.seen[-1] >= end for each in fast), 120, what="the fast")
        assert all(len(each.seen) < end for each in slow)
        later.set()
        # So that each sees one more commit, and that it is over.
        async with services.user() as again:
            await again.deploy("last")
    for follower in (*fast, *slow):
        assert follower.seen[:end] == list(range(1, end + 1))
