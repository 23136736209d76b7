"""The clock that goes on while the host sleeps."""

from __future__ import annotations

import time


def up_us() -> int:
    """Return how long the host has been up, its sleep included, in microseconds.

    CLOCK_BOOTTIME of clock_gettime(2): nobody can set it, and it never falls.
    """
    return time.clock_gettime_ns(time.CLOCK_BOOTTIME) // 1_000
