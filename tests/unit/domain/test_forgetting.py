"""Deployments that were deleted long ago leave the state, with their replicas, by rounds."""

from __future__ import annotations

from dataclasses import replace

import pytest

from fogbank.domain import events as ev
from fogbank.domain.fleet import FleetState
from fogbank.domain.forgetting import FORGETTING_ENGINE, KEPT_DELETED_US
from fogbank.domain.rebalance_status import rebalance_view
from fogbank.domain.snapshots import STRUCTURE, Snapshot, restored
from fogbank.domain.state_encoding import digest_of, encode_state
from fogbank.domain.states import DeploymentStatus, ReplicaState
from fogbank.domain.verdict import VoidReason
from fogbank.placement import ENGINE
from tests.support.fleet import LittleFleet
from tests.support.fleet_log import a_spec

KEPT_MS = KEPT_DELETED_US // 1_000


@pytest.fixture
def fleet() -> LittleFleet:
    fleet = LittleFleet()
    fleet.connect("fog-1")
    fleet.connect("fog-2")
    return fleet


def running(fleet: LittleFleet, replicas: int = 2) -> str:
    deployment_id = fleet.deploy(a_spec(replicas=replicas))
    fleet.settle()
    fleet.obey()
    return deployment_id


def delete(fleet: LittleFleet, deployment_id: str) -> None:
    """Delete a deployment; its replicas end."""
    fleet.fact(ev.DeploymentDeleted(deployment_id))
    fleet.settle()
    fleet.obey()


def knows(state: FleetState, deployment_id: str) -> list[str]:
    """Return where a state has something of a deployment."""
    decisions, facts = state.decisions, state.facts
    replicas = {each.id for each in decisions.placements.values()}
    return [
        name
        for name, has in {
            "deployment": deployment_id in facts.deployments,
            "decision": deployment_id in decisions.deployments,
            "placements": any(
                each.deployment_id == deployment_id for each in decisions.placements.values()
            ),
            "observed": any(known not in replicas for known, _ in facts.observed),
        }.items()
        if has
    ]


def test_a_deleted_deployment_is_forgotten_by_the_first_round_seven_days_later(
    fleet: LittleFleet,
) -> None:
    kept, deleted = running(fleet), running(fleet)
    delete(fleet, deleted)
    fleet.log.pass_ms(KEPT_MS - 1)
    assert fleet.another_round().forgotten == ()
    state = fleet.planner.fleet
    assert knows(state, deleted) == ["deployment", "decision", "placements"]
    fleet.log.pass_ms(1)
    assert fleet.another_round().forgotten == (deleted,)
    assert knows(state, deleted) == []
    assert knows(state, kept) == ["deployment", "decision", "placements"]
    assert deleted not in fleet.tracker.current
    assert deleted not in fleet.tracker.updated_at_us
    assert fleet.status(kept) is DeploymentStatus.RUNNING


def test_one_with_a_replica_that_has_not_ended_is_kept_until_that_has(fleet: LittleFleet) -> None:
    deployment_id = running(fleet)
    fleet.fact(ev.DeploymentDeleted(deployment_id))
    fleet.settle()
    fleet.log.pass_ms(KEPT_MS)
    assert fleet.another_round().forgotten == ()
    fleet.obey()
    assert knows(fleet.planner.fleet, deployment_id)
    assert fleet.another_round().forgotten == (deployment_id,)


def test_one_whose_last_node_was_removed_is_forgotten(fleet: LittleFleet) -> None:
    deployment_id = running(fleet, replicas=1)
    (placed,) = fleet.planner.fleet.present(deployment_id)
    fleet.fact(ev.DeploymentDeleted(deployment_id))
    fleet.settle()
    fleet.log.pass_ms(KEPT_MS)
    assert fleet.another_round().forgotten == ()
    fleet.fact(ev.NodeRemoved(placed.node_id))
    assert fleet.another_round().forgotten == (deployment_id,)
    assert knows(fleet.planner.fleet, deployment_id) == []


def test_one_that_a_round_placed_while_it_was_deleted_is_forgotten_when_that_has_ended(
    fleet: LittleFleet,
) -> None:
    deployment_id = fleet.deploy(a_spec())
    decided = fleet.planner.decide(fleet.log.now_us)
    assert decided is not None
    fleet.fact(ev.DeploymentDeleted(deployment_id))
    fleet.fold(fleet.log.round(decided.event))
    fleet.settle()
    fleet.log.pass_ms(KEPT_MS)
    assert fleet.another_round().forgotten == ()
    fleet.obey()
    assert fleet.another_round().forgotten == (deployment_id,)


def test_one_that_was_never_placed_is_forgotten_too(fleet: LittleFleet) -> None:
    deployment_id = fleet.deploy(a_spec())
    fleet.fact(ev.DeploymentDeleted(deployment_id))
    fleet.log.pass_ms(KEPT_MS)
    assert fleet.another_round().forgotten == (deployment_id,)


def test_rounds_of_earlier_engines_forget_nothing(fleet: LittleFleet) -> None:
    deployment_id = running(fleet)
    delete(fleet, deployment_id)
    fleet.log.pass_ms(KEPT_MS)
    fleet.deploy(a_spec())
    decided = fleet.planner.decide(fleet.log.now_us)
    assert decided is not None
    former = replace(decided.event, engine=FORGETTING_ENGINE - 1)
    assert fleet.planner.fold(fleet.log.round(former)).forgotten == ()
    assert knows(fleet.planner.fleet, deployment_id)
    assert fleet.another_round().forgotten == (deployment_id,)


