"""Replicas move off nodes that shrank, and off nodes that do nothing for them."""

from __future__ import annotations

from dataclasses import replace

import pytest

from fogbank.domain import events as ev
from fogbank.domain.decisions import Desired
from fogbank.domain.deployment import DeploymentSpec
from fogbank.domain.disruption import DisruptionRules
from fogbank.domain.policy import Policy
from fogbank.domain.states import ReplicaState
from tests.support.fleet import LittleFleet
from tests.support.fleet_log import a_fingerprint, a_spec, an_id
from tests.support.laws import broken_laws
from tests.support.mixed_story import rederive

GRACE_MS = Policy().disruption.start_grace_ms


def a_fleet(*names: str) -> LittleFleet:
    fleet = LittleFleet()
    for name in names:
        fleet.connect(name)
    return fleet


def run(fleet: LittleFleet, spec: DeploymentSpec) -> str:
    known = fleet.deploy(spec)
    fleet.settle()
    fleet.obey()
    return known


def shrinks(fleet: LittleFleet, name: str, cpu: int) -> None:
    node = fleet.planner.fleet.facts.nodes[an_id(name)]
    fleet.fact(ev.NodeCapacityChanged(node.id, node.epoch, a_fingerprint(cpu=cpu)))


def calm(fleet: LittleFleet) -> list[ev.Outcome]:
    """Decide and obey until nothing happens any more."""
    outcomes: list[ev.Outcome] = []
    fleet.obey()
    while more := fleet.settle():
        outcomes += more
        fleet.obey()
    assert not fleet.planner.has_work(fleet.log.now_us)
    assert not broken_laws(fleet.log)
    return outcomes


def only_one_hears(fleet: LittleFleet, deaf: str) -> None:
    """Let all nodes do as they are told but one, which lives and does nothing."""
    state = fleet.planner.fleet
    for node in list(state.facts.nodes.values()):
        if node.name != deaf:
            seen = [
                fleet.log.seen(placed.id, ReplicaState.RUNNING)
                for placed in state.on_node(node.id)
                if state.replica_state(placed) is ReplicaState.ASSIGNED
            ]
            if seen:
                fleet.fold(fleet.log.report(node.id, *seen))


def test_the_least_important_moves_off_a_node_that_shrank_and_leaves_when_its_successor_runs() -> (
    None
):
    fleet = a_fleet("a")
    high, low = (run(fleet, a_spec(cpu=1500, priority=priority)) for priority in (60, 20))
    fleet.connect("b")
    shrinks(fleet, "a", 2000)
    (placed,) = fleet.decide()
    assert isinstance(placed, ev.DeploymentPlaced)
    assert placed.deployment_id == low
    assert placed.placements[0].replaces
    predecessor = fleet.planner.fleet.decisions.placements[placed.placements[0].replaces]
    assert fleet.planner.fleet.replica_state(predecessor) is ReplicaState.RUNNING
    assert not fleet.decide(), "it runs on until its successor does"
    calm(fleet)
    assert fleet.nodes_of(low) == ["b"]
    assert fleet.nodes_of(high) == ["a"]
    assert not fleet.planner.fleet.overbooked


def test_what_is_placed_on_a_node_that_shrank_before_the_round_was_in_the_log_moves_too() -> None:
    fleet = a_fleet("a")
    web = fleet.deploy(a_spec(cpu=3000))
    decided = fleet.planner.decide(fleet.log.now_us)
    assert decided is not None
    shrinks(fleet, "a", 1000)
    fleet.fold(fleet.log.round(decided.event))
    assert list(fleet.planner.fleet.overbooked) == [an_id("a")]
    fleet.connect("b")
    calm(fleet)
    assert fleet.nodes_of(web) == ["b"]
    _, found = rederive(fleet.log.commits)
    assert [str(each) for each in found if not each.same] == []


def test_a_node_that_shrank_keeps_what_has_no_room_elsewhere_until_there_is() -> None:
    fleet = a_fleet("a")
    web = run(fleet, a_spec(cpu=3000))
    shrinks(fleet, "a", 1000)
    assert calm(fleet) == []
    assert fleet.nodes_of(web) == ["a"]
    fleet.connect("b")
    calm(fleet)
    assert fleet.nodes_of(web) == ["b"]


def test_a_node_that_grew_back_keeps_everything() -> None:
    fleet = a_fleet("a")
    web = run(fleet, a_spec(cpu=3000))
    shrinks(fleet, "a", 1000)
    fleet.settle()
    shrinks(fleet, "a", 4000)
    fleet.connect("b")
    assert calm(fleet) == []
    assert fleet.nodes_of(web) == ["a"]


