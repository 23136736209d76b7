"""The default score by hand: 0.4 free room, 0.15 idle cpu, 0.15 idle memory, 0.3 locality."""

from __future__ import annotations

import numpy as np
import pytest

from fogbank.domain import events as ev
from fogbank.domain.deployment import Constraint
from fogbank.domain.states import ConstraintOperator
from fogbank.placement.arrays import amounts
from fogbank.placement.filters import feasible_nodes
from fogbank.placement.strategies import best_rows, score
from tests.support.fleet import LittleFleet
from tests.support.fleet_log import a_fingerprint, a_spec


def scores(fleet: LittleFleet, *, cpu: int, memory: int, region: str = "us-east") -> list[int]:
    spec = a_spec(cpu=cpu, memory=memory, region=region)
    arrays = fleet.planner.arrays
    policy = fleet.planner.fleet.facts.policy
    return [
        int(points)
        for points in score(arrays, arrays.booked, amounts(spec.resources), spec, policy)
    ]


def load(fleet: LittleFleet, node_id: str, cpu: int, memory: int, reflects: int) -> None:
    epoch = fleet.log.epochs[node_id]
    fleet.fact(ev.NodeLoadChanged(node_id, epoch, cpu, memory, reflects))


def test_an_empty_idle_node_of_the_same_region() -> None:
    fleet = LittleFleet()
    fleet.connect("fog-0", a_fingerprint(cpu=4000, memory=8000))
    # Free after placing: cpu 3000/4000 = 0.75, memory 6000/8000 = 0.75; mean 0.75.
    # 0.4 * 0.75 + 0.15 * 1 + 0.15 * 1 + 0.3 * 1 = 0.300 + 0.150 + 0.150 + 0.300 = 0.900
    assert scores(fleet, cpu=1000, memory=2000) == [900]


def test_regions_that_are_the_same_adjacent_and_remote() -> None:
    fleet = LittleFleet()
    for number, region in enumerate(("us-east", "us-central", "us-west", "eu-north")):
        fleet.connect(f"fog-{number}", a_fingerprint(cpu=4000, memory=8000, region=region))
    # Locality of us-east: 0.3 * 1 = 0.3; next to it 0.3 * 2/3 = 0.2; far off 0.3 * 1/3 = 0.1.
    assert scores(fleet, cpu=1000, memory=2000) == [900, 800, 700, 700]
    # us-central lies next to both.
    assert scores(fleet, cpu=1000, memory=2000, region="us-central") == [800, 900, 800, 700]


def test_load_lowers_the_score() -> None:
    fleet = LittleFleet()
    node_id = fleet.connect("fog-0", a_fingerprint(cpu=4000, memory=8000))
    load(fleet, node_id, 40, 80, 1)
    # 0.4 * 0.75 + 0.15 * 0.6 + 0.15 * 0.2 + 0.3 = 0.300 + 0.090 + 0.030 + 0.300 = 0.720
    assert scores(fleet, cpu=1000, memory=2000) == [720]


def test_what_is_placed_and_not_yet_measured_counts_as_load() -> None:
    fleet = LittleFleet()
    node_id = fleet.connect("fog-0", a_fingerprint(cpu=4000, memory=8000))
    load(fleet, node_id, 40, 20, 1)
    fleet.deploy(a_spec(cpu=2000, memory=4000))
    fleet.settle()
    # Free: cpu 1000/4000 = 0.25, memory 2000/8000 = 0.25. Load: cpu 0.4 + 0.5, memory 0.2 + 0.5.
    # 0.4 * 0.25 + 0.15 * 0.1 + 0.15 * 0.3 + 0.3 = 0.100 + 0.015 + 0.045 + 0.300 = 0.460
    assert scores(fleet, cpu=1000, memory=2000) == [460]
    load(fleet, node_id, 40, 20, fleet.log.sequence)
    # Now the measurement knows of it: 0.100 + 0.15 * 0.6 + 0.15 * 0.8 + 0.300 = 0.610
    assert scores(fleet, cpu=1000, memory=2000) == [610]


def test_load_is_never_more_than_all() -> None:
    fleet = LittleFleet()
    node_id = fleet.connect("fog-0", a_fingerprint(cpu=4000, memory=8000))
    load(fleet, node_id, 80, 0, 1)
    fleet.deploy(a_spec(cpu=4000, memory=0))
    fleet.settle()
    # Free: cpu 0, memory 1. Load: cpu 0.8 + 1 counts as 1, memory 0.
    # 0.4 * 0.5 + 0.15 * 0 + 0.15 * 1 + 0.3 = 0.650
    assert scores(fleet, cpu=0, memory=0) == [650]


