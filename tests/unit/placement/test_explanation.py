"""Why replicas are where they are, where others would go, and what would let them."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from fogbank.domain import events as ev
from fogbank.domain.deployment import Constraint, DeploymentSpec, RolloutSpec
from fogbank.domain.explanations import DeploymentExplanation, DeploymentPlan, Explanation
from fogbank.domain.states import ConstraintOperator, ReplicaState
from fogbank.placement.explanation import explain, plan
from tests.support.fleet import LittleFleet
from tests.support.fleet_log import a_fingerprint, a_spec, an_id

EQUAL = ConstraintOperator.EQUAL


def a_fleet(nodes: int) -> LittleFleet:
    fleet = LittleFleet()
    for number in range(nodes):
        fleet.connect(f"fog-{number}")
    return fleet


def told(fleet: LittleFleet, deployment_id: str) -> DeploymentExplanation:
    deployment = fleet.planner.fleet.facts.deployments[deployment_id]
    found = explain(fleet.planner, deployment, fleet.log.now_us)
    add_up(found.explanation)
    if found.now is not None:
        add_up(found.now)
        assert found.now.would_unblock, "never empty"
    assert found.summary
    return found


def planned(fleet: LittleFleet, spec: DeploymentSpec) -> DeploymentPlan:
    before = fleet.planner.arrays.booked.copy()
    found = plan(fleet.planner, spec, fleet.log.now_us)
    assert (fleet.planner.arrays.booked == before).all(), "a plan takes nothing"
    add_up(found.explanation)
    assert found.placeable or found.explanation.would_unblock, "never empty"
    return found


def add_up(explanation: Explanation) -> None:
    """Refusals and feasible nodes sum to the nodes; the terms of a score to the score."""
    refused = sum(refusal.nodes for refusal in explanation.refusals)
    assert refused + explanation.feasible == explanation.nodes
    for candidate in explanation.best:
        total = sum(term for _, term in candidate.terms)
        assert candidate.score_now == pytest.approx(total * 1000, abs=0.5001)


def test_a_plan_is_what_a_round_then_decides() -> None:
    fleet = a_fleet(5)
    fleet.deploy(a_spec(replicas=2))
    fleet.settle()
    spec = a_spec(replicas=3)
    found = plan(fleet.planner, spec, fleet.log.now_us)
    fleet.deploy(spec)
    (placed,) = fleet.settle()
    assert isinstance(placed, ev.DeploymentPlaced)
    assert [each.node_id for each in found.scheduled] == [p.node_id for p in placed.placements]
    assert [each.score for each in found.scheduled] == [p.score for p in placed.placements]
    assert [each.score_now for each in found.scheduled] == [p.score for p in placed.placements]
    assert found.placeable
    assert not found.explanation.would_unblock


def test_a_plan_without_room_says_what_is_missing() -> None:
    fleet = a_fleet(3)
    found = planned(fleet, a_spec(replicas=5))
    assert found.error == "Insufficient nodes: need 5, found 3 with capacity"
    assert found.available_nodes == 3
    assert found.explanation.would_unblock == (
        "2 nodes more with room for a replica",
        "letting its replicas share nodes (allow_colocation): then all fit",
        "asking for 3 replicas instead of 5: so many fit now",
    )


def test_the_nodes_that_come_closest_are_named_with_what_they_lack() -> None:
    fleet = LittleFleet()
    for name, free in (("fog-0", 4096), ("fog-1", 1536), ("fog-2", 1024)):
        fleet.connect(name, a_fingerprint(memory=8192))
        filler = a_spec(
            cpu=100,
            memory=8192 - free,
            constraints=(Constraint("node", EQUAL, (name,)),),
        )
        fleet.deploy(filler)
    fleet.settle()
    found = planned(fleet, a_spec(replicas=2, memory=2048))
    assert not found.placeable
    assert [(each.filter, each.nodes) for each in found.explanation.refusals] == [("memory", 2)]
    assert found.explanation.would_unblock[:2] == (
        "1 node more with room for a replica",
        "512 MiB more on fog-1",
    )


def test_a_node_that_could_never_do_is_not_promised() -> None:
    found = planned(a_fleet(2), a_spec(cpu=900_000))
    assert found.error.startswith("Impossible")
    (missing,) = (hint for hint in found.explanation.would_unblock if "a node with" in hint)
    assert "900000 millicores" in missing


def test_constraints_and_silent_nodes_are_named() -> None:
    fleet = LittleFleet()
    fleet.connect("fog-0", a_fingerprint(labels={"disk": "hdd"}))
    silent = fleet.connect("fog-1", a_fingerprint(labels={"disk": "ssd"}))
    fleet.decide(fleet.silence(silent))
    found = planned(fleet, a_spec(constraints=(Constraint("label.disk", EQUAL, ("ssd",)),)))
    assert {each.filter for each in found.explanation.refusals} == {"status", "constraints"}
    assert "fog-1 taking replicas again; it is offline" in found.explanation.would_unblock
    assert (
        "dropping the constraint label.disk=ssd: 1 node more would do"
        in found.explanation.would_unblock
    )


def test_without_any_node_a_joining_one_would_unblock() -> None:
    found = planned(LittleFleet(), a_spec())
    assert found.error == "No available nodes"
    assert found.explanation.would_unblock == ("a node that joins; none is known yet",)


def test_a_placed_deployment_shows_the_scores_it_was_placed_by() -> None:
    fleet = a_fleet(7)
    deployment_id = fleet.deploy(a_spec(replicas=2))
    (placed,) = fleet.settle()
    assert isinstance(placed, ev.DeploymentPlaced)
    found = told(fleet, deployment_id)
    assert found.summary == "All 2 replicas have a node: fog-0, fog-1."
    assert found.decided_sequence == fleet.planner.fleet.decisions.prev_sequence
    assert found.now is None
    assert found.explanation.nodes == 7
    assert len(found.explanation.best) == 5
    for candidate, (node_id, score) in zip(
        found.explanation.best, placed.considered.best, strict=True
    ):
        assert (candidate.node_id, candidate.score) == (node_id, score)
    others = found.explanation.best[2:]
    assert all(each.score_now == each.score for each in others), "nothing happened there since"


def test_a_waiting_deployment_says_until_when_and_for_what() -> None:
    fleet = a_fleet(1)
    deployment_id = fleet.deploy(a_spec(replicas=2))
    before = told(fleet, deployment_id)
    assert before.decided_sequence == 0
    assert before.explanation.nodes == 1
    assert before.summary == "2 of 2 replicas wait for a node. It is looked at in the next round."
    fleet.settle()
    waiting = told(fleet, deployment_id)
    assert waiting.summary == (
        "2 of 2 replicas wait for a node: Insufficient nodes: need 2, found 1 with capacity. "
        "Try 1 found no room; it is looked at again in 1 s, or when room appears."
    )
    assert waiting.now is not None
    assert "1 node more with room for a replica" in waiting.explanation.would_unblock


def test_failed_deleted_and_broken_ones_are_told_too() -> None:
    fleet = a_fleet(2)
    failed_id = fleet.deploy(a_spec(cpu=900_000))
    deployment_id = fleet.deploy(a_spec(replicas=2))
    fleet.settle()
    failed = told(fleet, failed_id)
    assert failed.summary.startswith("Failed: Impossible")
    assert failed.explanation.would_unblock
    fleet.fact(ev.DeploymentDeleted(deployment_id))
    deleted = told(fleet, deployment_id)
    assert deleted.summary == "Deleted by its author."
    assert deleted.explanation.nodes == 2


def test_a_plan_takes_no_gpu_from_those_who_come_after_it() -> None:
    fleet = LittleFleet()
    fleet.connect("fog-0", a_fingerprint(gpu=1))
    assert plan(fleet.planner, a_spec(gpu=1), fleet.log.now_us).placeable
    deployment_id = fleet.deploy(a_spec(gpu=1))
    explain(fleet.planner, fleet.planner.fleet.facts.deployments[deployment_id], fleet.log.now_us)
    (placed,) = fleet.settle()
    assert isinstance(placed, ev.DeploymentPlaced)


def test_a_plan_says_who_would_give_way_and_a_round_then_decides_just_so() -> None:
    fleet = a_fleet(2)
    for number in range(2):
        fleet.deploy(a_spec(f"low-{number}", cpu=3000, priority=10))
    fleet.settle()
    fleet.obey()
    spec = a_spec("high", cpu=3000, priority=80)
    found = planned(fleet, spec)
    assert planned(fleet, spec) == found, "a plan evicts nothing"
    fleet.deploy(spec)
    (placed, *_) = fleet.settle()
    assert isinstance(placed, ev.DeploymentPlaced)
    assert [(each.deployment_id, each.replica_ids) for each in found.preempted] == [
        (each.deployment_id, each.replica_ids) for each in placed.evictions
    ]
    assert len(found.preempted) == 1


def test_one_replica_is_told_of_as_one() -> None:
    fleet = a_fleet(1)
    placed = fleet.deploy(a_spec("first", cpu=3000))
    fleet.settle()
    assert told(fleet, placed).summary == "The replica has a node: fog-0."
    waits = fleet.deploy(a_spec("second", cpu=3000, wait_for_capacity=True))
    fleet.settle()
    assert told(fleet, waits).summary.startswith("The replica waits for a node: Insufficient")


def test_what_waits_since_its_image_is_nowhere_says_so() -> None:
    fleet = a_fleet(1)
    deployment_id = fleet.deploy(a_spec())
    fleet.settle()
    decisions = fleet.planner.fleet.decisions
    placed = decisions.placements[decisions.of(deployment_id).slots[0]]
    seen = fleet.log.seen(placed.id, ReplicaState.REJECTED, final=True)
    seen = replace(seen, started_at_us=0, unobtainable=True, reason="image not found: nginx")
    fleet.fold(fleet.log.report(placed.node_id, seen))
    assert told(fleet, deployment_id).summary == (
        "The replica waits for a node: the one before in slot 0 broke on fog-0: "
        "image not found: nginx. It is replaced in 30 s."
    )


def test_an_update_without_room_says_what_lets_it_go_on_and_that_does() -> None:
    fleet = LittleFleet()
    for number in range(2):
        fleet.connect(f"fog-{number}", a_fingerprint(cpu=1500))
    deployment_id = fleet.deploy(a_spec(replicas=2))
    fleet.settle()
    fleet.obey()
    newer = replace(a_spec(replicas=2), container_image="nginx:1.25")
    fleet.update(deployment_id, newer)
    assert fleet.settle() == []
    stuck = told(fleet, deployment_id)
    assert "it waits for room for a replica of revision 2" in stuck.summary
    assert stuck.now is not None
    missing = "letting one replica be missing meanwhile (max_unavailable: 1)"
    assert missing in stuck.now.would_unblock
    fleet.update(deployment_id, replace(newer, rollout=RolloutSpec(max_unavailable=1)))
    released, placed = fleet.settle()
    assert isinstance(released, ev.ReplicasReleased)
    assert isinstance(placed, ev.DeploymentPlaced)


def test_nobody_is_told_to_let_an_old_replica_go_for_one_that_would_not_fit() -> None:
    fleet = a_fleet(2)
    deployment_id = fleet.deploy(a_spec(replicas=2))
    fleet.settle()
    fleet.obey()
    fleet.update(deployment_id, a_spec(replicas=2, cpu=64_000))
    assert fleet.settle() == []
    stuck = told(fleet, deployment_id).now
    assert stuck is not None
    assert not any("missing meanwhile" in hint for hint in stuck.would_unblock)


def fewer(explanation: Explanation | None) -> int:
    """Return how many replicas are hinted at to ask for instead; 0 for no such hint."""
    assert explanation is not None
    hints = [each for each in explanation.would_unblock if each.startswith("asking for ")]
    return int(hints[0].split()[2]) if hints else 0


def has_nodes(fleet: LittleFleet, deployment_id: str, replicas: int) -> bool:
    return len(fleet.nodes_of(deployment_id)) == replicas


@pytest.mark.parametrize(
    ("more", "fits"),
    [
        ({}, 3),
        ({"cpu": 900, "allow_colocation": True}, 12),
        ({"gpu": 1, "allow_colocation": True, "strategy": "balanced"}, 2),
        ({"cpu": 3000, "allow_colocation": True}, 3),
    ],
)
def test_who_asks_for_as_many_as_is_hinted_gets_them_and_for_one_more_does_not(
    more: dict[str, Any], fits: int
) -> None:
    fleet = LittleFleet()
    for number in range(3):
        fleet.connect(f"fog-{number}", a_fingerprint(gpu=int(number > 0)))
    spec = a_spec(replicas=20, wait_for_capacity=True, **more)
    assert fewer(planned(fleet, spec).explanation) == fits
    deployment_id = fleet.deploy(spec)
    fleet.settle()
    assert fewer(told(fleet, deployment_id).now) == fits
    fleet.fact(ev.DeploymentScaled(deployment_id, fits + 1))
    fleet.settle()
    assert has_nodes(fleet, deployment_id, 0)
    fleet.fact(ev.DeploymentScaled(deployment_id, fits))
    fleet.settle()
    assert has_nodes(fleet, deployment_id, fits)


def test_what_is_hinted_to_ask_for_counts_the_replicas_that_there_are() -> None:
    fleet = a_fleet(4)
    deployment_id = fleet.deploy(a_spec(replicas=2))
    fleet.settle()
    fleet.obey()
    fleet.fact(ev.DeploymentScaled(deployment_id, 9))
    fleet.settle()
    assert fewer(told(fleet, deployment_id).now) == 4
    fleet.fact(ev.DeploymentScaled(deployment_id, 4))
    fleet.settle()
    assert has_nodes(fleet, deployment_id, 4)


def test_sharing_nodes_is_hinted_at_where_it_helps_alone() -> None:
    sharing = "letting its replicas share nodes (allow_colocation): then all fit"
    fleet = LittleFleet()
    fleet.connect("fog-0", a_fingerprint(gpu=2))
    half = replace(a_spec().resources, gpu_thousandths=600)
    spec = replace(a_spec(replicas=2, strategy="balanced"), resources=half, wait_for_capacity=True)
    assert sharing in planned(fleet, spec).explanation.would_unblock
    more = replace(spec, replicas=3)
    assert sharing not in planned(fleet, more).explanation.would_unblock, "a device has room for 1"
    deployment_id = fleet.deploy(spec)
    fleet.settle()
    assert sharing in (told(fleet, deployment_id).now or Explanation()).would_unblock
    fleet.update(deployment_id, replace(spec, allow_colocation=True))
    fleet.settle()
    assert has_nodes(fleet, deployment_id, 2)


def test_an_explanation_names_the_rounds_that_placed_what_there_is() -> None:
    fleet = a_fleet(1)
    decisions = fleet.planner.fleet.decisions
    spec = a_spec(replicas=2, cpu=500, allow_colocation=True)
    deployment_id = fleet.deploy(spec)
    fleet.settle()
    fleet.obey()
    first = decisions.prev_sequence, decisions.instant_us
    fleet.log.pass_ms(1_000)
    fleet.fact(ev.DeploymentScaled(deployment_id, 3))
    (placed,) = fleet.settle()
    assert isinstance(placed, ev.DeploymentPlaced)
    found = told(fleet, deployment_id)
    assert [(each.sequence, each.instant_us, each.slots) for each in found.rounds] == [
        (decisions.prev_sequence, decisions.instant_us, (2,)),
        (*first, (0, 1)),
    ]
    (best,) = found.explanation.best
    assert best.score == placed.placements[0].score
    free = (1 - 3 * 500 / 4000, 1 - 3 * 512 / 8192)
    left = sum(free) / 2 * 0.4
    assert dict(best.terms)["resources"] == pytest.approx(left), "slots 0 and 1 were there then"


def test_it_says_who_gave_way_of_which_priority_and_why() -> None:
    fleet = a_fleet(1)
    low = [fleet.deploy(a_spec(cpu=1500, priority=priority)) for priority in (20, 0)]
    fleet.settle()
    fleet.obey()
    taker = fleet.deploy(a_spec(cpu=3000, priority=80))
    fleet.settle()
    assert told(fleet, taker).summary == (
        "The replica has a node: fog-0. For want of room others gave way to it: "
        f"1 of deployment {low[0]} (priority 20), 1 of deployment {low[1]} (priority 0). They are "
        "less important by 10 or more, and among such ones cost least."
    )


def test_what_cannot_leave_a_draining_node_says_what_it_waits_for() -> None:
    fleet = a_fleet(2)
    deployment_id = fleet.deploy(a_spec(cpu=3_000))
    fleet.settle()
    other = fleet.deploy(a_spec("other", cpu=3_000))
    fleet.settle()
    fleet.obey()
    assert told(fleet, deployment_id).now is None
    (name,) = fleet.nodes_of(deployment_id)
    fleet.fact(ev.NodeDraining(an_id(name)))
    fleet.settle()

    found = told(fleet, deployment_id)
    assert f"{name} is being drained: the replica in slot 0 runs on there until" in found.summary
    assert "deadline" not in found.summary
    assert found.now is not None
    assert {refusal.filter: refusal.nodes for refusal in found.now.refusals} == {
        "status": 1,
        "cpu": 1,
    }
    assert "1 node more with room for a replica" in found.now.would_unblock
    fleet.fact(ev.NodeDraining(an_id(name), deadline_us=fleet.log.now_us + 60_000_000))
    assert "stopped at the drain's deadline" in told(fleet, deployment_id).summary

    fleet.fact(ev.DeploymentDeleted(other))
    assert told(fleet, deployment_id).now is not None
    fleet.settle()
    fleet.obey()
    fleet.settle()
    found = told(fleet, deployment_id)
    assert found.now is None
    assert "drained" not in found.summary
