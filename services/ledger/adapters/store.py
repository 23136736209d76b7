"""The tables, to their one writer: a batch is one transaction.

A small one is one statement, for what it costs is the exchanges with the database; what a large one
has most of is copied in after it, which costs less for each row.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import asyncpg
from msgspec.structs import astuple
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine
from sqlalchemy.sql.schema import Table

from fogbank.runtime.crash_points import crash_point
from services.ledger.adapters.batch_statement import batch_statement, columns_of, rows_to_copy
from services.ledger.adapters.database import LOCK_QUERY, outages_named
from services.ledger.adapters.kept_copy import read_kept_copy
from services.ledger.adapters.tables import CHECKPOINT
from services.ledger.adapters.tree_store import read_head
from services.ledger.app.ports import Checkpoint, KeptCopy, RivalLedgerError
from services.ledger.core.log_tree import TreeGrowth, TreeHead
from services.ledger.core.projection import TableChanges
from services.ledger.core.rows import CommitRow, TableRow

# For the sessions that write: the rows that batches touch are looked up one by one, whatever a
# plan's age and the statistics make of it.
WRITING_SESSION = {
    "enable_hashjoin": "off",
    "enable_mergejoin": "off",
    "enable_seqscan": "off",
    "plan_cache_mode": "force_generic_plan",
}

# A batch of at most so many rows is one statement.
_FEW_ROWS = 400
# Of a larger one, each part of at most an eighth of that is in the statement as well.
_FEW_OF_A_KIND = 8


async def driver_of(connection: AsyncConnection) -> asyncpg.Connection:
    """Return what a connection talks by: it knows COPY, and nothing of SQLAlchemy's transaction."""
    raw = await connection.get_raw_connection()
    return cast("asyncpg.Connection", raw.driver_connection)


class PostgresStore:
    """A `LedgerStore` in PostgreSQL. `engine` needs two connections for it.

    A batch of at most `few_rows` is one statement.
    """

    def __init__(self, engine: AsyncEngine, few_rows: int = _FEW_ROWS) -> None:
        self._engine = engine
        self._few_rows = few_rows
        self._leading: AsyncConnection | None = None

    async def checkpoint(self) -> Checkpoint:
        async with outages_named(), self._engine.connect() as connection:
            found = (
                await connection.execute(select(CHECKPOINT.c.position, CHECKPOINT.c.digest))
            ).one()
            return Checkpoint(found.position, found.digest)

    async def kept_copy(self) -> KeptCopy:
        async with outages_named(), self._engine.connect() as connection:
            return await read_kept_copy(connection)

    async def tree(self) -> TreeHead:
        async with outages_named(), self._engine.connect() as connection:
            return await read_head(connection)

    async def write(
        self,
        former: Checkpoint,
        commits: Sequence[CommitRow],
        changes: TableChanges,
        growth: TreeGrowth,
    ) -> Checkpoint:
        reached = Checkpoint(commits[-1].sequence, commits[-1].digest)
        large = len(commits) + len(growth.nodes) + changes.rows > self._few_rows
        few = self._few_rows // _FEW_OF_A_KIND
        copies = rows_to_copy(commits, changes, few) if large else {}
        statement = batch_statement(former, reached, commits, changes, growth, copied=copies)
        async with outages_named(), self._engine.connect() as connection:
            driver = await driver_of(connection)
            try:
                async with driver.transaction():
                    # A rival waits here for the end of this, and then finds that the checkpoint
                    # moved.
                    if not await driver.fetchval(statement.text, *statement.arguments):
                        raise _rival(former)
                    for table, rows in copies.items():
                        await copy_rows(driver, table, rows)
                    self._written()
            except BaseException:
                # What happens to a connection behind the pool's back must not come back to it.
                await connection.invalidate()
                raise
        crash_point("ledger.after-commit")
        return reached

    def _written(self) -> None:
        """All is written, and the transaction not at its end."""
        crash_point("ledger.before-commit")

    async def try_lead(self) -> bool:
        async with outages_named():
            if self._leading is None:
                self._leading = await self._engine.connect()
            leads = False
            try:
                # Again and again is harmless: a session may take its own lock more than once.
                leads = bool((await self._leading.execute(LOCK_QUERY)).scalar_one())
                # The lock is the session's; no transaction stays open for it.
                await self._leading.commit()
            finally:
                if not leads:
                    await self.close()
            return leads

    async def close(self) -> None:
        """Stop leading."""
        if self._leading is not None:
            connection, self._leading = self._leading, None
            # The session must end with its lock; in the pool it would go on.
            await connection.invalidate()
            await connection.close()


async def copy_rows(
    driver: asyncpg.Connection, table: Table, rows: Sequence[TableRow], schema: str = "public"
) -> None:
    """Copy rows of one kind, at least one, into a table of a schema."""
    await driver.copy_records_to_table(
        table.name,
        schema_name=schema,
        records=map(astuple, rows),
        columns=columns_of(type(rows[0])),
    )


def _rival(former: Checkpoint) -> RivalLedgerError:
    return RivalLedgerError(
        f"the checkpoint is no longer at {former.position}: another ledger writes to this database"
    )
