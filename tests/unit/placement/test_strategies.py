"""Every strategy by hand, on a handful of nodes, and the laws that hold for all of them."""

from __future__ import annotations

from dataclasses import replace
from random import Random

import numpy as np
import pytest

from fogbank.domain import events as ev
from fogbank.domain.policy import AskClass, MixedAsk, Policy, ResourceWeights, Ties
from fogbank.domain.resources import Resources
from fogbank.placement.arrays import FleetArrays, amounts
from fogbank.placement.strategies import (
    STRATEGIES,
    Rows,
    best_rows,
    score,
    strategy_of,
    terms_of,
    tie_breaker,
    tie_keys,
)
from fogbank.placement.strategies.powers import ten_to_the
from tests.support.fleet import LittleFleet
from tests.support.fleet_log import a_fingerprint, a_spec

POLICY = Policy()


def arrays_of(*rooms: tuple[int, int], **more: object) -> FleetArrays:
    """Return nodes by their cpu and memory."""
    fleet = LittleFleet()
    for number, (cpu, memory) in enumerate(rooms):
        fleet.connect(f"fog-{number}", a_fingerprint(cpu=cpu, memory=memory, **more))  # type: ignore[arg-type]
    return fleet.planner.arrays


def scores(
    strategy: str, arrays: FleetArrays, *, cpu: int, memory: int, policy: Policy = POLICY
) -> list[int]:
    spec = a_spec(cpu=cpu, memory=memory, storage=0, strategy=strategy)
    ask = amounts(spec.resources)
    return [int(points) for points in score(arrays, arrays.booked, ask, spec, policy)]


def test_powers_of_ten_come_from_the_table() -> None:
    assert ten_to_the(np.array([0.0, 0.5, 1.0])).tolist() == [1.0, 3.162278, 10.0]


def test_binpack_prefers_full_nodes() -> None:
    arrays = arrays_of((4000, 8000), (2000, 4000), (1_000_000, 1_000_000_000))
    # Half full: 20 - 2 * 10^0.5 = 13.675 of 18; full: 18 of 18; all but empty: 0.05.
    half = scores("binpack", arrays, cpu=2000, memory=4000)
    assert half == [round(13.675 / 18 * 1000), 1000, 3]


def test_spread_prefers_empty_nodes() -> None:
    arrays = arrays_of((4000, 8000), (2000, 4000), (1_000_000, 1_000_000_000))
    # Half full: 2 * 10^0.5 - 2 = 4.325 of 18; full: 0; all but empty: 17.95.
    assert scores("spread", arrays, cpu=2000, memory=4000) == [round(4.325 / 18 * 1000), 0, 997]


def test_least_allocated_floors_at_each_step() -> None:
    arrays = arrays_of((4000, 10000))
    # cpu (4000 - 3000) * 100 / 4000 = 25, memory 50: 75 / 2 = 37; with memory twice, 125 / 3 = 41.
    assert scores("least-allocated", arrays, cpu=3000, memory=5000) == [37]
    twice = replace(POLICY, weights=ResourceWeights(cpu=1, memory=2))
    assert scores("least-allocated", arrays, cpu=3000, memory=5000, policy=twice) == [41]


def test_most_allocated_floors_at_each_step() -> None:
    arrays = arrays_of((4000, 10000))
    # cpu 75, memory 50: 125 / 2 = 62; with memory twice, (75 + 100) / 3 = 58.
    assert scores("most-allocated", arrays, cpu=3000, memory=5000) == [62]
    twice = replace(POLICY, weights=ResourceWeights(cpu=1, memory=2))
    assert scores("most-allocated", arrays, cpu=3000, memory=5000, policy=twice) == [58]


def test_resources_that_a_node_lacks_do_not_count() -> None:
    gpu_too = replace(POLICY, weights=ResourceWeights(cpu=1, memory=1, gpu=5))
    arrays = arrays_of((4000, 10000))
    assert scores("least-allocated", arrays, cpu=3000, memory=5000, policy=gpu_too) == [37]


