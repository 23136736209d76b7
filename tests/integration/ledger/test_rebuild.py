"""The tables built again: the same rows, while readers read and the projection goes on."""

from __future__ import annotations

import asyncio
from functools import cache
from typing import Any

import pytest

from services.ledger.adapters.beside import TablesBeside, is_of_this_release
from services.ledger.adapters.database import make_engine
from services.ledger.adapters.log_copy import PostgresLogCopy
from services.ledger.adapters.maintenance import rebuild
from services.ledger.app.ports import CopyDamagedError
from services.ledger.app.rebuild import Rebuild, RebuildUnderWayError
from tests.support.fleet_log import LittleLog
from tests.support.ledger import StoredLog, a_running_ledger, rows_of, whole_tables
from tests.support.mixed_story import tell
from tests.support.waiting import eventually

DAMAGE = (
    (
        "UPDATE deployments SET status = 'lost', replicas = '[]' WHERE id IN "
        "(SELECT id FROM deployments WHERE json_array_length(replicas) > 0 LIMIT 1)"
    ),
    "DELETE FROM node_standings WHERE node_id = (SELECT min(node_id) FROM node_standings)",
    (
        "INSERT INTO deployment_status_history SELECT gen_random_uuid(), 1, old_status, "
        "exact_old_status, new_status, exact_new_status, changed_at, reason "
        "FROM deployment_status_history LIMIT 1"
    ),
    (
        "UPDATE commit_touches SET counts = NOT counts "
        "WHERE position = (SELECT max(position) FROM commit_touches)"
    ),
    "UPDATE log_tree SET frontier = ''",
    (
        "DELETE FROM former_deployments WHERE until_sequence = "
        "(SELECT max(until_sequence) FROM former_deployments)"
    ),
    (
        "UPDATE cluster_history SET used = '[0]' WHERE sequence = "
        "(SELECT max(sequence) FROM cluster_history)"
    ),
    (
        "UPDATE node_name_history SET name = 'x' WHERE sequence = "
        "(SELECT max(sequence) FROM node_name_history)"
    ),
    "DELETE FROM node_use_history WHERE sequence = (SELECT max(sequence) FROM node_use_history)",
)
WRONG = {
    "deployments": 1,
    "node_standings": 1,
    "deployment_status_history": 1,
    "log_tree": 1,
    "former_deployments": 1,
    "cluster_history": 1,
    "node_name_history": 1,
    "node_use_history": 1,
}

SCANS = (
    "SELECT seq_scan AS scans, n_tup_ins AS added FROM pg_stat_user_tables "
    "WHERE schemaname = 'public' AND relname = 'commit_touches'"
)


@cache
def story() -> LittleLog:
    """Return a log with something of everything in it."""
    return tell(7, events=400).log


def silent(_step: str, _done: int, _total: int) -> None:
    """Say nothing."""


async def everything(url: str) -> list[Any]:
    return [
        await whole_tables(url),
        await rows_of(url, "SELECT * FROM log_tree"),
        await rows_of(url, "SELECT * FROM tree_nodes ORDER BY level, number"),
        await rows_of(url, "SELECT * FROM commit_touches ORDER BY kind, id, position"),
    ]


async def test_rows_are_those_of_the_projection_and_wrong_ones_are_mended(url: str) -> None:
    log = StoredLog()
    log.publish(story())
    async with a_running_ledger(url, log):
        pass
    before = await everything(url)
    assert (await rebuild(url, None, silent)).differed == dict.fromkeys(
        (*WRONG, "commit_touches", "tree_nodes"), 0
    )
    assert await everything(url) == before
    for statement in DAMAGE:
        await rows_of(url, statement)
    assert await everything(url) != before
    differed = (await rebuild(url, None, silent)).differed
    assert differed.pop("commit_touches") >= 1
    assert differed == WRONG | {"tree_nodes": 0}
    assert await everything(url) == before


async def test_tables_that_were_emptied_are_filled_without_a_scan_for_each_row(url: str) -> None:
    log = StoredLog()
    log.publish(story())
    async with a_running_ledger(url, log):
        pass
    sound = await everything(url)
    (before,) = await rows_of(url, SCANS)
    await rows_of(url, "TRUNCATE commit_touches")
    await rows_of(url, "VACUUM ANALYZE commit_touches")
    await rebuild(url, None, silent)

    async def counted() -> bool:
        (now,) = await rows_of(url, SCANS)
        return bool(now["added"] - before["added"] == len(sound[-1]))

    await eventually(counted, what="the database's counters")
    (after,) = await rows_of(url, SCANS)
    assert after["scans"] - before["scans"] < 20
    assert await everything(url) == sound


async def test_readers_and_the_projection_go_on_meanwhile(url: str) -> None:
    half = len(story().commits) // 2
    log = StoredLog()
    log.publish(story(), half)
    async with a_running_ledger(url, log) as ledger:
        await rows_of(url, DAMAGE[0])
        ended, seen = asyncio.Event(), set()

        async def read() -> None:
            while not ended.is_set():
                (row,) = await rows_of(
                    url, "SELECT count(*) FILTER (WHERE status = 'lost') AS wrong FROM deployments"
                )
                seen.add(row["wrong"])

        def go_on(_step: str, _done: int, _total: int) -> None:
            if log.last < len(story().commits):
                log.publish(story(), log.last + 1)

        reading = asyncio.create_task(read())
        await eventually(lambda: 1 in seen, what="a reader")
        rebuilt = await rebuild(url, None, go_on)
        log.publish(story())
        await ledger.reaches(log.last)
        await eventually(lambda: 0 in seen, what="the exchanged rows")
        ended.set()
        await reading
        assert seen == {0, 1}
        assert half <= rebuilt.position <= log.last
    after = await everything(url)
    assert (await rebuild(url, None, silent)).position == log.last
    assert await everything(url) == after


class EndedError(Exception):
    """As a kill does, at that place."""


@pytest.mark.parametrize("place", ["folding", "exchanging"])
async def test_one_that_was_ended_leaves_all_as_it_was(url: str, place: str) -> None:
    log = StoredLog()
    log.publish(story())
    async with a_running_ledger(url, log):
        pass
    sound = await everything(url)
    await rows_of(url, DAMAGE[0])
    before = await everything(url)

    def end(step: str, done: int, _total: int) -> None:
        if step == place and done > 100:
            raise EndedError

    with pytest.raises(EndedError):
        await rebuild(url, None, end)
    assert await everything(url) == before
    await rebuild(url, None, silent)
    assert await everything(url) == sound


async def test_two_at_once_and_a_damaged_copy_are_refused(url: str) -> None:
    log = StoredLog()
    log.publish(story(), 50)
    async with a_running_ledger(url, log):
        pass
    engine = make_engine(url, 3)
    first = TablesBeside(engine)
    try:
        assert await is_of_this_release(engine)
        await rows_of(url, "UPDATE checkpoint SET projection = 0")
        assert not await is_of_this_release(engine)
        await first.begin()
        with pytest.raises(RebuildUnderWayError):
            await rebuild(url, None, silent)
        await first.close()
        await rebuild(url, None, silent)
        assert await is_of_this_release(engine)
        await rows_of(url, "UPDATE commits SET data = data || 'x' WHERE sequence = 9")
        with pytest.raises(CopyDamagedError, match="commit 9"):
            await Rebuild(PostgresLogCopy(engine), first, silent).run()
    finally:
        await first.close()
        await engine.dispose()
