"""The projection built anew beside the one that answers, and put in its place in one transaction.

Folds the copy of the log from its first commit into tables of its own; whoever reads or projects
goes on. At the end the projection waits for a moment: what came since is folded, and rows that
differ are exchanged. One that was ended before that leaves nothing behind that counts.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager, aclosing
from dataclasses import dataclass
from hashlib import sha256
from typing import Protocol

from fogbank.codec import decode_commit
from fogbank.runtime.ahead import taken_ahead
from fogbank.runtime.alongside import Alongside, alongside
from fogbank.runtime.garbage import keeping_all
from fogbank.runtime.operator_error import OperatorError
from services.ledger.app.ports import Checkpoint, CopyDamagedError
from services.ledger.app.replays import KeptCommit, LogCopy
from services.ledger.core.log_tree import LogTree, TreeGrowth
from services.ledger.core.projection import Projection, TableChanges

# What happened is written at so many rows, while more is folded; the rest is written in the end.
_ROWS_AT_ONCE = 50_000
# Batches of commits that may wait for their fold.
_AHEAD = 1

# Gets what is being done, how far it is and how far it goes.
Tell = Callable[[str, int, int], None]


class RebuildUnderWayError(OperatorError):
    """Somebody else rebuilds already."""


@dataclass(frozen=True, slots=True)
class Rebuilt:
    """What came of it: the position of both, and how many rows the tables had wrong, by table."""

    position: int
    differed: dict[str, int]


class Exchange(Protocol):
    """The moment in which nobody projects."""

    @property
    def checkpoint(self) -> Checkpoint:
        """How far the tables are that answer."""

    async def finish(self, changes: TableChanges, growth: TreeGrowth) -> dict[str, int]:
        """Write the last rows, exchange those that differ; return how many, by table."""


class Beside(Protocol):
    """Tables like those that answer. StoreUnavailableError when the database does not answer."""

    async def begin(self) -> Checkpoint:
        """Make them, empty, in the place of any that were left; return how far the others are.

        Raises:
            RebuildUnderWayError: somebody else rebuilds already.
        """

    async def add(self, changes: TableChanges) -> None:
        """Write what happened and rows that are not there yet."""

    def exchange(self) -> AbstractAsyncContextManager[Exchange]:
        """Hold up the projection; what `finish` did counts if the context ends well."""


class Rebuild:
    """Builds the tables again from the copy of the log."""

    def __init__(self, copy: LogCopy, beside: Beside, tell: Tell) -> None:
        self._copy = copy
        self._beside = beside
        self._tell = tell
        self._projection = Projection()
        self._projection.fleet.far_behind = True
        self._tree = LogTree()

    async def run(self) -> Rebuilt:
        """Do it.

        Raises:
            RebuildUnderWayError: somebody else rebuilds already.
            CopyDamagedError: a commit of the copy is gone, or not what was noted of it.
            CodecError: this release can't read a commit.
            StoreUnavailableError: no answer; begin again.
        """
        checkpoint = await self._beside.begin()
        async with alongside() as writing:
            await self._fold(checkpoint.position, writing)
            await writing.end()
            await self._beside.add(self._projection.take())
        async with self._beside.exchange() as exchange:
            position = exchange.checkpoint.position
            await self._fold(position)
            self._tell("exchanging", position, position)
            differed = await exchange.finish(self._projection.take_whole(), self._tree.grown())
        return Rebuilt(position, differed)

    async def _fold(self, upto: int, writing: Alongside | None = None) -> None:
        first = self._projection.position + 1
        async with aclosing(taken_ahead(self._copy.commits(first, upto), _AHEAD)) as batches:
            async for batch in batches:
                with keeping_all():
                    for kept in batch:
                        self._take(kept)
                self._tell("folding", self._projection.position, upto)
                if writing is not None and self._projection.happened >= _ROWS_AT_ONCE:
                    await writing.end()
                    writing.begin(self._beside.add(self._projection.take_happened()))

    def _take(self, kept: KeptCommit) -> None:
        if sha256(kept.data).digest() != kept.digest:
            raise CopyDamagedError(
                f"the ledger's copy of commit {kept.sequence} is not what was noted of it; "
                "`fog audit restore` mends it"
            )
        self._projection.fold(decode_commit(kept.sequence, kept.service, kept.instance, kept.data))
        self._tree.take(kept.service, kept.instance, kept.digest)
