"""A single node's score in plain numbers is what arrays give it, to the last bit."""

from __future__ import annotations

from math import floor

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from fogbank.domain import events as ev
from fogbank.domain.fleet import FleetState
from fogbank.domain.policy import Policy
from fogbank.placement.arrays import FleetArrays, amounts
from fogbank.placement.bases import Bases, Sums
from fogbank.placement.room import Room
from fogbank.placement.strategies import STRATEGIES, Rows, nearness, terms_of
from fogbank.placement.strategies.catalogue import score_rows
from tests.support.fleet_log import LittleLog, a_fingerprint, a_spec

REGIONS = ["us-east", "us-west", "eu-north"]
PLAIN = sorted(name for name, each in STRATEGIES.items() if each.of_one is not None)

shares = st.floats(0, 1)
amount = st.integers(0, 1 << 60)
nodes = st.tuples(
    st.lists(amount, min_size=4, max_size=4),
    st.lists(amount, min_size=4, max_size=4),
    st.tuples(shares, shares),
    st.integers(0, len(REGIONS) - 1),
)


@given(
    st.sampled_from(PLAIN),
    st.lists(nodes, min_size=1, max_size=5),
    st.tuples(amount, amount, shares, shares, shares),
)
def test_plain_numbers_and_arrays_agree(
    name: str,
    fleet: list[tuple[list[int], list[int], tuple[float, float], int]],
    more: tuple[int, int, float, float, float],
) -> None:
    cpu, memory, resources, load, near = more
    policy = Policy(resource_weight=resources, cpu_load_weight=load, locality_weight=near)
    spec = a_spec(cpu=cpu, memory=memory, storage=1, strategy=name)
    strategy, ask = STRATEGIES[name], amounts(spec.resources)
    rows = Rows(
        np.array([room for room, *_ in fleet], dtype=np.int64).T,
        np.array([booked for _, booked, *_ in fleet], dtype=np.int64).T,
        np.array([loads for *_, loads, _ in fleet], dtype=np.float64).T,
        np.array([region for *_, region in fleet], dtype=np.int64),
        REGIONS,
        [{} for _ in fleet],
        np.zeros((0, len(fleet)), dtype=np.int64),
    )
    sums = sum(terms_of(rows, ask, spec, policy).values(), np.zeros(len(fleet)))
    scores = score_rows(rows, ask, spec, policy)
    assert strategy.of_one is not None
    total = strategy.of_one(policy)
    by_region = nearness({}, REGIONS, spec.region, policy)
    for number, (room, booked, loads, region) in enumerate(fleet):
        terms = total(
            max(room[0] - booked[0] - cpu, 0),
            max(room[1] - booked[1] - memory, 0),
            float(room[0] or 1),
            float(room[1] or 1),
            1.0 - loads[0],
            1.0 - loads[1],
            by_region.item(region),
        )
        assert terms == sums[number]
        assert floor(terms * strategy.steps + strategy.whole_above) == scores[number]


sizes = st.sampled_from([0, 1, 100, 900, 3_000, 64_000, 1 << 40])


@given(
    st.lists(
        st.tuples(sizes, sizes, st.integers(0, 100), st.integers(0, len(REGIONS) - 1)),
        min_size=1,
        max_size=12,
    ),
    st.tuples(sizes, sizes),
    st.integers(0, 1_000),
)
def test_sums_are_the_scores_of_the_strategy_but_for_those_that_are_close(
    fleet: list[tuple[int, int, int, int]], asked: tuple[int, int], thousandths: int
) -> None:
    world, policy = LittleLog(), Policy(resource_weight=thousandths / 1_000)
    state, arrays = FleetState(), FleetArrays()
    for number, (cpu, memory, percent, region) in enumerate(fleet):
        host = a_fingerprint(cpu=cpu, memory=memory, region=REGIONS[region])
        node_id, commit = world.connect(f"fog-{number}", host)
        state.fold(commit)
        load = ev.NodeLoadChanged(node_id, world.epochs[node_id], percent, 100 - percent, 0)
        state.fold(world.fact(load))
    arrays.refresh(state, state.facts.nodes)
    room = Room(arrays)
    spec = a_spec(cpu=asked[0], memory=asked[1], storage=0)
    ask = amounts(spec.resources)
    strategy = STRATEGIES["balanced"]
    assert strategy.of_one is not None
    bases = Bases(room, strategy.of_one(policy), strategy.steps)
    sums = Sums(bases, ask[:, 0].tolist(), strategy)
    sums.refresh(nearness(arrays.near, arrays.regions, spec.region, policy))
    sums.work_out(slice(None))
    rows = np.flatnonzero((arrays.allocatable >= ask).all(axis=0))
    expected = score_rows(Rows.of(arrays, room.booked), ask, spec, policy)[rows]
    scores, close = sums.scores(rows)
    right = scores == expected
    right[close] = True
    assert right.all()
    assert [sums.score_of_one(row) for row in rows.tolist()] == expected.tolist()
