"""A log that behaves as the JetStream adapter, in memory, with all that can go wrong between."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from hashlib import sha256

from fogbank.log.guard import Guard
from fogbank.log.port import (
    MAX_BATCH_COMMITS,
    MAX_CLOCK_OFFSET_US,
    MAX_COMMIT_BYTES,
    CommitTooLargeError,
    LogRewoundError,
    LogUnavailableError,
    StaleAppendError,
    StoredCommit,
    Writer,
)
from fogbank.v1 import log_pb2
from tests.simulation.loop import Process, pause
from tests.simulation.world import Link, World, require_alive

_APPEND_DEADLINE_S = 10.0
_TRY_S = 2.0
_PAUSE_S = 0.1
_TRAVEL_US = 3_000_000


class Broker:
    """The stored commits, and who has to hear of changes.

    `window_s` is how long the same bytes of a writer are known again (the Nats-Msg-Id window).
    """

    def __init__(self, world: World, window_s: float) -> None:
        self.world = world
        self.window_s = window_s
        self.commits: list[StoredCommit] = []
        self.up = True
        self.handles: list[SimLog] = []
        self._changed = asyncio.Event()
        self._recent: dict[tuple[Writer, bytes], tuple[int, float]] = {}
        # Who had seen commits that were lost: they must never write again.
        self.bereft: dict[Writer, int] = {}

    def store(self, writer: Writer, data: bytes, expected_last: int | None) -> int:
        """Store a commit and return its sequence, the old one's if these bytes came before."""
        now_s = self.world.loop.time()
        key = (writer, sha256(data).digest())
        known = self._recent.get(key)
        if known is not None and now_s - known[1] < self.window_s:
            return known[0]
        last = len(self.commits)
        if writer in self.bereft:
            self.world.blunder(
                f"{writer.instance} saw commit {self.bereft[writer]} and appends at {last + 1}"
            )
        if expected_last is not None and expected_last != last:
            raise StaleAppendError(f"expected {expected_last} as last sequence, it is {last}")
        commit = StoredCommit(last + 1, writer, data)
        ahead_us = log_pb2.Commit.FromString(data).appended_at_us - self.world.now_us()
        if ahead_us > MAX_CLOCK_OFFSET_US + _TRAVEL_US:
            self.world.problem(f"commit {last + 1} is stamped {ahead_us / 1e6:.1f} s ahead")
        self.commits.append(commit)
        self._recent[key] = (commit.sequence, now_s)
        self.world.tell(
            "broker", f"{commit.sequence} {writer.service}/{writer.instance} {key[1].hex()[:16]}"
        )
        self.wake()
        return commit.sequence

    def answers(self) -> bool:
        """Tell whether it is up."""
        return self.up

    def wake(self) -> None:
        """Have everybody look again."""
        changed, self._changed = self._changed, asyncio.Event()
        changed.set()

    async def changed(self) -> None:
        """Wait until something is different."""
        await self._changed.wait()

    def go_down(self, lose: int = 0) -> None:
        """End without warning; `lose` commits of the end were not on disk."""
        self.up = False
        if lose:
            del self.commits[-lose:]
            self._recent.clear()
            for handle in self.handles:
                known = handle.guard.last
                if known is not None and known.sequence > len(self.commits):
                    self.bereft[handle.writer] = known.sequence
        self.wake()

    def come_back(self) -> None:
        """Be there again; everybody reconnects."""
        self.up = True
        for handle in self.handles:
            handle.guard.distrust()
        self.wake()


