"""What a span of the log led to, and what another policy would have made of the same facts.

Apart from the code that decides, so that whoever only shows it needs none of that.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from fogbank.domain.rederived import Span

# The names of all figures: counts of what rounds decided in the span, the end of it, means over log
# time, waits from creation to first placement, and what replicas are worth in the mean.
FIGURES = (
    "rounds",
    "deployments_placed",
    "replicas_placed",
    "deferrals",
    "failures",
    "preemptions",
    "replicas_evicted",
    "replicas_released",
    "replicas_lost",
    "wait_mean_ms",
    "wait_p95_ms",
    "end_placed",
    "end_partly_placed",
    "end_waiting",
    "end_failed",
    "end_nodes_used",
    "mean_nodes_used",
    "end_cpu_percent",
    "mean_cpu_percent",
    "end_memory_percent",
    "mean_memory_percent",
    "end_storage_percent",
    "mean_storage_percent",
    "end_gpu_percent",
    "mean_gpu_percent",
    "points_by_actual_policy",
    "points_by_alternative_policy",
)

# More deployments that fared differently are counted, and not named.
DIFFERENCES_NAMED = 500


@dataclass(frozen=True, slots=True)
class Fate:
    """What became of a deployment: how it stands at the end, and what happened on the way.

    `nodes` are the names of its nodes by slot, those it was first placed on if it is deleted;
    `waited_ms` is the time from its creation to its first placement, -1 for none in the span.
    """

    standing: str
    nodes: tuple[str, ...] = ()
    evicted: int = 0
    waited_ms: int = -1

    def differs(self, other: Fate) -> bool:
        """Tell whether another one stands, stood or was evicted otherwise; waits alone may vary."""
        return (self.standing, self.nodes, self.evicted) != (
            other.standing,
            other.nodes,
            other.evicted,
        )


@dataclass(frozen=True, slots=True)
class Difference:
    """A deployment that fared differently."""

    deployment_id: str
    name: str
    actual: Fate
    alternative: Fate


@dataclass(frozen=True, slots=True)
class ComparedPart:
    """How far a comparison is, the last commit being `sequence`, and what came of it so far.

    Figures are by name; differences come with the last part alone, `differing` says how many there
    are. `deployments` counts those that stood or came in the span.
    """

    span: Span
    sequence: int
    actual: Mapping[str, float] = field(default_factory=dict)
    alternative: Mapping[str, float] = field(default_factory=dict)
    deployments: int = 0
    differing: int = 0
    differences: tuple[Difference, ...] = ()
