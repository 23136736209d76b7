"""What a fleet is worth, and what it would be worth if a replica stood elsewhere.

A replica is worth the score that its strategy gives its node, with all that is to stay there booked
and without measured load: load follows the replicas, and who chased it would chase themselves. A
fleet is worth the sum over its replicas. What moves away counts no more, its successor does. So the
worth is a whole number that follows from who is where and from nothing else, and since each move of
a rebalance raises it, rebalances come to an end.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from fogbank.domain.decisions import Desired
from fogbank.domain.deployment import DeploymentSpec
from fogbank.domain.fleet import FleetState
from fogbank.domain.gpus import taken
from fogbank.domain.policy import Policy
from fogbank.domain.rebalancing import MOST_POINTS
from fogbank.domain.resources import Resources
from fogbank.domain.rollouts import as_wanted
from fogbank.placement.arrays import FleetArrays, Floats, Integers, amounts
from fogbank.placement.strategies import STRATEGIES, Rows, score_rows, strategy_name, strategy_of


@dataclass(frozen=True, slots=True, eq=False)
class Kind:
    """Replicas that are alike to every strategy and filter: what they take, and one's spec."""

    ask: Resources
    spec: DeploymentSpec
    column: Integers


@dataclass(slots=True, eq=False)
class Piece:
    """A replica that is to stay, and where it stands."""

    replica_id: str
    deployment_id: str
    slot: int
    kind: Kind
    row: int
    devices: tuple[int, ...]


class Group(NamedTuple):
    """Pieces on one node that are alike down to their devices."""

    kind: Kind
    devices: tuple[int, ...]


class Stand:
    """Who is to stay where, and what that takes of each node.

    `booked` is by dimension and node, `gpu_free` by device and node: without what leaves.
    """

    def __init__(self, fleet: FleetState, arrays: FleetArrays) -> None:
        """Look at what rounds want to run."""
        self.arrays = arrays
        self.policy = fleet.facts.policy
        self.booked = np.zeros_like(arrays.booked)
        self.gpu_free = arrays.with_idle_devices().gpu_free.copy()
        self.pieces: list[list[Piece]] = [[] for _ in range(arrays.size)]
        self._kinds: dict[object, Kind] = {}
        specs: dict[str, DeploymentSpec] = {}
        for row, node_id in enumerate(arrays.ids):
            for placed in fleet.on_node(node_id):
                deployment = fleet.facts.deployments.get(placed.deployment_id)
                if placed.desired is not Desired.LIVE or deployment is None:
                    continue
                spec = specs.get(deployment.id)
                if spec is None:
                    spec = specs[deployment.id] = as_wanted(fleet, deployment).spec
                self.put(
                    Piece(
                        placed.id,
                        deployment.id,
                        placed.slot,
                        self._kind(placed.resources, spec),
                        row,
                        placed.gpu_devices,
                    )
                )

    def _kind(self, ask: Resources, spec: DeploymentSpec) -> Kind:
        key = (
            ask,
            strategy_name(spec, self.policy),
            spec.region,
            spec.constraints,
            spec.gpu_model,
            spec.cluster_id,
            tuple(sorted(spec.labels.items())),
        )
        kind = self._kinds.get(key)
        if kind is None:
            kind = self._kinds[key] = Kind(ask, spec, amounts(ask))
        return kind

    def put(self, piece: Piece) -> None:
        """Let a piece stand on its node."""
        self.pieces[piece.row].append(piece)
        self._take(piece, 1)

    def move(self, piece: Piece, row: int, devices: tuple[int, ...]) -> None:
        """Let a piece stand elsewhere."""
        self.pieces[piece.row].remove(piece)
        self._take(piece, -1)
        piece.row, piece.devices = row, devices
        self.put(piece)

    def _take(self, piece: Piece, times: int) -> None:
        self.booked[:, piece.row] += times * piece.kind.column[:, 0]
        for device, amount in taken(piece.devices, piece.kind.ask.gpu_thousandths):
            if device < self.gpu_free.shape[0]:
                self.gpu_free[device, piece.row] -= times * amount

    def groups(self, row: int) -> dict[Group, int]:
        """Return how many of each group stand on a node."""
        counts: dict[Group, int] = {}
        for piece in self.pieces[row]:
            group = Group(piece.kind, piece.devices)
            counts[group] = counts.get(group, 0) + 1
        return counts

    def worth(self) -> int:
        """Return what the whole fleet is worth, in points."""
        scores = Scores(self.arrays, self.policy)
        nodes = [
            scores.of_all(Node(row, self.booked[:, row], self.gpu_free[:, row]), self.groups(row))
            for row in range(self.arrays.size)
            if self.pieces[row]
        ]
        scores.work_out()
        return sum(map(scores.total, nodes))

    def scores_everywhere(self, kind: Kind) -> Integers:
        """Return what one more of a kind would be worth on each node, in points."""
        rows = Rows(
            self.arrays.allocatable,
            self.booked,
            np.zeros((2, self.arrays.size), dtype=np.float64),
            self.arrays.region_codes,
            self.arrays.regions,
            self.arrays.attributes,
            self.gpu_free,
        )
        return points(rows, kind, self.policy)

    def scores_without_one(self, kind: Kind, rows: list[int]) -> Integers:
        """Return what a replica of a kind without devices is worth that stands on each node."""
        arrays = self.arrays
        there = Rows(
            arrays.allocatable[:, rows],
            self.booked[:, rows] - kind.column,
            np.zeros((2, len(rows)), dtype=np.float64),
            arrays.region_codes[rows],
            arrays.regions,
            [arrays.attributes[row] for row in rows],
            self.gpu_free[:, rows],
        )
        return points(there, kind, self.policy)


