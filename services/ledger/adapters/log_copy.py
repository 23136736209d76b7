"""The second copy of the log, read again from PostgreSQL."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Collection, Iterator, Sequence
from typing import Any

from sqlalchemy import Row, func, select, text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from fogbank.domain.envelope import SCHEDULER
from fogbank.domain.position import INDEX_BITS, index_of, pack, sequence_of
from services.ledger.adapters.database import outages_named
from services.ledger.adapters.tables import COMMITS
from services.ledger.app.ports import CopyDamagedError
from services.ledger.app.records import Touched
from services.ledger.app.replays import KeptCommit, intact
from services.ledger.core.touched import ThingKind, TouchRow, is_id

# A commit may be half a MiB.
_AT_ONCE = 50
# What becomes one message to another process stays below some MiB.
_BYTES_AT_ONCE = 4 * 1024 * 1024
# Most commits are small, and each part is two statements and a message; a statement bears so many
# parameters.
_PART_COMMITS = 1_000

_C = COMMITS.c
# Positions as `fogbank.domain.position` packs them.
_COMMITS_TOUCHED = (
    "SELECT touched.sequence, touched.positions, coalesce(octet_length(c.data), 0) AS size FROM ("
    "SELECT position >> :bits AS sequence, array_agg(DISTINCT position) AS positions "
    "FROM {positions} GROUP BY 1) AS touched "
    "LEFT JOIN public.commits AS c USING (sequence) ORDER BY touched.sequence"
)
_COUNTING = text(
    _COMMITS_TOUCHED.format(
        positions="public.touches WHERE kind = :kind AND id = ANY(CAST(:ids AS uuid[])) "
        "AND position < :before AND counts"
    )
).bindparams(bits=INDEX_BITS)
_LAST_COUNTING = text(
    _COMMITS_TOUCHED.format(
        positions="unnest(CAST(:ids AS uuid[])) AS wanted (id) CROSS JOIN LATERAL ("
        "SELECT t.position FROM public.touches AS t WHERE t.kind = :kind AND t.id = wanted.id "
        "AND t.position < :before AND t.counts ORDER BY t.position DESC LIMIT 1) AS found"
    )
).bindparams(bits=INDEX_BITS)
# Rows that say themselves by which event of their commit a thing was touched.
_TOUCHED_ROWS = " UNION ALL ".join(
    f"(SELECT h.sequence << :bits | h.touched, true, NULL::json FROM public.{table} AS h "  # noqa: S608 (our own names)
    f"WHERE wanted.kind = {int(kind)} AND h.{id_} = CAST(:id AS uuid) AND h.touched IS NOT NULL "
    "AND h.sequence >= CAST(:first AS bigint) >> :bits "
    "AND h.sequence < CAST(:before AS bigint) >> :bits ORDER BY h.sequence LIMIT :most)"
    for kind, table, id_ in (
        (ThingKind.DEPLOYMENT, "deployment_status_history", "deployment_id"),
        (ThingKind.NODE, "node_use_history", "node_id"),
    )
)
_TOUCHING = text(
    "SELECT kind, found.* FROM unnest(CAST(:kinds AS smallint[])) AS wanted (kind) "  # noqa: S608 (our own names)
    "CROSS JOIN LATERAL ((SELECT t.position, t.counts, t.more FROM public.commit_touches AS t "
    "WHERE t.kind = wanted.kind AND t.id = CAST(:id AS uuid) "
    "AND t.position >= CAST(:first AS bigint) AND t.position < CAST(:before AS bigint) "
    f"ORDER BY t.position LIMIT :most) UNION ALL {_TOUCHED_ROWS}) AS found "
    "ORDER BY found.position LIMIT :most"
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
        self, kinds: Collection[ThingKind], id_: str, after: int, upto: int
    ) -> AsyncGenerator[Touched]:
        """Yield the commits that touch a thing, from after a sequence up to another, in order.

        Raises:
            CopyDamagedError: one of them isn't there, or isn't as it was.
            StoreUnavailableError: no answer.
        """
        if not is_id(id_):
            return
        position = pack(after + 1, 0)
        wanted = {
            "kinds": [int(kind) for kind in kinds],
            "id": id_,
            "before": pack(upto + 1, 0),
            "most": _AT_ONCE,
        }
        while True:
            values = wanted | {"first": position}
            async with outages_named(), self._engine.connect() as connection:
                found = (await connection.execute(_TOUCHING, values)).all()
                indexes: dict[int, set[int]] = {}
                void: dict[int, set[int]] = {}
                for row in found:
                    sequence = sequence_of(row.position)
                    touch = TouchRow(row.kind, id_, row.position, row.counts, row.more)
                    of_commit = indexes.setdefault(sequence, set())
                    for index, counts in touch.events:
                        of_commit.add(index)
                        if not counts:
                            void.setdefault(sequence, set()).add(index)
                if len(found) == _AT_ONCE:
                    # Of the last commit there may be more rows, one for each kind.
                    last, _ = indexes.popitem()
                    position = pack(last, 0)
                kept = await _named(connection, indexes.keys())
            for commit in kept:
                of_commit = indexes[commit.sequence]
                without_effect = frozenset(void.get(commit.sequence, ()))
                yield Touched(intact(commit), tuple(sorted(of_commit)), without_effect)
            if len(found) < _AT_ONCE:
                return

    async def counting(
        self, kind: ThingKind, ids: Collection[str], upto: int, *, last: bool = False
    ) -> AsyncGenerator[Sequence[Touched]]:
        """Yield the commits up to a sequence that touch any of some things, in order, in parts.

        Only events that count are named; of each thing only the `last` one if wanted so. A part
        has some MiB, or one commit.

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
            query = _LAST_COUNTING if last else _COUNTING
            found = (await connection.execute(query, values)).all()
        for part in _parts(found):
            indexes = {row.sequence: tuple(map(index_of, row.positions)) for row in part}
            async with outages_named(), self._engine.connect() as connection:
                kept = await _named(connection, indexes.keys())
            yield [Touched(commit, indexes[commit.sequence]) for commit in kept]

    async def rounds(self, first: int, last: int) -> int:
        """Return how many commits of schedulers lie between, both included.

        Raises:
            StoreUnavailableError: no answer.
        """
        between = _C.sequence.between(first, last) & (_C.service == SCHEDULER)
        query = select(func.count()).select_from(COMMITS).where(between)
        async with outages_named(), self._engine.connect() as connection:
            return int((await connection.execute(query)).scalar_one())


async def _named(connection: AsyncConnection, sequences: Collection[int]) -> list[KeptCommit]:
    """Return the commits of these sequences, in order; CopyDamagedError if one isn't there."""
    query = _KEPT.where(_C.sequence.in_(sequences))
    kept = [KeptCommit(*row) for row in await connection.execute(query)]
    if missing := set(sequences) - {commit.sequence for commit in kept}:
        raise _gone(min(missing))
    return kept


def _parts(found: Sequence[Row[Any]]) -> Iterator[list[Row[Any]]]:
    """Yield what `_COUNTING` found in parts of so many commits and bytes, at least one each."""
    part: list[Row[Any]] = []
    size = 0
    for row in found:
        size += row.size
        if part and (len(part) == _PART_COMMITS or size > _BYTES_AT_ONCE):
            yield part
            part, size = [], row.size
        part.append(row)
    if part:
        yield part


def _gone(sequence: int) -> CopyDamagedError:
    return CopyDamagedError(
        f"the ledger's copy of commit {sequence} is gone from the table `commits`"
    )
