"""Who gives way to whom, and where."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from fogbank.domain import events as ev
from fogbank.domain.deployment import Constraint, DeploymentSpec
from fogbank.domain.policy import Policy
from fogbank.domain.states import ConstraintOperator, DeploymentStatus, ReplicaState
from tests.support.fleet import LittleFleet
from tests.support.fleet_log import a_fingerprint, a_spec

PENDING, RUNNING, DEGRADED = (
    DeploymentStatus.PENDING,
    DeploymentStatus.RUNNING,
    DeploymentStatus.DEGRADED,
)


def a_fleet(*cpus: int) -> LittleFleet:
    """Return a fleet with a node for each amount of cpu."""
    fleet = LittleFleet()
    for number, cpu in enumerate(cpus):
        fleet.connect(f"fog-{number}", a_fingerprint(cpu=cpu))
    return fleet


def on_node(number: int) -> tuple[Constraint, ...]:
    return (Constraint("node", ConstraintOperator.EQUAL, (f"fog-{number}",)),)


def low(cpu: int, priority: int = 0, **more: Any) -> DeploymentSpec:
    return a_spec("low", cpu=cpu, memory=64, storage=1, priority=priority, **more)


def high(cpu: int, replicas: int = 1, priority: int = 80, **more: Any) -> DeploymentSpec:
    return a_spec("high", replicas, cpu=cpu, memory=64, storage=1, priority=priority, **more)


def run(fleet: LittleFleet, *specs: DeploymentSpec) -> list[str]:
    """Let deployments run, each placed a second after the one before."""
    ids = []
    for spec in specs:
        ids.append(fleet.deploy(spec))
        fleet.settle()
        fleet.obey()
        assert fleet.status(ids[-1]) is RUNNING
        fleet.log.pass_ms(1_000)
    return ids


def evicted(outcomes: list[ev.Outcome]) -> list[str]:
    """Return the deployments whose replicas are evicted, one name for each replica."""
    return [
        eviction.deployment_id
        for outcome in outcomes
        if isinstance(outcome, ev.DeploymentPlaced)
        for eviction in outcome.evictions
        for _ in eviction.replica_ids
    ]


def test_golden_five_high_take_three_of_four_low_on_each_node() -> None:
    fleet = a_fleet(*[4000] * 5)
    lows = run(fleet, *[low(900)] * 20)
    highs = [fleet.deploy(high(3000, priority=60)) for _ in range(5)]
    outcomes = fleet.settle()
    decisions = fleet.planner.fleet.decisions
    nodes = [
        decisions.placements[replica_id].node_id
        for outcome in outcomes
        if isinstance(outcome, ev.DeploymentPlaced)
        for eviction in outcome.evictions
        for replica_id in eviction.replica_ids
    ]
    assert sorted(nodes) == sorted([*fleet.planner.fleet.facts.nodes] * 3)
    fleet.obey()
    assert fleet.settle() == []
    assert [fleet.status(known) for known in highs] == [RUNNING] * 5
    left = [known for known in lows if fleet.status(known) is RUNNING]
    assert len(left) == 5
    assert sorted(fleet.nodes_of(known)[0] for known in left) == [f"fog-{n}" for n in range(5)]
    gone = [known for known in lows if known not in left]
    assert [fleet.status(known) for known in gone] == [PENDING] * 15
    reasons = {change.reason for change in fleet.changes if change.new is PENDING and change.old}
    assert reasons == {f"Preempted by {known}" for known in highs}


@pytest.mark.parametrize(
    ("victim", "taker", "gives_way"),
    [(50, 60, True), (51, 60, False), (0, 59, False), (90, 100, True), (70, 70, False)],
)
def test_only_from_sixty_on_and_only_who_is_less_important_by_ten(
    victim: int, taker: int, gives_way: bool
) -> None:
    fleet = a_fleet(1000)
    run(fleet, low(1000, victim))
    fleet.deploy(high(1000, priority=taker))
    assert bool(evicted(fleet.settle())) is gives_way


def test_other_clusters_are_spared_unless_the_policy_says_otherwise() -> None:
    fleet = a_fleet(1000)
    fleet.fact(ev.OrganizationCreated("all"))
    for name in ("one", "two"):
        fleet.fact(ev.ClusterCreated(name, 1))
    victim, *_ = run(fleet, low(1000, cluster_id=2))
    fleet.deploy(high(1000, wait_for_capacity=True))
    assert evicted(fleet.settle()) == []
    fleet.fact(ev.PolicyActivated(Policy(version=2, preemption_across_clusters=True)))
    assert evicted(fleet.settle()) == [victim]


def test_a_policy_may_forbid_it() -> None:
    fleet = a_fleet(1000)
    fleet.fact(ev.PolicyActivated(Policy(version=2, preemption_min_priority=101)))
    run(fleet, low(1000))
    fleet.deploy(high(1000, priority=100))
    assert evicted(fleet.settle()) == []


def test_who_is_important_stays_then_who_runs_longest() -> None:
    fleet = a_fleet(4000)
    first, second, third, important = run(
        fleet, low(1000, 20), low(1000, 20), low(1000, 20), low(1000, 30)
    )
    fleet.deploy(high(1500))
    assert set(evicted(fleet.settle())) == {second, third}
    fleet.obey()
    assert fleet.status(first) is fleet.status(important) is RUNNING


def test_small_ones_stay_beside_where_they_fit() -> None:
    fleet = a_fleet(4000)
    small, large = run(fleet, low(500, 0), low(3500, 20))
    fleet.deploy(high(3500))
    assert evicted(fleet.settle()) == [large]
    assert fleet.status(small) is RUNNING


@pytest.mark.parametrize(
    ("here", "there", "wins"),
    [
        ([(1000, 40)], [(500, 30), (500, 30)], 1),  # the lowest highest priority
        ([(500, 30), (500, 20)], [(500, 30), (500, 10)], 1),  # the lowest sum
        ([(300, 0), (300, 0), (400, 0)], [(500, 0), (500, 0)], 1),  # the fewest
    ],
)
def test_the_cheapest_node_is_chosen(
    here: list[tuple[int, int]], there: list[tuple[int, int]], wins: int
) -> None:
    for first, second, expected in ((here, there, wins), (there, here, 1 - wins)):
        fleet = a_fleet(1000, 1000)
        for number, asks in enumerate((first, second)):
            run(fleet, *(low(cpu, prio, constraints=on_node(number)) for cpu, prio in asks))
        taker = fleet.deploy(high(1000))
        fleet.settle()
        assert fleet.nodes_of(taker) == [f"fog-{expected}"]


def test_fewest_deployments_are_broken() -> None:
    for apart in (0, 1):
        fleet = a_fleet(1000, 1000)
        two = low(500, constraints=on_node(1 - apart), allow_colocation=True)
        single = low(500, constraints=on_node(apart))
        run(fleet, replace(two, replicas=2), single, single)
        taker = fleet.deploy(high(1000))
        fleet.settle()
        assert fleet.nodes_of(taker) == [f"fog-{1 - apart}"]


def test_the_youngest_give_way() -> None:
    for young in (0, 1):
        fleet = a_fleet(1000, 1000)
        run(fleet, *(low(1000, constraints=on_node(number)) for number in (1 - young, young)))
        taker = fleet.deploy(high(1000))
        fleet.settle()
        assert fleet.nodes_of(taker) == [f"fog-{young}"]


def test_rather_who_fits_elsewhere() -> None:
    for free in (0, 1):
        fleet = a_fleet(1000, 1000, 500)
        movable = Constraint("node", ConstraintOperator.IN, (f"fog-{free}", "fog-2"))
        (filler,) = run(fleet, low(500, constraints=on_node(2)))
        run(fleet, *[low(500, constraints=(movable,))] * 2)
        run(fleet, *[low(500, constraints=on_node(1 - free))] * 2)
        fleet.fact(ev.DeploymentDeleted(filler))
        fleet.settle()
        fleet.obey()
        taker = fleet.deploy(high(1000))
        fleet.settle()
        assert fleet.nodes_of(taker) == [f"fog-{free}"]


def test_two_asks_in_one_round_do_not_count_on_one_eviction() -> None:
    fleet = a_fleet(4000)
    run(fleet, low(2000), low(2000))
    first, second, third = (fleet.deploy(high(1500)) for _ in range(3))
    outcomes = fleet.decide()
    assert len(evicted([*outcomes])) == 2
    fleet.settle()
    fleet.obey()
    assert [fleet.status(known) for known in (first, second)] == [RUNNING, RUNNING]
    assert fleet.status(third) is PENDING
    node_id = next(iter(fleet.planner.fleet.facts.nodes))
    assert fleet.planner.fleet.booked(node_id).cpu_millicores == 3000


def test_what_one_leaves_over_serves_the_next_before_others_are_evicted() -> None:
    fleet = a_fleet(4000)
    run(fleet, low(3000, 10), low(1000, 20))
    takers = [fleet.deploy(high(1500)) for _ in range(2)]
    assert len(evicted([*fleet.decide()])) == 1
    fleet.obey()
    assert [fleet.status(known) for known in takers] == [RUNNING, RUNNING]


def test_all_replicas_find_room_or_nobody_is_evicted() -> None:
    fleet = a_fleet(1000, 1000)
    lows = run(fleet, low(1000), low(1000))
    fleet.deploy(high(1000, replicas=3))
    assert evicted(fleet.settle()) == []
    assert [fleet.status(known) for known in lows] == [RUNNING, RUNNING]
    fleet.deploy(high(1000, replicas=2))
    assert sorted(evicted(fleet.settle())) == sorted(lows)


def test_several_on_one_node_where_that_is_allowed() -> None:
    fleet = a_fleet(4000)
    lows = run(fleet, low(1000), low(1000), low(1000), low(1000))
    taker = fleet.deploy(high(1000, replicas=3, allow_colocation=True))
    (placed,) = fleet.decide()
    assert len(evicted([placed])) == 3
    fleet.obey()
    assert fleet.status(taker) is RUNNING
    assert sum(fleet.status(known) is RUNNING for known in lows) == 1


def test_nobody_gives_way_where_it_took_too_many_names_and_others_go_on() -> None:
    """Each replica that starts on a node names all that leave it: with many, no commit has room."""
    fleet = a_fleet(*[4000] * 10)
    run(fleet, a_spec("low", 400, cpu=100, memory=64, storage=1, priority=0, allow_colocation=True))
    large = fleet.deploy(high(400, 100, allow_colocation=True))
    outcomes = fleet.settle()
    assert evicted(outcomes) == []
    (deferred,) = (each for each in outcomes if isinstance(each, ev.DeploymentDeferred))
    assert deferred.deployment_id == large
    assert "too many replicas would have to give way at once" in deferred.reason
    small = fleet.deploy(high(400, 20, allow_colocation=True))
    assert len(evicted(fleet.settle())) == 80
    assert len(fleet.nodes_of(small)) == 20


def test_it_starts_when_those_have_ended_whose_room_it_has() -> None:
    fleet = a_fleet(1000)
    (victim,) = run(fleet, low(1000))
    leaving = fleet.planner.fleet.decisions.of(victim).replica_ids
    fleet.deploy(high(1000))
    (placed,) = fleet.decide()
    assert isinstance(placed, ev.DeploymentPlaced)
    assert [*placed.placements[0].starts_after] == leaving
    assert placed.evictions == (ev.Eviction(victim, tuple(leaving)),)


def test_what_keeps_a_replica_is_degraded_and_all_come_back_when_there_is_room() -> None:
    fleet = a_fleet(1000, 1000)
    (victim,) = run(fleet, replace(low(1000), replicas=2))
    taker = fleet.deploy(high(1000))
    fleet.settle()
    fleet.obey()
    assert fleet.status(victim) is DEGRADED
    last = [change for change in fleet.changes if change.deployment_id == victim][-1]
    assert last.reason == f"Preempted by {taker}"
    assert fleet.settle() == []
    fleet.log.pass_ms(3_600_000)
    assert fleet.settle() == [], "it waits for room, however long it takes"
    fleet.fact(ev.DeploymentDeleted(taker))
    fleet.settle()
    fleet.obey()
    assert fleet.status(victim) is RUNNING


def test_a_victim_goes_at_once_where_there_is_room() -> None:
    fleet = a_fleet(2000, 1000)
    (victim,) = run(fleet, low(1000, constraints=on_node(0)))
    taker = fleet.deploy(high(2000))
    fleet.settle()
    fleet.obey()
    assert fleet.status(taker) is RUNNING
    assert fleet.status(victim) is PENDING, "it may not run elsewhere"
    (other,) = run(fleet, low(500))
    assert fleet.nodes_of(other) == ["fog-1"]


def test_released_room_is_taken_before_anybody_is_evicted() -> None:
    fleet = a_fleet(2000)
    leaving, staying = run(fleet, low(1000), low(1000))
    fleet.fact(ev.DeploymentDeleted(leaving))
    taker = fleet.deploy(high(1000))
    outcomes = fleet.settle()
    assert evicted(outcomes) == []
    fleet.obey()
    assert fleet.status(taker) is fleet.status(staying) is RUNNING


def test_who_waits_preempts_when_a_node_is_open_again() -> None:
    fleet = a_fleet(1000)
    (victim,) = run(fleet, low(1000))
    node_id = next(iter(fleet.planner.fleet.facts.nodes))
    epoch = fleet.log.epochs[node_id]
    fleet.fact(ev.NodeLoadChanged(node_id, epoch, 95, 10, fleet.log.sequence))
    fleet.deploy(high(1000, wait_for_capacity=True))
    assert evicted(fleet.settle()) == []
    fleet.fact(ev.NodeLoadChanged(node_id, epoch, 10, 10, fleet.log.sequence))
    assert evicted(fleet.settle()) == [victim]


def test_what_ended_is_nobodys_victim() -> None:
    fleet = a_fleet(1000)
    (done,) = run(fleet, low(1000))
    decisions = fleet.planner.fleet.decisions
    placed = decisions.placements[decisions.of(done).slots[0]]
    ended = fleet.log.seen(placed.id, ReplicaState.COMPLETE, final=True)
    fleet.fold(fleet.log.report(placed.node_id, ended))
    fleet.deploy(high(1000))
    assert evicted(fleet.settle()) == []
