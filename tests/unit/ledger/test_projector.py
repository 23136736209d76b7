"""The projector with a database that takes everything at once."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest

from fogbank.domain import events as ev
from fogbank.domain.envelope import GATEWAY
from fogbank.domain.ids import digest
from services.ledger.app.ports import Checkpoint, KeptCopy, RivalLedgerError
from services.ledger.app.progress import Progress
from services.ledger.app.projector import Projector
from services.ledger.core.log_tree import TreeGrowth, TreeHead
from services.ledger.core.projection import Projection, TableChanges
from services.ledger.core.rows import CommitRow
from tests.support.fleet_log import OWNER, LittleLog, a_spec, an_id
from tests.support.ledger import StoredLog
from tests.support.waiting import eventually

DEPLOYMENTS = 200


class Hurried:
    """A clock that jumps at each look: everything took long."""

    def __init__(self) -> None:
        self._now_s = 0.0

    def now_us(self) -> int:
        return 0

    def monotonic_s(self) -> float:
        self._now_s += 1.0
        return self._now_s


class Tables:
    """A `LedgerStore` that notes what it is given, and may take its time."""

    def __init__(self) -> None:
        self.at = Checkpoint(0, b"")
        self.written: list[TableChanges] = []
        self.under_way = 0
        self.error: Exception | None = None
        self.may_write = asyncio.Event()
        self.may_write.set()

    async def checkpoint(self) -> Checkpoint:
        return self.at

    async def kept_copy(self) -> KeptCopy:
        return KeptCopy()

    async def tree(self) -> TreeHead:
        return TreeHead()

    async def write(
        self,
        former: Checkpoint,
        commits: Sequence[CommitRow],
        changes: TableChanges,
        growth: TreeGrowth,
    ) -> Checkpoint:
        assert (former, growth.head.size) == (self.at, commits[-1].sequence)
        self.under_way += 1
        assert self.under_way == 1
        await self.may_write.wait()
        if self.error is not None:
            raise self.error
        self.under_way -= 1
        self.at = Checkpoint(commits[-1].sequence, commits[-1].digest)
        self.written.append(changes)
        return self.at

    async def try_lead(self) -> bool:
        return True

    async def close(self) -> None:
        pass


async def test_others_get_turns_while_the_rows_of_a_large_commit_are_made(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    little, log = LittleLog(), StoredLog()
    created = [
        little.envelope(ev.DeploymentCreated(a_spec(f"app-{n}"), OWNER), an_id(f"d{n}"))
        for n in range(DEPLOYMENTS)
    ]
    little.commit(GATEWAY, *created)
    log.publish(little)
    turns, began_at = 0, []
    take_happened = Projection.take_happened

    def begins(projection: Projection) -> TableChanges:
        began_at.append(turns)
        return take_happened(projection)

    monkeypatch.setattr(Projection, "take_happened", begins)
    tables, progress = Tables(), Progress()
    projector = asyncio.create_task(Projector(log.reader(), tables, progress, Hurried()).run())
    async with asyncio.timeout(60):
        while not tables.written:
            turns += 1
            await asyncio.sleep(0)
    projector.cancel()
    assert len(tables.written[0].deployments) == DEPLOYMENTS
    assert tables.at == Checkpoint(1, digest(little.data[0]))
    assert turns - began_at[-1] > DEPLOYMENTS / 20


def a_deployment(little: LittleLog, log: StoredLog, number: int) -> None:
    created = ev.DeploymentCreated(a_spec(f"app-{number}"), OWNER)
    little.commit(GATEWAY, little.envelope(created, an_id(f"d{number}")))
    log.publish(little)


async def test_what_comes_while_a_batch_is_written_is_folded_and_written_next() -> None:
    little, log, tables, progress = LittleLog(), StoredLog(), Tables(), Progress()
    ledger = Projector(log.reader(), tables, progress, Hurried())
    projector = asyncio.create_task(ledger.run())
    tables.may_write.clear()
    a_deployment(little, log, 1)
    await eventually(lambda: tables.under_way == 1, what="a write")
    for number in (2, 3):
        a_deployment(little, log, number)
        await eventually(lambda: progress.log_sequence == number, what="a commit")  # noqa: B023
    assert progress.position == 0
    tables.may_write.set()
    await progress.reach(3, within_s=60)
    projector.cancel()
    assert [len(changes.deployments) for changes in tables.written] == [1, 2]


async def test_a_write_that_fails_ends_the_projector_though_nothing_more_comes() -> None:
    little, log, tables = LittleLog(), StoredLog(), Tables()
    tables.error = RivalLedgerError("another ledger writes")
    a_deployment(little, log, 1)
    async with asyncio.timeout(60):
        with pytest.raises(RivalLedgerError):
            await Projector(log.reader(), tables, Progress(), Hurried()).run()