def test_what_a_node_does_nothing_for_gets_another_one_after_the_grace() -> None:
    fleet = a_fleet("a", "b")
    web = fleet.deploy(a_spec())
    fleet.settle()
    (deaf,) = fleet.nodes_of(web)
    due_us = fleet.planner.next_look_us()
    assert due_us == fleet.log.now_us + GRACE_MS * 1000
    fleet.log.pass_ms(GRACE_MS - 1)
    assert not fleet.decide()
    fleet.log.pass_ms(1)
    assert fleet.planner.has_work(fleet.log.now_us)
    (placed,) = fleet.decide()
    assert isinstance(placed, ev.DeploymentPlaced)
    assert fleet.nodes_of(web) != [deaf]
    only_one_hears(fleet, deaf)
    (released,) = fleet.decide()
    assert isinstance(released, ev.ReplicasReleased)
    assert not broken_laws(fleet.log)


def test_with_no_other_node_it_stays_where_it_is_and_nothing_spins() -> None:
    fleet = a_fleet("a")
    web = fleet.deploy(a_spec(allow_colocation=True))
    fleet.settle()
    fleet.log.pass_ms(GRACE_MS)
    assert not fleet.settle()
    assert not fleet.planner.has_work(fleet.log.now_us)
    due_us = fleet.planner.next_look_us()
    assert due_us is None or due_us > fleet.log.now_us
    fleet.connect("b")
    fleet.settle()
    assert fleet.nodes_of(web) == ["b"]


def test_who_waits_for_a_victim_that_never_ends_goes_elsewhere() -> None:
    fleet = a_fleet("a")
    run(fleet, a_spec("low", cpu=3000, priority=10))
    high = fleet.deploy(a_spec("high", cpu=3000, priority=80))
    fleet.settle()
    (waiting,) = fleet.planner.fleet.present(high)
    assert waiting.starts_after
    fleet.connect("b")  # taken by the one that gave way
    fleet.connect("c")
    fleet.settle()
    only_one_hears(fleet, "a")
    fleet.log.pass_ms(GRACE_MS)
    fleet.settle()
    assert fleet.nodes_of(high) == ["c"]


def test_a_second_deaf_node_is_left_as_well() -> None:
    fleet = a_fleet("a", "b", "c")
    web = fleet.deploy(a_spec())
    fleet.settle()
    tried = {*fleet.nodes_of(web)}
    for _ in range(2):
        fleet.log.pass_ms(GRACE_MS)
        fleet.settle()
        tried |= {*fleet.nodes_of(web)}
    assert len(tried) > 1
    assert not broken_laws(fleet.log)


def test_the_time_that_a_node_was_gone_does_not_count() -> None:
    fleet = a_fleet("a", "b")
    fleet.deploy(a_spec())
    fleet.settle()
    fleet.log.pass_ms(GRACE_MS - 1)
    for name in ("a", "b"):
        fleet.connect(name)
    fleet.log.pass_ms(GRACE_MS - 1)
    assert not fleet.decide()


def test_without_a_grace_it_waits_for_ever() -> None:
    fleet = a_fleet("a", "b")
    fleet.fact(ev.PolicyActivated(replace(Policy(), disruption=DisruptionRules(start_grace_ms=0))))
    web = fleet.deploy(a_spec())
    fleet.settle()
    before = fleet.nodes_of(web)
    fleet.log.pass_ms(100 * GRACE_MS)
    assert not fleet.settle()
    assert fleet.nodes_of(web) == before


@pytest.mark.parametrize("drained", [("a",), ("a", "b"), ("b",)])
def test_a_drain_goes_on_past_a_node_that_does_nothing_for_the_successor(
    drained: tuple[str, ...],
) -> None:
    fleet = a_fleet("a")
    web = run(fleet, a_spec())
    fleet.connect("b")
    fleet.fact(ev.NodeDraining(an_id("a")))
    fleet.settle()
    assert fleet.nodes_of(web) == ["b"]
    if "a" not in drained:
        fleet.fact(ev.NodeUncordoned(an_id("a")))
        fleet.fact(ev.NodeCordoned(an_id("a")))
    if "b" in drained:
        fleet.fact(ev.NodeDraining(an_id("b")))
    (first, second) = fleet.planner.fleet.present(web)
    fleet.log.pass_ms(GRACE_MS)
    assert fleet.settle() == [], "there is no room yet"
    assert not fleet.planner.has_work(fleet.log.now_us)
    fleet.connect("c")
    outcomes = fleet.settle()
    assert [type(one) for one in outcomes] == [ev.ReplicasReleased, ev.DeploymentPlaced]
    assert fleet.nodes_of(web) == ["c"]
    assert (first.desired, second.desired) == (Desired.LEAVING, Desired.RELEASED)
    only_one_hears(fleet, "b")
    fleet.settle()
    assert first.desired is Desired.RELEASED, "its successor serves"
    assert not broken_laws(fleet.log)


def test_without_a_drain_a_successor_is_waited_for_while_its_predecessor_serves() -> None:
    fleet = a_fleet("a")
    web = run(fleet, a_spec())
    fleet.connect("b")
    fleet.fact(ev.NodeDraining(an_id("a")))
    fleet.settle()
    fleet.connect("c")
    fleet.fact(ev.NodeUncordoned(an_id("a")))
    fleet.log.pass_ms(GRACE_MS)
    assert not fleet.settle()
    assert fleet.nodes_of(web) == ["b"]
