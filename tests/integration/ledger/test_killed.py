"""A ledger that is killed again and again writes what one writes that is left alone."""

from __future__ import annotations

import asyncio
import random
import signal
from functools import partial
from typing import Any

import pytest

from fogbank.log.jetstream import JetStreamLog
from fogbank.log.nats_connection import connect
from fogbank.log.port import Writer
from fogbank.log.stream import StreamName, StreamSettings, ensure_stream
from tests.integration.ledger.test_process import ledger_process, until
from tests.support.ledger import StoredLog, a_running_ledger, rows_of, whole_tables
from tests.support.mixed_story import tell
from tests.support.nats import nats_server
from tests.support.postgres import PostgresServer
from tests.support.waiting import eventually

pytestmark = [
    pytest.mark.slow,
    pytest.mark.kill,
    pytest.mark.soak,
    pytest.mark.timeout(1800),
]

KILLS = 50
COMMITS_A_KILL = 20
SEED = 7


async def position_of(url: str) -> int:
    try:
        rows = await rows_of(url, "SELECT position FROM checkpoint")
    except Exception:  # noqa: BLE001 - before the first start there are no tables
        return 0
    return int(rows[0]["position"]) if rows else 0


async def everything(url: str) -> list[Any]:
    return [
        await whole_tables(url),
        await rows_of(url, "SELECT * FROM log_tree"),
        await rows_of(url, "SELECT * FROM tree_nodes ORDER BY level, number"),
        await rows_of(url, "SELECT * FROM commit_touches ORDER BY kind, id, position"),
    ]


async def test_rows_are_those_of_an_undisturbed_run(postgres: PostgresServer) -> None:
    story = tell(SEED, events=KILLS * COMMITS_A_KILL).log
    chance = random.Random(SEED)
    kills = 0
    async with postgres.database() as url, postgres.database() as undisturbed:
        with nats_server() as broker:
            async with connect(broker.url, "stream") as connection:
                name = StreamName()
                await ensure_stream(connection, name, StreamSettings(max_bytes=256 * 1024**2))
                writers = {
                    commit.service + commit.instance: JetStreamLog(
                        connection, name, Writer(commit.service, commit.instance)
                    )
                    for commit in story.commits
                }

                async def stream(first: int, last: int) -> None:
                    for commit, data in zip(
                        story.commits[first:last], story.data[first:last], strict=True
                    ):
                        await writers[commit.service + commit.instance].append(data)

                end = len(story.commits)
                for kill in range(KILLS):
                    upto = end * (kill + 1) // KILLS
                    streaming = asyncio.create_task(stream(end * kill // KILLS, upto))
                    with ledger_process(broker, url) as process:
                        until(process, "listening")
                        reached = chance.randrange(await position_of(url), upto)
                        await eventually(
                            partial(_passed, url, reached), 120, what=f"position {reached}"
                        )
                        process.send_signal(signal.SIGKILL)
                        process.wait()
                        kills += 1
                    await streaming
            with ledger_process(broker, url):
                await eventually(lambda: _passed(url, end - 1), 120, what="the log's end")
        log = StoredLog()
        log.publish(story)
        async with a_running_ledger(undisturbed, log):
            pass
        assert kills == KILLS
        assert await position_of(url) == end
        assert await everything(url) == await everything(undisturbed)


async def _passed(url: str, position: int) -> bool:
    return await position_of(url) > position
