"""Tables of the projection built beside those that answer, in a schema of their own."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass

from msgspec.structs import astuple
from sqlalchemy import JSON, Table, bindparam, text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from services.ledger.adapters.batch_statement import former_lives
from services.ledger.adapters.database import outages_named
from services.ledger.adapters.store import copy_rows, driver_of
from services.ledger.adapters.tables import (
    CLUSTER_HISTORY,
    DEPLOYMENTS,
    FORMER_DEPLOYMENTS,
    HISTORY,
    LOG_TREE,
    NODE_NAME_HISTORY,
    NODE_STANDINGS,
    NODE_USE_HISTORY,
    TOUCHES,
    TREE_NODES,
)
from services.ledger.app.ports import Checkpoint
from services.ledger.app.rebuild import RebuildUnderWayError
from services.ledger.core.log_tree import TreeGrowth, TreeHead
from services.ledger.core.past_rows import CreatedRow
from services.ledger.core.projection import PROJECTION, TableChanges
from services.ledger.core.rows import TableRow

_SCHEMA = "rebuilt"
_TABLES = (
    DEPLOYMENTS,
    FORMER_DEPLOYMENTS,
    HISTORY,
    CLUSTER_HISTORY,
    NODE_STANDINGS,
    NODE_NAME_HISTORY,
    NODE_USE_HISTORY,
    TOUCHES,
    TREE_NODES,
    LOG_TREE,
)
# In the space of PostgreSQL's advisory locks, beside the others of the ledger.
_REBUILD_LOCK = 0x666F67_0003

_LOCK = text("SELECT pg_try_advisory_lock(:key)").bindparams(bindparam("key", _REBUILD_LOCK))
_VERSION = text("SELECT projection FROM public.checkpoint")
_CHECKPOINT = text("SELECT position, digest FROM public.checkpoint")
_HOLD = text("SELECT position, digest FROM public.checkpoint FOR UPDATE")
_NOTE = text("UPDATE public.checkpoint SET projection = :projection").bindparams(
    projection=PROJECTION
)
# For comparing whole tables, which are hashed for that.
_ROOM = text("SET LOCAL work_mem = '64MB'")
# Deployments are looked up one by one in it, when their ids are created anew.
_INDEX = text(f"CREATE INDEX ON {_SCHEMA}.{DEPLOYMENTS.name} (id)")
_DROP = text(f"DROP SCHEMA IF EXISTS {_SCHEMA} CASCADE")


async def is_of_this_release(engine: AsyncEngine) -> bool:
    """Return whether the tables were made by a projection like this release's.

    Raises:
        StoreUnavailableError: no answer.
    """
    async with outages_named(), engine.connect() as connection:
        return bool((await connection.execute(_VERSION)).scalar_one() == PROJECTION)


class TablesBeside:
    """A `Beside`. `engine` needs three connections for it, and patience."""

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine
        self._holder: AsyncConnection | None = None

    async def begin(self) -> Checkpoint:
        async with outages_named():
            self._holder = await self._engine.connect()
            if not (await self._holder.execute(_LOCK)).scalar_one():
                raise RebuildUnderWayError("another process rebuilds these tables already")
            # The lock is the session's; no transaction stays open for it.
            await self._holder.commit()
            async with self._engine.begin() as connection:
                await connection.execute(_DROP)
                await connection.execute(text(f"CREATE SCHEMA {_SCHEMA}"))
                for table in _TABLES:
                    await connection.execute(text(_beside(table)))
                await connection.execute(_INDEX)
                row = (await connection.execute(_CHECKPOINT)).one()
        return Checkpoint(row.position, row.digest)

    async def add(self, changes: TableChanges) -> None:
        async with outages_named(), self._engine.begin() as connection:
            await _write(connection, changes)

    @asynccontextmanager
    async def exchange(self) -> AsyncGenerator[TheExchange]:
        async with outages_named(), self._engine.begin() as connection:
            # Whoever projects moves the checkpoint first of all, and waits here.
            row = (await connection.execute(_HOLD)).one()
            yield TheExchange(connection, Checkpoint(row.position, row.digest))

    async def close(self) -> None:
        """Let others rebuild."""
        if self._holder is not None:
            holder, self._holder = self._holder, None
            # The session must end with its lock; in the pool it would go on.
            await holder.invalidate()
            await holder.close()


@dataclass(frozen=True, slots=True)
class TheExchange:
    """An `Exchange`, in the transaction that holds up the projection."""

    connection: AsyncConnection
    checkpoint: Checkpoint

    async def finish(self, changes: TableChanges, growth: TreeGrowth) -> dict[str, int]:
        connection = self.connection
        await _write(connection, changes)
        await _write_tree(connection, growth)
        await connection.execute(_ROOM)
        differed = {table.name: await self._exchange(table) for table in _TABLES}
        await connection.execute(_NOTE)
        await connection.execute(_DROP)
        return differed

    async def _exchange(self, table: Table) -> int:
        """Put what a table should be in the place of what it is; return how many rows differed."""
        differing = (await self.connection.execute(text(_find_differing(table)))).rowcount
        if differing:
            await self.connection.execute(text(_drop_wrong(table)))
            await self.connection.execute(text(_add_right(table)))
        return differing


def _beside(table: Table) -> str:
    name = table.name
    return f"CREATE UNLOGGED TABLE {_SCHEMA}.{name} (LIKE public.{name} INCLUDING STORAGE)"


def _find_differing(table: Table) -> str:
    """Return what notes, for each key whose rows are not the same, where those are that there are.

    That is one pass over both tables, whatever their statistics are: nothing else joins both ways.
    """
    same_key = " AND ".join(f"p.{key.name} = r.{key.name}" for key in table.primary_key)
    return (
        f"CREATE TABLE {_SCHEMA}.differing_{table.name} AS "  # noqa: S608 (our names)
        "SELECT p.ctid AS wrong_at, r.ctid AS right_at "
        f"FROM public.{table.name} AS p FULL JOIN {_SCHEMA}.{table.name} AS r ON {same_key} "
        f"WHERE ({_compared(table, 'p')}) IS DISTINCT FROM ({_compared(table, 'r')})"
    )


def _compared(table: Table, alias: str) -> str:
    """Return what of a row is compared: of JSON its text, for it has no equality of its own."""
    return ", ".join(
        f"{alias}.{column.name}{'::text' if type(column.type) is JSON else ''}"
        for column in table.columns
    )


def _drop_wrong(table: Table) -> str:
    return (
        f"DELETE FROM public.{table.name} AS p USING {_SCHEMA}.differing_{table.name} AS d "  # noqa: S608 (our names)
        "WHERE p.ctid = d.wrong_at"
    )


def _add_right(table: Table) -> str:
    return (
        f"INSERT INTO public.{table.name} SELECT r.* FROM {_SCHEMA}.{table.name} AS r "  # noqa: S608 (our names)
        f"JOIN {_SCHEMA}.differing_{table.name} AS d ON r.ctid = d.right_at"
    )


async def _write(connection: AsyncConnection, changes: TableChanges) -> None:
    past = changes.past
    await _keep_former_lives(connection, past.created)
    for table, former in (
        (DEPLOYMENTS, [row.id for row in changes.deployments]),
        (NODE_STANDINGS, changes.former_nodes),
    ):
        if former:
            query = f"DELETE FROM {_SCHEMA}.{table.name} WHERE id = ANY($1::uuid[])"  # noqa: S608 (our names)
            await (await driver_of(connection)).execute(query, former)
    await _copy(connection, DEPLOYMENTS, changes.deployments)
    await _copy(connection, NODE_STANDINGS, changes.nodes)
    await _copy(connection, HISTORY, changes.changes)
    await _copy(connection, TOUCHES, changes.touches)
    await _copy(connection, FORMER_DEPLOYMENTS, past.former_deployments)
    await _copy(connection, CLUSTER_HISTORY, past.clusters)
    await _copy(connection, NODE_NAME_HISTORY, past.node_names)
    await _copy(connection, NODE_USE_HISTORY, past.node_uses)


async def _keep_former_lives(connection: AsyncConnection, created: Sequence[CreatedRow]) -> None:
    """Keep what these tables have of forgotten deployments whose ids were created anew."""
    if created:
        ids, sequences = zip(*map(astuple, created), strict=True)
        arrays = "unnest($1::uuid[], $2::bigint[]) AS incoming (deployment_id, sequence)"
        await (await driver_of(connection)).fetch(former_lives(_SCHEMA, arrays), ids, sequences)


class _HeadRow(TableRow, frozen=True):
    only_row: bool
    size: int
    frontier: bytes


async def _write_tree(connection: AsyncConnection, growth: TreeGrowth) -> None:
    head: TreeHead = growth.head
    await _copy(connection, TREE_NODES, growth.nodes)
    await _copy(
        connection, LOG_TREE, [_HeadRow(only_row=True, size=head.size, frontier=head.frontier)]
    )


async def _copy(connection: AsyncConnection, table: Table, rows: Sequence[TableRow]) -> None:
    if rows:
        await copy_rows(await driver_of(connection), table, rows, _SCHEMA)
