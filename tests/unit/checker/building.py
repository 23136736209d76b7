"""A log of bytes, made of generated messages alone, for tests of the checker."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from uuid import NAMESPACE_DNS, UUID, uuid5

from google.protobuf.message import Message

from fogbank.checker import Acknowledged, LogCommit, Report, check_log
from fogbank.v1 import deployments_pb2, facts_pb2, log_pb2, nodes_pb2, resources_pb2, rounds_pb2

NOW_US = 1_700_000_000_000_000
STARTING = deployments_pb2.REPLICA_STATE_STARTING
RUNNING = deployments_pb2.REPLICA_STATE_RUNNING
COMPLETE = deployments_pb2.REPLICA_STATE_COMPLETE
STOPPED = deployments_pb2.REPLICA_STATE_STOPPED
FAILED = deployments_pb2.REPLICA_STATE_FAILED
REJECTED = deployments_pb2.REPLICA_STATE_REJECTED


def an_id(name: str) -> str:
    return str(uuid5(NAMESPACE_DNS, name))


def a_replica(deployment_id: str, slot: int = 0, generation: int = 1) -> str:
    return str(uuid5(UUID(deployment_id), f"{slot}/{generation}"))


def room(cpu: int = 1000, memory: int = 512) -> resources_pb2.Resources:
    return resources_pb2.Resources(cpu_millicores=cpu, memory_mib=memory, storage_gib=10)


def a_fingerprint(cpu: int = 4000, **more: object) -> nodes_pb2.Fingerprint:
    host = resources_pb2.Resources(cpu_millicores=cpu, memory_mib=8192, storage_gib=1000)
    return nodes_pb2.Fingerprint(
        capacity=host,
        allocatable=host,
        **{"arch": "amd64", "region": "us-east", **more},  # type: ignore[arg-type]
    )


def seen(
    replica_id: str,
    state: int = RUNNING,
    *,
    restarts: int = 0,
    final: bool = False,
    unobtainable: bool = False,
) -> facts_pb2.ReplicaObservation:
    return facts_pb2.ReplicaObservation(
        replica_id=replica_id,
        restart_count=restarts,
        state=deployments_pb2.ReplicaState.ValueType(state),
        final=final,
        unobtainable=unobtainable,
    )


@dataclass(slots=True)
class Bytes:
    """Appends commits; remembers epochs, versions, the last round and reports."""

    commits: list[LogCommit] = field(default_factory=list)
    now_us: int = NOW_US
    prev: bytes = bytes(32)
    epochs: dict[str, int] = field(default_factory=dict)
    versions: dict[str, int] = field(default_factory=dict)
    reports: dict[str, int] = field(default_factory=dict)
    asks: dict[str, resources_pb2.Resources] = field(default_factory=dict)

    @property
    def last(self) -> int:
        return len(self.commits)

    def append(self, service: str, data: bytes) -> LogCommit:
        commit = LogCommit(self.last + 1, service, "one", data)
        self.commits.append(commit)
        return commit

    def envelope(
        self, event: Message, event_id: str = "", *, version: int = 0, may_ignore: bool = False
    ) -> log_pb2.EventEnvelope:
        return log_pb2.EventEnvelope(
            event_id=event_id or an_id(f"event {self.last}"),
            type=event.DESCRIPTOR.full_name,
            payload=event.SerializeToString(),
            may_ignore=may_ignore,
            command=log_pb2.CommandTerms(expected_version=version),
        )

    def commit(self, service: str, *envelopes: log_pb2.EventEnvelope) -> LogCommit:
        message = log_pb2.Commit(appended_at_us=self.now_us, events=envelopes)
        return self.append(service, message.SerializeToString())

    def fact(self, event: Message, event_id: str = "", *, version: int = 0) -> int:
        """Append a fact and return its position."""
        self.commit("gateway", self.envelope(event, event_id, version=version))
        return self.last << 16

    def node(self, name: str, cpu: int = 4000, **more: object) -> str:
        node_id = an_id(name)
        event = facts_pb2.NodeConnected(
            node_id=node_id, name=name, fingerprint=a_fingerprint(cpu, **more)
        )
        self.epochs[node_id] = self.fact(event)
        return node_id

    def shrink(self, node_id: str, cpu: int) -> None:
        self.fact(
            facts_pb2.NodeCapacityChanged(
                node_id=node_id, epoch=self.epochs[node_id], fingerprint=a_fingerprint(cpu)
            )
        )

    def deploy(self, name: str, replicas: int = 1, cpu: int = 1000, **more: object) -> str:
        deployment_id = an_id(name)
        spec = deployments_pb2.DeploymentSpec(
            name=name,
            replicas=replicas,
            resources=room(cpu),
            **more,  # type: ignore[arg-type]
        )
        self.asks[deployment_id] = room(cpu)
        event = facts_pb2.DeploymentCreated(spec=spec)
        self.versions[deployment_id] = self.fact(event, deployment_id)
        return deployment_id

    def scale(self, deployment_id: str, replicas: int) -> None:
        event = facts_pb2.DeploymentScaled(deployment_id=deployment_id, replicas=replicas)
        self.versions[deployment_id] = self.fact(event)

    def update(
        self, deployment_id: str, spec: deployments_pb2.DeploymentSpec, *needed: int
    ) -> None:
        event = facts_pb2.DeploymentUpdated(
            deployment_id=deployment_id, spec=spec, needed_revisions=needed
        )
        self.versions[deployment_id] = self.fact(event)

    def delete(self, deployment_id: str) -> None:
        self.versions[deployment_id] = self.fact(
            facts_pb2.DeploymentDeleted(deployment_id=deployment_id)
        )

    def report(
        self, node_id: str, *observations: facts_pb2.ReplicaObservation, number: int = 0
    ) -> None:
        number = number or self.reports.get(node_id, 0) + 1
        self.reports[node_id] = number
        self.fact(
            facts_pb2.NodeReported(
                node_id=node_id,
                epoch=self.epochs[node_id],
                number=number,
                observations=observations,
            )
        )

    def decided(self, *outcomes: rounds_pb2.Outcome, **more: object) -> rounds_pb2.RoundDecided:
        fields: dict[str, object] = {
            "prev_digest": self.prev,
            "facts_to": self.last,
            "instant_us": self.now_us,
            **more,
        }
        return rounds_pb2.RoundDecided(outcomes=outcomes, **fields)  # type: ignore[arg-type]

    def round(self, *outcomes: rounds_pb2.Outcome, **more: object) -> LogCommit:
        commit = self.commit("scheduler", self.envelope(self.decided(*outcomes, **more)))
        self.prev = sha256(commit.data).digest()
        return commit

    def placing(
        self, deployment_id: str, *placements: rounds_pb2.Placement, **more: object
    ) -> rounds_pb2.Outcome:
        fields: dict[str, object] = {
            "version": self.versions[deployment_id],
            "resources": self.asks[deployment_id],
            **more,
        }
        placed = rounds_pb2.DeploymentPlaced(
            deployment_id=deployment_id,
            placements=placements,
            **fields,  # type: ignore[arg-type]
        )
        return rounds_pb2.Outcome(placed=placed)

    def place(self, deployment_id: str, *node_ids: str) -> None:
        """Decide a round that places one replica on each node, by slot."""
        self.round(
            self.placing(
                deployment_id,
                *(on(deployment_id, node_id, slot) for slot, node_id in enumerate(node_ids)),
            )
        )

    def offline(self, node_id: str) -> rounds_pb2.NodeOffline:
        return rounds_pb2.NodeOffline(
            node_id=node_id, epoch=self.epochs[node_id], last_heard_at_us=self.now_us
        )

    def lose(self, node_id: str) -> None:
        """Let a node be silent for so long that its replicas may be replaced."""
        self.silence(node_id)
        self.now_us += 30_000_000

    def silence(self, node_id: str) -> None:
        """Decide a round that puts a node offline."""
        epoch = self.epochs[node_id]
        self.round(
            rounds_pb2.Outcome(offline=self.offline(node_id)),
            observations=[rounds_pb2.NodeSilence(node_id=node_id, epoch=epoch)],
        )

    def check(self, *acknowledged: Acknowledged, settled: bool = False) -> Report:
        return check_log(self.commits, acknowledged, settled=settled)

    def rules(self, *acknowledged: Acknowledged, settled: bool = False) -> list[str]:
        """Return the names of the rules that are broken, in the log's order."""
        found = self.check(*acknowledged, settled=settled)
        return [violation.rule.value for violation in found.violations]


