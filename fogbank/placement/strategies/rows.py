"""What a strategy sees: nodes as columns, any selection of them.

Everything about a node stands in its own column, so a strategy gives a node the same score
whichever nodes stand beside it: scores may be kept, and only the rows that changed scored anew.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from fogbank.domain.policy import Policy
from fogbank.placement.arrays import FleetArrays, Floats, Integers, Selection, pick

ALL = slice(None)

_SAME, _ADJACENT, _REMOTE = 1.0, 2.0 / 3.0, 1.0 / 3.0


@dataclass(slots=True)
class Rows:
    """Some nodes: room by dimension and node, load of cpu and memory as shares of 1.

    `gpu_free` is what is not promised of each device, by device and node. `near` holds how near
    each region is to one asked about, by the policy that says so; all rows of a fleet share it.
    """

    allocatable: Integers
    booked: Integers
    load: Floats
    region_codes: Integers
    regions: Sequence[str]
    attributes: Sequence[Mapping[str, str]]
    gpu_free: Integers
    near: dict[str, tuple[Policy, Floats]] = field(default_factory=dict)
    _spare: tuple[Integers, Integers] | None = None

    @classmethod
    def of(cls, arrays: FleetArrays, booked: Integers, selection: Selection = ALL) -> Rows:
        """Take the selected nodes, with `booked` in place of what the log says is booked."""
        return cls(
            pick(arrays.allocatable, selection),
            pick(booked, selection),
            pick(arrays.load, selection),
            pick(arrays.region_codes, selection),
            arrays.regions,
            _Selected(arrays.attributes, selection),
            pick(arrays.gpu_free, selection),
            arrays.near,
        )

    @property
    def count(self) -> int:
        """How many nodes these are."""
        return int(self.region_codes.shape[0])

    def spare(self, ask: Integers) -> Integers:
        """Return what stays free after placing, by dimension; below 0 where there is no room."""
        if self._spare is None or self._spare[0] is not ask:
            self._spare = (ask, self.allocatable - self.booked - ask)
        return self._spare[1]

    def free_after(self, ask: Integers, dimension: int | slice) -> Integers:
        """Return what stays free after placing, at least 0; of several dimensions for a slice."""
        free: Integers = np.maximum(self.spare(ask)[dimension], 0)
        return free

    def free_share_after(self, ask: Integers, dimension: int | slice) -> Floats:
        """Return the share of the room that stays free after placing, 0 to 1."""
        share: Floats = self.free_after(ask, dimension) / np.maximum(self.allocatable[dimension], 1)
        return share

    def used_share_after(self, ask: Integers, dimension: int) -> Floats:
        """Return the share of the room that is taken after placing, 0 to 1; of no room, 0."""
        room = self.allocatable[dimension]
        used = np.minimum(self.booked[dimension] + ask[dimension], room)
        share: Floats = used / np.maximum(room, 1)
        return share

    def locality(self, region: str, policy: Policy) -> Floats:
        """Return 1 for nodes of the wanted region, 2/3 for its neighbours', 1/3 for others.

        Where the policy knows the round trip it is a falling function of that instead.
        """
        return nearness(self.near, self.regions, region, policy).take(self.region_codes)


class _Selected(Sequence[Mapping[str, str]]):
    """Attributes of some nodes, looked up when they are asked for: most strategies never do."""

    def __init__(self, attributes: Sequence[Mapping[str, str]], selection: Selection) -> None:
        self._attributes = attributes
        self._selection = selection

    def _chosen(self) -> Sequence[Mapping[str, str]]:
        if isinstance(self._selection, slice):
            return self._attributes[self._selection]
        return [self._attributes[int(row)] for row in self._selection]

    def __len__(self) -> int:
        return len(self._chosen())

    def __getitem__(self, index: Any) -> Any:
        return self._chosen()[index]

    def __iter__(self) -> Iterator[Mapping[str, str]]:
        return iter(self._chosen())


def nearness(
    known: dict[str, tuple[Policy, Floats]], regions: Sequence[str], wanted: str, policy: Policy
) -> Floats:
    """Return how near each of the regions is to the wanted one, and remember it in `known`."""
    near = known.get(wanted)
    if near is None or near[0] is not policy:
        by_region = [_nearness(wanted, other, policy) for other in regions]
        near = known[wanted] = (policy, np.array(by_region, dtype=np.float64))
    return near[1]


def _nearness(wanted: str, other: str, policy: Policy) -> float:
    round_trip_ms = policy.latency_ms.get(wanted, {}).get(other)
    if round_trip_ms is not None:
        return policy.latency_half_ms / (policy.latency_half_ms + round_trip_ms)
    if other == wanted:
        return _SAME
    return _ADJACENT if other in policy.adjacency.get(wanted, ()) else _REMOTE