class SimLog:
    """One writer's handle; behaves as `fogbank.log.port.EventLog` says."""

    def __init__(self, broker: Broker, writer: Writer, link: Link, process: Process) -> None:
        self._broker = broker
        self._writer = writer
        self._link = link
        self._process = process
        self._one_at_a_time = asyncio.Lock()
        self.guard = Guard(self)
        broker.handles = [each for each in broker.handles if each._process.alive]
        broker.handles.append(self)
        link.on_change.append(self._link_changed)

    def _link_changed(self) -> None:
        self.guard.distrust()
        self._broker.wake()

    @property
    def writer(self) -> Writer:
        return self._writer

    async def append(self, data: bytes, *, expected_last: int | None = None) -> int:
        if len(data) > MAX_COMMIT_BYTES:
            raise CommitTooLargeError(f"a commit of {len(data)} bytes exceeds {MAX_COMMIT_BYTES}")
        async with self._one_at_a_time:
            try:
                async with asyncio.timeout(_APPEND_DEADLINE_S):
                    sequence = await self._insist(data, expected_last)
            except TimeoutError:
                raise LogUnavailableError("the log did not confirm the commit in time") from None
            self.guard.saw(StoredCommit(sequence, self._writer, data))
            return sequence

    async def _insist(self, data: bytes, expected_last: int | None) -> int:
        in_doubt = False
        while True:
            require_alive(self._process)
            try:
                await self._connected()
                await self.guard.check()
                if in_doubt and (found := await self._look(data)) is not None:
                    return found
                return await self._send(data, expected_last)
            except LogUnavailableError:
                in_doubt = True
                if self._link.happens(0.3):
                    raise
            await pause(_PAUSE_S)

    async def _send(self, data: bytes, expected_last: int | None) -> int:
        broker, link, noise = self._broker, self._link, self._broker.world.noise
        world = broker.world
        await pause(link.delay_s())
        require_alive(self._process)
        if link.happens(noise.append_refused):
            world.fault("append refused", self._process.name)
            raise LogUnavailableError("the broker refuses the commit for now")
        if not link.goes(there=True) or not broker.answers() or link.happens(noise.append_lost):
            world.fault("append lost", self._process.name)
            await pause(_TRY_S)
            raise LogUnavailableError("no answer")
        if expected_last is None and link.happens(noise.append_late):
            world.fault("append late", self._process.name)
            world.later(link.uniform(0.5, 25.0), self._arrives_late, data)
            await pause(_TRY_S)
            raise LogUnavailableError("no answer")
        sequence = broker.store(self._writer, data, expected_last)
        await pause(link.delay_s())
        require_alive(self._process)
        if not link.goes(there=False) or not broker.answers() or link.happens(noise.ack_lost):
            world.fault("ack lost", self._process.name)
            await pause(_TRY_S)
            raise LogUnavailableError("no answer")
        known = self.guard.last
        if known is not None and sequence < known.sequence and sequence > len(broker.commits):
            raise LogRewoundError(f"a commit at {sequence}, had come to {known.sequence} before")
        return sequence

    def _arrives_late(self, data: bytes) -> None:
        if self._broker.up:
            self._broker.store(self._writer, data, None)

    async def _look(self, data: bytes) -> int | None:
        """Return the sequence if the commit is this writer's last one."""
        await self._ask()
        for commit in reversed(self._broker.commits):
            if commit.writer == self._writer:
                return commit.sequence if commit.data == data else None
        return None

    async def _connected(self) -> None:
        while not (self._broker.up and self._link.whole):
            await self._broker.changed()
            require_alive(self._process)

    async def _ask(self) -> None:
        """Go to the broker and back."""
        await pause(self._link.delay_s())
        require_alive(self._process)
        if not (self._broker.up and self._link.whole):
            await pause(_TRY_S)
            raise LogUnavailableError("no answer")

    async def follow(self, after: int) -> AsyncGenerator[list[StoredCommit]]:
        position = after
        last = self.guard.last if self.guard.last and self.guard.last.sequence == after else None
        commits = self._broker.commits
        while True:
            await self._connected()
            if position > len(commits) or (
                last is not None and commits[position - 1].digest != last.digest
            ):
                raise LogRewoundError(f"the log ends at {len(commits)} or differs at {position}")
            if position == len(commits):
                await self._broker.changed()
                require_alive(self._process)
                continue
            end = min(len(commits), position + MAX_BATCH_COMMITS)
            await pause(self._link.delay_s())
            require_alive(self._process)
            if not (self._broker.up and self._link.whole) or end > len(commits):
                continue
            batch = commits[position:end]
            self.guard.saw(batch[-1])
            position, last = end, batch[-1]
            yield list(batch)

    async def read(self, first: int, last: int) -> AsyncGenerator[list[StoredCommit]]:
        end = min(last, await self.last_sequence())
        position = max(first, 1)
        while position <= end:
            await pause(self._link.delay_s())
            require_alive(self._process)
            stop = min(end, position - 1 + MAX_BATCH_COMMITS)
            batch = self._broker.commits[position - 1 : stop]
            self.guard.saw(batch[-1])
            yield list(batch)
            position = stop + 1

    async def get(self, sequence: int) -> StoredCommit | None:
        await self._ask()
        commits = self._broker.commits
        return commits[sequence - 1] if 1 <= sequence <= len(commits) else None

    async def last_sequence(self) -> int:
        await self._ask()
        return len(self._broker.commits)

    async def clock_us(self) -> int:
        await self._ask()
        return self._broker.world.now_us()

    def must_hold(self, sequence: int, digest: bytes) -> None:
        self.guard.must_hold(sequence, digest)
