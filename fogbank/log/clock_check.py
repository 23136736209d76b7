"""Whoever stamps commits must agree with the broker about what time it is.

Log time is the running maximum of the writers' stamps, so one clock that runs ahead would move
'as of' for everybody. Asked before a commit, at most every half minute, and at once when the wall
clock was set (it moved differently from the monotonic clock).
"""

from __future__ import annotations

from fogbank.log.port import MAX_CLOCK_OFFSET_US, EventLog, LogUnavailableError
from fogbank.runtime.clock import Clock

_ASK_AGAIN_S = 30.0
_STEP_US = 500_000
_MICROS = 1_000_000


class ClockCheck:
    """Compares a clock with the broker's, half of the question's travel time allowed for."""

    def __init__(self, log: EventLog, clock: Clock) -> None:
        self._log = log
        self._clock = clock
        self._asked_s: float | None = None
        self._base_us = 0

    async def require(self) -> None:
        """Return if the clock is within `MAX_CLOCK_OFFSET_US` of the broker's.

        Raises:
            LogUnavailableError: it is further off (reason CLOCK_OFF), or the broker doesn't answer.
        """
        sent_s = self._clock.monotonic_s()
        base_us = self._clock.now_us() - round(sent_s * _MICROS)
        if (
            self._asked_s is not None
            and sent_s - self._asked_s < _ASK_AGAIN_S
            and abs(base_us - self._base_us) < _STEP_US
        ):
            return
        self._asked_s = None
        broker_us = await self._log.clock_us()
        took_us = (self._clock.monotonic_s() - sent_s) * _MICROS
        offset_us = self._clock.now_us() - took_us / 2 - broker_us
        if abs(offset_us) - took_us / 2 > MAX_CLOCK_OFFSET_US:
            direction = "ahead of" if offset_us > 0 else "behind"
            raise LogUnavailableError(
                f"this machine's clock is {abs(offset_us) / _MICROS:.1f} s {direction} the "
                "broker's; synchronise both",
                reason="CLOCK_OFF",
                retry_after_ms=10_000,
            )
        self._asked_s, self._base_us = sent_s, base_us
