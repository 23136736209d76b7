"""GPU devices of a node: which of them a replica takes.

Amounts are thousandths of a device. Whole GPUs take whole devices; a share of one packs on a
single device, beside other shares.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

WHOLE = 1_000
# No host has more: a number out of all bounds must not cost a list of that length.
MAX_GPUS = 256


def device_rooms(thousandths: int) -> list[int]:
    """Return the room of each device, `MAX_GPUS` at most, of a node that offers so much in all."""
    whole, rest = divmod(min(thousandths, MAX_GPUS * WHOLE), WHOLE)
    return [WHOLE] * whole + [rest] * (rest > 0)


def whole_and_share(ask: int) -> tuple[int, int]:
    """Return how many whole devices an ask takes, and which share of one more."""
    return divmod(ask, WHOLE)


def taken(devices: Sequence[int], ask: int) -> Iterator[tuple[int, int]]:
    """Yield what a replica takes of each of its devices: the whole ones come first."""
    whole, share = whole_and_share(ask)
    for place, device in enumerate(devices):
        yield device, WHOLE if place < whole else share


def choose_devices(free: Sequence[int], idle: Sequence[int], ask: int) -> tuple[int, ...] | None:
    """Return the devices for an ask, the whole ones first; None where it does not fit.

    `free` is what is not promised of each device; `idle` what nobody holds any more, so that who
    takes it need not wait. A share goes where least stays free. Ties go by the device's number.
    """
    whole, share = whole_and_share(ask)
    untouched = [device for device, room in enumerate(free) if room == WHOLE]
    if len(untouched) < whole:
        return None
    untouched.sort(key=lambda device: (idle[device] < WHOLE, device))
    chosen = untouched[:whole]
    if share:
        fitting = [
            device for device, room in enumerate(free) if room >= share and device not in chosen
        ]
        if not fitting:
            return None
        chosen.append(min(fitting, key=lambda device: (idle[device] < share, free[device], device)))
    return tuple(chosen)