def test_scores_are_whole_steps_of_a_thousandth_rounded_half_up() -> None:
    fleet = LittleFleet()
    fleet.connect("fog-0", a_fingerprint(cpu=3000, memory=8000))
    fleet.connect("fog-1", a_fingerprint(cpu=8000, memory=8000))
    # fog-0: cpu 2000/3000 = 0.6667, memory 1: 0.4 * 0.83333 = 0.33333; + 0.6 = 0.93333 -> 933
    # fog-1: cpu 7000/8000 = 0.875, memory 1: 0.4 * 0.9375 = 0.375; + 0.6 = 0.975 -> 975
    assert scores(fleet, cpu=1000, memory=0) == [933, 975]


def test_ties_go_by_the_order_in_which_nodes_first_shook_hands() -> None:
    feasible = np.array([True, False, True, True, True])
    points = np.array([500, 900, 700, 500, 700], dtype=np.int64)
    assert best_rows(points, feasible, 5) == [2, 4, 0, 3]
    assert best_rows(points, feasible, 1) == [2]
    assert best_rows(points, np.zeros(5, dtype=np.bool_), 3) == []


def test_equal_nodes_fill_in_stable_order() -> None:
    fleet = LittleFleet()
    for name in ("c", "a", "b"):
        fleet.connect(name)
    deployment_id = fleet.deploy(a_spec(replicas=2))
    fleet.connect("c")
    fleet.settle()
    assert fleet.nodes_of(deployment_id) == ["c", "a"], "shaking hands again changes no order"


EQUAL, NOT_EQUAL, IN, EXISTS = ConstraintOperator


def demand(
    attribute: str, operator: ConstraintOperator, values: tuple[str, ...] = ()
) -> dict[str, object]:
    return {"constraints": (Constraint(attribute, operator, values),)}


@pytest.fixture
def mixed() -> LittleFleet:
    """Ten nodes, most of them with something against them."""
    fleet = LittleFleet()
    for number in range(4):
        fleet.connect(f"plain-{number}", a_fingerprint(labels={"zone": "ab"[number % 2]}))
    fleet.connect("small", a_fingerprint(cpu=500))
    fleet.connect("forgetful", a_fingerprint(memory=100))
    fleet.connect("diskless", a_fingerprint(storage=0))
    fleet.connect("gpu", a_fingerprint(gpu=2, region="us-west"))
    busy = fleet.connect("busy")
    load(fleet, busy, 91, 0, 1)
    gone = fleet.connect("gone")
    fleet.decide(fleet.silence(gone))
    return fleet


@pytest.mark.parametrize(
    ("more", "feasible", "refusals"),
    [
        ({}, 5, {"status": 2, "cpu": 1, "memory": 1, "storage": 1}),
        ({"gpu": 1}, 1, {"status": 2, "cpu": 1, "memory": 1, "storage": 1, "gpu": 4}),
        ({"gpu_model": "T4"}, 1, {"status": 2, "gpu model": 7}),
        (demand("label.zone", EQUAL, ("a",)), 2, {"status": 2, "constraints": 6}),
        (demand("label.zone", IN, ("a", "b")), 4, {"status": 2, "constraints": 4}),
        (demand("label.zone", EXISTS), 4, {"status": 2, "constraints": 4}),
        (
            demand("label.zone", NOT_EQUAL, ("a",)),
            3,
            {"status": 2, "constraints": 2, "cpu": 1, "memory": 1, "storage": 1},
        ),
        (demand("region", EQUAL, ("us-west",)), 1, {"status": 2, "constraints": 7}),
        (demand("node", EQUAL, ("plain-3",)), 1, {"status": 2, "constraints": 7}),
        (demand("arch", NOT_EQUAL, ("amd64",)), 0, {"status": 2, "constraints": 8}),
    ],
)
def test_every_node_is_either_feasible_or_turned_down_by_one_filter(
    mixed: LittleFleet, more: dict[str, object], feasible: int, refusals: dict[str, int]
) -> None:
    spec = a_spec(**more)  # type: ignore[arg-type]
    arrays = mixed.planner.arrays
    found = feasible_nodes(arrays, arrays.booked, spec, amounts(spec.resources), [])
    assert (found.count, dict(found.refusals)) == (feasible, refusals)
    assert found.count + sum(refusals.values()) == arrays.size == 10


def test_a_second_replica_looks_for_another_node(mixed: LittleFleet) -> None:
    spec = a_spec()
    arrays = mixed.planner.arrays
    found = feasible_nodes(arrays, arrays.booked, spec, amounts(spec.resources), [0, 2])
    assert found.count == 3
    assert dict(found.refusals)["one replica per node"] == 2
    beside = a_spec(allow_colocation=True)
    found = feasible_nodes(arrays, arrays.booked, beside, amounts(spec.resources), [0, 2])
    assert found.count == 5


def test_an_ask_fits_to_the_last_millicore_and_not_beyond() -> None:
    fleet = LittleFleet()
    fleet.connect("fog-0")
    exact = fleet.deploy(a_spec(cpu=4000, memory=8192, storage=1000))
    over = fleet.deploy(a_spec(cpu=1, memory=0, storage=0, wait_for_capacity=True))
    fleet.settle()
    assert fleet.nodes_of(exact) == ["fog-0"]
    assert fleet.nodes_of(over) == []
