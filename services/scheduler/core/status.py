"""What a scheduler says of itself, and of its rounds."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from fogbank.domain import events as ev


class RoundMeter(Protocol):
    """Where figures about rounds go."""

    def decided(self, outcomes: tuple[ev.Outcome, ...], took_s: float) -> None:
        """Count the outcomes of a round that this scheduler decided."""

    def verdict(self, *, accepted: bool) -> None:
        """Count a round of this scheduler by what became of it."""

    def queues(self, pending: dict[str, int]) -> None:
        """Show how many deployments wait, by queue."""


@dataclass(frozen=True, slots=True)
class SchedulerStatus:
    """What a scheduler is doing."""

    instance: str
    leader: str
    as_of_sequence: int
    pending: dict[str, int]
    placed_total: int
    failed_total: int
    rounds_accepted: int
    rounds_void: int
    policy: str
    nodes_heard: int
