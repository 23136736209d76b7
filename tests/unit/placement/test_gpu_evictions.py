"""Scenarios of important deployments that need GPU devices which less important ones have."""

from __future__ import annotations

from dataclasses import replace
from random import Random

import pytest

from fogbank.checker import LogCommit, check_log
from fogbank.domain import events as ev
from fogbank.domain.decisions import PlacedReplica
from fogbank.domain.resources import Resources
from fogbank.domain.states import DeploymentStatus
from tests.support.fleet import LittleFleet
from tests.support.fleet_log import a_fingerprint, a_spec


def a_fleet(*gpus: int) -> LittleFleet:
    """Return a fleet of nodes with so many GPUs."""
    fleet = LittleFleet()
    for number, count in enumerate(gpus):
        fleet.connect(f"fog-{number}", a_fingerprint(gpu=count))
    return fleet


def run(fleet: LittleFleet, thousandths: int, priority: int = 20, **more: object) -> str:
    """Let a deployment with part of a GPU, or several, be placed and run."""
    spec = a_spec(cpu=100, memory=10, storage=1, priority=priority, **more)  # type: ignore[arg-type]
    deployment_id = fleet.deploy(replace(spec, resources=Resources(100, 10, 1, thousandths)))
    fleet.settle()
    return deployment_id


def placed(fleet: LittleFleet, deployment_id: str) -> PlacedReplica:
    """Return the first replica of a deployment."""
    decisions = fleet.planner.fleet.decisions
    return decisions.placements[decisions.of(deployment_id).slots[0]]


def gone(fleet: LittleFleet, deployment_id: str) -> bool:
    """Tell whether a deployment lost its only replica."""
    return not fleet.planner.fleet.decisions.of(deployment_id).slots


def violations(fleet: LittleFleet) -> list[str]:
    """Return what the checker finds wrong with the log."""
    commits = zip(fleet.log.commits, fleet.log.data, strict=True)
    return [
        violation.sentence
        for violation in check_log(
            LogCommit(commit.sequence, commit.service, commit.instance, data)
            for commit, data in commits
        ).violations
    ]


def test_a_whole_gpu_is_freed_and_waited_for() -> None:
    fleet = a_fleet(2)
    lows = [run(fleet, 1_000), run(fleet, 1_000)]
    fleet.obey()
    held = placed(fleet, lows[1])
    high = run(fleet, 1_000, priority=80)
    assert [gone(fleet, low) for low in lows] == [False, True]
    taken = placed(fleet, high)
    assert taken.gpu_devices == held.gpu_devices
    assert taken.starts_after == (held.id,)
    assert violations(fleet) == []


def test_only_who_is_on_the_device_gives_way() -> None:
    fleet = a_fleet(2)
    shares = [run(fleet, 600), run(fleet, 600), run(fleet, 400)]
    assert [placed(fleet, share).gpu_devices for share in shares] == [(0,), (1,), (0,)]
    fleet.obey()
    # In sums there is room for 300; on one device there is for 1,000 only without the second.
    high = run(fleet, 1_000, priority=80)
    assert [gone(fleet, share) for share in shares] == [False, True, False]
    assert placed(fleet, high).gpu_devices == (1,)
    assert violations(fleet) == []


@pytest.mark.parametrize(
    ("ask", "lows_left"),
    [(500, 2), (300, 2), (1_000, 0)],
)
def test_replicas_that_may_share_a_node_share_out_what_is_freed(ask: int, lows_left: int) -> None:
    fleet = a_fleet(2)
    lows = [run(fleet, 500) for _ in range(4)]
    fleet.obey()
    high = run(fleet, ask, priority=80, replicas=2, allow_colocation=True)
    decisions = fleet.planner.fleet.decisions
    replicas = [decisions.placements[known] for known in decisions.of(high).slots.values()]
    assert len(replicas) == 2
    assert len([low for low in lows if not gone(fleet, low)]) == lows_left
    taken = sorted(replica.gpu_devices for replica in replicas)
    assert taken == ([(0,), (1,)] if ask == 1_000 else [taken[0]] * 2 if ask == 500 else taken)
    assert violations(fleet) == []


def test_replicas_that_do_not_fit_side_by_side_evict_nobody() -> None:
    fleet = a_fleet(1)
    low = run(fleet, 500)
    fleet.obey()
    high = run(fleet, 600, priority=80, replicas=2, allow_colocation=True, wait_for_capacity=True)
    assert fleet.status(high) is DeploymentStatus.PENDING
    assert not gone(fleet, low)