def test_balanced_allocation_prefers_even_shares() -> None:
    arrays = arrays_of((4000, 10000), (4000, 8000), (3000, 10_000_000))
    # Shares 0.75 and 0.5: deviation 0.125 -> 87; 0.75 and 0.625: 0.0625 -> 93; 1 and 0.0005: 50.
    assert scores("balanced-allocation", arrays, cpu=3000, memory=5000) == [87, 93, 50]


def test_best_fit_prefers_what_leaves_least() -> None:
    policy = replace(POLICY, reference=Resources(10_000, 10_000, 0, 0))
    arrays = arrays_of((4000, 8000), (2000, 4000), (10_000, 10_000))
    # Left over: (0.2 + 0.4) / 2 = 0.3 -> 70; nothing -> 100; (0.8 + 0.6) / 2 = 0.7 -> 30.
    assert scores("best-fit", arrays, cpu=2000, memory=4000, policy=policy) == [70, 100, 30]


def test_dot_product_prefers_room_unlike_the_ask() -> None:
    policy = replace(POLICY, reference=Resources(10_000, 10_000, 0, 0))
    arrays = arrays_of((4000, 8000), (10_000, 10_000))
    # (0.4 * 0.2 + 0.8 * 0.4) / 2 = 0.2 -> 80; (0.2 + 0.4) / 2 = 0.3 -> 70.
    assert scores("dot-product", arrays, cpu=2000, memory=4000, policy=policy) == [80, 70]


def test_first_fit_and_random_score_alike_and_differ_in_ties() -> None:
    arrays = arrays_of(*[(4000, 8000)] * 5)
    assert scores("first-fit", arrays, cpu=1, memory=1) == [0] * 5
    assert scores("random", arrays, cpu=1, memory=1) == [0] * 5
    hashing = replace(POLICY, ties=Ties.HASH)
    for spec, policy, hashed in (
        (a_spec(strategy="first-fit"), hashing, False),
        (a_spec(strategy="random"), POLICY, True),
        (a_spec(), POLICY, False),
        (a_spec(), hashing, True),
    ):
        keys = tie_breaker(arrays, b"prev", "d", spec, policy)
        assert (keys is not None) is hashed


def test_terms_of_several_aims_are_shown_one_by_one() -> None:
    fleet = LittleFleet()
    fleet.connect("a", a_fingerprint(cpu=4000, memory=8000, labels={"disk": "ssd"}))
    fleet.connect("b", a_fingerprint(cpu=4000, memory=8000, region="us-central"))
    fleet.deploy(a_spec(cpu=1000, memory=2000, strategy="first-fit"))
    fleet.settle()
    spec = a_spec(
        cpu=1000, memory=2000, strategy="multi-objective", labels={"disk": "ssd", "tier": "web"}
    )
    arrays = fleet.planner.arrays
    terms = terms_of(Rows.of(arrays, arrays.booked), amounts(spec.resources), spec, POLICY)
    shown = {name: [round(float(part), 4) for part in parts] for name, parts in terms.items()}
    assert shown == {
        # After placing, half of a is taken and a quarter of b: 0.3 of each.
        "utilisation": [0.15, 0.075],
        # What is placed and not yet measured is load: a quarter on a.
        "balance": [0.1875, 0.25],
        "latency": [0.25, round(0.25 * 2 / 3, 4)],
        # One of the two labels on a, none on b.
        "affinity": [0.05, 0.0],
        # a goes from 137.5 W to 175 W: 1 - 37.5/250; b wakes, from 10 W to 137.5 W: 1 - 127.5/250.
        "energy": [0.085, 0.049],
    }
    assert scores("multi-objective", arrays, cpu=1000, memory=2000)[0] > 0


def test_latency_takes_the_place_of_adjacency_where_it_is_known() -> None:
    policy = replace(
        POLICY, latency_ms={"us-east": {"us-west": 50, "us-east": 0}}, latency_half_ms=50
    )
    fleet = LittleFleet()
    for region in ("us-east", "us-west", "us-central", "mars"):
        fleet.connect(region, a_fingerprint(region=region))
    rows = Rows.of(fleet.planner.arrays, fleet.planner.arrays.booked)
    near = [round(float(part), 4) for part in rows.locality("us-east", policy)]
    assert near == [1.0, 0.5, 0.6667, 0.3333]


