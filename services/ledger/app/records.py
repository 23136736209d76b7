"""The record of one thing: the commits that touch it, by the index that is kept beside the copy."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Collection, Sequence
from dataclasses import dataclass
from typing import Protocol

from fogbank.domain.errors import InvalidArgumentError
from services.ledger.app.progress import Progress
from services.ledger.app.replays import KeptCommit
from services.ledger.core.touched import ThingKind

# The log has it, and the tables will: how long to wait for that, in seconds.
_BEHIND_S = 10.0


@dataclass(frozen=True, slots=True)
class Touched:
    """A commit, the indexes of its events that touch a thing, and which of these are void."""

    commit: KeptCommit
    indexes: tuple[int, ...]
    void: frozenset[int] = frozenset()


class RecordIndex(Protocol):
    """The second copy of the log by things; StoreUnavailableError when it does not answer."""

    def touching(
        self, kinds: Collection[ThingKind], id_: str, after: int, upto: int
    ) -> AsyncGenerator[Touched]:
        """Yield the commits after a sequence up to another that touch a thing, in order.

        One with many such events may come in parts.

        Raises:
            CopyDamagedError: one of them isn't there, or isn't as it was.
        """

    def counting(
        self, kind: ThingKind, ids: Collection[str], upto: int, *, last: bool = False
    ) -> AsyncGenerator[Sequence[Touched]]:
        """Yield the commits up to a sequence that touch any of some things, in order, in parts.

        Only events that count are named; of each thing only the `last` one if wanted so.

        Raises:
            CopyDamagedError: one of them isn't there.
        """


class Records:
    """Answers what the log says of one thing."""

    def __init__(self, index: RecordIndex, progress: Progress) -> None:
        self._index = index
        self._progress = progress

    async def of(self, kind: ThingKind, id_: str, after: int, upto: int) -> AsyncGenerator[Touched]:
        """Yield a thing's commits after a sequence up to another, once the tables are there.

        Raises:
            InvalidArgumentError: the log has no such sequence.
            DeadlineExceededError: the tables are too far behind.
            CopyDamagedError, StoreUnavailableError: as the index does.
        """
        end = self._progress.log_sequence
        if not 0 <= after <= upto <= end:
            raise InvalidArgumentError.of_field(
                "after_sequence", f"must lie between 0 and {upto}, that at most at {end}"
            )
        await self._progress.reach(upto, _BEHIND_S)
        kinds = (kind, ThingKind.LOAD) if kind is ThingKind.NODE else (kind,)
        async for touched in self._index.touching(kinds, id_, after, upto):
            yield touched
