"""Migrations: applied once, and alembic is left alone where nothing is due."""

import pytest
from alembic import command
from alembic.config import Config
from alembic.script import ScriptDirectory
from sqlalchemy import text

from fogbank.runtime.migrations import Migrations
from services.gateway.adapters import database as gateway
from services.ledger.adapters import database as ledger
from tests.support.postgres import PostgresServer


@pytest.mark.parametrize("migrations", [gateway.MIGRATIONS, ledger.MIGRATIONS])
def test_the_newest_file_is_what_alembic_takes_for_the_head(migrations: Migrations) -> None:
    config = Config()
    config.set_main_option("script_location", str(migrations.folder))
    assert ScriptDirectory.from_config(config).get_heads() == [migrations.newest]


@pytest.mark.parametrize("migrations", [gateway.MIGRATIONS, ledger.MIGRATIONS])
async def test_what_is_up_to_date_is_left_alone(
    postgres: PostgresServer, migrations: Migrations, monkeypatch: pytest.MonkeyPatch
) -> None:
    upgrades = []
    upgrade = command.upgrade

    def counted(config: Config, revision: str) -> None:
        upgrades.append(revision)
        upgrade(config, revision)

    monkeypatch.setattr(command, "upgrade", counted)
    async with postgres.database() as url:
        engine = gateway.make_engine(url)
        for _start in range(2):
            async with engine.begin() as connection:
                await connection.execute(text(f"CREATE SCHEMA IF NOT EXISTS {migrations.schema}"))
                await connection.run_sync(migrations.apply)
        assert upgrades == [migrations.newest]
        # A database that is behind is brought up again, however it came to be.
        async with engine.begin() as connection:
            await connection.execute(
                text(f"DROP TABLE {migrations.schema}.{migrations.version_table}")
            )
            await connection.execute(text(f"DROP SCHEMA {migrations.schema} CASCADE"))
            await connection.execute(text(f"CREATE SCHEMA {migrations.schema}"))
            await connection.run_sync(migrations.apply)
        assert upgrades == [migrations.newest] * 2
        await engine.dispose()
