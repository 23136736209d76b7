"""A state grows neither with what was deleted nor with what was replaced."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from fogbank.domain import events as ev
from fogbank.domain import fleet as fleet_module
from fogbank.domain import forgetting
from fogbank.domain.fleet import FleetState
from fogbank.domain.forgetting import KEPT_DELETED_US
from fogbank.domain.snapshots import STRUCTURE, Snapshot, restored
from fogbank.domain.state_encoding import digest_of, encode_state, fields_of
from fogbank.domain.states import ReplicaState
from fogbank.placement import ENGINE
from tests.support.fleet import LittleFleet
from tests.support.fleet_log import a_spec
from tests.support.mixed_story import rederive, tell

CYCLE_MS = 4 * 3600 * 1_000
REPLICAS = 2
# Deployments that are remembered after their deletion, and the one that lives.
KEPT = KEPT_DELETED_US // (CYCLE_MS * 1_000) + 2
# Of a deployment: two rows, and two for each replica; its commands' ids are known for a day.
ROWS_EACH = 2 + 2 * REPLICAS
KNOWN = 2 * (24 * 3600 * 1_000 // CYCLE_MS + 1)


def rows(state: FleetState) -> int:
    """Count the rows of all tables."""
    tables = [held.table for held in fields_of(state.parts) if hasattr(held, "table")]
    return sum(map(len, tables))


def churn(fleet: LittleFleet, cycles: int) -> Iterator[None]:
    """Let deployments come and go, one after the other."""
    for _ in range(cycles):
        deployment_id = fleet.deploy(a_spec(replicas=REPLICAS))
        fleet.settle()
        fleet.obey()
        fleet.fact(ev.DeploymentDeleted(deployment_id))
        fleet.settle()
        fleet.obey()
        fleet.log.pass_ms(CYCLE_MS)
        yield


@pytest.mark.parametrize("cycles", [150, pytest.param(2_000, marks=pytest.mark.slow)])
@pytest.mark.timeout(600)
def test_thousands_of_deployments_come_and_go_and_the_state_stays_small(
    cycles: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fleet_module, "DIGEST_EVERY_ROUNDS", 50)
    fleet = LittleFleet()
    fleet.connect("fog-1")
    fleet.connect("fog-2")
    state = fleet.planner.fleet
    lasting = rows(state)
    most = max(rows(state) for _ in churn(fleet, cycles))
    assert most <= lasting + KEPT * ROWS_EACH + KNOWN
    assert len(fleet.tracker.current) <= KEPT
    # No fact lies behind the last round, so all is read when that is.
    fleet.deploy(a_spec())
    fleet.settle()
    rederiver, found = rederive(fleet.log.commits)
    assert [str(each) for each in found if not each.same] == []
    assert list(encode_state(rederiver.fleet.parts)) == list(encode_state(state.parts))
    assert state.confirmed_digest


def live_on(fleet: LittleFleet, days: int) -> Iterator[None]:
    """Let one deployment be updated each day, and another one crash each hour."""
    updated = fleet.deploy(a_spec(replicas=REPLICAS))
    crashing = fleet.deploy(a_spec())
    for day in range(days):
        fleet.update(updated, a_spec(replicas=REPLICAS, cpu=100 + day % 7))
        for _ in range(24):
            for _ in range(4):  # a rollout goes replica by replica
                fleet.log.pass_ms(60_000)
                fleet.settle()
                fleet.obey()
            decisions = fleet.planner.fleet.decisions
            placed = decisions.placements[decisions.of(crashing).slots[0]]
            if fleet.planner.fleet.replica_state(placed) is ReplicaState.RUNNING:
                seen = fleet.log.seen(placed.id, ReplicaState.FAILED, final=True, exit_code=1)
                fleet.fold(fleet.log.report(placed.node_id, seen))
            fleet.log.pass_ms(56 * 60_000)
        yield


@pytest.mark.parametrize("days", [11, pytest.param(200, marks=pytest.mark.slow)])
@pytest.mark.timeout(600)
def test_deployments_are_updated_and_crash_for_ever_and_the_state_stays_small(
    days: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fleet_module, "DIGEST_EVERY_ROUNDS", 50)
    fleet = LittleFleet()
    for number in range(1, 4):
        fleet.connect(f"fog-{number}")
    counts = [rows(fleet.planner.fleet) for _ in live_on(fleet, days)]
    # Within the first week nothing is forgotten; a day more or less lies between update and round.
    assert counts[6] > 300
    assert max(counts) <= counts[8]
    fleet.deploy(a_spec())
    fleet.settle()
    rederiver, found = rederive(fleet.log.commits)
    assert [str(each) for each in found if not each.same] == []
    state = fleet.planner.fleet
    assert list(encode_state(rederiver.fleet.parts)) == list(encode_state(state.parts))
    assert state.confirmed_digest


@pytest.mark.parametrize(
    ("seed", "events"),
    [(21, 300), *(pytest.param(seed, 900, marks=pytest.mark.slow) for seed in range(22, 26))],
)
@pytest.mark.timeout(600)
def test_all_who_read_a_mixed_log_forget_the_same(
    seed: int, events: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With facts and rounds apart, and from every snapshot on."""
    monkeypatch.setattr(forgetting, "KEPT_DELETED_US", 20_000_000)
    monkeypatch.setattr(forgetting, "kept_superseded_us", lambda _: 5_000_000)
    monkeypatch.setattr(fleet_module, "DIGEST_EVERY_ROUNDS", 5)
    told = tell(seed, events=events)
    live = told.planners[0].fleet
    assert live.confirmed_digest
    rederiver, found = rederive(told.log.commits)
    assert [str(each) for each in found if not each.same] == []
    assert rederiver.fleet.decisions == live.decisions
    reader, forgotten = FleetState(keep_pieces=True), 0
    begun: list[FleetState] = []
    for commit in told.log.commits:
        forgotten += len(reader.fold(commit).forgotten)
        for each in begun:
            each.fold(commit)
        if reader.pieces and len(begun) < 6:
            pieces, reader.pieces = reader.pieces, ()
            snapshot = Snapshot(reader.position, ENGINE, STRUCTURE, digest_of(pieces), pieces)
            begun.append(restored(snapshot, ENGINE))
    assert forgotten
    assert reader.decisions.remembered
    assert all(each.confirmed_digest for each in begun)
    last = list(encode_state(reader.parts))
    assert all(list(encode_state(each.parts)) == last for each in begun)
