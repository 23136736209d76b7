"""Quotas of clusters and organizations: who waits, who fails, who goes on all the same."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from fogbank.domain import events as ev
from fogbank.domain.deployment import Constraint, RolloutSpec
from fogbank.domain.envelope import SCHEDULER
from fogbank.domain.states import ConstraintOperator, ReplicaState
from fogbank.domain.tenancy import Quota
from fogbank.placement.explanation import explain, plan
from tests.support.fleet import LittleFleet
from tests.support.fleet_log import a_fingerprint
from tests.support.laws import broken_laws
from tests.support.limited_fleet import (
    FAILED,
    FREE,
    LIMITED,
    PENDING,
    a_fleet,
    ask,
    reason,
    run,
    used,
    wait_out,
)


@pytest.mark.parametrize(
    ("quota", "more", "sentence"),
    [
        (Quota(cpu_millicores=3500), {}, "needs 2000 millicores, 1500 are free"),
        (Quota(memory_mib=192), {}, "needs 128 MiB memory, 64 are free"),
        (Quota(storage_gib=3), {}, "needs 2 GiB storage, 1 is free"),
        (Quota(replicas=3), {}, "needs 2 replicas, 1 is free"),
        (
            Quota(cpu_millicores=2000, replicas=2),
            {},
            "needs 2000 millicores, 0 are free; needs 2 replicas, 0 are free",
        ),
    ],
)
def test_a_full_quota_is_a_shortage_that_says_what_is_free(
    quota: Quota, more: dict[str, Any], sentence: str
) -> None:
    fleet = a_fleet(quota)
    run(fleet, ask(2))
    waiting = fleet.deploy(ask(2))
    (deferred,) = fleet.settle()
    assert isinstance(deferred, ev.DeploymentDeferred)
    assert deferred.reason == f"Quota of cluster 2 is full: {sentence}"
    assert deferred.considered == ev.Considered(4, 0, (("quota", 4),))
    wait_out(fleet)
    assert fleet.status(waiting) is FAILED
    assert reason(fleet, waiting) == deferred.reason


def test_gpus_count_by_the_device() -> None:
    fleet = a_fleet(Quota(gpu_thousandths=1500), nodes=0)
    fleet.connect("gpus", a_fingerprint(cpu=8000, gpu=4))
    run(fleet, ask(gpu=1))
    waiting = fleet.deploy(ask(gpu=1))
    fleet.settle()
    assert reason(fleet, waiting) == "Quota of cluster 2 is full: needs 1 GPU, 0.5 are free"


def test_all_replicas_fit_the_quota_or_none_is_placed() -> None:
    fleet = a_fleet(Quota(cpu_millicores=2500))
    both = fleet.deploy(ask(2, cpu=1500, wait_for_capacity=True))
    fleet.settle()
    assert fleet.status(both) is FAILED
    fits = fleet.deploy(ask(2, cpu=1250))
    fleet.settle()
    assert len(fleet.nodes_of(fits)) == 2
    assert used(fleet) == (2500, 128, 2, 0, 2)


def test_what_a_round_places_counts_at_once() -> None:
    fleet = a_fleet(Quota(replicas=3))
    known = [fleet.deploy(ask()) for _ in range(5)]
    fleet.decide()
    assert [len(fleet.nodes_of(each)) for each in known] == [1, 1, 1, 0, 0]


def test_other_clusters_go_on_past_a_full_quota() -> None:
    fleet = a_fleet(Quota(replicas=1))
    run(fleet, ask())
    waiting = [fleet.deploy(ask(wait_for_capacity=True)) for _ in range(3)]
    others = [fleet.deploy(ask(cluster_id=FREE, wait_for_capacity=True)) for _ in range(3)]
    fleet.decide()
    assert [len(fleet.nodes_of(each)) for each in waiting + others] == [0, 0, 0, 1, 1, 1]


def test_a_fleet_without_room_makes_no_quota_look_full_nor_the_other_way() -> None:
    fleet = a_fleet(Quota(replicas=2), nodes=1)
    filler = run(fleet, ask(cpu=8000, cluster_id=FREE))
    run_first = fleet.deploy(ask(cpu=100, wait_for_capacity=True))
    limited = fleet.deploy(ask(wait_for_capacity=True))
    free = fleet.deploy(ask(cluster_id=FREE, wait_for_capacity=True))
    fleet.settle()
    assert reason(fleet, limited) == reason(fleet, free)
    assert reason(fleet, free) == "Insufficient nodes: need 1, found 0 with capacity"
    fleet.fact(ev.ClusterQuotaSet(LIMITED, Quota(replicas=0)))
    fleet.fact(ev.DeploymentDeleted(filler))
    fleet.settle()
    assert fleet.nodes_of(free)
    assert not fleet.nodes_of(limited)
    assert not fleet.nodes_of(run_first)
    fleet.fact(ev.ClusterQuotaSet(LIMITED, Quota(replicas=2)))
    fleet.settle()
    assert fleet.nodes_of(limited)
    assert fleet.nodes_of(run_first)


def test_the_quota_of_an_organization_is_shared_by_its_clusters() -> None:
    fleet = a_fleet(Quota(), Quota(replicas=2))
    run(fleet, ask())
    run(fleet, ask(cluster_id=FREE))
    waiting = fleet.deploy(ask())
    fleet.settle()
    assert reason(fleet, waiting) == (
        "Quota of organization 1 is full: needs 1 replica, 0 are free"
    )
    assert fleet.planner.fleet.used_by_organization(1) == (2000, 128, 2, 0, 2)
    fleet.fact(ev.OrganizationCreated("others"))
    fleet.fact(ev.ClusterCreated("theirs", 2))
    assert fleet.nodes_of(run(fleet, ask(cluster_id=4)))


# What can't be had at all.


def test_an_ask_above_its_quota_fails_at_once() -> None:
    fleet = a_fleet(Quota(cpu_millicores=1500, replicas=2))
    known = fleet.deploy(ask(3, wait_for_capacity=True))
    (failed,) = fleet.settle()
    assert isinstance(failed, ev.DeploymentFailed)
    assert failed.reason == (
        "Impossible: above the quota of cluster 2: needs 3000 millicores, 1500 millicores at most; "
        "3 replicas, 2 replicas at most"
    )
    assert fleet.status(known) is FAILED


def test_it_fails_even_where_no_node_is_known() -> None:
    fleet = a_fleet(Quota(replicas=0), nodes=0)
    known = fleet.deploy(ask())
    fleet.settle()
    assert fleet.status(known) is FAILED


def test_who_fits_no_node_fails_whether_the_quota_is_full_or_not() -> None:
    fleet = a_fleet(Quota(replicas=1))
    run(fleet, ask())
    known = fleet.deploy(ask(cpu=9000))
    fleet.settle()
    assert fleet.status(known) is FAILED
    assert reason(fleet, known).startswith("Impossible: no node is large enough")


def test_what_runs_and_is_scaled_above_its_quota_waits() -> None:
    fleet = a_fleet(Quota(replicas=2))
    known = run(fleet, ask(2))
    fleet.fact(ev.DeploymentScaled(known, 9))
    wait_out(fleet)
    assert fleet.status(known) is not FAILED
    assert len(fleet.nodes_of(known)) == 2
    fleet.connect("fog-9", a_fingerprint(cpu=8000))
    for number in range(10, 14):
        fleet.connect(f"fog-{number}", a_fingerprint(cpu=8000))
    fleet.fact(ev.ClusterQuotaSet(LIMITED))
    fleet.settle()
    assert len(fleet.nodes_of(known)) == 9


def test_who_waits_for_capacity_goes_on_waiting_when_the_quota_is_lowered_below_the_ask() -> None:
    fleet = a_fleet(Quota(replicas=2))
    run(fleet, ask(2))
    waiting = fleet.deploy(ask(2, wait_for_capacity=True))
    fleet.settle()
    fleet.fact(ev.ClusterQuotaSet(LIMITED, Quota(replicas=1)))
    wait_out(fleet)
    assert fleet.status(waiting) is PENDING
    fleet.fact(ev.ClusterQuotaSet(LIMITED, Quota(replicas=4)))
    fleet.settle()
    assert len(fleet.nodes_of(waiting)) == 2


# When room appears.


def test_who_waits_is_placed_when_the_quota_is_raised() -> None:
    fleet = a_fleet(Quota(replicas=1), Quota(replicas=1))
    run(fleet, ask())
    waiting = fleet.deploy(ask(wait_for_capacity=True))
    fleet.settle()
    fleet.fact(ev.ClusterQuotaSet(LIMITED, Quota(replicas=2)))
    assert not fleet.settle(), "its organization's is full"
    fleet.fact(ev.OrganizationQuotaSet(1, Quota(replicas=2)))
    fleet.settle()
    assert fleet.nodes_of(waiting)


@pytest.mark.parametrize("how", ["deleted", "scaled down", "completed"])
def test_who_waits_is_placed_when_a_replica_of_the_cluster_goes(how: str) -> None:
    fleet = a_fleet(Quota(replicas=2))
    holder = run(fleet, ask(2))
    waiting = fleet.deploy(ask(wait_for_capacity=True))
    fleet.settle()
    match how:
        case "deleted":
            fleet.fact(ev.DeploymentDeleted(holder))
        case "scaled down":
            fleet.fact(ev.DeploymentScaled(holder, 1))
        case _:
            state = fleet.planner.fleet
            placed = state.decisions.placements[state.decisions.of(holder).slots[0]]
            seen = fleet.log.seen(placed.id, ReplicaState.COMPLETE, final=True)
            fleet.fold(fleet.log.report(placed.node_id, seen))
    fleet.settle()
    assert fleet.nodes_of(waiting)


def test_a_quota_raised_between_the_look_and_its_record_wakes_who_is_parked() -> None:
    fleet = a_fleet(Quota(replicas=1))
    run(fleet, ask())
    waiting = fleet.deploy(ask(wait_for_capacity=True))
    decided = fleet.planner.decide(fleet.log.now_us)
    assert decided is not None
    fleet.fact(ev.ClusterQuotaSet(LIMITED, Quota(replicas=2)))
    fleet.fold(fleet.log.round(decided.event))
    fleet.settle()
    assert fleet.nodes_of(waiting)


def test_a_quota_lowered_below_what_is_used_moves_nothing_off() -> None:
    fleet = a_fleet(Quota(replicas=3))
    holders = [run(fleet, ask()) for _ in range(3)]
    fleet.fact(ev.ClusterQuotaSet(LIMITED, Quota(replicas=1)))
    waiting = fleet.deploy(ask(wait_for_capacity=True))
    fleet.settle()
    assert reason(fleet, waiting) == "Quota of cluster 2 is full: needs 1 replica, 0 are free"
    assert used(fleet).replicas == 3
    for holder in holders:
        assert not fleet.nodes_of(waiting)
        fleet.fact(ev.DeploymentDeleted(holder))
        fleet.settle()
    assert fleet.nodes_of(waiting)


def test_a_cluster_that_is_known_only_later_limits_what_waits_for_it() -> None:
    fleet = a_fleet(Quota(), nodes=0)
    first, second = (fleet.deploy(ask(cluster_id=4, wait_for_capacity=True)) for _ in range(2))
    fleet.settle()
    fleet.fact(ev.ClusterCreated("late", 1, Quota(replicas=1)))
    fleet.connect("fog-0", a_fingerprint(cpu=8000))
    fleet.settle()
    assert [len(fleet.nodes_of(each)) for each in (first, second)] == [1, 0]
    assert used(fleet, 4).replicas == 1


# What needs no quota, and what does.


def lose(fleet: LittleFleet, known: str) -> str:
    """Let the node of a deployment's only replica be lost; return its name."""
    (name,) = fleet.nodes_of(known)
    nodes = fleet.planner.fleet.facts.nodes.values()
    (lost,) = (node for node in nodes if node.name == name)
    fleet.decide(fleet.silence(lost.id))
    fleet.log.pass_ms(60_000)
    return name


