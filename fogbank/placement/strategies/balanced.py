"""The default: room, idle processors and memory, and nearness, weighed against one another."""

from __future__ import annotations

from typing import Protocol, TypeVar

from fogbank.domain.deployment import DeploymentSpec
from fogbank.domain.policy import Policy
from fogbank.placement.arrays import CPU, MEMORY, Floats, Integers
from fogbank.placement.strategies.rows import Rows

_Number = TypeVar("_Number", float, Floats)


class OfOne(Protocol):
    """What the terms of a node where an ask fits sum to, or of many nodes."""

    def __call__(  # noqa: PLR0917  names take a third longer, and it is called for each candidate
        self,
        cpu_free: _Number,
        memory_free: _Number,
        cpu: _Number,
        memory: _Number,
        cpu_idle: _Number,
        memory_idle: _Number,
        near: _Number,
        /,
    ) -> _Number:
        """Return the sum.

        From what stays free of cpu and of memory after placing, the room of both (1 for none), the
        idle shares of both, and how near the node's region is. It is linear but for the room.
        """


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
    """Return what a fitting node's terms sum to: the same arithmetic on plain numbers."""
    resource_weight, locality_weight = policy.resource_weight, policy.locality_weight
    cpu_load_weight, memory_load_weight = policy.cpu_load_weight, policy.memory_load_weight

    def total(  # noqa: PLR0917  as `OfOne` has it
        cpu_free: _Number,
        memory_free: _Number,
        cpu: _Number,
        memory: _Number,
        cpu_idle: _Number,
        memory_idle: _Number,
        near: _Number,
        /,
    ) -> _Number:
        return (
            (cpu_free / cpu + memory_free / memory) / 2.0 * resource_weight
            + cpu_idle * cpu_load_weight
            + memory_idle * memory_load_weight
            + near * locality_weight
        )

    return total