@dataclass(frozen=True, slots=True)
class Node:
    """A node as it is or would be: what is booked by dimension, what is free by device."""

    row: int
    booked: Integers
    gpu_free: Integers

    def more(self, group: Group, times: int) -> Node:
        """Return it with one more of a group, or (-1) one less."""
        gpu_free = self.gpu_free
        if group.devices:
            gpu_free = gpu_free.copy()
            for device, amount in taken(group.devices, group.kind.ask.gpu_thousandths):
                if device < gpu_free.shape[0]:
                    gpu_free[device] -= times * amount
        return Node(self.row, self.booked + times * group.kind.column[:, 0], gpu_free)


# Of one replica on one node: how often it counts, and the place of its score.
_Term = tuple[int, int]


class Scores:
    """Scores of nodes as they are or would be, worked out together: once for each kind."""

    def __init__(self, arrays: FleetArrays, policy: Policy) -> None:
        """Begin with none."""
        self._arrays = arrays
        self._policy = policy
        self._asked: dict[Kind, list[tuple[int, Node]]] = {}
        self._count = 0
        self._points: list[int] = []

    def one(self, kind: Kind, node: Node) -> int:
        """Ask for what one more of a kind would be worth on a node; return the answer's place."""
        place = self._count
        self._asked.setdefault(kind, []).append((place, node))
        self._count += 1
        return place

    def of_all(self, node: Node, groups: dict[Group, int]) -> list[_Term]:
        """Ask for what all on a node are worth, each as if it came last."""
        return [
            (count, self.one(group.kind, node.more(group, -1)))
            for group, count in groups.items()
            if count
        ]

    def work_out(self) -> None:
        """Answer everything."""
        self._points = [0] * self._count
        for kind, asked in self._asked.items():
            rows = self._rows([node for _, node in asked])
            for (place, _), value in zip(
                asked, points(rows, kind, self._policy).tolist(), strict=True
            ):
                self._points[place] = value

    def _rows(self, nodes: Sequence[Node]) -> Rows:
        arrays = self._arrays
        rows = [node.row for node in nodes]
        load: Floats = np.zeros((2, len(nodes)), dtype=np.float64)
        return Rows(
            arrays.allocatable[:, rows],
            np.stack([node.booked for node in nodes], axis=1),
            load,
            arrays.region_codes[rows],
            arrays.regions,
            [arrays.attributes[row] for row in rows],
            np.stack([node.gpu_free for node in nodes], axis=1),
        )

    def at(self, place: int) -> int:
        """Return an answer, in points."""
        return self._points[place]

    def total(self, terms: Iterable[_Term]) -> int:
        """Return the sum of answers, in points."""
        return sum(count * self._points[place] for count, place in terms)


def points(rows: Rows, kind: Kind, policy: Policy) -> Integers:
    """Return what one more of a kind would be worth on nodes; 0 by an unknown strategy."""
    if strategy_name(kind.spec, policy) not in STRATEGIES:
        return np.zeros(rows.count, dtype=np.int64)
    steps = strategy_of(kind.spec, policy).steps
    worth: Integers = score_rows(rows, kind.column, kind.spec, policy) * MOST_POINTS // steps
    return worth
