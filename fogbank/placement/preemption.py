"""Preemption: room for an important deployment where less important ones give way.

On each node all replicas that may be evicted are taken away; where the ask then fits they are
given back one at a time, the most important first, as long as it keeps fitting. What can't go back
is the node's price. The cheapest nodes are chosen.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from itertools import chain
from operator import add, le

import numpy as np

from fogbank.domain import events as ev
from fogbank.domain.facts import DeploymentFact
from fogbank.domain.fleet import FleetState
from fogbank.domain.rollouts import wanted_revision
from fogbank.placement.arrays import DIMENSIONS, GPU, FleetArrays, Integers, Mask, amounts
from fogbank.placement.devices import amounts_on_devices, copies_fit, devices_fit
from fogbank.placement.elsewhere import Elsewhere
from fogbank.placement.filters import feasible_nodes
from fogbank.placement.placements import MOST_NAMES, names_told, occupied_rows, placements_on
from fogbank.placement.prices import NO_PRICE, Prices, foremost, prices_of
from fogbank.placement.quota_evictions import QuotaAsk
from fogbank.placement.room import Room, Shortage
from fogbank.placement.strategies import best_rows, score
from fogbank.placement.victims import NOT_YET_US, Evictions, VictimTable
from fogbank.placement.work import Work

# Among nodes of one price so many are asked whether their victims fit elsewhere.
_ASKED_ELSEWHERE = 16


def preempt(
    fleet: FleetState,
    work: Work,
    deployment: DeploymentFact,
    slots: tuple[int, ...],
    shortage: Shortage,
) -> ev.DeploymentPlaced | Shortage | None:
    """Place slots that found no room, evicting what must give way; None if that doesn't help."""
    spec = deployment.spec
    limit = fleet.facts.policy.gives_way_to(spec.priority)
    if limit is None or shortage.impossible or shortage.no_nodes:
        return None
    evictions = work.evictions
    if evictions is None:
        evictions = Evictions.begin(work.victims, fleet, work.room, work.moved)
        work.evictions = evictions
    evictions.see(fleet, work.room, work.outcomes)
    ask = _Ask(fleet, work.room, evictions, deployment, len(slots), limit)
    # Room that others left over, anybody's from the next round on, is better than evicting more.
    found = None if ask.leftover() else ask.place(slots)
    if found is None:
        if ask.too_many:
            reason = f"{shortage.reason}; too many replicas would have to give way at once"
            return replace(shortage, reason=reason)
        # What this round placed or moved can be evicted from the next round on.
        return replace(shortage, unsettled=True) if ask.later(len(slots)) else None
    placements, victims = found
    for victim in victims:
        work.moved.add(victim.deployment_id)
    ask.quota.take()
    return ev.DeploymentPlaced(
        deployment.id,
        deployment.version,
        spec.resources,
        placements,
        shortage.considered,
        wanted_revision(fleet, deployment),
        victims,
    )


