"""What another policy would have done in a span of the log: replayed in processes of their own."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, aclosing
from typing import Protocol

from fogbank.domain.comparison import ComparedPart
from fogbank.domain.policy import Policy
from fogbank.domain.rederived import Span
from fogbank.domain.snapshots import Snapshot
from services.ledger.app.progress import Progress
from services.ledger.app.readers import in_turn
from services.ledger.app.replays import KeptCommit, LogCopy, span_of
from services.ledger.app.snapshots import Snapshots


class RoundComparer(Protocol):
    """Decides rounds by another policy, elsewhere than in this process's event loop."""

    async def begin_comparison(
        self, span: Span, policy: Policy, parts: AsyncGenerator[Snapshot]
    ) -> Span:
        """Begin with the snapshot whose parts come, or before the log's first commit.

        Returns the span with what was begun with: a snapshot that can't be used isn't.
        """

    async def compare(self, commits: Sequence[KeptCommit]) -> ComparedPart:
        """Take in the next commits; ReplayFailedError if they can't be understood."""


class Comparisons:
    """Compares the log's decisions with those of other policies; one caller after the other."""

    def __init__(
        self,
        copy: LogCopy,
        snapshots: Snapshots,
        comparers: Callable[[], AbstractAsyncContextManager[RoundComparer]],
        progress: Progress,
    ) -> None:
        self._copy = copy
        self._snapshots = snapshots
        self._comparers = comparers
        self._progress = progress
        self._turn = asyncio.Lock()

    async def compare(self, policy: Policy, first: int, last: int) -> AsyncGenerator[ComparedPart]:
        """Decide the commits from `first` (0: the start) to `last` (0: the end) by a policy.

        Yields at once, and then after some commits each; those before `first` are only folded.

        Raises:
            InvalidArgumentError: there are no such commits.
            ReplayFailedError: one of them can't be read.
            CopyDamagedError: one of them is missing in the copy.
            StoreUnavailableError: the database does not answer.
            UnavailableError: the caller reads nothing, and others wait.
        """
        span = await span_of(self._progress, first, last)
        yield ComparedPart(span, 0)
        async with aclosing(in_turn(self._turn, self._compared(span, policy))) as parts:
            async for part in parts:
                yield part

    async def _compared(self, span: Span, policy: Policy) -> AsyncGenerator[ComparedPart]:
        async with self._comparers() as comparer:
            async with aclosing(self._snapshots.newest(span.first - 1)) as parts:
                span = await comparer.begin_comparison(span, policy, parts)
            async with aclosing(self._copy.commits(span.begun_after + 1, span.last)) as batches:
                async for batch in batches:
                    yield await comparer.compare(batch)
