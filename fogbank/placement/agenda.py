"""Which deployments need a round, kept up to date as commits are folded.

Pure bookkeeping over what the log says: whatever is here could be found by looking at every
deployment anew. `looked_in_vain` alone remembers more, and only saves work: a deployment that
found no room need not be looked at again before room appeared.
"""

from __future__ import annotations

from collections.abc import Iterable

from fogbank.domain.fleet import FleetState
from fogbank.placement.needs import Wait, need_of, wait_of


class Agenda:
    """Deployments by what they wait for."""

    def __init__(self) -> None:
        """Begin with nothing to do."""
        self.settling: dict[str, None] = {}
        self.active: dict[str, None] = {}
        self.timed: dict[str, int] = {}
        self.parked: dict[str, None] = {}
        self._looked_facts_to: dict[str, int] = {}
        self._in_vain_at: dict[str, int] = {}

    def refresh(self, fleet: FleetState, deployment_ids: Iterable[str]) -> None:
        """Sort touched deployments anew."""
        for deployment_id in sorted(deployment_ids):
            self._drop(deployment_id)
            deployment = fleet.facts.deployments.get(deployment_id)
            if deployment is None:
                continue
            need = need_of(fleet, deployment)
            if need.unwanted or need.returned:
                self.settling[deployment_id] = None
            if need.vacant:
                decision = fleet.decisions.deployments.get(deployment_id)
                wait = wait_of(decision, deployment)
                ready_at_us = min(at_us for _, at_us in need.vacant)
                if decision is not None and wait is not None:
                    self._looked_facts_to[deployment_id] = decision.looked_facts_to
                self._file(deployment_id, ready_at_us, wait)

    def _file(self, deployment_id: str, ready_at_us: int, wait: Wait | None) -> None:
        if wait is not None and wait.at_us is None:
            self.parked[deployment_id] = None
            return
        at_us = max(ready_at_us, wait.at_us or 0) if wait else ready_at_us
        if at_us:
            self.timed[deployment_id] = at_us
        else:
            self.active[deployment_id] = None

    def _drop(self, deployment_id: str) -> None:
        for shelf in (self.settling, self.active, self.parked, self.timed):
            shelf.pop(deployment_id, None)
        self._looked_facts_to.pop(deployment_id, None)
        self._in_vain_at.pop(deployment_id, None)

    def to_settle(self) -> list[str]:
        """Return the deployments with replicas to release or to settle."""
        return sorted(self.settling)

    def to_look_at(self, instant_us: int, room_sequence: int) -> list[str]:
        """Return the deployments worth a look: new ones, due ones, and those room may suit.

        Room counts if it appeared after the facts of the look that parked the deployment: also
        room that appeared between that look and its being written down.
        """
        due = [*self.active]
        for deployment_id, at_us in self.timed.items():
            if at_us <= instant_us or self._woken(deployment_id, room_sequence):
                due.append(deployment_id)
        due += [
            deployment_id
            for deployment_id in self.parked
            if self._woken(deployment_id, room_sequence)
        ]
        return due

    def _woken(self, deployment_id: str, room_sequence: int) -> bool:
        looked = self._looked_facts_to.get(deployment_id)
        if looked is None or room_sequence <= looked:
            return False
        return self._in_vain_at.get(deployment_id, 0) < room_sequence

    def looked_in_vain(self, deployment_ids: Iterable[str], room_sequence: int) -> None:
        """Remember that looks found no room although it had appeared up to `room_sequence`."""
        for deployment_id in deployment_ids:
            self._in_vain_at[deployment_id] = room_sequence

    def forget_looks(self) -> None:
        """Forget looks that were made on what did not come to be."""
        self._in_vain_at.clear()

    def next_timed_us(self) -> int | None:
        """Return the next instant at which a deployment is due."""
        return min(self.timed.values(), default=None)
