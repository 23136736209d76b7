"""Whatever happens to a fleet, the log that its planner and agents write breaks no rule."""

from __future__ import annotations

from itertools import pairwise
from random import Random

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fogbank.checker import LogCommit, Report, check_log
from fogbank.domain import events as ev
from fogbank.domain.node import Fingerprint
from fogbank.domain.states import ReplicaState
from tests.support.fleet import LittleFleet
from tests.support.fleet_log import LittleLog, a_fingerprint, a_spec

HOUR_MS = 3_600_000


def commits_of(log: LittleLog) -> list[LogCommit]:
    """Return the log as the checker reads it."""
    return [
        LogCommit(commit.sequence, commit.service, commit.instance, data)
        for commit, data in zip(log.commits, log.data, strict=True)
    ]


def check(log: LittleLog, *, settled: bool = False) -> Report:
    return check_log(commits_of(log), settled=settled)


class Days:
    """A fleet to which things happen, chosen by `chance`."""

    def __init__(self, chance: Random) -> None:
        self.chance = chance
        self.fleet = LittleFleet()
        self.names = [f"fog-{number}" for number in range(chance.randint(1, 6))]
        self.silent: set[str] = set()
        self.happened: list[str] = []
        for name in self.names:
            self.fleet.connect(name, self.fingerprint())

    def fingerprint(self) -> Fingerprint:
        return a_fingerprint(
            cpu=self.chance.choice([2000, 4000, 8000]),
            region=self.chance.choice(["us-east", "us-west"]),
            gpu=self.chance.choice([0, 0, 2]),
        )

    def step(self) -> None:
        happening = self.chance.choice(
            [
                self.deploy,
                self.deploy,
                self.scale,
                self.delete,
                self.break_a_replica,
                self.connect,
                self.lose,
                self.lose_for_good,
                self.shrink,
                self.load,
                self.settle,
                self.settle,
                self.obey,
                self.obey,
                self.wait,
            ]
        )
        self.happened.append(happening.__name__)
        happening()

    def deploy(self) -> None:
        self.fleet.deploy(
            a_spec(
                replicas=self.chance.randint(1, 4),
                cpu=self.chance.choice([500, 1000, 3000]),
                gpu=self.chance.choice([0, 0, 0, 1]),
                allow_colocation=self.chance.random() < 0.3,
                wait_for_capacity=self.chance.random() < 0.2,
                priority=self.chance.choice([20, 50, 80]),
            )
        )

    def one_deployment(self) -> str | None:
        known = sorted(self.fleet.planner.fleet.facts.deployments)
        return self.chance.choice(known) if known else None

    def scale(self) -> None:
        if (deployment_id := self.one_deployment()) is not None:
            self.fleet.fact(ev.DeploymentScaled(deployment_id, self.chance.randint(1, 5)))

    def delete(self) -> None:
        if (deployment_id := self.one_deployment()) is not None:
            self.fleet.fact(ev.DeploymentDeleted(deployment_id))

    def node_id(self) -> str:
        return self.chance.choice(sorted(self.fleet.planner.fleet.facts.nodes))

    def connect(self) -> None:
        name = self.chance.choice([*self.names, f"fog-{len(self.names)}"])
        if name not in self.names:
            self.names.append(name)
        self.silent.discard(self.fleet.connect(name, self.fingerprint()))

    def lose(self) -> None:
        self.settle()
        node_id = self.node_id()
        self.silent.add(node_id)
        self.fleet.decide(self.fleet.silence(node_id))

    def shrink(self) -> None:
        node_id = self.node_id()
        epoch = self.fleet.planner.fleet.facts.nodes[node_id].epoch
        self.fleet.fact(ev.NodeCapacityChanged(node_id, epoch, self.fingerprint()))

    def load(self) -> None:
        node_id = self.node_id()
        epoch = self.fleet.planner.fleet.facts.nodes[node_id].epoch
        percent = self.chance.choice([5, 50, 95])
        self.fleet.fact(ev.NodeLoadChanged(node_id, epoch, percent, 10, self.fleet.log.sequence))

    def break_a_replica(self) -> None:
        fleet = self.fleet.planner.fleet
        node_id = self.node_id()
        running = [
            placed.id
            for placed in fleet.on_node(node_id)
            if fleet.replica_state(placed) is ReplicaState.RUNNING
        ]
        if running and node_id not in self.silent:
            state = self.chance.choice([ReplicaState.FAILED, ReplicaState.COMPLETE])
            seen = self.fleet.log.seen(self.chance.choice(running), state, final=True)
            self.fleet.fold(self.fleet.log.report(node_id, seen))

    def settle(self) -> None:
        for _ in range(20):
            if not self.fleet.decide():
                break

    def obey(self) -> None:
        """Stop first, then start: what a placement waits for has ended."""
        self.fleet.obey()

    def wait(self) -> None:
        self.fleet.log.pass_ms(self.chance.choice([500, 2_000, 31_000]))

    def lose_for_good(self) -> None:
        """Lose a node for so long that its replicas are replaced."""
        self.lose()
        self.fleet.log.pass_ms(31_000)
        self.settle()

    def come_to_rest(self) -> None:
        for name in self.names:
            self.fleet.connect(name, a_fingerprint(cpu=8000))
        for node in list(self.fleet.planner.fleet.facts.nodes.values()):
            self.fleet.fact(ev.NodeLoadChanged(node.id, node.epoch, 1, 1, 0))
        for _ in range(10):
            self.fleet.log.pass_ms(HOUR_MS)
            self.settle()
            self.fleet.obey()


