"""All strategies by name."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from fogbank.domain.deployment import DeploymentSpec
from fogbank.domain.policy import Policy, Ties
from fogbank.placement.arrays import Floats, Integers
from fogbank.placement.strategies.balanced import OfOne, balanced, balanced_of_one
from fogbank.placement.strategies.gpus import fgd, gpu_packing
from fogbank.placement.strategies.objectives import multi_objective
from fogbank.placement.strategies.rows import Rows
from fogbank.placement.strategies.shares import (
    balanced_allocation,
    binpack,
    least_allocated,
    most_allocated,
    spread,
)
from fogbank.placement.strategies.vectors import best_fit, dot_product

SCORE_STEPS = 1000
_PERCENT = 100

Terms = Callable[[Rows, Integers, DeploymentSpec, Policy], dict[str, Floats]]


def _indifferent(
    rows: Rows, _ask: Integers, _spec: DeploymentSpec, _policy: Policy
) -> dict[str, Floats]:
    return {"any": np.zeros(rows.count, dtype=np.float64)}


@dataclass(frozen=True, slots=True)
class Strategy:
    """A way to score nodes: its terms by name sum to a share of 1, which is cut into steps.

    `round_up_at` is the part of a step from which on it counts as a whole one. `ties` is set where
    the strategy depends on it, whatever the policy says. `falls` where a node is never worth more
    for what else is booked on it, nor for a higher load. `of_one` is what the terms of a single
    node where it fits sum to, to the last bit, where plain numbers do; they take a tenth of an
    array's time.
    `reads_labels` where scores go by the deployment's labels.
    """

    name: str
    terms: Terms
    steps: int = SCORE_STEPS
    round_up_at: float = 0.5
    ties: Ties | None = None
    falls: bool = False
    of_one: Callable[[Policy], OfOne] | None = None
    reads_labels: bool = False

    @property
    def whole_above(self) -> float:
        """What is added to a score in steps before it is cut to a whole number."""
        return 1.0 - self.round_up_at


# Above what rounding can take from a whole percent, below any real part of one.
_FLOOR = 1.0 - 1e-9

STRATEGIES: Mapping[str, Strategy] = {
    strategy.name: strategy
    for strategy in (
        Strategy("balanced", balanced, falls=True, of_one=balanced_of_one),
        Strategy("binpack", binpack),
        Strategy("spread", spread, falls=True),
        Strategy("least-allocated", least_allocated, _PERCENT, falls=True),
        Strategy("most-allocated", most_allocated, _PERCENT),
        Strategy("balanced-allocation", balanced_allocation, _PERCENT, _FLOOR),
        Strategy("best-fit", best_fit, _PERCENT, _FLOOR),
        Strategy("dot-product", dot_product, _PERCENT, _FLOOR),
        Strategy("gpu-packing", gpu_packing, _PERCENT),
        Strategy("fgd", fgd, _PERCENT),
        Strategy("multi-objective", multi_objective, reads_labels=True),
        Strategy("first-fit", _indifferent, ties=Ties.ORDER, falls=True),
        Strategy("random", _indifferent, ties=Ties.HASH, falls=True),
    )
}


def strategy_name(spec: DeploymentSpec, policy: Policy) -> str:
    """Return the name of the strategy that an ask wants, or the policy's for its class."""
    return spec.strategy or policy.strategy_for(spec.resources, spec.priority)


def strategy_of(spec: DeploymentSpec, policy: Policy) -> Strategy:
    """Return the strategy for an ask. KeyError if there is none of its name."""
    return STRATEGIES[strategy_name(spec, policy)]


def terms_of(rows: Rows, ask: Integers, spec: DeploymentSpec, policy: Policy) -> dict[str, Floats]:
    """Return the terms of each node's score by name; what they sum to is at most 1."""
    return strategy_of(spec, policy).terms(rows, ask, spec, policy)


def score_rows(rows: Rows, ask: Integers, spec: DeploymentSpec, policy: Policy) -> Integers:
    """Return each node's score as a whole number; higher is better."""
    strategy = strategy_of(spec, policy)
    first, *others = strategy.terms(rows, ask, spec, policy).values()
    total = first
    for term in others:
        total = total + term
    steps = total * strategy.steps
    steps += strategy.whole_above
    return np.floor(steps, out=steps).astype(np.int64)
