"""Plans and explanations reach the scheduler few at a time, and callers take turns at them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import grpc.aio
import pytest

from fogbank.domain.errors import NotFoundError, ResourceExhaustedError, UnavailableError
from fogbank.runtime.grpc_server import GrpcServer
from fogbank.v1 import scheduler_service_pb2 as pb
from fogbank.v1 import scheduler_service_pb2_grpc as rpc
from services.gateway.adapters import scheduler_client
from services.gateway.adapters.scheduler_client import SchedulerClient
from services.gateway.app.principal import Principal, set_current_principal
from tests.support.fleet_log import a_spec, an_id
from tests.support.waiting import eventually

AT_ONCE, WAITING = 2, 64


class SchedulerService(rpc.SchedulerServiceServicer):
    """Notes what is asked, and says that there is no such thing once it is let."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.let = asyncio.Semaphore(0)

    async def _tell(self, what: str) -> None:
        self.asked.append(what)
        await self.let.acquire()
        raise NotFoundError("no such thing")

    async def Plan(self, request: pb.PlanRequest, context: Any) -> pb.PlanResponse:
        await self._tell(f"plan {request.spec.name}")
        return pb.PlanResponse()

    async def Explain(self, request: pb.ExplainRequest, context: Any) -> pb.ExplainResponse:
        await self._tell(f"explain {request.deployment_id}")
        return pb.ExplainResponse()

    async def GetSchedulerStatus(
        self, request: pb.GetSchedulerStatusRequest, context: Any
    ) -> pb.GetSchedulerStatusResponse:
        return pb.GetSchedulerStatusResponse(instance="one")


@asynccontextmanager
async def connected(service: SchedulerService) -> AsyncIterator[SchedulerClient]:
    server = GrpcServer([])
    rpc.add_SchedulerServiceServicer_to_server(service, server.grpc)
    port = await server.start("127.0.0.1:0")
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        yield SchedulerClient(channel)
    await server.stop(0)


async def plan(client: SchedulerClient, who: str) -> None:
    set_current_principal(Principal(an_id(who)))
    await client.plan(a_spec(who))


async def explain(client: SchedulerClient, who: str) -> None:
    set_current_principal(Principal(an_id(who)))
    await client.explain(who)


async def test_callers_take_turns_and_the_status_waits_for_nobody() -> None:
    service = SchedulerService()  # type: ignore[abstract]  # the other calls aren't made
    async with connected(service) as client:
        many = AT_ONCE + WAITING + 6
        alices = [asyncio.create_task(plan(client, "alice")) for _ in range(many)]
        await eventually(lambda: len(service.asked) == AT_ONCE, what="the first plans")
        refused = [each for each in alices if each.done()]
        assert len(refused) == 6
        with pytest.raises(ResourceExhaustedError, match="at once") as error:
            await refused[0]
        assert error.value.retry_after_ms
        bobs = asyncio.create_task(explain(client, "bob"))
        assert (await client.status()).instance == "one"
        assert len(service.asked) == AT_ONCE
        for _ in range(many):
            service.let.release()
        with pytest.raises(NotFoundError):
            await bobs
        await asyncio.gather(*alices, return_exceptions=True)
        assert "explain bob" in service.asked[:6], "not behind all that alice asked"


async def test_who_waits_too_long_for_others_is_told_when_to_come_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    service = SchedulerService()  # type: ignore[abstract]  # the other calls aren't made
    monkeypatch.setattr(scheduler_client, "_TURN_S", 0.05)
    async with connected(service) as client:
        first = [asyncio.create_task(plan(client, "alice")) for _ in range(AT_ONCE)]
        await eventually(lambda: len(service.asked) == AT_ONCE, what="the first plans")
        with pytest.raises(UnavailableError, match="those of others are still under way") as error:
            await explain(client, "bob")
        assert error.value.retry_after_ms
        for _ in range(AT_ONCE + 1):
            service.let.release()
        await asyncio.gather(*first, return_exceptions=True)
        with pytest.raises(NotFoundError):
            await explain(client, "bob")
