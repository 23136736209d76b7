"""Scenarios of drains, cordons and removals: what follows from what operators say of nodes."""

from __future__ import annotations

from fogbank.domain import events as ev
from fogbank.domain.decisions import Desired, PlacedReplica
from fogbank.domain.disruption import DisruptionRules
from fogbank.domain.node_status import node_reason
from fogbank.domain.policy import Policy
from fogbank.domain.states import DeploymentStatus, NodeStatus, ReplicaState
from fogbank.domain.status import replica_views
from tests.support.fleet import LittleFleet
from tests.support.fleet_log import a_fingerprint, a_spec, an_id

MINUTE_US = 60_000_000


def a_fleet(nodes: int) -> LittleFleet:
    """Return a fleet of equal nodes."""
    fleet = LittleFleet()
    for number in range(nodes):
        fleet.connect(f"fog-{number}")
    return fleet


def running(fleet: LittleFleet, replicas: int = 1, **more: object) -> str:
    """Return a deployment whose replicas all run."""
    deployment_id = fleet.deploy(a_spec(replicas=replicas, **more))  # type: ignore[arg-type]
    fleet.settle()
    fleet.obey()
    assert fleet.status(deployment_id) is DeploymentStatus.RUNNING
    return deployment_id


def drain(fleet: LittleFleet, name: str, minutes: int = 0) -> None:
    """Begin to drain a node."""
    deadline_us = fleet.log.now_us + minutes * MINUTE_US if minutes else 0
    fleet.fact(ev.NodeDraining(an_id(name), deadline_us))


def live(fleet: LittleFleet, deployment_id: str, slot: int = 0) -> PlacedReplica:
    """Return the replica that has a slot."""
    decisions = fleet.planner.fleet.decisions
    return decisions.placements[decisions.of(deployment_id).slots[slot]]


def left_on(fleet: LittleFleet, name: str) -> int:
    """Return how many replicas have not ended on a node."""
    return sum(1 for _ in fleet.planner.fleet.on_node(an_id(name)))


def reason_of(fleet: LittleFleet, name: str) -> str:
    """Return why a node takes nothing."""
    state = fleet.planner.fleet
    return node_reason(state, state.facts.nodes[an_id(name)])


def status_of(fleet: LittleFleet, name: str) -> NodeStatus:
    """Return a node's status."""
    state = fleet.planner.fleet
    return state.node_status(state.facts.nodes[an_id(name)])


def test_a_cordoned_node_takes_nothing_and_keeps_what_it_has() -> None:
    fleet = a_fleet(2)
    running(fleet, replicas=2)
    fleet.fact(ev.NodeCordoned(an_id("fog-0"), "a new disk"))
    assert fleet.settle() == []
    assert status_of(fleet, "fog-0") is NodeStatus.MAINTENANCE
    assert reason_of(fleet, "fog-0") == "Cordoned: a new disk"
    for _ in range(3):
        assert fleet.nodes_of(running(fleet)) == ["fog-1"]
    assert left_on(fleet, "fog-0") == 1


def test_room_on_an_uncordoned_node_wakes_who_waits_for_it() -> None:
    fleet = a_fleet(1)
    fleet.fact(ev.NodeCordoned(an_id("fog-0")))
    waiting = fleet.deploy(a_spec(wait_for_capacity=True))
    fleet.settle()
    assert fleet.status(waiting) is DeploymentStatus.PENDING
    fleet.fact(ev.NodeUncordoned(an_id("fog-0")))
    fleet.settle()
    assert fleet.nodes_of(waiting) == ["fog-0"]


