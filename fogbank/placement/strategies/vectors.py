"""Strategies that compare amounts across nodes of all sizes, in parts of the reference node.

Formulas and the steps of a hundredth are those of the baselines in Weng et al., 'Beware of
Fragmentation' (USENIX ATC 2023), whose weights are cpu 1 and gpu 1.
"""

from __future__ import annotations

import numpy as np

from fogbank.domain.deployment import DeploymentSpec
from fogbank.domain.policy import Policy
from fogbank.placement.arrays import Floats, Integers, amounts
from fogbank.placement.strategies.rows import Rows


def best_fit(rows: Rows, ask: Integers, _spec: DeploymentSpec, policy: Policy) -> dict[str, Floats]:
    """Prefer the node with the least left over: 1 - the weighted mean of what stays free."""
    left = np.zeros(rows.count, dtype=np.float64)
    for dimension, weight, reference in _weighed(policy):
        left = left + rows.free_after(ask, dimension) / reference * weight
    return {"fit": np.maximum(1.0 - left, 0.0)}


def dot_product(
    rows: Rows, ask: Integers, _spec: DeploymentSpec, policy: Policy
) -> dict[str, Floats]:
    """Prefer the node whose room is least like the ask: 1 - the mean product of room and ask.

    After Tetris (Grandl et al., SIGCOMM 2014).
    """
    product = np.zeros(rows.count, dtype=np.float64)
    for dimension, weight, reference in _weighed(policy):
        free = np.maximum(rows.allocatable[dimension] - rows.booked[dimension], 0)
        product = product + (free / reference) * (ask[dimension] / reference) * weight
    return {"unlikeness": np.maximum(1.0 - product, 0.0)}


def _weighed(policy: Policy) -> list[tuple[int, float, float]]:
    """Return the dimensions that count, with their part of all weight and the reference amount."""
    weights = policy.weights.by_dimension
    reference = amounts(policy.reference)[:, 0]
    total = max(sum(weights), 1)
    return [
        (dimension, weight / total, max(float(reference[dimension]), 1.0))
        for dimension, weight in enumerate(weights)
        if weight
    ]
