"""The guard, the wait for the second copy, and the watch over the log's size."""

from __future__ import annotations

import asyncio

import pytest
import structlog.testing

from fogbank.domain.errors import UnavailableError
from fogbank.log import metrics
from fogbank.log.fill_watch import FillWatch
from fogbank.log.memory import MemoryLog, MemoryStore
from fogbank.log.port import LogRewoundError, LogUnavailableError, StoredCommit, Writer
from fogbank.log.second_copy import HighestCopy, agreement
from tests.support.waiting import eventually

WRITER = Writer("gateway", "one")


async def a_log(*data: bytes) -> tuple[MemoryStore, MemoryLog]:
    store = MemoryStore()
    for each in data:
        store.add(WRITER, each)
    return store, MemoryLog(store, WRITER)


async def take_in(log: MemoryLog, upto: int) -> None:
    async for batch in log.follow(0):
        if batch[-1].sequence >= upto:
            return


async def test_what_is_read_later_does_not_hide_what_was_told() -> None:
    """A longer log of another history is no better than a shorter one."""
    _, log = await a_log(b"theirs", b"theirs too", b"and more")
    log.must_hold(2, StoredCommit(2, WRITER, b"ours").digest)
    await take_in(log, 3)
    with pytest.raises(LogRewoundError, match=r"another commit 2 .* the ledger's copy knows"):
        await log.append(b"mixed")


async def test_a_lower_commit_than_was_read_is_looked_at_too() -> None:
    _, log = await a_log(b"theirs", b"theirs too")
    await take_in(log, 2)
    log.must_hold(1, bytes(32))
    with pytest.raises(LogRewoundError, match="another commit 1 "):
        await log.append(b"mixed")


async def test_a_reader_notices_that_the_log_became_shorter() -> None:
    store, log = await a_log(b"a", b"b")
    task = asyncio.create_task(take_in(log, 9))
    await asyncio.sleep(0)
    del store.commits[1:]
    store.wake()
    with pytest.raises(LogRewoundError, match="ends at 1, before 2"):
        await task


class Copy:
    """A second copy that says one thing after the other; the last one for ever."""

    def __init__(self, *answers: HighestCopy | Exception) -> None:
        self._answers = list(answers)
        self.asked = 0

    async def highest(self) -> HighestCopy:
        self.asked += 1
        answer = self._answers.pop(0) if len(self._answers) > 1 else self._answers[0]
        if isinstance(answer, Exception):
            raise answer
        return answer


async def test_an_empty_copy_is_no_reason_to_wait() -> None:
    _, log = await a_log(b"a")
    waits: list[str] = []
    await agreement(log, Copy(HighestCopy(0, b"")), waits=waits.append)
    assert waits == []
    assert await log.append(b"b") == 2


async def test_a_copy_that_agrees_holds_the_log_to_it() -> None:
    store, log = await a_log(b"a", b"b")
    await agreement(log, Copy(HighestCopy(2, store.commits[1].digest)))
    store.commits[1] = StoredCommit(2, WRITER, b"another")
    with pytest.raises(LogRewoundError, match="another commit 2 "):
        await log.append(b"c")


async def test_it_waits_for_the_copy_and_says_once_why() -> None:
    store, log = await a_log(b"a")
    copy = Copy(
        UnavailableError("no answer"),
        UnavailableError("no answer"),
        HighestCopy(1, store.commits[0].digest),
    )
    waits: list[str] = []
    with structlog.testing.capture_logs() as said:
        await agreement(log, copy, waits=waits.append)
    assert waits == ["no answer", "no answer"]
    assert [line["log_level"] for line in said] == ["warning", "info"]


async def test_it_waits_for_the_log_too() -> None:
    store, log = await a_log(b"a")
    store.available = False
    waits: list[str] = []
    copy = Copy(HighestCopy(1, store.commits[0].digest))
    task = asyncio.create_task(agreement(log, copy, waits=waits.append))
    await eventually(lambda: waits)
    store.available = True
    await task


async def test_a_log_without_the_copys_commit_is_refused_until_it_has_it() -> None:
    store, log = await a_log(b"a")
    missing = StoredCommit(2, WRITER, b"b")
    waits: list[str] = []
    with structlog.testing.capture_logs() as said:
        task = asyncio.create_task(
            agreement(log, Copy(HighestCopy(2, missing.digest)), waits=waits.append)
        )
        await eventually(lambda: waits)
        store.commits.append(missing)
        await task
    (refusal,) = [line for line in said if line["log_level"] == "critical"]
    assert "lost commit 2, which the ledger's copy knows" in refusal["error"]
    assert "it ends at 1" in refusal["error"]


class Filling:
    def __init__(self) -> None:
        self.ratio: float | None = 0.0

    async def fill_ratio(self) -> float:
        if self.ratio is None:
            raise LogUnavailableError("away")
        return self.ratio


async def test_it_warns_once_each_time_the_log_gets_full() -> None:
    log = Filling()
    watch = FillWatch(log)

    async def warnings(ratio: float | None) -> int:
        log.ratio = ratio
        with structlog.testing.capture_logs() as said:
            await watch.look()
        return len(said)

    assert await warnings(0.79) == 0
    assert await warnings(0.80) == 1
    assert metrics.FILL_RATIO._value.get() == 0.80
    assert await warnings(0.95) == 0
    assert await warnings(None) == 0
    assert await warnings(0.5) == 0
    assert await warnings(0.85) == 1