@dataclass(slots=True)
class _Ask:
    """One deployment's search for room by evicting others."""

    fleet: FleetState
    room: Room
    evictions: Evictions
    deployment: DeploymentFact
    count: int
    limit: int
    quota: QuotaAsk = field(init=False)
    cluster_id: int = 0
    too_many: bool = False
    takes: Integers = field(default_factory=lambda: np.zeros((DIMENSIONS, 1), dtype=np.int64))

    def __post_init__(self) -> None:
        """Reckon who may be evicted for it."""
        policy, spec = self.fleet.facts.policy, self.deployment.spec
        self.cluster_id = 0 if policy.preemption_across_clusters else spec.cluster_id
        self.takes = amounts(spec.resources)
        self.quota = QuotaAsk.of(
            self.fleet,
            self.room,
            self.evictions,
            spec,
            count=self.count,
            priority=self.limit,
            cluster_id=self.cluster_id,
        )

    @property
    def _arrays(self) -> FleetArrays:
        return self.room.arrays

    @property
    def _gpu(self) -> int:
        return self.deployment.spec.resources.gpu_thousandths

    @property
    def _table(self) -> VictimTable:
        return self.evictions.table

    def _occupied(self, slots: tuple[int, ...] = ()) -> list[int]:
        """Return the nodes that have a replica of the deployment, by the log or by this round."""
        occupied = occupied_rows(self.fleet, self._arrays, self.deployment.id, slots)
        return occupied + self.room.successors.get(self.deployment.id, [])

    def place(
        self, slots: tuple[int, ...]
    ) -> tuple[tuple[ev.Placement, ...], tuple[ev.Eviction, ...]] | None:
        """Take room for all slots, evicting what must be; None, with nothing taken, if it fails."""
        spec = self.deployment.spec
        scores = score(self._arrays, self.room.booked, self.takes, spec, self.fleet.facts.policy)
        prices = self._prices().copy()
        prices.price[self._crowded(1)] = NO_PRICE
        if spec.allow_colocation:
            rows = self._stack(len(slots), scores, prices)
        else:
            prices.price[self._occupied(slots)] = NO_PRICE
            rows = self._choose(len(slots), scores, prices)
        if len(rows) < len(slots):
            return None
        copies = Counter(rows)
        leaving = {
            row: prices.victims_on(row) if copies[row] == 1 else self._victims_on(row, copies[row])
            for row in copies
        }
        others = self.quota.victims(self._everybody, chain.from_iterable(leaving.values()))
        if others is None:
            return None
        self._spare(leaving, others, copies)
        for entry in others:
            leaving.setdefault(int(self._table.row[entry]), []).append(entry)
        self.too_many = names_told(self.fleet, self.room, leaving, copies) > MOST_NAMES
        if self.too_many:
            return None
        victims: dict[str, list[str]] = {}
        for row, entries in leaving.items():
            self.evictions.evict(self.room, row, entries, self.takes * copies[row])
            for entry in entries:
                placed = self._table.replica(entry)
                victims.setdefault(placed.deployment_id, []).append(placed.id)
        for row in rows:
            self.room.take([row], self.takes[:, 0].tolist())
        chosen = list(zip(rows, scores[rows].tolist(), strict=True))
        with self.evictions.lending_devices(self._arrays, list(copies) if self._gpu else ()):
            placements = placements_on(self.fleet, self.room, self.deployment, slots, chosen)
        return placements, tuple(ev.Eviction(known, tuple(ids)) for known, ids in victims.items())

    def _spare(
        self, leaving: dict[int, list[int]], others: list[int], copies: Mapping[int, int]
    ) -> None:
        """Let stay who need not leave a node, since others leave it anyway for a full quota."""
        for row, entries in leaving.items():
            also = [entry for entry in others if self._table.row[entry] == row]
            if not also:
                continue
            for entry in tuple(entries):
                entries.remove(entry)
                everybody = [*chain.from_iterable(leaving.values()), *others]
                away = np.array(entries + also, dtype=np.int64)
                if not (self._fits_without(away, row, copies[row]) and self.quota.met(everybody)):
                    entries.append(entry)

    def leftover(self) -> bool:
        """Tell whether what is closed to it until the next round has room for it."""
        if self.quota.leftover():
            return True
        closed = self._closed()
        if not closed.any():
            return False
        nothing, arrays = np.zeros_like(self.room.booked), self._with_devices_of(None)
        return self._places(nothing, 1, closed, arrays) > 0

    def later(self, count: int) -> bool:
        """Tell whether there would be room if all were settled that this round has decided."""
        undecided = self.evictions.fresh or self.evictions.barred.any() or self._closed().any()
        if not (undecided or self.quota.pending):
            return False
        entries = self._entries(None, self.evictions.gone)
        if not self.quota.later(entries):
            return False
        away, arrays = self._away(entries), self._with_devices_of(entries)
        for fresh in self.evictions.fresh:
            mine = self.cluster_id in {0, fresh.cluster_id}
            if mine and fresh.priority <= self.limit:
                away[:, fresh.row] += fresh.takes[:, 0]
                if self._gpu and fresh.devices:
                    had = [(fresh.devices, int(fresh.takes[GPU, 0]))]
                    freed = amounts_on_devices(had, arrays.gpu_free.shape[0])
                    arrays.gpu_free[:, fresh.row] += freed[:, 0]
        everywhere = np.ones(self._arrays.size, dtype=np.bool_)
        return self._places(away, count, everywhere, arrays) >= count

    def _closed(self) -> Mask:
        """Tell where others made room by evicting whom this ask may not evict.

        What is left of that room is anybody's from the next round on. Until then the node is
        closed to it: else room would have grown while a round is decided.
        """
        evictions = self.evictions
        foreign = evictions.highest > self.limit
        if self.cluster_id:
            foreign |= (evictions.cluster != 0) & (evictions.cluster != self.cluster_id)
        return foreign & (evictions.freed > 0).any(axis=0)

    def _with_devices_of(self, entries: Integers | None) -> FleetArrays:
        """Return the columns as if what was freed, and entries, had no GPU devices."""
        if not self._gpu:
            return self._arrays
        free = self._arrays.gpu_free + self.evictions.devices
        if entries is not None:
            freed = self._devices_of(entries)
            for device in range(free.shape[0]):
                np.add.at(free[device], self._table.row[entries], freed[device])
        return self._arrays.with_devices(free)

    def _devices_of(self, entries: Integers) -> Integers:
        """Return what evicting replicas frees of GPU devices; nothing for an ask without GPUs."""
        if not self._gpu:
            return np.zeros((self.evictions.devices.shape[0], entries.size), dtype=np.int64)
        return self.evictions.devices_of(self._arrays, entries)

    def _places(self, away: Integers, count: int, where: Mask, arrays: FleetArrays) -> int:
        spec = self.deployment.spec
        left = self._promised() - away
        occupied = self._occupied()
        feasible = feasible_nodes(arrays, left, spec, self.takes, occupied).feasible & where
        if not spec.allow_colocation:
            return int(np.count_nonzero(feasible))
        free = (self._arrays.allocatable - left)[:, feasible]
        copies = np.full(free.shape[1], count, dtype=np.int64)
        for dimension in range(DIMENSIONS):
            each = int(self.takes[dimension, 0])
            if each:
                copies = np.minimum(copies, free[dimension] // each)
        if self._gpu:
            copies = np.minimum(copies, copies_fit(arrays.gpu_free[:, feasible], self._gpu))
        return int(copies.sum())

    def _promised(self) -> Integers:
        return self.room.booked - self.evictions.freed

    def _entries(self, rows: Integers | None, without: Mask) -> Integers:
        """Return who may be evicted, on all nodes or on some, in the table's order."""
        table = self._table
        if rows is None:
            entries = table.order
        else:
            on_nodes = [table.on_node(self._arrays.ids[int(row)]) for row in rows]
            entries = np.array([known for found in on_nodes for known in found], dtype=np.int64)
        keep = (table.priority[entries] <= self.limit) & ~without[entries]
        if self.cluster_id:
            keep &= table.cluster[entries] == self.cluster_id
        return entries[keep]

    def _away(self, entries: Integers) -> Integers:
        away = np.zeros_like(self.room.booked)
        rows = self._table.row[entries]
        for dimension in range(DIMENSIONS):
            np.add.at(away[dimension], rows, self._table.takes[dimension, entries])
        return away

    def _stack(self, count: int, scores: Integers, prices: Prices) -> list[int]:
        """Choose nodes one replica at a time, several on a node where that is cheapest."""
        rows: list[int] = []
        copies: Counter[int] = Counter()
        while len(rows) < count:
            chosen = self._choose(1, scores, prices)
            if not chosen:
                break
            rows += chosen
            copies.update(chosen)
            row = chosen[0]
            prices.price[row], prices.since[row] = self._price_on(row, copies[row] + 1)
        return rows

    def _choose(self, count: int, scores: Integers, prices: Prices) -> list[int]:
        """Return up to `count` nodes, the cheapest first; the free ones by their scores."""
        price = prices.price
        chosen = best_rows(scores, price == 0, count)
        wanted = count - len(chosen)
        rows = np.flatnonzero((price > 0) & (price < NO_PRICE))
        if not wanted or not rows.size:
            return chosen
        keys = (price, -prices.since, self._table.node_ranks)
        rows = foremost(rows, keys, wanted + max(_ASKED_ELSEWHERE, 2 * wanted))
        if rows.size > wanted:
            rows = rows[price[rows] <= price[rows[wanted - 1]]]
        return chosen + self._movable_first(rows, prices, wanted)

    def _movable_first(self, rows: Integers, prices: Prices, wanted: int) -> list[int]:
        """Return the first `wanted`; of those at the last one's price, who can move goes first."""
        if rows.size <= wanted:
            return [int(row) for row in rows]
        price = prices.price[rows]
        sure = [int(row) for row in rows[price < price[wanted - 1]]]
        short = wanted - len(sure)
        tied = rows[price == price[wanted - 1]][: max(_ASKED_ELSEWHERE, 2 * short)]
        elsewhere = Elsewhere(self.fleet, self.room)
        stuck = [
            sum(not elsewhere.fits(entry, self._table) for entry in prices.victims_on(int(row)))
            for row in tied
        ]
        order = np.argsort(np.array(stuck, dtype=np.int64), kind="stable")
        return sure + [int(row) for row in tied[order][:short]]

    def _victims_on(self, row: int, copies: int = 1) -> list[int]:
        """Return who must leave a node so that replicas fit there."""
        entries = self._on_row(row)
        takes = self._table.takes[:, entries]
        booked = self.room.booked[:, row] - self.evictions.freed[:, row] - takes.sum(axis=1)
        room = (self._arrays.allocatable[:, row] - self.takes[:, 0] * copies).tolist()
        # Of so few numbers plain ones are added and compared in a fifth of the time.
        left, frees = booked.tolist(), takes.T.tolist()
        devices = self._devices_of(entries)
        free = self._with_devices_of(entries).gpu_free[:, [row]]
        victims = []
        for place, entry in enumerate(entries.tolist()):
            after, free_then = [*map(add, left, frees[place])], free - devices[:, [place]]
            if all(map(le, after, room)) and self._copies_fit(free_then, copies):
                left, free = after, free_then
            else:
                victims.append(entry)
        return victims

    def _copies_fit(self, free: Integers, copies: int) -> bool:
        """Tell whether several replicas fit on the devices of one node."""
        if not self._gpu:
            return True
        return bool((copies_fit(free, self._gpu) >= copies).all())

    def _everybody(self, rows: Integers | None = None) -> Integers:
        return self._entries(rows, self.evictions.gone | self.evictions.barred)

    def _on_row(self, row: int) -> Integers:
        return self._everybody(np.array([row], dtype=np.int64))

    def _fits_without(self, away: Integers, row: int, copies: int) -> bool:
        """Tell whether so many replicas fit on a node if some that are there were away."""
        freed = self._table.takes[:, away].sum(axis=1)
        left = self._promised()[:, row] - freed + self.takes[:, 0] * copies
        free = self._with_devices_of(away).gpu_free[:, [row]]
        return bool((left <= self._arrays.allocatable[:, row]).all()) and self._copies_fit(
            free, copies
        )

    def _crowded(self, copies: int) -> list[int]:
        return self.room.crowded(self.takes * copies, MOST_NAMES // self.count)

    def _price_on(self, row: int, copies: int) -> tuple[int, int]:
        """Return what several replicas on one node cost, and since when the oldest victim runs."""
        if row in self._crowded(copies) or not self._fits_without(self._on_row(row), row, copies):
            return NO_PRICE, NOT_YET_US
        victims = self._victims_on(row, copies)
        where = np.zeros(len(victims), dtype=np.int64)
        price, since = prices_of(self._table, where, np.array(victims, dtype=np.int64), 1)
        return int(price[0]), int(since[0])

    def _prices(self) -> Prices:
        """Return what each node costs; only nodes whose room changed are reckoned anew."""
        spec = self.deployment.spec
        key = (
            self.cluster_id,
            self.limit,
            spec.resources,
            spec.constraints,
            spec.gpu_model,
        )
        now = np.vstack((self._promised(), self.evictions.withdrawn))
        prices = self.evictions.prices.get(key)
        if prices is None:
            prices = Prices.begin(now, self._arrays.size)
            self.evictions.prices[key] = prices
            self._reckon(prices, None)
        else:
            changed = np.flatnonzero((prices.reckoned_with != now).any(axis=0))
            prices.reckoned_with = now
            if changed.size:
                self._reckon(prices, changed)
        return prices

    def _reckon(self, prices: Prices, rows: Integers | None) -> None:
        """Reckon the prices of all nodes, or of some."""
        table = self._table
        entries = self._everybody(rows)
        left = self._promised() - self._away(entries)
        spec, arrays = self.deployment.spec, self._with_devices_of(entries)
        feasible = feasible_nodes(arrays, left, spec, self.takes, []).feasible & ~self._closed()
        entries = entries[feasible[table.row[entries]]]
        victims = entries[self._kept_away(entries, left, arrays.gpu_free.copy())]
        where = table.row[victims]
        price, since = prices_of(table, where, victims, arrays.size)
        price[~feasible] = NO_PRICE
        if rows is None:
            prices.price, prices.since = price, since
            prices.note_victims(victims, where)
        else:
            prices.note_victims_on(rows.tolist(), victims, where)
            prices.price[rows], prices.since[rows] = price[rows], since[rows]

    def _kept_away(self, entries: Integers, left: Integers, free: Integers) -> Mask:
        """Give replicas back, on all nodes at once the first, then the second, and so on.

        `left` is what is booked without any of them, `free` what then is of GPU devices. Return
        which can't go back.
        """
        table, devices = self._table, self._devices_of(entries)
        room = self._arrays.allocatable - self.takes
        rows, takes = table.row[entries], table.takes[:, entries]
        first = np.ones(entries.size, dtype=np.bool_)
        first[1:] = rows[1:] != rows[:-1]
        starts = np.flatnonzero(first)
        turn = np.arange(entries.size) - starts[np.cumsum(first) - 1] if entries.size else rows
        by_turn = np.argsort(turn, kind="stable")
        ends = np.cumsum(np.bincount(turn)) if entries.size else rows
        away = np.zeros(entries.size, dtype=np.bool_)
        begin = 0
        for end in ends:
            chosen = by_turn[begin:end]
            at = rows[chosen]
            after = left[:, at] + takes[:, chosen]
            free_then = free[:, at] - devices[:, chosen]
            fits = (after <= room[:, at]).all(axis=0)
            if self._gpu:
                fits &= devices_fit(free_then, self._gpu)
            left[:, at[fits]], free[:, at[fits]] = after[:, fits], free_then[:, fits]
            away[chosen[~fits]] = True
            begin = int(end)
        return away
