"""Who of those that are to give way would find room elsewhere."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass, field

import numpy as np

from fogbank.domain.fleet import FleetState
from fogbank.placement.arrays import Mask, amounts
from fogbank.placement.filters import feasible_nodes
from fogbank.placement.placements import occupied_rows
from fogbank.placement.room import Room
from fogbank.placement.victims import VictimTable


@dataclass(slots=True)
class Elsewhere:
    """Which victims would fit on another node that has room now."""

    fleet: FleetState
    room: Room
    _feasible: dict[Hashable, tuple[Mask, int]] = field(default_factory=dict)

    def fits(self, entry: int, table: VictimTable) -> bool:
        """Tell whether a victim would."""
        placed = table.replica(entry)
        deployment = self.fleet.facts.deployments[placed.deployment_id]
        spec = deployment.spec
        key = (spec.resources, spec.constraints, spec.gpu_model)
        if key not in self._feasible:
            ask = amounts(spec.resources)
            mask = feasible_nodes(self.room.arrays, self.room.booked, spec, ask, []).feasible
            self._feasible[key] = mask, int(np.count_nonzero(mask))
        mask, count = self._feasible[key]
        if not count:
            return False
        closed = {int(table.row[entry])}
        if not spec.allow_colocation:
            closed.update(occupied_rows(self.fleet, self.room.arrays, deployment.id))
        return count > sum(bool(mask[row]) for row in closed)
