"""A board that was kept while a round went on says what filters and scores made anew say."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Callable
from random import Random
from unittest.mock import patch

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fogbank.domain import events as ev
from fogbank.domain.deployment import Constraint, DeploymentSpec
from fogbank.domain.envelope import Commit
from fogbank.domain.fleet import FleetState
from fogbank.domain.ids import replica_id
from fogbank.domain.policy import Policy
from fogbank.domain.states import ConstraintOperator, ReplicaState
from fogbank.placement.arrays import FleetArrays, amounts
from fogbank.placement.boards import Board
from fogbank.placement.filters import feasible_nodes
from fogbank.placement.room import Room
from fogbank.placement.strategies import best_rows, score
from tests.support.fleet_log import LittleLog, a_fingerprint, a_spec, an_id

POLICY = Policy()
EAST = Constraint("region", ConstraintOperator.EQUAL, ("us-east",))
SPECS = [
    a_spec(cpu=500, memory=512, storage=1),
    a_spec(cpu=1500, memory=512, storage=1, strategy="binpack"),
    a_spec(cpu=700, memory=3000, storage=1, strategy="spread", region="us-west"),
    a_spec(cpu=300, memory=128, storage=1, constraints=(EAST,)),
    a_spec(cpu=300, memory=128, storage=1),
    a_spec(cpu=500, memory=512, storage=1, strategy="binpack"),
    a_spec(cpu=300, memory=128, storage=1, gpu=1, strategy="first-fit"),
]


class World:
    """A fleet of up to four kinds of nodes, and a room in which rounds are made by hand."""

    def __init__(self, nodes: list[tuple[int, int]]) -> None:
        self.log, self.fleet, self.arrays = LittleLog(), FleetState(), FleetArrays()
        for number, (cpu, kind) in enumerate(nodes):
            host = a_fingerprint(
                cpu=cpu,
                memory=2 * cpu,
                gpu=kind % 2,
                region=("us-east", "us-west", "eu-north")[kind % 3],
            )
            self.fleet.fold(self.log.connect(f"fog-{number}", host)[1])
        self.arrays.refresh(self.fleet, self.fleet.facts.nodes)
        self.room = Room(self.arrays)
        self.proposed: list[ev.DeploymentPlaced] = []
        self.placed: list[tuple[str, str]] = []
        self.cordoned: set[str] = set()

    def propose(self, spec: DeploymentSpec, rows: list[int]) -> None:
        """Place a replica on each of these rows, whose room was taken."""
        deployment_id = an_id(f"deployment {self.log.sequence} {len(self.proposed)}")
        devices = (0,) if spec.resources.gpu_thousandths else ()
        placements = tuple(
            ev.Placement(
                replica_id(deployment_id, slot, 1),
                slot,
                1,
                self.arrays.ids[row],
                0,
                (),
                "",
                devices,
            )
            for slot, row in enumerate(rows)
        )
        self.proposed.append(ev.DeploymentPlaced(deployment_id, 0, spec.resources, placements))

    def free(self, number: int) -> None:
        board_ask = amounts(SPECS[number % len(SPECS)].resources)
        self.room.free(number % self.arrays.size, board_ask * 0)

    def log_round(self, _number: int) -> None:
        """Let what was proposed count."""
        decisions = self.fleet.decisions
        event = ev.RoundDecided(
            decisions.prev_digest,
            self.fleet.position,
            self.log.now_us,
            "test@1",
            b"",
            0,
            640,
            outcomes=tuple(self.proposed),
        )
        self.placed += [
            (one.replica_id, one.node_id) for p in self.proposed for one in p.placements
        ]
        self._begin_after(self.log.round(event))

    def lose_round(self, _number: int) -> None:
        """Let what was proposed come to nothing."""
        self._begin_after(None)

    def load(self, number: int) -> None:
        """Let a node say how busy it is."""
        node_id = self.arrays.ids[number % self.arrays.size]
        percent, epoch = number * 37 % 101, self.log.epochs[node_id]
        reflects = self.log.sequence * (number % 2)
        self._fact(ev.NodeLoadChanged(node_id, epoch, percent, 100 - percent, reflects))

    def cordon(self, number: int) -> None:
        """Cordon a node, or uncordon it."""
        node_id = self.arrays.ids[number % self.arrays.size]
        if node_id in self.cordoned:
            self._fact(ev.NodeUncordoned(node_id))
        else:
            self._fact(ev.NodeCordoned(node_id, "a test"))
        self.cordoned ^= {node_id}

    def end(self, number: int) -> None:
        """Let a replica end."""
        if self.placed:
            replica, node_id = self.placed.pop(number % len(self.placed))
            seen = self.log.seen(replica, ReplicaState.FAILED, final=True)
            self._begin_after(self.log.report(node_id, seen))

    def _fact(self, event: ev.Event) -> None:
        self._begin_after(self.log.fact(event))

    def _begin_after(self, commit: Commit | None) -> None:
        if commit is not None:
            folded = self.fleet.fold(commit)
            assert folded.verdicts[0].accepted
            self.arrays.refresh(self.fleet, folded.nodes)
        self.proposed.clear()
        self.room.begin()
        assert np.array_equal(self.room.booked, self.arrays.booked)


def check(room: Room, board: Board, spec: DeploymentSpec, occupied: list[int], count: int) -> None:
    ask = amounts(spec.resources)
    anew = feasible_nodes(room.arrays, room.booked, spec, ask, [])
    scores = score(room.arrays, room.booked, ask, spec, POLICY)
    feasible = anew.feasible.copy()
    feasible[occupied] = False
    best = best_rows(scores, feasible, count)
    closed = [row for row in occupied if anew.feasible[row]]
    assert board.best(count, closed) == [(row, int(scores[row])) for row in best]
    assert tuple(board.refusals) == anew.refusals
    assert all(board.feasible(row) == anew.feasible[row] for row in range(room.arrays.size))


ACTS: dict[str, Callable[[World, int], None]] = {
    "free": World.free,
    "log the round": World.log_round,
    "lose the round": World.lose_round,
    "load": World.load,
    "cordon": World.cordon,
    "end": World.end,
}


@settings(max_examples=40)
@given(
    kinds=st.lists(
        st.tuples(st.sampled_from([2000, 4000, 16_000]), st.integers(0, 5)), min_size=1, max_size=9
    ),
    times=st.sampled_from([1, 20, 40]),
    front=st.sampled_from([8, 96, 512]),
    steps=st.lists(
        st.tuples(
            st.integers(0, len(SPECS) - 1),
            st.integers(1, 12),
            st.sampled_from(["take", "take", "take", *ACTS]),
        ),
        max_size=40,
    ),
)
def test_a_kept_board_is_as_good_as_a_new_one(
    kinds: list[tuple[int, int]], times: int, front: int, steps: list[tuple[int, int, str]]
) -> None:
    with patch("fogbank.placement.boards._FRONT", front):
        keep_a_board(World(kinds * times), steps)


def keep_a_board(world: World, steps: list[tuple[int, int, str]]) -> None:
    room = world.room
    for which, count, act in steps:
        spec = SPECS[which]
        board = room.boards.board(spec, POLICY)
        assert board is not None
        check(room, board, spec, [count % world.arrays.size], count)
        if act != "take":
            ACTS[act](world, which * 13 + count)
        elif rows := [row for row, _ in board.best(count, [])]:
            board.take(rows)
            world.propose(spec, rows)
            board.refresh()
            check(room, board, spec, [], count)
    assert np.array_equal(Room(world.arrays).booked, world.arrays.booked)


@pytest.mark.parametrize("front", [8, 96, 512])
def test_boards_of_the_default_score_stay_right_until_every_node_is_full(
    front: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fogbank.placement.boards._FRONT", front)
    chance = Random(5)
    acts = ["log the round"] * 4 + ["lose the round", "load", "cordon", "end"]
    specs = [
        a_spec(cpu=cpu, memory=memory, storage=1, region=region, constraints=constraints)
        for cpu, memory in ((300, 1500), (500, 100), (100, 200))
        for region, constraints in (("us-east", ()), ("us-west", ()), ("us-west", (EAST,)))
    ]
    world = World([(chance.choice([900, 1500, 2400]), number) for number in range(150)])
    found = 1
    while found:
        found = 0
        for spec in chance.sample(specs, len(specs)):
            board = world.room.boards.board(spec, POLICY)
            assert board is not None
            count = chance.choice([1, 2, 12])
            check(world.room, board, spec, [chance.randrange(150)], count)
            if rows := [row for row, _ in board.best(count, [])]:
                board.take(rows)
                world.propose(spec, rows)
                board.refresh()
                check(world.room, board, spec, [], count)
            found += len(rows)
        if chance.random() < 0.5:
            ACTS[chance.choice(acts)](world, chance.randrange(1_000))
        else:
            world.log_round(0)
            board = world.room.boards.board(specs[0], POLICY)
            assert board is not None
            if rows := [row for row, _ in board.best(2, [])]:
                world.propose(specs[0], rows)
                world.log_round(0)  # another scheduler's: nobody took room for it here


def test_labels_make_a_board_only_where_they_count() -> None:
    boards = World([(4000, 0)]).room.boards
    by_default = [boards.board(a_spec(labels={"app": name}), POLICY) for name in "ab"]
    assert by_default[0] is by_default[1]
    aims = [
        boards.board(a_spec(labels={"app": name}, strategy="multi-objective"), POLICY)
        for name in "ab"
    ]
    assert aims[0] is not aims[1]


def test_few_nodes_keep_no_more_than_some_hundred_boards_those_used_last() -> None:
    boards = World([(4000, 0)]).room.boards
    often = boards.board(a_spec(cpu=1), POLICY)
    made = []
    for cpu in range(2, 602):
        made.append(weakref.ref(boards.board(a_spec(cpu=cpu), POLICY)))
        assert boards.board(a_spec(cpu=1), POLICY) is often
    gc.collect()
    kept = [known() is not None for known in made]
    assert sum(kept) == 511
    assert kept == sorted(kept), "the one that was not used for longest goes first"
