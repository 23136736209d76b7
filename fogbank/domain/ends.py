"""How replicas ended, as far as that says anything about their deployments."""

from __future__ import annotations

from fogbank.domain.facts import Observed
from fogbank.domain.states import Health, ReplicaState

_MS = 1_000

_BROKEN = frozenset({ReplicaState.FAILED, ReplicaState.REJECTED})
# Of these no replica is that never started.
_STARTED = frozenset(
    {ReplicaState.RUNNING, ReplicaState.COMPLETE, ReplicaState.STOPPED, ReplicaState.FAILED}
)


def is_broken(observed: Observed) -> bool:
    """Tell whether a replica failed, or was turned down, and is not started again."""
    return observed.final and observed.state in _BROKEN


def ran_ms(observed: Observed) -> int:
    """Return for how long a replica ran, by its host's clock."""
    if not observed.started_at_us:
        return 0
    return (observed.observed_at_us - observed.started_at_us) // _MS


def ever_started(observed: Observed) -> bool:
    """Tell whether a replica's container was ever started."""
    return bool(observed.state in _STARTED or observed.started_at_us or observed.restart_count)


def proven_us(observed: Observed | None, min_healthy_ms: int) -> int | None:
    """Return from when, in log time, a replica shows that its revision is good; None if never.

    One that broke, whether it was started again or not, has to have run for `min_healthy_ms`.
    """
    if observed is None or observed.health is Health.UNHEALTHY:
        return None
    runs = observed.state is ReplicaState.RUNNING
    if not (runs or observed.started_at_us):
        return None
    broke = observed.restart_count > 0
    if not broke and (runs or observed.state in {ReplicaState.STOPPED, ReplicaState.COMPLETE}):
        return 0
    if runs:
        return observed.since_us + min_healthy_ms * _MS
    # How long it ran is by one clock, its host's; that it did is known since the log says so.
    ran_us = observed.observed_at_us - observed.started_at_us
    return observed.since_us if ran_us >= min_healthy_ms * _MS else None
