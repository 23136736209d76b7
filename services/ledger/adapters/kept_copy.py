"""The second copy of the log, as the tables hold it: is its end sound?"""

from __future__ import annotations

from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncConnection

from services.ledger.adapters.tables import CHECKPOINT, COMMITS
from services.ledger.app.ports import CopyDamagedError, KeptCopy

_SHOWN = 12  # hexadecimal digits of a digest in a message

_C = COMMITS.c
# Sequences have no gaps, so that counting needs no scan. The digest is that of the bytes as they
# are now, which the database computes: a commit may be half a MiB.
_KEPT = select(
    func.coalesce(
        select(func.max(_C.sequence) - func.min(_C.sequence) + 1).scalar_subquery(), 0
    ).label("commits"),
    CHECKPOINT.c.position,
    CHECKPOINT.c.digest.label("noted"),
    _C.digest.label("kept"),
    func.sha256(_C.data).label("computed"),
).select_from(CHECKPOINT.outerjoin(COMMITS, _C.sequence == CHECKPOINT.c.position))


async def read_kept_copy(connection: AsyncConnection) -> KeptCopy:
    """Return how far the copy goes, after a look at its last commit.

    Raises:
        CopyDamagedError: that commit isn't there, or its bytes contradict what was noted of them.
    """
    row = (await connection.execute(_KEPT)).one()
    if row.position == 0:
        return KeptCopy(row.commits)
    if row.computed is None:
        raise CopyDamagedError(
            f"the ledger's copy of commit {row.position}, its last one, is gone from the table "
            "`commits`"
        )
    if not row.computed == row.kept == row.noted:
        raise CopyDamagedError(
            f"the ledger's copy of commit {row.position} is damaged: its bytes have sha256 "
            f"{_short(row.computed)}, noted were {_short(row.kept)} with it and "
            f"{_short(row.noted)} in the checkpoint"
        )
    return KeptCopy(row.commits, row.position, row.computed)


def _short(digest: bytes) -> str:
    return digest.hex()[:_SHOWN]
