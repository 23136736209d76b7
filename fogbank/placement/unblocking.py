"""What would let replicas be placed, in sentences for people.

Each hint is found by looking again under another assumption (a node emptied or open, a
constraint dropped) with the very filters that decide, so that none promises what they refuse.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from fogbank.domain.deployment import Constraint, DeploymentSpec
from fogbank.domain.facts import DeploymentFact
from fogbank.domain.fleet import FleetState
from fogbank.domain.states import ConstraintOperator
from fogbank.placement.arrays import (
    CPU,
    GPU,
    MEMORY,
    STORAGE,
    FleetArrays,
    Integers,
    Mask,
    amounts,
)
from fogbank.placement.filters import Filtered, feasible_nodes
from fogbank.placement.looks import place
from fogbank.placement.placements import occupied_rows
from fogbank.placement.quotas import fitting_quota
from fogbank.placement.room import Room, Shortage

_SHOWN = 5
_THOUSAND = 1_000
_OPERATORS = {ConstraintOperator.EQUAL: "=", ConstraintOperator.NOT_EQUAL: "!="}

NO_NODES_HINT = "a node that joins; none is known yet"


def would_unblock(
    fleet: FleetState,
    room: Room,
    deployment_id: str,
    spec: DeploymentSpec,
    slots: tuple[int, ...],
) -> tuple[str, ...]:
    """Return what would let these slots be filled, likeliest first; empty if they fit."""
    count = len(slots)
    if room.arrays.size == 0:
        return (NO_NODES_HINT,)
    search = _Search(fleet, room, spec, occupied_rows(fleet, room.arrays, deployment_id, slots))
    found = search.look().count
    missing = count - found
    if missing <= 0 or (spec.allow_colocation and search.stacks(count)):
        return ()
    hints = [f"{_nodes(missing)} more with room for a replica"]
    hints += search.larger_nodes() or search.room_on_nodes(missing)
    hints += search.open_nodes()
    hints += search.without_constraints()
    return tuple(hints)


def smaller_asks(
    fleet: FleetState,
    arrays: FleetArrays,
    deployment: DeploymentFact,
    slots: tuple[int, ...],
    instant_us: int,
) -> tuple[str, ...]:
    """Return what its author could ask for instead so that these slots are filled now.

    Both are tried by placing, on room of their own; the devices that takes are not put back.
    """
    hints = []
    stacked = replace(deployment, spec=replace(deployment.spec, allow_colocation=True))
    if not deployment.spec.allow_colocation and _fitting(
        fleet, arrays, stacked, slots, instant_us
    ) == len(slots):
        hints.append("letting its replicas share nodes (allow_colocation): then all fit")
    wanted = deployment.spec.replicas
    filled = set(range(wanted)).difference(slots)
    fitting = _fitting(fleet, arrays, deployment, slots, instant_us)
    # With fewer replicas it has the first slots: those of them that are vacant have to fit.
    vacant = slots[:fitting]
    fewer = vacant[-1] + 1 if vacant else 0
    while fewer in filled:
        fewer += 1
    if vacant and fewer < wanted:
        hints.append(f"asking for {_replicas(fewer)} instead of {wanted}: so many fit now")
    return tuple(hints)


def _fitting(
    fleet: FleetState,
    arrays: FleetArrays,
    deployment: DeploymentFact,
    slots: tuple[int, ...],
    instant_us: int,
) -> int:
    """Return how many of these slots, the first ones, there are nodes and quota for."""
    room = Room.of(arrays)
    most = fitting_quota(fleet, room, deployment.spec, len(slots))
    if not most:
        return 0
    arrays.put_devices_back()
    found = place(fleet, room, deployment, slots[:most], instant_us, at_least=1)
    return 0 if isinstance(found, Shortage) else len(found.placements)


class _Search:
    """Looks for the same replicas under other assumptions."""

    def __init__(
        self, fleet: FleetState, room: Room, spec: DeploymentSpec, occupied: list[int]
    ) -> None:
        self._fleet = fleet
        self._room = room
        self._arrays = room.arrays
        self._spec = spec
        self._ask = amounts(spec.resources)
        self._occupied = occupied

    def look(
        self,
        *,
        spec: DeploymentSpec | None = None,
        arrays: FleetArrays | None = None,
        booked: Integers | None = None,
    ) -> Filtered:
        return feasible_nodes(
            arrays or self._arrays,
            self._room.booked if booked is None else booked,
            spec or self._spec,
            self._ask,
            self._occupied,
        )

    def stacks(self, count: int) -> bool:
        """Tell whether all fit where replicas may share nodes."""
        free = self._arrays.allocatable - self._room.booked
        shared = replace(self._spec, allow_colocation=True)
        rows = self.look(spec=shared).feasible
        asked = self._ask[:, 0] > 0
        if not asked.any():
            return bool(rows.any())
        fitting = free[asked] // self._ask[asked]
        return int(np.where(rows, fitting.min(axis=0), 0).sum()) >= count

    def larger_nodes(self) -> list[str]:
        """Say which amounts no node has, even an empty one."""
        largest = self._arrays.allocatable.max(axis=1)
        short = [
            f"{_amount(dimension, int(self._ask[dimension, 0]))} "
            f"(the largest has {_amount(dimension, int(largest[dimension]))})"
            for dimension in (CPU, MEMORY, STORAGE, GPU)
            if self._ask[dimension, 0] > largest[dimension]
        ]
        return [f"a node with {' and '.join(short)}"] if short else []

    def room_on_nodes(self, missing: int) -> list[str]:
        """Say what is missing on the nodes that come closest, as far as emptying them helps."""
        idle = self._arrays.with_idle_devices()
        large_enough = self.look(arrays=idle, booked=np.zeros_like(self._room.booked)).feasible
        rows = np.flatnonzero(large_enough & ~self.look().feasible)
        lacking = np.maximum(self._room.booked + self._ask - self._arrays.allocatable, 0)
        # How much is missing, in thousandths of what is asked for; the sum of four integers.
        parts = lacking * _THOUSAND // np.maximum(self._ask, 1)
        total = parts[CPU] + parts[MEMORY] + parts[STORAGE] + parts[GPU]
        closest = rows[np.argsort(total[rows], kind="stable")][: min(missing, _SHOWN)]
        return [
            f"{self._lack(lacking, int(row))} more on {self._arrays.names[row]}"
            for row in closest
            if total[row]
        ]

    def _lack(self, lacking: Integers, row: int) -> str:
        return " and ".join(
            _amount(dimension, int(lacking[dimension, row]))
            for dimension in (CPU, MEMORY, STORAGE, GPU)
            if lacking[dimension, row]
        )

    def open_nodes(self) -> list[str]:
        """Name nodes that would do if they took replicas."""
        opened = self.look(arrays=self._arrays.all_open())
        return [
            f"{self._arrays.names[row]} taking replicas again; it is {self._status(row)}"
            for row in self._more(opened.feasible)[:_SHOWN]
        ]

    def _status(self, row: int) -> str:
        node = self._fleet.facts.nodes[self._arrays.ids[row]]
        return self._fleet.node_status(node).name.lower()

    def without_constraints(self) -> list[str]:
        """Say for each demand how many more nodes would do without it."""
        hints = []
        for constraint in self._spec.constraints:
            others = tuple(each for each in self._spec.constraints if each != constraint)
            more = self._more(self.look(spec=replace(self._spec, constraints=others)).feasible)
            if len(more):
                hints.append(f"dropping the constraint {_text(constraint)}: {_would_do(len(more))}")
        if self._spec.gpu_model:
            more = self._more(self.look(spec=replace(self._spec, gpu_model="")).feasible)
            if len(more):
                hints.append(f"any GPU model for {self._spec.gpu_model}: {_would_do(len(more))}")
        return hints

    def _more(self, feasible: Mask) -> list[int]:
        return [int(row) for row in np.flatnonzero(feasible & ~self.look().feasible)]


def _text(constraint: Constraint) -> str:
    match constraint.operator:
        case ConstraintOperator.EXISTS:
            return constraint.attribute
        case ConstraintOperator.IN:
            return f"{constraint.attribute} in {','.join(constraint.values)}"
        case _:
            return f"{constraint.attribute}{_OPERATORS[constraint.operator]}{constraint.values[0]}"


def _amount(dimension: int, value: int) -> str:
    match dimension:
        case 0:
            return f"{value} millicores"
        case 1:
            return f"{value} MiB"
        case 2:
            return f"{value} GiB storage"
        case _:
            whole, rest = divmod(value, _THOUSAND)
            return f"{value / _THOUSAND:g} GPUs" if rest or whole != 1 else "1 GPU"


def _nodes(count: int) -> str:
    return "1 node" if count == 1 else f"{count} nodes"


def _replicas(count: int) -> str:
    return "1 replica" if count == 1 else f"{count} replicas"


def _would_do(count: int) -> str:
    return f"{_nodes(count)} more would do"
