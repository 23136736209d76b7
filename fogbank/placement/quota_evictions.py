"""Room in a full quota where less important replicas that share it give way, wherever they are.

All that may be evicted is thought away; if the ask then keeps to its quotas, they are given back
one at a time, the most important first, as long as it keeps to them. Who has to leave a node for
it anyway frees quota as well, and so is counted first.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from operator import add
from typing import TYPE_CHECKING

import numpy as np

from fogbank.domain.deployment import DeploymentSpec
from fogbank.domain.fleet import FleetState
from fogbank.domain.tenancy import Use, use_of
from fogbank.placement.arrays import Integers
from fogbank.placement.quotas import REPLICAS, Limit, limits_of, used_of
from fogbank.placement.room import Room

if TYPE_CHECKING:
    from fogbank.placement.victims import Evictions, VictimTable


@dataclass(slots=True)
class FreedQuota:
    """Quota that a round in the making frees, by cluster, and that nobody took.

    Ordinary looks don't see it, since room only shrinks while a round is decided. What was
    `evicted` may be taken by those who could have evicted the same: the `highest` priority tells.
    What was `released` is anybody's, from the next round on.
    """

    evicted: dict[int, Use] = field(default_factory=dict)
    highest: dict[int, int] = field(default_factory=dict)
    released: dict[int, Use] = field(default_factory=dict)

    def evict(self, cluster_id: int, priority: int, takes: Use) -> None:
        """Take in that a replica is evicted."""
        self.evicted[cluster_id] = _sum(self.evicted.get(cluster_id), takes)
        self.highest[cluster_id] = max(priority, self.highest.get(cluster_id, priority))

    def release(self, cluster_id: int, takes: Use) -> None:
        """Take in that a replica is released."""
        self.released[cluster_id] = _sum(self.released.get(cluster_id), takes)

    def take(self, cluster_id: int, need: Use) -> Use:
        """Take what was evicted in a cluster, as far as there is some; return what is missing."""
        freed = self.evicted.get(cluster_id)
        if freed is None:
            return need
        self.evicted[cluster_id] = Use(*(max(f - n, 0) for f, n in zip(freed, need, strict=True)))
        return Use(*(max(n - f, 0) for f, n in zip(freed, need, strict=True)))


def _sum(before: Use | None, more: Use) -> Use:
    return more if before is None else Use(*map(add, before, more))


@dataclass(slots=True)
class QuotaAsk:
    """One deployment's search for quota by evicting others.

    `over` is for each limit in `columns` by how much the ask goes beyond it; less than nothing
    where it doesn't. Evicted may be who has a priority of at most `priority`, in `cluster_id`, or
    (0) in any cluster.
    """

    room: Room
    evictions: Evictions
    own_cluster: int
    need: Use
    priority: int
    cluster_id: int
    columns: list[tuple[Limit, int]]
    over: Integers

    @classmethod
    def of(
        cls,
        fleet: FleetState,
        room: Room,
        evictions: Evictions,
        spec: DeploymentSpec,
        *,
        count: int,
        priority: int,
        cluster_id: int,
    ) -> QuotaAsk:
        """Begin a search for `count` replicas."""
        need = use_of(spec.resources, count)
        columns, over = [], []
        for limit in limits_of(fleet, spec.cluster_id):
            used = used_of(fleet, room, limit)
            for dimension, most in enumerate(limit.most):
                if most is not None and need[dimension]:
                    columns.append((limit, dimension))
                    over.append(used[dimension] + need[dimension] - most)
        short = np.array(over, dtype=np.int64)
        return cls(room, evictions, spec.cluster_id, need, priority, cluster_id, columns, short)

    @property
    def _table(self) -> VictimTable:
        return self.evictions.table

    @property
    def pending(self) -> bool:
        """Tell whether this round itself frees quota of those that limit the ask."""
        freed = self.evictions.quota
        return bool((self._credit(freed.evicted) + self._credit(freed.released)).any())

    def leftover(self) -> bool:
        """Tell whether it is enough what this round frees, for the next: nobody has it yet."""
        if self._keeps(np.zeros_like(self.over)) or self._keeps(self._mine()):
            return False
        freed = self.evictions.quota
        return self._keeps(self._credit(freed.evicted) + self._credit(freed.released))

    def later(self, entries: Integers) -> bool:
        """Tell whether it would be enough if entries, and what this round placed, were away."""
        freed = self.evictions.quota
        total = self._credit(freed.evicted) + self._credit(freed.released)
        total += self._freed_by(entries).sum(axis=1)
        for fresh in self.evictions.fresh:
            mine = self.cluster_id in {0, fresh.cluster_id}
            if mine and fresh.priority <= self.priority:
                takes = Use._make([*fresh.takes[:, 0].tolist(), 1])
                total += self._credit({fresh.cluster_id: takes})
        return self._keeps(total)

    def victims(
        self, everybody: Callable[[], Integers], leaving: Iterable[int]
    ) -> list[int] | None:
        """Return who must leave so that the ask keeps to its quotas; None if that is not enough.

        `leaving` are evicted anyway, `everybody` gives who may be, in the table's order.
        """
        if self._keeps(np.zeros_like(self.over)):
            return []
        gone = np.array(sorted(leaving), dtype=np.int64)
        over = self.over - self._freed_by(gone).sum(axis=1)
        candidates = everybody()
        candidates = candidates[~np.isin(candidates, gone)]
        freed = self._freed_by(candidates)
        if (over - self._mine() > freed.sum(axis=1)).any():
            return None
        # Room that others left over is credited here: nobody more is to leave than must.
        spare = freed.sum(axis=1) - over + self._credit(self.evictions.quota.evicted)
        return self._kept_away(candidates, freed, spare)

    def met(self, leaving: Iterable[int]) -> bool:
        """Tell whether the ask keeps to its quotas if those leave and nobody else."""
        freed = self._freed_by(np.array([*leaving], dtype=np.int64)).sum(axis=1)
        return self._keeps(freed + self._credit(self.evictions.quota.evicted))

    def _kept_away(self, entries: Integers, freed: Integers, spare: Integers) -> list[int]:
        """Give replicas back, the most important first, while they are within what is to spare."""
        table = self._table
        order = np.lexsort((table.since[entries], -table.priority[entries]))
        entries, freed = entries[order], freed[:, order]
        fits = (np.cumsum(freed, axis=1) <= spare[:, None]).all(axis=0)
        back = entries.size if fits.all() else int(np.argmin(fits))
        left = (spare - freed[:, :back].sum(axis=1)).tolist()
        victims = []
        for entry, takes in zip(entries[back:].tolist(), freed[:, back:].T.tolist(), strict=True):
            after = [had - took for had, took in zip(left, takes, strict=True)]
            if min(after) >= 0:
                left = after
            else:
                victims.append(entry)
        return victims

    def take(self) -> None:
        """Take the quota for what is placed, evictions first."""
        missing = self.evictions.quota.take(self.own_cluster, self.need)
        self.room.take_quota(self.own_cluster, missing)

    def _keeps(self, freed: Integers) -> bool:
        return bool((self.over <= freed).all())

    def _mine(self) -> Integers:
        """Return what was evicted in this round and whoever asks could have evicted."""
        freed = self.evictions.quota
        return self._credit(
            {
                cluster_id: takes
                for cluster_id, takes in freed.evicted.items()
                if self.cluster_id in {0, cluster_id} and freed.highest[cluster_id] <= self.priority
            }
        )

    def _credit(self, freed: Mapping[int, Use]) -> Integers:
        """Return what amounts by cluster come to for each limit."""
        return np.array(
            [
                sum(takes[dimension] for known, takes in freed.items() if known in limit.clusters)
                for limit, dimension in self.columns
            ],
            dtype=np.int64,
        )

    def _freed_by(self, entries: Integers) -> Integers:
        """Return what each entry takes of each limit, by limit and entry."""
        table = self._table
        freed = np.zeros((len(self.columns), entries.size), dtype=np.int64)
        for place, (limit, dimension) in enumerate(self.columns):
            shares = np.isin(table.cluster[entries], np.array(limit.clusters, dtype=np.int64))
            takes = 1 if dimension == REPLICAS else table.takes[dimension, entries]
            freed[place] = shares * takes
        return freed