@pytest.mark.parametrize("seed", [0, 1, 23, 55])
def test_what_is_placed_side_by_side_never_has_too_much_of_a_device(seed: int) -> None:
    chance = Random(f"side by side/{seed}")
    fleet = a_fleet(*(chance.choice((1, 2, 4)) for _ in range(chance.randrange(2, 5))))
    for _ in range(25):
        ask = chance.choice((200, 300, 500, 700, 1_000, 1_500, 2_000))
        run(
            fleet,
            ask,
            priority=chance.choice((10, 30, 65, 80, 95)),
            replicas=chance.choice((1, 2, 3, 5)),
            allow_colocation=chance.random() < 0.7,
            wait_for_capacity=chance.random() < 0.5,
        )
        if chance.random() < 0.7:
            fleet.obey()
    evicted = sum(
        len(outcome.evictions)
        for commit in fleet.log.commits
        for envelope in commit.envelopes
        if isinstance(envelope.event, ev.RoundDecided)
        for outcome in envelope.event.outcomes
        if isinstance(outcome, ev.DeploymentPlaced)
    )
    assert evicted
    assert violations(fleet) == []


def test_a_share_waits_for_the_device_though_the_node_has_room_in_sums() -> None:
    fleet = a_fleet(2)
    shares = [run(fleet, 600, strategy="spread"), run(fleet, 600, strategy="spread")]
    fleet.obey()
    high = run(fleet, 500, priority=80)
    (victim,) = [share for share in shares if gone(fleet, share)]
    left = fleet.planner.fleet.decisions.of(victim).replica_ids
    assert placed(fleet, high).starts_after == tuple(left)
    assert violations(fleet) == []


def test_who_is_as_important_keeps_its_device() -> None:
    fleet = a_fleet(1)
    first = run(fleet, 1_000, priority=75)
    fleet.obey()
    second = run(fleet, 1_000, priority=80, wait_for_capacity=True)
    assert not gone(fleet, first)
    assert fleet.status(second) is DeploymentStatus.PENDING
    assert violations(fleet) == []


def test_one_round_gives_the_devices_of_a_node_to_several() -> None:
    fleet = a_fleet(3)
    lows = [run(fleet, 1_000) for _ in range(3)]
    fleet.obey()
    spec = a_spec(cpu=100, memory=10, storage=1, gpu=1, priority=80)
    highs = [fleet.deploy(spec) for _ in range(2)]
    fleet.settle()
    assert sum(gone(fleet, low) for low in lows) == 2
    devices = [placed(fleet, high).gpu_devices for high in highs]
    assert len(set(devices)) == 2
    assert violations(fleet) == []


def test_no_device_counts_as_freed_on_a_node_that_shrank_below_what_is_promised() -> None:
    fleet = a_fleet(1)
    for _ in range(2):
        run(fleet, 400)
    fleet.obey()
    node = next(iter(fleet.planner.fleet.facts.nodes.values()))
    small = Resources(4_000, 8_192, 1_000, 500)
    shrunk = replace(node.fingerprint, capacity=small, allocatable=small)
    fleet.fact(ev.NodeCapacityChanged(node.id, node.epoch, shrunk))
    high = run(fleet, 300, priority=80, wait_for_capacity=True)
    assert fleet.status(high) is DeploymentStatus.PENDING


@pytest.mark.parametrize("seed", range(6))
def test_whatever_is_asked_for_no_rule_is_broken(seed: int) -> None:
    chance = Random(seed)
    fleet = a_fleet(*(chance.randrange(1, 5) for _ in range(3)))
    for _ in range(40):
        share = chance.choice((250, 400, 600, 1_000, 1_000, 1_500, 2_000))
        priority = chance.choice((0, 20, 50, 60, 80, 100))
        replicas = chance.choice((1, 1, 2))
        run(fleet, share, priority, replicas=replicas, wait_for_capacity=True)
        if chance.random() < 0.6:
            fleet.obey()
            fleet.settle()
        fleet.log.pass_ms(1_000)
    decided = [
        outcome
        for commit in fleet.log.commits
        if isinstance(event := commit.envelopes[0].event, ev.RoundDecided)
        for outcome in event.outcomes
        if isinstance(outcome, ev.DeploymentPlaced) and outcome.evictions
    ]
    assert decided
    assert violations(fleet) == []
