"""Scenarios of rebalances: who moves, who never does, and when it is over."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import pytest

from fogbank.domain import events as ev
from fogbank.domain.decisions import Desired
from fogbank.domain.deployment import Constraint
from fogbank.domain.policy import Policy
from fogbank.domain.rebalance_status import rebalance_view
from fogbank.domain.rebalancing import RebalancePhase, RebalancePlan, RebalanceTerms
from fogbank.domain.resources import Resources
from fogbank.domain.states import (
    ConstraintOperator,
    DeploymentStatus,
    Health,
    ReplicaState,
    RestartPolicy,
)
from fogbank.placement.rebalance import plan_rebalance, planned_so_far
from tests.support.fleet import LittleFleet
from tests.support.fleet_log import a_fingerprint, a_spec

TERMS = RebalanceTerms(budget=100, min_gain=10, at_once=10)


def a_lopsided_fleet(
    count: int = 6, nodes: int = 2, restart: RestartPolicy = RestartPolicy.ALWAYS
) -> tuple[LittleFleet, list[str]]:
    """Return a fleet whose replicas all run on its older nodes, and its deployments."""
    fleet = LittleFleet()
    for number in range(nodes):
        fleet.connect(f"old-{number}")
    deployed = [
        fleet.deploy(a_spec(f"web-{number}", cpu=500, restart=restart)) for number in range(count)
    ]
    fleet.settle()
    fleet.obey()
    for number in range(nodes):
        fleet.connect(f"new-{number}")
    return fleet, deployed


def planned(fleet: LittleFleet, terms: RebalanceTerms = TERMS) -> RebalancePlan:
    return plan_rebalance(fleet.planner.fleet, fleet.planner.arrays, terms)


def ask(fleet: LittleFleet, terms: RebalanceTerms = TERMS) -> None:
    fleet.fact(ev.RebalanceRequested(terms.budget, terms.min_gain, terms.at_once))


def moves_of(outcomes: list[ev.Outcome]) -> list[ev.DeploymentPlaced]:
    return [one for one in outcomes if isinstance(one, ev.DeploymentPlaced)]


def carried_out(fleet: LittleFleet) -> list[ev.DeploymentPlaced]:
    """Let the rounds and the agents do all that there is to do; return the moves."""
    moves: list[ev.DeploymentPlaced] = []
    for _ in range(200):
        before = fleet.log.sequence
        moves += moves_of(fleet.settle())
        fleet.obey()
        if fleet.log.sequence == before:
            return moves
    raise AssertionError("the rebalance has no end")


def phase(fleet: LittleFleet) -> RebalancePhase:
    return rebalance_view(fleet.planner.fleet).phase


def test_nothing_moves_unless_somebody_asks() -> None:
    fleet, _ = a_lopsided_fleet()
    assert planned(fleet).moves
    assert fleet.settle() == []
    assert not fleet.planner.has_work(fleet.log.now_us)
    assert phase(fleet) is RebalancePhase.NONE


def test_each_step_adds_to_a_plan_and_keeps_its_sums() -> None:
    fleet, _ = a_lopsided_fleet(10)
    *steps, whole = planned_so_far(fleet.planner.fleet, fleet.planner.arrays, TERMS)
    assert len(steps) > 1
    assert whole == planned(fleet)
    for sooner, later in pairwise(steps):
        assert later.moves[: len(sooner.moves)] == sooner.moves
        assert later.worth_after > sooner.worth_after
    for each in steps:
        assert not each.complete
        assert each.worth_after == each.worth_before + sum(move.gain for move in each.moves)


def test_nothing_moves_where_too_many_are_to_stop_first_until_enough_have(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A move names all whom it starts after, and has to fit a commit."""
    monkeypatch.setattr("fogbank.placement.rebalance.MOST_NAMES", 3)
    fleet, _ = a_lopsided_fleet(nodes=1)
    there = (Constraint("node", ConstraintOperator.EQUAL, ("new-0",)),)
    filler = a_spec("filler", 8, cpu=500, constraints=there, allow_colocation=True)
    filling = fleet.deploy(filler)
    fleet.settle()
    fleet.obey()
    fleet.fact(ev.DeploymentDeleted(filling))
    ask(fleet)
    assert moves_of(fleet.settle()) == []
    assert phase(fleet) is RebalancePhase.MOVING
    assert not fleet.planner.has_work(fleet.log.now_us), "nothing to do until some have stopped"
    fleet.obey()
    moves = carried_out(fleet)
    assert moves
    assert all(len(move.placements[0].starts_after) <= 3 for move in moves)
    assert phase(fleet) is RebalancePhase.ENDED


