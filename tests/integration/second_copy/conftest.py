"""A broker, a database, and the services between them."""

from collections.abc import AsyncIterator
from dataclasses import replace
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


class OneLife:
    """A system that lives once; each test gets its stores anew."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.lived: Lived | None = None

    async def live(self, database_url: str) -> None:
        """Live on a database, which is as it was left from then on."""
        with (
            nats_server() as broker,
            three_services(broker, database_url, self._folder) as services,
        ):
            self.lived = await a_life(services)


@pytest.fixture(scope="session")
def one_life(tmp_path_factory: pytest.TempPathFactory) -> OneLife:
    return OneLife(tmp_path_factory.mktemp("life"))


@pytest.fixture
async def lived(
    postgres: PostgresServer, tmp_path: Path, one_life: OneLife
) -> AsyncIterator[Lived]:
    async with postgres.database("lived", one_life.live) as url:
        with nats_server() as broker, three_services(broker, url, tmp_path) as services:
            assert one_life.lived is not None
            broker.stop()
            services.put(one_life.lived.right)
            yield replace(one_life.lived, services=services)
