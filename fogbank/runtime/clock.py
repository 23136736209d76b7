"""The clocks of this machine, behind a protocol so that tests can move them."""

from __future__ import annotations

import time
from typing import Protocol


class Clock(Protocol):
    """Two clocks: one that tells the date and may jump, one that only measures spans."""

    def now_us(self) -> int:
        """Return the wall clock, in microseconds since 1970 (UTC). It may jump, also back."""

    def monotonic_s(self) -> float:
        """Return seconds since an arbitrary start. It never falls."""


class SystemClock:
    """The operating system's clocks."""

    def now_us(self) -> int:
        return time.time_ns() // 1_000

    def monotonic_s(self) -> float:
        return time.monotonic()


class ManualClock:
    """A clock that stands still until it is moved: for tests and simulations."""

    def __init__(self, now_us: int = 1_800_000_000_000_000) -> None:
        self._now_us = now_us
        self._monotonic_s = 0.0

    def now_us(self) -> int:
        return self._now_us

    def monotonic_s(self) -> float:
        return self._monotonic_s

    def advance(self, seconds: float) -> None:
        """Let `seconds` pass on both clocks."""
        self._now_us += round(seconds * 1_000_000)
        self._monotonic_s += seconds

    def step(self, seconds: float) -> None:
        """Set the wall clock ahead, or back if negative, as an operator or NTP would."""
        self._now_us += round(seconds * 1_000_000)
