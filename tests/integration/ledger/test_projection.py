"""The projection into a real PostgreSQL: once, twice, interrupted, and beside a rival."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Awaitable, Sequence
from hashlib import sha256

import asyncpg
import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from fogbank.codec import CodecError
from fogbank.domain import events as ev
from fogbank.log.follower import decode
from fogbank.log.port import Writer
from services.ledger.adapters.database import make_engine, prepare
from services.ledger.adapters.store import WRITING_SESSION, PostgresStore
from services.ledger.app.ports import (
    Checkpoint,
    RivalLedgerError,
    StoreUnavailableError,
)
from services.ledger.app.queries import Wait
from services.ledger.core.log_tree import LogTree, TreeGrowth
from services.ledger.core.projection import Projection, TableChanges
from services.ledger.core.rows import CommitRow
from tests.support.fleet import LittleFleet
from tests.support.fleet_log import a_fingerprint, a_spec
from tests.support.ledger import (
    StoredLog,
    a_ledger,
    a_running_ledger,
    migrated_database,
    rows_of,
    whole_tables,
)
from tests.support.mixed_story import tell
from tests.support.postgres import PostgresServer, postgres_server
from tests.support.waiting import eventually

# As printed in the quick start.
ALL_DEPLOYMENTS = """
SELECT id, name, status, target_replicas, created_at
FROM deployments
WHERE deleted_at IS NULL
ORDER BY created_at DESC;
"""
REPLICA_DISTRIBUTION = """
SELECT d.name, n.node_id, r.status
FROM deployments d
JOIN deployment_replicas r ON d.id = r.deployment_id
JOIN nodes n ON r.node_id = n.id
WHERE d.status = 'running';
"""
STATUS_HISTORY = """
SELECT d.name, h.old_status, h.new_status, h.changed_at, h.reason
FROM deployments d
JOIN deployment_status_history h ON d.id = h.deployment_id
ORDER BY h.changed_at DESC;
"""
GPU_NODES = """
SELECT node_id, status, gpu_available, cpu_usage_percent, memory_usage_percent
FROM nodes
WHERE gpu_available = true;
"""


def a_busy_fleet() -> LittleFleet:
    """A fleet with a bit of everything: running, waiting, scaled, deleted, failed."""
    fleet = LittleFleet()
    for number in range(4):
        fleet.connect(f"fog-{number}", a_fingerprint(gpu=number == 0))
    for number, replicas in enumerate((1, 3, 2)):
        fleet.log.pass_ms(1_000)
        fleet.deploy(a_spec(f"app-{number}", replicas))
        fleet.settle()
        fleet.log.pass_ms(250)
        fleet.obey()
    node_id = next(iter(fleet.planner.fleet.facts.nodes))
    fleet.fact(ev.NodeLoadChanged(node_id, fleet.log.epochs[node_id], 35, 60, 1))
    first, second, _ = fleet.planner.fleet.facts.deployments
    fleet.fact(ev.DeploymentScaled(second, 1))
    fleet.fact(ev.DeploymentDeleted(first))
    fleet.settle()
    fleet.obey()
    fleet.deploy(a_spec("too-many", 9))
    for _ in range(5):
        fleet.settle()
        fleet.log.pass_ms(10_000)
    return fleet


@pytest.fixture
def fleet() -> LittleFleet:
    return a_busy_fleet()


@pytest.fixture
def log(fleet: LittleFleet) -> StoredLog:
    log = StoredLog()
    log.publish(fleet.log)
    return log


async def test_the_four_queries_of_the_quick_start(url: str, log: StoredLog) -> None:
    async with a_running_ledger(url, log):
        deployments = await rows_of(url, ALL_DEPLOYMENTS)
        replicas = await rows_of(url, REPLICA_DISTRIBUTION)
        history = await rows_of(url, STATUS_HISTORY)
        nodes = await rows_of(url, GPU_NODES)
    assert [(row["name"], row["status"], row["target_replicas"]) for row in deployments] == [
        ("too-many", "failed", 9),
        ("app-2", "running", 2),
        ("app-1", "running", 1),
    ]
    assert sorted((row["name"], row["status"]) for row in replicas) == [
        ("app-1", "running"),
        ("app-2", "running"),
        ("app-2", "running"),
    ]
    assert {row["node_id"] for row in replicas} <= {f"fog-{number}" for number in range(4)}
    # Newest first; some changes happened in the same microsecond.
    assert [row["changed_at"] for row in history] == sorted(
        (row["changed_at"] for row in history), reverse=True
    )
    assert {
        (row["old_status"], row["new_status"], row["reason"])
        for row in history
        if row["name"] == "app-2"
    } == {
        ("none", "pending", "Deployment created by user"),
        ("pending", "scheduled", "Scheduled 2 replicas across nodes"),
        ("scheduled", "running", "All 2 replicas started successfully"),
    }
    assert [tuple(row) for row in nodes] == [("fog-0", nodes[0]["status"], True, 35.0, 60.0)]


async def test_two_databases_of_one_log_hold_the_same(
    url: str, postgres: PostgresServer, fleet: LittleFleet, log: StoredLog
) -> None:
    async with a_running_ledger(url, log):
        at_once = await whole_tables(url)
    slowly = StoredLog()
    async with migrated_database(postgres) as other:
        slowly.publish(fleet.log, 1)
        async with a_running_ledger(other, slowly) as ledger:
            for sequence in range(2, log.last + 1):
                slowly.publish(fleet.log, sequence)
                await ledger.reaches(sequence)
        assert await whole_tables(other) == at_once
    assert len(at_once["commits"]) == log.last


async def test_every_commit_is_kept_byte_for_byte(
    url: str, fleet: LittleFleet, log: StoredLog
) -> None:
    async with a_running_ledger(url, log):
        kept = (await whole_tables(url))["commits"]
    assert [row["data"] for row in kept] == fleet.log.data
    assert [row["sequence"] for row in kept] == list(range(1, log.last + 1))
    assert all(sha256(row["data"]).digest() == row["digest"] for row in kept)
    assert [row["service"] for row in kept] == [commit.service for commit in fleet.log.commits]


# More rows than any batch here has: each is one statement.
ALL = 1 << 30


class Killed(Exception):
    """Stands for the end of the process."""


class CutShort(PostgresStore):
    """Its second transaction ends when all is written, before the commit, with an error."""

    def __init__(self, engine: AsyncEngine, error: Exception, few_rows: int = ALL) -> None:
        super().__init__(engine, few_rows)
        self._error = error
        self.writes = 0

    def _written(self) -> None:
        super()._written()
        self.writes += 1
        if self.writes == 2:
            raise self._error


@pytest.mark.parametrize("few_rows", [0, ALL], ids=["copied", "one statement"])
async def test_killed_within_a_batch_it_goes_on_where_it_was(
    url: str, postgres: PostgresServer, fleet: LittleFleet, log: StoredLog, few_rows: int
) -> None:
    part = StoredLog()
    part.publish(fleet.log, 20)
    engine = make_engine(url, 3)
    store = CutShort(engine, Killed(), few_rows)
    async with a_ledger(url, part, store) as ledger:
        async with asyncio.TaskGroup() as group:
            run = group.create_task(expect_killed(ledger.projector.run()))
            await ledger.reaches(20)
            part.publish(fleet.log)
        assert run.done()
    await store.close()
    await engine.dispose()
    assert (await rows_of(url, "SELECT position FROM checkpoint"))[0]["position"] == 20
    assert len(await rows_of(url, "SELECT 1 FROM commits")) == 20
    async with a_running_ledger(url, log):
        resumed = await whole_tables(url)
    async with migrated_database(postgres) as other, a_running_ledger(other, log):
        assert await whole_tables(other) == resumed


async def expect_killed(run: Awaitable[None]) -> None:
    with pytest.raises(Killed):
        await run


async def test_a_write_that_failed_is_tried_again(url: str, log: StoredLog) -> None:
    engine = make_engine(url, 3)
    store = CutShort(engine, ConnectionResetError("cut"))
    part = StoredLog()
    part.store.add(log.store.commits[0].writer, log.store.commits[0].data)
    async with a_ledger(url, part, store) as ledger, asyncio.TaskGroup() as group:
        task = group.create_task(ledger.projector.run())
        await ledger.reaches(1)
        for commit in log.store.commits[1:]:
            part.store.add(commit.writer, commit.data)
        await eventually(lambda: store.writes >= 2)
        await ledger.reaches(log.last)
        assert ledger.progress.ready
        task.cancel()
    await store.close()
    await engine.dispose()
    assert len(await rows_of(url, "SELECT 1 FROM commits")) == log.last


async def test_a_lost_confirmation_writes_nothing_twice(url: str, log: StoredLog) -> None:
    class LosesAnswer(PostgresStore):
        lost = 0

        async def write(
            self,
            former: Checkpoint,
            commits: Sequence[CommitRow],
            changes: TableChanges,
            growth: TreeGrowth,
        ) -> Checkpoint:
            reached = await super().write(former, commits, changes, growth)
            if not self.lost:
                self.lost += 1
                raise StoreUnavailableError("the answer was lost")
            return reached

    engine = make_engine(url, 3)
    store = LosesAnswer(engine)
    async with a_ledger(url, log, store) as ledger, asyncio.TaskGroup() as group:
        task = group.create_task(ledger.projector.run())
        await ledger.reaches(log.last)
        task.cancel()
    assert store.lost == 1
    await store.close()
    await engine.dispose()
    assert len(await rows_of(url, "SELECT 1 FROM commits")) == log.last


def batch(
    log: StoredLog, first: int, last: int
) -> tuple[list[CommitRow], TableChanges, TreeGrowth]:
    """Fold a log and return the commits `first` to `last` and what they changed."""
    projection, tree = Projection(), LogTree()
    rows = []
    for stored in log.store.commits[:last]:
        if stored.sequence == first:
            projection.take()
        commit = decode(stored)
        projection.fold(commit)
        tree.take(stored.writer.service, stored.writer.instance, stored.digest)
        if stored.sequence >= first:
            rows.append(
                CommitRow(
                    stored.sequence,
                    stored.writer.service,
                    stored.writer.instance,
                    commit.appended_at_us,
                    stored.digest,
                    stored.data,
                )
            )
    return rows, projection.take(), tree.grown()


async def test_rivals_cannot_both_advance(url: str, log: StoredLog) -> None:
    engine = make_engine(url, 6)
    await prepare(engine, "default", 1)
    one, other = PostgresStore(engine), PostgresStore(engine)
    start = Checkpoint()
    outcomes = await asyncio.gather(
        one.write(start, *batch(log, 1, 10)),
        other.write(start, *batch(log, 1, 7)),
        return_exceptions=True,
    )
    won = [outcome for outcome in outcomes if isinstance(outcome, Checkpoint)]
    lost = [outcome for outcome in outcomes if isinstance(outcome, RivalLedgerError)]
    assert (len(won), len(lost)) == (1, 1)
    assert await one.checkpoint() == won[0]
    assert len(await rows_of(url, "SELECT 1 FROM commits")) == won[0].position
    with pytest.raises(RivalLedgerError, match="no longer at 0"):
        await other.write(start, *batch(log, 1, 12))
    await engine.dispose()


async def test_a_second_ledger_stands_by_and_takes_over(
    url: str, fleet: LittleFleet, log: StoredLog
) -> None:
    part = StoredLog()
    part.publish(fleet.log, 10)
    async with a_ledger(url, part) as standby, asyncio.TaskGroup() as group:
        async with a_running_ledger(url, part) as leader:
            task = group.create_task(standby.projector.run())
            await standby.reaches(10)
            assert standby.progress.ready
            # Asked by a third: the standby's own store is in use, by its loop, which asks as well.
            assert not await PostgresStore(standby.engine).try_lead()
            part.publish(fleet.log, 20)
            await leader.reaches(20)
            await standby.reaches(20)
        part.publish(fleet.log)
        await standby.reaches(log.last)
        task.cancel()
    assert (await rows_of(url, "SELECT position FROM checkpoint"))[0]["position"] == log.last


async def test_an_undecodable_commit_ends_the_projection_and_names_itself(
    url: str, fleet: LittleFleet
) -> None:
    log = StoredLog()
    log.publish(fleet.log, 8)
    log.store.add(Writer("gateway", "one"), b"\xff\xff")
    async with a_ledger(url, log) as ledger:
        with pytest.raises(CodecError, match="commit 9 "):
            await ledger.projector.run()
        assert ledger.progress.position == 8
    assert len(await rows_of(url, "SELECT 1 FROM commits")) == 8


@pytest.mark.slow
@pytest.mark.kill
async def test_a_database_that_crashes_is_waited_for(fleet: LittleFleet, log: StoredLog) -> None:
    part = StoredLog()
    part.publish(fleet.log, 10)
    with postgres_server() as server:
        async with server.database() as url:
            async with a_running_ledger(url, part) as ledger:
                server.kill()
                await eventually(lambda: not ledger.progress.ready, what="not ready, though idle")
                with pytest.raises(StoreUnavailableError):
                    await ledger.answers.queries.nodes(10, 0, Wait())
                part.publish(fleet.log)
                server.start()
                await ledger.reaches(log.last)
                await eventually(lambda: ledger.progress.ready, what="ready again")
            assert len(await rows_of(url, "SELECT 1 FROM commits")) == log.last


async def test_one_statement_writes_what_copying_writes(
    url: str, postgres: PostgresServer, fleet: LittleFleet, log: StoredLog
) -> None:
    """Commit by commit, so that rows are added, changed and replaced by both ways."""
    written = []
    async with postgres.database() as other:
        for address, few_rows in ((url, ALL), (other, 0)):
            engine, part = make_engine(address, 3, settings=WRITING_SESSION), StoredLog()
            store = PostgresStore(engine, few_rows)
            async with a_ledger(address, part, store) as ledger, asyncio.TaskGroup() as group:
                task = group.create_task(ledger.projector.run())
                for sequence in range(1, log.last + 1):
                    part.publish(fleet.log, sequence)
                    await ledger.reaches(sequence)
                task.cancel()
            await store.close()
            await engine.dispose()
            others = [
                await rows_of(address, f"SELECT * FROM {table} ORDER BY 1, 2, 3")  # noqa: S608
                for table in ("tree_nodes", "commit_touches")
            ]
            written.append([await whole_tables(address), others])
    assert written[0] == written[1]


async def test_what_was_folded_is_looked_through_once(url: str) -> None:
    """All at a time it stopped whoever waited for the tables, and found nothing."""
    log = StoredLog()
    log.publish(tell(3, events=600).log)
    gc.collect()
    before = gc.get_freeze_count()
    gc.disable()
    try:
        async with a_running_ledger(url, log):
            await eventually(lambda: gc.get_freeze_count() > before, what="what was kept")
    finally:
        gc.enable()
        gc.unfreeze()


async def test_one_statement_of_a_rival_writes_nothing(url: str, log: StoredLog) -> None:
    engine = make_engine(url, 6)
    await prepare(engine, "default", 1)
    store = PostgresStore(engine, ALL)
    await store.write(Checkpoint(), *batch(log, 1, 5))
    before = await whole_tables(url)
    with pytest.raises(RivalLedgerError, match="no longer at 0"):
        await store.write(Checkpoint(), *batch(log, 1, 12))
    assert await whole_tables(url) == before
    await store.write(store_at(before), *batch(log, 6, log.last))
    await engine.dispose()
    assert len(await rows_of(url, "SELECT 1 FROM commits")) == log.last


def store_at(tables: dict[str, list[asyncpg.Record]]) -> Checkpoint:
    (row,) = tables["checkpoint"]
    return Checkpoint(row["position"], row["digest"])
