"""In which order deployments are looked at.

Priority first, then job weight (GPU-heavy asks first, after the mlops_scheduler document), then
age. Waiting raises a deployment's place by 1 for each minute within its class, so that nothing
starves, and never into a higher class.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from heapq import heapify, heappop, heappush

from fogbank.domain.deployment import HIGH_PRIORITY_FROM, MEDIUM_PRIORITY_FROM
from fogbank.domain.facts import DeploymentFact
from fogbank.placement.arrays import CPU, GPU, MEMORY

_AGEING_STEP_US = 60_000_000
_TOP_PRIORITY = 100
_SHARE_STEPS = 1_000_000
_GPU_WEIGHT = 4

QueueKey = tuple[int, int, int, str]


def top_of_class(priority: int) -> int:
    """Return the highest priority that waiting can raise a priority to."""
    if priority >= HIGH_PRIORITY_FROM:
        return _TOP_PRIORITY
    if priority >= MEDIUM_PRIORITY_FROM:
        return HIGH_PRIORITY_FROM - 1
    return MEDIUM_PRIORITY_FROM - 1


def job_weight(totals: Sequence[int], deployment: DeploymentFact) -> int:
    """Return how much of the fleet's totals a deployment asks for, gpu 4 : cpu 1 : memory 1."""
    asked = deployment.spec.resources
    times = deployment.spec.replicas * _SHARE_STEPS
    return (
        _GPU_WEIGHT * asked.gpu_thousandths * times // (totals[GPU] or 1)
        + asked.cpu_millicores * times // (totals[CPU] or 1)
        + asked.memory_mib * times // (totals[MEMORY] or 1)
    )


def queue_key(weight: int, deployment: DeploymentFact, instant_us: int) -> QueueKey:
    """Return the sort key of a waiting deployment; the smallest is looked at first.

    At the top of its class age goes before weight, or a stream of heavy jobs would starve a
    light one there.
    """
    priority = deployment.spec.priority
    top = top_of_class(priority)
    waited = max(instant_us - deployment.created_at_us, 0) // _AGEING_STEP_US
    raised = min(priority + waited, top)
    age = deployment.created_position
    if raised == top:
        return (-raised, age, -weight, deployment.id)
    return (-raised, -weight, age, deployment.id)


def next_ageing_us(deployment: DeploymentFact, instant_us: int) -> int | None:
    """Return the next instant at which waiting raises a deployment; None if it is at the top."""
    priority = deployment.spec.priority
    waited = max(instant_us - deployment.created_at_us, 0) // _AGEING_STEP_US
    if priority + waited >= top_of_class(priority):
        return None
    return deployment.created_at_us + (waited + 1) * _AGEING_STEP_US


@dataclass(frozen=True, slots=True)
class Order:
    """What the order of waiting deployments depends on beside themselves."""

    instant_us: int
    totals: tuple[int, ...]
    deployments: Mapping[str, DeploymentFact]


class WaitingQueue:
    """Deployments in the order in which they are looked at, kept up as time passes.

    A key is made when a deployment comes, when waiting raises it, and for all of them anew when
    the fleet's totals change. What `take` took comes back with the next `sync`, unless it was
    discarded: whether a round counts shows only later.
    """

    def __init__(self) -> None:
        """Begin with nobody waiting."""
        self._keys: dict[str, QueueKey | None] = {}
        self._new: list[str] = []
        self._taken: list[QueueKey] = []
        self._heap: list[QueueKey] = []
        self._ageing: list[tuple[int, str]] = []
        self._instant_us = 0
        self._totals: tuple[int, ...] = ()

    def __len__(self) -> int:
        """How many wait."""
        return len(self._keys)

    def add(self, deployment_id: str) -> None:
        """Let a deployment wait."""
        self._keys[deployment_id] = None
        self._new.append(deployment_id)

    def discard(self, deployment_id: str) -> None:
        """Let a deployment wait no more."""
        self._keys.pop(deployment_id, None)

    def sync(self, order: Order) -> None:
        """Put everybody in their place as of an instant."""
        if order.totals != self._totals or order.instant_us < self._instant_us:
            self._new = list(self._keys)
            self._heap, self._taken, self._ageing = [], [], []
        self._totals, self._instant_us = order.totals, order.instant_us
        for key in self._taken:
            if self._keys.get(key[3]) is key:
                heappush(self._heap, key)
        self._taken = []
        while self._ageing and self._ageing[0][0] <= order.instant_us:
            self._new.append(heappop(self._ageing)[1])
        if self._new:
            self._place(order)

    def _place(self, order: Order) -> None:
        added = []
        for deployment_id in dict.fromkeys(self._new):
            if deployment_id in self._keys:
                deployment = order.deployments[deployment_id]
                weight = job_weight(order.totals, deployment)
                key = self._keys[deployment_id] = queue_key(weight, deployment, order.instant_us)
                added.append(key)
                ageing_us = next_ageing_us(deployment, order.instant_us)
                if ageing_us is not None:
                    heappush(self._ageing, (ageing_us, deployment_id))
        self._new = []
        if len(added) > len(self._heap):
            self._heap += added
            heapify(self._heap)
        else:
            for key in added:
                heappush(self._heap, key)

    def peek(self) -> QueueKey | None:
        """Return the key of the first in the queue, if there is any."""
        while self._heap:
            key = self._heap[0]
            if self._keys.get(key[3]) is key:
                return key
            heappop(self._heap)
        return None

    def take(self) -> None:
        """Pass over the first in the queue, until the next `sync`."""
        self._taken.append(heappop(self._heap))
