"""Several aims at once, each from 0 to 1, after the mlops_scheduler document.

The aims pull against each other on purpose: utilisation and energy fill nodes up, balance spreads.
"""

from __future__ import annotations

import numpy as np

from fogbank.domain.deployment import DeploymentSpec
from fogbank.domain.policy import Policy, PowerModel
from fogbank.placement.arrays import CPU, MEMORY, Floats, Integers
from fogbank.placement.strategies.rows import Rows

_NO_LABELS = 0.5


def multi_objective(
    rows: Rows, ask: Integers, spec: DeploymentSpec, policy: Policy
) -> dict[str, Floats]:
    """Return each aim times its weight.

    utilisation: mean share of cpu and memory taken after placing. balance: 1 - mean load of cpu and
    memory. latency: locality. affinity: the part of the deployment's labels that the node has with
    the same value, 1/2 for a deployment without any. energy: 1 - the power that placing adds, over
    what a node draws at most.
    """
    weights = policy.objectives
    used = (rows.used_share_after(ask, CPU) + rows.used_share_after(ask, MEMORY)) / 2.0
    load = (rows.load[CPU] + rows.load[MEMORY]) / 2.0
    return {
        "utilisation": used * weights.utilisation,
        "balance": (1.0 - load) * weights.balance,
        "latency": rows.locality(spec.region, policy) * weights.latency,
        "affinity": _shared_labels(rows, spec) * weights.affinity,
        "energy": _thrift(rows, ask, policy.power) * weights.energy,
    }


def _shared_labels(rows: Rows, spec: DeploymentSpec) -> Floats:
    if not spec.labels:
        return np.full(rows.count, _NO_LABELS)
    wanted = [(f"label.{key}", value) for key, value in spec.labels.items()]
    shared = [
        sum(attributes.get(key) == value for key, value in wanted) / len(wanted)
        for attributes in rows.attributes
    ]
    return np.array(shared, dtype=np.float64)


def _thrift(rows: Rows, ask: Integers, power: PowerModel) -> Floats:
    """Return 1 - (watts after - watts before) / full.

    A node with replicas draws idle + (full - idle) * the share of its cpu that is taken; an empty
    one sleeps, and waking it is what costs most.
    """
    span = float(power.full_watts - power.idle_watts)
    empty = (rows.booked == 0).all(axis=0)
    room = np.maximum(rows.allocatable[CPU], 1)
    taken = np.minimum(rows.booked[CPU] / room, 1.0)
    before = np.where(empty, float(power.sleep_watts), power.idle_watts + span * taken)
    after = power.idle_watts + span * rows.used_share_after(ask, CPU)
    thrift: Floats = 1.0 - np.maximum(after - before, 0.0) / max(float(power.full_watts), 1.0)
    return np.maximum(thrift, 0.0)
