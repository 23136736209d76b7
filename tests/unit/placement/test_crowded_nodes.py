"""Nodes full of replicas that still stop: what an outcome may say of whom others start after."""

from __future__ import annotations

from dataclasses import replace

from fogbank.codec import encode_commit, encode_envelope
from fogbank.domain import events as ev
from fogbank.domain.deployment import Constraint, RolloutSpec
from fogbank.domain.envelope import EventEnvelope
from fogbank.domain.states import ConstraintOperator, DeploymentStatus, ReplicaState
from fogbank.placement.placements import MOST_NAMES
from fogbank.placement.rederive import Rederiver
from tests.support.fleet import LittleFleet
from tests.support.fleet_log import a_fingerprint, a_spec, an_id
from tests.support.laws import broken_laws

NODES, ON_EACH = 20, 26
MOST_BYTES = 512 * 1024
BIG = a_spec(
    "big", NODES * ON_EACH, cpu=100, memory=64, storage=1, allow_colocation=True, priority=50
)


def crowded(nodes: int = NODES, on_each: int = ON_EACH) -> LittleFleet:
    """Return a fleet full of replicas that were deleted and have not stopped yet."""
    fleet = LittleFleet()
    for number in range(nodes):
        fleet.connect(f"fog-{number}", a_fingerprint(cpu=100 * on_each))
    for _ in range(on_each):
        fleet.deploy(a_spec("old", nodes, cpu=100, memory=64, storage=1))
    fleet.settle()
    fleet.obey()
    for known in list(fleet.planner.fleet.facts.deployments):
        fleet.fact(ev.DeploymentDeleted(known))
    fleet.settle()
    return fleet


def stop(fleet: LittleFleet, name: str, count: int) -> None:
    """Let a node stop some of what it is to stop."""
    released = [
        placed
        for placed in fleet.planner.fleet.on_node(an_id(name))
        if placed.desired == "released"
    ]
    seen = [
        fleet.log.seen(placed.id, ReplicaState.STOPPED, final=True) for placed in released[:count]
    ]
    fleet.fold(fleet.log.report(an_id(name), *seen))


def names(outcome: ev.Outcome) -> int:
    assert isinstance(outcome, ev.DeploymentPlaced)
    return sum(len(placement.starts_after) for placement in outcome.placements)


def assert_derived_again(fleet: LittleFleet) -> None:
    rederiver = Rederiver()
    found = [one for commit in fleet.log.commits if (one := rederiver.take(commit)) is not None]
    assert found
    assert all(one.same for one in found)


def test_deleted_and_deployed_again_it_keeps_no_other_waiting_and_fits_a_commit() -> None:
    fleet = crowded()
    big, small = fleet.deploy(BIG), fleet.deploy(a_spec("small", cpu=100, memory=64, storage=1))
    decided = fleet.planner.decide(fleet.log.now_us, limit=1)
    assert decided is not None
    envelope = EventEnvelope("round", decided.event, "fleet", "scheduler/one", 7)
    assert len(encode_commit(7, [encode_envelope(envelope)])) < MOST_BYTES
    outcomes = fleet.settle()
    assert fleet.nodes_of(small)
    assert all(
        names(each) <= MOST_NAMES for each in outcomes if isinstance(each, ev.DeploymentPlaced)
    )
    assert fleet.status(big) is DeploymentStatus.PENDING
    (waits,) = [each for each in outcomes if isinstance(each, ev.DeploymentDeferred)]
    assert waits.reason == (
        "Insufficient nodes: need 520, found 0 with capacity; "
        "on others too many replicas still stop"
    )
    assert ("replicas still stopping", NODES) in waits.considered.refusals


