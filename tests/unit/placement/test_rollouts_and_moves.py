"""Updates of replicas that move to other nodes: no more of them than the rules of updates say."""

from __future__ import annotations

from dataclasses import replace

import pytest

from fogbank.domain import events as ev
from fogbank.domain.decisions import PlacedReplica
from fogbank.domain.deployment import RolloutSpec
from fogbank.domain.rollouts import rollout_view
from fogbank.domain.states import ReplicaState
from tests.support.fleet import LittleFleet
from tests.support.fleet_log import a_spec
from tests.support.laws import broken_laws

NO_SURGE = RolloutSpec(max_surge=0, max_unavailable=1)
RESCHEDULED_MS = 30_000


class Moving:
    """A deployment of two replicas without surge, on four nodes, and one that moves."""

    def __init__(self) -> None:
        """Let both run."""
        self.fleet = LittleFleet()
        for number in range(4):
            self.fleet.connect(f"fog-{number}")
        self.id = self.fleet.deploy(a_spec(replicas=2, rollout=NO_SURGE))
        self.fleet.settle()
        self.fleet.obey()

    def update(self) -> None:
        spec = self.fleet.planner.fleet.facts.deployments[self.id].spec
        number = self.fleet.planner.fleet.facts.deployments[self.id].revision + 1
        self.fleet.update(self.id, replace(spec, container_image=f"nginx:{number}"))

    def drain(self, slot: int) -> None:
        self.fleet.fact(ev.NodeDraining(self.live(slot).node_id))

    def live(self, slot: int) -> PlacedReplica:
        state = self.fleet.planner.fleet
        return state.decisions.placements[state.decisions.of(self.id).slots[slot]]

    def breaks(self, slot: int) -> None:
        placed = self.live(slot)
        seen = self.fleet.log.seen(placed.id, ReplicaState.FAILED, final=True, exit_code=1)
        self.fleet.fold(self.fleet.log.report(placed.node_id, seen))

    def to_run(self) -> list[tuple[int, int, int]]:
        """Slots, generations and revisions of those that are to run and have not ended."""
        return sorted(
            (placed.slot, placed.generation, placed.revision)
            for placed in self.fleet.planner.fleet.present(self.id)
            if placed.desired in {"live", "leaving"}
        )

    def waits_for(self) -> str:
        state = self.fleet.planner.fleet
        return rollout_view(state, state.facts.deployments[self.id]).waits_for

    def ends_well(self) -> None:
        """Roll on until nothing is left, with two at most at any time."""
        for _ in range(20):
            while self.fleet.decide():
                assert len(self.to_run()) <= 2
            self.fleet.obey()
            self.fleet.log.pass_ms(RESCHEDULED_MS)
        assert [revision for _, _, revision in self.to_run()] == [2, 2]
        assert not broken_laws(self.fleet.log)


@pytest.fixture(name="moving")
def fixture_moving() -> Moving:
    return Moving()


def test_who_leaves_goes_before_the_slot_of_its_broken_successor_is_filled(moving: Moving) -> None:
    moving.drain(0)
    moving.fleet.settle()
    moving.breaks(0)
    moving.update()
    assert moving.to_run() == [(0, 1, 1), (1, 1, 1)]
    (released,) = moving.fleet.decide()
    assert isinstance(released, ev.ReplicasReleased)
    assert released.reason == "Gives way to revision 2"
    assert moving.to_run() == [(1, 1, 1)]
    moving.fleet.settle()
    assert moving.to_run() == [(0, 3, 2), (1, 1, 1)]
    moving.ends_well()


def test_who_leaves_serves_for_as_long_as_its_broken_successor_s_next_has_to_wait(
    moving: Moving,
) -> None:
    moving.update()
    moving.drain(1)
    moving.fleet.settle()
    assert moving.to_run() == [(0, 1, 1), (1, 1, 1), (1, 2, 2)]
    moving.breaks(1)
    assert moving.fleet.settle() == []
    assert moving.to_run() == [(0, 1, 1), (1, 1, 1)]
    assert moving.fleet.planner.next_look_us() == moving.fleet.log.now_us + RESCHEDULED_MS * 1000
    moving.fleet.log.pass_ms(RESCHEDULED_MS)
    (released,) = moving.fleet.decide()
    assert isinstance(released, ev.ReplicasReleased)
    moving.fleet.settle()
    assert moving.to_run() == [(0, 1, 1), (1, 3, 2)]
    moving.ends_well()


def test_nobody_else_gives_way_while_a_move_leaves_one_too_many(moving: Moving) -> None:
    moving.update()
    moving.drain(1)
    moving.fleet.settle()
    moving.fleet.obey()
    assert moving.fleet.settle() == []
    assert moving.waits_for() == "slot 1 on fog-2 to have been well for 5 s"
    moving.fleet.log.pass_ms(5_000)
    released, _, _ = moving.fleet.settle()
    assert isinstance(released, ev.ReplicasReleased)
    assert released.reason == "Replaced by revision 2"
    assert moving.to_run() == [(0, 2, 2), (1, 2, 2)]
    moving.ends_well()


def test_the_checker_finds_who_went_first_where_nobody_more_may_be_missing(moving: Moving) -> None:
    moving.drain(0)
    moving.fleet.settle()
    moving.breaks(0)
    moving.breaks(1)
    moving.update()
    leaving = moving.fleet.planner.fleet.decisions.of(moving.id).leaving[0]
    decided = moving.fleet.planner.decide(moving.fleet.log.now_us)
    assert decided is not None
    wrong = ev.ReplicasReleased(moving.id, (leaving,), "Gives way to revision 2")
    moving.fleet.fold(moving.fleet.log.round(replace(decided.event, outcomes=(wrong,))))
    found = " ".join(broken_laws(moving.fleet.log))
    assert f"{leaving} is released although its successor does not run" in found
