"""The fleet as a structure of arrays: one row for each node, integers throughout.

Rows are written anew from facts and decisions whenever a node is touched; what a round in the
making takes is put back when it is decided, so that they cannot drift from what the log says.
"""

from __future__ import annotations

from array import array
from collections.abc import Collection, Hashable, Iterable
from copy import copy
from hashlib import sha256
from itertools import compress
from operator import attrgetter
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from fogbank.domain.decisions import PlacedReplica
from fogbank.domain.facts import NodeFact
from fogbank.domain.fleet import FleetState
from fogbank.domain.gpus import WHOLE, device_rooms, taken
from fogbank.domain.node import Fingerprint
from fogbank.domain.node_use import NodeUse
from fogbank.domain.policy import Policy
from fogbank.domain.resources import Resources
from fogbank.placement.journal import Journal

Integers = NDArray[np.int64]
Floats = NDArray[np.float64]
Mask = NDArray[np.bool_]
Keys = NDArray[np.uint64]

CPU, MEMORY, STORAGE, GPU = range(4)
DIMENSIONS = 4


def amounts(resources: Resources) -> Integers:
    """Return cpu (millicores), memory (MiB), storage (GiB) and gpu (thousandths) as a column."""
    return np.array(
        [
            [resources.cpu_millicores],
            [resources.memory_mib],
            [resources.storage_gib],
            [resources.gpu_thousandths],
        ],
        dtype=np.int64,
    )


Selection = slice | Integers | list[int]
_Column = TypeVar("_Column", bound=np.generic)


def pick(columns: NDArray[_Column], selection: Selection) -> NDArray[_Column]:
    """Return the columns of selected nodes: of some rows at a third of what indexing costs."""
    if isinstance(selection, slice):
        return columns[..., selection]
    return columns.take(selection, axis=-1)


def _longer(columns: NDArray[_Column], count: int) -> NDArray[_Column]:
    """Return columns with room for more nodes. They stay in one piece, which `pick` lives by."""
    more = np.zeros((*columns.shape[:-1], count), dtype=columns.dtype)
    return np.concatenate((columns, more), axis=-1)