def test_a_successor_runs_before_its_predecessor_stops() -> None:
    fleet, _ = a_lopsided_fleet()
    ask(fleet)
    assert fleet.planner.has_work(fleet.log.now_us)
    moves = moves_of(fleet.settle())
    assert moves
    state = fleet.planner.fleet
    for move in moves:
        (placement,) = move.placements
        assert state.decisions.placements[placement.replaces].desired is Desired.LEAVING
        assert move.gain >= TERMS.min_gain
        assert fleet.status(move.deployment_id) is DeploymentStatus.RUNNING
    assert rebalance_view(state).moving == len(moves)
    assert not fleet.planner.has_work(fleet.log.now_us), "nothing to do until they run"
    carried_out(fleet)
    view = rebalance_view(state)
    assert (view.phase, view.moving) == (RebalancePhase.ENDED, 0)
    assert view.message == "no move gains 10 or more points"
    assert {name for known in state.facts.deployments for name in fleet.nodes_of(known)} == {
        "old-0",
        "old-1",
        "new-0",
        "new-1",
    }


def test_what_was_planned_is_what_is_gained_and_then_there_is_nothing_left() -> None:
    fleet, _ = a_lopsided_fleet(10)
    plan = planned(fleet)
    assert plan.complete
    assert plan.worth_after - plan.worth_before == sum(move.gain for move in plan.moves)
    ask(fleet)
    carried_out(fleet)
    after = planned(fleet)
    assert rebalance_view(fleet.planner.fleet).gained == after.worth_before - plan.worth_before
    assert after.worth_before == plan.worth_after
    assert after.moves == ()
    ask(fleet)
    assert moves_of(fleet.settle()) == []


def test_no_more_moves_than_the_budget_and_at_a_time() -> None:
    fleet, _ = a_lopsided_fleet(12)
    assert len(planned(fleet).moves) > 3
    ask(fleet, RebalanceTerms(3, 1, 1))
    for number in range(3):
        moves = moves_of(fleet.settle())
        assert len(moves) == 1, number
        fleet.obey()
    (released, ended) = fleet.settle()
    assert isinstance(released, ev.ReplicasReleased)
    assert isinstance(ended, ev.RebalanceEnded)
    assert ended.reason == "all moves that it may make are made: 3"
    short = planned(fleet, RebalanceTerms(1, 1, 1))
    assert len(short.moves) == 1
    assert not short.complete


def test_a_request_takes_the_place_of_the_one_before_and_none_stops_it() -> None:
    fleet, _ = a_lopsided_fleet(12)
    ask(fleet, RebalanceTerms(100, 1, 1))
    assert len(moves_of(fleet.settle())) == 1
    ask(fleet, RebalanceTerms(0, 1, 1))
    assert phase(fleet) is RebalancePhase.STOPPED
    assert fleet.planner.next_look_us() is None
    assert carried_out(fleet) == []
    ask(fleet, RebalanceTerms(1, 1, 1))
    assert len(carried_out(fleet)) == 1
    assert phase(fleet) is RebalancePhase.ENDED


def test_packing_policies_pack_and_an_indifferent_one_moves_nothing() -> None:
    fleet = LittleFleet()
    for number in range(4):
        fleet.connect(f"fog-{number}")
    for number in range(4):
        fleet.deploy(a_spec(f"web-{number}", cpu=500))
    fleet.settle()
    fleet.obey()
    assert len({name for known in fleet.tracker.current for name in fleet.nodes_of(known)}) == 4
    fleet.fact(ev.PolicyActivated(Policy(name="indifferent", strategy="first-fit")))
    assert planned(fleet).moves == ()
    fleet.fact(ev.PolicyActivated(Policy(name="packing", strategy="binpack")))
    ask(fleet, RebalanceTerms(100, 1, 10))
    carried_out(fleet)
    assert len({name for known in fleet.tracker.current for name in fleet.nodes_of(known)}) == 1


@pytest.mark.parametrize("restart", [RestartPolicy.NEVER, RestartPolicy.ON_FAILURE])
def test_what_does_not_bear_a_restart_stays(restart: RestartPolicy) -> None:
    fleet, _ = a_lopsided_fleet(restart=restart)
    assert planned(fleet).moves == ()


def test_what_is_not_well_known_to_run_or_being_updated_stays() -> None:
    fleet, deployed = a_lopsided_fleet(4)
    state = fleet.planner.fleet
    everybody = {move.deployment_id for move in planned(fleet, RebalanceTerms(100, 1, 100)).moves}
    assert everybody
    for known in deployed:
        placed = state.decisions.placements[state.decisions.of(known).slots[0]]
        seen = fleet.log.seen(placed.id, ReplicaState.RUNNING)
        fleet.fold(fleet.log.report(placed.node_id, replace(seen, health=Health.UNHEALTHY)))
    assert planned(fleet).moves == ()
    for known in deployed:
        placed = state.decisions.placements[state.decisions.of(known).slots[0]]
        fleet.fold(
            fleet.log.report(placed.node_id, fleet.log.seen(placed.id, ReplicaState.RUNNING))
        )
    assert planned(fleet).moves
    for known in deployed:
        spec = replace(state.facts.deployments[known].spec, container_image="nginx:2")
        fleet.update(known, spec)
    assert planned(fleet).moves == ()