@given(seed=st.integers(0, 2**32), steps=st.integers(5, 60))
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_no_fleet_breaks_a_rule(seed: int, steps: int) -> None:
    days = Days(Random(seed))
    for _ in range(steps):
        days.step()
    report = check(days.fleet.log)
    assert report.clean, "\n".join(map(str, report.violations))
    decisions = days.fleet.planner.fleet.decisions
    assert report.counts.rounds_accepted == decisions.rounds
    assert report.counts.placements == len(decisions.placements)


@given(seed=st.integers(0, 2**32))
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_every_fleet_comes_to_rest(seed: int) -> None:
    days = Days(Random(seed))
    for _ in range(30):
        days.step()
    days.come_to_rest()
    report = check(days.fleet.log, settled=True)
    assert report.clean, "\n".join(map(str, report.violations))


def test_a_round_places_nothing_on_a_node_that_it_puts_offline() -> None:
    fleet = LittleFleet()
    node_id = fleet.connect("fog-0")
    fleet.deploy(a_spec())
    fleet.decide(fleet.silence(node_id))
    assert not check(fleet.log).violations


def test_a_round_gives_nothing_up_when_it_observes_that_the_last_node_is_silent_too() -> None:
    fleet = LittleFleet()
    nodes = {name: fleet.connect(name) for name in ("fog-0", "fog-1")}
    deployment_id = fleet.deploy(a_spec())
    fleet.settle()
    (used,) = fleet.nodes_of(deployment_id)
    (other,) = nodes.keys() - {used}
    fleet.decide(fleet.silence(nodes[used]))
    fleet.log.pass_ms(31_000)
    fleet.decide(fleet.silence(nodes[other]))
    assert not check(fleet.log).violations


def test_two_replicas_of_a_slot_whose_nodes_return_at_once() -> None:
    fleet = LittleFleet()
    nodes = {name: fleet.connect(name) for name in ("fog-0", "fog-1", "fog-2")}
    deployment_id = fleet.deploy(a_spec())
    fleet.settle()
    lost = []
    for _ in range(2):
        fleet.obey()
        lost += fleet.nodes_of(deployment_id)
        fleet.decide(fleet.silence(nodes[lost[-1]]))
        fleet.log.pass_ms(31_000)
        fleet.settle()
    for name in lost:
        fleet.connect(name)
    fleet.settle()
    assert not check(fleet.log).violations


@pytest.fixture(scope="module")
def a_month() -> list[LogCommit]:
    """A long life of one fleet."""
    days = Days(Random(7))
    for _ in range(150):
        days.step()
    return commits_of(days.fleet.log)


def renumbered(commits: list[LogCommit]) -> list[LogCommit]:
    return [commit._replace(sequence=number) for number, commit in enumerate(commits, start=1)]


def test_a_lost_round_is_found_wherever_it_was(a_month: list[LogCommit]) -> None:
    rounds = [at for at, commit in enumerate(a_month) if commit.service == "scheduler"]
    for at in rounds[:-1]:
        assert not check_log(renumbered(a_month[:at] + a_month[at + 1 :])).clean


def test_two_swapped_rounds_are_found_even_under_their_numbers(a_month: list[LogCommit]) -> None:
    rounds = [at for at, commit in enumerate(a_month) if commit.service == "scheduler"]
    for first, second in pairwise(rounds[:-1]):
        swapped = [*a_month]
        swapped[first], swapped[second] = swapped[second], swapped[first]
        assert not check_log(renumbered(swapped)).clean


def test_rounds_replayed_at_the_end_change_nothing(a_month: list[LogCommit]) -> None:
    rounds = [commit for commit in a_month if commit.service == "scheduler"]
    before = check_log(a_month)
    after = check_log(renumbered([*a_month, *rounds]))
    assert after.clean
    assert after.counts.rounds_repeated == len(rounds)
    assert after.counts.placements == before.counts.placements
    assert after.counts.deployments == before.counts.deployments
