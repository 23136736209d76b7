"""Scenarios of nodes that are cut off, under the rules that deployments have for that."""

from __future__ import annotations

from dataclasses import replace

import pytest

from fogbank.domain import events as ev
from fogbank.domain.deployment import DisconnectRules
from fogbank.domain.policy import Policy
from fogbank.domain.states import DeploymentStatus, ReplicaState
from tests.support.fleet import LittleFleet
from tests.support.fleet_log import a_fingerprint, a_spec, an_id

HOUR_MS = 3_600_000


def cut_off(*rules: DisconnectRules, policy: Policy | None = None) -> tuple[LittleFleet, list[str]]:
    """Return a fleet whose first node, with a replica for each of the rules, fell silent."""
    fleet = LittleFleet()
    if policy is not None:
        fleet.fact(ev.PolicyActivated(policy))
    fleet.connect("near")
    running = [fleet.deploy(a_spec(replicas=1, disconnect=each)) for each in rules]
    fleet.settle()
    fleet.obey()
    fleet.connect("far", a_fingerprint(region="eu-north"))
    fleet.decide(fleet.silence(an_id("near")))
    return fleet, running


def on(fleet: LittleFleet, deployments: list[str]) -> list[list[str]]:
    """Decide what there is to decide, and return where each deployment is."""
    fleet.settle()
    return [fleet.nodes_of(deployment_id) for deployment_id in deployments]


def test_each_deployment_is_replaced_after_its_own_time() -> None:
    fleet, running = cut_off(
        DisconnectRules(lost_after_ms=20_000), DisconnectRules(), DisconnectRules(60_000)
    )
    since_us = fleet.log.now_us
    assert fleet.planner.next_look_us() == since_us + 20_000_000
    fleet.log.pass_ms(19_999)
    assert on(fleet, running) == [["near"], ["near"], ["near"]]
    fleet.log.pass_ms(1)
    assert on(fleet, running) == [["far"], ["near"], ["near"]]
    assert fleet.planner.next_look_us() == since_us + 30_000_000
    fleet.log.pass_ms(10_000)
    assert on(fleet, running) == [["far"], ["far"], ["near"]]
    fleet.log.pass_ms(30_000)
    assert on(fleet, running) == [["far"], ["far"], ["far"]]


def test_never_before_the_heartbeats_are_missed() -> None:
    fleet, running = cut_off(DisconnectRules(lost_after_ms=100))
    fleet.log.pass_ms(14_999)
    assert on(fleet, running) == [["near"]]
    fleet.log.pass_ms(1)
    assert on(fleet, running) == [["far"]]


def test_what_is_not_to_be_replaced_waits_for_its_node() -> None:
    fleet, running = cut_off(DisconnectRules(replace=False))
    fleet.log.pass_ms(24 * HOUR_MS)
    assert on(fleet, running) == [["near"]]
    assert fleet.planner.next_look_us() is None
    fleet.connect("near")
    assert on(fleet, running) == [["near"]]


def test_a_later_policy_does_not_replace_what_its_node_still_stops() -> None:
    fleet, running = cut_off(
        DisconnectRules(stop_on_client_after_ms=15_000), policy=Policy(lost_after_ms=16_000)
    )
    fleet.log.pass_ms(25_000)
    assert on(fleet, running) == [["near"]]
    fleet.log.pass_ms(1)
    assert on(fleet, running) == [["far"]]


@pytest.mark.parametrize("changed", [DisconnectRules(90_000), DisconnectRules(replace=False)])
def test_other_rules_replace_no_replica_and_hold_at_once(changed: DisconnectRules) -> None:
    fleet, (running,) = cut_off(DisconnectRules())
    deployment = fleet.planner.fleet.facts.deployments[running]
    fleet.update(running, replace(deployment.spec, disconnect=changed))
    assert fleet.planner.fleet.facts.deployments[running].revision == 1
    assert fleet.settle() == []
    fleet.log.pass_ms(30_000)
    assert on(fleet, [running]) == [["near"]]


