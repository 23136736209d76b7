"""What the core wants done. The shell does it and tells the outcome as a stimulus.

The order is part of the meaning. An urgent `Save` is durable before any effect behind it is
begun; a `Save` that isn't urgent may wait for the next urgent one, but keeps its place among the
saves. All saves of a batch (up to `Settled`) go to disk as one: all of them or none.
"""

from __future__ import annotations

from dataclasses import dataclass

from fogbank.domain.containers import HealthProbe
from fogbank.domain.node import NO_DETAILS, Fingerprint, HostDetails
from fogbank.domain.observations import ReplicaObservation
from fogbank.domain.states import Health
from services.node_agent.core.kept import Entry
from services.node_agent.core.replica import ReplicaSpec


@dataclass(frozen=True, slots=True)
class Hello:
    """The agent introduces itself; `running` are the replicas whose containers live."""

    last_epoch: int
    last_sequence: int
    fingerprint: Fingerprint
    running: tuple[ReplicaObservation, ...]
    details: HostDetails = NO_DETAILS


@dataclass(frozen=True, slots=True)
class Heartbeat:
    """A sign of life with the host's load in percent; one with a number wants an answer."""

    cpu_percent: float
    memory_percent: float
    reflects_sequence: int
    number: int = 0


@dataclass(frozen=True, slots=True)
class Report:
    """A numbered report."""

    epoch: int
    number: int
    observations: tuple[ReplicaObservation, ...]


@dataclass(frozen=True, slots=True)
class CapacityChange:
    """The host changed."""

    fingerprint: Fingerprint
    details: HostDetails = NO_DETAILS


Outgoing = Hello | Heartbeat | Report | CapacityChange


@dataclass(frozen=True, slots=True)
class Save:
    """Write these entries to disk."""

    entries: tuple[Entry, ...]
    urgent: bool


@dataclass(frozen=True, slots=True)
class Send:
    """Send on that stream; if it is gone, the message is dropped."""

    stream: int
    message: Outgoing


@dataclass(frozen=True, slots=True)
class CloseStream:
    """Close that stream and dial again; `redial_now` without waiting longer each time."""

    stream: int
    reason: str
    redial_now: bool = False


@dataclass(frozen=True, slots=True)
class BeatEvery:
    """From now on send heartbeats with this period in milliseconds."""

    stream: int
    period_ms: int


@dataclass(frozen=True, slots=True)
class PrepareReplica:
    """Fetch what the replica needs: answered by `Prepared` or `PrepareFailed`."""

    replica_id: str
    spec: ReplicaSpec


@dataclass(frozen=True, slots=True)
class StartContainer:
    """Start it, unless this start's container runs: answered by `Started` or `StartFailed`."""

    replica_id: str
    restart_count: int
    spec: ReplicaSpec


@dataclass(frozen=True, slots=True)
class StopContainer:
    """Stop it: answered by `StopFinished` or `StopFailed`.

    `hurry` where it has to be over in the time that was promised for it, whatever is set here.
    Else it has `grace_ms` to end by itself; 0 for as long as this agent is set to. With `within_ms`
    it has no longer than that, also if it is being stopped already.
    """

    replica_id: str
    hurry: bool = False
    grace_ms: int = 0
    within_ms: int = 0


@dataclass(frozen=True, slots=True)
class BeginProbing:
    """Try the probe again and again, and tell changes as `HealthSeen`; instead of any before.

    `health` is what is known of the container, which began at `started_at_us`.
    """

    replica_id: str
    restart_count: int
    probe: HealthProbe
    started_at_us: int
    health: Health


@dataclass(frozen=True, slots=True)
class EndProbing:
    """Probe that replica's container no longer."""

    replica_id: str


@dataclass(frozen=True, slots=True)
class RemoveContainer:
    """Nobody needs the ended container any more; needs no answer."""

    replica_id: str


@dataclass(frozen=True, slots=True)
class Wake:
    """Send `TimePassed` at this instant, instead of any earlier wish; 0 for never."""

    at_us: int


@dataclass(frozen=True, slots=True)
class WakeAtBoot:
    """Send `TimePassed` when the clock that goes on in sleep shows this; 0 for never."""

    boot_us: int


@dataclass(frozen=True, slots=True)
class BeatNow:
    """Send a heartbeat at once: something waits for its answer."""

    stream: int


Effect = (
    Save
    | Send
    | CloseStream
    | BeatEvery
    | PrepareReplica
    | StartContainer
    | StopContainer
    | RemoveContainer
    | BeginProbing
    | EndProbing
    | Wake
    | WakeAtBoot
    | BeatNow
)
