"""Scenarios of deciding: each is a page that says what follows from what."""

from __future__ import annotations

from fogbank.domain import events as ev
from fogbank.domain.states import DeploymentStatus, ReplicaState
from tests.support.fleet import LittleFleet
from tests.support.fleet_log import a_fingerprint, a_spec


def a_fleet(nodes: int) -> LittleFleet:
    """Return a fleet of equal nodes."""
    fleet = LittleFleet()
    for number in range(nodes):
        fleet.connect(f"fog-{number}")
    return fleet


def test_each_replica_gets_its_own_node_and_history_has_every_status() -> None:
    fleet = a_fleet(5)
    deployment_id = fleet.deploy(a_spec(replicas=3))
    (placed,) = fleet.settle()
    assert isinstance(placed, ev.DeploymentPlaced)
    assert len({placement.node_id for placement in placed.placements}) == 3
    assert placed.considered.nodes == 5
    assert placed.considered.feasible == 5
    fleet.obey()
    assert [(change.old, change.new, change.reason) for change in fleet.changes] == [
        (None, DeploymentStatus.PENDING, "Deployment created by user"),
        (
            DeploymentStatus.PENDING,
            DeploymentStatus.SCHEDULED,
            "Scheduled 3 replicas across nodes",
        ),
        (
            DeploymentStatus.SCHEDULED,
            DeploymentStatus.RUNNING,
            "All 3 replicas started successfully",
        ),
    ]
    assert fleet.status(deployment_id) is DeploymentStatus.RUNNING


