"""What the agent knows of one replica: what it is to do with it, and how far it got."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import IntEnum

from fogbank.domain.containers import PLAIN_CONTAINER, ContainerSpec, HealthProbe, PublishedPort
from fogbank.domain.observations import ReplicaObservation
from fogbank.domain.reasons import cut_reason
from fogbank.domain.resources import Resources
from fogbank.domain.states import Health, ReplicaState, RestartPolicy


class Desired(IntEnum):
    """What a gateway told the agent to do with a replica; numbers are those of the contract."""

    RUN = 1
    STOP = 2
    FORGET = 3


@dataclass(frozen=True, slots=True)
class ReplicaSpec:
    """All that is needed to run a replica. `env` holds secrets: never log it.

    With `stop_after_ms` it may not run on for longer once this agent is cut off; 0 for as long as
    it likes. `gpu_devices` are numbers of the host's devices, whole ones first.
    """

    deployment_id: str
    deployment_name: str
    image: str
    resources: Resources
    env: Mapping[str, str] = field(default_factory=dict, repr=False)
    restart: RestartPolicy = RestartPolicy.ALWAYS
    starts_after: tuple[str, ...] = ()
    stop_after_ms: int = 0
    gpu_devices: tuple[int, ...] = ()
    container: ContainerSpec = PLAIN_CONTAINER


@dataclass(frozen=True, slots=True)
class Assignment:
    """One line of what a gateway sends: a replica and what to do with it.

    With `env_missing` the spec lacks its environment, which is lost, or more. `restart_count` is
    one more than the log has of the replica on this node, 0 if it has nothing. To stop it may take
    `stop_within_ms` at most, whatever its spec says; 0 for no such bound.
    """

    replica_id: str
    desired: Desired
    spec: ReplicaSpec
    env_missing: bool = False
    restart_count: int = 0
    stop_within_ms: int = 0


@dataclass(frozen=True, slots=True)
class FoundContainer:
    """A container that the runtime has, running or ended, found again by its label."""

    replica_id: str
    restart_count: int
    container_id: str
    running: bool
    started_at_us: int
    exit_code: int = 0
    ports: tuple[PublishedPort, ...] = ()

    def seen_running(self, now_us: int, health: Health) -> ReplicaObservation:
        """Return the observation that it runs."""
        return ReplicaObservation(
            self.replica_id,
            self.restart_count,
            ReplicaState.RUNNING,
            self.container_id,
            self.started_at_us,
            health,
            observed_at_us=now_us,
            ports=self.ports,
        )


@dataclass(slots=True)
class ReplicaRecord:
    """A replica in the agent's keeping. Changed by saved entries only: see `kept.apply`.

    `spec` is None for a container found without a record. `since_sequence` is the log sequence
    of the assignments that brought it; `restarts` are the instants at which it was started again.
    What the log has of it are restart counts below `restart_floor`: it may know of more restarts
    than a record from an old disk, and takes in only what goes beyond them. With `unreported` no
    report has what was observed last, nor will one by itself. It is `interrupted` if its container
    ended because the host did: the start that follows is not counted among its restarts.
    """

    replica_id: str
    desired: Desired
    spec: ReplicaSpec | None = None
    since_sequence: int = 0
    observed: ReplicaObservation | None = None
    restarts: list[int] = field(default_factory=list)
    restart_floor: int = 0
    unreported: bool = False
    interrupted: bool = False

    @property
    def ended(self) -> bool:
        """Tell whether it ended for good."""
        return self.observed is not None and self.observed.final

    @property
    def begun(self) -> bool:
        """Tell whether its container was ever asked for, or it ended before that."""
        return self.observed is not None and self.observed.state is not ReplicaState.PREPARING

    @property
    def alive(self) -> bool:
        """Tell whether its container is being started or runs, as far as is known."""
        return self.observed is not None and self.observed.state in _ALIVE

    @property
    def starting(self) -> bool:
        """Tell whether its container is being started."""
        return self.observed is not None and self.observed.state is ReplicaState.STARTING

    @property
    def probe(self) -> HealthProbe | None:
        """How it is found out whether it is well; None if to run is to be well."""
        return self.spec.container.probe if self.spec is not None else None

    @property
    def first_health(self) -> Health:
        """What is known of its health when it begins to run."""
        return Health.HEALTHY if self.probe is None else Health.UNKNOWN

    @property
    def restart_count(self) -> int:
        """How often it was started again."""
        return self.observed.restart_count if self.observed is not None else self.restart_floor

    def seen(
        self,
        state: ReplicaState,
        now_us: int,
        *,
        again: bool = False,
        container_id: str = "",
        started_at_us: int = 0,
        health: Health = Health.UNKNOWN,
        exit_code: int = 0,
        reason: str = "",
        final: bool = False,
        ports: tuple[PublishedPort, ...] = (),
    ) -> ReplicaObservation:
        """Return the observation that it got to `state`; `again` begins its next restart.

        A reason may quote anything, such as what an engine said of the user's image: it is cut, so
        that a full report fits into the log.
        """
        before = self.observed
        if before is not None and not again:
            container_id = container_id or before.container_id
            started_at_us = started_at_us or before.started_at_us
            if state in _ALIVE:
                ports = ports or before.ports
        return ReplicaObservation(
            self.replica_id,
            self._count_of(state, again=again),
            state,
            container_id,
            started_at_us,
            health,
            final,
            exit_code,
            cut_reason(reason),
            now_us,
            ports,
        )

    def _count_of(self, state: ReplicaState, *, again: bool) -> int:
        count = self.restart_count
        if again:
            return max(count + 1, self.restart_floor)
        # A running container keeps its count, by which its end is known to be its own.
        is_behind = count + 1 < self.restart_floor
        return self.restart_floor if is_behind and state.ended else count


_ALIVE = frozenset({ReplicaState.STARTING, ReplicaState.RUNNING})
