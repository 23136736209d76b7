"""The ledger beside a log that is not its own any more, or with a copy that is damaged."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import asyncpg
import pytest
import structlog.testing

from fogbank.log.port import LogRewoundError
from services.ledger.app.ports import CopyDamagedError
from tests.support.fleet import LittleFleet
from tests.support.fleet_log import a_spec
from tests.support.ledger import Ledger, StoredLog, a_ledger, a_running_ledger, whole_tables
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
