"""A database of its own for each test of the ledger."""

from collections.abc import AsyncIterator

import pytest

from tests.support.ledger import migrated_database
from tests.support.postgres import PostgresServer


@pytest.fixture
async def url(postgres: PostgresServer) -> AsyncIterator[str]:
    async with migrated_database(postgres) as address:
        yield address
