"""Whatever a fleet looks like: rebalances gain with every move, break nothing, and come to rest."""

from __future__ import annotations

from dataclasses import replace
from random import Random

import pytest

from fogbank.checker import LogCommit, check_log
from fogbank.domain import events as ev
from fogbank.domain.decisions import Desired
from fogbank.domain.policy import STRATEGY_NAMES, Policy
from fogbank.domain.rebalance_status import rebalance_view
from fogbank.domain.rebalancing import RebalancePhase, RebalanceTerms
from fogbank.domain.rollouts import is_available
from fogbank.domain.states import ReplicaState
from fogbank.placement import Planner
from fogbank.placement.rebalance import plan_rebalance
from fogbank.placement.rederive import Rederiver
from fogbank.placement.worth import Stand
from tests.support.fleet import LittleFleet
from tests.support.fleet_log import a_fingerprint, a_spec

ROUNDS = 400


def worth(fleet: LittleFleet) -> int:
    """What the fleet is worth once all that leaves has left."""
    return Stand(fleet.planner.fleet, fleet.planner.arrays).worth()


def serving(fleet: LittleFleet) -> dict[str, int]:
    """How many slots of each deployment have a replica that runs and is to run."""
    state = fleet.planner.fleet
    counts = dict.fromkeys(state.facts.deployments, 0)
    for deployment_id, decision in state.decisions.deployments.items():
        held = [*decision.slots.items(), *decision.leaving.items()]
        counts[deployment_id] = len(
            {
                slot
                for slot, known in held
                if is_available(state, state.decisions.placements[known])
                and state.decisions.placements[known].desired in {Desired.LIVE, Desired.LEAVING}
            }
        )
    return counts


def check_room(fleet: LittleFleet) -> None:
    state = fleet.planner.fleet
    for node in state.facts.nodes.values():
        room = node.fingerprint.allocatable
        booked = state.booked(node.id)
        assert booked.cpu_millicores <= room.cpu_millicores
        assert booked.memory_mib <= room.memory_mib
        assert booked.gpu_thousandths <= room.gpu_thousandths


def a_fleet(chance: Random) -> LittleFleet:
    """A fleet that grew, shrank and grew: with replicas of many sizes wherever they came to be."""
    fleet = LittleFleet()
    strategy = chance.choice(STRATEGY_NAMES)
    classes = () if chance.random() < 0.5 else Policy().classes
    fleet.fact(ev.PolicyActivated(Policy(name="drawn", strategy=strategy, classes=classes)))
    deployed: list[str] = []
    for number in range(chance.randint(2, 8)):
        fleet.connect(
            f"fog-{number}",
            a_fingerprint(
                cpu=chance.choice([2000, 4000, 8000]),
                gpu=chance.choice([0, 0, 1, 2]),
                region=chance.choice(["us-east", "us-west"]),
            ),
        )
        for _ in range(chance.randint(0, 4)):
            spec = a_spec(
                f"web-{len(deployed)}",
                chance.choice([1, 1, 2]),
                cpu=chance.choice([100, 300, 500, 1000]),
                region=chance.choice(["us-east", "us-west"]),
                allow_colocation=chance.random() < 0.2,
                wait_for_capacity=True,
            )
            if chance.random() < 0.3:
                share = chance.choice([250, 500, 1000])
                spec = replace(spec, resources=replace(spec.resources, gpu_thousandths=share))
            deployed.append(fleet.deploy(spec))
        fleet.settle()
        fleet.obey()
    for known in chance.sample(deployed, len(deployed) // 3):
        fleet.fact(ev.DeploymentDeleted(known))
    fleet.settle()
    fleet.obey()
    return fleet


def rebalanced(fleet: LittleFleet, terms: RebalanceTerms, chance: Random, *, breaks: bool) -> int:
    """Carry a rebalance out, look at each of its rounds, and return how many moves it made."""
    fleet.fact(ev.RebalanceRequested(terms.budget, terms.min_gain, terms.at_once))
    moves = 0
    for _ in range(ROUNDS):
        before, well = worth(fleet), serving(fleet)
        again = Planner(fleet.planner.fleet).decide(fleet.log.now_us)
        outcomes = fleet.decide()
        assert again is None or again.event.outcomes == outcomes
        placed = [one for one in outcomes if isinstance(one, ev.DeploymentPlaced) and one.rebalance]
        moves += len(placed)
        assert all(one.gain >= terms.min_gain for one in placed)
        # Who waits is placed after the moves, in the same round, and is worth something, too.
        waited = any(isinstance(one, ev.DeploymentPlaced) and not one.rebalance for one in outcomes)
        if placed and not waited:
            assert worth(fleet) == before + sum(one.gain for one in placed)
        assert all(serving(fleet)[known] >= count for known, count in well.items())
        check_room(fleet)
        view = rebalance_view(fleet.planner.fleet)
        assert view.moving <= terms.at_once
        assert view.moved <= terms.budget
        if not outcomes:
            if view.phase is not RebalancePhase.MOVING and not view.moving:
                return moves
            if breaks and chance.random() < 0.3:
                break_one(fleet, chance)
            fleet.obey()
            fleet.log.pass_ms(60_000)
    raise AssertionError("the rebalance has no end")


def break_one(fleet: LittleFleet, chance: Random) -> None:
    state = fleet.planner.fleet
    starting = [
        placed
        for placed in state.decisions.placements.values()
        if placed.desired is Desired.LIVE and state.replica_state(placed) is ReplicaState.ASSIGNED
    ]
    if starting:
        placed = chance.choice(starting)
        seen = fleet.log.seen(placed.id, ReplicaState.FAILED, final=True, exit_code=1)
        fleet.fold(fleet.log.report(placed.node_id, seen))


@pytest.mark.parametrize(
    "seed", [*range(8), *(pytest.param(seed, marks=pytest.mark.slow) for seed in range(8, 24))]
)
def test_every_move_gains_and_rebalances_come_to_rest(seed: int) -> None:
    chance = Random(f"rebalances/{seed}")
    fleet = a_fleet(chance)
    terms = RebalanceTerms(
        chance.choice([5, 100]), chance.choice([1, 1, 10, 40]), chance.choice([1, 3, 10])
    )
    plan = plan_rebalance(fleet.planner.fleet, fleet.planner.arrays, terms)
    assert len(plan.moves) <= terms.budget
    assert all(move.gain >= terms.min_gain for move in plan.moves)
    # Each raises the worth of the fleet, so that a number of them is enough.
    for _ in range(100):
        if not rebalanced(fleet, terms, chance, breaks=False):
            break
    else:
        raise AssertionError("one rebalance undoes what another did")
    assert not plan_rebalance(fleet.planner.fleet, fleet.planner.arrays, terms).moves
    rebalanced(fleet, terms, chance, breaks=True)
    check_the_log(fleet)


def check_the_log(fleet: LittleFleet) -> None:
    report = check_log(
        [
            LogCommit(commit.sequence, commit.service, commit.instance, data)
            for commit, data in zip(fleet.log.commits, fleet.log.data, strict=True)
        ]
    )
    assert report.clean, report.violations
    rederiver = Rederiver()
    for commit in fleet.log.commits:
        found = rederiver.take(commit)
        assert found is None or found.same, str(found)
