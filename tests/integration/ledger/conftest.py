"""A database of its own for each test of the ledger."""

from collections.abc import AsyncIterator

import pytest

from tests.support.postgres import PostgresServer


@pytest.fixture
async def url(postgres: PostgresServer) -> AsyncIterator[str]:
    async with postgres.database() as address:
        yield address
