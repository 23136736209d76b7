"""Fetching what a replica needs, before its container is begun."""

from __future__ import annotations

from fogbank.domain.states import ReplicaState
from services.node_agent.core.kept import ObservationKept
from services.node_agent.core.replica import Desired
from services.node_agent.core.restarts import AgentPolicy
from services.node_agent.core.workings import Workings

# What is doubled so often is beyond any longest pause.
_MANY = 30


def retry_pause_us(policy: AgentPolicy, failures: int, chance: float) -> int:
    """Return the pause after so many failures in a row; `chance`, 0 to 1, is its upper half."""
    full_us = policy.prepare_retry_delay_us << min(failures - 1, _MANY)
    return round(min(full_us, policy.prepare_longest_pause_us) * (0.5 + chance / 2))


def note_progress(workings: Workings, replica_id: str, text: str, now_us: int) -> None:
    """Report how far a replica's preparation is, if its container was never begun."""
    record = workings.kept.replicas.get(replica_id)
    if record is not None and not record.begun and record.desired is Desired.RUN:
        seen = record.seen(ReplicaState.PREPARING, now_us, reason=text)
        workings.keep(ObservationKept(seen), urgent=False)
