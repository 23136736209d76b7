"""Long work in parts, so that what else the event loop has to do gets its turn."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from typing import TypeVar

T = TypeVar("T")


async def last_in_turns(parts: Iterator[T], still_holds: Callable[[], bool]) -> T:
    """Return the last of at least one part, or the latest before what they rest on changed.

    Others get their turn after each part, and may be who changes it.
    """
    latest = next(parts)
    while True:
        await asyncio.sleep(0)
        if not still_holds():
            return latest
        try:
            latest = next(parts)
        except StopIteration:
            return latest