def test_the_replacement_of_a_lost_replica_has_its_quota() -> None:
    fleet = a_fleet(Quota(replicas=1))
    known = run(fleet, ask())
    name = lose(fleet, known)
    fleet.settle()
    assert fleet.nodes_of(known) != [name]
    assert used(fleet).replicas == 1
    fleet.connect(name, a_fingerprint(cpu=8000))
    fleet.settle()
    fleet.obey()
    fleet.settle()
    assert used(fleet).replicas == 1


def test_who_comes_back_to_a_quota_that_was_taken_meanwhile_stops() -> None:
    fleet = a_fleet(Quota(replicas=1))
    only_there = Constraint("node", ConstraintOperator.EQUAL, ("fog-0",))
    known = run(fleet, ask(constraints=(only_there,)))
    name = lose(fleet, known)
    fleet.settle()
    assert fleet.nodes_of(known) == []
    taker = fleet.deploy(ask())
    fleet.settle()
    assert len(fleet.nodes_of(taker)) == 1
    fleet.connect(name, a_fingerprint(cpu=8000))
    (released,) = fleet.settle()
    assert isinstance(released, ev.ReplicasReleased)
    assert released.reason == "Its quota was taken"
    assert used(fleet).replicas == 1
    fleet.obey()
    fleet.fact(ev.DeploymentDeleted(taker))
    fleet.settle()
    assert fleet.nodes_of(known) == [name]
    assert broken_laws(fleet.log) == []


