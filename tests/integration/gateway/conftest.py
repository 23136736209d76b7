"""A migrated database or a whole gateway of its own for each test."""

from collections.abc import AsyncIterator

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from services.gateway.adapters.database import make_engine, migrate
from tests.support.gateway import GatewayWorld, gateway_world
from tests.support.postgres import PostgresServer
from tests.support.scripted_agent import ScriptedAgent, scripted_agent


async def migrated(url: str) -> None:
    engine = make_engine(url)
    try:
        await migrate(engine)
    finally:
        await engine.dispose()


@pytest.fixture
async def engine(postgres: PostgresServer) -> AsyncIterator[AsyncEngine]:
    async with postgres.database("gateway", migrated) as url:
        engine = make_engine(url)
        try:
            yield engine
        finally:
            await engine.dispose()


@pytest.fixture
async def world() -> AsyncIterator[GatewayWorld]:
    async with gateway_world() as found:
        yield found


@pytest.fixture
async def agent(world: GatewayWorld) -> AsyncIterator[ScriptedAgent]:
    async with scripted_agent(world.channel) as found:
        yield found