def test_nobody_moves_to_where_there_is_no_room_or_a_sibling() -> None:
    fleet = LittleFleet()
    fleet.connect("old")
    full = fleet.deploy(a_spec("full", cpu=2000))
    twins = fleet.deploy(a_spec("twins", cpu=500, allow_colocation=True, replicas=2))
    fleet.settle()
    fleet.obey()
    fleet.connect("small", a_fingerprint(cpu=1500))
    ask(fleet, RebalanceTerms(100, 1, 100))
    carried_out(fleet)
    assert fleet.nodes_of(full) == ["old"]
    assert "small" in fleet.nodes_of(twins)
    apart = fleet.deploy(a_spec("apart", cpu=100, replicas=2))
    fleet.settle()
    fleet.obey()
    ask(fleet, RebalanceTerms(100, 1, 100))
    carried_out(fleet)
    assert sorted(fleet.nodes_of(apart)) == ["old", "small"]


def test_of_one_deployment_as_many_move_at_a_time_as_the_policy_says() -> None:
    fleet = LittleFleet()
    fleet.connect("old")
    known = fleet.deploy(a_spec(replicas=4, cpu=500, allow_colocation=True))
    fleet.settle()
    fleet.obey()
    for number in range(3):
        fleet.connect(f"new-{number}")
    ask(fleet, RebalanceTerms(100, 1, 100))
    assert len(moves_of(fleet.settle())) == 1
    assert len(fleet.planner.fleet.decisions.of(known).leaving) == 1
    carried_out(fleet)
    assert len(set(fleet.nodes_of(known))) == 4


def test_nobody_moves_to_where_it_broke() -> None:
    moved = []
    for breaks in (False, True):
        fleet = LittleFleet()
        fleet.connect("first")
        known = fleet.deploy(a_spec("web", cpu=500))
        fleet.settle()
        (first,) = fleet.planner.fleet.decisions.placements.values()
        end = ReplicaState.FAILED if breaks else ReplicaState.STOPPED
        fleet.fold(fleet.log.report(first.node_id, fleet.log.seen(first.id, end, final=True)))
        fleet.fact(ev.NodeCordoned(first.node_id))
        fleet.connect("second")
        fleet.log.pass_ms(60_000)
        fleet.settle()
        there = Constraint("node", ConstraintOperator.EQUAL, ("second",))
        fleet.deploy(a_spec("heavy", cpu=3000, constraints=(there,)))
        fleet.settle()
        fleet.obey()
        assert fleet.nodes_of(known) == ["second"]
        fleet.fact(ev.NodeUncordoned(first.node_id))
        moved.append(len(planned(fleet).moves))
    assert moved == [1, 0]


def test_gpus_move_with_the_devices_they_get() -> None:
    fleet = LittleFleet()
    fleet.connect("a", a_fingerprint(gpu=2, cpu=16_000))
    small = [
        fleet.deploy(replace(a_spec(f"s{number}"), resources=a_share(600))) for number in range(2)
    ]
    fleet.settle()
    fleet.obey()
    fleet.connect("b", a_fingerprint(gpu=1, cpu=16_000))
    plan = planned(fleet, RebalanceTerms(100, 1, 10))
    ask(fleet, RebalanceTerms(100, 1, 10))
    carried_out(fleet)
    after = planned(fleet, RebalanceTerms(100, 1, 10))
    assert after.moves == ()
    assert after.worth_before == plan.worth_after
    assert all(fleet.status(known) is DeploymentStatus.RUNNING for known in small)


def a_share(thousandths: int) -> Resources:
    return replace(a_spec(cpu=100).resources, gpu_thousandths=thousandths)


def test_an_error_ends_the_rebalance_and_nothing_else(monkeypatch: pytest.MonkeyPatch) -> None:
    fleet, _ = a_lopsided_fleet()

    def broken(*_arguments: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr("fogbank.placement.rebalance.Stand", broken)
    ask(fleet)
    decided = fleet.planner.decide(fleet.log.now_us)
    assert decided is not None
    (ended,) = decided.event.outcomes
    assert isinstance(ended, ev.RebalanceEnded)
    assert ended.reason == "weighing moves failed: ZeroDivisionError"
    assert [type(error) for _, error in decided.errors] == [ZeroDivisionError]
