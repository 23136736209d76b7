"""How nodes are scored: pure row-wise functions over arrays of nodes.

A strategy's terms are elementwise arithmetic on a node's own columns, so that they come out the
same on every machine and for any selection of nodes; the score is cut to a whole number, so that
rounding never decides. Equally good nodes go by the stable order or by an integer hash.
"""

from __future__ import annotations

import numpy as np

from fogbank.domain.deployment import DeploymentSpec
from fogbank.domain.policy import Policy, Ties
from fogbank.placement.arrays import FleetArrays, Integers, Keys, Mask, Selection
from fogbank.placement.strategies.balanced import OfOne
from fogbank.placement.strategies.catalogue import (
    SCORE_STEPS,
    STRATEGIES,
    Strategy,
    score_rows,
    strategy_name,
    strategy_of,
    terms_of,
)
from fogbank.placement.strategies.rows import ALL, Rows, nearness
from fogbank.placement.strategies.ties import tie_keys

__all__ = [
    "ALL",
    "SCORE_STEPS",
    "STRATEGIES",
    "OfOne",
    "Rows",
    "Selection",
    "Strategy",
    "best_rows",
    "nearness",
    "score",
    "score_rows",
    "strategy_name",
    "strategy_of",
    "terms_of",
    "tie_breaker",
    "tie_keys",
]


def score(
    arrays: FleetArrays,
    booked: Integers,
    ask: Integers,
    spec: DeploymentSpec,
    policy: Policy,
    *,
    selection: Selection = ALL,
) -> Integers:
    """Return the score of each node, or of the selected ones, by the strategy of the ask."""
    return score_rows(Rows.of(arrays, booked, selection), ask, spec, policy)


def tie_breaker(
    arrays: FleetArrays,
    prev_digest: bytes,
    deployment_id: str,
    spec: DeploymentSpec,
    policy: Policy,
) -> Keys | None:
    """Return the keys by which ties between nodes go; None for the stable order."""
    ties = strategy_of(spec, policy).ties or policy.ties
    if ties is Ties.ORDER:
        return None
    return tie_keys(prev_digest, deployment_id, arrays.node_keys)


def best_rows(scores: Integers, feasible: Mask, count: int, ties: Keys | None = None) -> list[int]:
    """Return up to `count` feasible rows, best score first.

    Ties go by the lowest of their keys if there are any, else by the stable order.
    """
    rows = np.flatnonzero(feasible)
    # Scores fit in 16 bits, and so narrow integers are sorted in linear time.
    worse = (-scores[rows]).astype(np.int16)
    order = np.argsort(worse, kind="stable") if ties is None else np.lexsort((ties[rows], worse))
    return [int(row) for row in rows[order[:count]]]
