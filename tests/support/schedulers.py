"""Schedulers in a test's own process, over any log."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

from fogbank.domain import events as ev
from fogbank.log.port import EventLog
from fogbank.runtime.clock import SystemClock
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
    loops = [asyncio.create_task(scheduler.follow()), asyncio.create_task(scheduler.decide())]
    try:
        yield scheduler
    finally:
        for loop in loops:
            loop.cancel()
        for loop in loops:
            with suppress(asyncio.CancelledError):
                await loop
