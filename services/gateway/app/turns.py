"""Waiting for one's turn where so much a second is let through."""

from __future__ import annotations

import asyncio

from fogbank.runtime.clock import Clock
from services.gateway.core.rates import Rate

_US_PER_S = 1_000_000


def steady_us(clock: Clock) -> int:
    """Return microseconds that never fall, also when the wall clock is set back."""
    return round(clock.monotonic_s() * _US_PER_S)


async def turn_of(key: str, rate: Rate, clock: Clock) -> None:
    """Let a key have one more of a rate, as soon as there is room for it."""
    while wait_us := rate.take(key, steady_us(clock)):  # noqa: ASYNC110  it says for how long
        await asyncio.sleep(wait_us / _US_PER_S)
