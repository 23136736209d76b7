"""Everything that can happen to the agent. Each enters the core through its one door."""

from __future__ import annotations

from dataclasses import dataclass

from fogbank.domain.containers import PublishedPort
from fogbank.domain.node import NO_DETAILS, Fingerprint, HostDetails
from fogbank.domain.states import Health
from services.node_agent.core.replica import Assignment, FoundContainer


@dataclass(frozen=True, slots=True)
class Booted:
    """The agent came up and looked what its runtime has. The first stimulus, and only once.

    `boot_id` names the boot of the host that the containers live in, and end with; empty where
    there is no such thing, as for simulated ones.
    """

    containers: tuple[FoundContainer, ...]
    boot_id: str = ""


@dataclass(frozen=True, slots=True)
class StreamOpened:
    """A stream to a gateway is open; `stream` numbers the streams of this process from 1."""

    stream: int
    fingerprint: Fingerprint
    details: HostDetails = NO_DETAILS


@dataclass(frozen=True, slots=True)
class StreamClosed:
    """The stream is gone, whatever the reason."""


@dataclass(frozen=True, slots=True)
class Welcomed:
    """The gateway gave an epoch, and the number of the node's last report in the log."""

    heartbeat_period_ms: int
    epoch: int
    last_report_number: int


@dataclass(frozen=True, slots=True)
class Assigned:
    """The gateway sent assignments: all there are, or a change to those of previous_sequence."""

    complete: bool
    sequence: int
    previous_sequence: int
    assignments: tuple[Assignment, ...]


@dataclass(frozen=True, slots=True)
class Acknowledged:
    """Reports up to this number are in the log."""

    number: int


@dataclass(frozen=True, slots=True)
class HeartbeatAnswered:
    """The leading scheduler heard this heartbeat of the stream."""

    number: int


@dataclass(frozen=True, slots=True)
class DrainAsked:
    """The gateway is going away."""

    reason: str


@dataclass(frozen=True, slots=True)
class NodeRemoved:
    """The fleet has struck this node off, and refuses it."""


@dataclass(frozen=True, slots=True)
class HeartbeatDue:
    """A period is over; this is how busy the host is, in percent."""

    cpu_percent: float
    memory_percent: float


@dataclass(frozen=True, slots=True)
class FingerprintChanged:
    """The host has more or less to offer than before, or runs on something else."""

    fingerprint: Fingerprint
    details: HostDetails = NO_DETAILS


@dataclass(frozen=True, slots=True)
class Prepared:
    """What the replica needs, such as its image, is there."""

    replica_id: str


@dataclass(frozen=True, slots=True)
class PrepareProgress:
    """What the replica needs is being fetched; this is how far, for people."""

    replica_id: str
    text: str


@dataclass(frozen=True, slots=True)
class PrepareFailed:
    """What the replica needs could not be fetched; `chance` is 0 to 1, for the pause to come.

    `unobtainable` if its image is nowhere, rather than out of this node's reach.
    """

    replica_id: str
    reason: str
    chance: float = 1.0
    unobtainable: bool = False


@dataclass(frozen=True, slots=True)
class Started:
    """The container runs."""

    replica_id: str
    restart_count: int
    container_id: str
    started_at_us: int
    ports: tuple[PublishedPort, ...] = ()


@dataclass(frozen=True, slots=True)
class StartFailed:
    """The container could not be started; `image_missing` if its image is not here any more."""

    replica_id: str
    restart_count: int
    reason: str
    image_missing: bool = False


@dataclass(frozen=True, slots=True)
class ContainerEnded:
    """A container ended. May be told more than once, and before `Started`."""

    replica_id: str
    restart_count: int
    exit_code: int
    reason: str = ""


@dataclass(frozen=True, slots=True)
class HealthSeen:
    """A probe changed its mind."""

    replica_id: str
    restart_count: int
    health: Health
    reason: str = ""


@dataclass(frozen=True, slots=True)
class VolumesMeasured:
    """The volumes of a running replica; `over` says which hold too much, and is mostly empty."""

    replica_id: str
    restart_count: int
    over: str


@dataclass(frozen=True, slots=True)
class StopFinished:
    """The container was stopped; no exit code if there was none any more."""

    replica_id: str
    exit_code: int | None


@dataclass(frozen=True, slots=True)
class StopFailed:
    """The container could not be stopped."""

    replica_id: str
    reason: str


@dataclass(frozen=True, slots=True)
class TimePassed:
    """The instant that the last `Wake` named has come."""


@dataclass(frozen=True, slots=True)
class Settled:
    """Nothing more is waiting: report what was seen. Ends each batch of stimuli."""


RuntimeEvent = ContainerEnded | HealthSeen
GatewayMessage = Welcomed | Assigned | Acknowledged | HeartbeatAnswered | DrainAsked
Stimulus = (
    Booted
    | StreamOpened
    | StreamClosed
    | GatewayMessage
    | NodeRemoved
    | HeartbeatDue
    | FingerprintChanged
    | Prepared
    | PrepareProgress
    | PrepareFailed
    | Started
    | StartFailed
    | RuntimeEvent
    | VolumesMeasured
    | StopFinished
    | StopFailed
    | TimePassed
    | Settled
)
