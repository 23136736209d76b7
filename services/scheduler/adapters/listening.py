"""Finds out whether what others say reaches a scheduler, when nothing does."""

from __future__ import annotations

import asyncio

from fogbank.domain.errors import FogError
from fogbank.log.port import EventLog
from fogbank.runtime.clock import Clock
from services.scheduler.app import Scheduler

_MICROS = 1_000_000
_RETRY_S = 0.5
# A policy may shorten the heartbeats' period meanwhile.
_LONGEST_SLEEP_S = 1.0


class Listening:
    """Asks for the log's end whenever no heartbeat came for a while.

    The answer comes the way that heartbeats come, over one connection to the broker, and after
    them: where it does not come, nobody's silence is known.
    """

    def __init__(self, scheduler: Scheduler, log: EventLog, clock: Clock) -> None:
        """Ask `log` for a scheduler that goes by `clock`."""
        self._scheduler = scheduler
        self._log = log
        self._clock = clock

    async def run(self) -> None:
        """Ask for ever, as soon as the scheduler has read the log."""
        scheduler = self._scheduler
        await scheduler.caught_up.wait()
        while True:
            ask_at_us = scheduler.liveness.ask_at_us(scheduler.planner.fleet)
            wait_s = ask_at_us / _MICROS - self._clock.monotonic_s()
            if wait_s > 0:
                await asyncio.sleep(min(wait_s, _LONGEST_SLEEP_S))
                continue
            try:
                await self._log.last_sequence()
            except FogError:
                await asyncio.sleep(_RETRY_S)
            else:
                scheduler.listens()
