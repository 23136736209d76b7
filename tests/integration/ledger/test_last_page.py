"""A list's page at the last offset that may be asked for is empty, now and in the past."""

from __future__ import annotations

from services.ledger.adapters.database import make_engine
from services.ledger.adapters.past_reads import PostgresPast
from services.ledger.adapters.reader import PostgresReads
from services.ledger.app.past_reads import PastMoment
from services.ledger.app.ports import LARGEST_OFFSET, DeploymentFilter
from tests.support.fleet_log import START_US
from tests.support.ledger import migrated_database
from tests.support.postgres import PostgresServer


async def test_the_last_page_that_may_be_asked_for_is_empty(postgres: PostgresServer) -> None:
    wanted = DeploymentFilter(offset=LARGEST_OFFSET)
    async with migrated_database(postgres) as url:
        engine = make_engine(url, 1)
        try:
            present = await PostgresReads(engine).deployments(wanted)
            past = await PostgresPast(engine).deployments(wanted, PastMoment(1, START_US))
        finally:
            await engine.dispose()
    assert (present.value.items, past.items) == ((), ())
