"""What agents and gateways say to each other once they have shaken hands."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from fogbank.domain.containers import PLAIN_CONTAINER, ContainerSpec
from fogbank.domain.errands import Errand
from fogbank.domain.node import NO_DETAILS, Fingerprint, HostDetails
from fogbank.domain.observations import ReplicaObservation
from fogbank.domain.resources import Resources
from fogbank.domain.states import RestartPolicy
from services.gateway.core.assignments import Wanted


@dataclass(frozen=True, slots=True)
class Heartbeat:
    """A sign of life, with the load in percent and the assignments (a sequence) it reflects.

    One with a number (from 1) wants an answer from the leading scheduler.
    """

    cpu_percent: float
    memory_percent: float
    reflects_sequence: int
    number: int = 0


@dataclass(frozen=True, slots=True)
class Report:
    """What became of replicas, numbered; it is sent again until it is acknowledged."""

    epoch: int
    number: int
    observations: tuple[ReplicaObservation, ...]


@dataclass(frozen=True, slots=True)
class CapacityChange:
    """The host changed."""

    fingerprint: Fingerprint
    details: HostDetails = NO_DETAILS


FromAgent = Heartbeat | Report | CapacityChange


@dataclass(frozen=True, slots=True)
class Welcome:
    """The gateway's first message: the epoch, and how far the log has the node's reports."""

    heartbeat_period_ms: int
    epoch: int
    last_report_number: int


@dataclass(frozen=True, slots=True)
class Assignment:
    """A replica, what to do with it, and (to run it) how.

    With `env_missing` its environment is lost, or its revision is no longer kept: what runs goes
    on, nothing is started. An agent that knows less than the log begins with `restart_count`.
    Once it is cut off for so long as `stop_on_client_after_ms` (0: for ever) it stops the replica.
    To stop it may take `stop_within_ms` at most, 0 for as long as `container` says.
    """

    replica_id: str
    deployment_id: str
    wanted: Wanted
    deployment_name: str = ""
    container_image: str = ""
    resources: Resources = field(default_factory=Resources)
    env: Mapping[str, str] = field(default_factory=dict, repr=False)
    restart: RestartPolicy = RestartPolicy.ALWAYS
    starts_after: tuple[str, ...] = ()
    env_missing: bool = False
    restart_count: int = 0
    stop_on_client_after_ms: int = 0
    gpu_devices: tuple[int, ...] = ()
    container: ContainerSpec = PLAIN_CONTAINER
    stop_within_ms: int = 0


@dataclass(frozen=True, slots=True)
class Assignments:
    """All there is (`complete`), or a change to what was sent as of `previous_sequence`."""

    complete: bool
    sequence: int
    previous_sequence: int
    assignments: tuple[Assignment, ...]


@dataclass(frozen=True, slots=True)
class Ack:
    """Reports up to this number are in the log."""

    number: int


@dataclass(frozen=True, slots=True)
class HeartbeatAnswer:
    """The leading scheduler heard the heartbeat of this number."""

    number: int


@dataclass(frozen=True, slots=True)
class Drain:
    """The gateway is going away; the agent should call another."""

    reason: str


@dataclass(frozen=True, slots=True)
class NodeCertificate:
    """A certificate of the node until an instant, and the authority's to trust; both PEM."""

    certificate_pem: str
    authority_pem: str
    ends_at_us: int


ToAgent = Welcome | Assignments | Ack | HeartbeatAnswer | Drain | Errand | NodeCertificate
