"""The tree over the log in PostgreSQL."""

from __future__ import annotations

from collections.abc import Collection

from sqlalchemy import TextClause, select, text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from services.ledger.adapters.database import outages_named
from services.ledger.adapters.tables import LOG_TREE
from services.ledger.core.log_tree import Node, TreeHead

# Thousands at a time: as arrays, for one parameter each would take longer than all else.
_NODES: TextClause = text(
    "SELECT level, number, hash FROM public.tree_nodes JOIN "
    "unnest(CAST(:levels AS smallint[]), CAST(:numbers AS bigint[])) AS wanted (level, number) "
    "USING (level, number)"
)


async def read_head(connection: AsyncConnection) -> TreeHead:
    """Return how far the tree has grown."""
    row = (await connection.execute(select(LOG_TREE.c.size, LOG_TREE.c.frontier))).one()
    return TreeHead(row.size, row.frontier)


class PostgresTree:
    """`TreeReads`."""

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine

    async def head(self) -> TreeHead:
        async with outages_named(), self._engine.connect() as connection:
            return await read_head(connection)

    async def kept(self, nodes: Collection[Node]) -> dict[Node, bytes]:
        if not nodes:
            return {}
        levels, numbers = (list(column) for column in zip(*nodes, strict=True))
        values = {"levels": levels, "numbers": numbers}
        async with outages_named(), self._engine.connect() as connection:
            rows = (await connection.execute(_NODES, values)).all()
        return {(row.level, row.number): row.hash for row in rows}
