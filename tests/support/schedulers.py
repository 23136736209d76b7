"""Schedulers in a test's own process, over any log."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager, suppress

from fogbank.domain import events as ev
from fogbank.log.port import EventLog
from fogbank.runtime.clock import SystemClock
from services.scheduler.adapters.listening import Listening
from services.scheduler.app import Scheduler


class NoMeter:
    """Counts nothing."""

    def decided(self, outcomes: tuple[ev.Outcome, ...], took_s: float) -> None:
        """Take a round."""

    def verdict(self, *, accepted: bool) -> None:
        """Take a verdict."""

    def queues(self, pending: dict[str, int]) -> None:
        """Take the queues."""


@asynccontextmanager
async def running_scheduler(
    log: EventLog, *, takeover_us: int | None = None
) -> AsyncIterator[Scheduler]:
    """Run a scheduler until the context ends."""
    scheduler = Scheduler(log, SystemClock(), NoMeter(), takeover_us=takeover_us)
    listening = Listening(scheduler, log, SystemClock())
    async with run_loops(scheduler.follow, scheduler.decide, listening.run):
        yield scheduler


@asynccontextmanager
async def run_loops(*made: Callable[[], Coroutine[None, None, None]]) -> AsyncIterator[None]:
    """Run loops until the context ends."""
    loops = [asyncio.create_task(make()) for make in made]
    try:
        yield
    finally:
        for loop in loops:
            loop.cancel()
        for loop in loops:
            with suppress(asyncio.CancelledError):
                await loop
