"""In which order deployments are looked at.

Priority first, then job weight (GPU-heavy asks first, after the mlops_scheduler document), then
age. Waiting raises a deployment's place by 1 for each minute within its class, so that nothing
starves, and never into a higher class.
"""

from __future__ import annotations

from collections.abc import Sequence

from fogbank.domain.deployment import HIGH_PRIORITY_FROM, MEDIUM_PRIORITY_FROM
from fogbank.domain.facts import DeploymentFact
from fogbank.placement.arrays import CPU, GPU, MEMORY

_AGEING_STEP_US = 60_000_000
_TOP_PRIORITY = 100
_SHARE_STEPS = 1_000_000
_WEIGHTS = ((GPU, 4), (CPU, 1), (MEMORY, 1))

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
    resources = deployment.spec.resources
    asked = {
        CPU: resources.cpu_millicores,
        MEMORY: resources.memory_mib,
        GPU: resources.gpu_thousandths,
    }
    return sum(
        weight
        * (asked[dimension] * deployment.spec.replicas * _SHARE_STEPS)
        // max(totals[dimension], 1)
        for dimension, weight in _WEIGHTS
    )


class JobWeights:
    """Job weights, remembered while the fleet's totals and the deployment stay as they are."""

    def __init__(self) -> None:
        """Begin with none."""
        self._totals: tuple[int, ...] = ()
        self._weights: dict[str, tuple[int, int]] = {}

    def of(self, totals: tuple[int, ...], deployment: DeploymentFact) -> int:
        """Return a deployment's job weight."""
        if totals != self._totals:
            self._totals = totals
            self._weights.clear()
        version, weight = self._weights.get(deployment.id, (-1, 0))
        if version != deployment.version:
            weight = job_weight(totals, deployment)
            self._weights[deployment.id] = (deployment.version, weight)
        return weight


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
