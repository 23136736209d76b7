"""GPU devices: the checker's own reading of who may have which."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from fogbank.checker.world import Node, Replica, Wish

_WHOLE = 1_000
_GPU = 3
# More of a host are not counted, whatever it says of itself.
_MOST_DEVICES = 256


def wrong_devices(node: Node, ask: int, devices: Sequence[int]) -> str:
    """Return what is wrong with the devices of a placement, in words; empty if nothing is."""
    wanted = -(-ask // _WHOLE)
    if len(devices) != wanted:
        return f"{len(devices)} GPU devices for {ask} thousandths"
    if len(set(devices)) != wanted:
        return "a GPU device twice"
    count = -(-node.allocatable[_GPU] // _WHOLE)
    beyond = [device for device in devices if not 0 <= device < count]
    return f"GPU device {beyond[0]} of {count}" if beyond else ""


def too_much_on(
    node: Node, devices: Iterable[int], *, held: bool, without: Iterable[str] = ()
) -> str:
    """Return which of some devices is promised (or held) beyond what it has, in words."""
    left_out = set(without)
    sums = dict.fromkeys(devices, 0)
    for replica in node.replicas.values():
        if replica.id in left_out or (replica.wish is Wish.RELEASED and not held):
            continue
        for device, amount in _taken(replica):
            if device in sums:
                sums[device] += amount
    for device, amount in sums.items():
        room = min(_WHOLE, node.allocatable[_GPU] - _WHOLE * device)
        if amount > room:
            return f"{amount} of {room} thousandths of GPU device {device}"
    return ""


def copies_on_devices(node: Node, ask: int, at_most: int) -> int:
    """Return how many more replicas fit on a node's devices, counted to `at_most`."""
    if not ask:
        return at_most
    count = min(-(-node.allocatable[_GPU] // _WHOLE), _MOST_DEVICES)
    free = [min(_WHOLE, node.allocatable[_GPU] - _WHOLE * device) for device in range(count)]
    for replica in node.replicas.values():
        if replica.wish is not Wish.RELEASED:
            for device, amount in _taken(replica):
                if device < count:
                    free[device] -= amount
    whole, share = divmod(ask, _WHOLE)
    for copies in range(at_most):
        untouched = [device for device in range(count) if free[device] == _WHOLE]
        if len(untouched) < whole:
            return copies
        for device in untouched[:whole]:
            free[device] = 0
        if share:
            fitting = [device for device in range(count) if free[device] >= share]
            if not fitting:
                return copies
            free[min(fitting, key=free.__getitem__)] -= share
    return at_most


def _taken(replica: Replica) -> Iterable[tuple[int, int]]:
    whole, share = divmod(replica.ask[_GPU], _WHOLE)
    for place, device in enumerate(replica.gpu_devices):
        yield device, _WHOLE if place < whole else share
