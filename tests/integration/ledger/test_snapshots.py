"""Snapshots of the folded state: kept by the ledger, sent over gRPC, loaded by a scheduler."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace

import asyncpg
import grpc.aio
import pytest
from structlog.testing import capture_logs

from fogbank.domain import fleet as fleet_module
from fogbank.domain.fleet import FleetState, StateDiffersError
from fogbank.domain.snapshots import Snapshot, SnapshotRefusedError, restored, snapshot_of
from fogbank.domain.state_encoding import digest_of, encode_state
from fogbank.log.memory import MemoryLog
from fogbank.log.port import Writer
from fogbank.log.snapshots import LedgerSnapshots, SnapshotSource
from fogbank.placement import ENGINE
from fogbank.runtime.clock import SystemClock
from fogbank.runtime.grpc_server import GrpcServer
from services.ledger import grpc_api
from services.ledger.adapters.snapshots import KEPT, PostgresSnapshots
from services.ledger.app.ports import StoreUnavailableError
from services.ledger.app.snapshots import Snapshots, Standing
from services.scheduler.app import Scheduler
from tests.support.ledger import (
    Ledger,
    StoredLog,
    a_running_ledger,
    migrated_database,
    rows_of,
    whole_tables,
)
from tests.support.mixed_story import MixedStory, tell
from tests.support.postgres import PostgresServer
from tests.support.schedulers import NoMeter, run_loops
from tests.support.waiting import eventually


@pytest.fixture(autouse=True)
def _often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fleet_module, "DIGEST_EVERY_ROUNDS", 8)


@pytest.fixture
def told() -> MixedStory:
    return tell(21, events=200, nodes=8)


def stored(told: MixedStory) -> StoredLog:
    log = StoredLog()
    log.publish(told.log)
    return log


def a_snapshot(told: MixedStory) -> Snapshot:
    """Return the last snapshot of a story that a ledger keeps: a round has its digest."""
    fleet, made = FleetState(keep_pieces=True), {}
    for commit in told.log.commits:
        fleet.fold(commit)
        if (snapshot := snapshot_of(fleet)) is not None:
            made[snapshot.digest] = snapshot
    return made[fleet.confirmed_digest]


@asynccontextmanager
async def asked(ledger: Ledger) -> AsyncIterator[LedgerSnapshots]:
    server = GrpcServer([grpc_api.SERVICE_NAME])
    ledger.serve(server.grpc)
    port = await server.start("127.0.0.1:0")
    try:
        async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
            yield LedgerSnapshots(channel)
    finally:
        await server.stop(0)


@asynccontextmanager
async def started(log: StoredLog, source: SnapshotSource) -> AsyncIterator[Scheduler]:
    """Run a scheduler that begins with a snapshot, until it has read the log."""
    own = MemoryLog(log.store, Writer("scheduler", "late"))
    scheduler = Scheduler(own, SystemClock(), NoMeter(), snapshots=source)
    async with run_loops(scheduler.follow):
        await eventually(scheduler.caught_up.is_set, what="the log read")
        yield scheduler


class Kept:
    """A source of one snapshot."""

    def __init__(self, snapshot: Snapshot | None) -> None:
        self._snapshot = snapshot

    async def newest(self) -> Snapshot | None:
        return self._snapshot


async def test_a_scheduler_begins_with_what_the_ledger_kept(url: str, told: MixedStory) -> None:
    log, wanted = stored(told), a_snapshot(told)
    async with a_running_ledger(url, log) as ledger, asked(ledger) as source:

        async def kept() -> bool:
            newest = await source.newest()
            return newest == wanted

        await eventually(kept, what="the last snapshot")
        async with started(log, source) as scheduler:
            assert scheduler.begun_at == wanted.position
            live = told.planners[0].fleet
            assert scheduler.planner.fleet.facts == live.facts
            assert scheduler.planner.fleet.decisions == live.decisions
            assert scheduler.planner.fleet.due_digest == live.due_digest
            uses = [(live.held(node_id), live.booked(node_id)) for node_id in live.facts.nodes]
            fleet = scheduler.planner.fleet
            assert uses == [
                (fleet.held(node_id), fleet.booked(node_id)) for node_id in live.facts.nodes
            ]
    assert len(await rows_of(url, "SELECT position FROM snapshots")) <= KEPT


def damaged(snapshot: Snapshot) -> Snapshot:
    piece = bytearray(snapshot.pieces[-1])
    piece[-1] ^= 1
    return replace(snapshot, pieces=(*snapshot.pieces[:-1], bytes(piece)))


def of_another_state(snapshot: Snapshot) -> Snapshot:
    """Return a sound snapshot of a state that the log doesn't lead to."""
    fleet = restored(snapshot, ENGINE)
    next(iter(fleet.facts.nodes.values())).order += 1
    pieces = tuple(encode_state(fleet.parts))
    return replace(snapshot, pieces=pieces, digest=digest_of(pieces))


@pytest.mark.parametrize("fault", ["damaged", "engine", "structure", "position", "other", "none"])
async def test_what_does_not_verify_is_ignored_and_the_log_folded(
    fault: str, told: MixedStory
) -> None:
    good = a_snapshot(told)
    bad = {
        "damaged": damaged(good),
        "engine": replace(good, engine=ENGINE + 1),
        "structure": replace(good, structure=bytes(32)),
        "position": replace(good, position=good.position - 1),
        "other": of_another_state(good),
        "none": None,
    }[fault]
    async with started(stored(told), Kept(bad)) as scheduler:
        assert scheduler.begun_at == 0
        assert scheduler.planner.fleet.decisions == told.planners[0].fleet.decisions
        assert scheduler.planner.fleet.facts == told.planners[0].fleet.facts


