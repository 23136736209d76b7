"""The default: room, idle processors and memory, and nearness, weighed against one another."""

from __future__ import annotations

from fogbank.domain.deployment import DeploymentSpec
from fogbank.domain.policy import Policy
from fogbank.placement.arrays import CPU, MEMORY, Floats, Integers
from fogbank.placement.strategies.rows import Rows


def balanced(rows: Rows, ask: Integers, spec: DeploymentSpec, policy: Policy) -> dict[str, Floats]:
    """Return the weighted terms of the default score.

    The formula of the FUNC-01 document: 0.4 of the mean free share of cpu and memory after
    placing, 0.15 of each of the idle shares of cpu and memory, 0.3 of locality.
    """
    cpu_free, memory_free = rows.free_share_after(ask, slice(CPU, MEMORY + 1))
    cpu_idle, memory_idle = 1.0 - rows.load
    return {
        "resources": (cpu_free + memory_free) / 2.0 * policy.resource_weight,
        "cpu load": cpu_idle * policy.cpu_load_weight,
        "memory load": memory_idle * policy.memory_load_weight,
        "locality": rows.locality(spec.region, policy) * policy.locality_weight,
    }
