"""Replicas that ended and were replaced long ago leave the state, but for what is asked of them."""

from __future__ import annotations

from dataclasses import replace

import pytest

from fogbank.domain import events as ev
from fogbank.domain.decisions import PlacedReplica
from fogbank.domain.disruption import DisruptionRules
from fogbank.domain.forgetting import FORGETTING_ENGINE, kept_superseded_us
from fogbank.domain.good_revisions import good_from_us
from fogbank.domain.policy import Policy
from fogbank.domain.remembered import MOST_IN_A_ROW, BrokenRow, Remembered
from fogbank.domain.snapshots import STRUCTURE, Snapshot, restored
from fogbank.domain.state_encoding import digest_of, encode_state
from fogbank.domain.states import DeploymentStatus, ReplicaState
from fogbank.domain.status import replica_views
from fogbank.placement import ENGINE
from fogbank.placement.absent_images import turned_down
from fogbank.placement.needs import need_of
from tests.support.fleet import LittleFleet
from tests.support.fleet_log import a_spec

DAY_MS = 24 * 3600 * 1_000
WEEK_MS = 7 * DAY_MS


@pytest.fixture
def fleet() -> LittleFleet:
    fleet = LittleFleet()
    for number in range(1, 4):
        fleet.connect(f"fog-{number}")
    return fleet


def running(fleet: LittleFleet, replicas: int = 1) -> str:
    deployment_id = fleet.deploy(a_spec(replicas=replicas))
    fleet.settle()
    fleet.obey()
    return deployment_id


def known(fleet: LittleFleet, deployment_id: str) -> list[tuple[int, int]]:
    """Return slot and generation of the replicas that the state has of a deployment."""
    state = fleet.planner.fleet
    placed = [
        each for each in state.decisions.placements.values() if each.deployment_id == deployment_id
    ]
    assert {each.id for each in placed} == {*state.decisions.of(deployment_id).replica_ids}
    assert {each for each, _ in state.facts.observed} <= {*state.decisions.placements}
    return sorted((each.slot, each.generation) for each in placed)


def in_slot(fleet: LittleFleet, deployment_id: str, slot: int = 0) -> PlacedReplica:
    decisions = fleet.planner.fleet.decisions
    return decisions.placements[decisions.of(deployment_id).slots[slot]]