async def test_nobody_decides_on_a_snapshot_that_no_round_has_confirmed(told: MixedStory) -> None:
    """The log ends with the round that it was made after: the next would carry its digest."""
    good, log = a_snapshot(told), StoredLog()
    log.publish(told.log, upto=good.position)
    for unconfirmed in (good, of_another_state(good)):
        async with started(log, Kept(unconfirmed)) as scheduler:
            assert scheduler.begun_at == 0
            assert scheduler.planner.fleet.due_digest == good.digest


def test_a_refusal_says_why(told: MixedStory) -> None:
    good = a_snapshot(told)
    for bad, why in (
        (damaged(good), "its bytes have digest"),
        (replace(good, engine=7), "made of rounds of engine 7"),
        (replace(good, position=1), "it says sequence 1"),
    ):
        with pytest.raises(SnapshotRefusedError, match=why):
            restored(bad, ENGINE)


async def test_a_ledger_that_cannot_be_reached_is_no_hindrance(told: MixedStory) -> None:
    async with (
        grpc.aio.insecure_channel("127.0.0.1:1") as channel,
        started(stored(told), LedgerSnapshots(channel)) as scheduler,
    ):
        assert scheduler.begun_at == 0


class FullStore:
    """Keeps nothing."""

    def __init__(self) -> None:
        self.asked: list[Snapshot] = []

    async def write(self, snapshot: Snapshot) -> None:
        self.asked.append(snapshot)
        raise StoreUnavailableError("full")

    async def newest(self, upto: int | None = None) -> AsyncGenerator[Snapshot]:
        return
        yield

    async def standing(self) -> Standing:
        return Standing(0, {}, ())


async def test_a_snapshot_that_cannot_be_written_is_left_out(told: MixedStory) -> None:
    store = FullStore()
    snapshots = Snapshots(store)
    async with run_loops(snapshots.run):
        fleet = FleetState(keep_pieces=True)
        for commit in told.log.commits:
            fleet.fold(commit)
            snapshots.offer(fleet)
        await eventually(lambda: store.asked, what="a try to write")


async def test_what_damaged_memory_leads_to_is_not_kept(told: MixedStory) -> None:
    """The round that contradicts it comes right after it: what was confirmed before is written."""
    store, fleet = FullStore(), FleetState(keep_pieces=True)
    snapshots = Snapshots(store)
    confirmed: list[bytes] = []

    def live() -> None:
        for commit in told.log.commits:
            fleet.fold(commit)
            snapshots.offer(fleet)
            if fleet.confirmed_digest and not confirmed:
                confirmed.append(fleet.confirmed_digest)
                fleet.decisions.placed_total += 1

    with pytest.raises(StateDiffersError):
        live()
    async with run_loops(snapshots.run):
        await eventually(lambda: store.asked, what="a try to write")
    assert [snapshot.digest for snapshot in store.asked] == confirmed


async def restarted(url: str, told: MixedStory, mischief: str = "") -> list[str]:
    """Let a ledger end somewhat before the log's end, and another go on; return what that said."""
    part = StoredLog()
    part.publish(told.log, len(told.log.commits) - 30)
    async with a_running_ledger(url, part):

        async def kept() -> bool:
            return bool(await rows_of(url, "SELECT 1 FROM snapshots"))

        await eventually(kept, what="a snapshot")
    if mischief:
        await rows_of(url, mischief)
    with capture_logs() as said:
        async with a_running_ledger(url, stored(told)):
            pass
    return [line["event"] for line in said if "snapshot" in line["event"]]


async def test_a_ledger_leaves_a_snapshot_that_the_next_round_contradicts(
    url: str, postgres: PostgresServer, told: MixedStory
) -> None:
    """The tables end with the round that it was made after, as when memory was damaged before."""
    good, log = a_snapshot(told), StoredLog()
    log.publish(told.log, upto=good.position)
    async with a_running_ledger(url, log) as ledger:
        await PostgresSnapshots(ledger.engine).write(of_another_state(good))
    log.publish(told.log)
    async with a_running_ledger(url, log):
        pass
    assert await whole_tables(url) == await fresh_tables(postgres, told)


async def fresh_tables(
    postgres: PostgresServer, told: MixedStory
) -> dict[str, list[asyncpg.Record]]:
    """Return the tables of a ledger that saw the whole log in one life."""
    async with migrated_database(postgres) as url, a_running_ledger(url, stored(told)):
        return await whole_tables(url)


async def test_a_ledger_begins_with_its_own_snapshot(
    url: str, postgres: PostgresServer, told: MixedStory
) -> None:
    said = await restarted(url, told)
    assert said[0] == "Begins with a snapshot"
    assert "A snapshot is ignored, the log is folded instead" not in said
    assert await whole_tables(url) == await fresh_tables(postgres, told)


@pytest.mark.parametrize(
    "mischief",
    [
        "UPDATE snapshot_blocks SET data = decode('00', 'hex')",
        "UPDATE snapshots SET engine = engine + 1",
        "UPDATE snapshots SET structure = sha256('other')",
        "UPDATE snapshots SET digest = sha256(digest)",
    ],
)
async def test_a_snapshot_that_does_not_verify_is_ignored_by_its_ledger(
    url: str, postgres: PostgresServer, told: MixedStory, mischief: str
) -> None:
    said = await restarted(url, told, mischief)
    assert said[0] == "A snapshot is ignored, the log is folded instead"
    assert await whole_tables(url) == await fresh_tables(postgres, told)
