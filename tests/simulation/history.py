"""What must hold over a run's whole log.

Replica states are judged from the log's bytes alone; the rest holds what production code makes of
the log against what it makes of it in another way.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any
from unittest.mock import patch

from fogbank.codec import decode_commit
from fogbank.domain import fleet as fleet_module
from fogbank.domain.decisions import Desired
from fogbank.domain.envelope import Commit
from fogbank.domain.fleet import FleetState
from fogbank.domain.resources import NOTHING
from fogbank.log.port import StoredCommit
from fogbank.placement.rederive import Rederiver
from fogbank.v1 import deployments_pb2, facts_pb2, log_pb2

_STATE = deployments_pb2.ReplicaState
_ACCEPTED = _STATE.REPLICA_STATE_ACCEPTED
_PREPARING = _STATE.REPLICA_STATE_PREPARING
_READY = _STATE.REPLICA_STATE_READY
_STARTING = _STATE.REPLICA_STATE_STARTING
_RUNNING = _STATE.REPLICA_STATE_RUNNING
_COMPLETE = _STATE.REPLICA_STATE_COMPLETE
_STOPPED = _STATE.REPLICA_STATE_STOPPED
_FAILED = _STATE.REPLICA_STATE_FAILED
_REJECTED = _STATE.REPLICA_STATE_REJECTED
_NOTHING = _STATE.REPLICA_STATE_UNSPECIFIED

# From each state of a replica, the next ones within one start of its container. Reports that
# were not sent while an agent was cut off skip steps, but never take one back.
_STEPS: dict[int, frozenset[int]] = {
    _NOTHING: frozenset({_ACCEPTED}),
    _ACCEPTED: frozenset({_PREPARING, _STOPPED, _REJECTED}),
    _PREPARING: frozenset({_READY, _STOPPED, _REJECTED}),
    _READY: frozenset({_STARTING, _STOPPED, _REJECTED}),
    _STARTING: frozenset({_RUNNING, _COMPLETE, _STOPPED, _FAILED}),
    _RUNNING: frozenset({_COMPLETE, _STOPPED, _FAILED}),
    _COMPLETE: frozenset({_STOPPED}),
    _STOPPED: frozenset(),
    _FAILED: frozenset({_STOPPED}),
    _REJECTED: frozenset({_STOPPED}),
}


def _reachable(state: int) -> frozenset[int]:
    steps = _STEPS[state]
    return steps.union(*(_reachable(each) for each in steps))


_TRANSITIONS = {state: _reachable(state) for state in _STEPS}
_SHOWN = 400  # characters of a round that differs
_ENDED = frozenset({_COMPLETE, _STOPPED, _FAILED, _REJECTED})


@dataclass(slots=True)
class _Epoch:
    """A node's word: since when it counts, and how far it came."""

    began: int
    last_report: int = 0


@dataclass(slots=True)
class _Told:
    """What a node last said of a replica."""

    restarts: int = 0
    state: int = _NOTHING
    final: bool = False


@dataclass(slots=True)
class _Nodes:
    epochs: dict[str, _Epoch] = field(default_factory=dict)
    told: dict[tuple[str, str], _Told] = field(default_factory=dict)


def impossible_transitions(commits: Iterable[StoredCommit]) -> list[str]:
    """Find replicas that took a step which the table of their states does not have."""
    nodes = _Nodes()
    found: list[str] = []
    for position, event in _facts(commits):
        if isinstance(event, facts_pb2.NodeConnected):
            former = nodes.epochs.get(event.node_id)
            last = 0 if former is None else former.last_report
            nodes.epochs[event.node_id] = _Epoch(position, last)
            continue
        epoch = nodes.epochs.get(event.node_id)
        if epoch is None or epoch.began != event.epoch or event.number != epoch.last_report + 1:
            continue
        epoch.last_report = event.number
        for seen in event.observations:
            told = nodes.told.setdefault((seen.replica_id, event.node_id), _Told())
            if wrong := _step(told, seen):
                found.append(f"replica {seen.replica_id} at {position >> 16}: {wrong}")
    return found