def fail(fleet: LittleFleet, deployment_id: str, *, rejected: bool = False) -> None:
    """Let the replica in slot 0 break, and be replaced as soon as that may be."""
    placed = in_slot(fleet, deployment_id)
    seen = fleet.log.seen(placed.id, ReplicaState.FAILED, final=True, exit_code=1)
    if rejected:
        seen = replace(seen, state=ReplicaState.REJECTED, started_at_us=0, unobtainable=True)
    fleet.fold(fleet.log.report(placed.node_id, seen))
    state = fleet.planner.fleet
    ((_, at_us),) = need_of(state, state.facts.deployments[deployment_id]).vacant
    fleet.log.pass_ms(max(at_us - fleet.log.now_us, 0) // 1_000)
    fleet.settle()


def roll(fleet: LittleFleet, deployment_id: str, cpu: int) -> None:
    """Update a deployment until all is of the new revision."""
    replicas = fleet.planner.fleet.facts.deployments[deployment_id].spec.replicas
    fleet.update(deployment_id, a_spec(replicas=replicas, cpu=cpu))
    for _ in range(3 * replicas):
        fleet.settle()
        fleet.obey()
        fleet.log.pass_ms(10_000)


def test_a_replaced_replica_is_forgotten_seven_days_after_its_slot_got_another(
    fleet: LittleFleet,
) -> None:
    deployment_id = running(fleet)
    fail(fleet, deployment_id)
    fleet.obey()
    fleet.log.pass_ms(WEEK_MS - 1)
    fleet.another_round()
    assert known(fleet, deployment_id) == [(0, 1), (0, 2)]
    fleet.log.pass_ms(1)
    fleet.another_round()
    assert known(fleet, deployment_id) == [(0, 2)]
    assert fleet.status(deployment_id) is DeploymentStatus.RUNNING


def test_the_last_of_each_slot_is_kept_whatever_became_of_it(fleet: LittleFleet) -> None:
    """A deleted deployment is shown with them, and a new one gets the next generation."""
    deployment_id = running(fleet, replicas=3)
    fail(fleet, deployment_id)
    fleet.obey()
    fleet.fact(ev.DeploymentScaled(deployment_id, 1))
    fleet.settle()
    fleet.obey()
    fleet.log.pass_ms(WEEK_MS)
    fleet.another_round()
    last = [(0, 2), (1, 1), (2, 1)]
    assert known(fleet, deployment_id) == last
    fleet.fact(ev.DeploymentDeleted(deployment_id))
    state = fleet.planner.fleet
    views = replica_views(state, state.facts.deployments[deployment_id])
    assert [(each.slot, each.generation) for each in views] == last


def test_one_that_ends_long_after_it_was_replaced_is_forgotten_then(fleet: LittleFleet) -> None:
    deployment_id = running(fleet)
    away = in_slot(fleet, deployment_id)
    silence = fleet.silence(away.node_id)
    fleet.decide(silence)
    fleet.log.pass_ms(60_000)
    fleet.settle()
    fleet.obey()
    fleet.log.pass_ms(WEEK_MS)
    fleet.another_round()
    assert known(fleet, deployment_id) == [(0, 1), (0, 2)]
    fleet.fact(ev.NodeRemoved(away.node_id))
    fleet.another_round()
    assert known(fleet, deployment_id) == [(0, 2)]


def test_rounds_of_earlier_engines_forget_none(fleet: LittleFleet) -> None:
    deployment_id = running(fleet)
    fail(fleet, deployment_id)
    fleet.obey()
    fleet.log.pass_ms(WEEK_MS)
    fleet.deploy(a_spec())
    decided = fleet.planner.decide(fleet.log.now_us)
    assert decided is not None
    former = replace(decided.event, engine=FORGETTING_ENGINE - 1)
    fleet.fold(fleet.log.round(former))
    assert known(fleet, deployment_id) == [(0, 1), (0, 2)]


def test_failures_are_known_for_as_long_as_they_count_against_nodes(fleet: LittleFleet) -> None:
    fades_ms = 9 * DAY_MS
    assert kept_superseded_us(fades_ms) == fades_ms * 1_000
    fleet.fact(ev.PolicyActivated(Policy(disruption=DisruptionRules(failure_fades_ms=fades_ms))))
    deployment_id = running(fleet)
    fail(fleet, deployment_id)
    fleet.obey()
    fleet.log.pass_ms(8 * DAY_MS)
    fleet.another_round()
    assert known(fleet, deployment_id) == [(0, 1), (0, 2)]
    fleet.log.pass_ms(DAY_MS)
    fleet.another_round()
    assert known(fleet, deployment_id) == [(0, 2)]


def test_revisions_that_were_well_are_remembered(fleet: LittleFleet) -> None:
    deployment_id = running(fleet, replicas=2)
    for cpu in (110, 120):
        roll(fleet, deployment_id, cpu)
    state = fleet.planner.fleet
    deployment = state.facts.deployments[deployment_id]
    before = good_from_us(state, deployment)
    assert sorted(before) == [1, 2]
    fleet.log.pass_ms(WEEK_MS)
    fleet.another_round()
    assert known(fleet, deployment_id) == [(0, 3), (1, 3)]
    assert good_from_us(state, deployment) == before


def test_that_it_ever_ran_is_remembered_where_nodes_turn_it_down(fleet: LittleFleet) -> None:
    rules = DisruptionRules(absent_image_nodes=1)
    policy = Policy(reschedule_delay_ms=4 * DAY_MS, reschedule_delay_max_ms=4 * DAY_MS)
    fleet.fact(ev.PolicyActivated(replace(policy, disruption=rules)))
    deployment_id = running(fleet)
    fail(fleet, deployment_id)
    for _ in range(3):
        fail(fleet, deployment_id, rejected=True)
    assert (0, 1) not in known(fleet, deployment_id)
    state = fleet.planner.fleet
    assert turned_down(state, state.facts.deployments[deployment_id]) == ""
    state.decisions.remembered.discard(deployment_id)
    assert turned_down(state, state.facts.deployments[deployment_id])


def test_waits_go_on_doubling_over_those_that_are_forgotten(fleet: LittleFleet) -> None:
    policy = Policy(reschedule_delay_ms=DAY_MS, reschedule_delay_max_ms=30 * DAY_MS)
    fleet.fact(ev.PolicyActivated(policy))
    deployment_id = running(fleet)
    waits = []
    for _ in range(6):
        before_us = fleet.log.now_us
        fail(fleet, deployment_id)
        waits.append((fleet.log.now_us - before_us) // 1_000 // DAY_MS)
    assert waits == [1, 2, 4, 8, 16, 30]
    assert len(known(fleet, deployment_id)) < 4


def test_who_begins_with_a_snapshot_forgets_the_same(fleet: LittleFleet) -> None:
    deployment_id = running(fleet, replicas=2)
    fail(fleet, deployment_id)
    fleet.obey()
    roll(fleet, deployment_id, 110)
    fleet.another_round()
    state = fleet.planner.fleet
    pieces = tuple(encode_state(state.parts))
    snapshot = Snapshot(state.position, ENGINE, STRUCTURE, digest_of(pieces), pieces)
    begun = restored(snapshot, ENGINE)
    behind = len(fleet.log.commits)
    fail(fleet, deployment_id)
    fleet.obey()
    fleet.log.pass_ms(WEEK_MS)
    fleet.another_round()
    for commit in fleet.log.commits[behind:]:
        begun.fold(commit)
    assert known(fleet, deployment_id) == [(0, 4), (1, 2)]
    assert begun.facts == state.facts
    for name in ("deployments", "placements", "remembered"):
        assert getattr(begun.decisions, name) == getattr(state.decisions, name)


def test_what_is_remembered_goes_with_the_deployment(fleet: LittleFleet) -> None:
    deployment_id = running(fleet)
    fail(fleet, deployment_id)
    fleet.obey()
    fleet.log.pass_ms(WEEK_MS)
    fleet.another_round()
    state = fleet.planner.fleet
    assert deployment_id in state.decisions.remembered
    fleet.fact(ev.DeploymentDeleted(deployment_id))
    fleet.settle()
    fleet.obey()
    fleet.log.pass_ms(WEEK_MS)
    assert fleet.another_round().forgotten == (deployment_id,)
    assert deployment_id not in state.decisions.remembered


def test_rows_of_broken_ones_are_counted_to_where_they_no_longer_matter() -> None:
    known = Remembered()
    for generation in range(1, 3 * MOST_IN_A_ROW):
        known = known.with_end(0, generation, broke=True)
        assert known.broken_before(0, generation + 1) == min(generation, MOST_IN_A_ROW)
        assert known.broken_before(1, generation + 1) == 0
    assert known.with_end(0, 3 * MOST_IN_A_ROW, broke=False).rows == ()


def test_one_that_ended_late_changes_no_row() -> None:
    known = Remembered().with_end(0, 5, broke=True)
    assert known.with_end(0, 2, broke=False) == known.with_end(0, 2, broke=True) == known
    assert known.with_end(1, 2, broke=True).rows == (BrokenRow(0, 5, 1), BrokenRow(1, 2, 1))


def test_revisions_that_are_no_longer_kept_are_not_remembered() -> None:
    known = Remembered().with_good(1, 50, {1, 2}).with_good(1, 70, {1, 2}).with_good(2, 90, {1, 2})
    assert known.good == ((1, 50), (2, 90))
    assert known.with_good(2, None, {2, 3}).good == ((2, 90),)
    assert known.with_good(4, 10, {2}).good == ((2, 90),)
