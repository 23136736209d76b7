"""What a scheduler says of itself."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class SchedulerStatus:
    """What a scheduler is doing; times in milliseconds."""

    instance: str
    leader: str
    as_of_sequence: int
    pending: dict[str, int]
    oldest_waiting_ms: int
    placed_total: int
    failed_total: int
    rounds_accepted: int
    rounds_void: int
    policy: str
    nodes_heard: int