def test_a_drained_replica_runs_until_its_successor_does() -> None:
    fleet = a_fleet(2)
    deployment_id = running(fleet)
    first = live(fleet, deployment_id)
    name = fleet.nodes_of(deployment_id)[0]
    drain(fleet, name)
    (moved,) = fleet.settle()
    assert isinstance(moved, ev.DeploymentPlaced)
    assert [placement.replaces for placement in moved.placements] == [first.id]
    assert first.desired is Desired.LEAVING
    assert live(fleet, deployment_id).generation == 2
    assert fleet.status(deployment_id) is DeploymentStatus.RUNNING, "its predecessor serves"
    state = fleet.planner.fleet
    (view,) = replica_views(state, state.facts.deployments[deployment_id])
    assert view.id == first.id
    assert reason_of(fleet, name) == "Draining, 1 left"
    fleet.obey()
    (released,) = fleet.settle()
    assert isinstance(released, ev.ReplicasReleased)
    assert released.replica_ids == (first.id,)
    fleet.obey()
    assert left_on(fleet, name) == 0
    assert reason_of(fleet, name) == "Drained"
    assert [change.new for change in fleet.changes][-1] is DeploymentStatus.RUNNING
    assert fleet.settle() == []


def test_of_one_deployment_one_replica_moves_at_a_time() -> None:
    fleet = a_fleet(2)
    deployment_id = running(fleet, replicas=3, allow_colocation=True)
    for name in ("fog-2", "fog-3"):
        fleet.connect(name)
    drain(fleet, "fog-0")
    drain(fleet, "fog-1")
    rounds = 0
    while left_on(fleet, "fog-0") + left_on(fleet, "fog-1"):
        moves = [one for one in fleet.settle() if isinstance(one, ev.DeploymentPlaced)]
        assert len(moves) <= 1
        assert len(fleet.planner.fleet.decisions.of(deployment_id).leaving) <= 1
        fleet.obey()
        rounds += 1
        assert rounds < 20
    assert set(fleet.nodes_of(deployment_id)) <= {"fog-2", "fog-3"}


def test_without_room_elsewhere_it_stays_until_room_appears() -> None:
    fleet = a_fleet(1)
    deployment_id = running(fleet, cpu=3000)
    drain(fleet, "fog-0", minutes=10)
    assert fleet.settle() == []
    assert not fleet.planner.has_work(fleet.log.now_us), "a look in vain is not made again"
    fleet.log.pass_ms(60_000)
    assert fleet.settle() == []
    fleet.connect("fog-1")
    assert fleet.planner.has_work(fleet.log.now_us)
    (moved,) = fleet.settle()
    assert isinstance(moved, ev.DeploymentPlaced)
    fleet.obey()
    fleet.settle()
    fleet.obey()
    assert fleet.nodes_of(deployment_id) == ["fog-1"]
    assert left_on(fleet, "fog-0") == 0


def test_the_deadline_wakes_the_scheduler_and_what_is_left_waits_for_room() -> None:
    fleet = a_fleet(1)
    deployment_id = running(fleet)
    drain(fleet, "fog-0", minutes=10)
    deadline_us = fleet.log.now_us + 10 * MINUTE_US
    fleet.settle()
    assert fleet.planner.next_look_us() == deadline_us
    fleet.log.now_us = deadline_us
    assert fleet.planner.has_work(fleet.log.now_us)
    released, waits = fleet.settle()
    assert isinstance(released, ev.ReplicasReleased)
    assert released.reason == "Its node is drained"
    assert isinstance(waits, ev.DeploymentDeferred)
    assert waits.reason == "Insufficient nodes: need 1, found 0 with capacity"
    fleet.obey()
    assert reason_of(fleet, "fog-0") == "Drained"
    assert fleet.status(deployment_id) is DeploymentStatus.PENDING
    fleet.fact(ev.NodeUncordoned(an_id("fog-0")))
    fleet.settle()
    assert fleet.nodes_of(deployment_id) == ["fog-0"], "it takes replicas again"
    fleet.obey()
    assert fleet.planner.next_look_us() is None


