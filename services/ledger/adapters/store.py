"""The tables, to their one writer: a batch is one transaction.

A small one is one statement, for what it costs is the exchanges with the database; the rows of a
large one are copied in, which costs less for each.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, cast

import asyncpg
from sqlalchemy import TextClause, select, text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine
from sqlalchemy.sql.schema import Table

from fogbank.runtime.crash_points import crash_point
from services.ledger.adapters.batch_statement import (
    BatchStatement,
    batch_statement,
    columns_of,
    former_lives,
)
from services.ledger.adapters.database import LOCK_QUERY, outages_named
from services.ledger.adapters.kept_copy import read_kept_copy
from services.ledger.adapters.tables import (
    CHECKPOINT,
    CLUSTER_HISTORY,
    COMMITS,
    DEPLOYMENTS,
    FORMER_DEPLOYMENTS,
    HISTORY,
    NODE_NAME_HISTORY,
    NODE_STANDINGS,
    NODE_USE_HISTORY,
    TOUCHES,
)
from services.ledger.adapters.tree_store import read_head, write_growth
from services.ledger.app.ports import Checkpoint, KeptCopy, RivalLedgerError
from services.ledger.core.log_tree import TreeGrowth, TreeHead
from services.ledger.core.past_rows import (
    ClusterRow,
    CreatedRow,
    FormerDeploymentRow,
    NodeNameRow,
    NodeUseRow,
    PastRows,
)
from services.ledger.core.projection import TableChanges
from services.ledger.core.rows import (
    ChangeRow,
    CommitRow,
    DeploymentRow,
    DeploymentStateRow,
    NodeRow,
    NodeStateRow,
)
from services.ledger.core.touched import TouchRow

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


async def driver_of(connection: AsyncConnection) -> asyncpg.Connection:
    """Return what a connection talks by: it knows COPY, and nothing of SQLAlchemy's transaction."""
    raw = await connection.get_raw_connection()
    return cast("asyncpg.Connection", raw.driver_connection)


class _Rows:
    """Whole rows of one kind."""

    def __init__(self, table: Table, row: type[NamedTuple]) -> None:
        self._table = table.name
        self._names = columns_of(row)
        self._delete = f"DELETE FROM public.{table.name} WHERE id = ANY($1::uuid[])"  # noqa: S608 (our names)

    async def write(
        self, driver: asyncpg.Connection, rows: Sequence[NamedTuple], former: Sequence[str] = ()
    ) -> None:
        """Add the rows in place of those that stand under the ids in `former`."""
        if former:
            await driver.execute(self._delete, former)
        if rows:
            await driver.copy_records_to_table(
                self._table, schema_name="public", records=rows, columns=self._names
            )


class _States:
    """Some columns of rows that stand in their table."""

    def __init__(self, table: Table, row: type[NamedTuple]) -> None:
        names = columns_of(row)
        self._incoming = f"incoming_{table.name}"
        self._make = (
            f"CREATE TEMPORARY TABLE IF NOT EXISTS {self._incoming} ON COMMIT DELETE ROWS "  # noqa: S608 (our own names)
            f"AS SELECT {', '.join(names)} FROM public.{table.name} WITH NO DATA"
        )
        assigned = ", ".join(f"{name} = incoming.{name}" for name in names if name != "id")
        self._update = (
            f"UPDATE public.{table.name} AS present SET {assigned} "  # noqa: S608
            f"FROM pg_temp.{self._incoming} AS incoming WHERE incoming.id = present.id"
        )

    async def write(self, driver: asyncpg.Connection, rows: Sequence[NamedTuple]) -> None:
        """Change the rows."""
        if rows:
            await driver.execute(self._make)
            await driver.copy_records_to_table(self._incoming, schema_name="pg_temp", records=rows)
            # Not `execute`, which would have it planned each time.
            await driver.fetch(self._update)


