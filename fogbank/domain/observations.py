"""How a replica does, as its node's agent tells it."""

from __future__ import annotations

from fogbank.domain.containers import PublishedPort
from fogbank.domain.states import Health, ReplicaState
from fogbank.domain.value import value


@value
class ReplicaObservation:
    """How a replica does, as its agent saw it; `final` when it will not be started again.

    `unobtainable` of a rejected one whose image or environment is nowhere, whichever the node.
    """

    replica_id: str
    restart_count: int
    state: ReplicaState
    container_id: str = ""
    started_at_us: int = 0
    health: Health = Health.UNKNOWN
    final: bool = False
    exit_code: int = 0
    reason: str = ""
    observed_at_us: int = 0
    ports: tuple[PublishedPort, ...] = ()
    unobtainable: bool = False