def test_at_the_deadline_a_successor_that_never_ran_is_not_waited_for() -> None:
    fleet = a_fleet(2)
    deployment_id = running(fleet)
    name = fleet.nodes_of(deployment_id)[0]
    drain(fleet, name, minutes=1)
    fleet.settle()
    fleet.log.pass_ms(60_000)
    (released,) = fleet.settle()
    assert isinstance(released, ev.ReplicasReleased)
    fleet.obey()
    assert left_on(fleet, name) == 0
    assert fleet.status(deployment_id) is DeploymentStatus.RUNNING


def test_a_successor_that_fails_is_followed_by_another() -> None:
    fleet = a_fleet(3)
    deployment_id = running(fleet)
    first = live(fleet, deployment_id)
    drain(fleet, fleet.nodes_of(deployment_id)[0])
    fleet.settle()
    second = live(fleet, deployment_id)
    fleet.fold(
        fleet.log.report(
            second.node_id, fleet.log.seen(second.id, ReplicaState.REJECTED, final=True)
        )
    )
    assert fleet.settle() == []
    assert fleet.status(deployment_id) is DeploymentStatus.RUNNING
    fleet.log.pass_ms(3_600_000)
    fleet.settle()
    third = live(fleet, deployment_id)
    assert third.generation == 3
    leaving = fleet.planner.fleet.decisions.of(deployment_id).leaving
    assert leaving == {0: first.id}
    fleet.obey()
    fleet.settle()
    assert not leaving


def test_who_runs_on_for_a_successor_does_so_when_that_ones_node_is_drained_too() -> None:
    fleet = a_fleet(4)
    fleet.fact(ev.PolicyActivated(Policy(disruption=DisruptionRules(moves_at_once=2))))
    deployment_id = running(fleet)
    first = live(fleet, deployment_id)
    for _ in range(2):
        drain(fleet, fleet.nodes_of(deployment_id)[0])
        fleet.settle()
    assert first.desired is Desired.LEAVING
    assert fleet.status(deployment_id) is DeploymentStatus.RUNNING
    for _ in range(4):
        fleet.obey()
        fleet.settle()
        assert fleet.status(deployment_id) is DeploymentStatus.RUNNING
    assert live(fleet, deployment_id).generation == 3
    state = fleet.planner.fleet
    assert [placed.generation for placed in state.present(deployment_id)] == [3]


def test_an_uncordoned_node_is_drained_no_more() -> None:
    fleet = a_fleet(1)
    deployment_id = running(fleet)
    drain(fleet, "fog-0", minutes=1)
    fleet.settle()
    fleet.fact(ev.NodeUncordoned(an_id("fog-0")))
    fleet.log.pass_ms(120_000)
    assert fleet.settle() == []
    assert fleet.nodes_of(deployment_id) == ["fog-0"]


def test_a_deployment_deleted_during_a_drain_just_ends() -> None:
    fleet = a_fleet(2)
    deployment_id = running(fleet)
    name = fleet.nodes_of(deployment_id)[0]
    drain(fleet, name, minutes=1)
    fleet.settle()
    fleet.fact(ev.DeploymentDeleted(deployment_id))
    fleet.settle()
    fleet.obey()
    assert left_on(fleet, "fog-0") + left_on(fleet, "fog-1") == 0
    fleet.log.pass_ms(120_000)
    assert fleet.settle() == []


def test_what_an_offline_node_has_moves_off_it_too() -> None:
    fleet = a_fleet(3)
    deployment_id = running(fleet)
    name = fleet.nodes_of(deployment_id)[0]
    fleet.decide(fleet.silence(an_id(name)))
    drain(fleet, name)
    fleet.settle()
    fleet.obey()
    fleet.settle()
    assert live(fleet, deployment_id).desired is Desired.LIVE
    assert name not in fleet.nodes_of(deployment_id)
    assert reason_of(fleet, name) == "Not heard of for too long; draining, 1 left"
    fleet.log.pass_ms(120_000)
    assert fleet.settle() == [], "it was released before its node was lost"
    fleet.connect(name)
    fleet.obey()
    assert reason_of(fleet, name) == "Drained"


