"""Streams that may outlast the right to have them: each ends soon after its caller lost it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from enum import Enum, auto
from typing import TypeVar

from fogbank.domain.errors import FogError

_LOOK_AGAIN_S = 1.0

T = TypeVar("T")


class _End(Enum):
    """What comes after the last item."""

    END = auto()


_END = _End.END


class Streams:
    """Open streams, of which each is looked at again and again for as long as there are some."""

    def __init__(self) -> None:
        self._open: set[_Stream] = set()
        self._next_look: asyncio.TimerHandle | None = None

    async def while_allowed(
        self, check: Callable[[], None], items: AsyncGenerator[T, None]
    ) -> AsyncGenerator[T, None]:
        """Yield what a stream yields, until `check` raises; it is called every second or so.

        Raises:
            FogError: what `check` raised. The stream is closed then, in whatever it waits for.
        """
        stream = _Stream(check)
        self._open.add(stream)
        if self._next_look is None:
            self._look_later()
        try:
            async with aclosing(items):
                while (item := await stream.next_of(items)) is not _END:
                    yield item
        finally:
            self._open.discard(stream)

    def _look_later(self) -> None:
        loop = asyncio.get_running_loop()
        self._next_look = loop.call_later(_LOOK_AGAIN_S, self._look)

    def _look(self) -> None:
        self._next_look = None
        if self._open:
            self._look_later()
        for stream in tuple(self._open):
            stream.look()


class _Stream:
    """One open stream."""

    def __init__(self, check: Callable[[], None]) -> None:
        self._check = check
        self._refusal: FogError | None = None
        self._waiting: asyncio.Timeout | None = None

    def look(self) -> None:
        """Let the stream end if it is allowed no more."""
        if self._refusal is not None:
            return
        try:
            self._check()
        except FogError as error:
            self._refusal = error
            if self._waiting is not None:
                self._waiting.reschedule(asyncio.get_running_loop().time())

    async def next_of(self, items: AsyncGenerator[T, None]) -> T | _End:
        """Wait for the next item, or the end; raise as soon as the stream is allowed no more."""
        if self._refusal is not None:
            raise self._refusal
        try:
            async with asyncio.timeout(None) as self._waiting:
                return await anext(items, _END)
        except TimeoutError:
            if self._refusal is None:
                raise  # of the stream's own
            raise self._refusal from None
        finally:
            self._waiting = None
