"""Replicas that may give way to more important ones, as columns: one entry for each.

The table is kept from round to round. Nodes that changed are read anew when somebody asks; while
nobody preempts, that costs nothing.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from fogbank.domain import events as ev
from fogbank.domain.decisions import Desired, PlacedReplica
from fogbank.domain.fleet import FleetState
from fogbank.domain.quota_use import COUNTING
from fogbank.domain.states import ReplicaState
from fogbank.domain.tenancy import Use, use_of
from fogbank.placement.arrays import GPU, FleetArrays, Integers, Mask, amounts
from fogbank.placement.devices import amounts_on_devices
from fogbank.placement.quota_evictions import FreedQuota
from fogbank.placement.room import Room

if TYPE_CHECKING:
    from fogbank.placement.prices import Prices

_FIRST_ENTRIES = 64
_PLACE, _ROW, _PRIORITY, _CLUSTER, _DEPLOYMENT, _SINCE, _TAKES = range(7)
_COLUMNS = _TAKES + 4
# A place in the order of all entries: the node's row, then the rank on the node.
_RANK_BITS = 24
# A priority that nobody has.
_ABOVE_ALL = 1 << 30
# Since when something runs that does not run yet: the youngest there can be.
NOT_YET_US = (1 << 62) - 1


def running_since_us(fleet: FleetState, placed: PlacedReplica) -> int:
    """Return when a replica that runs was placed, in microseconds; far in the future for others.

    By the log's time: when its container started is what the host's clock says.
    """
    observed = fleet.observed(placed)
    if observed is None or observed.state is not ReplicaState.RUNNING:
        return NOT_YET_US
    return placed.placed_at_us


class VictimTable:
    """Every replica that runs or is to run, by node, the most important of a node first.

    Columns are indexed by entry; `order` lists the entries in use by row and rank. `node_ranks`
    are the nodes' places in the order of their ids. Which number an entry has depends on what
    happened before and must not show in what is decided.
    """

    def __init__(self) -> None:
        """Begin with an empty table."""
        self._data = np.zeros((_COLUMNS, _FIRST_ENTRIES), dtype=np.int64)
        self._replicas: list[PlacedReplica | None] = [None] * _FIRST_ENTRIES
        self._free: list[int] = list(range(_FIRST_ENTRIES - 1, -1, -1))
        self._on_node: dict[str, list[int]] = {}
        self._of: dict[str, dict[int, None]] = {}
        # How far what the arrays say of changes was read.
        self._arrays_read = -1
        self.order: Integers = np.zeros(0, dtype=np.int64)
        self.node_ranks: Integers = np.zeros(0, dtype=np.int64)

    @property
    def size(self) -> int:
        """How many entries there is place for."""
        return self._data.shape[1]

    @property
    def row(self) -> Integers:
        """Rows of the nodes."""
        column: Integers = self._data[_ROW]
        return column

    @property
    def priority(self) -> Integers:
        """Priorities of the deployments."""
        column: Integers = self._data[_PRIORITY]
        return column

    @property
    def cluster(self) -> Integers:
        """Clusters of the deployments."""
        column: Integers = self._data[_CLUSTER]
        return column

    @property
    def deployment(self) -> Integers:
        """A number for each deployment."""
        column: Integers = self._data[_DEPLOYMENT]
        return column

    @property
    def since(self) -> Integers:
        """Since when they run, in microseconds."""
        column: Integers = self._data[_SINCE]
        return column

    @property
    def takes(self) -> Integers:
        """What they take, by dimension."""
        return self._data[_TAKES:]

    def replica(self, entry: int) -> PlacedReplica:
        """Return the replica of an entry in use."""
        placed = self._replicas[entry]
        if placed is None:
            message = f"entry {entry} is not in use"
            raise LookupError(message)
        return placed

    def of_deployment(self, deployment_id: str) -> list[int]:
        """Return the entries of a deployment's replicas."""
        return [*self._of.get(deployment_id, ())]

    def on_node(self, node_id: str) -> Sequence[int]:
        """Return the entries on a node, the most important first."""
        return self._on_node.get(node_id, ())

    def refresh(self, fleet: FleetState, arrays: FleetArrays) -> None:
        """Read the nodes that changed since this was done last."""
        if self.node_ranks.size != arrays.size:
            by_id = sorted(range(arrays.size), key=arrays.ids.__getitem__)
            self.node_ranks = np.empty(arrays.size, dtype=np.int64)
            self.node_ranks[by_id] = np.arange(arrays.size, dtype=np.int64)
        changed = arrays.changes.since(self._arrays_read)
        self._arrays_read = arrays.changes.end
        if changed is None:
            changed = [*range(arrays.size)]
        if not changed:
            return
        entries: list[int] = []
        values: list[tuple[int, ...]] = []
        for row in dict.fromkeys(changed):
            self._read(fleet, arrays.ids[row], row, entries, values)
        if entries:
            self._data[:, entries] = np.array(values, dtype=np.int64).T
        used = np.array(
            [entry for on_node in self._on_node.values() for entry in on_node], dtype=np.int64
        )
        self.order = used[np.argsort(self._data[_PLACE, used], kind="stable")]

    def _read(
        self,
        fleet: FleetState,
        node_id: str,
        row: int,
        entries: list[int],
        values: list[tuple[int, ...]],
    ) -> None:
        for entry in self._on_node.pop(node_id, ()):
            self._forget(entry)
        found = []
        for placed in fleet.on_node(node_id):
            deployment = fleet.facts.deployments.get(placed.deployment_id)
            if placed.desired is Desired.LIVE and deployment is not None:
                key = (
                    -deployment.spec.priority,
                    running_since_us(fleet, placed),
                    placed.placed_sequence,
                    placed.id,
                )
                found.append((key, placed, deployment))
        found.sort(key=lambda known: known[0])
        on_node = self._on_node[node_id] = []
        for rank, (key, placed, deployment) in enumerate(found):
            entry = self._new()
            self._replicas[entry] = placed
            self._of.setdefault(placed.deployment_id, {})[entry] = None
            on_node.append(entry)
            entries.append(entry)
            takes = placed.resources
            values.append(
                (
                    row << _RANK_BITS | rank,
                    row,
                    deployment.spec.priority,
                    deployment.cluster_of(placed.revision),
                    deployment.created_position,
                    key[1],
                    takes.cpu_millicores,
                    takes.memory_mib,
                    takes.storage_gib,
                    takes.gpu_thousandths,
                )
            )

    def _new(self) -> int:
        if not self._free:
            size = self.size
            self._data = np.concatenate((self._data, np.zeros_like(self._data)), axis=1)
            self._replicas += [None] * size
            self._free = list(range(2 * size - 1, size - 1, -1))
        return self._free.pop()

    def _forget(self, entry: int) -> None:
        entries = self._of[self.replica(entry).deployment_id]
        del entries[entry]
        if not entries:
            del self._of[self.replica(entry).deployment_id]
        self._replicas[entry] = None
        self._free.append(entry)


