"""Waiting until the fold has taken in a sequence."""

import asyncio
from itertools import count

from fogbank.domain.policy import Policy
from fogbank.log.memory import MemoryLog, MemoryStore
from fogbank.log.port import Writer
from fogbank.runtime.clock import SystemClock
from services.gateway.app.fold import FleetFold
from services.gateway.app.genesis import ensure_genesis
from tests.support.schedulers import run_loops
from tests.support.statuses import LogStatuses


async def test_who_gave_up_is_forgotten_and_the_others_are_woken() -> None:
    log = MemoryLog(MemoryStore(), Writer("gateway", "one"))
    fold = FleetFold(log, LogStatuses(log))
    stays = [asyncio.create_task(fold.reached(1)) for _ in range(3)]
    far = count(2**62, -1)  # the latest would be woken first
    for _ in range(10):
        gone = [asyncio.create_task(fold.reached(next(far))) for _ in range(100)]
        await asyncio.sleep(0)
        for each in gone:
            each.cancel()
        await asyncio.gather(*gone, return_exceptions=True)
        assert len(fold._waiters) <= 2 * len(stays)
    async with run_loops(fold.run):
        await ensure_genesis(log, SystemClock(), "default", Policy())
        async with asyncio.timeout(60):
            await asyncio.gather(*stays)
