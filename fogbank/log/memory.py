"""The log in memory: for tests and for trying things out. Nothing survives the process."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable
from time import time_ns

from fogbank.log.guard import Guard
from fogbank.log.port import (
    MAX_BATCH_BYTES,
    MAX_BATCH_COMMITS,
    MAX_COMMIT_BYTES,
    CommitTooLargeError,
    LogClosedError,
    LogRewoundError,
    LogUnavailableError,
    StaleAppendError,
    StoredCommit,
    Writer,
)


def _wall_clock_us() -> int:
    return time_ns() // 1_000


class MemoryStore:
    """What several `MemoryLog`s share: the commits, and the faults a test wants.

    `available = False` refuses everything, as a broker that is down; `closed` is why the operator
    closed the log, empty while it is open. `lose_acks = n` stores the
    next n appends but doesn't confirm them; `lose_appends = n` loses them on their way there.
    """

    def __init__(self, clock_us: Callable[[], int] = _wall_clock_us) -> None:
        self.commits: list[StoredCommit] = []
        self.clock_us = clock_us
        self.available = True
        self.closed = ""
        self.lose_acks = 0
        self.lose_appends = 0
        self._grown = asyncio.Event()

    def add(self, writer: Writer, data: bytes) -> int:
        """Store a commit, wake the readers, return its sequence."""
        sequence = len(self.commits) + 1
        self.commits.append(StoredCommit(sequence, writer, data))
        self.wake()
        return sequence

    def wake(self) -> None:
        """Make the readers look again, after a change of `available` for example."""
        self._grown.set()
        self._grown = asyncio.Event()

    async def changed(self) -> None:
        """Wait until something was added or `wake` was called."""
        await self._grown.wait()

    def slice(self, first: int, last: int) -> list[StoredCommit]:
        """Return a batch that starts at `first` and ends at `last` at the latest."""
        batch: list[StoredCommit] = []
        size = 0
        for commit in self.commits[first - 1 : min(last, first - 1 + MAX_BATCH_COMMITS)]:
            size += len(commit.data)
            if batch and size > MAX_BATCH_BYTES:
                break
            batch.append(commit)
        return batch


class MemoryLog:
    """One writer's handle on a `MemoryStore`; behaves as `fogbank.log.port.EventLog` says."""

    def __init__(self, store: MemoryStore, writer: Writer) -> None:
        self._store = store
        self._writer = writer
        self._one_at_a_time = asyncio.Lock()
        self._guard = Guard(self)

    @property
    def writer(self) -> Writer:
        return self._writer

    async def append(self, data: bytes, *, expected_last: int | None = None) -> int:
        if len(data) > MAX_COMMIT_BYTES:
            raise CommitTooLargeError(f"a commit of {len(data)} bytes exceeds {MAX_COMMIT_BYTES}")
        async with self._one_at_a_time:
            # A real append takes a while; a fake that never yields hides races.
            await asyncio.sleep(0)
            self._require_available()
            await self._guard.check()
            store = self._store
            last = len(store.commits)
            if expected_last is not None and expected_last != last:
                raise StaleAppendError(f"expected {expected_last} as last sequence, it is {last}")
            if store.lose_appends:
                store.lose_appends -= 1
                raise LogUnavailableError("the append was lost on its way to the log")
            commit = StoredCommit(store.add(self._writer, data), self._writer, data)
            self._guard.saw(commit)
            if store.lose_acks:
                store.lose_acks -= 1
                raise LogUnavailableError("the log's answer was lost on its way back")
            return commit.sequence

    async def follow(self, after: int) -> AsyncGenerator[list[StoredCommit]]:
        if after > len(self._store.commits):
            raise LogRewoundError(
                f"the log ends at {len(self._store.commits)}, before {after}, which was read"
            )
        position = after
        while True:
            while not (
                self._store.available
                and (batch := self._store.slice(position + 1, len(self._store.commits)))
            ):
                await self._store.changed()
                if self._store.available and position > len(self._store.commits):
                    raise LogRewoundError(
                        f"the log ends at {len(self._store.commits)}, before {position}, which "
                        "was read"
                    )
            yield batch
            position = batch[-1].sequence

    async def read(self, first: int, last: int) -> AsyncGenerator[list[StoredCommit]]:
        self._require_available()
        end = min(last, len(self._store.commits))
        position = max(first, 1)
        while position <= end:
            batch = self._store.slice(position, end)
            yield batch
            position = batch[-1].sequence + 1

    async def get(self, sequence: int) -> StoredCommit | None:
        self._require_available()
        commits = self._store.commits
        return commits[sequence - 1] if 1 <= sequence <= len(commits) else None

    async def last_sequence(self) -> int:
        self._require_available()
        return len(self._store.commits)

    async def require_open(self) -> None:
        self._require_available()
        if self._store.closed:
            raise LogClosedError(f"the log is closed: {self._store.closed}")

    async def clock_us(self) -> int:
        self._require_available()
        return self._store.clock_us()

    def must_hold(self, sequence: int, digest: bytes) -> None:
        self._guard.must_hold(sequence, digest)

    def _require_available(self) -> None:
        if not self._store.available:
            raise LogUnavailableError("the log is down")
