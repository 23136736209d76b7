"""In which order deployments are looked at: priority, job weight, age, and how waiting raises."""

from __future__ import annotations

from random import Random

import pytest

from fogbank.domain.facts import DeploymentFact
from fogbank.placement.queue import (
    Order,
    WaitingQueue,
    job_weight,
    queue_key,
    top_of_class,
)
from tests.support.fleet_log import OWNER, START_US, a_spec

TOTALS = (100_000, 200_000, 10_000, 8_000)  # cpu, memory, storage, gpu
MINUTE_US = 60_000_000


def a_deployment(
    name: str, priority: int = 50, *, waited_min: float = 0, position: int = 1, **more: object
) -> DeploymentFact:
    spec = a_spec(name, priority=priority, **more)  # type: ignore[arg-type]
    created_us = START_US - int(waited_min * MINUTE_US)
    return DeploymentFact(name, spec, OWNER, "", position, created_us, position)


def order(*deployments: DeploymentFact) -> list[str]:
    ranked = sorted(
        deployments,
        key=lambda deployment: queue_key(job_weight(TOTALS, deployment), deployment, START_US),
    )
    return [deployment.id for deployment in ranked]


def test_job_weight_counts_gpu_four_times_cpu_and_memory() -> None:
    # Of a million: cpu 10,000 of 100,000 is 100,000; memory 20,000 of 200,000 is 100,000;
    # gpu 800 of 8,000 is 100,000, four times: 400,000.
    assert job_weight(TOTALS, a_deployment("c", cpu=10_000, memory=0)) == 100_000
    assert job_weight(TOTALS, a_deployment("m", cpu=0, memory=20_000)) == 100_000
    assert job_weight(TOTALS, a_deployment("g", cpu=0, memory=0, gpu=1)) == 500_000
    assert job_weight(TOTALS, a_deployment("s", cpu=0, memory=0, storage=9_999)) == 0
    three = a_deployment("r", replicas=3, cpu=10_000, memory=20_000, gpu=1)
    assert job_weight(TOTALS, three) == 3 * 700_000
    assert job_weight((0, 0, 0, 0), a_deployment("nothing", cpu=1, memory=1)) == 2_000_000


def walked(queue: WaitingQueue, at: Order) -> list[str]:
    """Take all that wait, in their order."""
    queue.sync(at)
    ids = []
    while (key := queue.peek()) is not None:
        ids.append(key[3])
        queue.take()
    return ids


def test_the_queue_keeps_the_order_as_time_and_totals_change() -> None:
    deployments = {
        one.id: one
        for one in (
            a_deployment("light", 50, cpu=100, position=1),
            a_deployment("gpu", 50, cpu=100, gpu=1, position=2),
            a_deployment("low", 20, position=3),
            a_deployment("raised", 49, waited_min=3, position=4),
            a_deployment("memory", 50, cpu=0, memory=9_000, position=5),
        )
    }
    queue = WaitingQueue()
    for known in deployments:
        queue.add(known)
    queue.discard("low")
    for minutes in (0, 1, 5, 2, 30):
        for totals in (TOTALS, (50_000, *TOTALS[1:])):
            at = Order(START_US + minutes * MINUTE_US, totals, deployments)
            wanted = sorted(
                queue_key(job_weight(totals, one), one, at.instant_us)
                for one in deployments.values()
                if one.id != "low"
            )
            assert walked(queue, at) == [key[3] for key in wanted]
    queue.discard("gpu")
    assert "gpu" not in walked(queue, Order(START_US, TOTALS, deployments))
    assert len(queue) == 3


def test_those_that_come_to_a_long_queue_stand_in_their_place() -> None:
    numbers = Random(7)
    deployments: dict[str, DeploymentFact] = {}
    waiting: set[str] = set()
    queue = WaitingQueue()
    for step in range(40):
        for number in range(400 if not step else numbers.randrange(60)):
            name = f"{step}-{number}"
            asked = {"cpu": numbers.randrange(1, 9) * 100, "priority": numbers.randrange(40, 70)}
            at = len(deployments)
            deployments[name] = a_deployment(name, position=at, waited_min=-step / 2, **asked)
            waiting.add(name)
            queue.add(name)
        for name in numbers.sample(sorted(waiting), 5):
            waiting.remove(name)
            queue.discard(name)
        at_us = START_US + step * MINUTE_US // 2
        queue.sync(Order(at_us, TOTALS, deployments))
        wanted = sorted(
            queue_key(job_weight(TOTALS, deployments[name]), deployments[name], at_us)
            for name in waiting
        )
        assert len(queue) == len(wanted)
        key = queue.peek()
        for place in range(numbers.randrange(30)):
            assert key == wanted[place]
            key = queue.take()
            if numbers.randrange(3):  # a round that counts placed it; the others come back
                waiting.remove(wanted[place][3])
                queue.discard(wanted[place][3])


def test_priority_goes_before_weight_and_weight_before_age() -> None:
    assert order(
        a_deployment("young and light", position=9),
        a_deployment("old and light", position=1),
        a_deployment("gpu", gpu=1, position=10),
        a_deployment("important", 51, position=11),
        a_deployment("cpu-heavy", cpu=90_000, position=12),
    ) == ["important", "cpu-heavy", "gpu", "old and light", "young and light"]


def test_each_minute_of_waiting_raises_by_one() -> None:
    assert order(a_deployment("fresh", 52), a_deployment("waiting", 50, waited_min=3)) == [
        "waiting",
        "fresh",
    ]
    assert order(a_deployment("fresh", 52), a_deployment("waiting", 50, waited_min=1.9)) == [
        "fresh",
        "waiting",
    ]


@pytest.mark.parametrize(
    ("priority", "top"),
    [(0, 49), (20, 49), (49, 49), (50, 59), (59, 59), (60, 100), (80, 100), (100, 100)],
)
def test_waiting_never_leaves_the_class(priority: int, top: int) -> None:
    assert top_of_class(priority) == top


@pytest.mark.parametrize(("patient", "fresh"), [(49, 50), (59, 60), (0, 50), (50, 60)])
def test_no_waiting_crosses_into_a_higher_class(patient: int, fresh: int) -> None:
    for_ever = a_deployment("patient", patient, waited_min=1e6, gpu=8)
    assert order(for_ever, a_deployment("fresh", fresh)) == ["fresh", "patient"]


def test_at_the_top_of_a_class_age_goes_before_weight() -> None:
    light = a_deployment("light", 50, waited_min=60, position=1)
    heavy = a_deployment("heavy", 59, gpu=8, position=2)
    assert order(heavy, light) == ["light", "heavy"]
    below = a_deployment("light", 50, waited_min=8, position=1)
    assert order(a_deployment("heavy", 58, gpu=8, position=2), below) == ["heavy", "light"]


def test_a_clock_that_went_back_makes_nobody_younger() -> None:
    assert queue_key(0, a_deployment("d", 50, waited_min=-5), START_US)[0] == -50
