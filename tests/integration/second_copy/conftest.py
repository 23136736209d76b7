"""A broker, a database, and the services between them."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.support.nats import nats_server
from tests.support.postgres import PostgresServer
from tests.support.three_services import ThreeServices, three_services
from tests.support.two_stores import Lived, a_life


@pytest.fixture
async def services(postgres: PostgresServer, tmp_path: Path) -> AsyncIterator[ThreeServices]:
    async with postgres.database() as url:
        with nats_server() as broker, three_services(broker, url, tmp_path) as found:
            yield found


@pytest.fixture
async def lived(services: ThreeServices) -> Lived:
    return await a_life(services)