def test_a_class_of_asks_has_its_own_strategy() -> None:
    policy = replace(
        POLICY,
        classes=(AskClass("urgent", "first-fit", 1, 60), AskClass("gpu", "best-fit", 1)),
    )
    assert strategy_of(a_spec(gpu=1, priority=60), policy).name == "first-fit"
    assert strategy_of(a_spec(gpu=1, priority=59), policy).name == "best-fit"
    assert strategy_of(a_spec(), policy).name == "balanced"
    assert strategy_of(a_spec(gpu=1, strategy="spread"), policy).name == "spread"


def test_ties_by_hash_depend_on_round_deployment_and_node() -> None:
    nodes = np.arange(1, 1001, dtype=np.uint64)
    keys = tie_keys(b"round", "deployment", nodes)
    assert keys[:2].tolist() == [13322032667470769667, 9610383801559007591]
    assert len(set(keys.tolist())) == 1000
    assert not np.array_equal(keys, tie_keys(b"other round", "deployment", nodes))
    assert not np.array_equal(keys, tie_keys(b"round", "other deployment", nodes))
    assert tie_keys(b"round", "deployment", nodes[7:8]).tolist() == keys[7:8].tolist()
    points = np.zeros(1000, dtype=np.int64)
    points[3] = 1
    best = best_rows(points, np.ones(1000, dtype=np.bool_), 3, keys)
    assert best == [3, *[int(row) for row in np.argsort(keys) if row != 3][:2]]


@pytest.mark.parametrize("strategy", sorted(STRATEGIES))
def test_a_node_scores_the_same_whichever_nodes_stand_beside_it(strategy: str) -> None:
    chance = Random(7)
    fleet = LittleFleet()
    for number in range(40):
        fingerprint = a_fingerprint(
            cpu=chance.randrange(500, 64_000),
            memory=chance.randrange(100, 200_000),
            gpu=chance.choice((0, 0, 1, 8)),
            region=chance.choice(("us-east", "us-central", "us-west")),
            labels={"zone": chance.choice("ab")},
        )
        node_id = fleet.connect(f"fog-{number}", fingerprint)
        epoch = fleet.log.epochs[node_id]
        fleet.fact(ev.NodeLoadChanged(node_id, epoch, chance.randrange(90), 3, 1))
    for _ in range(30):
        fleet.deploy(a_spec(cpu=chance.randrange(3000), gpu=chance.randrange(2)))
    fleet.settle()
    arrays = fleet.planner.arrays
    spec = a_spec(cpu=700, gpu=1, strategy=strategy, labels={"zone": "a"})
    ask = amounts(spec.resources)
    whole = score(arrays, arrays.booked, ask, spec, POLICY)
    assert whole.dtype == np.int64
    assert int(whole.min()) >= 0
    assert int(whole.max()) <= STRATEGIES[strategy].steps
    for selection in (slice(5, 17), [3, 39, 8], np.array([12], dtype=np.int64)):
        part = score(arrays, arrays.booked, ask, spec, POLICY, selection=selection)
        assert part.tolist() == whole[selection].tolist()


@pytest.mark.parametrize("strategy", sorted(STRATEGIES))
def test_every_strategy_places(strategy: str) -> None:
    fleet = LittleFleet()
    for name in "abc":
        fleet.connect(name, a_fingerprint(gpu=2))
    deployment_id = fleet.deploy(a_spec(replicas=2, gpu=1, strategy=strategy))
    fleet.settle()
    assert len(fleet.nodes_of(deployment_id)) == 2


@pytest.mark.parametrize("strategy", sorted(STRATEGIES))
def test_a_fleet_scores_the_same_after_its_last_gpu_has_gone(strategy: str) -> None:
    arrays = arrays_of((4000, 8000), (2000, 4000), (16000, 64000))
    policy = replace(POLICY, gpu_mix=(MixedAsk(500, 1000, 1), MixedAsk(2000, 0, 3)))
    never = scores(strategy, arrays, cpu=1000, memory=1000, policy=policy)
    assert not arrays.gpu_free.size
    arrays.gpu_free = np.zeros((2, arrays.gpu_free.shape[1]), dtype=np.int64)
    assert scores(strategy, arrays, cpu=1000, memory=1000, policy=policy) == never
