"""Which moves gain most: pairs of a replica and a node, weighed on both nodes that they touch.

A move changes what stands on two nodes, and so the worth of these two alone. What a node loses or
wins by a replica that goes is weighed once for each kind and node, likewise what by one that comes,
and the gain of a move is the sum of both. Moves that share no node gain what each gains alone: so
many are chosen at once.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from itertools import islice
from typing import Protocol

import numpy as np

from fogbank.placement.arrays import Integers
from fogbank.placement.filters import passing
from fogbank.placement.strategies import Rows, best_rows
from fogbank.placement.worth import Group, Kind, Node, Piece, Scores, Stand

# So many kinds are weighed at a time, of each so many of the replicas that are worth least, each
# against so many of the nodes where one more would be worth most.
_KINDS = 32
_SOURCES = 24
_TARGETS = 24


class Movers(Protocol):
    """Who may move, and where to."""

    def spare(self, piece: Piece) -> int:
        """Return how many of a replica's deployment may move now; 0 if it may not itself."""

    def closed(self, piece: Piece) -> set[int]:
        """Return the nodes that a replica which may move may not move to."""


# Which devices one more of a kind would take on a node where it fits; None where it does not.
Devices = Callable[[int, Kind], tuple[int, ...] | None]


@dataclass(frozen=True, slots=True)
class Move:
    """A replica that would gain the fleet so many points on another node; scores in points."""

    piece: Piece
    row: int
    devices: tuple[int, ...]
    score_before: int
    score_after: int
    gain: int


@dataclass(slots=True)
class _Weighed:
    """A kind of replicas: those that may go, by node and devices, and the nodes it may go to."""

    kind: Kind
    leavers: dict[tuple[int, Group], list[Piece]]
    own: dict[tuple[int, Group], int]
    sources: list[tuple[int, Group]]
    targets: dict[int, tuple[int, tuple[int, ...]]]

    @property
    def promise(self) -> int:
        """By how much a replica would be worth more by its own score, at best."""
        best = max((score for score, _ in self.targets.values()), default=0)
        return best - min((self.own[source] for source in self.sources), default=0)


