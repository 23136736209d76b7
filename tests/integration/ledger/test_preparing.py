"""The ledger's database at its start: whose it is, and that its tables are this release's."""

from __future__ import annotations

import asyncio

import pytest

from fogbank.runtime.operator_error import OperatorError
from services.ledger.adapters.database import MIGRATIONS, make_engine, prepare
from services.ledger.adapters.tables import METADATA
from services.ledger.app.ports import (
    LedgerMismatchError,
)
from tests.support.fleet_log import an_id
from tests.support.ledger import (
    rows_of,
)
from tests.support.postgres import PostgresServer


async def test_the_migrations_make_the_tables_that_are_read(url: str) -> None:
    engine = make_engine(url, 1)
    await prepare(engine, "default", 1)
    await prepare(engine, "default", 1)  # a second start finds nothing to do
    await engine.dispose()
    found = await rows_of(
        url,
        "SELECT table_name, column_name, is_nullable, data_type FROM information_schema.columns "
        "WHERE table_schema = 'public' AND table_name <> 'ledger_alembic_version'",
    )
    made = {(row["table_name"], row["column_name"]): row["is_nullable"] for row in found}
    known = {
        (table.name, column.name): "YES" if column.nullable else "NO"
        for table in METADATA.tables.values()
        for column in table.columns
    }
    assert made == known


OLD_ROWS = """
INSERT INTO deployments VALUES (
    $1, 'web', 'user', 'compute', 'nginx', 2, 1, 'running', 4, 2, '1 of 2 replicas running',
    'us-east', 50, 1, '', false, '[]', '', 1, '{"a": "b"}', false, '{}', '{}', NULL, 65536,
    '2026-01-01', '2026-01-02', NULL
);
INSERT INTO deployment_resources VALUES ($1, 1500, 512, 10, 250);
INSERT INTO deployment_replicas VALUES ($2, $1, 0, 1, $4, 'running', 8, 'c-1', '2026-01-02', 1, 3,
    'why (so, "so")', false);
INSERT INTO deployment_replicas VALUES ($3, $1, 1, 2, NULL, 'pending', 2, NULL, NULL, 3, 0, '',
    false)
"""


async def test_tables_of_an_earlier_release_are_brought_up_to_date(
    postgres: PostgresServer,
) -> None:
    names = [an_id(name) for name in ("deployment", "one", "other", "node")]
    shown = ("deployment_resources", "deployment_replicas ORDER BY slot")
    async with postgres.database() as url:
        engine = make_engine(url, 1)
        async with engine.begin() as connection:
            await connection.run_sync(MIGRATIONS.apply, "0002")
            for statement in OLD_ROWS.split(";\n"):
                text = statement
                for number, name in enumerate(names, 1):
                    text = text.replace(f"${number}", f"'{name}'")
                await connection.exec_driver_sql(text)
        former = [await rows_of(url, f"SELECT * FROM {table}") for table in shown]  # noqa: S608
        (deployment,) = await rows_of(url, "SELECT * FROM deployments")
        await prepare(engine, "default", 1)
        await engine.dispose()
        for table, rows in zip(shown, former, strict=True):
            assert rows
            present = await rows_of(url, f"SELECT * FROM {table}")  # noqa: S608
            assert [dict(row) | dict(old) for row, old in zip(present, rows, strict=True)] == [
                dict(row) for row in present
            ]
        (whole,) = await rows_of(url, "SELECT * FROM deployments")
        assert dict(whole) | dict(deployment) == dict(whole)


async def test_many_ledgers_may_start_at_once(postgres: PostgresServer) -> None:
    async with postgres.database() as url:
        engines = [make_engine(url, 1) for _ in range(5)]
        async with asyncio.TaskGroup() as group:
            for engine in engines:
                group.create_task(prepare(engine, "default", 1))
        for engine in engines:
            await engine.dispose()
        assert len(await rows_of(url, "SELECT * FROM checkpoint")) == 1


async def test_another_fleets_database_is_refused(url: str) -> None:
    engine = make_engine(url, 1)
    await prepare(engine, "default", 1)
    with pytest.raises(LedgerMismatchError, match="fleet default, generation 1, not of edge"):
        await prepare(engine, "edge", 1)
    with pytest.raises(LedgerMismatchError, match="generation 2"):
        await prepare(engine, "default", 2)
    await engine.dispose()


def test_an_address_that_is_none_is_refused() -> None:
    with pytest.raises(OperatorError, match="DATABASE_URL is not an address"):
        make_engine("nonsense", 1)


def test_any_spelling_of_postgresql_will_do() -> None:
    for scheme in ("postgresql", "postgres", "postgresql+asyncpg"):
        assert make_engine(f"{scheme}://host/name", 1).url.drivername == "postgresql+asyncpg"


async def test_a_database_that_refuses_is_not_waited_for(postgres: PostgresServer) -> None:
    engine = make_engine(postgres.url("nowhere"), 1)
    with pytest.raises(OperatorError, match=r"nowhere.* check DATABASE_URL"):
        await prepare(engine, "default", 1)
    await engine.dispose()
