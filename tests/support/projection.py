"""What the ledger's tables say, held against a ledger that reads the same log from the start."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any
from uuid import uuid4

import asyncpg

from fogbank.log.jetstream import JetStreamLog
from fogbank.log.nats_connection import connect
from fogbank.log.port import Writer
from fogbank.log.stream import StreamName
from tests.support.ledger import StoredLog, a_running_ledger
from tests.support.waiting import eventually

_KEYS = {
    "checkpoint": "position",
    "commits": "sequence",
    "nodes": "id",
    "deployments": "id",
    "deployment_resources": "deployment_id",
    "deployment_replicas": "id",
    "deployment_status_history": "deployment_id, sequence",
    "commit_touches": "kind, id, position",
}
_SHOWN = 5

Tables = dict[str, list[tuple[Any, ...]]]


def assert_projection_is_the_fold(system_state: Mapping[str, Any], within_s: float = 180) -> int:
    """Assert that the tables hold what a fresh fold of the log leads to; return the position.

    The ledger has `within_s` seconds to reach the log's present end.
    """
    return asyncio.run(_check(system_state["nats"], system_state["database"], within_s))


async def ledger_position(database_url: str) -> int:
    """Return the sequence of the last commit in the tables, as of now; -1 without an answer."""
    try:
        connection = await asyncpg.connect(_dsn(database_url), timeout=30)
    except (OSError, asyncpg.PostgresError, TimeoutError):
        return -1
    try:
        return int(await connection.fetchval("SELECT position FROM checkpoint"))
    except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError):
        return -1
    finally:
        await connection.close(timeout=5)


async def _check(nats_url: str, database_url: str, within_s: float) -> int:
    async with connect(nats_url, "projection check") as connection:
        log = JetStreamLog(connection, StreamName(), Writer("audit", "check"))
        end = await log.last_sequence()

        async def caught_up() -> bool:
            return await ledger_position(database_url) >= end

        await eventually(caught_up, within_s, what=f"the ledger's reaching commit {end}")
        kept = await _tables(database_url)
        position = int(await _position(kept))
        stored = StoredLog()
        async for batch in log.read(1, position):
            for commit in batch:
                assert stored.store.add(commit.writer, commit.data) == commit.sequence
    assert stored.last == position, f"the log ends at {stored.last}, the tables at {position}"
    _assert_same(kept, await _folded(database_url, stored))
    return position


async def _position(tables: Tables) -> int:
    ((*_, position, _digest, _projection),) = tables["checkpoint"]
    return int(position)


async def _folded(database_url: str, stored: StoredLog) -> Tables:
    """Return the tables that a ledger with an empty database makes of a log."""
    name = f"fold_{uuid4().hex}"
    admin = await asyncpg.connect(_dsn(database_url))
    try:
        await admin.execute(f'CREATE DATABASE "{name}" STRATEGY file_copy')
        try:
            url = f"{database_url.rpartition('/')[0]}/{name}"
            async with a_running_ledger(url, stored):
                return await _tables(url)
        finally:
            await admin.execute(f'DROP DATABASE "{name}" WITH (FORCE)')
    finally:
        await admin.close()


async def _tables(database_url: str) -> Tables:
    """Return every row, all as of one instant."""
    connection = await asyncpg.connect(_dsn(database_url))
    try:
        async with connection.transaction(isolation="repeatable_read", readonly=True):
            return {
                table: [
                    tuple(row.values())
                    for row in await connection.fetch(
                        f"SELECT * FROM {table} ORDER BY {key}"  # noqa: S608  our own names
                    )
                ]
                for table, key in _KEYS.items()
            }
    finally:
        await connection.close()


def _assert_same(kept: Tables, folded: Tables) -> None:
    for table in _KEYS:
        missing = _without(folded[table], kept[table])
        wrong = _without(kept[table], folded[table])
        assert not missing, f"{table} lacks {len(missing)} rows, such as {missing[:_SHOWN]}"
        assert not wrong, f"{table} has {len(wrong)} rows too many, such as {wrong[:_SHOWN]}"


def _without(rows: Sequence[tuple[Any, ...]], others: Sequence[tuple[Any, ...]]) -> list[str]:
    known = {repr(row) for row in others}
    return [text for row in rows if (text := repr(row)) not in known]


def _dsn(database_url: str) -> str:
    return database_url.replace("postgresql+asyncpg", "postgresql")
