"""The default: room, idle processors and memory, and nearness, weighed against one another."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from fogbank.domain.deployment import DeploymentSpec
from fogbank.domain.policy import Policy
from fogbank.placement.arrays import CPU, MEMORY, Floats, Integers
from fogbank.placement.strategies.rows import Rows

# From the room by dimension, what of it stays free after placing, the load of cpu and memory as
# shares of 1, and how near the node's region is.
OfOne = Callable[[Sequence[int], Sequence[int], Sequence[float], float], float]


def balanced(rows: Rows, ask: Integers, spec: DeploymentSpec, policy: Policy) -> dict[str, Floats]:
    """Return the weighted terms of the default score.

    The formula of the FUNC-01 document: 0.4 of the mean free share of cpu and memory after
    placing, 0.15 of each of the idle shares of cpu and memory, 0.3 of locality.
    """
    cpu_free, memory_free = rows.free_share_after(ask, slice(CPU, MEMORY + 1))
    cpu_idle, memory_idle = 1.0 - rows.load
    near = rows.locality(spec.region, policy)
    return {
        "resources": (cpu_free + memory_free) / 2.0 * policy.resource_weight,
        "cpu load": cpu_idle * policy.cpu_load_weight,
        "memory load": memory_idle * policy.memory_load_weight,
        "locality": near * policy.locality_weight,
    }


def balanced_of_one(policy: Policy) -> OfOne:
    """Return what the terms of one node sum to: the same arithmetic on plain numbers."""
    resource_weight, locality_weight = policy.resource_weight, policy.locality_weight
    cpu_load_weight, memory_load_weight = policy.cpu_load_weight, policy.memory_load_weight

    def total(
        room: Sequence[int], free: Sequence[int], load: Sequence[float], near: float
    ) -> float:
        cpu_free, memory_free = free[CPU], free[MEMORY]
        cpu_share = float(cpu_free) / float(room[CPU] or 1) if cpu_free > 0 else 0.0
        memory_share = float(memory_free) / float(room[MEMORY] or 1) if memory_free > 0 else 0.0
        return (
            (cpu_share + memory_share) / 2.0 * resource_weight
            + (1.0 - load[CPU]) * cpu_load_weight
            + (1.0 - load[MEMORY]) * memory_load_weight
            + near * locality_weight
        )

    return total
