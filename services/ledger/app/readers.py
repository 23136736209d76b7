"""Answers that are made in turn, for callers who may stop reading them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import TypeVar

from fogbank.domain.errors import UnavailableError

# So long a caller may leave a part of an answer lying about while others wait for their turn.
PATIENCE_S = 60.0
# Parts that are made before the caller took those before them.
_AHEAD = 4

Part = TypeVar("Part")


async def in_turn(
    turn: asyncio.Lock, parts: AsyncGenerator[Part], patience_s: float = PATIENCE_S
) -> AsyncGenerator[Part]:
    """Yield the parts of an answer, which are made while the turn is had.

    The turn ends with the last part, when the caller leaves, and when they read nothing for
    `patience_s` seconds: a stream that nobody reads must not hold up everybody else.

    Raises:
        UnavailableError: the caller read nothing for too long.
    """
    made: asyncio.Queue[Part] = asyncio.Queue(_AHEAD)

    async def make() -> None:
        async with turn, aclosing(parts):
            async for part in parts:
                try:
                    # Not `wait_for`: before Python 3.12 it may swallow a cancellation.
                    async with asyncio.timeout(patience_s):
                        await made.put(part)
                except TimeoutError:
                    raise UnavailableError(
                        f"The answer was not read for {patience_s:g} s, and others wait: ask again",
                        reason="NOT_READ",
                    ) from None

    making = asyncio.create_task(make())
    try:
        while True:
            taking = asyncio.create_task(made.get())
            try:
                await asyncio.wait((taking, making), return_when=asyncio.FIRST_COMPLETED)
                if not taking.done() and made.empty():
                    break
                part = await taking
            finally:
                taking.cancel()
            yield part
        await making
    finally:
        making.cancel()
        await asyncio.gather(making, return_exceptions=True)
