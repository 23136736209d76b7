"""What a policy says of disruptions: moves, the guard of regions, and nodes where things failed."""

from __future__ import annotations

from dataclasses import dataclass, field

from fogbank.domain.later import LATER


@dataclass(frozen=True, slots=True)
class DisruptionRules:
    """Numbers for when replicas leave their nodes; times in milliseconds.

    `moves_at_once` replicas of a deployment may wait for their successors at a time. In a region
    of at least `guard_nodes` nodes of which `guard_silent_percent` or more are silent, one node at
    a time counts as lost, `guard_pause_ms` after the one before. A deployment whose image
    `absent_image_nodes` nodes did not find, before any replica ran, fails. A
    node where a replica of the same deployment broke loses `failure_penalty` percent of a whole
    score, fading evenly to nothing over `failure_fades_ms`.
    For a replica that its connected node does nothing for, another node is looked for after
    `start_grace_ms`; 0 for never. What gives way to a more important deployment has at most
    `eviction_grace_ms` to end; 0, as policies of earlier releases have it, for as long as its own
    container wants.
    """

    moves_at_once: int = 1
    guard_nodes: int = 4
    guard_silent_percent: int = 55
    guard_pause_ms: int = 100_000
    absent_image_nodes: int = 2
    failure_penalty: int = 100
    failure_fades_ms: int = 3_600_000
    start_grace_ms: int = 600_000
    eviction_grace_ms: int = field(default=0, metadata=LATER)


# Those of the policies that come with this release. What gives way ends in three times as long as
# containers have by default, and long before whoever waits for its room looks for it elsewhere.
DISRUPTION = DisruptionRules(eviction_grace_ms=30_000)
