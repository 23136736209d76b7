"""By which rules rounds count, and that no accepted round, however odd, stops a reader."""

from __future__ import annotations

from dataclasses import replace

import pytest

from fogbank.domain import events as ev
from fogbank.domain.decisions import Desired
from fogbank.domain.envelope import GATEWAY, SCHEDULER
from fogbank.domain.ids import ZERO_DIGEST
from fogbank.domain.resources import Resources
from fogbank.domain.states import ReplicaState
from fogbank.domain.status import replica_views
from fogbank.domain.verdict import VoidReason
from tests.support.fleet import LittleFleet
from tests.support.fleet_log import START_US, a_spec, an_id


def a_round(fleet: LittleFleet, *outcomes: ev.Outcome) -> ev.RoundDecided:
    """Return a round that would count now."""
    decisions = fleet.planner.fleet.decisions
    return ev.RoundDecided(
        prev_digest=decisions.prev_digest,
        facts_to=fleet.planner.fleet.position,
        instant_us=max(fleet.log.now_us, decisions.instant_us),
        policy="balanced@1",
        policy_digest=bytes(32),
        engine=1,
        limit=384,
        outcomes=outcomes,
    )


def verdict(fleet: LittleFleet, event: ev.RoundDecided) -> VoidReason | None:
    return fleet.planner.fold(fleet.log.round(event)).verdicts[0].reason


def placed(deployment_id: str, replica: str, node_id: str, slot: int = 0) -> ev.DeploymentPlaced:
    placement = ev.Placement(an_id(replica), slot, 1, node_id, 500)
    return ev.DeploymentPlaced(deployment_id, 1, Resources(1000, 512, 10, 0), (placement,))


@pytest.fixture
def fleet() -> LittleFleet:
    fleet = LittleFleet()
    for number in range(3):
        fleet.connect(f"fog-{number}")
    return fleet


NODES = [an_id(f"fog-{number}") for number in range(3)]


def test_the_first_round_follows_on_zeros(fleet: LittleFleet) -> None:
    first = a_round(fleet)
    assert first.prev_digest == ZERO_DIGEST
    assert verdict(fleet, replace(first, prev_digest=bytes(31) + b"\1")) is VoidReason.STALE_ROUND
    assert verdict(fleet, first) is None
    assert fleet.planner.fleet.decisions.prev_digest == fleet.log.commits[-1].digest
    assert verdict(fleet, first) is VoidReason.STALE_ROUND


def test_a_rounds_instant_never_falls(fleet: LittleFleet) -> None:
    assert verdict(fleet, a_round(fleet)) is None
    event = a_round(fleet)
    falling = replace(event, instant_us=event.instant_us - 1)
    assert verdict(fleet, falling) is VoidReason.FALLING_INSTANT
    assert verdict(fleet, event) is None, "the same instant is fine"


def test_facts_reach_from_the_last_round_to_before_this_one(fleet: LittleFleet) -> None:
    assert verdict(fleet, a_round(fleet)) is None
    last = fleet.log.sequence
    fleet.deploy(a_spec())
    out_of_range = VoidReason.FACTS_OUT_OF_RANGE
    assert verdict(fleet, replace(a_round(fleet), facts_to=last - 1)) is out_of_range
    assert verdict(fleet, replace(a_round(fleet), facts_to=fleet.log.sequence + 1)) is out_of_range
    assert verdict(fleet, replace(a_round(fleet), facts_to=last)) is None


def test_a_round_is_alone_in_its_commit(fleet: LittleFleet) -> None:
    envelope = fleet.log.envelope(a_round(fleet))
    folded = fleet.planner.fold(fleet.log.commit(SCHEDULER, envelope, envelope))
    assert [found.reason for found in folded.verdicts] == [VoidReason.NOT_ALONE] * 2
    assert fleet.planner.fleet.decisions.rounds == 0


def test_a_gateway_writes_no_rounds(fleet: LittleFleet) -> None:
    folded = fleet.planner.fold(fleet.log.commit(GATEWAY, fleet.log.envelope(a_round(fleet))))
    assert folded.verdicts[0].reason is VoidReason.WRONG_WRITER


def test_a_void_round_changes_nothing(fleet: LittleFleet) -> None:
    deployment_id = fleet.deploy(a_spec())
    rival = replace(a_round(fleet, placed(deployment_id, "r", NODES[0])), prev_digest=b"x" * 32)
    folded = fleet.planner.fold(fleet.log.round(rival))
    assert not folded.deployments
    assert not folded.nodes
    assert not fleet.planner.fleet.decisions.placements