@dataclass(slots=True)
class Fresh:
    """Replicas that the round in the making has placed: no victims before the next round."""

    priority: int
    cluster_id: int
    row: int
    takes: Integers
    devices: tuple[int, ...] = ()


@dataclass(slots=True)
class Evictions:
    """What a round in the making evicts, and what nobody may count on a second time.

    `freed` is room that the round has freed and that nobody took, `devices` the same of each GPU
    device: ordinary looks don't see it, since room only shrinks while a round is decided; who
    preempts takes it before evicting more.
    `barred` are entries that can't be evicted in this round, `gone` those that are evicted. By row:
    how many were `withdrawn` from the table by either; and of those whose room is left over, the
    `highest` priority and the `cluster` (-1 for several). `quota` is of quotas what `freed` is of
    room.
    """

    table: VictimTable
    freed: Integers
    devices: Integers
    barred: Mask
    gone: Mask
    withdrawn: Integers
    highest: Integers
    cluster: Integers
    quota: FreedQuota = field(default_factory=FreedQuota)
    prices: dict[Hashable, Prices] = field(default_factory=dict)
    fresh: list[Fresh] = field(default_factory=list)
    outcomes_seen: int = 0

    @classmethod
    def begin(
        cls, table: VictimTable, fleet: FleetState, room: Room, moved: Iterable[str]
    ) -> Evictions:
        """Begin: nothing is evicted yet; what movers decided about, they may go on with."""
        table.refresh(fleet, room.arrays)
        barred = np.zeros(table.size, dtype=np.bool_)
        rows = np.zeros(room.arrays.size, dtype=np.int64)
        evictions = cls(
            table,
            np.zeros_like(room.booked),
            np.zeros_like(room.arrays.gpu_free),
            barred,
            np.zeros_like(barred),
            rows,
            rows - 1,
            rows.copy(),
        )
        for deployment_id in moved:
            evictions.bar(deployment_id)
        return evictions

    def bar(self, deployment_id: str) -> None:
        """Keep the replicas of a deployment, which a mover decided about, for this round."""
        entries = self.table.of_deployment(deployment_id)
        self.barred[entries] = True
        np.add.at(self.withdrawn, self.table.row[entries], 1)

    def see(self, fleet: FleetState, room: Room, outcomes: Sequence[ev.Outcome]) -> None:
        """Take in what the round has decided since it was asked last."""
        for outcome in outcomes[self.outcomes_seen :]:
            match outcome:
                case ev.ReplicasReleased():
                    self._released(fleet, room, outcome)
                case ev.DeploymentPlaced():
                    self._placed(fleet, room, outcome)
                case _:
                    pass
        self.outcomes_seen = len(outcomes)

    def _released(self, fleet: FleetState, room: Room, outcome: ev.ReplicasReleased) -> None:
        for replica_id in outcome.replica_ids:
            placed = fleet.decisions.placements[replica_id]
            if placed.desired in COUNTING and not fleet.ended(placed):
                self.quota.release(fleet.cluster_of(placed), use_of(placed.resources, 1))
            row = room.arrays.row(placed.node_id)
            if row is None or placed.desired is Desired.RELEASED or fleet.ended(placed):
                continue
            self.freed[:, row] += amounts(placed.resources)[:, 0]
            self._free_devices(room.arrays, row, [placed])
            # Who sleeps since a look in vain wakes when the release counts, and so nobody may have
            # that room before: in this round the node is closed to whoever preempts.
            self.highest[row] = _ABOVE_ALL

    def _placed(self, fleet: FleetState, room: Room, outcome: ev.DeploymentPlaced) -> None:
        deployment = fleet.facts.deployments[outcome.deployment_id]
        priority, cluster_id = deployment.spec.priority, deployment.cluster_of(outcome.revision)
        takes = amounts(outcome.resources)
        for placement in outcome.placements:
            row = room.arrays.row(placement.node_id)
            if row is not None:
                devices = placement.gpu_devices
                self.fresh.append(Fresh(priority, cluster_id, row, takes, devices))

    def evict(self, room: Room, row: int, entries: Sequence[int], ask: Integers) -> None:
        """Evict replicas from a node for an ask that takes room there next.

        It takes what was freed on the node first; who starts there starts after those that leave.
        """
        if not self.freed[:, row].any():  # nothing is left of what others had evicted
            self.highest[row], self.cluster[row] = -1, 0
        self.freed[:, row] += self.table.takes[:, entries].sum(axis=1)
        self.gone[entries] = True
        self.withdrawn[row] += len(entries)
        for entry in entries:
            self.highest[row] = max(self.highest[row], self.table.priority[entry])
            cluster = self.table.cluster[entry]
            self.cluster[row] = cluster if self.cluster[row] in {0, cluster} else -1
            takes = Use._make([*self.table.takes[:, entry].tolist(), 1])
            self.quota.evict(int(cluster), int(self.table.priority[entry]), takes)
        victims = [self.table.replica(entry) for entry in entries]
        self._free_devices(room.arrays, row, victims)
        leaving = room.leaving.setdefault(row, [])
        leaving += [placed.id for placed in victims]
        used = np.minimum(self.freed[:, row], ask[:, 0])
        self.freed[:, row] -= used
        room.free(row, used[:, None])

    def _free_devices(self, arrays: FleetArrays, row: int, replicas: list[PlacedReplica]) -> None:
        if row in arrays.overbooked_devices:
            return  # what is free there is not known
        had = [(placed.gpu_devices, placed.resources.gpu_thousandths) for placed in replicas]
        self.devices[:, row] += amounts_on_devices(had, self.devices.shape[0]).sum(axis=1)

    def devices_of(self, arrays: FleetArrays, entries: Integers) -> Integers:
        """Return what evicting replicas frees of GPU devices, by device and entry."""
        freed = np.zeros((self.devices.shape[0], entries.size), dtype=np.int64)
        for place in np.flatnonzero(self.table.takes[GPU, entries]).tolist():
            if int(self.table.row[entries[place]]) not in arrays.overbooked_devices:
                placed = self.table.replica(int(entries[place]))
                had = [(placed.gpu_devices, placed.resources.gpu_thousandths)]
                freed[:, place] = amounts_on_devices(had, freed.shape[0])[:, 0]
        return freed

    @contextmanager
    def lending_devices(self, arrays: FleetArrays, rows: Sequence[int]) -> Iterator[None]:
        """Let who is placed on some nodes meanwhile have the devices that were freed there."""
        before = {}
        for row in rows:
            arrays.give_devices(row, self.devices[:, row])
            before[row] = arrays.gpu_free[:, row].copy()
        try:
            yield
        finally:
            for row, free in before.items():
                left = np.maximum(self.devices[:, row] - (free - arrays.gpu_free[:, row]), 0)
                arrays.give_devices(row, -left)
                self.devices[:, row] = left
