"""Whatever happens during rollouts: never too many, never too few by their doing, and an end."""

from __future__ import annotations

from dataclasses import dataclass, replace
from random import Random

import pytest

from fogbank.domain import events as ev
from fogbank.domain.decisions import Desired
from fogbank.domain.deployment import RolloutSpec
from fogbank.domain.facts import DeploymentFact
from fogbank.domain.rollouts import RolloutPhase, is_available, rollout_view
from fogbank.domain.states import DeploymentStatus, ReplicaState
from fogbank.placement.needs import stalling
from tests.support.fleet import LittleFleet
from tests.support.fleet_log import a_fingerprint, a_spec
from tests.support.laws import broken_laws

STEPS = 40
REST = 200


@dataclass
class Driver:
    """Updates, scales, breaks and lets time pass, as chance has it."""

    chance: Random
    fleet: LittleFleet
    deployment_id: str

    @property
    def deployment(self) -> DeploymentFact:
        return self.fleet.planner.fleet.facts.deployments[self.deployment_id]

    def step(self) -> None:
        self.chance.choice(
            [self.update, self.obey, self.obey, self.wait, self.wait, self.scale, self.break_one]
        )()
        self.decide()

    def update(self) -> None:
        image = f"nginx:{self.chance.randint(1, 4)}"
        spec = replace(self.deployment.spec, container_image=image)
        self.fleet.update(self.deployment_id, spec)

    def scale(self) -> None:
        self.fleet.fact(ev.DeploymentScaled(self.deployment_id, self.chance.randint(1, 4)))

    def obey(self) -> None:
        self.fleet.obey()

    def wait(self) -> None:
        self.fleet.log.pass_ms(self.chance.choice([1_000, 6_000, 60_000, 700_000]))

    def break_one(self) -> None:
        state = self.fleet.planner.fleet
        running = [
            placed
            for placed in state.decisions.placements.values()
            if is_available(state, placed) and placed.desired is Desired.LIVE
        ]
        if running:
            placed = self.chance.choice(running)
            seen = self.fleet.log.seen(placed.id, ReplicaState.FAILED, final=True, exit_code=1)
            self.fleet.fold(self.fleet.log.report(placed.node_id, seen))

    def decide(self) -> None:
        """Decide until nothing is left, and look at each round."""
        for _ in range(REST):
            wanted = self.deployment.spec.replicas
            before, well = self.held(), self.well()
            doubled = self.doubled() + self.stalls()
            if not self.fleet.decide():
                return
            rollout = self.deployment.spec.rollout
            assert self.held() <= max(wanted + max(rollout.max_surge, doubled), before), "too many"
            assert self.doubled() <= max(rollout.max_surge, doubled), "too many at a time"
            assert self.well() >= min(well, wanted - rollout.max_unavailable), "too few"
        raise AssertionError("the rounds have no end")

    def stalls(self) -> int:
        """How many more there may be, whatever an update allows: for who was not started."""
        state, now_us = self.fleet.planner.fleet, self.fleet.log.now_us
        due = any(due_us <= now_us for due_us, _ in stalling(state, self.deployment))
        left = any(
            placed.desired is Desired.LEAVING
            and state.replica_state(placed) is ReplicaState.ASSIGNED
            for placed in state.present(self.deployment_id)
        )
        return int(due or left)

    def doubled(self) -> int:
        """How many slots have one more than theirs, which is to run until that does.

        A move to another node may leave more of them than an update would begin with: as many
        more than wanted may be there until it is over, also when others break or are added.
        """
        state = self.fleet.planner.fleet
        decision = state.decisions.of(self.deployment_id)
        placements = state.decisions.placements
        return sum(
            not state.ended(placements[known])
            and (live := decision.slots.get(slot)) is not None
            and not state.ended(placements[live])
            for slot, known in decision.leaving.items()
        )

    def held(self) -> int:
        """How many are to run."""
        state = self.fleet.planner.fleet
        return sum(
            placed.desired in {Desired.LIVE, Desired.LEAVING} and not state.ended(placed)
            for placed in state.decisions.placements.values()
        )

    def well(self) -> int:
        """How many slots have one that runs and is to run."""
        state = self.fleet.planner.fleet
        return len(
            {
                placed.slot
                for placed in state.decisions.placements.values()
                if placed.desired in {Desired.LIVE, Desired.LEAVING}
                and is_available(state, placed)
                and placed.slot < self.deployment.spec.replicas
            }
        )


@pytest.mark.parametrize("seed", range(25))
def test_rollouts_keep_their_bounds_and_come_to_an_end(seed: int) -> None:
    chance = Random(f"rollouts/{seed}")
    fleet = LittleFleet()
    for number in range(chance.randint(2, 6)):
        fleet.connect(f"fog-{number}", a_fingerprint(cpu=chance.choice([1500, 2500, 4000])))
    surge, unavailable = chance.choice([(1, 0), (1, 1), (0, 1), (2, 1), (2, 0)])
    rollout = RolloutSpec(max_surge=surge, max_unavailable=unavailable)
    colocation = chance.random() < 0.3
    deployment_id = fleet.deploy(
        a_spec(replicas=2, rollout=rollout, allow_colocation=colocation, wait_for_capacity=True)
    )
    driver = Driver(chance, fleet, deployment_id)
    driver.decide()
    fleet.obey()
    for _ in range(STEPS):
        driver.step()
    # Nothing breaks any more, one node more makes room, and everybody does as told.
    fleet.connect("fog-spare", a_fingerprint(cpu=16_000))
    fleet.fact(ev.DeploymentScaled(deployment_id, 1))
    view = rollout_view(fleet.planner.fleet, driver.deployment)
    for _ in range(REST):
        fleet.obey()
        fleet.log.pass_ms(60_000)
        driver.decide()
        view = rollout_view(fleet.planner.fleet, driver.deployment)
        rests = view.phase is not RolloutPhase.PROGRESSING and not view.leaving
        if rests and view.updated == view.available == 1:
            break
    assert view.updated == view.replicas == 1, view
    assert view.leaving == 0
    assert fleet.status(deployment_id) is DeploymentStatus.RUNNING
    assert not broken_laws(fleet.log)
