"""Scores and refusals of every node for one kind of ask, kept while rounds go on.

A board holds a whole number for each node, its key: the lower, the better the node; ties go by the
stable order; above all scores lie the refusals, by the filter that refused first. Filters and
scores go by a node's own columns, so only the rows that changed are worked out anew, and a board
says the same as one made this moment.

The best nodes stand in front, sorted. A node that more was taken of is worth less, and stays where
it stands until it is about to be chosen: then what it is worth is worked out in plain numbers, or,
where a strategy takes arrays only, is known beforehand. Where many changed they are worked out by
arrays at once.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Iterable, Sequence
from itertools import compress
from typing import TYPE_CHECKING

import numpy as np

from fogbank.domain.deployment import DeploymentSpec
from fogbank.domain.policy import Policy
from fogbank.placement.arrays import DIMENSIONS, Integers, Mask, amounts, pick
from fogbank.placement.bases import CLOSE, NOT_CLOSE, Sums
from fogbank.placement.filters import Filters, passing
from fogbank.placement.strategies import ALL, Rows, nearness, score_rows, strategy_of

if TYPE_CHECKING:
    from fogbank.placement.room import Room

# A key is (a rank << 32 | row); the rank of a score is _MIDDLE - score, of a refusal above that.
_ROW_BITS = 32
_ROW_MASK = (1 << _ROW_BITS) - 1
_MIDDLE = 1 << 24
_REFUSED = 1 << 25
_REFUSED_KEY = _REFUSED << _ROW_BITS
# Working out all rows goes in pieces that stay in the processor's cache.
_PIECE = 8_192
# So many of the best nodes stand in front, and so many are within reach of it at first: to find
# them among all costs more than to have many.
_FRONT = 256
_REACH = 16
# Of a node that is taken again so many further steps are worked out at once.
_DEPTH = 8
# Above so many changed rows, and such a part of all, it costs less to work them out by arrays.
_FEW, _FEW_OF = 32, 256
# Above this part of all rows it costs less to work out all.
_MANY = 8
_ONE = np.ones(1, dtype=np.int64)


class Board:
    """One kind of ask against all nodes of a room."""

    def __init__(self, room: Room, spec: DeploymentSpec, policy: Policy) -> None:
        """Work out all nodes."""
        self.ask = amounts(spec.resources)
        self._asked: list[int] = self.ask[:, 0].tolist()
        self._room = room
        self._spec = spec
        self._policy = policy
        self._keys = np.empty(0, dtype=np.int64)
        self._filters: list[str] = []
        self._refused: list[int] = []
        # The keys below the bound, negated, so that the best one is last.
        self._front: list[int] = []
        self._bound = 0
        # Where the next front is looked for first: below that there are more.
        self._reach = 0
        # A row's keys after one more replica each, the first of them last.
        self._next: dict[int, list[int]] = {}
        # Which device is taken is not to be foreseen from sums.
        foreseeable = spec.resources.gpu_thousandths == 0
        strategy = strategy_of(spec, policy)
        self._falls = strategy.falls and foreseeable
        # A row that is worth less than before is worked out in plain numbers where there is this,
        # or it is known beforehand what it will be worth.
        bases = room.boards.bases(strategy) if self._falls else None
        self._sums = Sums(bases, self._asked, strategy) if bases is not None else None
        self._ahead = foreseeable and bases is None
        if self._falls:
            room.expect(self.ask)
        # For each row how far the room's `changes` went when its key was worked out last: if it
        # changed since, it is worth no more than that, and perhaps less. The same again, and the
        # keys, to read and write one.
        self._known_at = np.empty(0, dtype=np.int64)
        self._known_at_of = self._key_of = self._known_at.data
        # How many changed rows cost less one by one than making the front anew does.
        self._few = 0
        self._seen = self._seen_renewed = self._seen_scarce = -1

    # Keeping up.

    def refresh(self) -> None:
        """Learn what changed since the last time; work out what may be worth more, or not fit.

        Where the strategy never gives more for a node on which more is booked, a node that room was
        taken on, and that still passes, may wait until it is about to be chosen.
        """
        room, arrays = self._room, self._room.arrays
        if self._sums is not None:
            near = nearness(arrays.near, arrays.regions, self._spec.region, self._policy)
            self._sums.refresh(near)
        upto = room.changes.end
        if upto == self._seen:
            return
        if (
            self._falls
            and room.renewed.end == self._seen_renewed
            and room.scarce.end == self._seen_scarce
        ):
            self._seen = upto
            return
        renewed = room.renewed.since(self._seen_renewed)
        scarce = room.scarce.since(self._seen_scarce)
        changed = () if self._falls else room.changes.since(self._seen)
        self._seen_up_to_here()
        if changed is None or renewed is None or scarce is None:
            self._work_out_all()
            self._line_up()
            return
        anew = {*renewed, *self._unfit(scarce)} if self._falls else set(changed)
        if len(anew) > self._few:
            self._work_out_rows(np.array([*anew], dtype=np.int64))
            self._line_up()
        elif anew:
            self._work_out_few(list(anew))

    def _seen_up_to_here(self) -> None:
        room = self._room
        self._seen, self._seen_renewed = room.changes.end, room.renewed.end
        self._seen_scarce = room.scarce.end

    def _unfit(self, rows: list[int]) -> Iterable[int]:
        """Return those of the rows on which the ask has no room."""
        if not rows:
            return ()
        room, numbers = self._room, np.array(rows, dtype=np.int64)
        spare = pick(room.arrays.allocatable, numbers) - pick(room.booked, numbers) - self.ask
        least = np.minimum.reduce(spare)
        return compress(rows, (least < 0).tolist()) if np.minimum.reduce(least) < 0 else ()

    def _work_out_rows(self, rows: Integers) -> None:
        """Work out many rows, or all; the front is to be lined up anew."""
        if rows.size > self._keys.shape[0] // _MANY:
            self._work_out_all()
        elif rows.size:
            self._count(self._keys[rows], -1)
            self._keys[rows] = keys = self._work_out(rows)
            self._count(keys, 1)
            self._known_at[rows] = self._room.last_changes(rows)
            if self._sums is not None:
                self._sums.work_out(rows)

    def _work_out_few(self, rows: list[int]) -> None:
        """Work out a few rows, and what they will be after one more; move them to their places."""
        if self._ahead:
            self._foresee(rows, 2)
            keys = [self._next[row].pop() for row in rows]
        else:
            numbers = np.array(rows, dtype=np.int64)
            keys = self._work_out(numbers).tolist()
            if self._sums is not None:
                self._sums.work_out(numbers)
        for row, key in zip(rows, keys, strict=True):
            self._move(row, key)

    def _lower_all(self, rows: Integers) -> None:
        """Work out many rows that pass all filters, but for those by amount, and are worth less."""
        if not rows.size:
            return
        if self._sums is not None:
            self._keys[rows] = self._added_up(rows, self._sums)
            self._known_at[rows] = self._room.last_changes(rows)
            return
        if rows.size > self._keys.shape[0] // 2:
            self._work_out_all()
            return
        nodes = Rows.of(self._room.arrays, self._room.booked, rows)
        keys = score_rows(nodes, self.ask, self._spec, self._policy)
        np.subtract(_MIDDLE, keys, out=keys)
        spare = nodes.spare(self.ask)
        if spare.min() < 0:
            for dimension in range(DIMENSIONS - 1, -1, -1):
                keys[spare[dimension] < 0] = _REFUSED + len(self._filters) - DIMENSIONS + dimension
        keys <<= _ROW_BITS
        keys |= rows
        self._count(keys, 1)
        self._keys[rows] = keys
        self._known_at[rows] = self._room.last_changes(rows)

    def _added_up(self, rows: Integers, sums: Sums) -> Integers:
        """Return the keys of rows that pass all filters."""
        keys, close = sums.scores(rows)
        np.subtract(_MIDDLE, keys, out=keys)
        keys <<= _ROW_BITS
        keys |= rows
        if close.size:
            keys[close] = self._work_out(rows.take(close))
        return keys

    def _foresee(self, rows: list[int], depth: int) -> None:
        """Work out what rows are worth, and will be, in so many steps."""
        numbers = np.array(rows, dtype=np.int64)
        steps = np.arange(depth - 1, -1, -1, dtype=np.int64)
        keys = self._work_out(numbers.repeat(depth), np.tile(steps, numbers.size)).tolist()
        for place, row in enumerate(rows):
            self._next[row] = keys[place * depth : (place + 1) * depth]

    def _work_out_all(self) -> None:
        size = self._room.arrays.size
        if self._keys.shape[0] != size:
            self._keys = np.empty(size, dtype=np.int64)
            self._known_at = np.empty(size, dtype=np.int64)
            self._key_of, self._known_at_of = self._keys.data, self._known_at.data
            self._few = _FEW + size // _FEW_OF
        self._known_at[:] = self._room.last_changes(ALL)
        if self._sums is not None:
            self._sums.work_out(ALL)
        for first in range(0, size, _PIECE):
            last = min(first + _PIECE, size)
            self._keys[first:last] = self._work_out(slice(first, last))
        self._refused = [0] * len(self._filters)
        self._count(self._keys, 1)

    def _work_out(self, selection: slice | Integers, more: Integers | None = None) -> Integers:
        """Return the keys of selected rows, with so many more replicas on each."""
        room, arrays = self._room, self._room.arrays
        rows = Rows.of(arrays, room.booked, selection)
        if more is not None:
            rows.booked += self.ask * more
        keys = score_rows(rows, self.ask, self._spec, self._policy)
        np.subtract(_MIDDLE, keys, out=keys)
        filters = passing(arrays, rows, self._spec, self.ask, selection)
        _mark_refused(keys, filters)
        if not self._filters:
            self._filters = filters.names
        keys <<= _ROW_BITS
        if isinstance(selection, slice):
            selection = np.arange(selection.start, selection.stop, dtype=np.int64)
        keys |= selection
        return keys

    def _count(self, keys: Integers, times: int) -> None:
        refused = keys[keys >= _REFUSED_KEY]
        if refused.size:
            counts = np.bincount((refused >> _ROW_BITS) - _REFUSED, minlength=len(self._filters))
            for number, count in enumerate(counts.tolist()):
                self._refused[number] += times * count

    def _line_up(self, at_least: int = 0) -> None:
        """Put the best nodes in front, `at_least` so many; those in reach are worked out for it."""
        size = max(at_least, _FRONT)
        while True:
            within = np.flatnonzero(self._keys < self._reach)
            if self._falls:
                self._lower_all(within.compress(self._may_be_less(within)))
            best = self._keys.take(within)
            best = best.compress(best < self._reach)
            if best.size > size or self._reach == _REFUSED_KEY:
                break
            self._reach_further(size)
        self._bound = self._reach
        if best.size > size:
            best.partition(size)
            self._bound = int(best[size])
            best = best[:size]
        best.sort()
        self._front = np.negative(best[::-1]).tolist()
        self._next = {}
        if self._front and self._ahead:
            best &= _ROW_MASK
            after = self._work_out(best, _ONE).tolist()
            self._next = {row: [key] for row, key in zip(best.tolist(), after, strict=True)}

    def _reach_further(self, size: int) -> None:
        """Work out all nodes, and let many more than so many be within reach."""
        if self._falls:
            passing = np.flatnonzero(self._keys < _REFUSED_KEY)
            self._lower_all(passing.compress(self._may_be_less(passing)))
        self._reach = _REFUSED_KEY
        if self._keys.shape[0] > size * _REACH:
            last = np.partition(self._keys, size * _REACH)[size * _REACH]
            self._reach = min(int(last), _REFUSED_KEY)

    def _may_be_less(self, rows: Integers) -> Mask:
        """Tell which of the rows changed since their keys were worked out."""
        may: Mask = self._room.last_changes(rows) > self._known_at.take(rows)
        return may

    def _move(self, row: int, key: int) -> None:
        """Give a row another key."""
        before = self._key_of[row]
        self._known_at_of[row] = self._room.changed_at[row]
        if key == before:
            return
        if before < self._bound:
            place = bisect_left(self._front, -before)
            if place < len(self._front) and self._front[place] == -before:
                del self._front[place]
        self._put(row, before, key)

    def _put(self, row: int, before: int, key: int) -> None:
        """Note a row's new key, and put it in front if it belongs there."""
        self._key_of[row] = key
        if key < self._bound:
            insort(self._front, -key)
        if before >= _REFUSED_KEY:
            self._refused[(before >> _ROW_BITS) - _REFUSED] -= 1
        if key >= _REFUSED_KEY:
            self._refused[(key >> _ROW_BITS) - _REFUSED] += 1

    # Reading and taking.

    def best(self, count: int, occupied: Sequence[int]) -> list[tuple[int, int]]:
        """Return the best `count` nodes with their scores, without those that are occupied."""
        keys = self._best(count, occupied)
        return [(key & _ROW_MASK, _MIDDLE - (key >> _ROW_BITS)) for key in keys]

    def _best(self, count: int, occupied: Sequence[int]) -> list[int]:
        wanted = count + len(occupied)
        if self._sums is not None:
            found = self._lowered_first(wanted, self._sums)
        elif self._falls:
            found = self._first(wanted)
        else:
            found = self._foremost(wanted)
        if not occupied:
            return found
        closed = set(occupied)
        return [key for key in found if key & _ROW_MASK not in closed][:count]

    def _foremost(self, wanted: int) -> list[int]:
        """Return the first keys in front, which are all as they should be."""
        if len(self._front) < wanted and self._bound != _REFUSED_KEY:
            self._line_up(wanted)
        return [-key for key in self._front[: -wanted - 1 : -1]]

    def _first(self, wanted: int) -> list[int]:
        """Return the first keys in front, once they are as they should be, worked out by arrays."""
        changed_at, known_at = self._room.changed_at, self._known_at_of
        lowered = 0
        while True:
            found = self._foremost(wanted)
            if all(changed_at[key & _ROW_MASK] <= known_at[key & _ROW_MASK] for key in found):
                return found
            if lowered > self._few:
                self._line_up(wanted)
                continue
            near = np.array(self._front[-wanted - 2 * self._few :], dtype=np.int64)
            rows = np.negative(near) & _ROW_MASK
            stale: list[int] = rows.compress(self._may_be_less(rows)).tolist()
            lowered += len(stale)
            self._work_out_few(stale)

    def _lowered_first(self, wanted: int, sums: Sums) -> list[int]:
        """Return the first keys in front, once they are as they should be.

        A node in front that may be worth less is worked out and moved to where it belongs by now.
        """
        front, base_of, offset_of = self._front, sums.bases.of_row, sums.offset_of
        changed_at, known_at, key_of = self._room.changed_at, self._known_at_of, self._key_of
        found: list[int] = []
        missing, place, bound, patience = wanted, len(front) - 1, self._bound, self._few
        while missing:
            if place < 0 or patience < 0:
                if place < 0 and bound == _REFUSED_KEY:
                    break
                self._line_up(wanted)
                front, bound, patience = self._front, self._bound, self._few
                found.clear()
                missing, place = wanted, len(front) - 1
                continue
            before = -front[place]
            row = before & _ROW_MASK
            changed = changed_at[row]
            if changed <= known_at[row]:
                found.append(before)
                missing -= 1
                place -= 1
                continue
            patience -= 1
            known_at[row] = changed
            terms = base_of[row] + offset_of[row]
            score = int(terms)
            if not CLOSE < terms - score < NOT_CLOSE:
                score = sums.score_of_one(row)
            key = (_MIDDLE - score) << _ROW_BITS | row
            if key != before:
                key_of[row] = key
                del front[place]
                if key < bound:
                    insort(front, -key)
                else:
                    place -= 1
        return found

    def feasible(self, row: int) -> bool:
        """Tell whether a node passes the filters."""
        return self._key_of[row] < _REFUSED_KEY

    def score(self, row: int) -> int:
        """Return the score of a node that passes the filters."""
        return _MIDDLE - (self._key_of[row] >> _ROW_BITS)

    @property
    def refusals(self) -> list[tuple[str, int]]:
        """How many nodes each filter refused, those that refused any."""
        if not any(self._refused):
            return []
        return [
            (name, count) for name, count in zip(self._filters, self._refused, strict=True) if count
        ]

    def take(self, rows: Sequence[int]) -> None:
        """Take what a replica asks for on each of these nodes, which differ; then `refresh`."""
        self._room.take(rows, self._asked)
        if not self._ahead:
            return
        self._seen_up_to_here()
        unknown = [row for row in rows if not self._next.get(row)]
        if unknown:
            self._foresee(unknown, _DEPTH)
        for row in rows:
            self._move(row, self._next[row].pop())


def _mark_refused(ranks: Integers, filters: Filters) -> None:
    """Give refused nodes the rank of the first filter that refused them."""
    masks = filters.masks
    # Mostly the last ones, by amount, let all pass.
    last = len(masks) - DIMENSIONS if filters.fits.all() else len(masks)
    for number in range(last - 1, -1, -1):
        mask = masks[number]
        if not mask.all():
            ranks[~mask] = _REFUSED + number
