"""What replicas take of their clusters' quotas: sums kept by whole amounts as replicas come and go.

A replica counts from its placement on, until it ended, was released, or was given up with its lost
node: then its successor counts. One that runs on until its successor does counts as well.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from fogbank.domain.decisions import Desired, PlacedReplica
from fogbank.domain.tenancy import Use

# What is wanted of replicas that count.
COUNTING = frozenset({Desired.LIVE, Desired.LEAVING})
_NOTHING = Use()


@dataclass(slots=True)
class QuotaUse:
    """The replicas that count, and what they take in all, by cluster."""

    # Those that were put and do not count: mostly there is none.
    _aside: set[str] = field(default_factory=set)
    _sums: dict[int, list[int]] = field(default_factory=dict)
    # Since somebody asked, if ever.
    _nodes: set[str] | None = field(default=None, compare=False)
    _clusters: set[int] = field(default_factory=set, compare=False)

    def place(self, placed: PlacedReplica, times: int, cluster_id: int) -> None:
        """Count so many new replicas that take as much as one of them, and are to run."""
        self._add(placed, cluster_id, times)

    def changed_on(self, node_ids: Iterable[str]) -> None:
        """Note that more or less may be taken of nodes than before."""
        if self._nodes is not None:
            self._nodes.update(node_ids)

    def put(self, placed: PlacedReplica, cluster_id: int, *, new: bool) -> bool:
        """Count a replica as it is now; tell whether it counts no more, and did before.

        One that is `new` was not put before, or was removed since.
        """
        counts = placed.desired in COUNTING
        counted = not (new or placed.id in self._aside)
        if counts != counted:
            self._add(placed, cluster_id, 1 if counts else -1)
        if not counts:
            self._aside.add(placed.id)
        elif self._aside:
            self._aside.discard(placed.id)
        return counted and not counts

    def remove(self, placed: PlacedReplica, cluster_id: int) -> None:
        """Count a replica no more that was put."""
        if placed.id in self._aside:
            self._aside.remove(placed.id)
        else:
            self._add(placed, cluster_id, -1)

    def take_changed(self) -> tuple[set[str], set[int]]:
        """Return the nodes and the clusters of which more or less may be taken than before.

        That is since this was asked last; it is for one who asks, at first to begin with.
        """
        changed = self._nodes or set(), self._clusters
        self._nodes, self._clusters = set(), set()
        return changed

    def of_cluster(self, cluster_id: int) -> Use:
        """Return what the replicas of a cluster take."""
        sums = self._sums.get(cluster_id)
        return _NOTHING if sums is None else Use(*sums)

    def _add(self, placed: PlacedReplica, cluster_id: int, times: int) -> None:
        sums = self._sums.get(cluster_id)
        if sums is None:
            sums = self._sums[cluster_id] = [0, 0, 0, 0, 0]
        self._clusters.add(cluster_id)
        takes = placed.resources
        sums[0] += times * takes.cpu_millicores
        sums[1] += times * takes.memory_mib
        sums[2] += times * takes.storage_gib
        sums[3] += times * takes.gpu_thousandths
        sums[4] += times
