"""The ledger beside a log that is not its own any more, or with a copy that is damaged."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import asyncpg
import pytest
import structlog.testing

from fogbank.domain.errors import UnavailableError
from fogbank.log.memory import MemoryLog
from fogbank.log.port import EventLog, LogGapError, LogRewoundError, StoredCommit
from services.ledger.app.ports import CopyDamagedError
from tests.support.fleet import LittleFleet
from tests.support.fleet_log import a_spec
from tests.support.ledger import (
    READER,
    Ledger,
    StoredLog,
    a_ledger,
    a_running_ledger,
    whole_tables,
)
from tests.support.waiting import eventually

COMMITS = 20


@pytest.fixture
def fleet() -> LittleFleet:
    fleet = LittleFleet()
    fleet.connect("fog-0")
    for number in range(COMMITS - 1):
        fleet.deploy(a_spec(f"app-{number}"))
    return fleet


@pytest.fixture
def log(fleet: LittleFleet) -> StoredLog:
    log = StoredLog()
    log.publish(fleet.log)
    assert log.last == COMMITS
    return log


async def run_sql(url: str, statement: str) -> None:
    connection = await asyncpg.connect(url.replace("postgresql+asyncpg", "postgresql"))
    try:
        await connection.execute(statement)
    finally:
        await connection.close()


@asynccontextmanager
async def refusing(url: str, log: StoredLog, *words: str) -> AsyncIterator[Ledger]:
    """Run a ledger until it refuses, with these words, once; it must have changed nothing."""
    before = await whole_tables(url)
    with structlog.testing.capture_logs() as said:
        async with a_ledger(url, log) as ledger:
            task = asyncio.create_task(ledger.projector.run())
            try:
                complaint = await eventually(lambda: complaints(said), what="its complaint")
                assert complaint is not None
                assert all(word in complaint[0] for word in words), complaint
                assert not ledger.progress.ready
                assert await whole_tables(url) == before
                yield ledger
            finally:
                task.cancel()
                await asyncio.wait([task])
        assert len(complaints(said)) == 1


def complaints(said: list[Any]) -> list[str]:
    return [line["error"] for line in said if line["log_level"] == "critical"]


def shorter(log: StoredLog, fleet: LittleFleet) -> tuple[str, ...]:
    log.publish(fleet.log, 12)
    return ("lost commit 20,", "ends at 12", "operations.md")


def emptied(log: StoredLog, fleet: LittleFleet) -> tuple[str, ...]:
    return ("lost commit 20,", "it is empty", "operations.md")


def anothers(log: StoredLog, fleet: LittleFleet) -> tuple[str, ...]:
    other = LittleFleet()
    other.connect("fog-9")
    for number in range(COMMITS + 4):
        other.deploy(a_spec(f"theirs-{number}"))
    log.publish(other.log)
    return ("another commit 20 ", "the ledger's copy", "operations.md")


@pytest.mark.parametrize("replace", [shorter, emptied, anothers])
async def test_a_log_that_is_not_the_copys_is_refused_until_it_is_mended(
    url: str,
    fleet: LittleFleet,
    log: StoredLog,
    replace: Callable[[StoredLog, LittleFleet], tuple[str, ...]],
) -> None:
    async with a_running_ledger(url, log):
        pass
    wrong = StoredLog()
    async with refusing(url, wrong, *replace(wrong, fleet)) as ledger:
        status = await ledger.answers.queries.status()
        assert (status.position, status.commits_kept) == (COMMITS, COMMITS)
        assert status.digest == log.store.commits[-1].digest

        wrong.store.commits[:] = log.store.commits
        await ledger.reaches(COMMITS)
        await eventually(lambda: ledger.progress.ready, what="readiness")


class _Holed(MemoryLog):
    """A log whose broker shows all commits but one."""

    def __init__(self, log: HoledLog) -> None:
        super().__init__(log.store, READER)
        self._log = log

    async def follow(self, after: int) -> AsyncGenerator[list[StoredCommit]]:
        async for batch in super().follow(after):
            if shown := self._shown(batch):
                yield shown
            self._log.require_shown(batch)

    async def read(self, first: int, last: int) -> AsyncGenerator[list[StoredCommit]]:
        async for batch in super().read(first, last):
            if shown := self._shown(batch):
                yield shown
            self._log.require_shown(batch)

    async def get(self, sequence: int) -> StoredCommit | None:
        return None if sequence == self._log.hole else await super().get(sequence)

    def _shown(self, batch: list[StoredCommit]) -> list[StoredCommit]:
        first = batch[0].sequence
        return batch[: self._log.hole - first] if self._log.hole >= first else batch


@dataclass
class HoledLog(StoredLog):
    """A log that lost one commit, none while `hole` is 0, and shows those around it."""

    hole: int = 0

    def reader(self) -> EventLog:
        return _Holed(self)

    def require_shown(self, batch: list[StoredCommit]) -> None:
        if batch[0].sequence <= self.hole <= batch[-1].sequence:
            raise LogGapError(f"the log lost commit {self.hole}: see operations.md", self.hole)


@pytest.mark.parametrize("kept", [COMMITS, 12])
async def test_a_log_that_lost_one_of_its_commits_is_waited_for(
    url: str, fleet: LittleFleet, kept: int
) -> None:
    """Be it one that the copy has, or one behind the copy's end."""
    holed = HoledLog()
    holed.publish(fleet.log, kept)
    async with a_running_ledger(url, holed):
        pass
    holed.publish(fleet.log)
    holed.hole = kept - 5 if kept == COMMITS else kept + 1
    async with refusing(url, holed, f"lost commit {holed.hole}", "operations.md") as ledger:
        with pytest.raises(UnavailableError, match=f"refuses the log: .* {holed.hole}") as refused:
            await ledger.answers.queries.status()
        # By it those who ask tell the ledger's own word from a ledger that is out of reach.
        assert refused.value.reason == "LEDGER_REFUSES_LOG"

        holed.hole = 0
        await ledger.reaches(COMMITS)
        await eventually(lambda: ledger.progress.ready, what="readiness")
        assert (await ledger.answers.queries.status()).position == COMMITS
    async with a_running_ledger(url, holed) as again:
        assert again.progress.position == COMMITS


