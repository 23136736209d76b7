"""Which movements of a node's load are worth a line in the log.

Heartbeats are not stored. A load is logged when it is at least a step away from what was logged
last, and not more often than once in a while; a load that swings about a bound is not logged again
and again, because the band lies around the logged value.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

STEP_PERCENT = 10
SHORTEST_PAUSE_US = 15_000_000
_FULL = 100


@dataclass(frozen=True, slots=True)
class LoggedLoad:
    """What was logged last of a node, in percent, and when (microseconds since 1970)."""

    cpu_percent: int = 0
    memory_percent: int = 0
    logged_at_us: int = 0


def next_load(
    logged: LoggedLoad, cpu_percent: float, memory_percent: float, now_us: int
) -> LoggedLoad | None:
    """Return what to log, or None if the load has not moved by a step or it is too soon."""
    cpu, memory = _whole(cpu_percent), _whole(memory_percent)
    moved = max(abs(cpu - logged.cpu_percent), abs(memory - logged.memory_percent))
    if moved < STEP_PERCENT:
        return None
    if 0 <= now_us - logged.logged_at_us < SHORTEST_PAUSE_US:
        return None
    return replace(logged, cpu_percent=cpu, memory_percent=memory, logged_at_us=now_us)


def _whole(percent: float) -> int:
    return round(min(max(percent, 0.0), float(_FULL)))
