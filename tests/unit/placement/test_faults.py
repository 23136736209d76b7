"""Scenarios of silence in a whole region, of images that nobody has, of replicas that break."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, NoReturn

import pytest

from fogbank.domain import events as ev
from fogbank.domain.deployment import DisconnectRules
from fogbank.domain.facts import NodeFact
from fogbank.domain.fleet import FleetState
from fogbank.domain.node_use import NodeUse
from fogbank.domain.state_encoding import decode_state, encode_state
from fogbank.domain.states import DeploymentStatus, ReplicaState
from fogbank.domain.tables import Table
from fogbank.placement import movements
from fogbank.placement.movements import Loss, losses, next_loss_us
from tests.support.fleet import LittleFleet
from tests.support.fleet_log import a_fingerprint, a_spec, an_id
from tests.support.laws import wrong_sums

LOST_MS = 30_000
PAUSE_MS = 100_000


def silenced(near: int, silent: int, far: int = 1) -> LittleFleet:
    """Return a fleet with a replica on each node near, of which the first few fall silent."""
    fleet = LittleFleet()
    for number in range(near):
        fleet.connect(f"near-{number}", a_fingerprint(cpu=1000))
    running = fleet.deploy(a_spec(replicas=near))
    fleet.settle()
    fleet.obey()
    assert fleet.status(running) is DeploymentStatus.RUNNING
    for number in range(far):
        fleet.connect(f"far-{number}", a_fingerprint(region="eu-north"))
    fleet.decide(*(fleet.silence(an_id(f"near-{number}")) for number in range(silent)))
    return fleet


def given_up(fleet: LittleFleet) -> int:
    """Decide what there is to decide, and count the nodes whose replicas are given up."""
    outcomes = fleet.settle()
    return len({one.node_id for one in outcomes if isinstance(one, ev.ReplicasSuspended)})


def test_a_region_that_falls_silent_is_given_up_slowly() -> None:
    fleet = silenced(near=4, silent=3)
    fleet.log.pass_ms(LOST_MS)
    assert given_up(fleet) == 1
    assert fleet.planner.next_look_us() == fleet.log.now_us + PAUSE_MS * 1000
    fleet.log.pass_ms(PAUSE_MS - 1)
    assert given_up(fleet) == 0
    fleet.log.pass_ms(1)
    assert given_up(fleet) == 1
    fleet.log.pass_ms(PAUSE_MS)
    assert given_up(fleet) == 1


def test_when_enough_of_it_is_back_the_rest_is_given_up_as_usual() -> None:
    fleet = silenced(near=4, silent=3)
    fleet.log.pass_ms(LOST_MS)
    assert given_up(fleet) == 1
    fleet.connect("near-0", a_fingerprint(cpu=1000))
    assert given_up(fleet) == 2


@pytest.mark.parametrize(("near", "silent"), [(4, 2), (3, 2)])
def test_fewer_silent_nodes_and_smaller_regions_are_not_guarded(near: int, silent: int) -> None:
    fleet = silenced(near, silent)
    fleet.log.pass_ms(LOST_MS)
    assert given_up(fleet) == silent


def test_if_every_node_is_silent_none_is_given_up() -> None:
    fleet = silenced(near=4, silent=4, far=0)
    fleet.log.pass_ms(3_600_000)
    assert given_up(fleet) == 0


def test_when_the_first_of_all_is_back_the_others_get_as_long_to_come_back() -> None:
    fleet = silenced(near=3, silent=3, far=0)
    fleet.log.pass_ms(3_600_000)
    fleet.connect("near-0", a_fingerprint(cpu=1000))
    assert given_up(fleet) == 0
    fleet.log.pass_ms(LOST_MS // 2)
    fleet.connect("near-1", a_fingerprint(cpu=1000))
    assert given_up(fleet) == 0
    assert fleet.planner.next_look_us() == fleet.log.now_us + LOST_MS // 2 * 1000
    fleet.log.pass_ms(LOST_MS // 2)
    assert given_up(fleet) == 1
    assert fleet.settle() == []


def test_silence_in_a_region_of_its_own_for_each_node_costs_no_pass_over_all_for_each() -> None:
    fleet = LittleFleet()
    names = [f"fog-{number}" for number in range(400)]
    for name in names:
        fleet.connect(name, a_fingerprint(region=name))
    fleet.decide(*(fleet.silence(an_id(name)) for name in names[:200]))
    nodes = fleet.planner.fleet.facts.nodes
    looked_at = 0

    class Counted(Table[str, NodeFact]):
        def values(self) -> Any:
            nonlocal looked_at
            for node in super().values():
                looked_at += 1
                yield node

    fleet.planner.fleet.facts.nodes = Counted(nodes.items())
    assert len(losses(fleet.planner.fleet)) == 200
    assert looked_at <= len(names)


def test_dead_nodes_that_nobody_removes_cost_the_rounds_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    fleet = silenced(near=4, silent=2)
    fleet.log.pass_ms(LOST_MS)
    assert given_up(fleet) == 2

    def read(state: FleetState, node_id: str) -> NoReturn:
        pytest.fail(f"the replicas on {state.facts.nodes[node_id].name} are read")

    monkeypatch.setattr(FleetState, "on_node", read)
    fleet.log.pass_ms(LOST_MS)
    assert not fleet.planner.has_work(fleet.log.now_us)
    assert fleet.planner.decide(fleet.log.now_us) is None
    assert next_loss_us(fleet.planner.fleet, fleet.planner.agenda) is None


def test_no_fold_looks_at_the_dead_nodes_or_at_what_waits_for_its_own(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    fleet = silenced(near=4, silent=2)
    fleet.log.pass_ms(LOST_MS)
    assert given_up(fleet) == 2
    waiting = a_spec(disconnect=DisconnectRules(replace=False))
    fleet.deploy(waiting)
    fleet.settle()
    fleet.obey()
    state = fleet.planner.fleet
    placed = [*state.decisions.placements.values()][-1]
    fleet.decide(fleet.silence(placed.node_id))
    fleet.log.pass_ms(LOST_MS)
    fleet.settle()
    looked_at: list[str] = []
    use = FleetState.use

    def counted(state: FleetState, node_id: str) -> NodeUse:
        looked_at.append(node_id)
        return use(state, node_id)

    monkeypatch.setattr(FleetState, "use", counted)
    heard = next(known for known in state.facts.nodes if known not in state.silent)
    fleet.fold(fleet.log.report(heard))
    assert not fleet.planner.has_work(fleet.log.now_us)
    assert not [known for known in looked_at if known in state.silent]
    assert next_loss_us(state, fleet.planner.agenda) is None
    fleet.update(placed.deployment_id, replace(waiting, disconnect=DisconnectRules()))
    assert next_loss_us(state, fleet.planner.agenda) is not None


def test_nodes_that_came_back_cost_the_rounds_nothing() -> None:
    fleet = silenced(near=4, silent=2)
    state = fleet.planner.fleet
    assert len(state.silent) == 2
    for name in ("near-0", "near-1"):
        fleet.connect(name, a_fingerprint(cpu=1000))
    assert len(state.decisions.offline) == 2, "rounds did put them offline"
    assert not state.silent
    assert losses(state) == []
    fleet.decide(*(fleet.silence(an_id(name)) for name in ("near-0", "near-1")))
    fleet.fact(ev.NodeRemoved(an_id("near-0")))
    assert list(state.silent) == [an_id("near-1")]
    assert wrong_sums(state) == []


def test_losses_are_reckoned_once_for_all_that_is_decided_on_one_state(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    fleet = silenced(near=4, silent=2)
    reckoned = 0

    def counted(state: FleetState) -> list[Loss]:
        nonlocal reckoned
        reckoned += 1
        return losses(state)

    monkeypatch.setattr(movements, "losses", counted)
    for _ in range(3):
        assert not fleet.planner.has_work(fleet.log.now_us)
        assert fleet.planner.decide(fleet.log.now_us) is None
        assert fleet.planner.next_look_us() == fleet.log.now_us + LOST_MS * 1000
    assert reckoned == 1
    fleet.connect("near-0", a_fingerprint(cpu=1000))
    fleet.connect("near-1", a_fingerprint(cpu=1000))
    assert fleet.planner.next_look_us() is None, "who shook hands again is not lost"


def test_a_region_is_as_large_as_nodes_say_now() -> None:
    fleet = silenced(near=5, silent=3, far=0)
    state = fleet.planner.fleet
    assert (state.nodes_in("us-east"), state.node_count) == (5, 5)
    fleet.fact(ev.NodeRemoved(an_id("near-4")))
    fleet.connect("near-3", a_fingerprint(cpu=1000, region="eu-north"))
    assert (state.nodes_in("us-east"), state.nodes_in("eu-north"), state.node_count) == (3, 1, 4)
    begun = FleetState()
    decode_state(begun.parts, encode_state(state.parts))
    begun.stands_at(state.position, state.due_digest)
    assert (begun.nodes_in("us-east"), begun.nodes_in("eu-north"), begun.node_count) == (3, 1, 4)


def reject(fleet: LittleFleet, deployment_id: str, *, unobtainable: bool = True) -> None:
    """Let the node of a deployment's only replica turn it down: for want of its image, or not."""
    decisions = fleet.planner.fleet.decisions
    placed = decisions.placements[decisions.of(deployment_id).slots[0]]
    seen = fleet.log.seen(placed.id, ReplicaState.REJECTED, final=True)
    seen = replace(seen, started_at_us=0, unobtainable=unobtainable)
    fleet.fold(fleet.log.report(placed.node_id, seen))


