"""What only the real broker can do wrong: silence, half-open connections, lost tails."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from unittest.mock import patch

import pytest

from fogbank.log.jetstream import JetStreamLog
from fogbank.log.nats_connection import NatsConnection, NatsCredentials, connect
from fogbank.log.port import LogRewoundError, LogUnavailableError, StoredCommit, Writer
from fogbank.log.stream import StreamName, StreamSettings, ensure_stream
from tests.support.fault_proxy import FaultProxy, fault_proxy
from tests.support.nats import NatsServer, nats_server
from tests.support.waiting import eventually

NAME = StreamName("faults")
WRITER = Writer("gateway", "one")


@asynccontextmanager
async def through_a_proxy(server: NatsServer) -> AsyncIterator[tuple[FaultProxy, NatsConnection]]:
    async with (
        fault_proxy("127.0.0.1", server.port) as proxy,
        connect(f"nats://127.0.0.1:{proxy.port}", "proxied") as connection,
    ):
        await ensure_stream(connection, NAME, StreamSettings(max_bytes=64 * 1024**2))
        yield proxy, connection


async def collect(log: JetStreamLog, after: int, into: list[StoredCommit]) -> None:
    async for batch in log.follow(after):
        into += batch


async def test_a_stale_expectation_after_a_lost_answer_finds_its_own_commit() -> None:
    with nats_server() as server:
        async with through_a_proxy(server) as (proxy, connection), connect(server.url, "b") as side:
            log, witness = JetStreamLog(connection, NAME, WRITER), JetStreamLog(side, NAME, WRITER)
            await log.append(b"first")
            proxy.swallow_answers = True

            async def stored() -> bool:
                return await witness.last_sequence() == 2

            async with asyncio.TaskGroup() as group:
                task = group.create_task(log.append(b"mine", expected_last=1))
                await eventually(stored)
                proxy.cut()
            assert task.result() == 2
            assert await witness.last_sequence() == 2


@pytest.mark.slow
async def test_a_silent_connection_is_given_up_in_time() -> None:
    with nats_server() as server:
        async with through_a_proxy(server) as (proxy, connection):
            log = JetStreamLog(connection, NAME, WRITER, append_deadline_s=1.5)
            proxy.swallow_requests = True
            with pytest.raises(LogUnavailableError):
                await log.append(b"into the void")
            proxy.cut()
            await connection.wait_connected(60)

            async def appended() -> int | None:
                try:
                    return await log.append(b"into the void")
                except LogUnavailableError:
                    return None

            assert await eventually(appended) == 1


@pytest.mark.slow
async def test_a_follower_fetches_what_was_lost_on_the_way() -> None:
    with nats_server() as server:
        async with through_a_proxy(server) as (proxy, connection), connect(server.url, "b") as side:
            reader, log = JetStreamLog(connection, NAME, WRITER), JetStreamLog(side, NAME, WRITER)
            seen: list[StoredCommit] = []
            async with asyncio.TaskGroup() as group:
                follower = group.create_task(collect(reader, 0, seen))
                await log.append(b"heard")
                await eventually(lambda: len(seen) == 1)
                proxy.swallow_answers = True
                await log.append(b"swallowed")
                await eventually(lambda: proxy.swallowed_bytes > len(b"swallowed"))
                proxy.swallow_answers = False
                await log.append(b"after the hole")
                await eventually(lambda: len(seen) == 3)
                follower.cancel()
            assert [commit.data for commit in seen] == [b"heard", b"swallowed", b"after the hole"]


@pytest.mark.kill
async def test_a_writer_refuses_a_broker_that_lost_its_tail() -> None:
    with nats_server() as server:
        async with connect(server.url, "test") as connection:
            await ensure_stream(connection, NAME, StreamSettings(max_bytes=1024**2))
            log = JetStreamLog(connection, NAME, WRITER)
            await log.append(b"acknowledged")
            with nats_server() as other:  # an empty broker takes the place of the first
                server.kill()
                other.stop()
                other._address, other._monitor_address = server._address, server._monitor_address
                other.start()
                await eventually(lambda: connection.client.stats["reconnects"])
                await ensure_stream(connection, NAME, StreamSettings(max_bytes=1024**2))
                with pytest.raises(LogRewoundError):
                    await log.append(b"a second history")
                with pytest.raises(LogRewoundError):
                    await collect(log, 1, [])


async def test_closing_while_the_client_redials_cancels_nobody() -> None:
    with nats_server() as server:
        connection = NatsConnection("closing")
        await connection.open(server.url, NatsCredentials(), 10)
        broken = connection.client._transport
        assert broken is not None
        closed = asyncio.get_running_loop().create_future()
        # What the client leaves behind when it cancels its own redialling at the wrong moment.
        closed.cancel()
        with patch.object(broken, "wait_closed", lambda: closed):
            server.kill()
            await eventually(lambda: not connection.client.is_connected)
            connection.client._transport = broken
            await connection.close()
        assert connection.client.is_closed
