"""What the checker says of evictions."""

from __future__ import annotations

import pytest

from fogbank.v1 import rounds_pb2
from tests.unit.checker.building import Bytes, a_replica, on, releasing


@pytest.fixture
def log() -> Bytes:
    return Bytes()


def evicting(log: Bytes, low: str, high: str, node: str) -> rounds_pb2.Outcome:
    outcome = log.placing(high, on(high, node, starts_after=[a_replica(low)]))
    outcome.placed.evictions.add(deployment_id=low, replica_ids=[a_replica(low)])
    return outcome


def test_who_is_important_may_evict(log: Bytes) -> None:
    node = log.node("first", cpu=1000)
    low, high = log.deploy("low"), log.deploy("high", priority=60)
    log.place(low, node)
    log.round(evicting(log, low, high, node))
    assert log.rules() == []


@pytest.mark.parametrize(
    ("cpu", "victim", "taker"),
    [
        (1000, {}, {"priority": 59}),
        (1000, {"priority": 51}, {"priority": 60}),
        (1000, {"cluster_id": 1}, {"priority": 60, "cluster_id": 2}),
    ],
)
def test_nobody_is_evicted_without_a_right(
    log: Bytes, cpu: int, victim: dict[str, int], taker: dict[str, int]
) -> None:
    node = log.node("first", cpu=cpu)
    low, high = log.deploy("low", **victim), log.deploy("high", **taker)
    log.place(low, node)
    log.round(evicting(log, low, high, node))
    assert log.rules() == ["evicted"]


def test_nobody_is_evicted_in_vain(log: Bytes) -> None:
    node = log.node("first", cpu=1000)
    log.node("second", cpu=1000)
    low, high = log.deploy("low"), log.deploy("high", priority=60)
    log.place(low, node)
    log.round(evicting(log, low, high, node))
    assert log.rules() == ["evicted"], "there is room elsewhere"


def test_nobody_is_evicted_who_could_stay(log: Bytes) -> None:
    node = log.node("first", cpu=1900)
    one, two = log.deploy("one"), log.deploy("two", cpu=500)
    high = log.deploy("high", priority=60)
    log.place(one, node)
    log.place(two, node)
    both = evicting(log, one, high, node)
    both.placed.evictions.add(deployment_id=two, replica_ids=[a_replica(two)])
    both.placed.placements[0].starts_after.append(a_replica(two))
    log.round(both)
    assert log.rules() == ["evicted"]


def test_nobody_is_evicted_twice(log: Bytes) -> None:
    node = log.node("first", cpu=1000)
    low, high = log.deploy("low"), log.deploy("high", priority=60)
    log.place(low, node)
    log.round(releasing(low, a_replica(low)))
    log.round(evicting(log, low, high, node))
    assert "evicted" in log.rules()
