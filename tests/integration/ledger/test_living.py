"""Lists of living deployments look at none of those that were deleted, which stay for ever.

Nor the other way about.
"""

from __future__ import annotations

import re
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
GONE = (DeploymentStatus.DELETED,)
ANN = an_id("ann")
# All indexes so called are of living ones only, or of deleted ones.
OF_LIVING, OF_GONE = "deployments_living", "deployments_gone"


@pytest.mark.parametrize(
    ("wanted", "indexes"),
    [
        (DeploymentFilter(), {OF_LIVING}),
        (DeploymentFilter(cluster_id=2), {OF_LIVING}),
        (DeploymentFilter(cluster_id=2, statuses=LIVING), {OF_LIVING}),
        (DeploymentFilter(owner_id=ANN), {OF_LIVING}),
        (DeploymentFilter(owner_id=ANN, sort_by=DeploymentSort.NAME), {OF_LIVING}),
        (DeploymentFilter(owner_id=ANN, statuses=GONE), {OF_GONE}),
        (DeploymentFilter(owner_id=ANN, statuses=(*LIVING, *GONE)), {OF_LIVING, OF_GONE}),
        (DeploymentFilter(statuses=tuple(DeploymentStatus)), {OF_LIVING, OF_GONE}),
    ],
)
async def test_a_page_and_its_total_are_of_what_is_wanted_alone(
    postgres: PostgresServer, wanted: DeploymentFilter, indexes: set[str]
) -> None:
    async with migrated_database(postgres) as url:
        page, total = await plans(url, wanted)
    for plan in (page, total):
        assert set(re.findall(r" using (deployments_[a-z]+)", plan)) == indexes, plan


@pytest.mark.parametrize("statuses", [(), GONE, tuple(DeploymentStatus)])
async def test_a_total_that_no_state_bears_on_is_counted_in_indexes(
    postgres: PostgresServer, statuses: tuple[DeploymentStatus, ...]
) -> None:
    """Their rows, which are large, took twenty times as long to look at."""
    async with migrated_database(postgres) as url:
        _, total = await plans(url, DeploymentFilter(statuses=statuses))
    assert total.count("Index Only Scan using deployments_") == total.count(" on deployments"), (
        total
    )


async def plans(url: str, wanted: DeploymentFilter) -> list[str]:
    """Return by which plans a list's page and its total are found."""
    asked: list[tuple[str, Any]] = []
    # On so few rows PostgreSQL would read all of them, or sort those that an index finds.
    settings = {"enable_seqscan": "off", "enable_bitmapscan": "off"}
    engine = make_engine(url, 1, settings=settings)
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
            return [
                "\n".join(
                    row[0]
                    for row in await connection.exec_driver_sql(f"EXPLAIN {statement}", parameters)
                )
                for statement, parameters in tuple(asked)
            ]
    finally:
        await engine.dispose()
