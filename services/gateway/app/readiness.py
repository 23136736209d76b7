"""Whether this gateway had better be sent calls, told whenever that changes."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

LOOK_EVERY_S = 1.0
# An election among brokers takes less: calls that come meanwhile wait, or are told to come again.
MISSES = 3


async def follow_readiness(
    look: Callable[[], Awaitable[bool]],
    gone: Callable[[], Awaitable[None]],
    back: Callable[[], Awaitable[None]],
    *,
    every_s: float = LOOK_EVERY_S,
) -> None:
    """Look for ever whether something is ready, and tell when it is `gone` and `back` again.

    It is ready at first, no longer after so many looks in a row that found it not, and again after
    the first that did.
    """
    misses = 0
    while True:
        await asyncio.sleep(every_s)
        missed, misses = misses, 0 if await look() else misses + 1
        if misses == MISSES:
            await gone()
        elif missed >= MISSES and not misses:
            await back()
