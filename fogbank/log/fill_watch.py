"""Tells how full the log is, and warns before it refuses appends."""

from __future__ import annotations

import asyncio
from typing import Protocol

import structlog

from fogbank.log import metrics
from fogbank.log.port import LogUnavailableError

_log = structlog.get_logger(__name__)

WARN_FROM = 0.80
_LOOK_S = 10.0


class Fillable(Protocol):
    """A log that can tell how full it is."""

    async def fill_ratio(self) -> float:
        """Return how full it is, 0 to 1; LogUnavailableError without an answer."""


class FillWatch:
    """Looks from time to time. One service of a fleet is enough to watch it."""

    def __init__(self, log: Fillable, *, look_every_s: float = _LOOK_S) -> None:
        self._log = log
        self._look_every_s = look_every_s
        self._warned = False

    async def run(self) -> None:
        """Look until cancelled."""
        while True:
            await self.look()
            await asyncio.sleep(self._look_every_s)

    async def look(self) -> None:
        """Show the ratio; warn when it rises over `WARN_FROM`, once until it falls again."""
        try:
            ratio = await self._log.fill_ratio()
        except LogUnavailableError:
            return  # others tell of that
        metrics.FILL_RATIO.set(ratio)
        full = ratio >= WARN_FROM
        if full and not self._warned:
            _log.warning(
                "the log is nearly full; raise the stream's max_bytes or begin a new generation "
                "before it refuses appends",
                fill_percent=round(100 * ratio),
            )
        self._warned = full
