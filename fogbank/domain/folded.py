"""What folding a commit led to."""

from __future__ import annotations

from dataclasses import dataclass, field

from fogbank.domain.verdict import Verdict


@dataclass(slots=True)
class Folded:
    """What folding a commit led to: a verdict for each event, and what may look different now.

    With `quotas_changed` other clusters than before may be limited. `rolled_back` are deployments
    that a round let go back to an earlier revision, `forgotten` those that it let the state forget.
    """

    sequence: int
    log_time_us: int
    verdicts: tuple[Verdict, ...]
    deployments: set[str] = field(default_factory=set)
    nodes: set[str] = field(default_factory=set)
    room_appeared: bool = False
    quotas_changed: bool = False
    rolled_back: tuple[str, ...] = ()
    forgotten: tuple[str, ...] = ()