def test_of_two_that_come_back_in_one_round_only_who_has_quota_is_restored() -> None:
    fleet = a_fleet(Quota(replicas=2), nodes=2)
    both = [run(fleet, ask()) for _ in range(2)]
    names = [fleet.nodes_of(known)[0] for known in both]
    assert len(set(names)) == 2
    fleet.connect("fog-9", a_fingerprint(cpu=100))  # while every node is silent, none is lost
    for known in both:
        lose(fleet, known)
    fleet.settle()
    assert used(fleet).replicas == 0
    fleet.fact(ev.ClusterQuotaSet(LIMITED, Quota(replicas=1)))
    for name in names:
        fleet.fold(fleet.log.connect(name, a_fingerprint(cpu=8000))[1])
    first, second = fleet.decide()
    assert isinstance(first, ev.ReplicasRestored)
    assert isinstance(second, ev.ReplicasReleased)
    fleet.settle()
    assert used(fleet).replicas == 1
    assert broken_laws(fleet.log) == []


def test_who_moves_off_a_draining_node_has_its_quota() -> None:
    fleet = a_fleet(Quota(replicas=1))
    known = run(fleet, ask())
    (name,) = fleet.nodes_of(known)
    (node,) = (each for each in fleet.planner.fleet.facts.nodes.values() if each.name == name)
    fleet.fact(ev.NodeDraining(node.id))
    fleet.settle()
    assert used(fleet).replicas == 2, "until the successor runs"
    fleet.obey()
    fleet.settle()
    assert fleet.nodes_of(known) != [name]
    assert used(fleet).replicas == 1