def on(
    deployment_id: str,
    node_id: str,
    slot: int = 0,
    generation: int = 1,
    *,
    starts_after: Sequence[str] = (),
    replica_id: str = "",
) -> rounds_pb2.Placement:
    """Return a placement on a node."""
    return rounds_pb2.Placement(
        replica_id=replica_id or a_replica(deployment_id, slot, generation),
        slot=slot,
        generation=generation,
        node_id=node_id,
        starts_after=starts_after,
    )


def releasing(deployment_id: str, *replica_ids: str) -> rounds_pb2.Outcome:
    released = rounds_pb2.ReplicasReleased(deployment_id=deployment_id, replica_ids=replica_ids)
    return rounds_pb2.Outcome(released=released)


def suspending(deployment_id: str, node_id: str, *replica_ids: str) -> rounds_pb2.Outcome:
    suspended = rounds_pb2.ReplicasSuspended(
        deployment_id=deployment_id, replica_ids=replica_ids, node_id=node_id
    )
    return rounds_pb2.Outcome(suspended=suspended)


def restoring(deployment_id: str, *replica_ids: str) -> rounds_pb2.Outcome:
    restored = rounds_pb2.ReplicasRestored(deployment_id=deployment_id, replica_ids=replica_ids)
    return rounds_pb2.Outcome(restored=restored)


def failing(deployment_id: str, version: int) -> rounds_pb2.Outcome:
    failed = rounds_pb2.DeploymentFailed(deployment_id=deployment_id, version=version)
    return rounds_pb2.Outcome(failed=failed)


def deferring(
    deployment_id: str, version: int, attempt: int, not_before_us: int = 0
) -> rounds_pb2.Outcome:
    deferred = rounds_pb2.DeploymentDeferred(
        deployment_id=deployment_id, version=version, attempt=attempt, not_before_us=not_before_us
    )
    return rounds_pb2.Outcome(deferred=deferred)
