"""Free room by GPU device and node, and which asks fit there: the same fit as `domain.gpus`."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence

import numpy as np

from fogbank.domain.decisions import Desired, PlacedReplica
from fogbank.domain.fleet import FleetState
from fogbank.domain.gpus import WHOLE, choose_devices, device_rooms, taken, whole_and_share
from fogbank.placement.arrays import FleetArrays, Integers, Mask


def devices_fit(free: Integers, ask: int) -> Mask:
    """Tell for each node whether an ask fits on its devices (free room by device and node)."""
    whole, share = whole_and_share(ask)
    fit: Mask = np.count_nonzero(free == WHOLE, axis=0) >= whole
    if share:
        # Untouched devices fit a share too: it needs one that the whole ones leave.
        fit &= np.count_nonzero(free >= share, axis=0) > whole
    return fit


def copies_fit(free: Integers, ask: int) -> Integers:
    """Return for each node how many of an ask surely fit on its devices, chosen one by one.

    Of whole devices with a share it is one at most: its share may take a device that others need
    whole.
    """
    whole, share = whole_and_share(ask)
    if whole and share:
        return devices_fit(free, ask).astype(np.int64)
    if share:
        fit: Integers = (np.maximum(free, 0) // share).sum(axis=0)
        return fit
    untouched: Integers = np.count_nonzero(free == WHOLE, axis=0) // whole
    return untouched


def choose(fleet: FleetState, arrays: FleetArrays, row: int, ask: int) -> tuple[int, ...]:
    """Return the devices that an ask takes on a node where it fits, and take them.

    Raises:
        ValueError: it does not fit.
    """
    devices = choice(fleet, arrays, row, ask)
    if devices is None:
        message = f"{ask} thousandths of a GPU do not fit on the devices of node {arrays.ids[row]}"
        raise ValueError(message)
    for device, amount in taken(devices, ask):
        arrays.take_device(device, row, amount)
    return devices


def choice(fleet: FleetState, arrays: FleetArrays, row: int, ask: int) -> tuple[int, ...] | None:
    """Return the devices that an ask would take on a node; None where it does not fit."""
    node_id = arrays.ids[row]
    rooms = device_rooms(fleet.facts.nodes[node_id].fingerprint.allocatable.gpu_thousandths)
    held = _less(rooms, fleet.on_node(node_id))
    free = arrays.gpu_free[: len(rooms), row].tolist()
    return choose_devices(free, held, ask)


def held_by_leaving(
    fleet: FleetState, node_id: str, devices: Iterable[int], ordered: Collection[str] = ()
) -> bool:
    """Tell whether a replica that is to go still holds one of these devices of a node.

    `ordered` are those that the round in the making orders to go.
    """
    wanted = set(devices)
    return bool(wanted) and any(
        (placed.desired is Desired.RELEASED or placed.id in ordered)
        and not wanted.isdisjoint(placed.gpu_devices)
        for placed in fleet.on_node(node_id)
    )


def amounts_on_devices(replicas: Sequence[tuple[Sequence[int], int]], known: int) -> Integers:
    """Return what replicas take, by device and replica; each has its devices and what it asks."""
    amounts = np.zeros((known, len(replicas)), dtype=np.int64)
    for number, (devices, ask) in enumerate(replicas):
        for device, amount in taken(devices, ask):
            if device < known:
                amounts[device, number] += amount
    return amounts


def _less(rooms: list[int], replicas: Iterable[PlacedReplica]) -> list[int]:
    left = list(rooms)
    for placed in replicas:
        for device, amount in taken(placed.gpu_devices, placed.resources.gpu_thousandths):
            if device < len(left):
                left[device] -= amount
    return left
