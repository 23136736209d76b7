"""Tells agents that their heartbeats were heard, many at a time."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence

from services.scheduler.app import Scheduler
from services.scheduler.core.answers import Unanswered

# Node id, epoch and number of each heartbeat, from the scheduler of that instance.
Publish = Callable[[str, Sequence[tuple[str, int, int]]], Awaitable[None]]

# Heartbeats that come within so many seconds share an answer.
_COLLECT_S = 0.2


class Answering:
    """Takes heartbeats for a scheduler, and answers those that want it while it leads."""

    def __init__(self, scheduler: Scheduler, instance: str, publish: Publish) -> None:
        self._scheduler = scheduler
        self._instance = instance
        self._publish = publish
        self._unanswered = Unanswered()
        self._waiting = asyncio.Event()

    def heard(self, node_id: str, epoch: int, number: int) -> None:
        """Take in a sign of life; one with a number wants an answer."""
        self._scheduler.heard(node_id, epoch)
        if self._unanswered.heard(node_id, epoch, number):
            self._waiting.set()

    async def run(self) -> None:
        """Answer for ever."""
        while True:
            await self._waiting.wait()
            await asyncio.sleep(_COLLECT_S)
            self._waiting.clear()
            heard = self._unanswered.take(
                self._scheduler.planner.fleet, leading=self._scheduler.leadership.leading
            )
            if heard:
                await self._publish(self._instance, heard)
