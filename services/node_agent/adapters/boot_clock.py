"""The host's boots: which one this is, and how long ago it was."""

from __future__ import annotations

import time
from pathlib import Path

_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


def up_us() -> int:
    """Return how long the host has been up, its sleep included, in microseconds.

    CLOCK_BOOTTIME of clock_gettime(2): nobody can set it, and it never falls.
    """
    return time.clock_gettime_ns(time.CLOCK_BOOTTIME) // 1_000


def boot_id() -> str:
    """Return the kernel's name for this boot of the host (random(4)), another one each time.

    Empty where the kernel doesn't say.
    """
    try:
        return _BOOT_ID.read_text(encoding="ascii").strip()
    except OSError:
        return ""