def test_too_few_nodes_fails_after_three_retries_with_the_exact_text() -> None:
    fleet = a_fleet(2)
    deployment_id = fleet.deploy(a_spec(replicas=5))
    waits = []
    for _ in range(3):
        (outcome,) = fleet.settle()
        assert isinstance(outcome, ev.DeploymentDeferred)
        waits.append((outcome.not_before_us - fleet.log.now_us) // 1_000_000)
        assert fleet.planner.next_look_us() == outcome.not_before_us
        fleet.log.now_us = outcome.not_before_us
    (outcome,) = fleet.settle()
    assert waits == [1, 2, 4]
    assert isinstance(outcome, ev.DeploymentFailed)
    assert outcome.reason == "Insufficient nodes: need 5, found 2 with capacity"
    assert outcome.available_nodes == 2
    assert fleet.status(deployment_id) is DeploymentStatus.FAILED
    assert fleet.planner.next_look_us() is None


def test_waiting_for_capacity_lasts_until_nodes_join() -> None:
    fleet = a_fleet(2)
    deployment_id = fleet.deploy(a_spec(replicas=5, wait_for_capacity=True))
    (parked,) = fleet.settle()
    assert isinstance(parked, ev.DeploymentDeferred)
    assert parked.not_before_us == 0
    fleet.log.pass_ms(3_600_000)
    assert fleet.settle() == []
    for number in (2, 3):
        fleet.connect(f"fog-{number}")
        assert fleet.settle() == [], "still too few: a look that changes nothing is no outcome"
    fleet.connect("fog-4")
    (placed,) = fleet.settle()
    assert isinstance(placed, ev.DeploymentPlaced)
    fleet.obey()
    assert fleet.status(deployment_id) is DeploymentStatus.RUNNING


def test_room_that_appears_while_a_deployment_is_being_parked_wakes_it() -> None:
    fleet = a_fleet(1)
    fleet.deploy(a_spec(replicas=2, wait_for_capacity=True))
    decided = fleet.planner.decide(fleet.log.now_us)
    assert decided is not None
    fleet.connect("fog-late")  # after the look, before its round is in the log
    fleet.fold(fleet.log.round(decided.event))
    (placed,) = fleet.settle()
    assert isinstance(placed, ev.DeploymentPlaced)


def test_without_any_node_it_waits_and_then_its_tries_begin() -> None:
    fleet = a_fleet(0)
    deployment_id = fleet.deploy(a_spec())
    (parked,) = fleet.settle()
    assert isinstance(parked, ev.DeploymentDeferred)
    assert parked.reason == "No available nodes"
    assert fleet.status(deployment_id) is DeploymentStatus.PENDING
    fleet.connect("fog-0", a_fingerprint(cpu=2000))
    other = fleet.deploy(a_spec(cpu=2000, priority=90))
    fleet.settle()
    assert fleet.nodes_of(other) == ["fog-0"]
    decision = fleet.planner.fleet.decisions.of(deployment_id)
    assert decision.attempt == 1, "now that there is a node its retries count"


def test_an_ask_that_no_node_could_ever_meet_fails_at_once() -> None:
    fleet = a_fleet(3)
    fleet.deploy(a_spec(gpu=1))
    (failed,) = fleet.settle()
    assert isinstance(failed, ev.DeploymentFailed)
    assert failed.reason.startswith("Impossible: no node is large enough")


def test_scaling_up_places_the_added_ones_and_down_releases_the_highest_slots() -> None:
    fleet = a_fleet(4)
    deployment_id = fleet.deploy(a_spec(replicas=2))
    fleet.settle()
    fleet.obey()
    fleet.fact(ev.DeploymentScaled(deployment_id, 4))
    assert fleet.status(deployment_id) is DeploymentStatus.DEGRADED
    (placed,) = fleet.settle()
    assert isinstance(placed, ev.DeploymentPlaced)
    assert [placement.slot for placement in placed.placements] == [2, 3]
    fleet.obey()
    assert fleet.status(deployment_id) is DeploymentStatus.RUNNING
    fleet.fact(ev.DeploymentScaled(deployment_id, 1))
    (released,) = fleet.settle()
    assert isinstance(released, ev.ReplicasReleased)
    assert len(released.replica_ids) == 3
    fleet.obey()
    assert len(fleet.nodes_of(deployment_id)) == 1
    assert fleet.status(deployment_id) is DeploymentStatus.RUNNING


def test_room_that_is_still_held_is_promised_to_a_successor_that_starts_after() -> None:
    fleet = a_fleet(1)
    first = fleet.deploy(a_spec(cpu=3000))
    fleet.settle()
    fleet.obey()
    fleet.fact(ev.DeploymentDeleted(first))
    fleet.settle()
    second = fleet.deploy(a_spec(cpu=3000))
    (placed,) = fleet.settle()
    assert isinstance(placed, ev.DeploymentPlaced)
    leaving = fleet.planner.fleet.decisions.of(first).replica_ids
    assert list(placed.placements[0].starts_after) == leaving
    fleet.obey()
    assert fleet.status(second) is DeploymentStatus.RUNNING


def test_a_lost_node_is_replaced_after_its_time_and_not_before() -> None:
    fleet = a_fleet(3)
    deployment_id = fleet.deploy(a_spec(replicas=2))
    fleet.settle()
    fleet.obey()
    victim = fleet.planner.fleet.decisions.placements[
        fleet.planner.fleet.decisions.of(deployment_id).slots[0]
    ].node_id
    silence = fleet.silence(victim)
    fleet.log.pass_ms(15_000)
    (offline,) = fleet.decide(silence)
    assert isinstance(offline, ev.NodeOffline)
    assert fleet.status(deployment_id) is DeploymentStatus.DEGRADED
    assert fleet.settle() == []
    assert fleet.planner.next_look_us() == silence.last_heard_at_us + 30_000_000
    fleet.log.pass_ms(15_000)
    suspended, placed = fleet.settle()
    assert isinstance(suspended, ev.ReplicasSuspended)
    assert isinstance(placed, ev.DeploymentPlaced)
    assert placed.placements[0].generation == 2
    fleet.obey()
    assert fleet.status(deployment_id) is DeploymentStatus.RUNNING


def test_a_node_that_comes_back_settles_who_keeps_the_slot() -> None:
    fleet = a_fleet(3)
    deployment_id = fleet.deploy(a_spec(replicas=2))
    fleet.settle()
    fleet.obey()
    decisions = fleet.planner.fleet.decisions
    original = decisions.placements[decisions.of(deployment_id).slots[0]]
    silence = fleet.silence(original.node_id)
    fleet.log.pass_ms(30_000)
    fleet.decide(silence)
    fleet.settle()
    fleet.obey()
    name = fleet.planner.fleet.facts.nodes[original.node_id].name
    fleet.connect(name)
    released, restored = fleet.settle()
    assert isinstance(released, ev.ReplicasReleased)
    assert isinstance(restored, ev.ReplicasRestored)
    assert restored.replica_ids == (original.id,)
    fleet.obey()
    assert fleet.status(deployment_id) is DeploymentStatus.RUNNING
    assert len(list(fleet.planner.fleet.on_node(original.node_id))) == 1


def test_if_every_node_is_silent_nobody_is_evicted() -> None:
    fleet = a_fleet(2)
    deployment_id = fleet.deploy(a_spec(replicas=2))
    fleet.settle()
    fleet.obey()
    silences = [fleet.silence(node_id) for node_id in list(fleet.planner.fleet.facts.nodes)]
    fleet.log.pass_ms(3_600_000)
    assert len(fleet.decide(*silences)) == 2
    assert fleet.settle() == []
    assert fleet.status(deployment_id) is DeploymentStatus.DEGRADED


def test_a_broken_replica_is_placed_again_after_a_wait() -> None:
    fleet = a_fleet(2)
    deployment_id = fleet.deploy(a_spec())
    fleet.settle()
    fleet.obey()
    decisions = fleet.planner.fleet.decisions
    broken = decisions.placements[decisions.of(deployment_id).slots[0]]
    fleet.fold(
        fleet.log.report(
            broken.node_id,
            fleet.log.seen(broken.id, ReplicaState.FAILED, final=True, exit_code=1),
        )
    )
    assert fleet.status(deployment_id) is DeploymentStatus.DEGRADED
    assert fleet.settle() == []
    fleet.log.now_us = fleet.planner.next_look_us() or 0
    (placed,) = fleet.settle()
    assert isinstance(placed, ev.DeploymentPlaced)
    fleet.obey()
    assert fleet.status(deployment_id) is DeploymentStatus.RUNNING


def test_a_round_decided_on_another_than_the_last_one_is_void() -> None:
    fleet = a_fleet(1)
    fleet.deploy(a_spec(cpu=4000))
    rival = fleet.planner.decide(fleet.log.now_us)
    assert rival is not None
    fleet.settle()
    taken = fleet.planner.fleet.booked(next(iter(fleet.planner.fleet.facts.nodes)))
    folded = fleet.planner.fold(fleet.log.round(rival.event, instance="rival"))
    assert not folded.verdicts[0].accepted
    assert fleet.planner.fleet.booked(next(iter(fleet.planner.fleet.facts.nodes))) == taken


def test_higher_priority_is_placed_first() -> None:
    fleet = a_fleet(1)
    low = fleet.deploy(a_spec(cpu=3000, priority=20))
    high = fleet.deploy(a_spec(cpu=3000, priority=80))
    fleet.settle()
    assert fleet.nodes_of(high) == ["fog-0"]
    assert fleet.nodes_of(low) == []


def test_completed_replicas_free_their_room() -> None:
    fleet = a_fleet(1)
    deployment_id = fleet.deploy(a_spec())
    fleet.settle()
    fleet.obey()
    replica = fleet.planner.fleet.decisions.of(deployment_id).slots[0]
    node = next(iter(fleet.planner.fleet.facts.nodes))
    fleet.fold(fleet.log.report(node, fleet.log.seen(replica, ReplicaState.COMPLETE, final=True)))
    assert fleet.status(deployment_id) is DeploymentStatus.COMPLETED
    assert fleet.planner.fleet.held(node).cpu_millicores == 0
    assert fleet.settle() == []


def test_a_replica_that_comes_back_gives_way_to_a_successor_that_completed() -> None:
    fleet = a_fleet(2)
    deployment_id = fleet.deploy(a_spec())
    fleet.settle()
    fleet.obey()
    decisions = fleet.planner.fleet.decisions
    original = decisions.placements[decisions.of(deployment_id).slots[0]]
    silence = fleet.silence(original.node_id)
    fleet.log.pass_ms(30_000)
    fleet.decide(silence)
    fleet.settle()
    successor = decisions.placements[decisions.of(deployment_id).slots[0]]
    done = fleet.log.seen(successor.id, ReplicaState.COMPLETE, final=True)
    fleet.fold(fleet.log.report(successor.node_id, done))
    assert fleet.status(deployment_id) is DeploymentStatus.COMPLETED
    fleet.connect(fleet.planner.fleet.facts.nodes[original.node_id].name)
    (released,) = fleet.settle()
    assert isinstance(released, ev.ReplicasReleased)
    assert released.replica_ids == (original.id,)
    assert fleet.status(deployment_id) is DeploymentStatus.COMPLETED


def test_of_several_that_come_back_to_one_slot_one_stays() -> None:
    fleet = a_fleet(3)
    deployment_id = fleet.deploy(a_spec())
    fleet.settle()
    decisions = fleet.planner.fleet.decisions
    lost = []
    for _ in range(2):
        placed = decisions.placements[decisions.of(deployment_id).slots[0]]
        lost.append(fleet.planner.fleet.facts.nodes[placed.node_id].name)
        silence = fleet.silence(placed.node_id)
        fleet.log.pass_ms(30_000)
        fleet.decide(silence)
        fleet.settle()
    for name in lost:
        fleet.connect(name)
    fleet.settle()
    live = [placed.id for placed in decisions.placements.values() if placed.desired == "live"]
    assert live == [decisions.of(deployment_id).slots[0]]
