"""Snapshots in PostgreSQL: compressed blocks of pieces; so many are kept, over the whole log."""

from __future__ import annotations

import asyncio
import zlib
from collections.abc import AsyncGenerator, Sequence

import msgspec
from sqlalchemy import delete, func, insert, select
from sqlalchemy.ext.asyncio import AsyncEngine

from fogbank.domain.snapshots import Snapshot
from fogbank.domain.states import DeploymentStatus
from services.ledger.adapters.database import outages_named
from services.ledger.adapters.tables import (
    CHECKPOINT,
    COMMITS,
    DEPLOYMENTS,
    SNAPSHOT_BLOCKS,
    SNAPSHOTS,
)
from services.ledger.app.snapshots import Standing
from services.ledger.core.log_times import STRIDE
from services.ledger.core.projection import Status
from services.ledger.core.snapshot_keeping import to_drop

KEPT = 48
_BLOCK_BYTES = 1024 * 1024
_LEVEL = 1  # a sixteenth of the size already; higher ones take several times as long

_ROWS_AT_ONCE = 5_000
_STATUSES = {int(status): status for status in DeploymentStatus}

_S, _B, _D = SNAPSHOTS.c, SNAPSHOT_BLOCKS.c, DEPLOYMENTS.c

# Log time is the latest instant at which anything up to there was appended.
_APPENDED = select(
    COMMITS.c.sequence,
    func.max(COMMITS.c.appended_at).over(order_by=COMMITS.c.sequence).label("log_time"),
).subquery()
_LOG_TIMES = (
    select(_APPENDED.c.log_time)
    .where(_APPENDED.c.sequence % STRIDE == 0)
    .order_by(_APPENDED.c.sequence)
)


class PostgresSnapshots:
    """Writes and reads snapshots; `engine` needs one connection for either."""

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine

    async def write(self, snapshot: Snapshot) -> None:
        """Keep a snapshot, and drop others as `core.snapshot_keeping` says.

        Raises:
            StoreUnavailableError: not confirmed; it may be there.
        """
        async with outages_named(), self._engine.begin() as connection:
            await connection.execute(delete(SNAPSHOTS).where(_S.position == snapshot.position))
            await connection.execute(
                insert(SNAPSHOTS).values(
                    position=snapshot.position,
                    engine=snapshot.engine,
                    structure=snapshot.structure,
                    digest=snapshot.digest,
                )
            )
            for number, block in enumerate(blocks_of(snapshot.pieces)):
                # In a thread: the loop has other things to do meanwhile, and zlib lets it.
                data = await asyncio.to_thread(compressed, block)
                row = {"position": snapshot.position, "number": number, "data": data}
                await connection.execute(insert(SNAPSHOT_BLOCKS).values(row))
            positions = (await connection.scalars(select(_S.position))).all()
            dropped = to_drop(positions, KEPT)
            if dropped:
                await connection.execute(delete(SNAPSHOTS).where(_S.position.in_(dropped)))

    async def newest(self, upto: int | None = None) -> AsyncGenerator[Snapshot]:
        """Yield the newest snapshot in parts, each with some of its pieces; nothing without one.

        With `upto` the newest at that position or before.

        Raises:
            StoreUnavailableError: no answer.
        """
        async with outages_named(), self._engine.connect() as connection:
            await connection.execution_options(isolation_level="REPEATABLE READ")
            query = select(SNAPSHOTS).order_by(_S.position.desc()).limit(1)
            if upto is not None:
                query = query.where(_S.position <= upto)
            found = (await connection.execute(query)).one_or_none()
            if found is None:
                return
            blocks = select(_B.data).where(_B.position == found.position).order_by(_B.number)
            async for row in await connection.stream_scalars(blocks):
                pieces = await asyncio.to_thread(pieces_of, row)
                yield Snapshot(found.position, found.engine, found.structure, found.digest, pieces)

    async def standing(self) -> Standing:
        """Return where the tables are, all as of one instant.

        Raises:
            StoreUnavailableError: no answer.
        """
        rows = select(_D.id, _D.exact_status, _D.updated_at)
        async with outages_named(), self._engine.connect() as connection:
            await connection.execution_options(isolation_level="REPEATABLE READ")
            position: int = (await connection.execute(select(CHECKPOINT.c.position))).scalar_one()
            statuses: dict[str, Status] = {}
            async for found in (await connection.stream(rows)).partitions(_ROWS_AT_ONCE):
                for deployment_id, status, updated_at_us in found:
                    statuses[deployment_id] = Status(_STATUSES[status], updated_at_us)
            log_times_us: list[int] = []
            async for found in (await connection.stream(_LOG_TIMES)).partitions(_ROWS_AT_ONCE):
                log_times_us += [row.log_time for row in found]
            return Standing(position, statuses, log_times_us)


def blocks_of(pieces: Sequence[bytes]) -> list[list[bytes]]:
    """Return pieces in blocks of about a MiB."""
    blocks: list[list[bytes]] = [[]]
    size = 0
    for piece in pieces:
        if size > _BLOCK_BYTES:
            blocks.append([])
            size = 0
        blocks[-1].append(piece)
        size += len(piece)
    return blocks


def compressed(block: Sequence[bytes]) -> bytes:
    """Return a block as it is stored."""
    return zlib.compress(msgspec.msgpack.encode(block), _LEVEL)


def pieces_of(data: bytes) -> tuple[bytes, ...]:
    """Return a block's pieces; none if it is damaged, which the digest will tell."""
    try:
        return msgspec.msgpack.decode(zlib.decompress(data), type=tuple[bytes, ...])
    except (zlib.error, msgspec.MsgspecError):
        return ()
