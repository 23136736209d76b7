"""The second copy of the log in PostgreSQL, to whoever restores: what is there, and mended."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import TextClause, select, text
from sqlalchemy.exc import ProgrammingError
from sqlalchemy.ext.asyncio import AsyncEngine

from fogbank.log.follower import decode
from fogbank.log.port import StoredCommit
from fogbank.runtime.operator_error import OperatorError
from services.ledger.adapters.database import outages_named
from services.ledger.adapters.tables import CHECKPOINT, COMMITS
from services.ledger.adapters.tree_store import read_head
from services.ledger.app.ports import Checkpoint
from services.ledger.app.replays import KeptCommit
from services.ledger.core.log_tree import TreeHead
from services.ledger.core.making import bounded

_C = COMMITS.c
_MEND: TextClause = text(
    "INSERT INTO public.commits (sequence, service, instance, appended_at, digest, data) "
    "VALUES (:sequence, :service, :instance, :appended_at, :digest, :data) "
    "ON CONFLICT (sequence) DO UPDATE SET service = excluded.service, "
    "instance = excluded.instance, appended_at = excluded.appended_at, "
    "digest = excluded.digest, data = excluded.data"
)


class RestorableCopy:
    """A `Copy`."""

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine

    async def checkpoint(self) -> Checkpoint:
        """Return how far it goes.

        Raises:
            OperatorError: no ledger ever wrote to this database.
        """
        query = select(CHECKPOINT.c.position, CHECKPOINT.c.digest)
        try:
            async with outages_named(), self._engine.connect() as connection:
                found = (await connection.execute(query)).one()
        except ProgrammingError as error:
            raise OperatorError(
                "the database has no copy of the log: DATABASE_URL must be the ledger's"
            ) from error
        return Checkpoint(found.position, found.digest)

    async def tree(self) -> TreeHead:
        async with outages_named(), self._engine.connect() as connection:
            return await read_head(connection)

    async def commits(self, first: int, last: int) -> Sequence[KeptCommit]:
        columns = select(_C.sequence, _C.service, _C.instance, _C.digest, _C.data)
        query = columns.where(_C.sequence.between(first, last)).order_by(_C.sequence)
        async with outages_named(), self._engine.connect() as connection:
            return [KeptCommit(*row) for row in await connection.execute(query)]

    async def mend(self, commits: Sequence[StoredCommit]) -> None:
        rows = [
            {
                "sequence": commit.sequence,
                "service": commit.writer.service,
                "instance": commit.writer.instance,
                "appended_at": bounded(decode(commit).appended_at_us),
                "digest": commit.digest,
                "data": commit.data,
            }
            for commit in commits
        ]
        async with outages_named(), self._engine.begin() as connection:
            await connection.execute(_MEND, rows)
