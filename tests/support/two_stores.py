"""A system that has lived and was stopped, and what may happen to its broker's store."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import pytest

from fogbank.log.jetstream import JetStreamLog
from fogbank.log.nats_connection import connect
from fogbank.log.port import LogUnavailableError, Writer
from fogbank.log.stream import StreamName, StreamSettings, ensure_stream
from fogbank.v1 import identity_service_pb2, identity_service_pb2_grpc
from tests.support.fleet import LittleFleet
from tests.support.fleet_log import a_spec
from tests.support.ledger import rows_of
from tests.support.nats import nats_server
from tests.support.scripted_agent import ScriptedAgent, StreamEndedError, scripted_agent
from tests.support.three_services import AGENT_TOKEN, SERVICES, ThreeServices
from tests.support.waiting import eventually

LOAD = 120


@dataclass
class Lived:
    """A system that has run and was stopped: its stores, and what it acknowledged."""

    services: ThreeServices
    older: Path
    older_end: int
    right: Path
    end: int
    acknowledged: set[str]


async def everything_copied(services: ThreeServices) -> int:
    """Wait until the ledger has the whole log, and return the last sequence."""

    async def same() -> int:
        try:
            async with services.log() as log:
                end = await log.last_sequence()
        except LogUnavailableError:  # a busy machine's broker takes its time
            return 0
        ((position,),) = await rows_of(services.database_url, "SELECT position FROM checkpoint")
        return end if position == end else 0

    return await eventually(same, 120, what="the ledger at the log's end")


async def run_and_stop(services: ThreeServices, prefix: str, count: int) -> tuple[set[str], int]:
    services.start()
    await services.ready()
    async with services.user() as user:
        acknowledged = await user.deploy_many(prefix, count)
    await services.stop()
    # What the last processes wrote at their end may not be in the tables yet.
    services.start("ledger")
    end = await everything_copied(services)
    await services.stop()
    services.broker.stop()
    return acknowledged, end


async def a_life(services: ThreeServices) -> Lived:
    """Run a system, stop it, and keep its stores of two times."""
    first, older_end = await run_and_stop(services, "early", 5)
    older = services.save("older")
    services.broker.start()
    then, end = await run_and_stop(services, "late", LOAD)
    return Lived(services, older, older_end, services.save("right"), end, first | then)


async def complaints(
    services: ThreeServices, service: str, *levels: str, about: str = "commit"
) -> list[str]:
    """Wait until a service complains of something, and return all that it says of it."""

    def found() -> list[str]:
        return [text for text in services.complaints(service, *levels) if about in text]

    # As long as for their readiness: three services have to start.
    return await eventually(found, 180, what=f"the {service}'s complaint")


async def assert_refused(services: ThreeServices, why: str) -> None:
    """Nobody is let in: users, agents, probes."""
    status, text = await services.readiness()
    assert status == 503
    assert why in text
    for service in SERVICES:
        assert not await services.serving(service), service
    async with grpc.aio.insecure_channel(services.addresses["gateway"]) as channel:
        identity: Any = identity_service_pb2_grpc.IdentityServiceStub(channel)
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await identity.Login(
                identity_service_pb2.LoginRequest(username="a", password="b"), timeout=5
            )
        assert refused.value.code() is grpc.StatusCode.UNAVAILABLE
        async with scripted_agent(channel, token=AGENT_TOKEN) as agent:
            code = await refusal_of(agent)
            assert code is grpc.StatusCode.UNAVAILABLE, code


async def refusal_of(agent: ScriptedAgent) -> grpc.StatusCode:
    """Return how an agent's stream ends, whether it has spoken by then or not."""
    try:
        await agent.shake_hands()
    except StreamEndedError as error:
        return error.code
    except grpc.aio.AioRpcError as error:
        return error.code()
    return grpc.StatusCode.OK


async def assert_nothing_lost(lived: Lived) -> None:
    """What was acknowledged is there, more is taken, and the copies are the log's bytes."""
    services = lived.services
    async with services.user() as user:
        assert await user.deployed() >= lived.acknowledged
        more = await user.deploy_many("after", 20)
        assert await user.deployed() >= lived.acknowledged | more
    end = await everything_copied(services)
    async with services.log() as log:
        stored = [commit async for batch in log.read(1, end) for commit in batch]
    kept = await rows_of(
        services.database_url,
        "SELECT sequence, service, instance, digest, data FROM commits ORDER BY sequence",
    )
    assert len(stored) >= end > lived.end
    assert [tuple(row) for row in kept[:end]] == [
        (each.sequence, each.writer.service, each.writer.instance, each.digest, each.data)
        for each in stored[:end]
    ]


async def nothing(lived: Lived) -> tuple[str, ...]:
    lived.services.put(None)
    return (f"lost commit {lived.end},", "it is empty")


async def an_older_copy(lived: Lived) -> tuple[str, ...]:
    lived.services.put(lived.older)
    return (f"lost commit {lived.end},", f"it ends at {lived.older_end};")


async def another_fleets(lived: Lived) -> tuple[str, ...]:
    """Make a log of the same name with as many commits."""
    theirs = LittleFleet()
    theirs.connect("fog-9")
    for number in range(lived.end - 1):
        theirs.deploy(a_spec(f"theirs-{number}"))
    with nats_server(sync_always=False) as other:
        async with connect(other.url, "other") as connection:
            await ensure_stream(connection, StreamName(), StreamSettings(max_bytes=64 * 1024**2))
            log = JetStreamLog(connection, StreamName(), Writer("gateway", "gateway-1"))
            for data in theirs.log.data:
                await log.append(data)
        other.stop()
        lived.services.put(other.folder / "jetstream")
    return (f"another commit {lived.end} ", "it is another log")