def a_fleet(nodes: int) -> LittleFleet:
    """Return a fleet of equal nodes."""
    fleet = LittleFleet()
    for number in range(nodes):
        fleet.connect(f"fog-{number}")
    return fleet


def test_an_image_that_two_nodes_do_not_find_fails_the_deployment() -> None:
    fleet = a_fleet(3)
    deployment_id = fleet.deploy(a_spec(replicas=1))
    fleet.settle()
    reject(fleet, deployment_id)
    fleet.log.pass_ms(30_000)
    fleet.settle()
    assert fleet.status(deployment_id) is not DeploymentStatus.FAILED
    reject(fleet, deployment_id)
    (failed,) = fleet.settle()  # at once, and not after the next wait
    assert isinstance(failed, ev.DeploymentFailed)
    assert failed.reason == "2 nodes turned it down before it ran anywhere"
    assert fleet.status(deployment_id) is DeploymentStatus.FAILED
    assert fleet.settle() == []


def test_nodes_own_troubles_fail_nothing() -> None:
    fleet = a_fleet(3)
    deployment_id = fleet.deploy(a_spec(replicas=1))
    fleet.settle()
    for _ in range(4):
        reject(fleet, deployment_id, unobtainable=False)
        fleet.log.pass_ms(3_600_000)
        fleet.settle()
    assert fleet.nodes_of(deployment_id)
    assert fleet.status(deployment_id) is not DeploymentStatus.FAILED