def _everything_can_be_read(fleet: LittleFleet) -> None:
    state = fleet.planner.fleet
    for deployment in state.facts.deployments.values():
        replica_views(state, deployment)
    for node_id in (*state.facts.nodes, an_id("nowhere")):
        assert state.booked(node_id).fits_in(state.held(node_id))
        state.deployments_on(node_id)
    for row, node_id in enumerate(fleet.planner.arrays.ids):
        booked = state.booked(node_id)
        assert list(fleet.planner.arrays.booked[:2, row]) == [
            booked.cpu_millicores,
            booked.memory_mib,
        ]
    fleet.settle()


UNKNOWN = (an_id("unknown replica"),)


@pytest.mark.parametrize(
    "outcome",
    [
        ev.ReplicasReleased(an_id("nobody"), UNKNOWN, "why"),
        ev.ReplicasSuspended(an_id("nobody"), UNKNOWN, an_id("nowhere")),
        ev.ReplicasRestored(an_id("nobody"), UNKNOWN),
        ev.NodeOffline(an_id("nowhere"), 5, START_US),
        ev.DeploymentFailed(an_id("nobody"), 3, "why", 0),
        ev.DeploymentDeferred(an_id("nobody"), 3, 1, 0, "why"),
        placed(an_id("nobody"), "r", NODES[0]),
        placed(an_id("nobody"), "r", an_id("nowhere")),
    ],
    ids=lambda outcome: type(outcome).__name__,
)
def test_an_accepted_round_about_things_that_do_not_exist_stops_nobody(
    fleet: LittleFleet, outcome: ev.Outcome
) -> None:
    deployment_id = fleet.deploy(a_spec())
    assert verdict(fleet, a_round(fleet, outcome)) is None
    _everything_can_be_read(fleet)
    assert len(fleet.nodes_of(deployment_id)) == 1


def test_a_replica_on_a_node_that_never_shook_hands_can_be_lost_and_come_back(
    fleet: LittleFleet,
) -> None:
    deployment_id = fleet.deploy(a_spec())
    nowhere = an_id("nowhere")
    assert verdict(fleet, a_round(fleet, placed(deployment_id, "r", nowhere))) is None
    lost = ev.ReplicasSuspended(deployment_id, (an_id("r"),), nowhere)
    assert verdict(fleet, a_round(fleet, lost)) is None
    _everything_can_be_read(fleet)
    fleet.connect("nowhere")
    _everything_can_be_read(fleet)


def test_a_replica_is_never_moved(fleet: LittleFleet) -> None:
    deployment_id = fleet.deploy(a_spec())
    assert verdict(fleet, a_round(fleet, placed(deployment_id, "r", NODES[0]))) is None
    assert verdict(fleet, a_round(fleet, placed(deployment_id, "r", NODES[1]))) is None
    state = fleet.planner.fleet
    assert state.decisions.placements[an_id("r")].node_id == NODES[0]
    assert state.decisions.of(deployment_id).replica_ids == [an_id("r")]
    _everything_can_be_read(fleet)


def test_two_live_replicas_of_a_slot_cannot_be(fleet: LittleFleet) -> None:
    deployment_id = fleet.deploy(a_spec())
    assert verdict(fleet, a_round(fleet, placed(deployment_id, "r", NODES[0]))) is None
    assert verdict(fleet, a_round(fleet, placed(deployment_id, "s", NODES[1]))) is None
    placements = fleet.planner.fleet.decisions.placements
    assert placements[an_id("r")].desired is Desired.RELEASED
    assert fleet.planner.fleet.booked(NODES[0]).cpu_millicores == 0
    _everything_can_be_read(fleet)


def test_released_is_for_good(fleet: LittleFleet) -> None:
    deployment_id = fleet.deploy(a_spec())
    assert verdict(fleet, a_round(fleet, placed(deployment_id, "r", NODES[0]))) is None
    replicas = (an_id("r"),)
    for outcome in (
        ev.ReplicasReleased(deployment_id, replicas, "why"),
        ev.ReplicasSuspended(deployment_id, replicas, NODES[0]),
        ev.ReplicasRestored(deployment_id, replicas),
    ):
        assert verdict(fleet, a_round(fleet, outcome)) is None
    assert fleet.planner.fleet.decisions.placements[an_id("r")].desired is Desired.RELEASED
    _everything_can_be_read(fleet)


def test_a_replica_that_had_ended_before_it_was_placed_holds_no_room(fleet: LittleFleet) -> None:
    deployment_id = fleet.deploy(a_spec())
    ended = fleet.log.seen(an_id("r"), ReplicaState.FAILED, final=True)
    fleet.fold(fleet.log.report(NODES[0], ended))
    assert verdict(fleet, a_round(fleet, placed(deployment_id, "r", NODES[0]))) is None
    assert fleet.planner.fleet.held(NODES[0]).cpu_millicores == 0
    _everything_can_be_read(fleet)
