"""When changes of a running replica's health are reported."""

from __future__ import annotations

from fogbank.domain.observations import ReplicaObservation
from services.node_agent.core.kept import Kept


class HealthReports:
    """Lets the first change through at once, and of those that follow within a pause the last.

    A probe may change its mind ten times a second, and for as long as no gateway is there; the log
    is to have how the replica is, not every swing. What waits is in the replica's record, so it is
    one observation at most. Instants are of a clock that never falls.
    """

    def __init__(self, kept: Kept, pause_us: int) -> None:
        self._kept = kept
        self._pause_us = pause_us
        # Until when nothing more is said of a replica's health.
        self._silent_until_us: dict[str, int] = {}

    def take_due(self, now_us: int) -> list[ReplicaObservation]:
        """Return what is to be reported now; the replicas' pauses begin."""
        self._silent_until_us = {
            replica_id: until_us
            for replica_id, until_us in self._silent_until_us.items()
            if until_us > now_us
        }
        due = [each for each in self._waiting() if each.replica_id not in self._silent_until_us]
        self._silent_until_us |= {each.replica_id: now_us + self._pause_us for each in due}
        return due

    def next_due_us(self, now_us: int) -> int:
        """Return the next instant at which something becomes due; 0 for none."""
        ends = [self._silent_until_us.get(each.replica_id, 0) for each in self._waiting()]
        return min((until_us for until_us in ends if until_us > now_us), default=0)

    def _waiting(self) -> list[ReplicaObservation]:
        # The log learns of a replica without a spec, found by its container, from a gateway first.
        return [
            record.observed
            for record in self._kept.replicas.values()
            if record.unreported and record.observed is not None and record.spec is not None
        ]