def test_one_that_ran_before_is_tried_elsewhere_for_ever() -> None:
    fleet = a_fleet(3)
    deployment_id = fleet.deploy(a_spec(replicas=1))
    fleet.settle()
    fleet.obey()
    for _ in range(4):
        reject(fleet, deployment_id)
        fleet.log.pass_ms(3_600_000)
        fleet.settle()
    assert fleet.nodes_of(deployment_id)
    assert fleet.status(deployment_id) is not DeploymentStatus.FAILED


def test_what_is_left_of_a_failed_deployment_ends() -> None:
    fleet = a_fleet(3)
    deployment_id = fleet.deploy(a_spec(replicas=3))
    fleet.settle()
    decisions = fleet.planner.fleet.decisions
    slots = decisions.of(deployment_id).slots
    for slot in (0, 1):
        placed = decisions.placements[slots[slot]]
        seen = fleet.log.seen(placed.id, ReplicaState.REJECTED, final=True)
        seen = replace(seen, started_at_us=0, unobtainable=True)
        fleet.fold(fleet.log.report(placed.node_id, seen))
    failed, released = fleet.settle()
    assert isinstance(failed, ev.DeploymentFailed)
    assert isinstance(released, ev.ReplicasReleased)
    assert released.replica_ids == (slots[2],) if 2 in slots else True
    assert released.reason == "Deployment failed"


def test_a_move_is_no_failure_and_makes_no_wait_longer() -> None:
    fleet = a_fleet(3)
    deployment_id = fleet.deploy(a_spec(replicas=1))
    fleet.settle()
    for _ in range(3):
        fleet.obey()
        name = fleet.nodes_of(deployment_id)[0]
        fleet.fact(ev.NodeDraining(an_id(name)))
        fleet.settle()
        fleet.obey()
        fleet.settle()
        fleet.obey()
        fleet.fact(ev.NodeUncordoned(an_id(name)))
    reject(fleet, deployment_id)
    assert fleet.planner.next_look_us() == fleet.log.now_us + 30_000_000
