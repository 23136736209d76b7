"""What a check finds: violations of named rules, and figures of the log."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum


class Rule(StrEnum):
    """What must hold in every log, one name for each rule."""

    # The log as a sequence of bytes.
    SEQUENCE = "sequence"
    SIZE = "size"
    UNDECODABLE = "undecodable"
    EMPTY_COMMIT = "empty-commit"
    UNKNOWN_EVENT = "unknown-event"
    WRITER = "writer"
    # Rounds and their chain.
    ROUND_ALONE = "round-alone"
    ROUND_PREV = "round-prev"
    ROUND_INSTANT = "round-instant"
    ROUND_FACTS = "round-facts"
    ROUND_POLICY = "round-policy"
    # Facts.
    OUT_OF_BOUNDS = "out-of-bounds"
    REPORT_GAP = "report-gap"
    FORGOTTEN = "forgotten"
    # What rounds do.
    UNKNOWN_DEPLOYMENT = "unknown-deployment"
    UNKNOWN_NODE = "unknown-node"
    UNKNOWN_REPLICA = "unknown-replica"
    DELETED = "deleted"
    VERSION = "version"
    RESOURCES = "resources"
    OVERBOOKED = "overbooked"
    QUOTA = "quota"
    OFFLINE_NODE = "offline-node"
    BUSY_NODE = "busy-node"
    CLOSED_NODE = "closed-node"
    CONSTRAINT = "constraint"
    COLOCATION = "colocation"
    ALL_OR_NOTHING = "all-or-nothing"
    SLOT_RANGE = "slot-range"
    SLOT_TAKEN = "slot-taken"
    REPLICA_ID = "replica-id"
    GENERATION = "generation"
    RELEASED = "released"
    RELIEVED = "relieved"
    EVICTED = "evicted"
    REBALANCED = "rebalanced"
    SUSPENDED = "suspended"
    RESTORED = "restored"
    REVISION = "revision"
    ROLLED_BACK = "rolled-back"
    FAILED = "failed"
    DEFERRED = "deferred"
    OFFLINE = "offline"
    STARTS_AFTER = "starts-after"
    # What nodes report.
    STATE_FALLS = "state-falls"
    RUNS_AFTER_END = "runs-after-end"
    RUNS_UNPLACED = "runs-unplaced"
    STARTED_TOO_EARLY = "started-too-early"
    # What was promised to callers.
    ACKNOWLEDGED_LOST = "acknowledged-lost"
    ACKNOWLEDGED_TWICE = "acknowledged-twice"
    ACKNOWLEDGED_DIFFERS = "acknowledged-differs"
    # What holds once everything has come to rest.
    NOT_RUNNING = "not-running"
    STILL_THERE = "still-there"
    OUTDATED = "outdated"
    WRONG_END = "wrong-end"


@dataclass(frozen=True, slots=True)
class Place:
    """Where in the log: a commit's sequence, and the index of an event or of an outcome in it."""

    sequence: int
    index: int = 0


@dataclass(frozen=True, slots=True)
class Violation:
    """A rule that the log breaks at a place; `sentence` says how, for people."""

    sequence: int
    index: int
    rule: Rule
    sentence: str

    def __str__(self) -> str:
        """Return it as one line."""
        return f"{self.sequence}.{self.index} {self.rule}: {self.sentence}"


@dataclass(slots=True)
class Counts:
    """Figures of a log.

    `rounds_repeated` are void rounds whose bytes the log holds twice; they are among
    `rounds_void`. `deployments` counts by final state. `max_booked_percent` is the largest share
    of a node's room, in any dimension, that was promised right after a placement.
    """

    commits: int = 0
    events: int = 0
    events_void: int = 0
    events_ignored: int = 0
    rounds_accepted: int = 0
    rounds_void: int = 0
    rounds_repeated: int = 0
    placements: int = 0
    reports: int = 0
    nodes: int = 0
    nodes_offline: int = 0
    deployments: dict[str, int] = field(default_factory=dict)
    max_booked_percent: float = 0.0


@dataclass(frozen=True, slots=True)
class Report:
    """Everything that a check found. `violations` holds the first ones, in the log's order;
    `violations_total` counts all of them.
    """

    violations: tuple[Violation, ...]
    violations_total: int
    counts: Counts

    @property
    def clean(self) -> bool:
        """Tell whether the log breaks no rule."""
        return self.violations_total == 0


class Findings:
    """Collects violations; keeps the first `limit`, counts all."""

    def __init__(self, limit: int) -> None:
        self.total = 0
        self._limit = limit
        self._kept: list[Violation] = []

    def add(self, place: Place, rule: Rule, sentence: str) -> None:
        """Note that the log breaks a rule."""
        self.total += 1
        if len(self._kept) < self._limit:
            self._kept.append(Violation(place.sequence, place.index, rule, sentence))

    def in_order(self) -> tuple[Violation, ...]:
        """Return those that were kept, in the log's order."""
        return tuple(sorted(self._kept, key=lambda found: (found.sequence, found.index)))
