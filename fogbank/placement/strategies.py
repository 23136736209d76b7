"""How nodes are scored. A score is an integer from 0 to 1000; higher is better.

Scores use elementwise arithmetic only, so that they come out the same on every machine, and are
quantised, so that rounding never decides. Ties go by the stable order of the nodes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from fogbank.domain.deployment import DeploymentSpec
from fogbank.domain.policy import Policy
from fogbank.placement.arrays import CPU, MEMORY, FleetArrays, Floats, Integers, Mask

SCORE_STEPS = 1000
_SAME, _ADJACENT, _REMOTE = 1.0, 2.0 / 3.0, 1.0 / 3.0


def free_share_after(
    arrays: FleetArrays, booked: Integers, ask: Integers, dimension: int
) -> Floats:
    """Return for each node the share of its room that stays free after placing, 0 to 1."""
    room = arrays.allocatable[dimension]
    free = room - booked[dimension] - ask[dimension]
    share: Floats = np.maximum(free, 0) / np.maximum(room, 1)
    return share


def locality(arrays: FleetArrays, spec: DeploymentSpec, policy: Policy) -> Floats:
    """Return 1 for nodes of the wanted region, 2/3 for its neighbours', 1/3 for others."""
    adjacent = policy.adjacency.get(spec.region, ())
    values = {**dict.fromkeys(adjacent, _ADJACENT), spec.region: _SAME}
    by_region = np.array(
        [values.get(region, _REMOTE) for region in arrays.regions], dtype=np.float64
    )
    near: Floats = by_region[arrays.region_codes]
    return near


def balanced_terms(
    arrays: FleetArrays, booked: Integers, ask: Integers, spec: DeploymentSpec, policy: Policy
) -> dict[str, Floats]:
    """Return the weighted terms of the default score, by name.

    The formula of the FUNC-01 document: 0.4 of the mean free share of cpu and memory after
    placing, 0.15 of each of the idle shares of cpu and memory, 0.3 of locality.
    """
    cpu_free = free_share_after(arrays, booked, ask, CPU)
    memory_free = free_share_after(arrays, booked, ask, MEMORY)
    return {
        "resources": (cpu_free + memory_free) / 2.0 * policy.resource_weight,
        "cpu load": (1.0 - arrays.load[CPU]) * policy.cpu_load_weight,
        "memory load": (1.0 - arrays.load[MEMORY]) * policy.memory_load_weight,
        "locality": locality(arrays, spec, policy) * policy.locality_weight,
    }


Terms = Callable[[FleetArrays, Integers, Integers, DeploymentSpec, Policy], dict[str, Floats]]

STRATEGIES: Mapping[str, Terms] = {"balanced": balanced_terms}


def score(
    arrays: FleetArrays, booked: Integers, ask: Integers, spec: DeploymentSpec, policy: Policy
) -> Integers:
    """Return each node's score as an integer, by the deployment's strategy or the policy's."""
    terms = STRATEGIES[spec.strategy or policy.strategy](arrays, booked, ask, spec, policy)
    total = np.zeros(arrays.size, dtype=np.float64)
    for term in terms.values():
        total = total + term
    return np.floor(total * SCORE_STEPS + 0.5).astype(np.int64)


def best_rows(scores: Integers, feasible: Mask, count: int) -> list[int]:
    """Return up to `count` feasible rows, best score first, ties by the stable order."""
    rows = np.flatnonzero(feasible)
    # Scores fit in 16 bits, and so narrow integers are sorted in linear time.
    order = np.argsort((-scores[rows]).astype(np.int16), kind="stable")
    return [int(row) for row in rows[order[:count]]]
