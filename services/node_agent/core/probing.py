"""When containers are probed, and what the tries of a probe add up to."""

from __future__ import annotations

from fogbank.domain.containers import HealthProbe
from fogbank.domain.states import Health, ReplicaState
from services.node_agent.core.effects import BeginProbing, EndProbing
from services.node_agent.core.replica import ReplicaRecord
from services.node_agent.core.workings import Workings

_US_PER_MS = 1_000


class Tally:
    """Counts the tries at one container; instants are microseconds of one clock that never falls.

    It begins with `health` (that of the last process, if there was one), at the container's start.
    """

    def __init__(
        self, probe: HealthProbe, started_us: int, health: Health = Health.UNKNOWN
    ) -> None:
        self._probe = probe
        self._mild_until_us = started_us + probe.start_period_ms * _US_PER_MS
        self._was_well = health is Health.HEALTHY
        self._in_a_row = 0
        self._last_passed = False
        self.health = health

    def tried(self, *, passed: bool, now_us: int) -> bool:
        """Count a try, and tell whether it changed what is known of the container's health."""
        self._in_a_row = self._in_a_row + 1 if passed is self._last_passed else 1
        self._last_passed = passed
        if not passed and not self._was_well and now_us < self._mild_until_us:
            self._in_a_row = 0
            return False
        enough = self._probe.successes if passed else self._probe.failures
        health = Health.HEALTHY if passed else Health.UNHEALTHY
        if self._in_a_row < enough or health is self.health:
            return False
        self.health = health
        self._was_well = self._was_well or passed
        return True


def begin_probing(workings: Workings, record: ReplicaRecord) -> None:
    """Have a running container's probe tried, if it has one."""
    seen, probe = record.observed, record.probe
    if probe is None or seen is None or seen.state is not ReplicaState.RUNNING:
        return
    # One that was unhealthy is looked at afresh: what follows from it may not be done yet.
    health = Health.UNKNOWN if seen.health is Health.UNHEALTHY else seen.health
    workings.ask(
        BeginProbing(record.replica_id, record.restart_count, probe, seen.started_at_us, health)
    )


def end_probing(workings: Workings, record: ReplicaRecord) -> None:
    """Have a container's probe tried no more."""
    if record.probe is not None:
        workings.ask(EndProbing(record.replica_id))
