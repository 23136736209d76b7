"""Statuses and their history over gRPC: what a gateway begins with, what its watchers missed."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import grpc.aio
import pytest

from fogbank.domain import fleet as fleet_module
from fogbank.domain.errors import DeadlineExceededError, InvalidArgumentError
from fogbank.log.memory import MemoryLog
from fogbank.log.port import Writer
from fogbank.log.snapshots import LedgerSnapshots
from fogbank.runtime.grpc_server import GrpcServer
from services.gateway.adapters.ledger_client import LedgerClient
from services.gateway.app.fold import FleetFold
from services.gateway.app.views import deployment_view
from services.ledger import grpc_api
from services.ledger.app.queries import Wait
from tests.support.ledger import StoredLog, a_running_ledger, rows_of
from tests.support.mixed_story import MixedStory, tell
from tests.support.schedulers import run_loops
from tests.support.statuses import LogStatuses
from tests.support.waiting import eventually


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> MixedStory:
    monkeypatch.setattr(fleet_module, "DIGEST_EVERY_ROUNDS", 8)
    return tell(21, events=200, nodes=8)


@asynccontextmanager
async def folding(fold: FleetFold) -> AsyncIterator[FleetFold]:
    async with run_loops(fold.run):
        await fold.caught_up.wait()
        yield fold


async def test_a_gateway_begins_with_what_the_ledger_keeps(url: str, told: MixedStory) -> None:
    log = StoredLog()
    log.publish(told.log)
    own = MemoryLog(log.store, Writer("gateway", "late"))
    async with a_running_ledger(url, log) as ledger:
        server = GrpcServer([grpc_api.SERVICE_NAME])
        ledger.serve(server.grpc)
        port = await server.start("127.0.0.1:0")

        async def kept() -> bool:
            return bool(await rows_of(url, "SELECT position FROM snapshots"))

        await eventually(kept, what="a snapshot")
        async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
            client = LedgerClient(channel)
            begun = FleetFold(own, client, snapshots=LedgerSnapshots(channel))
            async with folding(begun), folding(FleetFold(own, LogStatuses(own))) as whole:
                assert begun.begun_at == log.last
                for deployment in whole.fleet.facts.deployments.values():
                    assert deployment_view(begun, deployment) == deployment_view(whole, deployment)
                expected, _ = await anext(whole.changes_after(5))
                found = []
                async for changes, upto in begun.changes_after(5):
                    found += changes
                    if upto == log.last:
                        break
                assert found == expected

                with pytest.raises(InvalidArgumentError):
                    await anext(client.changes(-1, 1))
        with pytest.raises(DeadlineExceededError):
            await anext(ledger.answers.queries.changes(0, Wait(log.last + 1, 0.0)))
        await server.stop(0)