_COMMITS = _Rows(COMMITS, CommitRow)
_DEPLOYMENTS = _Rows(DEPLOYMENTS, DeploymentRow)
_NODES = _Rows(NODE_STANDINGS, NodeRow)
_HISTORY = _Rows(HISTORY, ChangeRow)
_TOUCHES = _Rows(TOUCHES, TouchRow)
_FORMER_DEPLOYMENTS = _Rows(FORMER_DEPLOYMENTS, FormerDeploymentRow)
_CLUSTERS = _Rows(CLUSTER_HISTORY, ClusterRow)
_NODE_NAMES = _Rows(NODE_NAME_HISTORY, NodeNameRow)
_NODE_USES = _Rows(NODE_USE_HISTORY, NodeUseRow)
_DEPLOYMENT_STATES = _States(DEPLOYMENTS, DeploymentStateRow)
_NODE_STATES = _States(NODE_STANDINGS, NodeStateRow)

_ADVANCE: TextClause = text(
    "UPDATE public.checkpoint SET position = :position, digest = :digest "
    "WHERE position = :former_position AND digest = :former_digest"
)


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
        if len(commits) + len(growth.nodes) + changes.rows <= self._few_rows:
            statement = batch_statement(former, reached, commits, changes, growth)
            async with outages_named(), self._engine.connect() as connection:
                await self._write_at_once(connection, former, statement)
        else:
            await self._copy_in(former, reached, commits, changes, growth)
        crash_point("ledger.after-commit")
        return reached

    async def _write_at_once(
        self, connection: AsyncConnection, former: Checkpoint, statement: BatchStatement
    ) -> None:
        driver = await driver_of(connection)
        try:
            async with driver.transaction():
                # A rival waits for the end of this, and then finds that the checkpoint moved.
                if not await driver.fetchval(statement.text, *statement.arguments):
                    raise _rival(former)
                self._written()
        except BaseException:
            # What happens to a connection behind the pool's back must not come back to the pool.
            await connection.invalidate()
            raise

    async def _copy_in(
        self,
        former: Checkpoint,
        reached: Checkpoint,
        commits: Sequence[CommitRow],
        changes: TableChanges,
        growth: TreeGrowth,
    ) -> None:
        async with outages_named(), self._engine.begin() as connection:
            # First of all: a rival waits here for this transaction's end, and then finds that the
            # checkpoint moved.
            advanced = await connection.execute(
                _ADVANCE,
                {
                    "position": reached.position,
                    "digest": reached.digest,
                    "former_position": former.position,
                    "former_digest": former.digest,
                },
            )
            if advanced.rowcount != 1:
                raise _rival(former)
            await _COMMITS.write(await driver_of(connection), commits)
            await write_growth(connection, growth)
            await self._write_changes(connection, changes)
            self._written()

    def _written(self) -> None:
        """All is written, and the transaction not at its end."""
        crash_point("ledger.before-commit")

    async def _write_changes(self, connection: AsyncConnection, changes: TableChanges) -> None:
        driver = await driver_of(connection)
        # Before the rows that it reads are replaced.
        await keep_former_lives(driver, "public", changes.past.created)
        await _write_past(driver, changes.past)
        await _NODES.write(driver, changes.nodes, changes.former_nodes)
        await _NODE_STATES.write(driver, changes.node_states)
        await _DEPLOYMENTS.write(
            driver, changes.deployments, [row.id for row in changes.deployments]
        )
        await _DEPLOYMENT_STATES.write(driver, changes.deployment_states)
        await _HISTORY.write(driver, changes.changes)
        await _TOUCHES.write(driver, changes.touches)

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


async def keep_former_lives(
    driver: asyncpg.Connection, schema: str, created: Sequence[CreatedRow]
) -> None:
    """Keep what a schema has of forgotten deployments whose ids were created anew."""
    if created:
        ids, sequences = zip(*created, strict=True)
        arrays = "unnest($1::uuid[], $2::bigint[]) AS incoming (deployment_id, sequence)"
        await driver.fetch(former_lives(schema, arrays), ids, sequences)


async def _write_past(driver: asyncpg.Connection, past: PastRows) -> None:
    await _FORMER_DEPLOYMENTS.write(driver, past.former_deployments)
    await _CLUSTERS.write(driver, past.clusters)
    await _NODE_NAMES.write(driver, past.node_names)
    await _NODE_USES.write(driver, past.node_uses)


def _rival(former: Checkpoint) -> RivalLedgerError:
    return RivalLedgerError(
        f"the checkpoint is no longer at {former.position}: another ledger writes to this database"
    )
