"""The test support itself: a database each, and data that outlives a crash."""

import asyncpg
import pytest

from tests.support.postgres import postgres_server


async def _one(url: str, statement: str) -> object:
    connection = await asyncpg.connect(url.replace("postgresql+asyncpg", "postgresql"))
    try:
        return await connection.fetchval(statement)
    finally:
        await connection.close()


@pytest.mark.slow
@pytest.mark.kill
async def test_databases_are_apart_and_survive_a_crash() -> None:
    with postgres_server() as server:
        async with server.database() as first, server.database() as second:
            await _one(first, "CREATE TABLE kept (value integer)")
            await _one(first, "INSERT INTO kept VALUES (7)")
            assert await _one(second, "SELECT to_regclass('kept')") is None
            server.kill()
            server.start()
            assert await _one(first, "SELECT value FROM kept") == 7