def test_it_waits_for_the_ends_without_trying_its_luck_and_is_placed_before_the_last() -> None:
    fleet = crowded()
    big = fleet.deploy(BIG)
    fleet.settle()
    fleet.log.pass_ms(60_000)
    assert fleet.settle() == [], "no try of three is used up meanwhile"
    for number in range(NODES):
        stop(fleet, f"fog-{number}", ON_EACH - MOST_NAMES // (NODES * ON_EACH))
        fleet.settle()
    assert len(fleet.nodes_of(big)) == NODES * ON_EACH
    fleet.obey()
    fleet.obey()
    assert fleet.status(big) is DeploymentStatus.RUNNING
    assert not broken_laws(fleet.log)
    assert_derived_again(fleet)


def test_where_the_rest_stopped_and_there_is_still_no_room_its_tries_begin() -> None:
    fleet = crowded()
    big = fleet.deploy(BIG)
    fleet.settle()
    fleet.deploy(a_spec("first", NODES, cpu=100, memory=64, storage=1, priority=90))
    fleet.settle()
    fleet.obey()
    (tried,) = fleet.settle()
    assert isinstance(tried, ev.DeploymentDeferred)
    assert (tried.deployment_id, tried.attempt) == (big, 1)
    assert_derived_again(fleet)


def test_an_ask_for_few_starts_after_all_that_stop() -> None:
    fleet = crowded(nodes=3)
    fleet.deploy(a_spec(replicas=3, cpu=100, memory=64, storage=1))
    (placed,) = fleet.settle()
    assert names(placed) == 3 * ON_EACH


def test_nodes_with_room_beside_those_that_stop_take_a_large_ask_at_once() -> None:
    fleet = crowded()
    for number in range(NODES):
        node = fleet.planner.fleet.facts.nodes[an_id(f"fog-{number}")]
        larger = a_fingerprint(cpu=200 * ON_EACH)
        fleet.fact(ev.NodeCapacityChanged(node.id, node.epoch, larger))
    fleet.deploy(BIG)
    (placed,) = fleet.settle()
    assert names(placed) == 0


def test_an_important_ask_for_few_gets_room_at_once_and_one_for_many_within_a_commit() -> None:
    fleet = crowded()
    few = fleet.deploy(a_spec("few", 3, cpu=100, memory=64, storage=1, priority=90))
    many = fleet.deploy(replace(BIG, priority=80))
    outcomes = fleet.settle()
    assert len(fleet.nodes_of(few)) == 3
    assert fleet.status(many) is DeploymentStatus.PENDING
    assert sum(names(one) for one in outcomes if isinstance(one, ev.DeploymentPlaced)) <= MOST_NAMES


def test_others_give_way_to_an_important_ask_for_many_while_too_many_stop_where_it_would_fit() -> (
    None
):
    fleet = crowded()
    for number in range(NODES, 2 * NODES):
        fleet.connect(f"fog-{number}", a_fingerprint(cpu=100 * ON_EACH, region="us-west"))
    there = (Constraint("region", ConstraintOperator.EQUAL, ("us-west",)),)
    low = a_spec("low", NODES, cpu=100 * ON_EACH, memory=64, priority=0, constraints=there)
    fleet.deploy(low)
    fleet.settle()
    many = fleet.deploy(replace(BIG, priority=80))
    placed = [one for one in fleet.settle() if isinstance(one, ev.DeploymentPlaced)]
    assert sum(len(victims.replica_ids) for one in placed for victims in one.evictions) == NODES
    assert len(fleet.nodes_of(many)) == NODES * ON_EACH
    assert not broken_laws(fleet.log)


def test_an_update_that_may_replace_all_at_once_keeps_to_the_limit_of_a_round() -> None:
    fleet = LittleFleet()
    fleet.connect("fog-0", a_fingerprint(cpu=64_000, memory=64_000))
    many = a_spec(replicas=30, cpu=100, allow_colocation=True, rollout=RolloutSpec(max_surge=30))
    known = fleet.deploy(many)
    fleet.settle()
    fleet.obey()
    fleet.update(known, replace(many, container_image="nginx:1.25"))
    decided = fleet.planner.decide(fleet.log.now_us, limit=10)
    assert decided is not None
    assert len(decided.event.outcomes) == 10
    fleet.fold(fleet.log.round(decided.event, causes=decided.causes))
    assert len(fleet.settle()) == 20, "the next rounds go on"