class FleetArrays:
    """Columns over the nodes, in the stable order in which they first shook hands.

    `masks` is for whoever looks at attributes over and over: it is emptied when any changes; `near`
    for who looks at regions: it is emptied when there is another one.
    `changes` names the rows that changed, for whoever keeps something for each node; `renewed` are
    those of them that may be worth more than before: where not just more is booked, or seen.
    """

    def __init__(self) -> None:
        """Begin without nodes."""
        self.size = 0
        self.ids: list[str] = []
        self.names: list[str] = []
        self.attributes: list[dict[str, str]] = []
        self.regions: list[str] = []
        self.masks: dict[Hashable, Mask] = {}
        self.near: dict[str, tuple[Policy, Floats]] = {}
        self._removed: set[int] = set()
        self.changes = Journal()
        self.renewed = Journal()
        self._row: dict[str, int] = {}
        self._fingerprints: list[Fingerprint | None] = []
        self._totals = np.zeros(DIMENSIONS, dtype=np.int64)
        # What replicas may use, what is promised, and what anything not ended takes, by dimension
        # and node.
        self.allocatable: Integers = np.zeros((DIMENSIONS, 0), dtype=np.int64)
        self.booked: Integers = np.zeros((DIMENSIONS, 0), dtype=np.int64)
        self.held: Integers = np.zeros((DIMENSIONS, 0), dtype=np.int64)
        # How many replicas were released and have not ended.
        self.stopping: Integers = np.zeros(0, dtype=np.int64)
        # Rows where more is held than booked: something is still to end there.
        self.ending: set[int] = set()
        # Nodes that take new replicas: idle and active ones.
        self.open: Mask = np.zeros(0, dtype=np.bool_)
        # Each node's region, as its place in `regions`.
        self.region_codes: Integers = np.zeros(0, dtype=np.int64)
        # Load of cpu and of memory as shares of 1, with what is placed but not yet seen.
        self.load: Floats = np.zeros((2, 0), dtype=np.float64)
        # What nodes reported of both, in percent.
        self._percents: Integers = np.zeros((2, 0), dtype=np.int64)
        # 64 bits that stand for each node, whatever its place; ties are broken by them.
        self.node_keys: Keys = np.zeros(0, dtype=np.uint64)
        # What is not promised of each GPU device, by device and node, as the round goes on.
        self.gpu_free: Integers = np.zeros((0, 0), dtype=np.int64)
        self._gpu_before: dict[int, Integers] = {}
        self._has_devices = False
        # Nodes that shrank below what is promised of a device: what is free there is not known.
        self.overbooked_devices: set[int] = set()

    @property
    def totals(self) -> tuple[int, ...]:
        """What replicas may use on all nodes together, by dimension."""
        return tuple(self._totals.tolist())

    def take_device(self, device: int, row: int, amount: int) -> None:
        """Take room of a device, until `put_devices_back`."""
        if row not in self._gpu_before:
            self._gpu_before[row] = self.gpu_free[:, row].copy()
        self.gpu_free[device, row] -= amount

    def give_devices(self, row: int, amounts: Integers) -> None:
        """Give room of a node's devices, by device, until `put_devices_back`."""
        if row not in self._gpu_before:
            self._gpu_before[row] = self.gpu_free[:, row].copy()
        self.gpu_free[:, row] += amounts

    def return_devices(self, before: Integers) -> None:
        """Go back to how much of each device was free a moment ago."""
        self.gpu_free[:] = before

    def put_devices_back(self) -> None:
        """Go back to what the log says of devices."""
        for row, before in self._gpu_before.items():
            self.gpu_free[:, row] = before
        self._gpu_before.clear()

    def all_open(self) -> FleetArrays:
        """Return the same columns as if every node took replicas."""
        opened = copy(self)
        opened.open = np.ones_like(self.open)
        return opened

    def with_idle_devices(self) -> FleetArrays:
        """Return the same columns as if nobody had any GPU device."""
        return self.with_devices(self.device_rooms)

    @property
    def device_rooms(self) -> Integers:
        """What each GPU device has, by device and node."""
        numbers = np.arange(self.gpu_free.shape[0], dtype=np.int64)[:, None]
        rooms: Integers = np.clip(self.allocatable[GPU] - WHOLE * numbers, 0, WHOLE)
        return rooms

    def with_devices(self, free: Integers) -> FleetArrays:
        """Return the same columns with other room on the GPU devices, by device and node."""
        other = copy(self)
        other.gpu_free = free
        return other

    def without_devices_of(self, replicas: Iterable[PlacedReplica]) -> FleetArrays:
        """Return the same columns as if some replicas had none of the devices that they have."""
        without = copy(self)
        without.gpu_free = self.gpu_free.copy()
        for placed in replicas:
            row = self._row[placed.node_id]
            for device, amount in taken(placed.gpu_devices, placed.resources.gpu_thousandths):
                if device < without.gpu_free.shape[0]:
                    without.gpu_free[device, row] += amount
        return without

    @property
    def empty(self) -> bool:
        """Whether the fleet has no node, those that were removed apart."""
        return len(self._removed) == self.size

    def row(self, node_id: str) -> int | None:
        """Return a node's row; None for a node that never shook hands."""
        return self._row.get(node_id)

    def refresh(
        self, fleet: FleetState, node_ids: Collection[str], *, replicas_only: bool = False
    ) -> None:
        """Recompute the rows of touched nodes; those that never shook hands have none.

        With `replicas_only` nothing changed of the nodes themselves, but what is placed on them.
        """
        told: list[int] = []
        if not replicas_only:
            facts = fleet.facts.nodes
            nodes = [node for node_id in node_ids if (node := facts.get(node_id)) is not None]
            new = [node for node in nodes if node.id not in self._row]
            if new:
                self._append([node.id for node in sorted(new, key=attrgetter("order"))])
            told = self._hear(fleet, nodes)
        row_of = self._row.get
        rows = [row for node_id in node_ids if (row := row_of(node_id)) is not None]
        if rows:
            better = self._fill(fleet, rows)
            self.changes.note_all(rows)
            self.renewed.note_all([*compress(rows, better.tolist()), *told])

    def _append(self, node_ids: list[str]) -> None:
        count = len(node_ids)
        self.allocatable = _longer(self.allocatable, count)
        self.booked = _longer(self.booked, count)
        self.held = _longer(self.held, count)
        self.stopping = _longer(self.stopping, count)
        self.open = _longer(self.open, count)
        self.region_codes = _longer(self.region_codes, count)
        self.load = _longer(self.load, count)
        self._percents = _longer(self._percents, count)
        self.gpu_free = _longer(self.gpu_free, count)
        keys = [int.from_bytes(sha256(known.encode()).digest()[:8], "big") for known in node_ids]
        self.node_keys = np.concatenate((self.node_keys, np.array(keys, dtype=np.uint64)))
        self._row.update(zip(node_ids, range(self.size, self.size + count), strict=True))
        self.size += count
        self.ids += node_ids
        self.names += [""] * count
        self.attributes += [{} for _ in node_ids]
        self._fingerprints += [None] * count

    def _hear(self, fleet: FleetState, nodes: list[NodeFact]) -> list[int]:
        """Write down what nodes are; return the rows that may be worth more for it."""
        told = []
        percents: list[int] = []
        opened: list[bool] = []
        rows = [self._row[node.id] for node in nodes]
        for node, row in zip(nodes, rows, strict=True):
            if node.fingerprint is not self._fingerprints[row] or node.name != self.names[row]:
                self._describe(node, row)
                told.append(row)
            if node.removed and row not in self._removed:
                self._strike_off(row)
            percents += (node.cpu_percent, node.memory_percent)
            opened.append(fleet.closed_as(node) is None)
        opens, numbers = np.array(opened, dtype=np.bool_), np.array(rows, dtype=np.int64)
        told += compress(rows, (opens != self.open[numbers]).tolist())
        self.open[numbers] = opens
        self._percents[:, numbers] = np.array(percents, dtype=np.int64).reshape(-1, 2).T
        return told

    def _fill(self, fleet: FleetState, rows: list[int]) -> Mask:
        """Write down what is placed on nodes; return which of them have more room or less load."""
        uses = [fleet.use(self.ids[row]) for row in rows]
        said = array("q")
        for use in uses:
            said.fromlist(use.booked)
            said.fromlist(use.seen)
        columns: Integers = np.frombuffer(said, dtype=np.int64).reshape(len(rows), -1).T
        booked, unseen = columns[:DIMENSIONS], columns[:DIMENSIONS] - columns[DIMENSIONS:]
        numbers = np.array(rows, dtype=np.int64)
        load = self._load_of(unseen[: MEMORY + 1], pick(self._percents, numbers), numbers)
        fell = (*(booked < pick(self.booked, numbers)), *(load < pick(self.load, numbers)))
        better: Mask = np.logical_or.reduce(fell)
        self.booked[:, numbers] = booked
        self.held[:, numbers] = booked
        self.stopping[numbers] = 0
        self.load[:, numbers] = load
        self.ending.difference_update(rows)
        for row, use in zip(rows, uses, strict=True):
            if use.stopping:
                self.stopping[row] = use.stopping
                self.held[:, row] = use.held
                if use.held != use.booked:
                    self.ending.add(row)
        if self._has_devices:
            for row, use in zip(rows, uses, strict=True):
                self._fill_devices(fleet.facts.nodes[self.ids[row]], row, use)
        return better

    def _load_of(self, unseen: Integers, percents: Integers, rows: Integers) -> Floats:
        """Return what is measured, with what is placed but not yet seen, of cpu and memory."""
        room = np.maximum(pick(self.allocatable[: MEMORY + 1], rows), 1)
        load: Floats = np.minimum(np.maximum(percents, 0) / 100.0 + unseen / room, 1.0)
        return load

    def _fill_devices(self, node: NodeFact, row: int, use: NodeUse) -> None:
        rooms = [] if node.removed else device_rooms(node.fingerprint.allocatable.gpu_thousandths)
        known = self.gpu_free.shape[0]
        if len(rooms) > known:
            more = np.zeros((len(rooms) - known, self.gpu_free.shape[1]), dtype=np.int64)
            self.gpu_free = np.concatenate((self.gpu_free, more))
        for placed in use.bookings():
            for device, amount in taken(placed.gpu_devices, placed.resources.gpu_thousandths):
                if device < len(rooms):
                    rooms[device] -= amount
        self.overbooked_devices.discard(row)
        if rooms and min(rooms) < 0:
            self.overbooked_devices.add(row)
        self.gpu_free[:, row] = 0
        self.gpu_free[: len(rooms), row] = [max(room, 0) for room in rooms]

    def _strike_off(self, row: int) -> None:
        """Leave a removed node no room, so that nothing counts on it."""
        self._removed.add(row)
        self._totals -= self.allocatable[:, row]
        self.allocatable[:, row] = 0

    def _describe(self, node: NodeFact, row: int) -> None:
        """Write down what a node says of itself."""
        fingerprint = node.fingerprint
        self._fingerprints[row] = fingerprint
        self.names[row] = node.name
        attributes = {
            "node": node.name,
            "region": fingerprint.region,
            "arch": fingerprint.arch,
            "gpu_model": fingerprint.gpu_model,
            **{f"label.{key}": value for key, value in fingerprint.labels.items()},
        }
        if attributes != self.attributes[row]:
            self.attributes[row] = attributes
            self.masks.clear()
        if fingerprint.region not in self.regions:
            self.regions.append(fingerprint.region)
            self.near.clear()
        self.region_codes[row] = self.regions.index(fingerprint.region)
        self._has_devices |= fingerprint.allocatable.gpu_thousandths > 0
        allocatable = amounts(fingerprint.allocatable)[:, 0]
        self._totals += allocatable - self.allocatable[:, row]
        self.allocatable[:, row] = allocatable