def test_a_drain_goes_on_while_another_node_is_lost() -> None:
    fleet = a_fleet(4)
    drained, lost = running(fleet), running(fleet)
    first, second = fleet.nodes_of(drained)[0], fleet.nodes_of(lost)[0]
    assert first != second
    drain(fleet, first)
    fleet.decide(fleet.silence(an_id(second)))
    fleet.log.pass_ms(60_000)
    for _ in range(3):
        fleet.settle()
        fleet.obey()
    assert left_on(fleet, first) == 0
    assert not {first, second} & {*fleet.nodes_of(drained), *fleet.nodes_of(lost)}


def test_what_was_suspended_on_a_draining_node_is_not_restored() -> None:
    fleet = a_fleet(2)
    deployment_id = running(fleet)
    name = fleet.nodes_of(deployment_id)[0]
    fleet.decide(fleet.silence(an_id(name)))
    fleet.log.pass_ms(60_000)
    fleet.settle()
    fleet.obey()
    drain(fleet, name)
    fleet.connect(name)
    fleet.settle()
    fleet.obey()
    assert name not in fleet.nodes_of(deployment_id)
    assert reason_of(fleet, name) == "Drained"


def test_what_a_removed_node_had_is_placed_elsewhere_at_once() -> None:
    fleet = a_fleet(2)
    deployment_id = running(fleet)
    name = fleet.nodes_of(deployment_id)[0]
    gone = live(fleet, deployment_id)
    fleet.fact(ev.NodeRemoved(an_id(name)))
    assert fleet.planner.fleet.replica_state(gone) is ReplicaState.ORPHANED
    assert status_of(fleet, name) is NodeStatus.REMOVED
    (placed,) = fleet.settle()
    assert isinstance(placed, ev.DeploymentPlaced)
    fleet.obey()
    assert name not in fleet.nodes_of(deployment_id)
    assert fleet.status(deployment_id) is DeploymentStatus.RUNNING
    fleet.connect(name, a_fingerprint())
    assert status_of(fleet, name) is NodeStatus.REMOVED, "its identity is refused"


def test_a_fleet_whose_only_node_was_removed_has_none() -> None:
    fleet = a_fleet(1)
    fleet.fact(ev.NodeRemoved(an_id("fog-0")))
    fleet.deploy(a_spec())
    (waits,) = fleet.settle()
    assert isinstance(waits, ev.DeploymentDeferred)
    assert waits.reason == "No available nodes"


def test_a_placement_that_crosses_a_removal_is_made_again() -> None:
    fleet = a_fleet(1)
    deployment_id = fleet.deploy(a_spec(wait_for_capacity=True))
    decided = fleet.planner.decide(fleet.log.now_us)
    assert decided is not None
    fleet.connect("fog-1")
    fleet.fact(ev.NodeRemoved(an_id("fog-0")))
    fleet.fold(fleet.log.round(decided.event))
    fleet.settle()
    assert fleet.nodes_of(deployment_id) == ["fog-1"]
    assert left_on(fleet, "fog-0") == 0


def test_why_a_node_is_drained_is_told_until_it_is_uncordoned() -> None:
    fleet = LittleFleet()
    known = fleet.connect("fog-0")
    fleet.fact(ev.NodeCordoned(known, "a new disk"))
    fleet.fact(ev.NodeDraining(known))
    assert reason_of(fleet, "fog-0") == "Drained: a new disk", "as logs say it that know no reason"
    fleet.fact(ev.NodeDraining(known, 0, "the rack moves"))
    assert reason_of(fleet, "fog-0") == "Drained: the rack moves"
    fleet.fact(ev.NodeUncordoned(known))
    fleet.fact(ev.NodeDraining(known))
    assert reason_of(fleet, "fog-0") == "Drained"
