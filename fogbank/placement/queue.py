"""In which order deployments are looked at.

Priority first, then job weight (GPU-heavy asks first, after the mlops_scheduler document), then
age. Waiting raises a deployment's place by 1 for each minute within its class, so that nothing
starves, and never into a higher class.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from heapq import heappop, heappush

from fogbank.domain.deployment import HIGH_PRIORITY_FROM, MEDIUM_PRIORITY_FROM
from fogbank.domain.facts import DeploymentFact
from fogbank.placement.arrays import CPU, GPU, MEMORY

_AGEING_STEP_US = 60_000_000
_TOP_PRIORITY = 100
_SHARE_STEPS = 1_000_000
_GPU_WEIGHT = 4
# A line is sorted anew for what comes, unless it is longer than so many times that.
_FEW = 4

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


def _next_ageing_us(key: QueueKey, deployment: DeploymentFact) -> int | None:
    """Return the next instant at which waiting raises a deployment; None if it is at the top."""
    priority, raised = deployment.spec.priority, -key[0]
    if raised >= top_of_class(priority):
        return None
    return deployment.created_at_us + (raised - priority + 1) * _AGEING_STEP_US


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

    Keys stand in a sorted line, and in a heap where they are too few for a long line to be sorted
    anew. The first is the last of the line, and taking it costs the same however many wait.
    """

    def __init__(self) -> None:
        """Begin with nobody waiting."""
        self._keys: dict[str, QueueKey | None] = {}
        self._new: list[str] = []
        # Keys made in the last `sync`: mostly nobody has to know when waiting raises these.
        self._fresh: list[QueueKey] = []
        self._taken: list[QueueKey] = []
        self._line: list[QueueKey] = []
        self._heap: list[QueueKey] = []
        self._ageing: list[tuple[int, str]] = []
        self._instant_us = 0
        self._totals: tuple[int, ...] = ()

    def __len__(self) -> int:
        """How many wait."""
        return len(self._keys)

    def __iter__(self) -> Iterator[str]:
        """Yield the ids of those that wait, in no order that counts."""
        return iter(self._keys)

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
            self._line, self._heap, self._ageing = [], [], []
            self._fresh, self._taken = [], []
        self._totals, self._instant_us = order.totals, order.instant_us
        again = [key for key in self._taken if self._keys.get(key[3]) is key]
        self._taken = []
        for key in self._fresh:
            if self._keys.get(key[3]) is key:
                ageing_us = _next_ageing_us(key, order.deployments[key[3]])
                if ageing_us is not None:
                    heappush(self._ageing, (ageing_us, key[3]))
        while self._ageing and self._ageing[0][0] <= order.instant_us:
            self._new.append(heappop(self._ageing)[1])
        self._fresh = self._keys_of_new(order)
        if again or self._fresh:
            self._place(again + self._fresh)

    def _keys_of_new(self, order: Order) -> list[QueueKey]:
        made = []
        for deployment_id in self._new:
            if deployment_id in self._keys:
                deployment = order.deployments[deployment_id]
                weight = job_weight(order.totals, deployment)
                key = self._keys[deployment_id] = queue_key(weight, deployment, order.instant_us)
                made.append(key)
        self._new = []
        return made

    def _place(self, added: list[QueueKey]) -> None:
        if len(self._line) < _FEW * (len(self._heap) + len(added)):
            self._line += self._heap
            self._line += added
            self._line.sort(reverse=True)
            self._heap = []
        else:
            for key in added:
                heappush(self._heap, key)

    def peek(self) -> QueueKey | None:
        """Return the key of the first in the queue, if there is any."""
        keys, line, heap = self._keys, self._line, self._heap
        while line and keys.get(line[-1][3]) is not line[-1]:
            line.pop()
        while heap and keys.get(heap[0][3]) is not heap[0]:
            heappop(heap)
        if not heap:
            return line[-1] if line else None
        return heap[0] if not line or heap[0] < line[-1] else line[-1]

    def take(self) -> QueueKey | None:
        """Pass over the first in the queue, until the next `sync`; return who comes next."""
        line, heap = self._line, self._heap
        first = heappop(heap) if heap and (not line or heap[0] < line[-1]) else line.pop()
        self._taken.append(first)
        return self.peek()