def test_in_a_guarded_region_nobody_is_replaced_sooner_than_the_policy_says() -> None:
    fleet = LittleFleet()
    for number in range(4):
        fleet.connect(f"near-{number}", a_fingerprint(cpu=1000))
    hasty = fleet.deploy(a_spec(replicas=2, disconnect=DisconnectRules(20_000)))
    slow = fleet.deploy(a_spec(replicas=2, disconnect=DisconnectRules(140_000)))
    fleet.settle()
    fleet.obey()
    before = on(fleet, [hasty, slow])
    for number in range(4):
        fleet.connect(f"far-{number}", a_fingerprint(region="eu-north"))
    fleet.decide(*(fleet.silence(an_id(f"near-{number}")) for number in range(3)))
    fleet.log.pass_ms(29_999)
    assert on(fleet, [hasty, slow]) == before
    fleet.log.pass_ms(1)
    suspended = [one for one in fleet.settle() if isinstance(one, ev.ReplicasSuspended)]
    assert {one.node_id for one in suspended} <= {an_id("near-0")}
    fleet.log.pass_ms(1_000_000)
    fleet.settle()
    assert sum(name.startswith("far") for name in fleet.nodes_of(hasty) + fleet.nodes_of(slow)) == 3


STOPPED = DisconnectRules(40_000, stop_on_client_after_ms=10_000)


def stopped_by_its_node(fleet: LittleFleet, deployment_id: str, ran_ms: int = 60_000) -> None:
    """Let the only replica of a deployment be reported as stopped, when its node is back."""
    decisions = fleet.planner.fleet.decisions
    (replica_id,) = decisions.of(deployment_id).replica_ids[:1]
    placed = decisions.placements[replica_id]
    seen = fleet.log.seen(replica_id, ReplicaState.STOPPED, final=True)
    seen = replace(seen, started_at_us=seen.observed_at_us - ran_ms * 1_000)
    fleet.fold(fleet.log.report(placed.node_id, seen))


def test_what_its_node_stopped_stays_replaced_when_the_node_is_back() -> None:
    fleet, (deployment_id,) = cut_off(STOPPED)
    fleet.log.pass_ms(40_000)
    assert on(fleet, [deployment_id]) == [["far"]]
    fleet.obey()
    fleet.connect("near")
    (released,) = fleet.settle()
    assert isinstance(released, ev.ReplicasReleased)
    assert released.reason == "Stopped by its node while that was cut off"
    stopped_by_its_node(fleet, deployment_id)
    assert on(fleet, [deployment_id]) == [["far"]]
    assert fleet.status(deployment_id) is DeploymentStatus.RUNNING


def test_what_its_node_stopped_in_a_short_outage_is_placed_again_at_once() -> None:
    fleet, (deployment_id,) = cut_off(STOPPED)
    fleet.log.pass_ms(20_000)
    assert on(fleet, [deployment_id]) == [["near"]]
    fleet.connect("near")
    assert fleet.settle() == []
    stopped_by_its_node(fleet, deployment_id)
    fleet.settle()
    decision = fleet.planner.fleet.decisions.of(deployment_id)
    assert decision.generations == {0: 2}
    fleet.obey()
    assert fleet.status(deployment_id) is DeploymentStatus.RUNNING


def test_a_node_that_stops_one_after_the_other_does_not_get_them_at_once() -> None:
    fleet, (deployment_id,) = cut_off(STOPPED)
    fleet.connect("near")
    assert fleet.settle() == []
    stopped_by_its_node(fleet, deployment_id, ran_ms=1_000)
    delay_ms = fleet.planner.fleet.facts.policy.reschedule_delay_ms
    assert fleet.planner.next_look_us() == fleet.log.now_us + delay_ms * 1_000
    assert fleet.settle() == []
    fleet.log.pass_ms(delay_ms)
    fleet.settle()
    assert fleet.planner.fleet.decisions.of(deployment_id).generations == {0: 2}


def test_what_was_given_up_without_a_successor_is_placed_anew() -> None:
    fleet = LittleFleet()
    fleet.connect("near")
    deployment_id = fleet.deploy(a_spec(replicas=1, cpu=4000, disconnect=STOPPED))
    fleet.settle()
    fleet.obey()
    fleet.connect("far", a_fingerprint(cpu=1000))
    fleet.decide(fleet.silence(an_id("near")))
    fleet.log.pass_ms(40_000)
    fleet.settle()
    assert fleet.nodes_of(deployment_id) == []
    fleet.connect("near")
    fleet.settle()
    assert fleet.nodes_of(deployment_id) == ["near"]
    decisions = fleet.planner.fleet.decisions
    first, second = decisions.of(deployment_id).replica_ids
    assert decisions.placements[second].starts_after == (first,)
