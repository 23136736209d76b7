"""Who gives way to whom in a full quota."""

from __future__ import annotations

from typing import Any

import pytest

from fogbank.domain import events as ev
from fogbank.domain.deployment import DeploymentSpec
from fogbank.domain.policy import Policy
from fogbank.domain.tenancy import Quota
from tests.support.fleet_log import a_fingerprint
from tests.support.limited_fleet import (
    FREE,
    PENDING,
    a_fleet,
    ask,
    reason,
    run,
    used,
    wait_out,
)


def low(cpu: int = 1000, **more: Any) -> DeploymentSpec:
    return ask(cpu=cpu, **{"priority": 10, **more})


def high(replicas: int = 1, **more: Any) -> DeploymentSpec:
    return ask(replicas, **{"priority": 80, **more})


def evicted(outcomes: list[ev.Outcome]) -> list[str]:
    """Return the deployments whose replicas are evicted, one name for each replica."""
    return [
        eviction.deployment_id
        for outcome in outcomes
        if isinstance(outcome, ev.DeploymentPlaced)
        for eviction in outcome.evictions
        for _ in eviction.replica_ids
    ]


def test_the_least_important_of_the_cluster_gives_way_wherever_it_is() -> None:
    fleet = a_fleet(Quota(cpu_millicores=3000))
    _more, least, _older = (run(fleet, low(priority=priority)) for priority in (30, 10, 20))
    others = run(fleet, low(cluster_id=FREE, priority=0))
    known = fleet.deploy(high())
    assert evicted(fleet.settle()) == [least]
    assert fleet.status(least) is PENDING
    assert reason(fleet, least) == "Quota of cluster 2 is full: needs 1000 millicores, 0 are free"
    assert fleet.nodes_of(known)
    assert fleet.nodes_of(others)
    assert used(fleet).cpu_millicores == 3000
    fleet.fact(ev.DeploymentDeleted(known))
    wait_out(fleet)
    assert fleet.nodes_of(least), "it is never forgotten"


def test_no_more_give_way_than_must_and_the_younger_before_the_older() -> None:
    fleet = a_fleet(Quota(replicas=4))
    lows = []
    for _ in range(4):
        lows.append(run(fleet, low()))
        fleet.log.pass_ms(5_000)
    fleet.deploy(high(2))
    assert sorted(evicted(fleet.settle())) == sorted(lows[2:])
    assert used(fleet).replicas == 4


@pytest.mark.parametrize(
    ("taker", "victim"),
    [({"priority": 59}, {}), ({"priority": 60}, {"priority": 51}), ({}, {"cluster_id": FREE})],
)
def test_who_may_not_evict_waits_for_quota(taker: dict[str, Any], victim: dict[str, Any]) -> None:
    fleet = a_fleet(Quota(replicas=1), Quota(replicas=1))
    run(fleet, low(**victim))
    known = fleet.deploy(high(**taker))
    assert evicted(fleet.settle()) == []
    assert not fleet.nodes_of(known)


def test_across_clusters_the_quota_of_the_organization_is_freed() -> None:
    fleet = a_fleet(Quota(replicas=1), Quota(replicas=1))
    fleet.fact(ev.PolicyActivated(Policy(preemption_across_clusters=True)))
    victim = run(fleet, low(cluster_id=FREE))
    fleet.deploy(high())
    assert evicted(fleet.settle()) == [victim]


def test_who_leaves_a_node_for_it_frees_quota_as_well() -> None:
    fleet = a_fleet(Quota(cpu_millicores=8000), nodes=1)
    lows = [run(fleet, low(2000)) for _ in range(4)]
    fleet.deploy(high(cpu=3000))
    gone = evicted(fleet.settle())
    assert len(gone) == 2
    assert set(gone) < set(lows)
    assert used(fleet).cpu_millicores == 7000


def test_nodes_and_quota_may_need_different_victims() -> None:
    fleet = a_fleet(Quota(memory_mib=300), nodes=0)
    fleet.connect("full", a_fingerprint(cpu=2000))
    fleet.connect("free", a_fingerprint(cpu=500))
    on_full = run(fleet, low(2000, memory=64))
    on_free = run(fleet, low(100, memory=236, priority=5))
    fleet.deploy(high(cpu=1000, memory=200))
    assert sorted(evicted(fleet.settle())) == sorted([on_full, on_free])


def test_who_leaves_for_the_quota_frees_a_node_as_well() -> None:
    fleet = a_fleet(Quota(cpu_millicores=1000), nodes=0)
    fleet.fact(ev.PolicyActivated(Policy(preemption_across_clusters=True)))
    fleet.connect("only", a_fingerprint(memory=1000))
    stays = run(fleet, low(100, memory=600, priority=0, cluster_id=FREE))
    leaves = run(fleet, low(memory=300))
    fleet.deploy(high(memory=300))
    assert evicted(fleet.settle()) == [leaves]
    assert fleet.nodes_of(stays)


def test_nobody_gives_way_in_vain() -> None:
    fleet = a_fleet(Quota(cpu_millicores=3000))
    lows = [run(fleet, low()), run(fleet, low(priority=75)), run(fleet, low(priority=75))]
    known = fleet.deploy(high(2, wait_for_capacity=True))
    assert evicted(fleet.settle()) == []
    assert all(fleet.nodes_of(each) for each in lows)
    fleet.fact(ev.DeploymentDeleted(lows[1]))
    assert evicted(fleet.settle()) == [lows[0]]
    assert fleet.nodes_of(known)


def test_what_one_frees_too_much_the_next_takes_before_it_evicts_more() -> None:
    fleet = a_fleet(Quota(cpu_millicores=4000))
    first, second = run(fleet, low(2000)), run(fleet, low(2000))
    known = [fleet.deploy(high()) for _ in range(3)]
    assert sorted(evicted(fleet.settle())) == sorted([first, second])
    assert all(fleet.nodes_of(each) for each in known)
    assert used(fleet).cpu_millicores == 3000


def test_what_is_being_released_is_waited_for_instead_of_evicting() -> None:
    fleet = a_fleet(Quota(replicas=2))
    kept, gone = run(fleet, low()), run(fleet, low())
    fleet.fact(ev.DeploymentDeleted(gone))
    known = fleet.deploy(high())
    assert evicted(fleet.settle()) == []
    assert fleet.nodes_of(known)
    assert fleet.nodes_of(kept)
