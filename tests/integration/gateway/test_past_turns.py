"""Questions about the past reach the ledger few at a time, and callers take turns at them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import grpc.aio
import pytest

from fogbank.domain.errors import NotFoundError, ResourceExhaustedError, UnavailableError
from fogbank.domain.views import Moment
from fogbank.runtime.grpc_server import GrpcServer
from fogbank.v1 import ledger_query_service_pb2 as pb
from fogbank.v1 import ledger_query_service_pb2_grpc as rpc
from services.gateway.adapters import ledger_client
from services.gateway.adapters.ledger_client import LedgerClient
from services.gateway.app.principal import Principal, set_current_principal
from tests.support.fleet_log import an_id
from tests.support.waiting import eventually

THEN = Moment(sequence=7)


class Ledger(rpc.LedgerQueryServiceServicer):
    """Notes who asks, and says that there is no such node once it is let."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.let = asyncio.Semaphore(0)

    async def QueryNode(self, request: pb.QueryNodeRequest, context: Any) -> pb.QueryNodeResponse:
        self.asked.append(request.node)
        await self.let.acquire()
        raise NotFoundError("no such node")


@asynccontextmanager
async def connected(ledger: Ledger) -> AsyncIterator[LedgerClient]:
    server = GrpcServer([])
    rpc.add_LedgerQueryServiceServicer_to_server(ledger, server.grpc)
    port = await server.start("127.0.0.1:0")
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        yield LedgerClient(channel)
    await server.stop(0)


async def ask(client: LedgerClient, who: str, moment: Moment | None = THEN) -> None:
    set_current_principal(Principal(an_id(who)))
    await client.node(who, moment=moment)


async def test_callers_take_turns_and_the_present_waits_for_nobody() -> None:
    ledger = Ledger()  # type: ignore[abstract]  # the other calls aren't made
    async with connected(ledger) as client:
        alices = [asyncio.create_task(ask(client, "alice")) for _ in range(40)]
        await eventually(lambda: len(ledger.asked) == 2, what="two questions")
        refused = [each for each in alices if each.done()]
        assert len(refused) == 40 - 2 - 32
        with pytest.raises(ResourceExhaustedError, match="about the past at once") as error:
            await refused[0]
        assert error.value.retry_after_ms
        bobs = asyncio.create_task(ask(client, "bob"))
        now = asyncio.create_task(ask(client, "now", None))
        await eventually(lambda: "now" in ledger.asked, what="the question about the present")
        assert "bob" not in ledger.asked
        for _ in range(40):
            ledger.let.release()
        with pytest.raises(NotFoundError):
            await bobs
        await asyncio.gather(*alices, now, return_exceptions=True)
        assert "bob" in ledger.asked[:6], "not behind all that alice asked"


async def test_who_waits_too_long_for_others_is_told_when_to_come_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    ledger = Ledger()  # type: ignore[abstract]  # the other calls aren't made
    monkeypatch.setattr(ledger_client, "PAST_TURN_S", 0.05)
    async with connected(ledger) as client:
        first = [asyncio.create_task(ask(client, "alice")) for _ in range(2)]
        await eventually(lambda: len(ledger.asked) == 2, what="two questions")
        with pytest.raises(UnavailableError, match="those of others are still under way") as error:
            await ask(client, "bob")
        assert error.value.retry_after_ms
        for _ in range(3):
            ledger.let.release()
        await asyncio.gather(*first, return_exceptions=True)
        with pytest.raises(NotFoundError):
            await ask(client, "bob")