async def test_a_log_that_goes_on_without_what_it_lost_is_read_on(
    url: str, fleet: LittleFleet
) -> None:
    holed = HoledLog()
    holed.publish(fleet.log, 12)
    async with a_running_ledger(url, holed):
        pass
    holed.publish(fleet.log)
    holed.hole = 15
    async with a_ledger(url, holed) as ledger:
        task = asyncio.create_task(ledger.projector.run())
        await ledger.reaches(14)
        await eventually(lambda: ledger.progress.log_refused, what="the refusal")
        del holed.store.commits[14:]
        holed.hole = 0
        await eventually(lambda: ledger.progress.ready, what="readiness")
        assert ledger.progress.position == ledger.progress.log_sequence == 14
        task.cancel()
        await asyncio.wait([task])


@pytest.mark.parametrize(
    ("damage", "word"),
    [
        ("UPDATE commits SET data = set_byte(data, 9, get_byte(data, 9) # 4)", "is damaged"),
        ("UPDATE commits SET digest = set_byte(digest, 0, 1)", "is damaged"),
        ("UPDATE checkpoint SET digest = set_byte(digest, 0, 1)", "is damaged"),
        ("DELETE FROM commits", "is gone"),
    ],
)
async def test_a_damaged_copy_is_refused_and_not_told_to_anybody(
    url: str, log: StoredLog, damage: str, word: str
) -> None:
    async with a_running_ledger(url, log):
        pass
    where = "" if "checkpoint" in damage else f" WHERE sequence = {COMMITS}"
    await run_sql(url, damage + where)
    async with refusing(url, log, f"copy of commit {COMMITS}", word, "operations.md") as ledger:
        with pytest.raises(CopyDamagedError, match=f"commit {COMMITS}"):
            await ledger.answers.queries.status()


async def test_a_ledger_that_has_not_looked_yet_tells_what_the_tables_hold(
    url: str, log: StoredLog
) -> None:
    async with a_running_ledger(url, log):
        pass
    async with a_ledger(url, log) as ledger:
        status = await ledger.answers.queries.status()
    assert (status.position, status.digest) == (COMMITS, log.store.commits[-1].digest)


async def test_a_log_that_is_emptied_under_a_running_ledger_ends_it(
    url: str, log: StoredLog
) -> None:
    async with a_ledger(url, log) as ledger:
        task = asyncio.create_task(ledger.projector.run())
        await ledger.reaches(COMMITS)
        before = await whole_tables(url)
        log.store.commits.clear()
        log.store.wake()
        with pytest.raises(LogRewoundError, match="ends at 0, before 20"):
            await task
        assert await whole_tables(url) == before
