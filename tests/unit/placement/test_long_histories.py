"""What a report costs: no more where a deployment has had thousands of replicas before."""

from __future__ import annotations

from fogbank.domain.decisions import PlacedReplica
from fogbank.domain.fleet import FleetState
from fogbank.domain.state_encoding import decode_state, encode_state
from fogbank.domain.states import ReplicaState
from fogbank.domain.tables import Table
from tests.support.fleet import LittleFleet
from tests.support.fleet_log import a_fingerprint, a_spec
from tests.support.laws import broken_laws


class CountedPlacements(Table[str, PlacedReplica]):
    """Counts how often a replica is looked up."""

    looks = 0

    def __getitem__(self, replica_id: str) -> PlacedReplica:
        """Return a replica, and count that."""
        self.looks += 1
        return super().__getitem__(replica_id)


def a_fleet(generations: int) -> tuple[LittleFleet, str]:
    """Return a fleet whose only deployment has had so many replicas, one after the other."""
    fleet = LittleFleet()
    fleet.connect("fog-0", a_fingerprint())
    known = fleet.deploy(a_spec())
    for _ in range(generations - 1):
        fleet.settle()
        fleet.obey()
        fleet.log.pass_ms(3_600_000)
        (placed,) = fleet.planner.fleet.present(known)
        end = fleet.log.seen(placed.id, ReplicaState.FAILED, final=True, exit_code=1)
        fleet.fold(fleet.log.report(placed.node_id, end))
        fleet.log.pass_ms(3_600_000)
    fleet.settle()
    return fleet, known


def cost_of_a_report(fleet: LittleFleet) -> int:
    """Return how many replicas are looked up for a report, and for a look for work after it."""
    decisions = fleet.planner.fleet.decisions
    decisions.placements = placements = CountedPlacements(decisions.placements.items())
    fleet.obey()
    fleet.planner.has_work(fleet.log.now_us)
    fleet.planner.next_look_us()
    return placements.looks


def test_a_report_costs_the_same_however_many_replicas_went_before() -> None:
    costs = {count: cost_of_a_report(a_fleet(count)[0]) for count in (1, 2, 20)}
    assert costs[1] > 0
    assert len(set(costs.values())) == 1, costs


def test_what_is_present_follows_from_a_snapshot_as_from_the_whole_log() -> None:
    fleet, known = a_fleet(3)
    state, begun = fleet.planner.fleet, FleetState()
    (placed,) = state.present(known)
    assert placed.generation == 3
    decode_state(begun.parts, encode_state(state.parts))
    begun.stands_at(state.position, state.due_digest)
    assert list(begun.present(known)) == [placed]
    assert broken_laws(fleet.log) == []
