"""How long commits wait for their second copy, and the alarm when that is too long.

On a single broker a commit has one copy until it is in the tables: what the broker loses in that
time is lost.
"""

from __future__ import annotations

import asyncio

import structlog

from fogbank.runtime.clock import Clock
from services.ledger.app import metrics
from services.ledger.app.progress import Progress

_log = structlog.get_logger(__name__)

ALARM_FROM_S = 2.0
_LOOK_S = 0.25


class LagWatch:
    """Times one commit after the other on its way into the tables."""

    def __init__(self, progress: Progress, clock: Clock) -> None:
        self._progress = progress
        self._clock = clock
        # The commit that is being timed, and since when.
        self._timed: tuple[int, float] | None = None
        self._alarmed = False

    async def run(self) -> None:
        """Look until cancelled."""
        while True:
            self.look()
            await asyncio.sleep(_LOOK_S)

    def look(self) -> None:
        """Show the lag; warn when it rises over `ALARM_FROM_S`, once until it is over."""
        progress = self._progress
        if not progress.known:
            return  # how far the tables are is yet to be read
        now_s = self._clock.monotonic_s()
        if self._timed is not None and progress.position >= self._timed[0]:
            self._timed = None
        if self._timed is None and progress.log_sequence > progress.position:
            self._timed = (progress.log_sequence, now_s)
        lag_s = 0.0 if self._timed is None else now_s - self._timed[1]
        metrics.LAG_SECONDS.set(lag_s)
        if lag_s >= ALARM_FROM_S and not self._alarmed:
            self._alarmed = True
            _log.warning(
                "The second copy lags behind the log",
                position=progress.position,
                log_sequence=progress.log_sequence,
                lag_s=round(lag_s, 1),
            )
        elif self._timed is None and self._alarmed:
            self._alarmed = False
            _log.info("The second copy has caught up", position=progress.position)
