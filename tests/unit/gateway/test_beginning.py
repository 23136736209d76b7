"""A gateway that starts begins with a snapshot and the ledger's statuses, or folds it all."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from functools import cache

import pytest
from structlog.testing import capture_logs

from fogbank.domain import fleet as fleet_module
from fogbank.domain import forgetting
from fogbank.domain.errors import UnavailableError
from fogbank.domain.fleet import FleetState
from fogbank.domain.snapshots import Snapshot, restored, snapshot_of
from fogbank.domain.state_encoding import digest_of, encode_state
from fogbank.domain.states import DeploymentStatus
from fogbank.domain.views import AsOf, StatusRecord
from fogbank.log.memory import MemoryLog
from fogbank.log.port import Writer
from fogbank.placement import ENGINE
from services.gateway.app.fold import FleetFold
from services.gateway.app.views import deployment_view
from tests.support.fleet_log import an_id
from tests.support.ledger import StoredLog
from tests.support.mixed_story import MixedStory, tell
from tests.support.schedulers import run_loops
from tests.support.statuses import LogStatuses

Records = tuple[StatusRecord, ...]


@pytest.fixture(autouse=True)
def _often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fleet_module, "DIGEST_EVERY_ROUNDS", 8)


@cache
def told() -> MixedStory:
    return tell(21, events=200, nodes=8)


def stored(story: MixedStory | None = None) -> StoredLog:
    log = StoredLog()
    log.publish((story or told()).log)
    return log


def a_snapshot(story: MixedStory | None = None) -> Snapshot:
    """Return the last snapshot of the story but one, so that a digest comes after it."""
    fleet, found = FleetState(keep_pieces=True), []
    for commit in (story or told()).log.commits:
        fleet.fold(commit)
        if fleet.pieces and (snapshot := snapshot_of(fleet)) is not None:
            found.append(snapshot)
    return found[-2]


class Kept:
    """A source of one snapshot."""

    def __init__(self, snapshot: Snapshot) -> None:
        self._snapshot = snapshot

    async def newest(self) -> Snapshot:
        return self._snapshot


class Altered(LogStatuses):
    """Statuses as of `behind` commits before the log's end, altered before they are told."""

    def __init__(
        self, log: MemoryLog, alter: Callable[[Records], Records] = lambda records: records
    ) -> None:
        super().__init__(log)
        self._alter = alter
        self.as_of = 0

    async def statuses(self) -> AsyncGenerator[AsOf[Records]]:
        async for part in super().statuses():
            yield AsOf(self._alter(part.value), self.as_of or part.as_of_sequence)


@asynccontextmanager
async def gateway(
    log: MemoryLog, statuses: LogStatuses, snapshot: Snapshot | None = None
) -> AsyncIterator[FleetFold]:
    fold = FleetFold(log, statuses, snapshots=Kept(snapshot) if snapshot else None)
    async with run_loops(fold.run):
        await fold.caught_up.wait()
        yield fold


def a_log(log: StoredLog) -> MemoryLog:
    return MemoryLog(log.store, Writer("gateway", "late"))


def seen(fold: FleetFold) -> list[object]:
    """Return all that a gateway shows."""
    facts = fold.fleet.facts
    views = [deployment_view(fold, each) for each in facts.deployments.values()]
    rooms = [(fold.fleet.held(each), fold.fleet.booked(each)) for each in facts.nodes]
    decisions = fold.fleet.decisions
    counted = (fold.counts.pending, fold.waiting.depth)
    return [fold.position, counted, fold.leader, facts, decisions, views, rooms]


async def test_a_gateway_that_begins_with_a_snapshot_shows_what_folding_shows() -> None:
    snapshot, log = a_snapshot(), a_log(stored())
    async with (
        gateway(log, LogStatuses(log)) as whole,
        gateway(log, LogStatuses(log), snapshot) as begun,
    ):
        assert whole.begun_at == 0
        assert begun.begun_at == begun.position == whole.position
        assert seen(begun) == seen(whole)
        clusters = {each.spec.cluster_id for each in whole.fleet.facts.deployments.values()}
        for cluster_id in clusters:
            assert begun.counts.of_cluster(cluster_id) == whole.counts.of_cluster(cluster_id)
        # Who watches nodes from before the start is shown them all.
        touched = [node_id for _, node_id in begun.nodes_touched_after(1)]
        assert sorted(touched) == sorted(whole.fleet.facts.nodes)


