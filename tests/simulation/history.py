"""What nodes may say over a run: judged from the log's bytes alone."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

from fogbank.log.port import StoredCommit
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
