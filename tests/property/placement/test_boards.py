"""A board that was kept while a round went on says what filters and scores made anew say."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from fogbank.domain.deployment import Constraint, DeploymentSpec
from fogbank.domain.fleet import FleetState
from fogbank.domain.policy import Policy
from fogbank.domain.states import ConstraintOperator
from fogbank.placement.arrays import FleetArrays, amounts
from fogbank.placement.boards import Board, row_of, score_of
from fogbank.placement.filters import feasible_nodes
from fogbank.placement.room import Room
from fogbank.placement.strategies import best_rows, score
from tests.support.fleet_log import LittleLog, a_fingerprint, a_spec

POLICY = Policy()
EAST = Constraint("region", ConstraintOperator.EQUAL, ("us-east",))
SPECS = [
    a_spec(cpu=500, memory=512, storage=1),
    a_spec(cpu=1500, memory=512, storage=1, strategy="binpack"),
    a_spec(cpu=700, memory=3000, storage=1, strategy="spread", region="us-west"),
    a_spec(cpu=300, memory=128, storage=1, constraints=(EAST,)),
    a_spec(cpu=300, memory=128, storage=1, gpu=1, strategy="first-fit"),
]


def a_fleet(nodes: list[tuple[int, int]]) -> tuple[FleetState, FleetArrays]:
    log, fleet, arrays = LittleLog(), FleetState(), FleetArrays()
    for number, (cpu, kind) in enumerate(nodes):
        host = a_fingerprint(
            cpu=cpu,
            memory=2 * cpu,
            gpu=kind % 2,
            region=("us-east", "us-west", "eu-north")[kind % 3],
        )
        fleet.fold(log.connect(f"fog-{number}", host)[1])
    arrays.refresh(fleet, fleet.facts.nodes)
    return fleet, arrays


def check(room: Room, board: Board, spec: DeploymentSpec, occupied: list[int], count: int) -> None:
    ask = amounts(spec.resources)
    anew = feasible_nodes(room.arrays, room.booked, spec, ask, [])
    scores = score(room.arrays, room.booked, ask, spec, POLICY)
    feasible = anew.feasible.copy()
    feasible[occupied] = False
    best = best_rows(scores, feasible, count)
    closed = [row for row in occupied if anew.feasible[row]]
    keys = board.best(count, closed)
    assert [row_of(key) for key in keys] == best
    assert [score_of(key) for key in keys] == [int(scores[row]) for row in best]
    assert tuple(board.refusals) == anew.refusals
    assert all(board.feasible(row) == anew.feasible[row] for row in range(room.arrays.size))


@settings(max_examples=25)
@given(
    kinds=st.lists(
        st.tuples(st.sampled_from([2000, 4000, 16_000]), st.integers(0, 5)), min_size=1, max_size=9
    ),
    times=st.sampled_from([1, 20, 40]),
    steps=st.lists(
        st.tuples(
            st.integers(0, len(SPECS) - 1),
            st.integers(1, 12),
            st.sampled_from(["take", "take", "take", "free", "begin"]),
        ),
        max_size=40,
    ),
)
def test_a_kept_board_is_as_good_as_a_new_one(
    kinds: list[tuple[int, int]], times: int, steps: list[tuple[int, int, str]]
) -> None:
    fleet, arrays = a_fleet(kinds * times)
    room = Room(arrays)
    acts: dict[str, Callable[[int, Board], None]] = {
        "free": lambda number, board: room.free(number % arrays.size, board.ask * 0),
        "begin": lambda number, _: _new_round(room, fleet, number),
    }
    for which, count, act in steps:
        spec = SPECS[which]
        board = room.boards.board(spec, POLICY)
        assert board is not None
        check(room, board, spec, [count % arrays.size], count)
        if act == "take" and (keys := board.best(count, [])):
            board.take([row_of(key) for key in keys])
            board.refresh()
            check(room, board, spec, [], count)
        elif act in acts:
            acts[act](count, board)
    assert np.array_equal(Room(arrays).booked, arrays.booked)


def _new_round(room: Room, fleet: FleetState, number: int) -> None:
    """Begin a round after a node said something new."""
    room.arrays.refresh(fleet, [room.arrays.ids[number % room.arrays.size]])
    room.begin()
    assert np.array_equal(room.booked, room.arrays.booked)
    assert np.array_equal(room.held, room.arrays.held)
