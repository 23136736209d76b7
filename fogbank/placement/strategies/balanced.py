"""The default: room, idle processors and memory, and nearness, weighed against one another."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

from fogbank.domain.deployment import DeploymentSpec
from fogbank.domain.policy import Policy
from fogbank.placement.arrays import CPU, MEMORY, Floats, Integers
from fogbank.placement.strategies.rows import Rows

_Number = TypeVar("_Number", float, Floats)


def balanced(rows: Rows, ask: Integers, spec: DeploymentSpec, policy: Policy) -> dict[str, Floats]:
    """Return the weighted terms of the default score.

    The formula of the FUNC-01 document: 0.4 of the mean free share of cpu and memory after
    placing, 0.15 of each of the idle shares of cpu and memory, 0.3 of locality.
    """
    cpu_free, memory_free = rows.free_share_after(ask, slice(CPU, MEMORY + 1))
    cpu_idle, memory_idle = 1.0 - rows.load
    near = rows.locality(spec.region, policy)
    terms = _weighed(policy, (cpu_free, memory_free), (cpu_idle, memory_idle), near)
    return dict(zip(("resources", "cpu load", "memory load", "locality"), terms, strict=True))


def balanced_of_one(
    room: Sequence[int], free: Sequence[int], load: Sequence[float], near: float, policy: Policy
) -> float:
    """Return what the terms of one node sum to: the same arithmetic on plain numbers."""
    cpu_free, memory_free = free[CPU], free[MEMORY]
    resources, cpu, memory, locality = _weighed(
        policy,
        (
            float(cpu_free) / float(room[CPU] or 1) if cpu_free > 0 else 0.0,
            float(memory_free) / float(room[MEMORY] or 1) if memory_free > 0 else 0.0,
        ),
        (1.0 - load[CPU], 1.0 - load[MEMORY]),
        near,
    )
    return resources + cpu + memory + locality


def _weighed(
    policy: Policy,
    free: tuple[_Number, _Number],
    idle: tuple[_Number, _Number],
    near: _Number,
) -> tuple[_Number, _Number, _Number, _Number]:
    """Return the terms, from what of cpu and of memory is free after placing and idle."""
    return (
        (free[CPU] + free[MEMORY]) / 2.0 * policy.resource_weight,
        idle[CPU] * policy.cpu_load_weight,
        idle[MEMORY] * policy.memory_load_weight,
        near * policy.locality_weight,
    )
