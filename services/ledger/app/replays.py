"""The copy of the log replayed: what processes of their own do, so that projecting goes on."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, aclosing
from dataclasses import dataclass, replace
from hashlib import sha256
from typing import Protocol

from fogbank.domain.errors import FailedPreconditionError, InvalidArgumentError
from fogbank.domain.rederived import RederivedPart, Span
from fogbank.domain.snapshots import Snapshot
from services.ledger.app.ports import CopyDamagedError
from services.ledger.app.progress import Progress
from services.ledger.app.readers import in_turn
from services.ledger.app.snapshots import Snapshots

# The log has it, and the tables will: how long to wait for that, in seconds.
_BEHIND_S = 10.0


class ReplayFailedError(FailedPreconditionError):
    """A commit that this release can't read, or whose kept bytes aren't those noted of them."""

    default_reason = "REPLAY_FAILED"


@dataclass(frozen=True, slots=True)
class KeptCommit:
    """A commit of the second copy; `digest` is what was noted of its bytes."""

    sequence: int
    service: str
    instance: str
    digest: bytes
    data: bytes


def intact(kept: KeptCommit) -> KeptCommit:
    """Return a commit of the copy.

    Raises:
        CopyDamagedError: its bytes are not those whose digest was noted.
    """
    if sha256(kept.data).digest() != kept.digest:
        raise CopyDamagedError(
            f"the ledger's copy of commit {kept.sequence} is damaged: its bytes are not those "
            "whose sha256 was noted"
        )
    return kept


class LogCopy(Protocol):
    """The second copy of the log, to those who read it again.

    All methods raise StoreUnavailableError when the database does not answer.
    """

    def commits(self, first: int, last: int) -> AsyncGenerator[Sequence[KeptCommit]]:
        """Yield the commits `first` to `last`, some at a time.

        Raises:
            CopyDamagedError: one of them isn't there.
        """

    async def rounds(self, first: int, last: int) -> int:
        """Return how many commits of schedulers lie between, both included."""


class RoundDeriver(Protocol):
    """Derives rounds again, elsewhere than in this process's event loop."""

    async def begin(self, span: Span, parts: AsyncGenerator[Snapshot]) -> Span:
        """Begin with the snapshot whose parts come, or before the log's first commit.

        Returns the span with what was begun with: a snapshot that can't be used isn't.
        """

    async def derive(self, commits: Sequence[KeptCommit]) -> RederivedPart:
        """Take in the next commits; ReplayFailedError if they can't be understood."""


class DecisionReplays:
    """Derives the rounds of any span of the log again; one caller after the other."""

    def __init__(
        self,
        copy: LogCopy,
        snapshots: Snapshots,
        derivers: Callable[[], AbstractAsyncContextManager[RoundDeriver]],
        progress: Progress,
    ) -> None:
        self._copy = copy
        self._snapshots = snapshots
        self._derivers = derivers
        self._progress = progress
        self._turn = asyncio.Lock()

    async def rederive(self, first: int, last: int) -> AsyncGenerator[RederivedPart]:
        """Derive the rounds that count from `first` (0: the start) to `last` (0: the end) again.

        Yields at once, and then after some commits each; those before `first` are only folded.

        Raises:
            InvalidArgumentError: there are no such commits.
            ReplayFailedError: one of them can't be read.
            CopyDamagedError: one of them is missing in the copy.
            StoreUnavailableError: the database does not answer.
            UnavailableError: the caller reads nothing, and others wait.
        """
        span = await span_of(self._progress, first, last)
        span = replace(span, rounds=await self._copy.rounds(span.first, span.last))
        yield RederivedPart(span, 0)
        async with aclosing(in_turn(self._turn, self._rederived(span))) as parts:
            async for part in parts:
                yield part

    async def _rederived(self, span: Span) -> AsyncGenerator[RederivedPart]:
        async with self._derivers() as deriver:
            async with aclosing(self._snapshots.newest(span.first - 1)) as parts:
                span = await deriver.begin(span, parts)
            async with aclosing(self._copy.commits(span.begun_after + 1, span.last)) as batches:
                async for batch in batches:
                    yield await deriver.derive(batch)


async def span_of(progress: Progress, first: int, last: int) -> Span:
    """Return the commits from `first` (0: the start) to `last` (0: the end), once they are copied.

    Raises:
        InvalidArgumentError: there are no such commits.
    """
    for name, sequence in (("from_sequence", first), ("to_sequence", last)):
        if sequence < 0:
            raise InvalidArgumentError.of_field(name, f"must not be negative, was {sequence}")
    end = progress.log_sequence
    if last > end:
        raise InvalidArgumentError.of_field(
            "to_sequence", f"must be at most {end}, the log's last sequence, was {last}"
        )
    await progress.reach(last, _BEHIND_S)
    span = Span(first or 1, last or progress.position)
    if span.first > max(span.last, 1):
        raise InvalidArgumentError.of_field(
            "from_sequence", f"must be at most {span.last}, the span's last sequence, was {first}"
        )
    return span
