"""The second copy of the log, read again from PostgreSQL."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Collection, Sequence

from sqlalchemy import func, select, text
from sqlalchemy.ext.asyncio import AsyncEngine

from fogbank.domain.envelope import SCHEDULER
from fogbank.domain.position import INDEX_BITS, index_of, pack, sequence_of
from services.ledger.adapters.database import outages_named
from services.ledger.adapters.tables import COMMITS, TOUCHES
from services.ledger.app.ports import CopyDamagedError
from services.ledger.app.records import Touched
from services.ledger.app.replays import KeptCommit
from services.ledger.core.touched import ThingKind, is_id

# A commit may be half a MiB.
_AT_ONCE = 50

_C, _T = COMMITS.c, TOUCHES.c
# Positions as `fogbank.domain.position` packs them.
_COUNTING = text(
    "SELECT touched.sequence, touched.positions, c.service, c.instance, c.digest, c.data FROM ("
    "SELECT position >> :bits AS sequence, array_agg(DISTINCT position) AS positions "
    "FROM public.touches WHERE kind = :kind AND id = ANY(CAST(:ids AS uuid[])) "
    "AND position < :before AND counts GROUP BY 1) AS touched "
    "LEFT JOIN public.commits AS c USING (sequence) ORDER BY touched.sequence"
).bindparams(bits=INDEX_BITS)
_KEPT = select(_C.sequence, _C.service, _C.instance, _C.digest, _C.data).order_by(_C.sequence)


class PostgresLogCopy:
    """A `LogCopy`, `CopyReads` and a `RecordIndex`.

    Each batch is a query of its own, so that no connection is held for long.
    """

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine

    async def commits(self, first: int, last: int) -> AsyncGenerator[Sequence[KeptCommit]]:
        """Yield the commits `first` to `last`, some at a time.

        Raises:
            CopyDamagedError: one of them isn't there.
            StoreUnavailableError: no answer.
        """
        while first <= last:
            upto = min(last, first + _AT_ONCE - 1)
            kept = await self.kept(first, upto)
            for expected, commit in enumerate(kept, first):
                if commit.sequence != expected:
                    raise _gone(expected)
            if len(kept) <= upto - first:
                raise _gone(first + len(kept))
            yield kept
            first = upto + 1

    async def kept(self, first: int, last: int) -> Sequence[KeptCommit]:
        """Return those of the commits `first` to `last` that are there, in order, at once.

        Raises:
            StoreUnavailableError: no answer.
        """
        query = _KEPT.where(_C.sequence.between(first, last))
        async with outages_named(), self._engine.connect() as connection:
            return [KeptCommit(*row) for row in await connection.execute(query)]

    async def touching(
        self, kind: ThingKind, id_: str, after: int, upto: int
    ) -> AsyncGenerator[Touched]:
        """Yield the commits that touch a thing, from after a sequence up to another, in order.

        Raises:
            CopyDamagedError: one of them isn't there.
            StoreUnavailableError: no answer.
        """
        if not is_id(id_):
            return
        position, last = pack(after + 1, 0), pack(upto + 1, 0)
        wanted = (_T.kind == int(kind)) & (_T.id == id_) & (_T.position < last)
        while True:
            places = (
                select(_T.position)
                .where(wanted & (_T.position >= position))
                .order_by(_T.position)
                .limit(_AT_ONCE)
            )
            async with outages_named(), self._engine.connect() as connection:
                found = list((await connection.execute(places)).scalars())
                sequences = {sequence_of(each) for each in found}
                query = _KEPT.where(_C.sequence.in_(sequences))
                rows = (await connection.execute(query)).all() if found else []
            if missing := sequences - {row.sequence for row in rows}:
                raise _gone(min(missing))
            for row in rows:
                indexes = tuple(
                    index_of(each) for each in found if sequence_of(each) == row.sequence
                )
                yield Touched(KeptCommit(*row), indexes)
            if len(found) < _AT_ONCE:
                return
            position = found[-1] + 1

    async def counting(self, kind: ThingKind, ids: Collection[str], upto: int) -> list[Touched]:
        """Return the commits up to a sequence that touch any of some things, in order and at once.

        Only events that count are named.

        Raises:
            CopyDamagedError: one of them isn't there.
            StoreUnavailableError: no answer.
        """
        values = {
            "kind": int(kind),
            "ids": [id_ for id_ in ids if is_id(id_)],
            "before": pack(upto + 1, 0),
        }
        async with outages_named(), self._engine.connect() as connection:
            rows = (await connection.execute(_COUNTING, values)).all()
        for row in rows:
            if row.data is None:
                raise _gone(row.sequence)
        return [
            Touched(
                KeptCommit(row.sequence, row.service, row.instance, row.digest, row.data),
                tuple([index_of(position) for position in row.positions]),
            )
            for row in rows
        ]

    async def rounds(self, first: int, last: int) -> int:
        """Return how many commits of schedulers lie between, both included.

        Raises:
            StoreUnavailableError: no answer.
        """
        between = _C.sequence.between(first, last) & (_C.service == SCHEDULER)
        query = select(func.count()).select_from(COMMITS).where(between)
        async with outages_named(), self._engine.connect() as connection:
            return int((await connection.execute(query)).scalar_one())


def _gone(sequence: int) -> CopyDamagedError:
    return CopyDamagedError(
        f"the ledger's copy of commit {sequence} is gone from the table `commits`"
    )
