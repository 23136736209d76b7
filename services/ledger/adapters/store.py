"""The tables, to their one writer: a batch is one transaction of set-wise upserts."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any, NamedTuple

from sqlalchemy import TextClause, select, text
from sqlalchemy.dialects import postgresql
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine
from sqlalchemy.sql.schema import Column, Table

from fogbank.runtime.crash_points import crash_point
from services.ledger.adapters.database import LOCK_QUERY, at, outages_named
from services.ledger.adapters.kept_copy import read_kept_copy
from services.ledger.adapters.tables import (
    CHECKPOINT,
    COMMITS,
    DEPLOYMENTS,
    HISTORY,
    NODES,
    REPLICAS,
    RESOURCES,
)
from services.ledger.app.ports import Checkpoint, KeptCopy, RivalLedgerError
from services.ledger.core.projection import TableChanges
from services.ledger.core.rows import (
    ChangeRow,
    CommitRow,
    DeploymentRow,
    NodeRow,
    ReplicaRow,
    ResourcesRow,
)

_INSTANT_SUFFIX = "_us"
_DIALECT = postgresql.dialect()  # type: ignore[no-untyped-call]


class Upsert:
    """Writes rows of one kind: all in one statement, column by column as arrays."""

    def __init__(self, table: Table, row: type[NamedTuple], *, replace: bool) -> None:
        names = [field.removesuffix(_INSTANT_SUFFIX) for field in row._fields]
        self._instants = [field.endswith(_INSTANT_SUFFIX) for field in row._fields]
        self._parameters = [f"c{number}" for number in range(len(names))]
        arrays = ", ".join(
            f"CAST(:{parameter} AS {_sql_type(table.c[name])}[])"
            for parameter, name in zip(self._parameters, names, strict=True)
        )
        keys = [column.name for column in table.primary_key]
        assigned = ", ".join(f"{name} = EXCLUDED.{name}" for name in names if name not in keys)
        conflict = f"ON CONFLICT ({', '.join(keys)}) DO UPDATE SET {assigned}" if replace else ""
        self._statement = text(
            f"INSERT INTO public.{table.name} ({', '.join(names)}) "  # noqa: S608 (our own names)
            f"SELECT * FROM unnest({arrays}) {conflict}"
        )

    async def write(self, connection: AsyncConnection, rows: Sequence[NamedTuple]) -> None:
        """Write the rows; none of them may have the same key."""
        if rows:
            columns = zip(*rows, strict=True)
            values = {
                parameter: _instants(column) if is_instant else column
                for parameter, column, is_instant in zip(
                    self._parameters, columns, self._instants, strict=True
                )
            }
            await connection.execute(self._statement, values)


def _sql_type(column: Column[Any]) -> str:
    return column.type.compile(dialect=_DIALECT)


def _instants(column: Iterable[int | None]) -> list[datetime | None]:
    return [at(instant) if instant is not None else None for instant in column]


_COMMITS = Upsert(COMMITS, CommitRow, replace=False)
_NODES = Upsert(NODES, NodeRow, replace=True)
_DEPLOYMENTS = Upsert(DEPLOYMENTS, DeploymentRow, replace=True)
_RESOURCES = Upsert(RESOURCES, ResourcesRow, replace=True)
_REPLICAS = Upsert(REPLICAS, ReplicaRow, replace=True)
_HISTORY = Upsert(HISTORY, ChangeRow, replace=True)

_ADVANCE: TextClause = text(
    "UPDATE public.checkpoint SET position = :position, digest = :digest "
    "WHERE position = :former_position AND digest = :former_digest"
)
_DELETE_REPLICAS = text(
    "DELETE FROM public.deployment_replicas WHERE id = ANY(CAST(:ids AS uuid[]))"
)


class PostgresStore:
    """A `LedgerStore` in PostgreSQL. `engine` needs two connections for it."""

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine
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

    async def write(
        self, former: Checkpoint, commits: Sequence[CommitRow], changes: TableChanges
    ) -> Checkpoint:
        reached = Checkpoint(commits[-1].sequence, commits[-1].digest)
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
                raise RivalLedgerError(
                    f"the checkpoint is no longer at {former.position}: another ledger writes to "
                    "this database"
                )
            crash_point("ledger.after-checkpoint")
            await _COMMITS.write(connection, commits)
            crash_point("ledger.after-copy")
            await self._write_changes(connection, changes)
            crash_point("ledger.before-commit")
        crash_point("ledger.after-commit")
        return reached

    async def _write_changes(self, connection: AsyncConnection, changes: TableChanges) -> None:
        await _NODES.write(connection, changes.nodes)
        await _DEPLOYMENTS.write(connection, changes.deployments)
        await _RESOURCES.write(connection, changes.resources)
        if changes.gone_replicas:
            await connection.execute(_DELETE_REPLICAS, {"ids": changes.gone_replicas})
        await _REPLICAS.write(connection, changes.replicas)
        await _HISTORY.write(connection, changes.changes)

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
