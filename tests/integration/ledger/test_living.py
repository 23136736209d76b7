"""Lists of living deployments look at none of those that were deleted, which stay for ever."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import event

from fogbank.domain.states import DeploymentStatus
from services.ledger.adapters.database import make_engine
from services.ledger.adapters.reader import PostgresReads
from services.ledger.app.ports import DeploymentFilter, DeploymentSort
from tests.support.fleet_log import an_id
from tests.support.ledger import migrated_database
from tests.support.postgres import PostgresServer

LIVING = (DeploymentStatus.PENDING, DeploymentStatus.RUNNING)


@pytest.mark.parametrize(
    "wanted",
    [
        DeploymentFilter(cluster_id=2),
        DeploymentFilter(cluster_id=2, statuses=LIVING),
        DeploymentFilter(owner_id=an_id("ann")),
        DeploymentFilter(owner_id=an_id("ann"), sort_by=DeploymentSort.NAME),
    ],
)
async def test_the_page_and_its_total_are_of_living_ones_alone(
    postgres: PostgresServer, wanted: DeploymentFilter
) -> None:
    asked: list[tuple[str, Any]] = []
    async with migrated_database(postgres) as url:
        engine = make_engine(url, 1, settings={"enable_seqscan": "off"})
        try:
            event.listen(
                engine.sync_engine,
                "before_cursor_execute",
                lambda _connection, _cursor, statement, parameters, *_: asked.append(
                    (statement, parameters)
                ),
            )
            await PostgresReads(engine).deployments(wanted)
            async with engine.connect() as connection:
                for statement, parameters in tuple(asked):
                    told = await connection.exec_driver_sql(f"EXPLAIN {statement}", parameters)
                    plan = "\n".join(row[0] for row in told)
                    # All indexes so called are of living ones only.
                    assert " deployments_living" in plan, plan
            assert len(asked) > 1
        finally:
            await engine.dispose()
