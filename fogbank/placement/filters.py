"""Which nodes could take a replica, and how many each filter turned down.

Filters run in a fixed order, each on what the ones before it left, so that the refusals and the
feasible nodes sum to the nodes looked at. They compare integers only.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from fogbank.domain.deployment import Constraint, DeploymentSpec
from fogbank.domain.states import ConstraintOperator
from fogbank.placement.arrays import GPU, FleetArrays, Integers, Mask, Selection, pick
from fogbank.placement.devices import devices_fit
from fogbank.placement.strategies.rows import ALL, Rows

APART = "one replica per node"
CROWDED = "replicas still stopping"
# Looked at before nodes are: it refuses all of them or none.
QUOTA = "quota"

# What a refusal means to people, by filter; {nodes} stands for how many.
REASONS = {
    QUOTA: "closed by a full quota",
    "status": "not taking replicas (busy, offline or in maintenance)",
    "constraints": "not meeting the constraints",
    "gpu model": "without the GPU model asked for",
    "cpu": "without enough free cpu",
    "memory": "without enough free memory",
    "storage": "without enough free storage",
    "gpu": "without enough free GPUs",
    "gpu devices": "with free GPUs only in pieces",
    APART: "already having a replica of the deployment",
    CROWDED: "full of replicas that still stop, too many for so large an ask to wait for each",
}

_MASKS_KEPT = 256
_DIMENSION_NAMES = ["cpu", "memory", "storage", "gpu"]  # in the order of the dimensions


@dataclass(frozen=True, slots=True)
class Filtered:
    """The nodes that are left, and the refusals of each filter that refused any."""

    feasible: Mask
    refusals: tuple[tuple[str, int], ...]

    @property
    def count(self) -> int:
        """How many nodes are left."""
        return int(np.count_nonzero(self.feasible))


class Filters(NamedTuple):
    """The filters that apply, in their order, with the nodes that each lets pass.

    The last of them compare amounts; `fits` holds the same by dimension and node.
    """

    names: list[str]
    masks: list[Mask]
    fits: Mask


def passing(
    arrays: FleetArrays,
    rows: Rows,
    spec: DeploymentSpec,
    ask: Integers,
    selection: Selection = ALL,
) -> Filters:
    """Return the filters in their order, each with the nodes that it lets pass.

    `rows` are the selected nodes. Every filter goes by a node's own columns, so that it says the
    same of a node whichever nodes stand beside it.
    """
    names, masks = ["status"], [pick(arrays.open, selection)]
    if spec.constraints:
        names.append("constraints")
        masks.append(pick(_meeting(arrays, spec.constraints), selection))
    if spec.gpu_model:
        model = Constraint("gpu_model", ConstraintOperator.EQUAL, (spec.gpu_model,))
        names.append("gpu model")
        masks.append(pick(_meeting(arrays, (model,)), selection))
    fits: Mask = rows.spare(ask) >= 0
    if spec.resources.gpu_thousandths:
        # Where there is enough in all, but not on devices that suit.
        names.append("gpu devices")
        on_devices = devices_fit(rows.gpu_free, spec.resources.gpu_thousandths)
        masks.append(on_devices | ~fits[GPU])
    return Filters(names + _DIMENSION_NAMES, masks + list(fits), fits)


def feasible_nodes(
    arrays: FleetArrays,
    booked: Integers,
    spec: DeploymentSpec,
    ask: Integers,
    occupied_rows: list[int],
    *,
    crowded_rows: Sequence[int] = (),
) -> Filtered:
    """Return the nodes that could take one replica.

    `booked` is the room promised so far (by the log and by this round), `occupied_rows` the nodes
    that have a replica of the deployment, `crowded_rows` those where too much is to stop first.
    """
    left = np.ones(arrays.size, dtype=np.bool_)
    refusals: list[tuple[str, int]] = []

    def narrow(name: str, passing: Mask) -> None:
        nonlocal left
        refused = int(np.count_nonzero(left & ~passing))
        if refused:
            refusals.append((name, refused))
            left = left & passing

    filters = passing(arrays, Rows.of(arrays, booked), spec, ask)
    for name, mask in zip(filters.names, filters.masks, strict=True):
        narrow(name, mask)
    apart = () if spec.allow_colocation else occupied_rows
    for name, closed in ((APART, apart), (CROWDED, crowded_rows)):
        if closed:
            others = np.ones(arrays.size, dtype=np.bool_)
            others[closed] = False
            narrow(name, others)
    return Filtered(left, tuple(refusals))


def _meeting(arrays: FleetArrays, constraints: tuple[Constraint, ...]) -> Mask:
    known = arrays.masks.get(constraints)
    if known is not None:
        return known
    if len(arrays.masks) >= _MASKS_KEPT:
        arrays.masks.clear()
    mask = arrays.masks[constraints] = np.array(
        [
            all(_holds(constraint, attributes) for constraint in constraints)
            for attributes in arrays.attributes
        ],
        dtype=np.bool_,
    )
    return mask


def _holds(constraint: Constraint, attributes: dict[str, str]) -> bool:
    value = attributes.get(constraint.attribute)
    match constraint.operator:
        case ConstraintOperator.EQUAL | ConstraintOperator.IN:
            return value is not None and value in constraint.values
        case ConstraintOperator.NOT_EQUAL:
            return value is None or value not in constraint.values
        case ConstraintOperator.EXISTS:
            return value is not None


def too_large_for_any(arrays: FleetArrays, ask: Integers) -> bool:
    """Tell whether no known node could take the ask even if it were empty."""
    return not bool(np.any(np.all(ask <= arrays.allocatable, axis=0)))
