"""How often: the generic cell rate algorithm (ITU-T I.371), a leaky bucket that needs no timer.

For each key one instant is kept, at which its bucket would be empty; a key that is idle costs
nothing. Written here because it must take the instant from its caller, as all of a pure core does:
microseconds of a clock that is never set.
"""

from __future__ import annotations

from dataclasses import dataclass, field

_SECOND_US = 1_000_000
# Keys that are idle are swept out whenever there are twice as many as after the last time.
_FIRST_SWEEP = 1_024


@dataclass(slots=True)
class Rate:
    """So many a second for each key, and `burst` at once after a rest."""

    per_second: float
    burst: int
    _empty_at_us: dict[str, int] = field(default_factory=dict)
    _sweep_at: int = _FIRST_SWEEP

    def wait_us(self, key: str, now_us: int) -> int:
        """Return how long until a key may have one more; 0 for at once."""
        return max(self._after_one(key, now_us) - self._span_us - now_us, 0)

    def take(self, key: str, now_us: int) -> int:
        """Let a key have one more and return 0, or return how long it has to wait."""
        wait_us = self.wait_us(key, now_us)
        if not wait_us:
            self._empty_at_us[key] = self._after_one(key, now_us)
            if len(self._empty_at_us) >= self._sweep_at:
                self._sweep(now_us)
        return wait_us

    def add(self, key: str, count: int, now_us: int) -> None:
        """Count what a key takes though nobody asked whether it may: it waits longer afterwards."""
        self._empty_at_us[key] = self._after_one(key, now_us) + (count - 1) * self._one_us

    def give_back(self, key: str) -> None:
        """Let what a key took last count no more."""
        if key in self._empty_at_us:
            self._empty_at_us[key] -= self._one_us

    @property
    def keys(self) -> int:
        """How many keys are kept."""
        return len(self._empty_at_us)

    @property
    def _span_us(self) -> int:
        """How long a full bucket takes to be empty."""
        return round(self.burst * _SECOND_US / self.per_second)

    @property
    def _one_us(self) -> int:
        """How much later a bucket is empty for one more."""
        return round(_SECOND_US / self.per_second)

    def _after_one(self, key: str, now_us: int) -> int:
        return max(self._empty_at_us.get(key, now_us), now_us) + self._one_us

    def _sweep(self, now_us: int) -> None:
        self._empty_at_us = {
            key: empty_us for key, empty_us in self._empty_at_us.items() if empty_us > now_us
        }
        self._sweep_at = max(2 * len(self._empty_at_us), _FIRST_SWEEP)