def updated(fleet: LittleFleet, known: str, rollout: RolloutSpec) -> list[ev.Outcome]:
    spec = fleet.planner.fleet.facts.deployments[known].spec
    fleet.update(known, replace(spec, container_image="new:2", rollout=rollout))
    outcomes = []
    for _ in range(4):
        outcomes += fleet.settle()
        fleet.obey()
        fleet.log.pass_ms(6_000)
    return outcomes


def test_a_surge_needs_quota_and_one_that_may_be_missing_gives_way() -> None:
    fleet = a_fleet(Quota(replicas=1))
    known = run(fleet, ask())
    assert updated(fleet, known, RolloutSpec()) == []
    now = explain(fleet.planner, fleet.planner.fleet.facts.deployments[known], fleet.log.now_us).now
    assert now is not None
    assert now.would_unblock[0] == "1 replica more in the quota of cluster 2"
    updated(fleet, known, RolloutSpec(max_surge=1, max_unavailable=1))
    state = fleet.planner.fleet
    placed = state.decisions.placements[state.decisions.of(known).slots[0]]
    assert placed.revision == 2
    assert used(fleet).replicas == 1


# What is told.


def test_a_plan_and_an_explanation_say_what_would_unblock() -> None:
    fleet = a_fleet(Quota(cpu_millicores=2500))
    run(fleet, ask())
    told = plan(fleet.planner, ask(2), fleet.log.now_us)
    assert told.error == "Quota of cluster 2 is full: needs 2000 millicores, 1500 are free"
    assert told.explanation.would_unblock == (
        "500 millicores more in the quota of cluster 2",
        "replicas of cluster 2 ending or being released that take as much",
        "asking for 1 replica instead of 2: so many fit now",
    )
    (refusal,) = told.explanation.refusals
    assert (refusal.filter, refusal.nodes) == ("quota", 4)
    above = plan(fleet.planner, ask(3), fleet.log.now_us)
    assert above.explanation.would_unblock == (
        "1500 millicores more in the quota of cluster 2",
        "asking for 1 replica instead of 3: so many fit now",
    )


def test_both_the_quota_and_the_nodes_may_be_too_full() -> None:
    fleet = a_fleet(Quota(replicas=1), nodes=1)
    run(fleet, ask(cpu=8000))
    told = plan(fleet.planner, ask(), fleet.log.now_us)
    assert "1 replica more in the quota of cluster 2" in told.explanation.would_unblock
    assert "1000 millicores more on fog-0" in told.explanation.would_unblock


def test_no_round_names_a_scheduler_that_saw_no_quota() -> None:
    """A planner that starts from the same log decides alike, whatever the other remembers."""
    fleet = a_fleet(Quota(replicas=1))
    run(fleet, ask())
    for cluster_id in (LIMITED, FREE, LIMITED):
        fleet.deploy(ask(cpu=7500, cluster_id=cluster_id, wait_for_capacity=True))
    fleet.settle()
    fleet.fact(ev.ClusterQuotaSet(LIMITED, Quota(replicas=2)))
    decided = fleet.planner.decide(fleet.log.now_us)
    fresh = LittleFleet(log=fleet.log)
    for commit in fleet.log.commits:
        fresh.planner.fold(commit)
    again = fresh.planner.decide(fleet.log.now_us)
    assert decided is not None
    assert again is not None
    assert decided.event == again.event
    assert fleet.log.commits[-1].service != SCHEDULER