def _step(told: _Told, seen: facts_pb2.ReplicaObservation) -> str:
    """Take a step; return what is wrong with it."""
    before = (told.restarts, told.state)
    after = (seen.restart_count, seen.state)
    name = f"{before[0]}/{_name(before[1])} to {after[0]}/{_name(after[1])}"
    was_final = told.final
    told.restarts, told.state, told.final = *after, seen.final
    if seen.final and seen.state not in _ENDED:
        return f"it ended for good as {_name(seen.state)}"
    if was_final:
        return "" if after == before else f"it had ended for good and goes from {name}"
    if before == after:
        return ""
    if after[0] == before[0]:
        return "" if after[1] in _TRANSITIONS[before[1]] else f"from {name}"
    # A new start follows the end of the former one, which is told before.
    return "" if after[0] > before[0] else f"from {name}"


def _name(state: int) -> str:
    return _STATE.DESCRIPTOR.values_by_number[state].name.removeprefix("REPLICA_STATE_")


def _facts(commits: Iterable[StoredCommit]) -> Iterator[tuple[int, Any]]:
    """Yield the log's handshakes and reports with their positions; malformed ones too."""
    kinds: dict[str, Any] = {
        "fogbank.v1.NodeConnected": facts_pb2.NodeConnected,
        "fogbank.v1.NodeReported": facts_pb2.NodeReported,
    }
    known: set[str] = set()
    for stored in commits:
        if stored.writer.service != "gateway":
            continue
        for index, envelope in enumerate(log_pb2.Commit.FromString(stored.data).events):
            kind = kinds.get(envelope.type)
            if kind is None:
                continue
            if kind is facts_pb2.NodeConnected:
                if envelope.event_id in known:  # appended twice
                    continue
                known.add(envelope.event_id)
            yield stored.sequence << 16 | index, kind.FromString(envelope.payload)


def changed_by_void_events(commits: Iterable[StoredCommit]) -> list[str]:
    """Fold the log with and without its void events: what comes of it must be the same."""
    whole, without = FleetState(), FleetState()
    # Their ids are remembered for a day, and so belong to what digests are of.
    with patch.object(fleet_module, "DIGEST_EVERY_ROUNDS", 1 << 30):
        for stored in commits:
            writer = stored.writer
            commit = decode_commit(stored.sequence, writer.service, writer.instance, stored.data)
            verdicts = whole.fold(commit).verdicts
            without.fold(_only(commit, [verdict.accepted for verdict in verdicts]))
    if _essence(whole) == _essence(without):
        return []
    return ["void events left traces in what the log comes to"]


def differing_rounds(commits: Iterable[StoredCommit]) -> list[str]:
    """Derive every round again from what it names: the leader must have decided just that."""
    rederiver = Rederiver()
    found = []
    for stored in commits:
        writer = stored.writer
        commit = decode_commit(stored.sequence, writer.service, writer.instance, stored.data)
        derived = rederiver.take(commit)
        if derived is not None and not derived.same:
            found.append(str(derived)[:_SHOWN])
    return found


def wrong_sums(fleet: FleetState) -> list[str]:
    """Add up anew what is booked and held on each node, which the fold keeps by differences."""
    found = []
    for node_id, use in fleet._use.items():
        placed = list(fleet.on_node(node_id))
        held = sum((each.resources for each in placed), NOTHING)
        booked = sum(
            (each.resources for each in placed if each.desired is not Desired.RELEASED), NOTHING
        )
        if fleet.held(node_id) != held or fleet.booked(node_id) != booked:
            found.append(
                f"node {node_id} is said to hold {use.held}, {use.booked} booked, and does "
                f"hold {held}, {booked} booked"
            )
    return found


def _only(commit: Commit, counts: list[bool]) -> Commit:
    """Return a commit without the events that do not count, their places kept."""
    if all(counts):
        return commit
    envelopes = tuple(
        envelope if counted else replace(envelope, event=None)
        for envelope, counted in zip(commit.envelopes, counts, strict=True)
    )
    # A scheduler's commit is a round or nothing; one without it is nobody's.
    return replace(commit, service="gateway", envelopes=envelopes)


def _essence(fleet: FleetState) -> str:
    """Return a state without the memory of ids, which void commands belong to."""
    facts = {
        name: getattr(fleet.facts, name)
        for name in sorted(type(fleet.facts).__slots__)
        if name != "_known"
    }
    on_node = sorted((node_id, sorted(use.replicas)) for node_id, use in fleet._use.items())
    return f"{fleet.position} {facts!r} {fleet.decisions!r} {on_node!r}"
