"""Policies: everything that a decision depends on beside the state of the fleet.

The default's weights are those of the FUNC-01 document: 0.4 for what stays free, 0.3 for load
(split in halves between cpu and memory) and 0.3 for locality.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Policy:
    """A named, versioned set of rules; times in milliseconds, loads in percent."""

    name: str = "balanced"
    version: int = 1
    strategy: str = "balanced"
    resource_weight: float = 0.4
    cpu_load_weight: float = 0.15
    memory_load_weight: float = 0.15
    locality_weight: float = 0.3
    adjacency: Mapping[str, tuple[str, ...]] = field(
        default_factory=lambda: {
            "us-east": ("us-central",),
            "us-central": ("us-east", "us-west"),
            "us-west": ("us-central",),
        }
    )
    retry_backoff_ms: tuple[int, ...] = (1_000, 2_000, 4_000)
    heartbeat_period_ms: int = 5_000
    silent_periods: int = 3
    lost_after_ms: int = 30_000
    busy_load_percent: int = 90
    reschedule_delay_ms: int = 30_000
    reschedule_delay_max_ms: int = 3_600_000

    @property
    def title(self) -> str:
        """Name and version, as `balanced@1`."""
        return f"{self.name}@{self.version}"

    def heartbeat_period_for_ms(self, nodes: int) -> int:
        """Return the period for a fleet of `nodes`: at least 1 ms for each node."""
        return max(self.heartbeat_period_ms, nodes)
