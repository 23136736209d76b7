"""Scenarios of nodes where replicas broke: what that costs them, and for how long."""

from __future__ import annotations

from dataclasses import replace

import pytest

from fogbank.domain import events as ev
from fogbank.domain.disruption import DisruptionRules
from fogbank.domain.policy import Policy
from fogbank.domain.policy_bounds import problems
from fogbank.domain.states import ReplicaState
from fogbank.placement.penalties import penalties
from tests.support.fleet import LittleFleet
from tests.support.fleet_log import a_spec

HOUR_MS = 3_600_000
MINUTE_US = 60_000_000


def a_fleet(nodes: int = 2, **rules: int) -> LittleFleet:
    """Return a fleet of equal nodes."""
    fleet = LittleFleet()
    if rules:
        fleet.fact(ev.PolicyActivated(Policy(disruption=DisruptionRules(**rules))))
    for number in range(nodes):
        fleet.connect(f"fog-{number}")
    return fleet


def break_replica(fleet: LittleFleet, deployment_id: str, slot: int = 0) -> None:
    """Let the replica of a slot fail for good."""
    decisions = fleet.planner.fleet.decisions
    placed = decisions.placements[decisions.of(deployment_id).slots[slot]]
    seen = fleet.log.seen(placed.id, ReplicaState.FAILED, final=True)
    fleet.fold(fleet.log.report(placed.node_id, replace(seen, started_at_us=fleet.log.now_us)))


def lost(fleet: LittleFleet, deployment_id: str, after_us: int = 0) -> dict[int, int]:
    """Return what nodes lose so long from now, of a score of 1,000 steps."""
    planner = fleet.planner
    deployment = planner.fleet.facts.deployments[deployment_id]
    instant_us = fleet.log.now_us + after_us
    return penalties(planner.fleet, planner.arrays, deployment, instant_us)


def a_broken_one(fleet: LittleFleet, **more: object) -> str:
    """Return a deployment whose only replica broke on the first node."""
    deployment_id = fleet.deploy(a_spec(replicas=1, **more))  # type: ignore[arg-type]
    fleet.settle()
    assert fleet.nodes_of(deployment_id) == ["fog-0"]
    break_replica(fleet, deployment_id)
    return deployment_id


def test_it_fades_evenly_to_nothing() -> None:
    fleet = a_fleet()
    broken = a_broken_one(fleet)
    assert lost(fleet, broken) == {0: 1_000}
    assert lost(fleet, broken, after_us=6 * MINUTE_US) == {0: 900}
    assert lost(fleet, broken, after_us=30 * MINUTE_US) == {0: 500}
    assert lost(fleet, broken, after_us=60 * MINUTE_US - 1) == {}
    assert lost(fleet, broken, after_us=24 * 60 * MINUTE_US) == {}
    # A clock that fell behind makes it no greater.
    assert lost(fleet, broken, after_us=-MINUTE_US) == {0: 1_000}


def test_other_deployments_lose_nothing() -> None:
    fleet = a_fleet()
    a_broken_one(fleet)
    other = fleet.deploy(a_spec("other"))
    assert lost(fleet, other) == {}


def test_the_policy_says_how_much_and_how_long() -> None:
    fleet = a_fleet(failure_penalty=30, failure_fades_ms=60_000)
    broken = a_broken_one(fleet)
    assert lost(fleet, broken) == {0: 300}
    assert lost(fleet, broken, after_us=45_000_000) == {0: 75}
    assert lost(fleet, broken, after_us=60_000_000) == {}


@pytest.mark.parametrize("rules", [{"failure_penalty": 0}, {"failure_fades_ms": 0}])
def test_a_policy_may_do_without(rules: dict[str, int]) -> None:
    fleet = a_fleet(**rules)
    assert lost(fleet, a_broken_one(fleet)) == {}


def test_it_is_in_percent() -> None:
    (problem,) = problems(Policy(disruption=DisruptionRules(failure_penalty=101)))
    assert (problem.field, problem.allowed) == ("disruption.failure_penalty", "0 to 100")


@pytest.mark.parametrize("strategy", ["", "first-fit", "random", "most-allocated"])
def test_a_broken_replica_goes_elsewhere_and_later_comes_back(strategy: str) -> None:
    fleet = a_fleet(nodes=1)
    broken = a_broken_one(fleet, strategy=strategy)
    fleet.connect("fog-1")
    fleet.log.pass_ms(30_000)
    (placed,) = fleet.settle()
    assert isinstance(placed, ev.DeploymentPlaced)
    assert fleet.nodes_of(broken) == ["fog-1"]
    assert placed.placements[0].score == placed.considered.best[0][1]
    assert [node_id for node_id, _ in placed.considered.best] == [
        fleet.planner.arrays.ids[1],
        fleet.planner.arrays.ids[0],
    ]
    # An hour after the first, and at once after the second failure, it is the other way round.
    fleet.log.pass_ms(HOUR_MS)
    break_replica(fleet, broken)
    fleet.log.pass_ms(60_000)
    fleet.settle()
    assert fleet.nodes_of(broken) == ["fog-0"]


def test_where_there_is_no_other_node_it_is_tried_there_again() -> None:
    fleet = a_fleet(nodes=1)
    broken = a_broken_one(fleet)
    fleet.log.pass_ms(30_000)
    (placed,) = fleet.settle()
    assert isinstance(placed, ev.DeploymentPlaced)
    assert placed.placements[0].score < 0
    assert fleet.nodes_of(broken) == ["fog-0"]


def test_replicas_that_share_nodes_shun_them_too() -> None:
    fleet = a_fleet(nodes=3)
    together = fleet.deploy(a_spec(replicas=5, allow_colocation=True))
    fleet.settle()
    first = fleet.nodes_of(together)[0]
    break_replica(fleet, together)
    other = fleet.nodes_of(together).count(first)
    fleet.log.pass_ms(30_000)
    fleet.settle()
    assert fleet.nodes_of(together)[0] != first
    assert fleet.nodes_of(together).count(first) == other - 1