def test_who_begins_with_a_snapshot_forgets_the_same(fleet: LittleFleet) -> None:
    over, lingering, living = (running(fleet) for _ in range(3))
    delete(fleet, over)
    fleet.fact(ev.DeploymentDeleted(lingering))
    fleet.another_round()
    state = fleet.planner.fleet
    pieces = tuple(encode_state(state.parts))
    snapshot = Snapshot(state.position, ENGINE, STRUCTURE, digest_of(pieces), pieces)
    begun = restored(snapshot, ENGINE)
    fleet.log.pass_ms(KEPT_MS)
    behind = len(fleet.log.commits)
    assert fleet.another_round().forgotten == (over,)
    fleet.obey()
    assert fleet.another_round().forgotten == (lingering,)
    forgotten = [begun.fold(commit).forgotten for commit in fleet.log.commits[behind:]]
    assert [each for each in forgotten if each] == [(over,), (lingering,)]
    assert begun.facts == state.facts
    assert begun.decisions.deployments == state.decisions.deployments
    assert begun.decisions.placements == state.decisions.placements
    assert knows(begun, living)


def test_commands_on_a_forgotten_deployment_find_none(fleet: LittleFleet) -> None:
    deployment_id = running(fleet)
    delete(fleet, deployment_id)
    again = fleet.log.fact(ev.DeploymentDeleted(deployment_id))
    assert fleet.planner.fold(again).verdicts[0].reason is VoidReason.DELETED
    fleet.log.pass_ms(KEPT_MS)
    fleet.another_round()
    again = fleet.log.fact(ev.DeploymentDeleted(deployment_id))
    assert fleet.planner.fold(again).verdicts[0].reason is VoidReason.UNKNOWN_DEPLOYMENT


def test_the_id_of_a_forgotten_deployment_may_be_used_again(fleet: LittleFleet) -> None:
    deployment_id = running(fleet)
    delete(fleet, deployment_id)
    fleet.log.pass_ms(KEPT_MS - 1)
    fleet.another_round()
    _, early = fleet.log.deploy(a_spec(), deployment_id)
    assert fleet.planner.fold(early).verdicts[0].reason is VoidReason.DUPLICATE
    fleet.log.pass_ms(1)
    fleet.another_round()
    _, anew = fleet.log.deploy(a_spec(replicas=2), deployment_id)
    fleet.fold(anew)
    fleet.settle()
    fleet.obey()
    assert fleet.status(deployment_id) is DeploymentStatus.RUNNING
    placed = fleet.planner.fleet.present(deployment_id)
    assert {(each.slot, each.generation) for each in placed} == {(0, 1), (1, 1)}


def test_its_creation_is_nobodys_first_event_any_more(fleet: LittleFleet) -> None:
    """Also where no fact came since, with which old ids are forgotten."""
    deployment_id = fleet.deploy(a_spec())
    created = fleet.log.commits[-1].envelopes[0]
    fleet.fact(ev.DeploymentDeleted(deployment_id))
    waiting = fleet.deploy(a_spec())
    fleet.log.pass_ms(KEPT_MS)
    decided = fleet.planner.decide(fleet.log.now_us)
    assert decided is not None
    facts = fleet.planner.fleet.facts
    assert facts.first(created) is not None
    assert fleet.planner.fold(fleet.log.round(decided.event)).forgotten == (deployment_id,)
    assert facts.first(created) is None
    assert waiting in facts.deployments


def test_a_rebalance_tells_how_far_it_is_when_what_it_moved_is_forgotten(
    fleet: LittleFleet,
) -> None:
    deployment_id = running(fleet, replicas=1)
    (placed,) = fleet.planner.fleet.present(deployment_id)
    asked = fleet.fact(ev.RebalanceRequested(budget=5, min_gain=1, at_once=1))
    fleet.planner.fleet.decisions.rebalance = fleet.planner.fleet.decisions.rebalance.moved_on(
        asked.sequence << 16, (placed.id,), 7
    )
    delete(fleet, deployment_id)
    fleet.log.pass_ms(KEPT_MS)
    assert fleet.another_round().forgotten == (deployment_id,)
    view = rebalance_view(fleet.planner.fleet)
    assert (view.moved, view.moving) == (1, 0)


def test_what_is_about_to_be_forgotten_is_shown_first(fleet: LittleFleet) -> None:
    deployment_id = running(fleet)
    delete(fleet, deployment_id)
    state, shown = fleet.planner.fleet, []
    state.before_forgetting = lambda deployment: shown.append(
        (deployment.id, len(state.decisions.of(deployment.id).replica_ids))
    )
    fleet.log.pass_ms(KEPT_MS)
    fleet.another_round()
    assert shown == [(deployment_id, 2)]


def test_a_late_report_on_a_forgotten_replica_changes_no_deployment(fleet: LittleFleet) -> None:
    deployment_id = running(fleet, replicas=1)
    (placed,) = fleet.planner.fleet.present(deployment_id)
    delete(fleet, deployment_id)
    fleet.log.pass_ms(KEPT_MS)
    fleet.another_round()
    seen = fleet.log.seen(placed.id, ReplicaState.STOPPED, final=True)
    folded = fleet.planner.fold(fleet.log.report(placed.node_id, seen))
    assert (folded.verdicts[0].accepted, folded.deployments) == (True, set())
