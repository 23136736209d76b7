"""Policies: everything that a decision depends on beside the state of the fleet.

The default's weights are those of the FUNC-01 document: 0.4 for what stays free, 0.3 for load
(split in halves between cpu and memory) and 0.3 for locality.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from fogbank.domain.deployment import HIGH_PRIORITY_FROM
from fogbank.domain.disruption import DISRUPTION, DisruptionRules
from fogbank.domain.resources import Resources

# All strategies there are, the default first; `fogbank.placement.strategies` has what they do.
STRATEGY_NAMES = (
    "balanced",
    "binpack",
    "spread",
    "least-allocated",
    "most-allocated",
    "balanced-allocation",
    "best-fit",
    "dot-product",
    "gpu-packing",
    "fgd",
    "multi-objective",
    "first-fit",
    "random",
)


class Ties(StrEnum):
    """Which of equally good nodes comes first."""

    ORDER = "order"  # the one that first shook hands
    HASH = "hash"  # by a hash of the round before, the deployment and the node


@dataclass(frozen=True, slots=True)
class AskClass:
    """A class of asks with a strategy of its own: those with at least so much of a GPU."""

    name: str
    strategy: str
    gpu_from_thousandths: int = 0
    priority_from: int = 0

    def takes(self, ask: Resources, priority: int) -> bool:
        """Tell whether an ask belongs to the class."""
        enough_gpu = ask.gpu_thousandths >= self.gpu_from_thousandths
        return enough_gpu and priority >= self.priority_from


@dataclass(frozen=True, slots=True)
class MixedAsk:
    """One kind of ask in a mix of them; `weight` is how common it is among the others."""

    cpu_millicores: int
    gpu_thousandths: int
    weight: int


# What is asked for in the published GPU trace, rounded: a seventh wants no GPU, three eighths a
# share of one, half a whole one, one in a hundred several.
GPU_MIX = (
    MixedAsk(4_000, 0, 133),
    MixedAsk(4_000, 100, 60),
    MixedAsk(4_000, 250, 100),
    MixedAsk(6_000, 460, 120),
    MixedAsk(8_000, 750, 98),
    MixedAsk(8_000, 1_000, 480),
    MixedAsk(16_000, 2_000, 2),
    MixedAsk(32_000, 4_000, 2),
    MixedAsk(64_000, 8_000, 5),
)


@dataclass(frozen=True, slots=True)
class ResourceWeights:
    """How much each resource counts where a strategy weighs them against one another."""

    cpu: int = 1
    memory: int = 1
    storage: int = 0
    gpu: int = 0

    @property
    def by_dimension(self) -> tuple[int, int, int, int]:
        """Weights in the order of `Resources`."""
        return (self.cpu, self.memory, self.storage, self.gpu)


@dataclass(frozen=True, slots=True)
class ObjectiveWeights:
    """Weights of the multi-objective strategy; those of the mlops_scheduler document."""

    utilisation: float = 0.30
    balance: float = 0.25
    latency: float = 0.25
    affinity: float = 0.10
    energy: float = 0.10


@dataclass(frozen=True, slots=True)
class PowerModel:
    """What a node draws, in watts: asleep while empty, from idle to full with its load."""

    sleep_watts: int = 10
    idle_watts: int = 100
    full_watts: int = 250


# The largest node that the artifact of the published GPU trace compares with.
REFERENCE_NODE = Resources(128_000, 1_048_576, 1_000, 8_000)


@dataclass(frozen=True, slots=True)
class Policy:
    """A named, versioned set of rules; times in milliseconds, loads in percent.

    `latency_ms` are round trips from region to region; where one is known, nearness is
    `latency_half_ms / (latency_half_ms + round trip)` in place of what adjacency says.
    `gpu_mix` is what `fgd` expects to be asked for next; without one all nodes are alike to it.
    `reference` is the node against which amounts are compared across nodes of all sizes.
    """

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
    disruption: DisruptionRules = DISRUPTION
    classes: tuple[AskClass, ...] = (AskClass("gpu", "fgd", gpu_from_thousandths=1),)
    ties: Ties = Ties.ORDER
    weights: ResourceWeights = ResourceWeights()
    reference: Resources = REFERENCE_NODE
    latency_ms: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    latency_half_ms: int = 50
    objectives: ObjectiveWeights = ObjectiveWeights()
    power: PowerModel = PowerModel()
    gpu_mix: tuple[MixedAsk, ...] = GPU_MIX
    preemption_min_priority: int = 60
    preemption_min_gap: int = 10
    preemption_across_clusters: bool = False

    @property
    def preemption_gap(self) -> int:
        """By how much less important victims must be: at least 1, so that nobody gets it back."""
        return max(self.preemption_min_gap, 1)

    def gives_way_to(self, priority: int) -> int | None:
        """Return the highest priority that gives way to a priority; None if none does."""
        if priority < max(self.preemption_min_priority, HIGH_PRIORITY_FROM):
            return None
        return priority - self.preemption_gap

    def strategy_for(self, ask: Resources, priority: int) -> str:
        """Return the strategy for asks that name none: the first fitting class's, or this one's."""
        for kind in self.classes:
            if kind.takes(ask, priority):
                return kind.strategy
        return self.strategy

    @property
    def title(self) -> str:
        """Name and version, as `balanced@1`."""
        return f"{self.name}@{self.version}"

    def heartbeat_period_for_ms(self, nodes: int) -> int:
        """Return the period for a fleet of `nodes`: at least 1 ms for each node."""
        return max(self.heartbeat_period_ms, nodes)
