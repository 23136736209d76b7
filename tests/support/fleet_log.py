"""A little log for tests of folds and decisions: commits made, encoded and decoded again."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from uuid import NAMESPACE_DNS, uuid5

from fogbank.codec import decode_commit, encode_commit, encode_envelope
from fogbank.domain import events as ev
from fogbank.domain.deployment import DeploymentSpec
from fogbank.domain.envelope import GATEWAY, SCHEDULER, CommandTerms, Commit, EventEnvelope
from fogbank.domain.ids import digest
from fogbank.domain.node import Fingerprint
from fogbank.domain.observations import ReplicaObservation
from fogbank.domain.resources import Resources
from fogbank.domain.states import Health, ReplicaState, ServiceType

START_US = 1_700_000_000_000_000
OWNER = str(uuid5(NAMESPACE_DNS, "owner"))


def an_id(name: str) -> str:
    """Return the same UUID for the same name."""
    return str(uuid5(NAMESPACE_DNS, name))


def a_spec(
    name: str = "web",
    replicas: int = 1,
    *,
    cpu: int = 1000,
    memory: int = 512,
    storage: int = 10,
    gpu: int = 0,
    **more: object,
) -> DeploymentSpec:
    """Return a spec; cpu in millicores, memory in MiB, storage in GiB, gpu in whole devices."""
    return DeploymentSpec(
        name,
        ServiceType.COMPUTE,
        "nginx:1.24",
        replicas,
        Resources(cpu, memory, storage, gpu * 1000),
        **more,  # type: ignore[arg-type]
    )


def a_fingerprint(
    *,
    cpu: int = 4000,
    memory: int = 8192,
    storage: int = 1000,
    gpu: int = 0,
    region: str = "us-east",
    labels: dict[str, str] | None = None,
) -> Fingerprint:
    """Return a host's fingerprint; units as in `a_spec`."""
    room = Resources(cpu, memory, storage, gpu * 1000)
    return Fingerprint(
        room, room, "amd64", "linux", region, "T4" if gpu else "", dict(labels or {})
    )


@dataclass(slots=True)
class LittleLog:
    """Makes commits in sequence; each second of `now_us` passes only when told."""

    sequence: int = 0
    now_us: int = START_US
    commits: list[Commit] = field(default_factory=list)
    data: list[bytes] = field(default_factory=list)
    reports: dict[str, int] = field(default_factory=dict)
    epochs: dict[str, int] = field(default_factory=dict)

    def pass_ms(self, milliseconds: int) -> None:
        """Let time pass."""
        self.now_us += milliseconds * 1000

    def commit(self, service: str, *envelopes: EventEnvelope, instance: str = "one") -> Commit:
        """Append a commit of envelopes."""
        self.sequence += 1
        data = encode_commit(self.now_us, [encode_envelope(envelope) for envelope in envelopes])
        commit = decode_commit(self.sequence, service, instance, data)
        assert commit.digest == digest(data)
        self.commits.append(commit)
        self.data.append(data)
        return commit

    def envelope(
        self, event: ev.Event, event_id: str = "", command: CommandTerms | None = None
    ) -> EventEnvelope:
        """Wrap an event; ids follow from the sequence unless given."""
        return EventEnvelope(
            event_id or an_id(f"{self.sequence + 1}/{type(event).__name__}"),
            event,
            "test/1",
            "user/1",
            self.now_us,
            command=command,
        )

    def fact(self, event: ev.Event, event_id: str = "", expected_version: int = 0) -> Commit:
        """Append one fact as a gateway."""
        terms = CommandTerms(digest(repr(event).encode()), expected_version)
        return self.commit(GATEWAY, self.envelope(event, event_id, terms))

    def deploy(self, spec: DeploymentSpec, deployment_id: str = "") -> tuple[str, Commit]:
        """Append a deployment and return its id."""
        deployment_id = deployment_id or an_id(f"deployment {self.sequence + 1}")
        return deployment_id, self.fact(ev.DeploymentCreated(spec, OWNER), deployment_id)

    def scale_at_once(self, *names: str) -> Commit:
        """Append deployments in one commit, each scaled by a stale version and then indeed."""
        envelopes = []
        for name in names:
            created = self.envelope(ev.DeploymentCreated(a_spec(name), OWNER), an_id(name))
            scaled = ev.DeploymentScaled(created.event_id, 2)
            envelopes.append(created)
            envelopes += [
                self.envelope(
                    scaled, an_id(f"{name} {version}"), CommandTerms(digest(name.encode()), version)
                )
                for version in (1, 0)
            ]
        return self.commit(GATEWAY, *envelopes)

    def connect(self, name: str, fingerprint: Fingerprint | None = None) -> tuple[str, Commit]:
        """Append a node's handshake and return the node's id."""
        node_id = an_id(name)
        commit = self.fact(ev.NodeConnected(node_id, name, fingerprint or a_fingerprint()))
        self.epochs[node_id] = commit.sequence << 16
        return node_id, commit

    def report(self, node_id: str, *observations: ReplicaObservation) -> Commit:
        """Append a node's next report."""
        number = self.reports.get(node_id, 0) + 1
        self.reports[node_id] = number
        event = ev.NodeReported(node_id, self.epochs[node_id], number, observations)
        return self.commit(GATEWAY, self.envelope(event))

    def seen(
        self, replica_id: str, state: ReplicaState, *, final: bool = False, exit_code: int = 0
    ) -> ReplicaObservation:
        """Return an observation of a replica."""
        return ReplicaObservation(
            replica_id,
            0,
            state,
            f"stub-container-{replica_id}",
            self.now_us,
            Health.UNKNOWN,
            final,
            exit_code,
            "",
            self.now_us,
        )

    def round(
        self, event: ev.RoundDecided, instance: str = "one", causes: tuple[int, ...] = ()
    ) -> Commit:
        """Append a round as a scheduler."""
        envelope = replace(self.envelope(event), causes=causes)
        return self.commit(SCHEDULER, envelope, instance=instance)
