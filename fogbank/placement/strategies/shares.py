"""Strategies that go by the shares of a node's room that are taken or free after placing."""

from __future__ import annotations

import numpy as np

from fogbank.domain.deployment import DeploymentSpec
from fogbank.domain.policy import Policy
from fogbank.placement.arrays import CPU, MEMORY, Floats, Integers
from fogbank.placement.strategies.powers import ten_to_the
from fogbank.placement.strategies.rows import Rows

_MOST = 18.0
_PERCENT = 100


def binpack(rows: Rows, ask: Integers, _spec: DeploymentSpec, _policy: Policy) -> dict[str, Floats]:
    """Fill nodes up: 20 - (10^free cpu + 10^free memory), between 0 and 18, over 18.

    BestFit v3 of Google, as Nomad has it.
    """
    powers = _cpu_and_memory_powers(rows, ask)
    return {"packing": np.minimum(np.maximum(20.0 - powers, 0.0), _MOST) / _MOST}


def spread(rows: Rows, ask: Integers, _spec: DeploymentSpec, _policy: Policy) -> dict[str, Floats]:
    """Keep nodes empty: 10^free cpu + 10^free memory - 2, between 0 and 18, over 18."""
    powers = _cpu_and_memory_powers(rows, ask)
    return {"spreading": np.minimum(np.maximum(powers - 2.0, 0.0), _MOST) / _MOST}


def _cpu_and_memory_powers(rows: Rows, ask: Integers) -> Floats:
    return ten_to_the(rows.free_share_after(ask, CPU)) + ten_to_the(
        rows.free_share_after(ask, MEMORY)
    )


def least_allocated(
    rows: Rows, ask: Integers, _spec: DeploymentSpec, policy: Policy
) -> dict[str, Floats]:
    """Prefer what stays emptiest: the weighted mean of whole percents, as Kubernetes has it."""
    return {"free": _weighted_percents(rows, ask, policy, free=True)}


def most_allocated(
    rows: Rows, ask: Integers, _spec: DeploymentSpec, policy: Policy
) -> dict[str, Floats]:
    """Prefer what gets fullest: the weighted mean of whole percents, as Kubernetes has it."""
    return {"used": _weighted_percents(rows, ask, policy, free=False)}


def _weighted_percents(rows: Rows, ask: Integers, policy: Policy, *, free: bool) -> Floats:
    """Return the weighted mean percent over the resources that a node has, rounded down."""
    total = np.zeros(rows.count, dtype=np.int64)
    weights = np.zeros(rows.count, dtype=np.int64)
    for dimension, weight in enumerate(policy.weights.by_dimension):
        room = rows.allocatable[dimension]
        left = rows.free_after(ask, dimension)
        amount = left if free else np.maximum(room - left, 0)
        total += weight * (amount * _PERCENT // np.maximum(room, 1)) * (room > 0)
        weights += weight * (room > 0)
    percents: Floats = (total // np.maximum(weights, 1)) / float(_PERCENT)
    return percents


def balanced_allocation(
    rows: Rows, ask: Integers, _spec: DeploymentSpec, _policy: Policy
) -> dict[str, Floats]:
    """Prefer nodes whose cpu and memory fill evenly: 1 - the standard deviation of the shares.

    Of two shares the deviation is half of what lies between them.
    """
    between = rows.used_share_after(ask, CPU) - rows.used_share_after(ask, MEMORY)
    return {"evenness": 1.0 - np.maximum(between, -between) / 2.0}
