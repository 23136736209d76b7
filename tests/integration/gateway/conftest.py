"""A migrated database of its own for each test."""

from collections.abc import AsyncIterator, Iterator

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from services.gateway.adapters.database import make_engine, migrate
from tests.support.postgres import PostgresServer, postgres_server


@pytest.fixture(scope="session")
def postgres() -> Iterator[PostgresServer]:
    with postgres_server() as server:
        yield server


@pytest.fixture
async def engine(postgres: PostgresServer) -> AsyncIterator[AsyncEngine]:
    async with postgres.database() as url:
        engine = make_engine(url)
        try:
            await migrate(engine)
            yield engine
        finally:
            await engine.dispose()
