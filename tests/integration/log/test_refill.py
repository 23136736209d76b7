"""A closed log on a real broker: nobody writes or reads, the operator refills it."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from fogbank.log.jetstream import JetStreamLog
from fogbank.log.nats_connection import NatsConnection, connect
from fogbank.log.port import LogClosedError, LogGapError, StoredCommit, Writer
from fogbank.log.refill import LogStream, RefillRefusedError
from fogbank.log.stream import StreamName, StreamSettings, ensure_stream
from tests.support.broker_users import as_user, guarded_broker
from tests.support.nats import NatsServer, nats_server

NAME = StreamName()
COMMITS = 40
SMALL = StreamSettings(max_bytes=64 * 1024**2)


@asynccontextmanager
async def opened(
    broker: NatsServer, user: str = "operator"
) -> AsyncIterator[tuple[NatsConnection, LogStream, JetStreamLog]]:
    async with connect(broker.url, user, as_user(user)) as connection:
        log = JetStreamLog(connection, NAME, Writer("gateway", "one"), append_deadline_s=0.2)
        yield connection, LogStream(connection, NAME, SMALL), log


def commits(first: int, last: int) -> list[StoredCommit]:
    return [
        StoredCommit(each, Writer(("gateway", "scheduler")[each % 2], f"n{each % 3}"), b"%d" % each)
        for each in range(first, last + 1)
    ]


async def whole(stream: LogStream, last: int) -> list[StoredCommit]:
    return [commit async for batch in stream.commits(1, last) for commit in batch]


async def test_a_closed_log_takes_only_what_it_is_refilled_with() -> None:
    with guarded_broker(NAME) as broker:
        async with opened(broker) as (operator, stream, _), opened(broker, "gateway") as gateway:
            log = gateway[2]
            await stream.close("for a test")
            assert (await stream.state()).closed
            assert not await ensure_stream(operator, NAME, SMALL)
            with pytest.raises(LogClosedError, match="FOGBANK_default_1 is closed: for a test"):
                await log.require_open()
            with pytest.raises(LogClosedError, match="for a test"):
                await log.append(b"news")
            await stream.fill(commits(1, 400))
            with pytest.raises(RefillRefusedError, match="commits 402 to 403"):
                await stream.fill(commits(402, 403))
            await stream.fill(commits(401, 403))
            assert await whole(stream, 1_000) == commits(1, 403)
            reading = asyncio.create_task(anext(log.follow(0)))
            await stream.open("refilled")
            # The reader waited, and goes on by itself; so does the writer.
            batch = await asyncio.wait_for(reading, 30)
            assert batch[0] == commits(1, 1)[0]
            await log.require_open()
            assert await log.append(b"news") == 404
            assert not await ensure_stream(operator, NAME, SMALL)
            await stream.close("again")
            await stream.begin_anew("again", first_sequence=50)
            await stream.fill(commits(50, 51))
            assert (await stream.state()).last == 51


@pytest.mark.slow
async def test_what_a_damaged_store_can_still_show_is_read_and_nobody_waits_for_the_rest() -> None:
    with nats_server() as broker:
        async with opened(broker) as (connection, _, log):
            await ensure_stream(connection, NAME, SMALL)
            for number in range(1, COMMITS + 1):
                await log.append(random.Random(number).randbytes(250_000))
        broker.stop()
        # Large blocks are compressed: the flipped bit spoils one of them, in the middle.
        block = min((broker.folder / "jetstream").rglob("*.blk"), key=lambda path: int(path.stem))
        data = bytearray(block.read_bytes())
        data[len(data) // 2] ^= 16
        block.write_bytes(data)
        broker.start()
        async with opened(broker) as (_, stream, log):
            assert await log.last_sequence() == COMMITS
            shown = {commit.sequence for commit in await whole(stream, COMMITS)}
            spoilt = set(range(1, COMMITS + 1)) - shown
            assert spoilt == set(range(1, max(spoilt) + 1))
            assert max(spoilt) < COMMITS
            with pytest.raises(LogGapError, match="cannot show commit 1: its store is damaged"):
                async for _ in log.read(1, COMMITS):
                    pass