async def test_what_the_fleet_has_forgotten_is_not_begun_with(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The ledger's tables still have it."""
    monkeypatch.setattr(forgetting, "KEPT_DELETED_US", 5_000_000)
    story = tell(23, events=400, nodes=8)
    snapshot, reader = a_snapshot(story), FleetState()
    forgotten = {gone for each in story.log.commits for gone in reader.fold(each).forgotten}
    assert forgotten
    log = a_log(stored(story))
    async with (
        gateway(log, LogStatuses(log)) as whole,
        gateway(log, LogStatuses(log), snapshot) as begun,
    ):
        assert (whole.begun_at, begun.begun_at) == (0, begun.position)
        assert seen(begun) == seen(whole)
        for fold in (whole, begun):
            assert fold.tracker.current.keys() == fold.fleet.facts.deployments.keys()
            assert not any(fold.recent_changes(gone) for gone in forgotten)
            counted = sum(sum(fold.counts.of_cluster(each).values()) for each in (1, 2))
            living = [each for each in fold.fleet.facts.deployments.values() if not each.deleted]
            assert counted == len(living)


async def test_what_comes_after_the_statuses_is_told_as_changes() -> None:
    """Statuses as of the snapshot: all later changes are the gateway's own to find."""
    snapshot, whole_log = a_snapshot(), stored()
    early = StoredLog()
    early.publish(told().log, snapshot.position)
    log, statuses = a_log(whole_log), LogStatuses(a_log(early))
    async with gateway(log, LogStatuses(log)) as whole, gateway(log, statuses, snapshot) as begun:
        assert begun.begun_at == snapshot.position
        assert seen(begun) == seen(whole)
        after, known = (
            snapshot.position,
            [anext(fold.changes_after(snapshot.position)) for fold in (begun, whole)],
        )
        changes, expected = [await each for each in known]
        assert changes == expected
        assert changes[0][0].sequence > after
        assert statuses.asked == 1


async def test_changes_from_before_the_start_come_from_the_ledger() -> None:
    log = a_log(stored())
    statuses = LogStatuses(log)
    async with (
        gateway(log, LogStatuses(log)) as whole,
        gateway(log, statuses, a_snapshot()) as begun,
    ):
        expected, upto = await anext(whole.changes_after(1))
        assert (await anext(begun.changes_after(1))) == (expected, upto)
        assert statuses.asked == 2


def wrong_status(records: Records) -> Records:
    stands = {DeploymentStatus.DELETED, DeploymentStatus.PENDING}
    running = next(each for each in records if each.status not in stands)
    return tuple(
        replace(each, status=DeploymentStatus.COMPLETED) if each is running else each
        for each in records
    )


def one_missing(records: Records) -> Records:
    return records[1:]


def one_unknown(records: Records) -> Records:
    running = next(each for each in records if each.status is not DeploymentStatus.DELETED)
    return (*records, replace(running, deployment_id=an_id("unknown")))


@pytest.mark.parametrize("alter", [wrong_status, one_missing, one_unknown])
async def test_statuses_that_cannot_be_are_not_used(alter: Callable[[Records], Records]) -> None:
    log = a_log(stored())
    with capture_logs() as logs:
        async with (
            gateway(log, LogStatuses(log)) as whole,
            gateway(log, Altered(log, alter), a_snapshot()) as begun,
        ):
            assert begun.begun_at == 0
            assert seen(begun) == seen(whole)
    (warning,) = [each for each in logs if each["log_level"] == "warning"]
    assert warning["event"] == "A snapshot is ignored, the log is folded instead"


async def test_tables_from_before_the_snapshot_are_not_used() -> None:
    log, snapshot = a_log(stored()), a_snapshot()
    statuses = Altered(log)
    statuses.as_of = snapshot.position - 1
    async with gateway(log, statuses, snapshot) as begun:
        assert begun.begun_at == 0
        assert begun.position == len(told().log.commits)


async def test_a_ledger_that_does_not_answer_is_done_without() -> None:
    def silent(_: Records) -> Records:
        raise UnavailableError("the ledger does not answer")

    log = a_log(stored())
    async with gateway(log, Altered(log, silent), a_snapshot()) as begun:
        assert begun.begun_at == 0
        assert begun.position == len(told().log.commits)


async def test_a_snapshot_that_no_round_has_confirmed_is_dropped() -> None:
    """The log ends with the round that it was made after: the next would carry its digest."""
    snapshot, short = a_snapshot(), StoredLog()
    short.publish(told().log, snapshot.position)
    log = a_log(short)
    async with gateway(log, LogStatuses(log), snapshot) as begun:
        assert begun.begun_at == 0
        assert begun.position == snapshot.position


async def test_a_snapshot_of_another_state_is_found_out_and_dropped() -> None:
    """Sound in itself, but the next digest in the log is another: folded again from the start."""
    good, log = a_snapshot(), a_log(stored())
    fleet = restored(good, ENGINE)
    next(iter(fleet.facts.nodes.values())).order += 1
    pieces = tuple(encode_state(fleet.parts))
    other = replace(good, pieces=pieces, digest=digest_of(pieces))
    early = StoredLog()
    early.publish(told().log, good.position)
    for statuses in (LogStatuses(log), LogStatuses(a_log(early))):
        async with gateway(log, LogStatuses(log)) as whole, gateway(log, statuses, other) as begun:
            assert begun.begun_at == 0
            assert seen(begun) == seen(whole)