@dataclass(slots=True)
class Weighing:
    """A look at who may gain by a move, within `booked`: what is promised by dimension and node."""

    stand: Stand
    booked: Integers
    devices: Devices
    movers: Movers

    def best(self, at_most: int, min_gain: int) -> list[Move]:
        """Return moves that share no node, the best first."""
        weighed = self._kinds()
        scores = Scores(self.stand.arrays, self.stand.policy)
        before: dict[int, list[tuple[int, int]]] = {}
        goes: list[dict[tuple[int, Group], list[tuple[int, int]]]] = []
        comes: list[dict[int, list[tuple[int, int]]]] = []
        for each in weighed:
            for row in {*each.targets, *(row for row, _ in each.sources)} - before.keys():
                before[row] = scores.of_all(self._node(row), self.stand.groups(row))
            goes.append({source: self._without(scores, *source) for source in each.sources})
            comes.append(
                {
                    row: self._with(scores, row, Group(each.kind, devices))
                    for row, (_, devices) in each.targets.items()
                }
            )
        scores.work_out()
        worth = {row: scores.total(terms) for row, terms in before.items()}
        found: list[tuple[int, int, int, int]] = []
        for number, each in enumerate(weighed):
            won = {row: scores.total(terms) - worth[row] for row, terms in comes[number].items()}
            for place, source in enumerate(each.sources):
                lost = scores.total(goes[number][source]) - worth[source[0]]
                found += [
                    (-(lost + gain), number, place, row)
                    for row, gain in won.items()
                    if lost + gain >= min_gain and row != source[0]
                ]
        return self._chosen(weighed, sorted(found), at_most)

    def _chosen(
        self,
        weighed: list[_Weighed],
        found: list[tuple[int, int, int, int]],
        at_most: int,
    ) -> list[Move]:
        moves: list[Move] = []
        moved: Counter[str] = Counter()
        touched: set[int] = set()
        for loss, number, place, row in found:
            if len(moves) >= at_most:
                break
            each = weighed[number]
            source = each.sources[place]
            if row in touched or source[0] in touched:
                continue
            for piece in each.leavers[source]:
                spare = self.movers.spare(piece) - moved[piece.deployment_id]
                if spare > 0 and row not in self.movers.closed(piece):
                    moved[piece.deployment_id] += 1
                    touched |= {row, source[0]}
                    score, devices = each.targets[row]
                    moves.append(Move(piece, row, devices, each.own[source], score, -loss))
                    break
        return moves

    def _kinds(self) -> list[_Weighed]:
        """Return the kinds that promise most, with their sources and targets."""
        leavers: dict[Kind, dict[tuple[int, Group], list[Piece]]] = {}
        for pieces in self.stand.pieces:
            for piece in pieces:
                by_source = leavers.setdefault(piece.kind, {})
                source = piece.row, Group(piece.kind, piece.devices)
                by_source.setdefault(source, []).append(piece)
        weighed = []
        for kind, by_source in leavers.items():
            own = self._own_scores(kind, list(by_source))
            worst_first = sorted(by_source, key=lambda source: (own[source], source[0]))
            # Whether replicas may move is asked of those alone that come into question.
            sources = list(islice(filter(partial(self._may_go, by_source), worst_first), _SOURCES))
            if sources:
                weighed.append(_Weighed(kind, by_source, own, sources, self._targets(kind)))
        weighed.sort(key=lambda each: -each.promise)
        return weighed[:_KINDS]

    def _own_scores(
        self, kind: Kind, sources: list[tuple[int, Group]]
    ) -> dict[tuple[int, Group], int]:
        """Return what one replica of each source is worth by its own score."""
        plain = [source for source in sources if not source[1].devices]
        own: dict[tuple[int, Group], int] = {}
        if plain:
            worth = self.stand.scores_without_one(kind, [row for row, _ in plain])
            own.update(zip(plain, worth.tolist(), strict=True))
        scores = Scores(self.stand.arrays, self.stand.policy)
        asked = {
            (row, group): scores.one(kind, self._node(row).more(group, -1))
            for row, group in sources
            if group.devices
        }
        scores.work_out()
        return own | {source: scores.at(place) for source, place in asked.items()}

    def _may_go(
        self, leavers: dict[tuple[int, Group], list[Piece]], source: tuple[int, Group]
    ) -> bool:
        """Keep of a source those that may move; tell whether there is one."""
        leavers[source] = [piece for piece in leavers[source] if self.movers.spare(piece) > 0]
        return bool(leavers[source])

    def _targets(self, kind: Kind) -> dict[int, tuple[int, tuple[int, ...]]]:
        """Return the nodes where one more is worth most, with its score and devices there."""
        worth = self.stand.scores_everywhere(kind)
        rows = Rows.of(self.stand.arrays, self.booked)
        masks = passing(self.stand.arrays, rows, kind.spec, kind.column).masks
        feasible = np.logical_and.reduce(masks)
        targets = {}
        for row in best_rows(worth, feasible, _TARGETS):
            devices = self.devices(row, kind)
            if devices is not None:
                targets[row] = int(worth[row]), devices
        return targets

    def _node(self, row: int) -> Node:
        return Node(row, self.stand.booked[:, row], self.stand.gpu_free[:, row])

    def _without(self, scores: Scores, row: int, group: Group) -> list[tuple[int, int]]:
        groups = self.stand.groups(row)
        groups[group] -= 1
        return scores.of_all(self._node(row).more(group, -1), groups)

    def _with(self, scores: Scores, row: int, group: Group) -> list[tuple[int, int]]:
        groups = self.stand.groups(row)
        groups[group] = groups.get(group, 0) + 1
        return scores.of_all(self._node(row).more(group, 1), groups)
