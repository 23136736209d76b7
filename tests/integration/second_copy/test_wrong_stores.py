"""The broker comes back with another store than it had: nobody takes it for the log."""

from __future__ import annotations

import asyncio
import os
import re
import sys
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import asyncpg
import grpc
import grpc.aio
import pytest

from fogbank.log.jetstream import JetStreamLog
from fogbank.log.nats_connection import connect
from fogbank.log.port import Writer
from fogbank.log.stream import StreamName, StreamSettings, ensure_stream
from fogbank.v1 import identity_service_pb2, identity_service_pb2_grpc
from tests.support.fleet import LittleFleet
from tests.support.fleet_log import a_spec
from tests.support.ledger import rows_of, whole_tables
from tests.support.nats import nats_server
from tests.support.scripted_agent import ScriptedAgent, StreamEndedError, scripted_agent
from tests.support.three_services import AGENT_TOKEN, ROOT, SERVICES, ThreeServices
from tests.support.waiting import eventually

pytestmark = [pytest.mark.slow, pytest.mark.kill, pytest.mark.timeout(900)]

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


Harm = Callable[[Lived], Coroutine[Any, Any, tuple[str, ...]]]


async def everything_copied(services: ThreeServices) -> int:
    """Wait until the ledger has the whole log, and return the last sequence."""

    async def same() -> int:
        async with services.log() as log:
            end = await log.last_sequence()
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


@pytest.fixture
async def lived(services: ThreeServices) -> Lived:
    first, older_end = await run_and_stop(services, "early", 5)
    older = services.save("older")
    services.broker.start()
    then, end = await run_and_stop(services, "late", LOAD)
    return Lived(services, older, older_end, services.save("right"), end, first | then)


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
    with nats_server() as other:
        async with connect(other.url, "other") as connection:
            await ensure_stream(connection, StreamName(), StreamSettings(max_bytes=64 * 1024**2))
            log = JetStreamLog(connection, StreamName(), Writer("gateway", "gateway-1"))
            for data in theirs.log.data:
                await log.append(data)
        other.stop()
        lived.services.put(other.folder / "jetstream")
    return (f"another commit {lived.end} ", "it is another log")


async def a_damaged_copy(lived: Lived) -> tuple[str, ...]:
    await flip_the_last_copy(lived)
    return (f"copy of commit {lived.end} is damaged",)


async def flip_the_last_copy(lived: Lived) -> None:
    """Flip a bit in the ledger's copy of the last commit; the second time mends it."""
    url = lived.services.database_url.replace("postgresql+asyncpg", "postgresql")
    connection = await asyncpg.connect(url)
    try:
        await connection.execute(
            "UPDATE commits SET data = set_byte(data, 7, get_byte(data, 7) # 16) "
            "WHERE sequence = $1",
            lived.end,
        )
    finally:
        await connection.close()


@pytest.mark.parametrize("harm", [nothing, an_older_copy, another_fleets, a_damaged_copy])
async def test_a_wrong_store_is_refused_by_all_until_the_right_one_is_back(
    lived: Lived, harm: Harm
) -> None:
    services = lived.services
    words = await harm(lived)
    services.broker.start()
    before = await whole_tables(services.database_url)
    services.start()
    levels = ("critical", "warning") if harm is a_damaged_copy else ("critical",)

    for service in SERVICES:
        (complaint,) = await complaints(services, service, *levels)
        assert all(word in complaint for word in words), complaint
    await assert_refused(services, words[0])
    async with services.log() as log:
        end = await log.last_sequence()
    ends: dict[Harm, int] = {nothing: 0, an_older_copy: lived.older_end}
    assert end == ends.get(harm, lived.end)
    assert await whole_tables(services.database_url) == before
    assert services.alive()
    for service in SERVICES:
        assert len(await complaints(services, service, *levels)) == 1

    services.broker.stop()
    if harm is a_damaged_copy:
        await flip_the_last_copy(lived)
    services.put(lived.right)
    services.broker.start()
    await services.ready()
    await assert_nothing_lost(lived)


async def complaints(
    services: ThreeServices, service: str, *levels: str, about: str = "commit"
) -> list[str]:
    """Wait until a service complains of something, and return all that it says of it."""

    def found() -> list[str]:
        return [text for text in services.complaints(service, *levels) if about in text]

    return await eventually(found, 60, what=f"the {service}'s complaint")


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
            assert await refusal_of(agent) is grpc.StatusCode.UNAVAILABLE


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


@pytest.mark.parametrize("harm", [nothing, an_older_copy])
async def test_the_script_of_the_operations_guide_refills_the_log(
    lived: Lived, harm: Harm, tmp_path: Path
) -> None:
    services = lived.services
    await harm(lived)
    services.broker.start()
    services.start()
    for service in SERVICES:
        await complaints(services, service)

    guide = (ROOT / "docs" / "operations.md").read_text()
    script = tmp_path / "refill.py"
    script.write_text(guide.partition("```python\n")[2].partition("```")[0])
    environment = os.environ | {
        "DATABASE_URL": services.database_url,
        "FOG_NATS_URL": services.broker.url,
    }
    process = await asyncio.create_subprocess_exec(sys.executable, script, env=environment)
    assert await process.wait() == 0

    await services.ready()
    await assert_nothing_lost(lived)


@pytest.mark.parametrize("harm", [nothing, an_older_copy, another_fleets])
async def test_a_store_replaced_under_running_services_ends_them_once(
    lived: Lived, harm: Harm
) -> None:
    services = lived.services
    services.broker.start()
    services.start()
    await services.ready()
    end = await everything_copied(services)
    before = await whole_tables(services.database_url)
    services.broker.kill()
    await harm(lived)
    services.broker.start()

    for service in SERVICES:
        assert await services.ended(service) == 1
        (complaint,) = services.complaints(service)
        assert re.search(rf"LogRewoundError: .*\b{end}\b.*operations\.md", complaint), complaint
    assert await whole_tables(services.database_url) == before

    services.start()
    for service in SERVICES:
        await complaints(services, service)
    await assert_refused(services, f"commit {end}")
    assert await whole_tables(services.database_url) == before


async def test_without_a_ledger_nothing_is_appended(services: ThreeServices) -> None:
    services.start("gateway", "scheduler")
    for service in ("gateway", "scheduler"):
        (complaint,) = await complaints(services, service, "warning", about="ledger")
        assert "the ledger, which keeps the second copy, does not answer" in complaint
    status, text = await services.readiness()
    assert status == 503
    assert "second copy" in text
    async with services.log() as log:
        assert await log.last_sequence() == 0
    services.start("ledger")
    await services.ready()
    async with services.user() as user:
        assert await user.deploy("first")
