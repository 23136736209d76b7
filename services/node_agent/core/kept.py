"""What the agent keeps on disk, and the only way it changes.

`Kept` is what folding all saved entries gives. The running agent changes its own copy by the same
`apply`, so what it knows and what it will know after a crash cannot drift apart.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from fogbank.domain.observations import ReplicaObservation
from services.node_agent.core.replica import Desired, ReplicaRecord, ReplicaSpec

# Older restarts than this many can't matter to any sensible limit.
_RESTARTS_REMEMBERED = 32


@dataclass(slots=True)
class Kept:
    """The durable half of the agent's state.

    `outbox` maps the number of each unacknowledged report to its observations, in order;
    `unreported` are observations that no report holds yet. What ran when last observed ran in the
    boot `boot_id` of the host; empty if that is unknown.
    """

    epoch: int = 0
    sequence: int = 0
    last_number: int = 0
    replicas: dict[str, ReplicaRecord] = field(default_factory=dict)
    unreported: list[ReplicaObservation] = field(default_factory=list)
    outbox: dict[int, tuple[ReplicaObservation, ...]] = field(default_factory=dict)
    boot_id: str = ""

    def is_pending(self, replica_id: str) -> bool:
        """Tell whether something about a replica is on its way to the log."""
        return any(seen.replica_id == replica_id for seen in self.unreported) or any(
            seen.replica_id == replica_id for report in self.outbox.values() for seen in report
        )

    def must_wait(self, record: ReplicaRecord) -> bool:
        """Tell whether a replica whose room this one takes over has not ended yet."""
        after = record.spec.starts_after if record.spec is not None else ()
        return any(
            (other := self.replicas.get(each)) is not None and not other.ended for each in after
        )

    def is_of_another_boot(self, boot_id: str) -> bool:
        """Tell whether the host has restarted since; not so far as is known without boot ids."""
        return bool(self.boot_id and boot_id) and self.boot_id != boot_id

    def reflects_sequence(self) -> int:
        """Return the log sequence up to which all that was assigned has started or ended."""
        waiting = [
            record.since_sequence
            for record in self.replicas.values()
            if record.desired is Desired.RUN and (not record.begun or record.starting)
        ]
        return min([self.sequence, *(since - 1 for since in waiting)])


@dataclass(frozen=True, slots=True)
class EpochKept:
    """A gateway gave the agent a new epoch."""

    epoch: int


@dataclass(frozen=True, slots=True)
class SequenceKept:
    """Assignments up to this log sequence were taken in."""

    sequence: int


@dataclass(frozen=True, slots=True)
class BootKept:
    """What is observed from here on is of this boot of the host."""

    boot_id: str


@dataclass(frozen=True, slots=True)
class AssignmentKept:
    """The agent is to do this with that replica; no spec leaves the one it has.

    The log has restart counts below `restart_floor` of it.
    """

    replica_id: str
    desired: Desired
    sequence: int
    spec: ReplicaSpec | None = None
    restart_floor: int = 0


@dataclass(frozen=True, slots=True)
class ReplicaDropped:
    """A replica is forgotten."""

    replica_id: str


@dataclass(frozen=True, slots=True)
class ObservationKept:
    """A replica got on. `restarted_at_us` is set when this start is a restart that counts.

    Unless it is to be `reported`, only the replica's record has it. With `interrupted` this is an
    end of the host's making.
    """

    observation: ReplicaObservation
    reported: bool = True
    restarted_at_us: int = 0
    interrupted: bool = False


@dataclass(frozen=True, slots=True)
class ReportSealed:
    """The oldest `count` unreported observations became the report of this number."""

    number: int
    count: int


@dataclass(frozen=True, slots=True)
class ReportsAcknowledged:
    """Reports up to this one are in the log."""

    through: int


@dataclass(frozen=True, slots=True)
class ReportsRenumbered:
    """The log's count differs: what lies in the outbox is to be reported anew, after this one."""

    last_number: int


Entry = (
    EpochKept
    | SequenceKept
    | BootKept
    | AssignmentKept
    | ReplicaDropped
    | ObservationKept
    | ReportSealed
    | ReportsAcknowledged
    | ReportsRenumbered
)


def apply(kept: Kept, entry: Entry) -> None:
    """Change `kept` as the entry says."""
    match entry:
        case EpochKept(epoch):
            kept.epoch = epoch
        case SequenceKept(sequence):
            kept.sequence = sequence
        case BootKept(boot_id):
            kept.boot_id = boot_id
        case AssignmentKept():
            _assign(kept, entry)
        case ReplicaDropped(replica_id):
            kept.replicas.pop(replica_id, None)
        case ObservationKept():
            _observe(kept, entry)
        case ReportSealed(number, count):
            kept.outbox[number] = tuple(kept.unreported[:count])
            del kept.unreported[:count]
            kept.last_number = number
        case ReportsAcknowledged(through):
            for number in [number for number in kept.outbox if number <= through]:
                del kept.outbox[number]
        case ReportsRenumbered(last_number):
            again = [seen for report in kept.outbox.values() for seen in report]
            kept.unreported[:0] = again
            kept.outbox.clear()
            kept.last_number = last_number


def _assign(kept: Kept, entry: AssignmentKept) -> None:
    record = kept.replicas.get(entry.replica_id)
    if record is None:
        kept.replicas[entry.replica_id] = ReplicaRecord(
            entry.replica_id,
            entry.desired,
            entry.spec,
            entry.sequence,
            restart_floor=entry.restart_floor,
        )
        return
    record.desired = entry.desired
    record.restart_floor = max(record.restart_floor, entry.restart_floor)
    if entry.spec is not None:
        if record.spec is None:
            record.since_sequence = entry.sequence
        record.spec = entry.spec


def _observe(kept: Kept, entry: ObservationKept) -> None:
    seen = entry.observation
    record = kept.replicas.get(seen.replica_id)
    if record is not None:
        record.observed, record.unreported = seen, not entry.reported
        # An end that is only said once more stays what it was.
        record.interrupted = seen.state.ended and (entry.interrupted or record.interrupted)
        if entry.restarted_at_us:
            record.restarts.append(entry.restarted_at_us)
            del record.restarts[:-_RESTARTS_REMEMBERED]
    if entry.reported:
        kept.unreported.append(seen)
